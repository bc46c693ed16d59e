"""This runner as one of the rivals, and the scan that is its limit: both over the same compacted, mapped log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from account import Account

from runner import definition_of

if TYPE_CHECKING:
    from runner.batch import Batch
    from runner.fold.outcome import PartitionOutcome
    from runner.fold.plan import FoldPlan
    from runner.log import Log

__all__ = ["Own", "plan_for"]


def plan_for(log: Log) -> FoldPlan:
    from runner.fold.plan import plan_fold

    return plan_fold((definition_of(Account),), log.types, scopes=log.scopes)


class Own:
    """The log and the plan, opened once; ``fold`` and ``scan`` go through all partitions on so many threads."""

    def __init__(self, log: Log, threads: int) -> None:
        self.log = log
        self.plan = plan_for(log)
        self.plan.load()
        self._pool = ThreadPoolExecutor(threads)

    def _batches(self, partition: int) -> Any:
        return self.log.batches(partition, self.plan.columns, self.plan.header)

    def fold(self) -> list[PartitionOutcome]:
        """Scan and fold every partition; all rows stay in memory."""
        from runner.fold.run import fold_partition

        def one(partition: int) -> PartitionOutcome:
            return fold_partition(self.plan, lambda: self._batches(partition))

        return list(self._pool.map(one, range(self.log.partitions)))

    def scan(self) -> int:
        """Read every byte that ``fold`` reads, and add it up."""

        def one(partition: int) -> int:
            return sum(_sum(batch) for batch in self._batches(partition))

        return sum(self._pool.map(one, range(self.log.partitions)))


def _sum(batch: Batch) -> int:
    columns = [batch.types, batch.aggregate, batch.position, batch.recorded_at]
    columns += [array.values for array in batch.payload.values()]
    return sum(_words(column) for column in columns if column is not None)


def _words(column: np.ndarray) -> int:
    """The column's bytes as 64-bit words, added up: the same work whatever its type is."""
    octets = column.view(np.uint8)
    return int(octets[: len(octets) // 8 * 8].view(np.uint64).sum(dtype=np.uint64))
