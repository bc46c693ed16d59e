"""What every run does around its work: it stands in the ledger, its stages are timed, its facts reach all listeners."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.stats import JobFinished, JobStarted, StageFinished, StageStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.jobs.records.ledger import Ledger, NewJob
    from runner.stats import Fact, Listener, Stage

__all__ = ["Recording", "Timing", "recorded", "rounds_of"]

_rounds: ContextVar[tuple[Recording, str] | None] = ContextVar("rounds", default=None)


@dataclass
class Timing:
    """A stage under way; ``events`` may be set until it ends."""

    events: int = 0


@dataclass
class Recording:
    """A run that stands in the ledger. counts: plain JSON values for the ledger's last line."""

    job_id: str
    tell: Listener
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""

    @contextmanager
    def stage(self, name: Stage, events: int | None = None) -> Iterator[Timing]:
        """Time a stage. events: how many will go through it, where that is known; a stage that fails has no end."""
        timing = Timing(events or 0)
        self.tell(StageStarted(name, events))
        begun = time.perf_counter()
        yield timing
        seconds = time.perf_counter() - begun
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.tell(StageFinished(name, seconds, timing.events))


@contextmanager
def rounds_of(whole: Recording, what: str) -> Iterator[None]:
    """While the block lasts, runs of this kind are rounds of ``whole``: the ledger has that one alone.

    For the thread that enters it. A round's facts go to its own listener, its counts are its own.
    """
    token = _rounds.set((whole, what))
    try:
        yield
    finally:
        _rounds.reset(token)


@contextmanager
def recorded(ledger: Ledger, job: NewJob, listener: Listener, *, resumes: str = "") -> Iterator[Recording]:
    """A run in the ledger, from its first line to its last, whatever its end: succeeded, failed or interrupted."""
    within = _rounds.get()
    if within is not None and within[1] == job.what:
        yield Recording(within[0].job_id, listener)
        return
    job_id = ledger.begin(job, resumes=resumes)
    remember = ledger.listener(job_id)

    def tell(fact: Fact) -> None:
        remember(fact)
        listener(fact)

    run = Recording(job_id, tell)
    begun = time.perf_counter()

    def finished(outcome: Any, error: str = "") -> None:
        ledger.finish(job_id, outcome, error=error, counts=run.counts)
        ledger.trim()
        listener(JobFinished(job_id, job.what, outcome, time.perf_counter() - begun, job.projections))

    listener(JobStarted(job_id, job.what, job.projections))
    try:
        yield run
    except Exception as error:
        finished("failed", f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:
        pressed = isinstance(error, KeyboardInterrupt)
        finished("interrupted", "interrupted (Ctrl-C)" if pressed else type(error).__name__)
        raise
    finished("succeeded")
