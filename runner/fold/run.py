"""The fold of one partition: all projections of the plan in one pass, the twin where the kernel could not.

The kernel stops with a status. ``GROW``: start over with more room, with which later partitions of the process begin.
Anything else concerns one projection: the others start over without it, and the twin folds it in position order. Its
failure names the event; its rows count where the kernel only refused. Where the kernel failed and the twin did not, one
of the two is wrong, and that is the projection's failure.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.batch import AggregateDictionary, Batch
from runner.errors import FoldFailure, LogError
from runner.fold.bind import Binder
from runner.fold.kernel import INFO_SIZE, NO_KEYS
from runner.fold.outcome import Batches, PartitionOutcome, ProjectionOutcome, SavedRows
from runner.fold.output import Keys, changed_rows, load_states
from runner.fold.pieces import STORED_ORDER, blocks_of
from runner.fold.plain import fold_plain
from runner.fold.rows import key_schema
from runner.fold.states import StateRows
from runner.fold.tables import AggregateRows, KeyRows
from runner.fold.texts import Texts
from runner.kernels import status
from runner.kernels.hash import unify_hashes
from runner.positions import PartitionId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.authoring.definition import ProjectionDefinition
    from runner.fold.plan import FoldPlan

__all__ = ["fold_partition"]

Int64s = npt.NDArray[np.int64]


@dataclass
class _Room:
    """How much slack a kernel call gets; what was once too little is remembered for the process."""

    texts: int = 1024
    size: int = 65_536
    keys: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stop:
    """Why projections cannot go on in the kernel. code: the status, 0 where a column could not be bound; then there is
    no event that stopped it.
    """

    code: int
    reason: str
    handler: str = ""
    position: int = 0
    aggregate_id: str = ""
    event_type: str = ""


_rooms: dict[str, _Room] = {}
_spare = threading.local()
_FIRST = PartitionId(0)


class _Grow(Exception):
    """The room ran out; more was noted."""


class _Without(Exception):
    """Projections, by index, that stopped."""

    def __init__(self, stops: dict[int, _Stop]) -> None:
        super().__init__(stops)
        self.stops = stops


class _Clock:
    """Hands batches on and adds up how long the scan took for them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        iterator = iter(batches)
        while True:
            begun = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - begun
            if batch is None:
                return
            yield batch


