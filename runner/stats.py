"""Typed facts that sync, scan, fold and write emit. Progress, metrics and the ledger listen; none is known here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CheckpointMoved",
    "EventsRead",
    "Fact",
    "JobFinished",
    "JobStarted",
    "LineRejected",
    "Listener",
    "Noted",
    "PartitionFolded",
    "Proved",
    "RowsWritten",
    "Stage",
    "StageFinished",
    "StageStarted",
    "ignore",
]

Stage = Literal["sync", "columns", "scan", "fold", "write", "merge", "prove", "publish", "compact", "compare"]


@dataclass(frozen=True)
class JobStarted:
    job_id: str
    what: str
    projections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noted:
    """Something that the user should know now, in words."""

    text: str


@dataclass(frozen=True)
class StageStarted:
    stage: Stage
    total_events: int | None = None
    """None where the amount is not known beforehand (a compressed file)."""


@dataclass(frozen=True)
class EventsRead:
    """Sync took events from a source. ``bytes_done`` and ``bytes_total`` are of the source, for the ETA."""

    source: str
    events: int
    batches: int = 1
    bytes_done: int = 0
    bytes_total: int | None = None


@dataclass(frozen=True)
class LineRejected:
    source: str
    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class PartitionFolded:
    """One partition went through all projections of the run; seconds are of the worker."""

    partition: int
    events: int
    batches: int
    folded: dict[str, int]
    """Per projection: how many events had a handler."""
    rows: dict[str, int]
    scan_seconds: float
    fold_seconds: float
    write_seconds: float
    by_twin: tuple[str, ...] = ()
    """Projections that the plain twin had to fold in this partition."""


@dataclass(frozen=True)
class RowsWritten:
    projection: str
    rows: int
    deleted: int


@dataclass(frozen=True)
class Proved:
    projection: str
    aggregates: int
    events: int


@dataclass(frozen=True)
class CheckpointMoved:
    projection: str
    position: int
    log_position: int


@dataclass(frozen=True)
class StageFinished:
    stage: Stage
    seconds: float
    events: int = 0


@dataclass(frozen=True)
class JobFinished:
    job_id: str
    what: str
    outcome: Literal["succeeded", "failed", "interrupted"]
    seconds: float
    projections: tuple[str, ...] = ()


Fact = (
    JobStarted
    | Noted
    | StageStarted
    | EventsRead
    | LineRejected
    | PartitionFolded
    | RowsWritten
    | Proved
    | CheckpointMoved
    | StageFinished
    | JobFinished
)
Listener = Callable[[Fact], None]


def ignore(fact: Fact) -> None:
    """The listener of a library call that nobody listens to."""
