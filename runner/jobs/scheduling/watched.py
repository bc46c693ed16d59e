"""A run under way: its time limit, how it is asked to end and then killed, and what is written down of its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.jobs.scheduling.carry_out import is_locked
from runner.stats import EntryRan, Noted

if TYPE_CHECKING:
    from runner.config import Config
    from runner.jobs.scheduling.child import Process
    from runner.jobs.scheduling.clock import Clock
    from runner.jobs.scheduling.plan import RunEnd
    from runner.jobs.scheduling.state import EntryRun, ScheduleState
    from runner.stats import Listener

__all__ = ["Watched", "told_died"]

KILLED_LOOK = 1.0
"""Seconds until one that was killed and is still there is killed again."""
_WHY = {"stop": "the scheduler stops", "limit": "it took longer than its limit"}


@dataclass
class Watched:
    """until: when it is too long, on the clock that only passes; None without a limit.

    process: None of a run in another container, of which the lock alone is known.
    """

    config: Config
    state: ScheduleState
    clock: Clock
    tell: Listener
    run: EntryRun
    process: Process | None
    until: float | None
    asked: Literal["", "stop", "limit"] = ""
    kill_at: float = 0.0

    def over(self) -> bool:
        """Whether its process is gone."""
        if self.process is None:
            return not is_locked(self.config, self.run.entry)
        return self.process.ended()

    def look(self, *, stop: bool, hurry: bool) -> float | None:
        """Ask it to end where it is to, kill it where it does not; seconds until that is to be looked at again."""
        now = self.clock.passing()
        if self.process is None:
            return None
        if not self.asked:
            late = self.until is not None and now >= self.until
            if stop or late:
                self.asked = "stop" if stop else "limit"
                self.kill_at = now + self.config.scheduler.stop_wait
                self.tell(Noted(f"{self.run.entry}: asked to end ({_WHY[self.asked]})"))
                self.process.ask()
            elif self.until is None:
                return None
        if self.asked and (hurry or now >= self.kill_at):
            self.tell(Noted(f"{self.run.entry}: killed"))
            self.process.kill()
            return KILLED_LOOK
        ends = self.kill_at if self.asked else self.until
        assert ends is not None  # without a limit, and not asked, it has been left above
        return max(0.0, ends - now)

    def finish(self) -> EntryRun:
        """Write down how it ended, where it could not itself, or did not know why."""
        now = self.clock.now()
        run = self.state.run(self.run.id)
        code = self.process.exit_code if self.process is not None else None
        how = _how(run.state, self.asked)
        if how != run.state:
            self.state.end(run.id, how, now, exit_code=1 if code is None else code, error=_error(how, code))
            run = self.state.run(run.id)
        if self.process is not None:
            self.process.close()
        seconds = max(0.0, ((run.ended or now) - run.started).total_seconds())
        self.tell(EntryRan(run.entry, how, seconds))
        said = f": {run.error.splitlines()[0]}" if run.error else ""
        self.tell(Noted(f"{run.entry} of {run.occurrence.isoformat()} {how} after {seconds:.1f} s{said}"))
        return run


def told_died(state: ScheduleState, clock: Clock, tell: Listener, run: EntryRun) -> None:
    """Write down that a run ended with the scheduler that watched it."""
    state.end(run.id, "died", clock.now(), exit_code=1, error=_error("died", None))
    tell(EntryRan(run.entry, "died", 0.0))
    tell(Noted(f"{run.entry} of {run.occurrence.isoformat()} died with its scheduler"))


def _how(state: str, asked: str) -> RunEnd:
    """How it ended, from what it wrote itself and what it was asked for."""
    if state == "succeeded":
        return "succeeded"
    if state == "failed":
        return "failed"
    if asked == "limit":
        return "timed out"
    if asked == "stop":
        return "stopped"
    # Somebody's own signal: to be started again at once is not what was meant.
    return "failed" if state == "stopped" else "died"


def _error(how: RunEnd, code: int | None) -> str:
    if how == "timed out":
        return _WHY["limit"]
    if how == "stopped":
        return "the scheduler stopped"
    if how == "failed":
        return "a signal ended it"
    signal = f" by signal {-code}" if code is not None and code < 0 else ""
    return f"its process ended{signal} before its work was done"
