"""This runner as one of the rivals, and the scan that is its limit: both over the same compacted, mapped log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from runner import definition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.batch import Batch
    from runner.fold.outcome import PartitionOutcome
    from runner.fold.plan import FoldPlan
    from runner.log import Log

__all__ = ["Own", "plan_for"]


def plan_for(log: Log, projections: Sequence[str]) -> FoldPlan:
    """projections: ``module:Class``, of modules beside this one."""
    from runner.fold.plan import plan_fold

    classes = [getattr(import_module(module), name) for module, name in (p.split(":") for p in projections)]
    return plan_fold(tuple(definition_of(cls) for cls in classes), log.types, scopes=log.scopes)


class Own:
    """The log and the plan, opened once; ``fold`` and ``scan`` go through all partitions on so many threads.

    held: whether all batches are made before, so that ``fold`` is the fold alone.
    """

    def __init__(self, log: Log, projections: Sequence[str], threads: int, *, held: bool = False) -> None:
        self.log = log
        self.plan = plan_for(log, projections)
        self.plan.load()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self.held = [list(self._batches(p)) for p in range(log.partitions)] if held else None

    def _batches(self, partition: int) -> Any:
        return self.log.batches(partition, self.plan.columns, self.plan.header)

    def fold(self) -> list[PartitionOutcome]:
        """Scan and fold every partition, handed out as a run hands them out; all rows stay in memory."""
        from runner.fold.run import fold_partition
        from runner.jobs.folding.preparing import grouped

        def one(partition: int) -> PartitionOutcome:
            held = self.held
            return fold_partition(self.plan, lambda: self._batches(partition) if held is None else held[partition])

        def several(group: Sequence[int]) -> list[PartitionOutcome]:
            return [one(p) for p in group]

        groups = grouped(range(self.log.partitions), self._threads)
        handed_out = map(several, groups) if self._threads == 1 else self._pool.map(several, groups)
        return [outcome for outcomes in handed_out for outcome in outcomes]

    def rows(self, outcomes: list[PartitionOutcome]) -> dict[str, pa.Table]:
        """The rows of each projection (module:Class), ids in a column ``account``."""
        found = {}
        for definition in self.plan.definitions:
            table = pa.concat_tables([outcome.projections[definition.name].rows for outcome in outcomes])
            renamed = ["account" if name == "aggregate_id" else name for name in table.column_names]
            found[f"{definition.cls.__module__}:{definition.cls.__name__}"] = table.rename_columns(renamed)
        return found

    def scan(self) -> int:
        """Read every byte that ``fold`` reads, and add it up."""

        def one(partition: int) -> int:
            return sum(_sum(batch) for batch in self._batches(partition))

        return sum(self._pool.map(one, range(self.log.partitions)))

    def octets(self) -> int:
        """How many bytes ``scan`` reads."""
        return sum(
            column.nbytes for p in range(self.log.partitions) for batch in self._batches(p) for column in _read(batch)
        )


def _read(batch: Batch) -> list[np.ndarray]:
    # Not the positions: they are mapped for whoever names an event that failed; a fold that asks for none reads none.
    columns = [batch.types, batch.aggregate, batch.recorded_at]
    columns += [array.values for array in batch.payload.values()]
    return [column for column in columns if column is not None]


def _sum(batch: Batch) -> int:
    return sum(_words(column) for column in _read(batch))


def _words(column: np.ndarray) -> int:
    """The column's bytes as 64-bit words, added up: the same work whatever its type is."""
    octets = column.view(np.uint8)
    return int(octets[: len(octets) // 8 * 8].view(np.uint64).sum(dtype=np.uint64))
