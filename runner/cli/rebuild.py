"""``runner rebuild``: from the first event into a new version, proven, switched."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from runner.cli.differences import comparison_lines
from runner.cli.exit_codes import DIFFERENT
from runner.cli.notes import note_lines
from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_table, print_text, rate
from runner.cli.place import checked_place
from runner.cli.running import (
    chosen_names,
    engine_options,
    metrics_options,
    projections_as_rows,
    proof_lines,
    running,
    stage_rows,
    table_lines,
    writer_options,
)
from runner.errors import RowsDiffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.options import Session
    from runner.cli.running import EngineOptions, MetricsOptions, WriterOptions
    from runner.jobs.reports.runs import RebuildReport

__all__ = ["PROJECTION_COLUMNS", "command", "show_rebuild"]

PROJECTION_COLUMNS = ("read model", "version", "checkpoint", "rows", "deleted", "events folded", "by")
NUMERIC = frozenset({"checkpoint", "rows", "deleted", "events folded", "events", "time", "rate"})


class Amount(click.ParamType[object]):
    """A number of aggregates, or "all"."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if value == "all" or isinstance(value, int):
            return value
        if str(value).isdigit():
            return int(str(value))
        return self.fail(f"{value!r} is neither a number nor all", param, ctx)


@session_command("rebuild", exits=(3, 4, 6, 7, 8, 9, 10))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All projections that runner.toml names.")
@click.option("--resume", is_flag=True, help="Go on with the last run of these that did not finish.")
@click.option("--to", default=None, metavar="PLACE", help="Up to a position, a time with its zone, or SOURCE:POSITION.")
@click.option("--prove", type=Amount(), default=1_000, show_default=True, metavar="N|all", help="Aggregates to prove.")
@click.option("--dry-run", is_flag=True, help="Everything but the switch: show what it would do, and its SQL.")
@click.option("--compare", is_flag=True, help="Compare with the application's tables first; a difference stops it.")
@writer_options
@engine_options
@metrics_options
def command(
    session: Session,
    names: tuple[str, ...],
    everything: bool,
    resume: bool,
    to: str | None,
    prove: int,
    dry_run: bool,
    compare: bool,
    writers: WriterOptions,
    engine: EngineOptions,
    metrics: MetricsOptions,
) -> int:
    """Fold the log from its first event into new versions of read models, prove them, and switch.

    All projections of a run are folded in one pass. The live versions are read until the switch, and stay untouched if
    anything fails. Of each read model a sample of aggregates is folded again in plain Python and compared first.

    --to TIME leaves out the first event (by position) recorded after that time and everything behind it.

    --compare and --dry-run compare with the application's tables ([compare.NAME]) before the switch, at the place that
    those reflect: with --compare a difference stops it (exit 3), and alone --dry-run only tells.
    """
    from runner.jobs.rebuilding.rebuild import rebuild

    if dry_run and resume:
        raise click.UsageError("--dry-run leaves nothing to go on with, and takes no --resume")
    chosen = chosen_names(names, everything)
    to = checked_place(session, to)
    try:
        with running(session, metrics, "rebuild") as (_, listener):
            report = rebuild(
                session.config,
                chosen,
                to=to,
                resume=resume,
                prove=prove,
                writers=writers.wish,
                compare=compare,
                dry_run=dry_run,
                listener=listener,
                **engine.arguments,
            )
    except RowsDiffer as error:
        if not session.as_json:
            _show_comparisons(error.comparisons)
        raise
    if session.as_json:
        emit_json({**asdict(report), "events_per_second": report.events_per_second, "part": part_of_log(session)})
    else:
        show_rebuild(report, session)
    return DIFFERENT if compare and any(not table.same for table in report.comparisons) else 0


def _show_comparisons(tables: Sequence[Any]) -> None:
    for table in tables:
        for line in comparison_lines(table):
            print_text(line)


def show_rebuild(report: RebuildReport, session: Session) -> None:
    """The closing lines and tables."""
    print_text(f"engine: {report.engine}, {report.workers} workers ({report.why})")
    if report.resumed_job:
        print_text(f"resumed {report.resumed_job}: {report.resumed_partitions} of {report.partitions} partitions kept")
    for note in note_lines(report.notes, session):
        print_text(f"note: {note}")
    rows = stage_rows(report.seconds, report.events - report.resumed_events, report.worker_seconds)
    print_table("", ("stage", "events", "time", "rate"), rows, numeric=NUMERIC)
    print_table("", PROJECTION_COLUMNS, projections_as_rows(report.projections), numeric=NUMERIC)
    for line in proof_lines(report.projections):
        print_text(line)
    folded = report.events - report.resumed_events
    how = f"folded at {rate(folded, report.seconds.get('fold', 0.0))}" if folded else "all folded before"
    if not report.events:
        how = "the log is empty: `runner sync` fills it"
    _show_comparisons(report.comparisons)
    for line in report.plan:
        print_text(f"plan: {line}")
    for statement in report.statements:
        print_text(f"SQL: {statement}")
    live = "live now" if report.published else "a dry run, nothing was switched"
    print_text(f"{count(report.events)} events up to position {count(report.cut.position)}, {how}; {live}")
    if part := part_of_log(session):
        print_text(part)
    for line in table_lines(report.projections):
        print_text(line)


def part_of_log(session: Session) -> str:
    """A line that says of what the log holds a part only, "" where it is whole."""
    from runner.jobs.syncing.fraction import fraction_line
    from runner.log import Log

    with Log.open(session.config.log.path, verify=False) as log:
        return fraction_line(log.sources)
