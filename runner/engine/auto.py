"""Which engine a run takes, and why, in words.

Measured with Ray 2.60 on a shared machine of two cores, in its quiet moments (busy ones stretch all of it alike):

- A local Ray needs 3.9 s to start, 1.3 s to end, and 0.6 s until a worker has imported the runner and loaded the
  kernel: 5.8 s that threads do not need. After that a task costs 0.8 ms.
- Compiled folds release the interpreter lock, and files are written outside it too. A rebuild of three projections
  over 10 M events with two workers folded and wrote 2.8-4.3 M events/s in threads, 1.5-1.7 M on a local Ray: on one
  machine compiled folds never win by Ray.
- The plain twin (``compiled=False``) holds the lock: N threads fold as fast as one, 75,000-110,000 events/s and
  projection (the bundled ledger's three), Ray's N workers N times that. With N workers Ray saves (1 - 1/N) of that
  time, so it breaks even at 5.8 s * 100,000 / (1 - 1/N) events folded plainly: 1.16 M with two workers.
- A cluster is there because one machine is not enough, so an address means Ray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PLAIN_EVENTS_PER_SECOND", "RAY_SECONDS", "Choice", "EngineName", "break_even", "choose"]

EngineName = Literal["auto", "threads", "ray", "in-process"]

RAY_SECONDS = 5.8
"""What a local Ray costs before and after the work."""

PLAIN_EVENTS_PER_SECOND = 100_000
"""How fast the plain twin folds, per interpreter."""


@dataclass(frozen=True)
class Choice:
    """The engine and the reason, for the plan and the report."""

    name: Literal["threads", "ray", "in-process"]
    workers: int
    why: str


def break_even(workers: int) -> int | None:
    """From how many plainly folded events on a local Ray is quicker than threads; None: never."""
    if workers < 2:
        return None
    return int(RAY_SECONDS * PLAIN_EVENTS_PER_SECOND / (1 - 1 / workers))


def choose(asked: EngineName, *, workers: int, events: int, plain: int, address: str | None = None) -> Choice:
    """events: of the log; plain: how many of the run's projections the plain twin folds (``compiled=False``)."""
    if asked == "ray":
        return Choice("ray", workers, f"Ray at {address}" if address else "a local Ray, as asked")
    if asked != "auto":
        return Choice(asked, 1 if asked == "in-process" else workers, f"{asked}, as asked")
    if address:
        return Choice("ray", workers, f"Ray at {address}: an address was given")
    if plain == 0:
        return Choice(
            "threads",
            workers,
            "threads: compiled folds run in them as fast as on a local Ray, "
            f"which costs {RAY_SECONDS:g} s to start and end",
        )
    least = break_even(workers)
    work = events * plain
    if least is not None and work >= least:
        return Choice(
            "ray",
            workers,
            f"a local Ray: {work:,} events to fold in plain Python, over the {least:,} from which its {workers} "
            f"processes make up for the {RAY_SECONDS:g} s to start and end it",
        )
    reason = (
        "one worker gains nothing by a local Ray"
        if least is None
        else f"under the {least:,} from which a local Ray is quicker"
    )
    return Choice("threads", workers, f"threads: {work:,} events to fold in plain Python, {reason}")
