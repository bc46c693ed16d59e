"""What a catch-up folds: the events behind the saved rows of some versions, into delta files of their next revisions.

An update does it with the live versions, a rebuild with the versions that it is about to switch to. Few events are
folded with all partitions as one and written as one file: a partition costs about five milliseconds, whatever it holds.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.jobs.folding.merging import merge_partials, merge_with_saved
from runner.jobs.folding.partition import FoldTask, partial_target
from runner.jobs.folding.passes import run_pass
from runner.jobs.folding.preparing import grouped
from runner.sinks.rows import write_rows
from runner.sinks.saved import SavedFiles
from runner.stats import RowsWritten
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.authoring.definition import ProjectionDefinition
    from runner.engine import Engine
    from runner.fold.plan import FoldPlan
    from runner.jobs.folding.partition import FoldedPartition
    from runner.jobs.records.ledger import PartitionRecord
    from runner.jobs.records.recording import Recording
    from runner.log import Log
    from runner.positions import Position
    from runner.sinks.rows import Target
    from runner.sinks.saved import KeptFiles
    from runner.sinks.shape import FileInfo, Version

__all__ = ["Base", "CaughtUp", "fold_since"]

TOGETHER = 50_000
"""Up to so many new events all partitions are folded as one."""


@dataclass(frozen=True)
class Base:
    """A version to go on from, and where its next revision is written."""

    version: Version
    target: Target


@dataclass(frozen=True)
class CaughtUp:
    """What was folded. By projection: the new files, the rows written, the rows deleted."""

    records: tuple[PartitionRecord, ...]
    files: Mapping[str, list[FileInfo]]
    rows: Mapping[str, int]
    deleted: Mapping[str, int]

    @property
    def events(self) -> int:
        return sum(record.events for record in self.records)


def fold_since(
    run: Recording,
    engine: Engine,
    log: Log,
    plan: FoldPlan,
    bases: Mapping[str, Base],
    to: Position,
    kept: KeptFiles | None = None,
) -> CaughtUp:
    """One pass over the events behind ``bases`` (by projection of the plan, all at one position) up to ``to``.

    kept: keeps what was read of saved rows for the next time. Raises FoldError, SavedStatesDamaged, EngineError.
    """
    (since,) = {bases[d.name].version.position for d in plan.definitions}
    targets = {d.name: bases[d.name].target for d in plan.definitions}
    merged = {d.name: partial_target(targets[d.name]) for d in plan.definitions if d.merged}
    saved = SavedFiles(tuple(bases[d.name].version for d in plan.definitions), kept)
    records: dict[int, PartitionRecord] = {}
    deleted = dict.fromkeys(targets, 0)

    def done(part: FoldedPartition) -> None:
        reached("update.2")
        records[part.record.partition] = part.record
        for name, count in part.deleted.items():
            deleted[name] += count

    together = to - since <= TOGETHER
    groups = (tuple(grouped([0], 1))) if together else grouped(range(log.partitions), engine.workers)
    tasks = [FoldTask(log, plan, group, since, to, {**targets, **merged}, saved, together) for group in groups]
    with _emptied(Path(target.directory) for target in merged.values()):
        run_pass(run, engine, tasks, frozenset(merged), done)
        ordered = [records[p] for p in sorted(records)]
        files = {}
        for definition in plan.definitions:
            name = definition.name
            files[name] = [info for record in ordered for info in record.files.get(name, ())]
            if definition.merged:
                files[name] = _merged(run, plan, definition, files[name], targets[name], saved)
    rows = {name: sum(info.rows - info.deleted for info in infos) for name, infos in files.items()}
    return CaughtUp(tuple(ordered), files, rows, deleted)


def _merged(
    run: Recording,
    plan: FoldPlan,
    definition: ProjectionDefinition,
    partials: list[FileInfo],
    target: Target,
    saved: SavedFiles,
) -> list[FileInfo]:
    """The partial rows of a merged key merged with each other and with the saved ones, written."""
    table = merge_partials(plan, definition, Path(partial_target(target).directory), partials)
    info = write_rows(target, 0, merge_with_saved(plan, definition, table, saved))
    written = [] if info is None else [info]
    run.tell(RowsWritten(definition.name, sum(i.rows for i in written), 0))
    return written


@contextmanager
def _emptied(directories: Iterable[Path]) -> Iterator[None]:
    """Empty directories for what nobody needs afterwards."""
    chosen = list(directories)
    try:
        for directory in chosen:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        yield
    finally:
        for directory in chosen:
            shutil.rmtree(directory, ignore_errors=True)
