"""Timed folds: the way of a rebuild from the opening of the log to rows on the disk, into a directory that is removed.

Points take turns, in another order each round, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import gc
import random
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from shutil import rmtree
from typing import TYPE_CHECKING

from runner.config.object_store import ObjectStorePath
from runner.errors import FoldError
from runner.jobs.benching.cache import Extents, emptied
from runner.jobs.benching.memory import fold_watched, memory_of
from runner.jobs.folding.aside import merged_files, places_in
from runner.jobs.folding.partition import FoldTask, fold_partitions, scan
from runner.jobs.folding.preparing import grouped
from runner.log import Log
from runner.log.columns import column_digest
from runner.positions import START, PartitionId, Position
from runner.stats import Measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from runner.engine import Engine
    from runner.fold.plan import FoldPlan
    from runner.jobs.benching.memory import MemorySeen
    from runner.jobs.benching.report import Memory
    from runner.jobs.folding.partition import FoldedPartition
    from runner.stats import Listener

__all__ = ["Bench", "Fold", "Run", "Runs"]

STILL_THERE = 0.05
"""A cache with more of a log's pages than this part is not cold."""
AT_LEAST = 3
"""So many rounds, however long they take: of fewer nothing is known of the spread."""


@dataclass(frozen=True)
class Fold:
    """What one point of measurement folds. size: part of the log's history, which ends at ``position``."""

    size: float
    position: Position
    workers: int
    partitions: tuple[int, ...]
    cache: Literal["warm", "cold"] = "warm"

    @property
    def words(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"{self.size:.3g} of the history, {workers}{', cold' if self.cache == 'cold' else ''}"


@dataclass(frozen=True)
class Run:
    """One timed fold. seconds: wall time. stages: seconds of all workers in scan, fold, write; merge. octets: of the
    rows' files. notes: of the workers, a twin that folded say.
    """

    seconds: float
    events: int
    rows: int
    octets: int
    stages: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass
class Runs:
    """What was measured so far, by point."""

    of: dict[Fold, list[Run]] = field(default_factory=lambda: defaultdict(list))
    cold: str = ""
    """Why there is no cold point, where there is none."""


@dataclass
class Bench:
    """All that timed folds share. log: held open, and never mapped, since mapped pages stay in the cache."""

    log: Log
    plan: FoldPlan
    directory: Path
    tell: Listener
    _numbers: Iterator[int] = field(default_factory=count)

    # One fold ---------------------------------------------------------------------------------------------------------

    def fold(self, engine: Engine, fold: Fold) -> Run:
        """Time one. Raises FoldError, EngineError, LogError."""
        return self._folded(engine, fold, watched=False)[0]

    def watched(self, engine: Engine, fold: Fold) -> tuple[Run, Memory | None]:
        """The same with a look at the memory, which takes a little time of its own."""
        run, seen = self._folded(engine, fold, watched=True)
        return run, memory_of(seen, fold.workers)

    def _folded(self, engine: Engine, fold: Fold, *, watched: bool) -> tuple[Run, list[MemorySeen]]:
        place = self.directory / f"run-{next(self._numbers)}"
        place.mkdir()
        parts: list[FoldedPartition] = []
        seen: list[MemorySeen] = []
        try:
            begun = time.perf_counter()
            with Log.open(self.log.path, number=self.log.manifest.number) as log:
                places = places_in(place, log, self.plan)
                tasks = [
                    FoldTask(log, self.plan, group, START, fold.position, places.working)
                    for group in grouped(fold.partitions, fold.workers)
                ]
                if watched:
                    with closing(engine.run(fold_watched, tasks)) as looked:
                        for folded, memory in looked:
                            parts.extend(folded)
                            seen += [] if memory is None else [memory]
                else:
                    with closing(engine.run(fold_partitions, tasks)) as results:
                        for folded in results:
                            parts.extend(folded)
                del tasks
            if failures := tuple(failure for part in parts for failure in part.failures):
                raise FoldError(failures)
            merging = time.perf_counter()
            files = merged_files(self.plan, places, [part.record for part in parts])
            ended = time.perf_counter()
        finally:
            rmtree(place, ignore_errors=True)
        stages: dict[str, float] = defaultdict(float)
        for part in parts:
            for stage, seconds in part.record.seconds.items():
                stages[stage] += seconds
        if places.merged:
            stages["merge"] = ended - merging
        written = [info for infos in files.values() for info in infos]
        run = Run(
            ended - begun,
            sum(part.record.events for part in parts),
            sum(info.rows for info in written),
            sum(info.bytes for info in written),
            dict(stages),
            tuple(dict.fromkeys(note for part in parts for note in part.record.notes)),
        )
        return run, seen

    def scan_cost(self, partitions: Sequence[int]) -> float:
        """Seconds an event for mapping whole partitions and checking their digests, in this thread, cache warm."""
        best = float("inf")
        for _ in range(2):
            begun, events = time.perf_counter(), 0
            with Log.open(self.log.path, number=self.log.manifest.number) as log:
                for partition in partitions:
                    for batch in scan(log, self.plan, PartitionId(partition), START, log.last_position):
                        events += len(batch)
                        del batch
            best = min(best, (time.perf_counter() - begun) / max(1, events))
        return best

    # Rounds -----------------------------------------------------------------------------------------------------------

    def rounds(self, engines: Mapping[int, Engine], folds: Sequence[Fold], runs: int, until: float, into: Runs) -> None:
        """Each of these ``runs`` times, in rounds; fewer, but not under ``AT_LEAST``, where ``until`` comes before.

        engines: by their workers. A first fold of each engine is not counted: then kernels are loaded.
        """
        order = random.Random(len(folds))  # noqa: S311  # an order, no secret
        for fold in {fold.workers: fold for fold in folds if fold.cache == "warm"}.values():
            self.fold(engines[fold.workers], fold)
        for number in range(runs):
            begun = time.perf_counter()
            for fold in order.sample(list(folds), len(folds)):
                if fold.cache == "cold" and not self._chilled(engines[fold.workers], fold, into):
                    continue
                run = self.fold(engines[fold.workers], fold)
                into.of[fold].append(run)
                self.tell(Measured(fold.words, run.events, run.seconds))
            ended = time.perf_counter()
            if number + 1 >= AT_LEAST and ended + (ended - begun) > until:
                return

    def _chilled(self, engine: Engine, fold: Fold, into: Runs) -> bool:
        """Whether the cache is cold now; why not is noted, and then it is not tried again."""
        if into.cold:
            return False
        if isinstance(self.log.path, ObjectStorePath):
            into.cold = "the log is on an object store"
            return False
        gc.collect()  # a mapping that waits for the collector keeps its pages
        for answer in engine.on_every_node(emptied, self.extents(self.log.path, fold.partitions)):
            if isinstance(answer.answer, Exception):
                into.cold = f"the cache of {answer.node} cannot be emptied: {answer.answer}"
            elif isinstance(answer.answer, float) and answer.answer > STILL_THERE:
                into.cold = (
                    f"the cache of {answer.node} cannot be emptied: {answer.answer:.0%} of the log's pages stayed "
                    "(a file system in memory, or other processes that read the log)"
                )
        if into.cold:
            into.of.pop(fold, None)
        return not into.cold

    # What is read -----------------------------------------------------------------------------------------------------

    @cached_property
    def digests(self) -> frozenset[str]:
        """Names of the sidecars that the plan reads."""
        return frozenset(column_digest(column) for column in self.plan.columns)

    def extents(self, log: Path, partitions: Sequence[int]) -> Extents:
        """Where in the log's files a fold of these partitions reads."""
        wanted = frozenset(partitions)
        files = []
        for segment in self.log.manifest.segments:
            columns = [c.file for digest, c in segment.columns.items() if digest in self.digests]
            for file in (segment.events_file, *columns):
                chunks = [c for c in file.chunks if segment.tail or c.partition in wanted]
                spans = tuple((c.offset, c.length) for c in chunks if c.length)
                if spans:
                    files.append((str(log.resolve() / "segments" / file.name), spans))
        return Extents(tuple(files))
