"""What a source of foreign events is to sync: pieces of events in order, and a mark by which it goes on next time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from runner.stats import WatermarkSeen

__all__ = ["BadLine", "Only", "Piece", "SourceReader", "UnfinishedLine"]

Only: TypeAlias = "Callable[[pa.RecordBatch], pa.RecordBatch]"
"""Which of arriving events the log takes: those of a fraction of the aggregates."""


@dataclass(frozen=True)
class BadLine:
    """A line (or row) that is no event. line: from 1. text: as it stands in the file, "" where it is no text."""

    file: str
    line: int
    reason: str
    text: str = ""


@dataclass(frozen=True)
class UnfinishedLine:
    """A last line without a line end, left for the next sync. octets: how long it is so far."""

    file: str
    line: int
    octets: int


@dataclass(frozen=True)
class Piece:
    """Events in the arrival schema of the log, and the bad lines among them that were set aside.

    octets_done: of the files, since the reader began; octets_total: None where it is not known.
    """

    events: pa.RecordBatch
    rejected: tuple[BadLine, ...] = ()
    octets_done: int = 0
    octets_total: int | None = None


class SourceReader(Protocol):
    """One reading of a source, from a mark to what is there now."""

    def pieces(self) -> Iterator[Piece]:
        """The new events in order, in bounded memory. Raises SourceError; all pieces before it are good."""

    def mark(self) -> Any:
        """A JSON value: everything up to the last piece that ``pieces`` gave is read. Reading on from it doubles
        nothing.
        """

    def identity(self) -> Any:
        """A JSON value: what the source is, for the log's manifest."""

    def close(self) -> None:
        """Let go of files and connections; nothing is asked of the reader after it."""

    def settle(self) -> None:
        """Return when all that was handed out is durable in the source; called before each commit. Raises
        SourceError where it is gone.
        """

    def place(self, first: int, second: int) -> str:
        """Where the event with this source position stands, in words: ``events.ndjson:12``."""

    def cure(self, first: int, second: int) -> str:
        """What to do where the log refuses the event with this source position; "" where the source knows no better."""

    def notes(self) -> tuple[str, ...]:
        """What people should know of the reading, a line each, once ``pieces`` is exhausted."""

    def watermarks(self) -> tuple[WatermarkSeen, ...]:
        """How far a live store is settled, once ``pieces`` is exhausted; () where the source is no live store."""

    def unfinished(self) -> tuple[UnfinishedLine, ...]:
        """What was left for the next sync, once ``pieces`` is exhausted."""
