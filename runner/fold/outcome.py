"""What a fold of one partition gives back, whoever folded it: the compiled kernel or the plain twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from runner.batch import Batch
    from runner.errors import FoldFailure

__all__ = ["Batches", "PartitionOutcome", "ProjectionOutcome", "SavedRows"]

Batches = Callable[[], "Iterable[Batch]"]
"""Gives the partition's batches from the first; called again when a fold starts over."""


class SavedRows(Protocol):
    """The rows that a catch-up continues from."""

    def __call__(
        self,
        projection: str,
        hi: npt.NDArray[np.uint64],
        lo: npt.NDArray[np.uint64],
        columns: Collection[str] | None = None,
    ) -> pa.Table:
        """The saved rows of the aggregates with these identity hashes (n words each, ascending); schema of ``rows``.

        columns: those that are wanted beside the hashes, all of the key but the aggregate among them; others may be
        left out. None: all.
        """


@dataclass(frozen=True)
class ProjectionOutcome:
    """One projection's part.

    rows: all live rows (rebuild), or the rows that differ from the saved ones (update). Columns: identity, key, state
    fields, ``_hash_hi``, ``_hash_lo`` (not for merged keys).
    deleted: key columns (and hashes) of saved rows that are gone.
    folded: events that had a handler; passed_over: events that had none.
    """

    rows: pa.Table
    deleted: pa.Table | None
    folded: int
    passed_over: int
    by_twin: bool = False


@dataclass(frozen=True)
class PartitionOutcome:
    """All projections of the run over one partition. With failures, ``projections`` lacks those that failed."""

    partition: int
    events: int
    batches: int
    projections: dict[str, ProjectionOutcome]
    failures: tuple[FoldFailure, ...] = ()
    scan_seconds: float = 0.0
    fold_seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    """Why the twin folded something, in words for the report."""
