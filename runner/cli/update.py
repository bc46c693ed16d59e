"""``runner update``: fold only what is new."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from runner.cli.notes import note_lines
from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_table, print_text, rate, say
from runner.cli.place import checked_place
from runner.cli.rebuild import NUMERIC, PROJECTION_COLUMNS
from runner.cli.running import (
    chosen_names,
    engine_options,
    metrics_options,
    projections_as_rows,
    proof_lines,
    running,
    table_lines,
)
from runner.errors import FingerprintChanged, ReadModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.cli.options import Session
    from runner.cli.running import EngineOptions, MetricsOptions
    from runner.config import Config
    from runner.jobs.reports.runs import UpdateReport

__all__ = ["command"]


@session_command("update", exits=(4, 5, 6, 7, 8, 9, 10, 11))
@click.argument("names", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="All projections that runner.toml names; the default is those live."
)
@click.option("--follow", is_flag=True, help="Sync and update again and again, until Ctrl-C.")
@click.option("--to", default=None, metavar="PLACE", help="Up to a position, a time with its zone, or SOURCE:POSITION.")
@engine_options
@metrics_options
def command(
    session: Session,
    names: tuple[str, ...],
    everything: bool,
    follow: bool,
    to: str | None,
    engine: EngineOptions,
    metrics: MetricsOptions,
) -> int:
    """Fold what the log has beyond each checkpoint, and write only the rows that changed or went.

    Without NAMES: all live read models. A projection that was edited since its read model was made is refused, with
    exit code 8, after the others are up to date: rebuild it. Reads the log, not the sources:
    `runner sync` comes first.

    With --follow it syncs too and goes on: told of new events where the store notifies, else looking again after a
    pause of half a second at most. Restarts of Postgres and broken connections are waited for. Ctrl-C or SIGTERM end it
    behind the round under way, with exit code 0 (a second Ctrl-C at once, with 130). When `runner rebuild` switches a
    read model to a changed projection, it ends with exit code 11: start it with the new code then.
    """
    from runner.jobs.updating.update import update

    chosen = chosen_names(names, everything) if names or everything else "live"
    if follow and to is not None:
        raise click.UsageError("--follow goes on without an end: --to does not go with it", click.get_current_context())
    if follow:
        from runner.cli.follow import follow_until_asked

        wanted, changed = _sorted_out(session.config, chosen)
        return follow_until_asked(session, wanted, changed, engine, metrics)
    to = checked_place(session, to)
    wanted, changed = _sorted_out(session.config, chosen)
    with running(session, metrics, "update") as (_, listener):
        report = update(session.config, wanted, to=to, listener=listener, **engine.arguments)
    if session.as_json:
        emit_json({**asdict(report), "events_per_second": report.events_per_second, "refused": changed})
    else:
        _show(report, session)
    for name in changed:
        say(f"error: {name} was changed since its read model was made, and was not updated\n  `runner rebuild {name}`")
    return FingerprintChanged.exit_code if changed else 0


def _sorted_out(config: Config, chosen: Sequence[str] | Literal["all", "live"]) -> tuple[Any, list[str]]:
    """(what to update, projections that changed since); where nothing else is left, the job is to tell why."""
    from runner.config import load_definitions
    from runner.sinks.read_models import ReadModels

    definitions = load_definitions(config, None if isinstance(chosen, str) else list(chosen))
    models = ReadModels(config.read_models.path)
    wanted: list[str] = []
    changed: list[str] = []
    for definition in definitions:
        try:
            live = models.live(definition.name)
        except ReadModelError:
            wanted.append(definition.name)  # damaged: the job folds it again, or says why it cannot
            continue
        if live is None and chosen == "live":
            continue
        same = live is None or live.fingerprint == definition.fingerprint
        (wanted if same else changed).append(definition.name)
    if not wanted:
        return [d.name for d in definitions] or "all", []
    return wanted, changed


def _show(report: UpdateReport, session: Session) -> None:
    for name, reason in report.folded_again.items():
        print_text(f"{name} was folded again from the first event: {reason}")
    for note in note_lines(report.notes, session):
        print_text(f"note: {note}")
    if report.nothing_new:
        print_text(f"nothing new: the read models are at position {count(report.cut.position)}")
        return
    print_table("", PROJECTION_COLUMNS, projections_as_rows(report.projections), numeric=NUMERIC)
    for line in proof_lines(report.projections):
        print_text(line)
    speed = rate(report.events, report.seconds.get("fold", 0.0))
    how = f"{count(report.events)} new events, folded at {speed} ({report.engine}); " if report.events else ""
    print_text(f"{how}at position {count(report.cut.position)}")
    for line in table_lines(report.projections):
        print_text(line)
