"""The vocabulary of places: positions, partitions, source positions, cuts. Nothing else passes a bare int for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["START", "Cut", "PartitionId", "Position", "SourcePosition", "TypeCode"]

Position = NewType("Position", int)
"""The log's own place of an event: dense int64 from 1, given by sync in the order of arrival."""

START = Position(0)
"""Before the first event."""

PartitionId = NewType("PartitionId", int)
"""0 <= partition < P; the top bits of the hash of the aggregate's identity."""

TypeCode = NewType("TypeCode", int)
"""Index of a stored type name in the manifest's ``types``; append-only, so a code keeps its meaning."""


@dataclass(frozen=True, order=True)
class SourcePosition:
    """Whatever the source orders by, as columns: files use (file index, line number)."""

    columns: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Up to which place a fold goes: all events with ``position <= Cut.position`` and nothing behind.

    A cut by time is turned into a position once, before the run: the first event (by position) recorded after the
    time and everything behind it are left out, also events behind it that were recorded earlier.
    """

    position: Position
    asked: str = ""
    """What the user asked for, for reports: ``"2026-01-01T00:00:00Z"``, ``"orders:17"``, ``"1200"``."""
    recorded_at: datetime | None = None
