"""What is to be done about an entry now, from what it is, what became of it, and the time. Pure.

- An occurrence is started once by the clock, at the first look behind the time when it is due.
- Of several that are due the last one is started; the others are missed. So also of those that came due while a run of
  the entry went on, or while the scheduler did not run, or while the machine slept. With ``missed = "skip"`` one that
  could not begin within ``grace`` is missed too.
- A run that failed is started again, after a pause that doubles, ``retries`` times; one that a crash ended counts as
  failed. What a crash or a stop of the scheduler ended is missed: with ``missed = "once"`` it is started again, after a
  crash once even without ``retries``, after a stop always. A later occurrence that is due ends all that.
- What would fail again just so is not started again (``FINAL``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from runner.jobs.scheduling.times import due_time, next_due, passed

if TYPE_CHECKING:
    from runner.config import ScheduleConfig

__all__ = ["FINAL", "EntryState", "Plan", "RunEnd", "Start", "Unfinished", "plan"]

RunEnd = Literal["succeeded", "failed", "timed out", "died", "stopped"]
"""died: neither it nor the scheduler lived to write its end; stopped: asked to end before it was done."""
FINAL = frozenset({2, 3, 4, 7, 11})
"""Exit codes after which the same again would end just so: wrong settings or classes, differences, failing handlers."""


@dataclass(frozen=True)
class Unfinished:
    """The last run by the clock, where it did not succeed. failures: runs of the occurrence that count as failed."""

    occurrence: datetime
    how: RunEnd
    failures: int
    ended: datetime
    exit_code: int = 1


@dataclass(frozen=True)
class EntryState:
    """What became of an entry. handled: occurrences up to here are started or missed."""

    handled: datetime
    running: bool = False
    unfinished: Unfinished | None = None


@dataclass(frozen=True)
class Start:
    """A run to be started. failures: earlier ones of the occurrence; again: it was begun before."""

    occurrence: datetime
    failures: int = 0
    again: bool = False


@dataclass(frozen=True)
class Plan:
    """start: None where nothing is to be started now. missed: occurrences that now are, ``missed_to`` the last of them.
    look: when there is something to do next, if nothing happens before; None while the entry runs.
    """

    start: Start | None
    look: datetime | None
    missed: int = 0
    missed_to: datetime | None = None


def plan(entry: ScheduleConfig, state: EntryState, now: datetime) -> Plan:
    """What is to be done at ``now``."""
    if state.running:
        return Plan(None, None)
    due = passed(entry, state.handled, now)
    if due is None:
        return _again(entry, state, now)
    if entry.missed == "skip" and now - due_time(entry, due.latest) > timedelta(seconds=entry.grace):
        return Plan(None, now, due.before + 1, due.latest)
    return Plan(Start(due.latest), None, due.before)


def _again(entry: ScheduleConfig, state: EntryState, now: datetime) -> Plan:
    """Nothing new is due: whether an earlier run is started again."""
    _, next_look = next_due(entry, state.handled)
    last = state.unfinished
    if last is None or last.occurrence < state.handled or not _may_again(entry, last):
        return Plan(None, next_look)
    at = last.ended
    if last.how in ("failed", "timed out"):
        at += timedelta(seconds=min(entry.retry_pause * 2.0 ** min(last.failures - 1, 60), entry.retry_pause_most))
    # A clock that was put back behind the end of the run does not keep it waiting for longer than its pause.
    if now >= at or now < last.ended - timedelta(seconds=entry.retry_pause_most):
        return Plan(Start(last.occurrence, last.failures, again=True), None)
    return Plan(None, min(at, next_look))


def _may_again(entry: ScheduleConfig, last: Unfinished) -> bool:
    if last.how == "stopped":
        return entry.missed == "once"
    if last.how == "died":
        return last.failures <= (entry.retries if entry.missed == "skip" else max(entry.retries, 1))
    return last.failures <= entry.retries and not (last.how == "failed" and last.exit_code in FINAL)
