"""The scheduler: looks, starts what is due, watches what runs, until it is asked to stop.

It looks at least every ``LOOK`` seconds: a machine that slept, or a clock that was set, is noticed so late at most.
What is due is told by ``plan`` from what stands in the state, so that a scheduler that was killed goes on where it was.
A run that outlived it is watched again; one that died with it counts as ``died``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from runner.errors import JobError
from runner.jobs.records.owner import Owner
from runner.jobs.scheduling.carry_out import is_locked
from runner.jobs.scheduling.child import adopted, started
from runner.jobs.scheduling.plan import plan
from runner.jobs.scheduling.state import made_directory
from runner.jobs.scheduling.times import next_due
from runner.jobs.scheduling.watched import Watched, told_died
from runner.stats import EntryMissed, EntryRan, EntryStands, Noted, ignore
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.config import Config, ScheduleConfig
    from runner.jobs.following.stop import Stop
    from runner.jobs.scheduling.child import Process
    from runner.jobs.scheduling.clock import Clock, Waited
    from runner.jobs.scheduling.plan import Start
    from runner.jobs.scheduling.state import EntryRun, ScheduleState
    from runner.stats import Listener

__all__ = ["Scheduler", "run_by_hand", "scheduler_lock"]

LOOK = 10.0
STOPPING_LOOK = 0.1
HEALTHY = 60.0
"""Seconds since the last look behind which a scheduler hangs."""


def scheduler_lock(config: Config) -> FileLock:
    """Held by the one scheduler of a project; taken. Raises JobError where there is one."""
    lock = FileLock(made_directory(config, "locks") / "scheduler.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise JobError(
            f"a scheduler of {config.file} runs already", hint="one at a time; `runner schedule list` needs none"
        ) from None
    return lock


def _started(config: Config, entry: str, run: int) -> Process:
    return started(config, entry, run, to_file=True)


class Scheduler:
    """Of one project. Make it, ``run`` it; ``health`` may be asked by another thread meanwhile."""

    def __init__(
        self,
        config: Config,
        state: ScheduleState,
        clock: Clock,
        stop: Stop,
        *,
        listener: Listener = ignore,
        start: Callable[[Config, str, int], Process] = _started,
    ) -> None:
        self._config, self._state, self._clock, self._stop = config, state, clock, stop
        self._tell, self._start = listener, start
        self._running: dict[str, Watched] = {}
        self._stands: dict[str, EntryStands] = {}
        self._looked = clock.passing()
        self._hurry = False

    def run(self) -> None:
        """Until ``stop`` is set, and then until nothing runs any more; ``hurry`` cuts that short.

        Where it raises, what runs goes on, and the next scheduler watches it.
        """
        now = self._clock.now()
        for entry in self._config.schedule:
            self._state.seen(entry, now)
        self._taken_over()
        while not self._stop.is_set() or self._running:
            seconds = self.look()
            waited = [w.process for w in self._running.values() if w.process is not None]
            stop = [] if self._stop.is_set() else [self._stop]
            self._clock.wait([*stop, *waited], min(seconds, STOPPING_LOOK if self._stop.is_set() else LOOK))

    def hurry(self) -> None:
        """Kill what runs instead of waiting for it; safe in a signal handler."""
        self._hurry = True

    def health(self) -> tuple[bool, dict[str, object]]:
        """(whether it looks and starts what is due, how the entries stand). For a probe."""
        hangs = self._clock.passing() - self._looked >= HEALTHY
        status = "stopping" if self._stop.is_set() else "hangs" if hangs else "ok"
        entries = {
            name: {
                "running": stands.running,
                "next_run": datetime.fromtimestamp(stands.next_run, UTC).isoformat(),
                "failures": stands.failures,
            }
            for name, stands in list(self._stands.items())
        }
        return status == "ok", {"status": status, "entries": entries}

    def look(self) -> float:
        """Do all that is to be done now; how many seconds it is to the next look."""
        self._looked = self._clock.passing()
        waits = [LOOK]
        for name, watched in list(self._running.items()):
            if watched.over():
                del self._running[name]
                watched.finish()
            elif (seconds := watched.look(stop=self._stop.is_set(), hurry=self._hurry)) is not None:
                waits.append(seconds)
        if not self._stop.is_set():
            waits += [self._planned(entry) for entry in self._by_due_time()]
        for entry in self._config.schedule:
            self._told(entry)
        return max(0.0, min(waits))

    def _by_due_time(self) -> list[ScheduleConfig]:
        """Who has waited longest for a place comes first."""
        now = self._clock.now()
        return sorted(self._config.schedule, key=lambda e: next_due(e, self._state.of(e.name, now).handled)[1])

    def _planned(self, entry: ScheduleConfig) -> float:
        """Start the entry's run where one is due; seconds until the entry has to be looked at again."""
        now = self._clock.now()
        running = entry.name in self._running or is_locked(self._config, entry.name)  # by hand, say
        todo = plan(entry, replace(self._state.of(entry.name, now), running=running), now)
        if todo.start is not None:
            if len(self._running) >= self._config.scheduler.runs:
                return LOOK
            return self._begun(entry, todo.start, todo.missed)
        if todo.missed_to is not None:
            self._state.missed(entry.name, todo.missed_to, todo.missed, now)
            self._told_missed(entry, todo.missed)
        return LOOK if todo.look is None else (todo.look - now).total_seconds()

    def _begun(self, entry: ScheduleConfig, start: Start, missed: int) -> float:
        now = self._clock.now()
        run = self._state.begin(entry.name, start.occurrence, now, failures=start.failures, missed=missed)
        reached("schedule.1")
        if missed:
            self._told_missed(entry, missed)
        try:
            process = self._start(self._config, entry.name, run)
        except JobError as error:
            self._state.end(run, "failed", now, exit_code=error.exit_code, error=str(error))
            self._tell(EntryRan(entry.name, "failed", 0.0))
            self._tell(Noted(f"{entry.name}: {error}"))
            return LOOK
        reached("schedule.2")
        self._state.own(run, Owner.of(process.pid))
        again = f", again: {start.failures} failed" if start.again else ""
        self._tell(Noted(f"{entry.name} of {start.occurrence.isoformat()} started (run {run}{again})"))
        self._watch(self._state.run(run), process, entry.limit)
        return entry.limit or LOOK

    def _told_missed(self, entry: ScheduleConfig, missed: int) -> None:
        self._tell(EntryMissed(entry.name, missed))
        self._tell(Noted(f"{entry.name}: {missed} occurrence{'s' * (missed > 1)} missed"))

    def _watch(self, run: EntryRun, process: Process | None, limit: float) -> None:
        spent = max(0.0, (self._clock.now() - run.started).total_seconds())
        until = self._clock.passing() + limit - spent if limit else None
        self._running[run.entry] = Watched(self._config, self._state, self._clock, self._tell, run, process, until)

    def _taken_over(self) -> None:
        """What an earlier scheduler left under way."""
        entries = {entry.name: entry for entry in self._config.schedule}
        for run in self._state.running():
            alive = run.owner.life() == "alive"
            process = adopted(run.owner.pid) if alive else None
            if process is None and not is_locked(self._config, run.entry):
                told_died(self._state, self._clock, self._tell, run)
            elif run.made_by == "clock" and run.entry in entries:
                self._watch(run, process, entries[run.entry].limit)
                self._tell(Noted(f"{run.entry} of {run.occurrence.isoformat()} still runs (run {run.id})"))

    def _told(self, entry: ScheduleConfig) -> None:
        known = self._state.of(entry.name, self._clock.now())
        success = self._state.last_success(entry.name)
        stands = EntryStands(
            entry.name,
            entry.name in self._running,
            next_due(entry, known.handled)[1].timestamp(),
            success.ended.timestamp() if success is not None and success.ended is not None else None,
            known.unfinished.failures if known.unfinished is not None else 0,
        )
        if self._stands.get(entry.name) != stands:
            self._stands[entry.name] = stands
            self._tell(stands)


def run_by_hand(
    config: Config,
    state: ScheduleState,
    entry: ScheduleConfig,
    occurrence: datetime,
    clock: Clock,
    stop: Stop,
    *,
    hurry: Callable[[], bool],
    to_file: bool,
    listener: Listener = ignore,
) -> EntryRun:
    """One run of an entry, now, under its time limit, without retries; how it ended.

    Raises JobError where a run of it goes on.
    """
    if is_locked(config, entry.name):
        raise JobError(f"a run of {entry.name} goes on already", hint="`runner schedule list` shows it")
    run = state.run(state.begin(entry.name, occurrence, clock.now(), by="hand"))
    process = started(config, entry.name, run.id, to_file=to_file)
    state.own(run.id, Owner.of(process.pid))
    until = clock.passing() + entry.limit if entry.limit else None
    watched = Watched(config, state, clock, listener, run, process, until)
    while not watched.over():
        seconds = watched.look(stop=stop.is_set(), hurry=hurry())
        waited: list[Waited] = [process] if stop.is_set() else [stop, process]
        clock.wait(waited, min(LOOK if seconds is None else seconds, STOPPING_LOOK if stop.is_set() else LOOK))
    return watched.finish()
