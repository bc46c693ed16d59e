"""Comparisons as a person reads them: text on stdout, or a page of HTML that needs nothing else."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.exit_codes import DIFFERENT
from runner.cli.html import page_of
from runner.cli.output import count, emit_json, print_text, say
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runner.jobs.reports.comparisons import ComparedGroup, ComparedTable, ComparisonReport

__all__ = ["check_page", "comparison_lines", "page", "report_options", "shown"]

WIDEST = 60
"""Characters of a value on a line of text."""


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--html and --samples."""
    html = click.option(
        "--html", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write the report as a page too."
    )
    samples = click.option(
        "--samples", type=click.IntRange(1, 1000), default=5, show_default=True, help="Rows shown of each group."
    )
    return html(samples(function))


def check_page(html: Path | None) -> None:
    """Raise ConfigError, before any work, where the page cannot be written."""
    if html is not None and not html.absolute().parent.is_dir():
        raise ConfigError(f"--html {html}: there is no directory {html.absolute().parent}", hint="make it first")


def shown(report: ComparisonReport, html: Path | None, *, as_json: bool) -> int:
    """Give the report out; the exit code."""
    if html is not None:
        html.write_text(page(report), encoding="utf-8")
    if as_json:
        emit_json(asdict(report))
    else:
        for table in report.tables:
            for line in comparison_lines(table):
                print_text(line)
    if html is not None:
        say(f"written: {html}")
    return 0 if report.same else DIFFERENT


def comparison_lines(table: ComparedTable) -> list[str]:
    """One table's part of the text."""
    state = "equal" if table.same else "DIFFERENT"
    lines = [
        f"{table.name} against {table.against}: {state}",
        f"  at {table.place} (position {count(table.position)})",
        f"  {count(table.rows_here)} rows folded, {count(table.rows_there)} rows there, {count(table.equal)} equal; "
        f"columns {', '.join(table.columns) or 'none but the key'}"
        + (f"; not compared: {', '.join(table.ignored)}" if table.ignored else ""),
    ]
    lines += [f"  note: {note}" for note in table.notes]
    for group in table.groups:
        lines.append(f"  {_name(group)}: {group.words}: {count(group.rows)} rows")
        for sample in group.samples:
            key = ", ".join(f"{name}={_short(value)}" for name, value in sample.key.items())
            values = "" if not group.column else f": {_value(sample.here)} here, {_value(sample.there)} there"
            if not group.column and sample.here is not None and sample.there is not None:
                values = f": {_value(sample.here)} here, {_value(sample.there)} there"
            elif not group.column and sample.here is None and sample.there not in (None, "a row"):
                values = f": {sample.there}"
            lines.append(f"    {key}{values}")
        if group.samples:
            lines.append(f"    {group.samples[0].explain}")
    return lines


def _name(group: ComparedGroup) -> str:
    return group.column or "rows"


def _value(value: str | None) -> str:
    return "null" if value is None else _short(value)


def _short(value: str) -> str:
    """A value on one line: control characters and quotes as Python writes them where there are any."""
    text = value if value.isprintable() and value == value.strip() and value else repr(value)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}..."


# A page --------------------------------------------------------------------------------------------------------------


def page(report: ComparisonReport) -> str:
    """The report as one HTML document, without anything from elsewhere. Every value is escaped."""
    title = f"runner {report.what}: {'equal' if report.same else 'different'}"
    made = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    body = "".join(_table(table) for table in report.tables)
    return page_of(title, f"job {report.job_id}, {made}", body)


def _table(table: ComparedTable) -> str:
    state = '<span class="state same">equal</span>' if table.same else '<span class="state different">different</span>'
    facts = [
        f"At {escape(table.place)}, position {count(table.position)} of the log.",
        f"{count(table.rows_here)} rows folded, {count(table.rows_there)} rows there, {count(table.equal)} equal.",
        f"Compared: {escape(', '.join(table.columns) or 'the key alone')}."
        + (f" Not compared: {escape(', '.join(table.ignored))}." if table.ignored else ""),
        *(f"Note: {escape(note)}." for note in table.notes),
    ]
    head = f"<h2>{escape(table.name)} against {escape(table.against)} {state}</h2>"
    groups = "".join(_group(group) for group in table.groups)
    return f"<section>{head}<p class=facts>{'<br>'.join(facts)}</p>{_overview(table.groups)}{groups}</section>"


def _overview(groups: Sequence[ComparedGroup]) -> str:
    if not groups:
        return ""
    rows = "".join(
        f"<tr><td>{escape(_name(g))}<td>{escape(g.words)}<td class=number>{count(g.rows)}</tr>" for g in groups
    )
    return f"<table><thead><tr><th>Column<th>Difference<th>Rows</tr></thead><tbody>{rows}</tbody></table>"


def _group(group: ComparedGroup) -> str:
    rows = "".join(
        "<tr>"
        f"<td class=value>{escape(', '.join(f'{n}={v}' for n, v in s.key.items()))}"
        f"<td class=value>{_cell(s.here)}<td class=value>{_cell(s.there)}<td><code>{escape(s.explain)}</code></tr>"
        for s in group.samples
    )
    return (
        f"<details open><summary><b>{escape(_name(group))}</b>: {escape(group.words)}, {count(group.rows)} rows"
        "</summary>"
        "<table><thead><tr><th>Key<th>Here (folded)<th>There (table)<th>How it came to be</tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _cell(value: str | None) -> str:
    return "<span class=null>null</span>" if value is None else escape(value)
