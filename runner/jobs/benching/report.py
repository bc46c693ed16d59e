"""What a bench found, as plain frozen data: what the command shows, writes as JSON, and compares with another day's.

The JSON's shape is part of the interface: ``SCHEMA`` goes up with each change of it. ``figures`` holds what is
compared, one flat list; all else is for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.jobs.benching.model import Model

__all__ = [
    "SCHEMA",
    "BenchReport",
    "Better",
    "Bytes",
    "Compared",
    "Comparison",
    "Estimate",
    "Figure",
    "Machine",
    "Memory",
    "Point",
    "Sample",
    "Skew",
    "SourceSample",
    "Spread",
    "StageShare",
    "spread",
]

SCHEMA = 1
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Spread:
    """One quantity over several runs. low, high: the quartiles, between which half of the runs are."""

    median: float
    low: float
    high: float
    least: float
    most: float
    runs: int

    @property
    def width(self) -> float:
        """Of the middle half, as a part of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    low, median, high = (float(v) for v in np.quantile(np.array(values, float), (0.25, 0.5, 0.75)))
    return Spread(median, low, high, float(min(values)), float(max(values)), len(values))


@dataclass(frozen=True)
class Machine:
    """Where it was measured. cores: that the run may use. memory: bytes."""

    cores: int
    processor: str
    memory: int
    system: str
    python: str
    runner: str


@dataclass(frozen=True)
class StageShare:
    """One stage of a fold at the largest size. seconds: of all workers together, over the runs.

    rate: events a second of one worker that did nothing else. share: of all workers' seconds.
    """

    stage: str
    events: int
    seconds: Spread
    rate: Spread
    share: float


@dataclass(frozen=True)
class Point:
    """A fold of one size by one number of workers. size: the part of the sampled events. seconds: from the opening of
    the log until all rows are on the disk; without the copying of segments that the size cuts (``cut_seconds``).

    stages: seconds of all workers in each.
    """

    size: float
    position: int
    events: int
    rows: int
    workers: int
    cache: Literal["warm", "cold"]
    seconds: Spread
    rate: Spread
    stages: Mapping[str, Spread]
    cut_seconds: float = 0.0


@dataclass(frozen=True)
class Sample:
    """What of the log was folded: these partitions, at their largest size up to ``position``."""

    partitions: tuple[int, ...]
    of_partitions: int
    sizes: tuple[float, ...]
    workers: tuple[int, ...]
    position: int
    events: int
    log_events: int
    log_position: int

    @property
    def whole(self) -> bool:
        """Whether that is all of the log."""
        return self.events == self.log_events


@dataclass(frozen=True)
class Skew:
    """Events of each partition of the log, ascending by partition. tail: events that are not partitioned yet.

    busy: so many of the workers can be kept busy at most, since a partition is folded by one.
    """

    events: tuple[int, ...]
    tail: int
    least: int
    median: float
    most: int
    workers: int
    busy: float

    @property
    def factor(self) -> float:
        """The largest partition against the mean of all."""
        return self.most * len(self.events) / sum(self.events) if sum(self.events) else 1.0


@dataclass(frozen=True)
class Bytes:
    """Bytes for each event. header and columns: what a fold of these projections reads; raw: payloads as they came,
    compressed, which it does not. row: of the read models' files, for each row written (0: no rows).
    """

    header: float
    columns: float
    raw: float
    other_columns: float
    row: float

    @property
    def read(self) -> float:
        """What a fold reads of an event."""
        return self.header + self.columns


@dataclass(frozen=True)
class Memory:
    """Anonymous memory in bytes, the most seen while the largest size was folded by all workers; not the mapped log,
    whose pages are the page cache's. base: of a process before it began.

    worker: what one worker took beyond that. peak: of all processes together.
    """

    base: int
    worker: int
    peak: int
    workers: int
    processes: int


@dataclass(frozen=True)
class SourceSample:
    """The beginning of a source, synced into a log of its own that is gone again. skipped: why it was not, or "".

    sync: reading, mapping and writing the log. columns: the projections' payload columns. octets: read of the source.
    """

    source: str
    events: int = 0
    octets: int = 0
    sync: Spread | None = None
    columns: Spread | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a fold would take, by the model. times: as many events as the log has. measured: seconds, where exactly that
    was measured.

    low, high: within the model's largest error here (``BenchReport.error``).
    """

    times: float
    events: int
    rows: int
    workers: int
    seconds: float
    low: float
    high: float
    measured: float | None = None


@dataclass(frozen=True)
class Figure:
    """One quantity that two reports can be compared by. slack: a difference of less than that is none."""

    name: str
    unit: str
    better: Better
    value: Spread
    slack: float = 0.0


@dataclass(frozen=True)
class Compared:
    """One figure then and now. change: relative, above 0 where it is more now."""

    name: str
    unit: str
    then: Spread
    now: Spread
    change: float
    verdict: Literal["same", "better", "worse"]


@dataclass(frozen=True)
class Comparison:
    """With an earlier report. threshold: relative. notes: what makes the two less comparable."""

    file: str
    measured_at: str
    threshold: float
    figures: tuple[Compared, ...]
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> tuple[Compared, ...]:
        return tuple(figure for figure in self.figures if figure.verdict == "worse")


@dataclass(frozen=True)
class BenchReport:
    """A finished bench. stages: of the largest size, all workers, warm cache. cold: why there is no cold point, or "".

    error: the largest relative error of the model: at a fitted point, at the one held out, or the runs' own spread.
    """

    job_id: str
    measured_at: str
    machine: Machine
    projections: tuple[str, ...]
    fingerprints: Mapping[str, str]
    engine: str
    why: str
    workers: int
    log_id: str
    sample: Sample
    points: tuple[Point, ...]
    stages: tuple[StageShare, ...]
    bottleneck: str
    skew: Skew
    octets: Bytes
    memory: Memory | None
    sources: tuple[SourceSample, ...]
    model: Model | None
    formula: str
    held_out: float | None
    error: float
    estimates: tuple[Estimate, ...]
    figures: tuple[Figure, ...]
    cold: str = ""
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    schema: int = SCHEMA

    def at(self, cache: str = "warm", workers: int = 0) -> Point | None:
        """The point of the largest size by so many workers (0: all)."""
        wanted = [p for p in self.points if p.cache == cache and p.workers == (workers or self.workers)]
        return max(wanted, key=lambda p: p.events, default=None)
