"""Batches turned back into Event objects, in position order: what the twin folds.

A batch's payload is dense per type in wavefront order; each event's place among its type is counted first, then events
are taken by position, a bounded number at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runner.authoring.definition import HEADER, EventDefinition, ProjectionDefinition
from runner.authoring.events import BAD, Event
from runner.authoring.field_values import EPOCH, from_microseconds
from runner.batch import AggregateDictionary, Batch
from runner.fold.plain_values import PlainColumn, plain_column

__all__ = [
    "BatchColumns",
    "EventReader",
    "Kept",
    "LogNames",
    "PlainChunk",
    "PlainEvent",
    "Wanted",
    "plain_events",
]

CHUNK = 16_384
"""Events that are Python objects at the same time."""

NO_TIME = -(2**63)

Wanted = Callable[[AggregateDictionary], npt.NDArray[np.bool_]]
"""Which aggregates of a dictionary are folded: bool[n]."""

Kept = Callable[[Batch], npt.NDArray[np.bool_]]
"""Which events of a batch are folded: bool[n]."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LogNames:
    """What the codes in batches stand for. types: stored type names by code; scopes: (source, tenant) by code.

    identity: the identity columns of rows, () where the log has one scope.
    """

    types: tuple[str, ...]
    scopes: tuple[tuple[str, str], ...] = (("", ""),)
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlainEvent:
    """Where an event stands. aggregate: code in the batch's dictionary; key: (scope, aggregate id)."""

    position: int
    type_code: int
    batch: Batch
    aggregate: int
    key: tuple[int, str]


class PlainChunk:
    """Events on their way to their handlers, ascending by position; one list an attribute, since an object for each
    event would cost more than its handlers.

    batches, aggregates, codes, keys, positions: as in PlainEvent. objects: by event class, the event where it reads
    its type. unreadable: by index, why a field that handlers read has no value.
    """

    def __init__(self, size: int) -> None:
        self.positions = [0] * size
        self.codes = [0] * size
        self.batches: list[Any] = [None] * size
        self.aggregates = [0] * size
        self.keys: list[tuple[int, str]] = [(0, "")] * size
        self.objects: dict[str, list[Any]] = {}
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.positions)

    def event(self, i: int) -> PlainEvent:
        """Where event i stands."""
        return PlainEvent(self.positions[i], self.codes[i], self.batches[i], self.aggregates[i], self.keys[i])


@dataclass(frozen=True)
class EventReader:
    """One event class as it reads one stored type."""

    event: EventDefinition
    names: frozenset[str]


def plain_events(
    definition: ProjectionDefinition,
    batches: Iterable[Batch],
    names: LogNames,
    wanted: Wanted | None = None,
    kept: Kept | None = None,
) -> Iterator[PlainChunk]:
    """The events that have handlers, ascending by position. Batches are in the order of the log."""
    readers = {code: _readers(definition, name) for code, name in enumerate(names.types)}
    for group in _overlapping(batches):
        yield from _group_events(group, readers, names, wanted, kept)


def _readers(definition: ProjectionDefinition, event_type: str) -> tuple[EventReader, ...]:
    found: dict[str, EventReader] = {}
    for handler in definition.handlers_of(event_type):
        name = handler.event.cls.__module__ + ":" + handler.event.cls.__qualname__
        before = found[name].names if name in found else frozenset()
        found[name] = EventReader(handler.event, before | definition.reads[handler.name])
    return tuple(found.values())


