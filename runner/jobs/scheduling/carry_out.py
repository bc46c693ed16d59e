"""One run of an entry, in a process of its own: its steps in order, up to the pinned place.

While it lasts it holds the entry's lock, which dies with the process: of an entry one run goes on, whoever started it.
Steps of one kind take turns over all entries: one writes the log, one updates, one rebuilds.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from runner.errors import ConfigError, JobError, NotResumable, RunnerError
from runner.jobs.records.owner import Owner
from runner.jobs.scheduling.state import Pin, ScheduleState, made_directory
from runner.jobs.scheduling.times import as_of_time, place_before
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from runner.config import Config, ScheduleConfig
    from runner.jobs.scheduling.plan import RunEnd
    from runner.jobs.scheduling.state import EntryRun
    from runner.positions import Position

__all__ = ["StepEnd", "carry_out", "entry_named", "is_locked"]

TURNS = {"sync": "log", "compact": "log", "compare": "log", "update": "update", "rebuild": "rebuild"}
"""What a step needs for itself alone."""
EARLIER = 50
"""Runs of an entry that are looked through for one that was begun."""
BUSY_SECONDS = 5.0
"""The entry's lock may be looked at by somebody for a moment; a run has it for longer."""


@dataclass(frozen=True)
class StepEnd:
    """exit_code: of the command; error: its line, and kind the error's class, "" where it succeeded."""

    exit_code: int = 0
    error: str = ""
    kind: str = ""


def entry_named(config: Config, name: str) -> ScheduleConfig:
    """The entry of this name. Raises ConfigError."""
    found = [entry for entry in config.schedule if entry.name == name]
    if not found:
        known = ", ".join(entry.name for entry in config.schedule) or "none"
        raise ConfigError(f"{config.file}: there is no [[schedule]] of the name {name!r}", hint=f"there is {known}")
    return found[0]


def carry_out(
    config: Config,
    run_id: int,
    step: Callable[[Sequence[str]], StepEnd],
    say: Callable[[str], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> StepEnd:
    """Do the run that stands in the state under ``run_id``, to its end or the first step that fails; write down how it
    ended.

    step: does one command line of ``runner``. Raises JobError where the entry is locked or the run was given up,
    KeyboardInterrupt where it was asked to end.
    """
    with ScheduleState(config) as state:
        run = state.run(run_id)
        entry = entry_named(config, run.entry)
        with _entry_lock(config, entry.name):
            if not state.own(run_id, Owner.here()):
                raise JobError(f"run {run_id} of {entry.name} was given up before it began")
            try:
                end = _steps(config, state, entry, run, step, say)
            except KeyboardInterrupt:
                state.end(run_id, "stopped", now(), exit_code=130, error="asked to end")
                raise
            except RunnerError as error:
                state.end(run_id, "failed", now(), exit_code=error.exit_code, error=str(error))
                raise
            reached("schedule.4")
            how: RunEnd = "failed" if end.exit_code else "succeeded"
            state.end(run_id, how, now(), exit_code=end.exit_code, error=end.error)
            return end


def _steps(
    config: Config,
    state: ScheduleState,
    entry: ScheduleConfig,
    run: EntryRun,
    step: Callable[[Sequence[str]], StepEnd],
    say: Callable[[str], None],
) -> StepEnd:
    for words in entry.run:
        lines = [list(words)]
        if entry.as_of and words[0] in ("rebuild", "update"):
            lines[0] += ["--to", str(_pinned(config, state, entry, run.occurrence, say))]
            if words[0] == "rebuild" and "--dry-run" not in words and _was_begun(state, run):
                # To the same position: partitions that are done are as this run would make them.
                lines.insert(0, [*lines[0], "--resume"])
        with _turn(config, words[0], say):
            for line in lines:
                say(f"step: runner {' '.join(line)}")
                end = step(line)
                if end.kind != NotResumable.__name__:
                    break
        if end.exit_code:
            return end
    return StepEnd()


def _was_begun(state: ScheduleState, run: EntryRun) -> bool:
    """Whether the last run of the occurrence before this one did not succeed."""
    before = [one for one in state.runs(run.entry, EARLIER) if one.occurrence == run.occurrence and one.id < run.id]
    return bool(before) and before[0].state != "succeeded"


def _pinned(
    config: Config, state: ScheduleState, entry: ScheduleConfig, occurrence: datetime, say: Callable[[str], None]
) -> Position:
    """Up to which position this occurrence folds: where its first run did, which is written down before that folds.

    An event that was recorded before the time but came into the log later is not in it: the same occurrence gives the
    same bytes. Positions of another log mean nothing here: then it is cut by time anew.
    """
    time = as_of_time(entry, occurrence)
    assert time is not None
    from runner.log import Log  # here alone: the scheduler itself has no use for all that comes with it

    with Log.open(config.log.path) as log:
        known = state.pin(entry.name, occurrence)
        if known is not None and known.as_of == time and known.log_id == log.manifest.log_id:
            if known.position > log.last_position:
                raise JobError(
                    f"{entry.name} of {occurrence.isoformat()} was folded to position {known.position:,}, "
                    f"and the log ends at {log.last_position:,}",
                    hint="the log was set back: sync first",
                )
            return known.position
        if known is not None:
            say("note: this occurrence was of another log, or as of another time: it is cut by time anew")
        cut = log.cut_at(place_before(time))
        if cut.position == log.last_position:
            say(f"note: the log has no event recorded since {time.isoformat()}; what comes later of before is left out")
        if left_out := log.left_out(cut):
            say(
                f"note: {left_out:,} events recorded before {time.isoformat()} stand in the log behind one recorded "
                "since, and are left out"
            )
        state.set_pin(entry.name, occurrence, Pin(time, log.manifest.log_id, cut.position))
        reached("schedule.3")
        return cut.position


def is_locked(config: Config, entry: str) -> bool:
    """Whether a run of the entry goes on, in whatever process."""
    lock = _lock(config, f"entry-{entry}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def _entry_lock(config: Config, entry: str) -> Iterator[None]:
    lock = _lock(config, f"entry-{entry}")
    try:
        lock.acquire(timeout=BUSY_SECONDS)
    except Timeout:
        raise JobError(
            f"a run of {entry} goes on already",
            hint="`runner schedule list` shows it; there is one at a time",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _turn(config: Config, command: str, say: Callable[[str], None]) -> AbstractContextManager[object]:
    """The turn of a step, waited for; for a step that needs none, nothing."""
    if command not in TURNS:
        return nullcontext()
    lock = _lock(config, f"turn-{TURNS[command]}")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting: a step of another entry has the turn ({TURNS[command]})")
        return lock.acquire()


def _lock(config: Config, name: str) -> FileLock:
    return FileLock(made_directory(config, "locks") / f"{name}.lock")