class _Attempt:
    """One pass over the partition's batches with some of the compiled projections."""

    def __init__(
        self,
        plan: FoldPlan,
        active: npt.NDArray[np.uint8],
        touched: AggregateDictionary | None,
        saved: SavedRows | None,
    ) -> None:
        self.plan, self.active, self.updates = plan, active, saved is not None
        self.room = _rooms.setdefault(plan.digest, _Room())
        self.texts, self.type_ids = Texts.begun(plan.constants, plan.names.types)
        self.aggregates = AggregateRows()
        self.binder = Binder(plan.arguments, self.texts, plan.names.scopes)
        self.counts = np.zeros(len(plan.names.types), np.int64)
        self.batches = 0
        self.definitions = [plan.definition(name) for name in plan.compiled]
        self.merged = np.array([d.merged for d in self.definitions], np.uint8)
        self.by_aggregate = any(active[n] and not d.merged for n, d in enumerate(self.definitions))
        if touched is not None:
            self.aggregates.enter(touched)
        spare = _spare.__dict__.setdefault(plan.digest, {})
        self.states = [StateRows(default, spare.get(n)) for n, default in enumerate(plan.defaults)]
        self.keys = [self._keys(n, d) for n, d in enumerate(self.definitions)]
        self.before: dict[int, npt.NDArray[np.void]] = {}
        if saved is not None and touched is not None:
            for n, d in enumerate(self.definitions):
                if active[n] and not d.merged:
                    # Which aggregate a row is of, its hashes say.
                    read = {part.name for part in d.key[1:]} | {f.name for f in d.fields}
                    rows = saved(d.name, touched.hi, touched.lo, read)
                    self.before[n] = load_states(self.keys[n], self.states[n], rows)

    def _keys(self, n: int, definition: ProjectionDefinition) -> Keys:
        words = self.plan.words[n] + (0 if definition.merged else 1)
        rows = None if definition.by_aggregate else KeyRows(words, self.room.keys.get(n, 1024))
        return Keys(definition, self.plan.names, self.aggregates, rows, self.texts)

    def fold(self, batches: Iterable[Batch]) -> None:
        """Fold every batch. Raises _Grow or _Without."""
        kernel = self.plan.kernel()
        info = np.zeros(INFO_SIZE, np.int64)
        no_rows = np.zeros(0, np.uint32)
        for batch in batches:
            self._check_types(batch)
            rows = no_rows
            if self.by_aggregate:
                used = _used(batch) if self.updates else None
                rows = self.aggregates.enter(batch.aggregates, used).view(np.uint32)
            bound = self.binder.bind(batch)
            self._check_bound(bound.refused)
            arguments = [batch.types, batch.aggregate.view(np.uint32), rows, *self._states(batch), *bound.arrays]
            for active, pieces in self._passes(batch):
                cursors = np.zeros(len(self.counts), np.int64)
                code = kernel.fold(info, active, self.plan.group_of, self.type_ids, cursors, pieces, *arguments)
                if code:
                    self._stopped(code, info, batch)
            self.counts += cursors
            self.batches += 1

    def _passes(self, batch: Batch) -> list[tuple[npt.NDArray[np.uint8], Int64s]]:
        """What is folded of a batch in which order: the active projections and their pieces."""
        in_blocks = self.active & (1 - self.merged)
        state_bytes = sum(d.nbytes for n, d in enumerate(self.plan.defaults) if in_blocks[n])
        pieces = blocks_of(batch, len(self.counts), state_bytes)
        if len(pieces) == 0:
            return [(self.active, STORED_ORDER)]
        rest = self.active & self.merged
        return [(in_blocks, pieces), *([(rest, STORED_ORDER)] if rest.any() else [])]

    def _check_types(self, batch: Batch) -> None:
        # The kernel looks types up without asking; a plan made before the last sync may know fewer.
        if len(batch) and int(batch.types.max()) >= len(self.counts):
            raise LogError(
                f"{batch.segment} has type code {int(batch.types.max())}, and the plan knows {len(self.counts)} types",
                hint="plan the fold with the types of the manifest that the batches come from",
            )

    def _states(self, batch: Batch) -> list[Any]:
        """The kernel's arguments from the pool on, with room in each."""
        for n, keys in enumerate(self.keys):
            if not self.active[n]:
                continue
            if keys.keys is None:
                self.states[n].reserve(len(self.aggregates))
            else:
                keys.keys.reserve(self.room.keys.setdefault(n, max(1024, 2 * len(batch.aggregates))))
                # The kernel made the rows of the keys so far; growing must keep them.
                self.states[n].ready = max(self.states[n].ready, len(keys.keys))
                self.states[n].room(len(keys.keys.keys.words))
        if self.plan.makes_texts:
            self.texts.reserve(self.room.texts, self.room.size)
        arguments: list[Any] = [self.texts.pool]
        for n, keys in enumerate(self.keys):
            arguments += [self.states[n].rows, self.states[n].default]
            if keys.keys is not None:
                arguments.append(keys.keys.keys)
        return arguments

    def _check_bound(self, refused: dict[int, str]) -> None:
        stops = {n: _Stop(0, reason) for a, reason in refused.items() for n in self.plan.users[a] if self.active[n]}
        if stops:
            raise _Without(stops)

    def _stopped(self, code: int, info: Int64s, batch: Batch) -> None:
        projection, handler, event, _, what = info.tolist()
        if code == status.GROW:
            if what == NO_KEYS:
                self.room.keys[projection] *= 4
            else:
                self.room.texts *= 4
                self.room.size *= 4
            raise _Grow
        position = 0 if batch.position is None else int(batch.position[event])
        name = self.definitions[projection].handlers[handler].name
        aggregate = batch.aggregates.texts[int(batch.aggregate[event])].as_py()
        event_type = self.plan.names.types[int(batch.types[event])]
        reason = f"{status.NAMES[code]} in {name} at position {position}"
        raise _Without({projection: _Stop(code, reason, name, position, aggregate, event_type)})

    def outcome(self, n: int) -> ProjectionOutcome:
        """What the kernel made of a projection."""
        definition = self.definitions[n]
        rows, deleted = changed_rows(self.keys[n], self.states[n], self.before.get(n))
        if self.updates and deleted is None:
            deleted = key_schema(definition, self.plan.names.identity).empty_table()
        folded = int(self.counts[self.plan.handled[definition.name]].sum())
        return ProjectionOutcome(rows, deleted, folded, int(self.counts.sum()) - folded)

    def give_back(self) -> None:
        """Leave the memory of the states to the next partition of this thread."""
        # Of one plan only: a process that goes from run to run keeps no more than its last one needed.
        _spare.__dict__.clear()
        _spare.__dict__[self.plan.digest] = {n: s.rows for n, s in enumerate(self.states)}


def _used(batch: Batch) -> Int64s:
    """The dictionary entries that the batch's events use: a cut batch keeps the whole dictionary."""
    used = np.zeros(len(batch.aggregates), np.bool_)
    used[batch.aggregate] = True
    return np.flatnonzero(used)


