"""One pass of an engine over the partitions: facts told, results taken at once, failures named when all are through."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import FoldError
from runner.jobs.folding.partition import fold_partitions
from runner.stats import PartitionFolded, RowsWritten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runner.engine import Engine
    from runner.errors import FoldFailure
    from runner.jobs.folding.partition import FoldedPartition, FoldTask
    from runner.jobs.records.ledger import PartitionRecord
    from runner.jobs.records.recording import Recording

__all__ = ["Totals", "run_pass", "worker_seconds"]


def run_pass(
    run: Recording,
    engine: Engine,
    tasks: Iterable[FoldTask],
    merged: frozenset[str],
    done: Callable[[FoldedPartition], None],
) -> None:
    """Run the tasks; ``done`` gets each partition that is folded and written, as soon as it is.

    merged: projections whose rows are partial ones, told of only when they are merged. Raises FoldError after all
    partitions went through, with the lowest failing position of each that failed.
    """
    failures: list[FoldFailure] = []
    with closing(engine.run(fold_partitions, tasks)) as results:
        for folded in results:
            for part in folded:
                if part.failures:
                    failures.extend(part.failures)
                    continue
                done(part)
                run.tell(_fact(part.record))
                for name, rows in part.record.rows.items():
                    deleted = part.deleted.get(name, 0)
                    if name not in merged and (rows or deleted):
                        run.tell(RowsWritten(name, rows, deleted))
    if failures:
        raise FoldError(tuple(failures))


def _fact(record: PartitionRecord) -> PartitionFolded:
    return PartitionFolded(
        partition=record.partition,
        events=record.events,
        batches=record.batches,
        folded=dict(record.folded),
        rows=dict(record.rows),
        scan_seconds=record.seconds.get("scan", 0.0),
        fold_seconds=record.seconds.get("fold", 0.0),
        write_seconds=record.seconds.get("write", 0.0),
        by_twin=record.by_twin,
    )


@dataclass(frozen=True)
class Totals:
    """One projection over all partitions of a run."""

    rows: int
    folded: int
    by_twin: int

    @staticmethod
    def of(name: str, records: Iterable[PartitionRecord]) -> Totals:
        """Added up over the partitions."""
        chosen = list(records)
        return Totals(
            rows=sum(r.rows.get(name, 0) for r in chosen),
            folded=sum(r.folded.get(name, 0) for r in chosen),
            by_twin=sum(name in r.by_twin for r in chosen),
        )


def worker_seconds(records: Iterable[PartitionRecord]) -> Mapping[str, float]:
    """Seconds of all workers, in scan, fold and write."""
    total = {"scan": 0.0, "fold": 0.0, "write": 0.0}
    for record in records:
        for stage, seconds in record.seconds.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total
