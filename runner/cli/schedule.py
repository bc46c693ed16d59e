"""``runner schedule``: the scheduler, and what is to be known of its entries."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from runner.cli.exit_codes import INTERRUPTED, described
from runner.cli.options import session_command, session_options
from runner.cli.output import emit_json, print_table, print_text, say
from runner.cli.schedule_steps import check_steps, step_done
from runner.cli.signals import ended_by_signals
from runner.errors import ConfigError
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.cli.options import Session
    from runner.config import ScheduleConfig
    from runner.jobs.scheduling.state import EntryRun, ScheduleState
    from runner.stats import Fact

__all__ = ["command"]

_TIMES = ("occurrence", "due", "as_of")
ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.group(name="schedule", invoke_without_command=True, epilog=described())
@click.option("--address", default=None, help="Of /healthz and /metrics; else as [scheduler] says: loopback.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=None,
    help="0 is a free one. Else as [scheduler] says.",
)
@session_options
def command(session: Session, address: str | None, port: int | None) -> None:
    """Run the entries of [[schedule]] in runner.toml at their times, as one process, until Ctrl-C or SIGTERM.

    Each run is a process of its own. Asked to end, the scheduler asks the runs that go on to end as Ctrl-C does, waits
    for them, and kills those that do not end within [scheduler] stop_wait; asked once more, it kills them at once
    (130). What was run and missed is remembered over a restart. The entries' times and rules are those of its start.
    """
    if click.get_current_context().invoked_subcommand is None:
        click.get_current_context().exit(_run(session, address, port))


def _run(session: Session, address: str | None, port: int | None) -> int:
    from runner.jobs.following.stop import Stop
    from runner.jobs.scheduling.clock import WallClock
    from runner.jobs.scheduling.service import Scheduler, scheduler_lock
    from runner.jobs.scheduling.state import ScheduleState
    from runner.metrics.probe import serve_probes
    from runner.metrics.prometheus import Metrics

    config = session.config
    if not config.schedule:
        raise ConfigError(f"{config.file} has no [[schedule]]", hint="write one, with name, run, and cron or every")
    check_steps(config)
    paths = {"log": config.log.directory, "read_models": config.read_models.path, "state": config.state.path}
    metrics, stop, hurried = Metrics(directories=paths), Stop(), list[signal.Signals]()

    def tell(fact: Fact) -> None:
        metrics(fact)
        if isinstance(fact, Noted):
            _log(fact.text)

    with scheduler_lock(config), ScheduleState(config) as state:
        scheduler = Scheduler(config, state, WallClock(), stop, listener=tell)

        def again(number: signal.Signals) -> None:
            hurried.append(number)
            scheduler.hurry()

        chosen = config.scheduler.port or None if port is None else port
        where = address or config.scheduler.address
        server = serve_probes(metrics, scheduler.health, where, chosen) if chosen is not None else None
        try:
            with ended_by_signals(stop, again, ASKED):
                shown = f"; http://{where}:{server.port}/healthz, /metrics" if server is not None else ""
                _log(f"{len(config.schedule)} entries of {config.file}{shown}")
                scheduler.run()
                _log(f"ended ({stop.why})")
        finally:
            if server is not None:
                server.close()
            stop.close()
    return INTERRUPTED if hurried else 0


def _log(text: str) -> None:
    say(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")


@session_command("list")
def list_entries(session: Session) -> None:
    """The entries: their times and steps, when they run next, how they ran last."""
    from runner.jobs.scheduling.state import directory_of
    from runner.jobs.scheduling.times import next_due

    now, config = datetime.now(UTC), session.config
    check_steps(config)
    found: list[dict[str, Any]] = []
    with _state(session) as state:
        for entry in config.schedule:
            known = state.of(entry.name, now)
            last = next(iter(state.runs(entry.name, 1)), None)
            success = state.last_success(entry.name)
            found.append(
                {
                    "name": entry.name,
                    "times": _times(entry),
                    "run": [" ".join(step) for step in entry.run],
                    "as_of": entry.as_of,
                    "next": next_due(entry, known.handled)[1],
                    "last_run": None if last is None else _plain(last),
                    "last_success": None if success is None else success.ended,
                    "missed": state.missed_count(entry.name),
                }
            )
    if session.as_json:
        emit_json({"entries": found})
        return
    if not found:
        print_text(f"{config.file} has no [[schedule]]")
        return
    rows = [
        (e["name"], e["times"], "; ".join(e["run"]), _local(e["next"]), _last(e["last_run"]), str(e["missed"]))
        for e in found
    ]
    print_table("", ("entry", "times", "run", "next", "last run", "missed"), rows, numeric=frozenset({"missed"}))
    for e in found:
        last_run: Any = e["last_run"]
        if last_run is not None and last_run["error"]:
            print_text(f"{e['name']}, run {last_run['id']}: {last_run['error'].splitlines()[0]}")
    print_text(f"what runs said is in {directory_of(config) / 'output'}")


@session_command("next")
@click.argument("name", default="")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 1_000), help="How many of each entry.")
def next_occurrences(session: Session, name: str, count: int) -> None:
    """The next occurrences of an entry, or of all: the time, when it is due with its jitter, up to when it folds."""
    from runner.jobs.scheduling.carry_out import entry_named
    from runner.jobs.scheduling.times import as_of_time, due_time, occurrences

    entries = (entry_named(session.config, name),) if name else session.config.schedule
    now = datetime.now(UTC)
    found: list[dict[str, Any]] = []
    for entry in entries:
        zone = ZoneInfo(entry.zone)
        for occurrence in islice(occurrences(entry, now), count):
            as_of = as_of_time(entry, occurrence)
            found.append(
                {
                    "entry": entry.name,
                    "occurrence": occurrence.astimezone(zone),
                    "due": due_time(entry, occurrence).astimezone(zone),
                    "as_of": None if as_of is None else as_of.astimezone(zone),
                }
            )
    if session.as_json:
        emit_json({"occurrences": found})
        return
    rows = [
        (one["entry"], *("" if one[k] is None else one[k].isoformat(timespec="seconds") for k in _TIMES))
        for one in found
    ]
    print_table("", ("entry", "occurrence", "due", "as of"), rows)


@session_command("run-now", exits=(3, 4, 5, 6, 7, 8, 9, 10))
@click.argument("name")
@click.option("--for", "wanted", default="", metavar="TIME", help="Which occurrence: a day or a time; else the last.")
def run_now(session: Session, name: str, wanted: str) -> int:
    """Run an entry now, for its last occurrence or for the one that --for names; how it ended is the exit code.

    The schedule goes on as if nothing had been. With as_of an occurrence folds to where its first run did: the same
    bytes again.
    """
    from runner.jobs.following.stop import Stop
    from runner.jobs.scheduling.carry_out import entry_named
    from runner.jobs.scheduling.clock import WallClock
    from runner.jobs.scheduling.service import run_by_hand
    from runner.jobs.scheduling.state import ScheduleState
    from runner.jobs.scheduling.times import last_occurrence, occurrence_named

    config = session.config
    check_steps(config)
    entry = entry_named(config, name)
    now = datetime.now(UTC)
    occurrence = occurrence_named(entry, wanted) if wanted else last_occurrence(entry, now)
    if occurrence > now:
        raise ConfigError(f"--for {wanted}: that has not come yet", hint="it is run when it comes")
    stop, hurried = Stop(), list[signal.Signals]()
    try:
        with ScheduleState(config) as state, ended_by_signals(stop, hurried.append, ASKED):
            run = run_by_hand(
                config,
                state,
                entry,
                occurrence,
                WallClock(),
                stop,
                hurry=lambda: bool(hurried),
                to_file=session.as_json,
                listener=lambda fact: say(fact.text) if isinstance(fact, Noted) else None,
            )
    finally:
        stop.close()
    if session.as_json:
        emit_json(_plain(run))
    return 0 if run.state == "succeeded" else INTERRUPTED if run.state == "stopped" else max(run.exit_code, 1)


@session_command("carry-out")
@click.argument("run", type=int)
def carry_out_run(session: Session, run: int) -> int:
    """What the scheduler starts: the steps of one run that it has written down."""
    from runner.jobs.scheduling.carry_out import carry_out

    def interrupted(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    end = carry_out(session.config, run, lambda line: step_done(session, line), say)
    sys.stdout.flush()
    return end.exit_code


carry_out_run.hidden = True
for _each in (list_entries, next_occurrences, run_now, carry_out_run):
    command.add_command(_each)


@contextmanager
def _state(session: Session) -> Iterator[ScheduleState]:
    from runner.jobs.scheduling.state import ScheduleState

    with ScheduleState(session.config, read_only=True) as state:
        yield state


def _times(entry: ScheduleConfig) -> str:
    return f"{entry.cron} {entry.zone}" if entry.cron else f"every {entry.every:g} s"


def _plain(run: EntryRun) -> dict[str, Any]:
    state = "died" if run.state == "running" and run.owner.life() == "dead" else run.state
    return {
        "id": run.id,
        "entry": run.entry,
        "occurrence": run.occurrence,
        "by": run.made_by,
        "state": state,
        "failures": run.failures,
        "started": run.started,
        "ended": run.ended,
        "exit_code": run.exit_code,
        "error": run.error,
    }


def _last(run: Any) -> str:
    return "-" if run is None else f"{run['state']} {_local(run['ended'] or run['started'])}"


def _local(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="seconds")