def _touched(batches: Iterable[Batch]) -> AggregateDictionary:
    """All aggregates with events, ascending by hash."""
    parts = [(b.aggregates, _used(b)) for b in batches]
    hi = np.concatenate([np.empty(0, np.uint64), *(d.hi[used] for d, used in parts)])
    lo = np.concatenate([np.empty(0, np.uint64), *(d.lo[used] for d, used in parts)])
    scope = np.concatenate([np.empty(0, np.int16), *(d.scope[used] for d, used in parts)])
    texts = [d.texts.take(pa.array(used)) for d, used in parts]
    _, firsts = unify_hashes(hi, lo)
    together = pa.concat_arrays(texts) if texts else pa.array([], pa.utf8())
    return AggregateDictionary(together.take(pa.array(firsts)), hi[firsts], lo[firsts], scope[firsts])


def fold_partition(
    plan: FoldPlan, batches: Batches, saved: SavedRows | None = None, partition: PartitionId = _FIRST
) -> PartitionOutcome:
    """Fold a partition through all projections of the plan.

    batches: gives the partition's batches from the first, with the plan's columns and header columns. saved: the rows
    to continue from (update): asked for each projection with the hashes of the touched aggregates; not for merged keys,
    whose rows are always partial and come together in ``merge_rows``.

    Failing handlers do not raise: they are in the outcome, beside the projections that did not fail. So is a kernel
    that failed at an event which the plain handlers fold.
    """
    begun = time.perf_counter()
    clock = _Clock()
    done: dict[str, ProjectionOutcome] = {}
    attempt, stops = _fold_compiled(plan, batches, saved, clock)
    if attempt is not None:
        done = {name: attempt.outcome(n) for n, name in enumerate(plan.compiled) if attempt.active[n]}
        attempt.give_back()
    failures: list[FoldFailure] = []
    notes: list[str] = []
    for definition in plan.definitions:
        if definition.name in done:
            continue
        stop = stops.get(definition.name)
        found = fold_plain(definition, batches, plan.names, partition=partition, saved=saved)
        if isinstance(found, FoldFailure):
            failures.append(found)
            continue
        if stop is not None:
            if _disagree(definition, stop):
                failures.append(_disagreement(definition, stop, partition))
                continue
            notes.append(f"{definition.name}: {stop.reason}; folded by the twin")
        done[definition.name] = found
    if attempt is None:
        sizes = [len(batch) for batch in clock.over(batches())]
        events, count = sum(sizes), len(sizes)
    else:
        events, count = int(attempt.counts.sum()), attempt.batches
    return PartitionOutcome(
        partition=partition,
        events=events,
        batches=count,
        projections={d.name: done[d.name] for d in plan.definitions if d.name in done},
        failures=tuple(sorted(failures, key=lambda f: f.position)),
        scan_seconds=clock.seconds,
        fold_seconds=time.perf_counter() - begun - clock.seconds,
        notes=tuple(notes),
    )


def _fold_compiled(
    plan: FoldPlan, batches: Batches, saved: SavedRows | None, clock: _Clock
) -> tuple[_Attempt | None, dict[str, _Stop]]:
    """(the attempt that went through, None where nothing is left to compile; the projections that stopped)."""
    active = np.ones(len(plan.compiled), np.uint8)
    stops: dict[str, _Stop] = {}
    unmerged = any(not plan.definition(name).merged for name in plan.compiled)
    touched = _touched(clock.over(batches())) if saved is not None and unmerged else None
    while active.any():
        attempt = _Attempt(plan, active, touched, saved)
        try:
            attempt.fold(clock.over(batches()))
        except _Grow:
            continue
        except _Without as without:
            for n, stop in without.stops.items():
                active[n] = 0
                stops[plan.compiled[n]] = stop
            continue
        return attempt, stops
    return None, stops


def _disagree(definition: ProjectionDefinition, stop: _Stop) -> bool:
    """The twin may fold what the kernel refused, but no event at which the kernel failed.

    Rows of a merged key are folded in another order by the twin, so that sums on the way may fit there and not here.
    """
    return stop.code not in (0, status.REFUSED) and not definition.merged


def _disagreement(definition: ProjectionDefinition, stop: _Stop, partition: PartitionId) -> FoldFailure:
    reason = (
        f"the compiled fold stopped ({status.NAMES[stop.code]}), and the plain one did not; one of them is wrong: "
        f"please report it, and declare class {definition.cls.__name__}(Projection, compiled=False) to go on"
    )
    return FoldFailure(
        definition.name, stop.handler, stop.position, stop.aggregate_id, stop.event_type, reason, partition
    )
