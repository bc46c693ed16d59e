"""``runner update``: fold only what is new."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from runner.cli.notes import note_lines
from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_table, print_text, rate
from runner.cli.place import checked_place
from runner.cli.rebuild import NUMERIC, PROJECTION_COLUMNS
from runner.cli.running import chosen_names, engine_options, metrics_options, projections_as_rows, running

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.cli.running import EngineOptions, MetricsOptions

__all__ = ["command"]


@session_command("update", exits=(4, 6, 7, 8, 9))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All projections that runner.toml names.")
@click.option("--to", default=None, metavar="PLACE", help="Up to a position, a time with its zone, or SOURCE:POSITION.")
@engine_options
@metrics_options
def command(
    session: Session,
    names: tuple[str, ...],
    everything: bool,
    to: str | None,
    engine: EngineOptions,
    metrics: MetricsOptions,
) -> None:
    """Fold what the log has beyond each checkpoint, and write only the rows that changed or went.

    A projection that was edited since its read model was made is refused: rebuild it. Reads the log, not the sources:
    `runner sync` comes first.
    """
    from runner.jobs.update import update

    chosen = chosen_names(names, everything)
    to = checked_place(session, to)
    with running(session, metrics, "update") as (_, listener):
        report = update(session.config, chosen, to=to, listener=listener, **engine.arguments)
    if session.as_json:
        emit_json({**asdict(report), "events_per_second": report.events_per_second})
        return
    for name, reason in report.folded_again.items():
        print_text(f"{name} was folded again from the first event: {reason}")
    if report.nothing_new:
        print_text(f"nothing new: the read models are at position {count(report.cut.position)}")
        return
    for note in note_lines(report.notes, session):
        print_text(f"note: {note}")
    print_table("", PROJECTION_COLUMNS, projections_as_rows(report.projections), numeric=NUMERIC)
    speed = rate(report.events, report.seconds.get("fold", 0.0))
    how = f"{count(report.events)} new events, folded at {speed} ({report.engine}); " if report.events else ""
    print_text(f"{how}at position {count(report.cut.position)}")
