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

__all__ = ["Sample", "available", "choose", "quotas", "restricted", "scores_of"]

UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Found = tuple[UInt64s, UInt64s, npt.NDArray[np.int64]]


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
    for batch in log.batches(partition, (), frozenset(), to=to):
        # A batch in wavefront order begins with an event of each of its aggregates.
        if len(np.unique(batch.aggregate[: 2 * most])) >= most:
            return most
    return min(most, len(_aggregates(log, partition, to)[0]))


def choose(
    log: Log, partition: PartitionId, to: Position, *, count: int | None, seed: int, most_events: int | None = None
) -> Sample:
    """``count`` aggregates of the partition (None: all), each with all of its events up to ``to``.

    most_events: no further aggregates once this many events are in it, so that a log of few giants does not make a
    proof as long as a fold in plain Python; the first is taken whatever its size.
    """
    hi, lo, events = _aggregates(log, partition, to) if count is None else _lowest(log, partition, to, count, seed)
    if count is not None:
        order = np.argsort(scores_of(hi, lo, seed), kind="stable")[:count]
        if most_events is not None:
            order = order[: max(1, int(np.searchsorted(np.cumsum(events[order]), most_events, "right")))]
        order = np.sort(order)  # rows ascend by hash
        hi, lo, events = hi[order], lo[order], events[order]
    return Sample(hi, lo, int(events.sum()))


def _lowest(log: Log, partition: PartitionId, to: Position, count: int, seed: int) -> Found:
    """Of ``_aggregates`` those of the ``count`` lowest scores, and perhaps some more.

    Only entries of dictionaries that may be among them are counted, which takes one look at each event: counting and
    sorting all aggregates took three times what the fold itself takes.
    """
    batches = list(log.batches(partition, (), frozenset(), to=to))
    scores = [scores_of(batch.aggregates.hi, batch.aggregates.lo, seed) for batch in batches]
    everything = np.concatenate([*scores, np.zeros(0, np.uint64)])
    wanted = count * max(1, len(batches))  # an aggregate may have an entry in each batch
    while True:
        all_of_them = wanted >= len(everything)
        # Entries of one aggregate have one score: a bound takes all of them or none.
        bound = np.uint64(2**64 - 1) if all_of_them else np.partition(everything, wanted - 1)[wanted - 1]
        found = _joined(
            [_counted(batch, np.flatnonzero(own <= bound)) for batch, own in zip(batches, scores, strict=True)]
        )
        # A batch that is cut at ``to`` has entries of aggregates that have no event before it.
        if all_of_them or len(found[0]) >= count:
            return found
        wanted *= 4


def _counted(batch: Batch, entries: npt.NDArray[np.int64]) -> Found:
    """(hi, lo, events) of those of these entries of the batch's dictionary that have events in it."""
    places = np.zeros(len(batch.aggregates), np.int32)
    places[entries] = np.arange(1, len(entries) + 1, dtype=np.int32)
    here = places[batch.aggregate]
    counts = np.bincount(here[here > 0], minlength=len(entries) + 1)[1:]
    entries, counts = entries[counts > 0], counts[counts > 0]
    return batch.aggregates.hi[entries], batch.aggregates.lo[entries], counts


def _aggregates(log: Log, partition: PartitionId, to: Position) -> Found:
    """(hi, lo, events) of the partition's aggregates, ascending by hash."""
    batches = log.batches(partition, (), frozenset(), to=to)
    return _joined([_counted(batch, np.arange(len(batch.aggregates))) for batch in batches])


def _joined(found: Sequence[Found]) -> Found:
    """The same with each aggregate once, its events added up; ascending by hash."""
    if not found:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hi, lo, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((lo, hi))
    hi, lo, counts = hi[order], lo[order], counts[order]
    first = np.ones(len(hi), np.bool_)
    first[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    starts = np.flatnonzero(first)
    return hi[starts], lo[starts], np.add.reduceat(counts, starts) if len(starts) else counts


def scores_of(hi: UInt64s, lo: UInt64s, seed: int) -> UInt64s:
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
    kept = np.flatnonzero(mask[batch.aggregate])
    if not len(kept):
        return None
    used = np.zeros(len(batch.aggregates), np.bool_)
    used[batch.aggregate[kept]] = True
    entries = np.flatnonzero(used)
    places = np.zeros(len(used), np.int32)
    places[entries] = np.arange(len(entries), dtype=np.int32)
    of_type, among = batch.types[kept], _places_among_their_type(batch.types, kept)
    payload = {}
    for column, array in batch.payload.items():
        own = among[of_type == types.index(column.event_type)]
        if len(own):
            payload[column] = take_column(array, own)
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


def _places_among_their_type(types: npt.NDArray[np.int16], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[n]: how many events of the same type stand before each of these rows, by the runs of one type."""
    starts = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(types[1:] != types[:-1]) + 1])
    lengths = np.diff(starts, append=len(types))
    before = np.empty(len(starts), np.int64)
    of_run = types[starts]
    for code in np.unique(of_run):
        runs = of_run == code
        before[runs] = np.cumsum(lengths[runs]) - lengths[runs]
    run = np.searchsorted(starts, rows, "right") - 1
    places: npt.NDArray[np.int64] = before[run] + rows - starts[run]
    return places
