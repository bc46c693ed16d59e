"""Which aggregates a proof folds again: whole ones, chosen by a seed, the same on all machines and engines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.batch import AggregateDictionary, Batch
from runner.log.columns import take_column
from runner.positions import PartitionId, Position
from runner.sinks.newest import in_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.log.reader import Log

__all__ = ["Sample", "available", "choose", "quotas", "restricted"]

UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """Aggregates of one partition, ascending by hash; a ``Wanted`` of the plain twin."""

    hi: UInt64s
    lo: UInt64s
    events: int

    def __len__(self) -> int:
        return len(self.hi)

    def __call__(self, dictionary: AggregateDictionary) -> Bools:
        """bool[n]: which of the dictionary's aggregates are in the sample."""
        return in_hashes(dictionary.hi, dictionary.lo, self.hi, self.lo)


def seed_of(log_id: str, position: Position) -> int:
    """The seed of a proof: another position of the log gives other aggregates."""
    return int.from_bytes(hashlib.sha256(f"{log_id}:{position}".encode()).digest()[:8], "little")


def quotas(aggregates: int, available: Sequence[int], seed: int) -> dict[PartitionId, int]:
    """How many aggregates each partition gives, of ``available`` ones each: spread evenly, what is over to partitions
    picked by the seed. What a partition lacks is handed on to the others, so that all are taken where there are fewer.
    """
    order = np.random.default_rng(seed).permutation(len(available)).tolist()
    given = [0] * len(available)
    left = min(aggregates, sum(available))
    while left:
        # A round gives the same to each that has room; fewer than there are partitions go to the first of the order.
        room = [p for p in order if given[p] < available[p]]
        each, over = divmod(left, len(room))
        for p in room if each else room[:over]:
            given[p] += min(each or 1, available[p] - given[p])
        left = min(aggregates, sum(available)) - sum(given)
    return {PartitionId(p): count for p, count in enumerate(given) if count}


def available(log: Log, partition: PartitionId, to: Position, most: int) -> int:
    """How many aggregates the partition has up to ``to``; ``most`` where there are more, which is known early."""
    hi, lo = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    for batch in log.batches(partition, (), frozenset(), to=to):
        seen = np.bincount(batch.aggregate, minlength=len(batch.aggregates)) > 0
        hi, lo = np.concatenate((hi, batch.aggregates.hi[seen])), np.concatenate((lo, batch.aggregates.lo[seen]))
        order = np.lexsort((lo, hi))
        hi, lo = hi[order], lo[order]
        first = np.ones(len(hi), np.bool_)
        first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
        hi, lo = hi[first], lo[first]
        if len(hi) >= most:
            return most
    return len(hi)


def choose(
    log: Log, partition: PartitionId, to: Position, *, count: int | None, seed: int, most_events: int | None = None
) -> Sample:
    """``count`` aggregates of the partition (None: all), each with all of its events up to ``to``.

    most_events: no further aggregates once this many events are in it, so that a log of few giants does not make a
    proof as long as a fold in plain Python; the first is taken whatever its size.
    """
    hi, lo, events = _aggregates(log, partition, to)
    if count is not None:
        order = np.argsort(_scores(hi, lo, seed), kind="stable")[:count]
        if most_events is not None:
            order = order[: max(1, int(np.searchsorted(np.cumsum(events[order]), most_events, "right")))]
        order = np.sort(order)  # rows of _aggregates ascend by hash
        hi, lo, events = hi[order], lo[order], events[order]
    return Sample(hi, lo, int(events.sum()))


def _aggregates(log: Log, partition: PartitionId, to: Position) -> tuple[UInt64s, UInt64s, npt.NDArray[np.int64]]:
    """(hi, lo, events) of the partition's aggregates, ascending by hash."""
    found: list[tuple[UInt64s, UInt64s, npt.NDArray[np.int64]]] = []
    for batch in log.batches(partition, (), frozenset(), to=to):
        counts = np.bincount(batch.aggregate, minlength=len(batch.aggregates))
        seen = counts > 0
        found.append((batch.aggregates.hi[seen], batch.aggregates.lo[seen], counts[seen]))
    if not found:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hi, lo, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((lo, hi))
    hi, lo, counts = hi[order], lo[order], counts[order]
    first = np.ones(len(hi), np.bool_)
    first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    starts = np.flatnonzero(first)
    return hi[starts], lo[starts], np.add.reduceat(counts, starts) if len(starts) else counts


def _scores(hi: UInt64s, lo: UInt64s, seed: int) -> UInt64s:
    """uint64[n]: a number for each aggregate that is as good as random and differs with the seed (splitmix64)."""
    mixed = hi ^ np.uint64(seed) ^ (lo * np.uint64(0x9E3779B97F4A7C15))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scores: UInt64s = mixed ^ (mixed >> np.uint64(31))
    return scores


def restricted(batch: Batch, wanted: Sample, types: tuple[str, ...]) -> Batch | None:
    """The batch with the events of the wanted aggregates alone (a copy); None where there are none.

    types: the log's stored type names by code.
    """
    mask = wanted(batch.aggregates)
    keep = mask[batch.aggregate]
    kept = np.flatnonzero(keep)
    if not len(kept):
        return None
    used = np.zeros(len(batch.aggregates), np.bool_)
    used[batch.aggregate[kept]] = True
    entries = np.flatnonzero(used)
    places = np.zeros(len(used), np.int32)
    places[entries] = np.arange(len(entries), dtype=np.int32)
    of_type = {name: batch.types == code for code, name in enumerate(types)}
    payload = {
        column: take_column(array, np.flatnonzero(keep[of_type[column.event_type]]))
        for column, array in batch.payload.items()
        if bool((keep & of_type[column.event_type]).any())
    }
    a = batch.aggregates
    return replace(
        batch,
        types=batch.types[kept],
        aggregate=places[batch.aggregate[kept]],
        aggregates=AggregateDictionary(a.texts.take(pa.array(entries)), a.hi[entries], a.lo[entries], a.scope[entries]),
        position=None if batch.position is None else batch.position[kept],
        version=None if batch.version is None else batch.version[kept],
        recorded_at=None if batch.recorded_at is None else batch.recorded_at[kept],
        payload=payload,
    )
