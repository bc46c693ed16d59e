"""Typed facts that sync, scan, fold and write emit. Progress, metrics and the ledger listen; none is known here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CheckpointMoved",
    "EntryMissed",
    "EntryRan",
    "EntryStands",
    "EventsRead",
    "Fact",
    "Followed",
    "JobFinished",
    "JobStarted",
    "LineRejected",
    "Listener",
    "Measured",
    "Noted",
    "PartitionFolded",
    "Proved",
    "RoundFailed",
    "RowsWritten",
    "Stage",
    "StageFinished",
    "StageStarted",
    "WatermarkSeen",
    "ignore",
]

Stage = Literal[
    "sync",
    "columns",
    "scan",
    "fold",
    "write",
    "merge",
    "prove",
    "publish",
    "compact",
    "load",
    "switch",
    "apply",
    "compare",
    "measure",
]


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
class WatermarkSeen:
    """How far a source is settled, as a sync's last look found it.

    behind: visible events that are not settled, None where their number is not known. held_seconds: for how long the
    longest of those who hold it back has gone on; pid, application: who that is, both empty where nobody does, and
    without a pid where it is a prepared transaction. open_gaps: positions that were passed by time and are still asked
    for. late_events: of all time, that came in such gaps.
    """

    source: str
    tenant: str
    rule: Literal["exact", "by time"]
    behind: int | None
    holders: int
    held_seconds: float
    open_gaps: int
    late_events: int
    pid: str = ""
    application: str = ""


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
class Followed:
    """A round of a follower ended: its events are visible in all read models. events: of the round, 0 where none came.

    lag: at most so many seconds ago the first of them was committed; position: of the log.
    """

    events: int
    lag: float
    position: int
    seconds: float
    """Of the round: reading, folding, writing."""


@dataclass(frozen=True)
class RoundFailed:
    """A round of a follower failed and is tried again after ``pause`` seconds. place: a source or the read models."""

    place: str
    reason: str
    pause: float


@dataclass(frozen=True)
class Measured:
    """One timed run of a bench ended. what: the point or the source, in words."""

    what: str
    events: int
    seconds: float


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


@dataclass(frozen=True)
class EntryStands:
    """How an entry of the schedule stands, whenever that changes. Times are in seconds since 1970.

    failures: runs that failed since its last success, of the occurrence that is being tried.
    """

    entry: str
    running: bool
    next_run: float
    last_success: float | None
    failures: int


@dataclass(frozen=True)
class EntryRan:
    """A run of an entry ended. outcome: succeeded, failed, timed out, died, stopped."""

    entry: str
    outcome: str
    seconds: float


@dataclass(frozen=True)
class EntryMissed:
    """Occurrences of an entry that are not run, since a later one is, or since they could not begin in time."""

    entry: str
    occurrences: int


Fact = (
    JobStarted
    | Noted
    | StageStarted
    | EventsRead
    | LineRejected
    | WatermarkSeen
    | PartitionFolded
    | RowsWritten
    | Proved
    | CheckpointMoved
    | Followed
    | RoundFailed
    | Measured
    | StageFinished
    | JobFinished
    | EntryStands
    | EntryRan
    | EntryMissed
)
Listener = Callable[[Fact], None]


def ignore(fact: Fact) -> None:
    """The listener of a library call that nobody listens to."""
