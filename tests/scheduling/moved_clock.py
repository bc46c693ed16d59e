"""A clock that a test moves, and runs that are no processes: their lengths and ends stand in a script."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from runner.jobs.scheduling.service import Scheduler
from runner.jobs.scheduling.state import ScheduleState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config import Config
    from runner.jobs.following.stop import Stop
    from runner.jobs.scheduling.clock import Waited
    from runner.jobs.scheduling.plan import RunEnd
    from runner.stats import Fact

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass
class FakeRun:
    """seconds: how long it takes by itself. deaf: it does not end when it is asked to. how: what it writes then."""

    world: World
    run: int
    seconds: float
    how: RunEnd | None = "succeeded"
    exit_code: int | None = 0
    deaf: bool = False
    pid: int = 0
    asked_at: float | None = None
    killed: bool = False
    begun: float = 0.0
    over: bool = False
    closed: bool = False

    def fileno(self) -> int:
        raise NotImplementedError("the moved clock waits for nothing")

    @property
    def ends(self) -> float:
        return self.begun + self.seconds

    def ended(self) -> bool:
        if not self.over and self.world.passed >= self.ends:
            self.over = True
            if self.how is not None:
                self.world.state.end(self.run, self.how, self.world.now(), exit_code=self.exit_code or 0)
        return self.over

    def ask(self) -> None:
        self.asked_at = self.world.passed
        if not self.deaf:
            self.over, self.exit_code = True, 130
            self.world.state.end(self.run, "stopped", self.world.now(), exit_code=130)

    def kill(self) -> None:
        self.killed = self.over = True
        self.exit_code = -9

    def close(self) -> None:
        self.closed = True


@dataclass
class World:
    """Clock and starter of a scheduler. script: per entry, what its runs are like, the last for all further ones."""

    config: Config
    stop: Stop
    script: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    passed: float = 0.0
    offset: timedelta = timedelta(0)
    """By how much the clock was set."""
    started: list[tuple[str, float]] = field(default_factory=list)
    runs: list[FakeRun] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    until: float = 0.0

    def __post_init__(self) -> None:
        self.state = ScheduleState(self.config)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed) + self.offset

    def passing(self) -> float:
        return self.passed

    def wait(self, for_any: Sequence[Waited], seconds: float) -> None:
        """Until a run ends, or the time is over; where the test ends it is the scheduler that is stopped."""
        ends = [self.passed if run.over else run.ends for run in self.runs if not run.closed]
        self.passed = max(self.passed, min([self.passed + max(seconds, 0.01), *ends]))
        if self.passed >= self.until:
            self.stop.set("the test ends")

    def start(self, _config: Config, entry: str, run: int) -> FakeRun:
        lines = self.script.get(entry, [{"seconds": 1.0}])
        nth = sum(name == entry for name, _ in self.started)
        made = FakeRun(self, run, **lines[min(nth, len(lines) - 1)], begun=self.passed)  # type: ignore[arg-type]
        self.started.append((entry, self.passed))
        self.runs.append(made)
        return made

    def scheduler(self) -> Scheduler:
        return Scheduler(self.config, self.state, self, self.stop, listener=self.facts.append, start=self.start)

    def live(self, until: float) -> Scheduler:
        """Let a scheduler live until so many seconds passed, then stop it."""
        self.until = until
        scheduler = self.scheduler()
        scheduler.run()
        return scheduler
