"""What is measured: which partitions, sizes and numbers of workers, so that all of it fits into the time it may take.

A fold of the log's beginning in all partitions would read the whole log where its segments are large (a cut segment is
filtered). So of a log that is too large whole *partitions* are left out first: those that stay have their full depth,
which is what decides how a fold gets on. Only where the fewest that keep all workers busy are still too much, the
largest size is a part of the log's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.jobs.benching.comparing import Earlier

__all__ = ["LEAST_EVENTS", "PARTS", "Cost", "Course", "as_earlier", "chosen", "fewest", "spread_over", "worker_counts"]

PARTS = (0.125, 0.25, 0.5, 1.0)
"""The sizes, of the largest one."""
A_WORKER = 4
"""Partitions for each worker that even out what they take."""
COLD = 2.0
"""How much longer a fold may take whose log comes from the disk, to plan with."""
LEAST_EVENTS = 50_000
"""Of the largest size, however dear they are."""
PREPARING = 2.0
"""Folds of the largest size that are not counted: one for the memory, one for the scan."""


@dataclass(frozen=True)
class Course:
    """partitions: ascending. sizes: parts of the log's history, ascending. workers: ascending, the last one is all."""

    partitions: tuple[int, ...]
    sizes: tuple[float, ...]
    workers: tuple[int, ...]

    @property
    def folds(self) -> tuple[tuple[float, int], ...]:
        """(size, workers) of all points with a warm cache: all sizes by all workers, the largest by fewer too."""
        most = self.workers[-1]
        return (*((size, most) for size in self.sizes), *((self.sizes[-1], w) for w in self.workers[:-1]))


def worker_counts(workers: int) -> tuple[int, ...]:
    """Powers of two, and all of them."""
    return (*(1 << n for n in range((workers - 1).bit_length())), workers)


def fewest(partitions: int, workers: int) -> int:
    """So many partitions keep so many workers busy."""
    return min(partitions, A_WORKER * workers)


def spread_over(events: Sequence[float], count: int) -> tuple[int, ...]:
    """``count`` partitions of all sizes: evenly spaced among them by their events (int for each partition)."""
    by_size = np.argsort(np.array(events), kind="stable")
    places = (np.arange(count) + 0.5) * len(events) / count
    return tuple(sorted(by_size[places.astype(int)].tolist()))


@dataclass(frozen=True)
class Cost:
    """What a first look says. start: seconds of a fold of next to nothing, for each partition. event: of one worker."""

    start: float
    event: float


def chosen(
    events: Sequence[float], workers: int, *, cost: Cost, seconds: float, runs: int, cold: bool = True
) -> Course:
    """The course that takes about ``seconds``. events: of each partition."""
    counts = worker_counts(workers)
    # Seconds that one event of the largest size costs over the whole course, by one worker, and how many folds it has.
    work = sum(PARTS) / workers + sum(1 / w for w in counts[:-1]) + (COLD / workers if cold else 0.0)
    folds = len(PARTS) + len(counts) - 1 + cold

    def most(count: int) -> float:
        left = seconds - (runs * folds + PREPARING) * cost.start * count
        return max(float(LEAST_EVENTS), left / (cost.event * (runs * work + PREPARING / workers)))

    count, least, total = len(events), fewest(len(events), workers), sum(events)
    while count > least and most(count) < total * count / len(events):
        count = max(least, count * 3 // 4)
    partitions = spread_over(events, count) if count < len(events) else tuple(range(len(events)))
    largest = min(1.0, most(count) / max(1, sum(events[p] for p in partitions)))
    return Course(partitions, tuple(part * largest for part in PARTS), counts)


def as_earlier(earlier: Earlier, events: Sequence[float], workers: int) -> Course | None:
    """The course of an earlier report, so that like is compared with like; None where this log or engine is another."""
    same = earlier.of_partitions == len(events) and earlier.workers == workers
    if not same or not earlier.partitions or not any(events[p] for p in earlier.partitions):
        return None
    return Course(earlier.partitions, earlier.sizes, earlier.worker_counts)
