"""What runs give back: plain data for the command line, for JSON and for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.positions import START, Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.jobs.reports.comparisons import ComparedTable
    from runner.positions import Cut

__all__ = ["ProjectionReport", "ProofReport", "RebuildReport", "RollbackReport", "UpdateReport"]


@dataclass(frozen=True)
class ProjectionReport:
    """One projection's part of a run."""

    name: str
    version: int
    fingerprint: str
    compiled: bool
    checkpoint: Position
    previous_checkpoint: Position = START
    """Where an update went on from."""
    rows: int = 0
    """Rows written: all live ones (rebuild), the changed ones (update)."""
    deleted: int = 0
    folded: int = 0
    """Events that had a handler."""
    passed_over: int = 0
    by_twin: int = 0
    """Partitions that the plain twin folded."""
    proved_aggregates: int = 0
    proved_events: int = 0
    proof: str = ""
    """What was proved, in words."""
    table: str = ""
    """The table in Postgres, ``schema.name``; "" where it is published to none."""


@dataclass(frozen=True)
class RebuildReport:
    """A finished rebuild. seconds: wall time by stage; worker_seconds: of all workers, in scan, fold and write."""

    job_id: str
    engine: str
    why: str
    """Why this engine."""
    workers: int
    cut: Cut
    events: int
    batches: int
    partitions: int
    projections: tuple[ProjectionReport, ...]
    seconds: Mapping[str, float]
    worker_seconds: Mapping[str, float]
    resumed_job: str = ""
    resumed_partitions: int = 0
    """Taken over from the run that was resumed."""
    resumed_events: int = 0
    nothing_to_resume: bool = False
    """``resume`` was asked for, and no earlier run had left anything to go on with."""
    notes: tuple[str, ...] = ()
    published: bool = True
    """False of a dry run, in which all but the switch was done."""
    comparisons: tuple[ComparedTable, ...] = ()
    """With the application's tables, before the switch."""
    plan: tuple[str, ...] = ()
    """Of a dry run: what a switch would do, and ``statements``, its SQL."""
    statements: tuple[str, ...] = ()

    @property
    def events_per_second(self) -> float:
        """Events through the fold stage, per second of wall time; all projections in one pass count an event once."""
        spent = self.seconds.get("fold", 0.0)
        return (self.events - self.resumed_events) / spent if spent > 0 else 0.0


@dataclass(frozen=True)
class UpdateReport:
    """A finished catch-up. ``nothing_new``: the read models reflected the log already; nothing was written."""

    job_id: str
    engine: str
    why: str
    workers: int
    cut: Cut
    nothing_new: bool
    events: int
    batches: int
    projections: tuple[ProjectionReport, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    worker_seconds: Mapping[str, float] = field(default_factory=dict)
    folded_again: Mapping[str, str] = field(default_factory=dict)
    """Projections whose saved states could not be used and were folded again from the first event, and why."""
    notes: tuple[str, ...] = ()

    @property
    def events_per_second(self) -> float:
        """New events through the fold stage, per second of wall time."""
        spent = self.seconds.get("fold", 0.0)
        return self.events / spent if spent > 0 else 0.0


@dataclass(frozen=True)
class ProofReport:
    """Live read models compared with the plain twin; a difference raises ProofError instead."""

    job_id: str
    projections: tuple[ProjectionReport, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class RollbackReport:
    """The version that is live after a rollback."""

    job_id: str
    projection: str
    version: int
    former_version: int
    checkpoint: Position
    fingerprint: str
    table: str = ""
    notes: tuple[str, ...] = ()