def _overlapping(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches whose positions interleave come together; others one by one."""
    group: list[Batch] = []
    for batch in batches:
        if group and batch.first_position > max(b.last_position for b in group):
            yield group
            group = []
        group.append(batch)
    if group:
        yield group


def _group_events(
    group: list[Batch],
    readers: dict[int, tuple[EventReader, ...]],
    names: LogNames,
    wanted: Wanted | None,
    kept: Kept | None,
) -> Iterator[PlainChunk]:
    places = [_handled(batch, readers, wanted, kept) for batch in group]
    positions = np.concatenate([_positions(b)[p] for b, p in zip(group, places, strict=True)])
    owner = np.repeat(np.arange(len(group)), [len(p) for p in places])
    index = np.concatenate(places)
    order = np.argsort(positions, kind="stable")
    columns = [BatchColumns(batch) for batch in group]
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        events = PlainChunk(len(chunk))
        for b in np.unique(owner[chunk]).tolist():
            mine = np.flatnonzero(owner[chunk] == b)
            columns[b].fill(events, mine, index[chunk[mine]], readers, names)
        yield events


def _positions(batch: Batch) -> Int64s:
    assert batch.position is not None, "the twin needs the position column"
    return batch.position


def _handled(
    batch: Batch, readers: dict[int, tuple[EventReader, ...]], wanted: Wanted | None, kept: Kept | None
) -> Int64s:
    """Places in the batch of the events that have handlers."""
    has = np.array([bool(readers.get(code)) for code in range(max(readers, default=0) + 1)], np.bool_)
    mask = has[batch.types]
    if wanted is not None:
        mask = mask & wanted(batch.aggregates)[batch.aggregate]
    if kept is not None:
        mask = mask & kept(batch)
    return np.flatnonzero(mask)


class BatchColumns:
    """A batch, and each event's place among the events of its type."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.dense = np.zeros(len(batch), np.int64)
        for code in np.unique(batch.types).tolist():
            mine = np.flatnonzero(batch.types == code)
            self.dense[mine] = np.arange(len(mine))

    def fill(
        self,
        events: PlainChunk,
        at: Int64s,
        places: Int64s,
        readers: dict[int, tuple[EventReader, ...]],
        names: LogNames,
    ) -> None:
        """Put the events at ``places`` of the batch to the places ``at`` of the chunk."""
        batch = self.batch
        positions, codes = _positions(batch)[places].tolist(), batch.types[places].tolist()
        distinct, inverse = np.unique(batch.aggregate[places], return_inverse=True)
        keys = self._keys(distinct)
        for i, position, code, n in zip(at.tolist(), positions, codes, inverse.tolist(), strict=True):
            events.positions[i], events.codes[i], events.batches[i] = position, code, batch
            events.aggregates[i], events.keys[i] = keys[n]
        for code in np.unique(batch.types[places]).tolist():
            mine = np.flatnonzero(batch.types[places] == code)
            for reader in readers[code]:
                objects, unreadable = self.objects(reader, code, places[mine], names)
                key = reader.event.cls.__module__ + ":" + reader.event.cls.__qualname__
                target = events.objects.setdefault(key, [None] * len(events))
                for i, made in zip(at[mine].tolist(), objects, strict=True):
                    target[i] = made
                for i, reason in unreadable.items():
                    events.unreadable.setdefault(int(at[mine[i]]), reason)

    def _keys(self, aggregates: npt.NDArray[np.int32]) -> list[tuple[int, tuple[int, str]]]:
        """(code, (scope, id)) of dictionary codes."""
        dictionary = self.batch.aggregates
        ids = dictionary.texts.take(aggregates.astype(np.int64)).to_pylist()
        scopes = dictionary.scope[aggregates].tolist()
        return list(zip(aggregates.tolist(), zip(scopes, ids, strict=True), strict=True))

    def objects(
        self, reader: EventReader, code: int, places: Int64s, names: LogNames
    ) -> tuple[list[Event], dict[int, str]]:
        """The events of type ``code`` at ``places``, with what the reader reads; why a value is missing, by index."""
        columns: dict[str, list[Any]] = {}
        bad: dict[int, dict[str, str]] = {}
        unreadable: dict[int, str] = {}
        for name in sorted(reader.names & set(HEADER)):
            values, failed = self.header(name, code, places, names)
            columns[name] = values
            for i, reason in failed.items():
                bad.setdefault(i, {})[name] = reason
        for f in reader.event.fields:
            if f.name not in reader.names:
                continue
            column = self.batch.payload[f.column(names.types[code])]
            plain: PlainColumn = plain_column(column, f, self.dense[places])
            columns[f.name] = plain.values
            for i, reason in plain.bad.items():
                bad.setdefault(i, {})[f.name] = reason
            for i, reason in plain.missing.items():
                unreadable.setdefault(i, reason)
        objects = _make(reader.event.cls, columns, len(places))
        for i, reasons in bad.items():
            # Reading such a field fails, as it does in the kernel; a handler that does not reach it is not concerned.
            for name in reasons:
                del objects[i].__dict__[name]
            objects[i].__dict__[BAD] = reasons
        return objects, unreadable

    def header(self, name: str, code: int, places: Int64s, names: LogNames) -> tuple[list[Any], dict[int, str]]:
        """A header field's values at ``places``, all of type ``code``; why one cannot be read, by index."""
        batch = self.batch
        if name == "type":
            return [names.types[code]] * len(places), {}
        if name in ("source", "tenant"):
            part = ("source", "tenant").index(name)
            return [names.scopes[s][part] for s in batch.aggregates.scope[batch.aggregate[places]].tolist()], {}
        if name == "aggregate_id":
            distinct, inverse = np.unique(batch.aggregate[places], return_inverse=True)
            ids = batch.aggregates.texts.take(distinct.astype(np.int64)).to_pylist()
            return [ids[n] for n in inverse.tolist()], {}
        values: Int64s | None = getattr(batch, name)
        assert values is not None, f"the handlers read {name}, and the scan did not ask for it"
        taken = values[places].tolist()
        if name != "recorded_at":
            return taken, {}
        times: list[Any] = []
        failed: dict[int, str] = {}
        for i, value in enumerate(taken):
            try:
                times.append(from_microseconds(value))
            except OverflowError:
                times.append(EPOCH)
                failed[i] = "the source gives no recorded_at" if value == NO_TIME else "recorded_at is out of range"
        return times, failed


def _make(cls: type[Event], columns: dict[str, list[Any]], count: int) -> list[Event]:
    """Events of a class with these values, which are normalised already."""
    new = object.__new__
    if not columns:
        return [new(cls) for _ in range(count)]
    names: Sequence[str] = tuple(columns)
    made = []
    for values in zip(*columns.values(), strict=True):
        event = new(cls)
        event.__dict__.update(zip(names, values))  # noqa: B905 - as long as the columns, by construction
        made.append(event)
    return made
