"""``runner sync``: new events of the sources into the log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_text, rate, seconds, size
from runner.cli.running import metrics_options, running

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import MetricsOptions
    from runner.jobs.syncing.fraction import Fraction
    from runner.jobs.syncing.sync import SyncReport

__all__ = ["command", "show_sync"]


@session_command("sync", exits=(4, 5, 6, 7))
@click.argument("sources", nargs=-1)
@click.option("--plan", is_flag=True, help="Say what would be read (rows, bytes, time, disk), and read nothing.")
@click.option(
    "--aggregates",
    metavar="1/100",
    default="",
    help="Take only some of the aggregates, each whole, into a log of its own.",
)
@metrics_options
def command(session: Session, sources: tuple[str, ...], plan: bool, aggregates: str, metrics: MetricsOptions) -> None:
    """Copy what is new in the SOURCES (none named: all) into the log, each event once.

    Reads only behind the mark of the last sync: appended lines, new files. A file that changed behind its mark is an
    error that names it. A last line without a line end is left for the next sync, unless the source is `final`. Syncing
    again after a crash neither loses nor doubles an event. Columns that the projections read are made at the end.
    """
    from runner.jobs.syncing.fraction import parse_fraction
    from runner.jobs.syncing.sync import sync

    fraction = parse_fraction(aggregates) if aggregates else None
    if plan:
        _plan(session, sources, fraction)
        return
    with running(session, metrics, "sync") as (_, listener):
        report = sync(session.config, sources or None, listener, fraction=fraction)
    if session.as_json:
        emit_json({**asdict(report), "events_per_second": report.events_per_second})
    else:
        show_sync(report)


def _plan(session: Session, sources: tuple[str, ...], fraction: Fraction | None) -> None:
    from runner.jobs.syncing.sync_plan import plan_sync

    plan = plan_sync(session.config, sources or None, fraction=fraction)
    if session.as_json:
        emit_json({**asdict(plan), "disk": plan.disk})
        return
    for source in plan.sources:
        name = f"{source.source} ({source.tenant})" if source.tenant else source.source
        rows = "?" if source.rows is None else f"{count(source.rows)}"
        octets, disk = ("?" if n is None else size(n) for n in (source.octets, source.disk))
        took = "" if source.seconds is None else f", about {seconds(source.seconds)}"
        print_text(f"{name}: {rows} rows, {octets} to read, {disk} in the log{took}")
        print_text(f"  {source.place}: {source.how}")
    enough = "" if plan.free > plan.disk else "; that is not enough"
    print_text(f"{size(plan.disk)} of {size(plan.free)} free on the disk of {session.config.log.directory}{enough}")


def show_sync(report: SyncReport) -> None:
    """One line a source, and where the log is."""
    for source in report.sources:
        print_text(
            f"{source.name}: {count(source.events)} new events" if source.events else f"{source.name}: nothing new"
        )
        if source.rejected or source.rejected_before:
            before = count(source.rejected_before)
            print_text(f"  {count(source.rejected)} lines rejected, {before} before: see {source.rejects_file}")
        for note in source.notes:
            print_text(f"  {note}")
        for line in source.unfinished:
            print_text(
                f"  {line.file}:{line.line}: no line end yet ({size(line.octets)}); left for the next sync "
                "(final = true in runner.toml takes it as it is)"
            )
    speed = f" at {rate(report.events, report.seconds.get('sync', 0.0))}" if report.events else ""
    print_text(f"{count(report.events)} events{speed}; the log is at position {count(report.last_position)}")
