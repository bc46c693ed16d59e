"""``runner sync``: new events of the sources into the log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text, rate, size
from runner.cli.running import metrics_options, running

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import MetricsOptions
    from runner.jobs.sync import SyncReport

__all__ = ["command", "show_sync"]


@session_command("sync", exits=(4, 5, 6, 7))
@click.argument("sources", nargs=-1)
@metrics_options
def command(session: Session, sources: tuple[str, ...], metrics: MetricsOptions) -> None:
    """Copy what is new in the SOURCES (none named: all) into the log, each event once.

    Reads only behind the mark of the last sync: appended lines, new files. A file that changed behind its mark is an
    error that names it. A last line without a line end is left for the next sync, unless the source is `final`. Syncing
    again after a crash neither loses nor doubles an event. Columns that the projections read are made at the end.
    """
    from runner.jobs.sync import sync

    with running(session, metrics, "sync") as (_, listener):
        report = sync(session.config, sources or None, listener)
    if session.as_json:
        emit_json({**asdict(report), "events_per_second": report.events_per_second})
    else:
        show_sync(report)


def show_sync(report: SyncReport) -> None:
    """One line a source, and where the log is."""
    for source in report.sources:
        print_text(
            f"{source.name}: {count(source.events)} new events" if source.events else f"{source.name}: nothing new"
        )
        if source.rejected or source.rejected_before:
            before = count(source.rejected_before)
            print_text(f"  {count(source.rejected)} lines rejected, {before} before: see {source.rejects_file}")
        for line in source.unfinished:
            print_text(
                f"  {line.file}:{line.line}: no line end yet ({size(line.octets)}); left for the next sync "
                "(final = true in runner.toml takes it as it is)"
            )
    speed = f" at {rate(report.events, report.seconds.get('sync', 0.0))}" if report.events else ""
    print_text(f"{count(report.events)} events{speed}; the log is at position {count(report.last_position)}")
