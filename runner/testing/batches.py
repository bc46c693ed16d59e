"""Batches made in memory from Event objects: what the log would hand out for them, wavefront order and all.

For tests of folds and of projections; nothing is written anywhere.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.authoring.definition import Event, EventField, ProjectionDefinition
from runner.authoring.field_values import EPOCH, microseconds, scaled
from runner.batch import AggregateDictionary, Batch, PayloadArray
from runner.fold.plain_events import LogNames
from runner.kernels.hash import encode_texts, hash_texts
from runner.kernels.order import wavefront_order
from runner.values import Kind, PayloadColumn, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["MemoryLog", "SentEvent", "memory_log", "sent"]

SEPARATOR = "\x1f"


@dataclass(frozen=True)
class SentEvent:
    """An event with its whole header. absent: payload fields that the payload does not have (their values are
    ignored).
    """

    event: Event
    type: str
    aggregate_id: str
    scope: tuple[str, str]
    version: int
    position: int
    recorded_at: datetime
    absent: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """The text whose hash names the aggregate."""
        return SEPARATOR.join((*self.scope, self.aggregate_id))


@dataclass(frozen=True)
class MemoryLog:
    """A log in memory. events: ascending by position. batches: by partition, in the order of the log."""

    names: LogNames
    events: tuple[SentEvent, ...]
    partitions: tuple[tuple[Batch, ...], ...]

    def batches(self, partition: int = 0) -> Callable[[], Iterator[Batch]]:
        """What a fold takes: a function that gives the partition's batches from the first."""
        return lambda: iter(self.partitions[partition])


def sent(events: Iterable[Event], *, absent: Mapping[int, Iterable[str]] | None = None) -> tuple[SentEvent, ...]:
    """Complete the headers: events are in the order of their positions, from 1 on.

    Left out in the events: aggregate_id ("a-1"), version (counted per aggregate from 1), recorded_at (a second
    apart from 2026-01-01 on), source and tenant (""), type (the class's first). absent: by index, fields that the
    payload does not have.
    """
    done: list[SentEvent] = []
    versions: dict[tuple[str, str, str], int] = {}
    for i, event in enumerate(events):
        own = event.__dict__
        scope = (own.get("source", ""), own.get("tenant", ""))
        aggregate = own.get("aggregate_id", "a-1")
        version = own.get("version", versions.get((*scope, aggregate), 0) + 1)
        versions[*scope, aggregate] = version
        position = own.get("position", done[-1].position + 1 if done else 1)
        if done and position <= done[-1].position:
            raise ValueError(
                f"event {i}: position {position} comes after {done[-1].position}; give them in rising order"
            )
        recorded_at = own.get("recorded_at", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=position - 1))
        types = type(event).__event__.types
        stored = own.get("type") or (types[0] if types else "event")
        gone = frozenset((absent or {}).get(i, ()))
        done.append(SentEvent(event, stored, aggregate, scope, version, position, recorded_at, gone))
    return tuple(done)


def memory_log(
    events: Sequence[Event] | Sequence[SentEvent],
    definitions: Iterable[ProjectionDefinition],
    *,
    cuts: Iterable[int] = (),
    partitions: int = 1,
    types: Iterable[str] = (),
    scopes: Iterable[tuple[str, str]] = (),
) -> MemoryLog:
    """Put events into batches, with the payload columns that the projections read.

    cuts: after how many events a new segment begins: (3, 7) makes three batches of each partition. partitions: a power
    of two. types, scopes: stored types and (source, tenant) pairs that the log knows before those of the events.
    """
    whole = tuple(e if isinstance(e, SentEvent) else None for e in events)
    done = (
        sent([e for e in events if isinstance(e, Event)]) if None in whole else tuple(e for e in whole if e is not None)
    )
    names_types = tuple(dict.fromkeys((*types, *(e.type for e in done))))
    names_scopes = tuple(dict.fromkeys((*scopes, *(e.scope for e in done)))) or (("", ""),)
    names = LogNames(names_types, names_scopes, ("source", "tenant") if len(names_scopes) > 1 else ())
    columns = tuple(dict.fromkeys(c for d in definitions for c in d.payload_columns(names_types)))
    bits = partitions.bit_length() - 1
    if partitions != 1 << bits:
        raise ValueError(f"partitions is a power of two, not {partitions}")
    where = _partitions_of(done, bits)
    edges = [0, *sorted({c for c in cuts if 0 < c < len(done)}), len(done)]
    made: list[tuple[Batch, ...]] = []
    for p in range(partitions):
        parts = (
            [e for e, q in zip(done[a:b], where[a:b], strict=True) if q == p] for a, b in itertools.pairwise(edges)
        )
        batches = (_batch(f"s{n}", p, part, names, columns) for n, part in enumerate(parts) if part)
        made.append(tuple(batches))
    return MemoryLog(names, done, tuple(made))


def _partitions_of(events: Sequence[SentEvent], bits: int) -> list[int]:
    if not events or not bits:
        return [0] * len(events)
    hi, _ = hash_texts(pa.array([e.identity for e in events], pa.utf8()))
    return [int(h) >> (64 - bits) for h in hi.tolist()]


def _batch(
    segment: str, partition: int, events: Sequence[SentEvent], names: LogNames, columns: Sequence[PayloadColumn]
) -> Batch:
    codes, dictionary = encode_texts(pa.array([e.identity for e in events], pa.utf8()))
    one = {int(code): e for code, e in zip(codes.tolist(), events, strict=True)}
    texts = pa.array([one[i].aggregate_id for i in range(len(dictionary))], pa.utf8())
    scope = np.array([names.scopes.index(one[i].scope) for i in range(len(dictionary))], np.int16)
    types = np.array([names.types.index(e.type) for e in events], np.int16)
    order = wavefront_order(codes, types, len(dictionary)).tolist()
    ordered = [events[i] for i in order]
    present = {e.type for e in events}
    return Batch(
        segment=segment,
        partition=partition,
        first_position=events[0].position,
        last_position=events[-1].position,
        types=types[order],
        aggregate=codes[order],
        aggregates=AggregateDictionary(texts, dictionary.hi, dictionary.lo, scope),
        position=np.array([e.position for e in ordered], np.int64),
        version=np.array([e.version for e in ordered], np.int64),
        recorded_at=np.array([microseconds(e.recorded_at - EPOCH) for e in ordered], np.int64),
        payload={
            c: _payload(c, [e for e in ordered if e.type == c.event_type]) for c in columns if c.event_type in present
        },
    )


_ABSENT: Any = object()


def _payload(column: PayloadColumn, events: Sequence[SentEvent]) -> PayloadArray:
    return payload_array([_value(column, e) for e in events], column.type)


def _value(column: PayloadColumn, e: SentEvent) -> Any:
    """The event's value of a column: of the field of its class that reads the same path."""
    for f in type(e.event).__event__.fields:
        if f.column(column.event_type) == column or (_alike(f, column)):
            return _ABSENT if f.name in e.absent else e.event.__dict__[f.name]
    return _ABSENT


def _alike(f: EventField, column: PayloadColumn) -> bool:
    return f.paths == column.paths and f.type.kind is column.type.kind


def payload_array(values: Sequence[Any], type_: ValueType) -> PayloadArray:
    """Python values (None: null; the marker of ``sent``: absent) as the log's column."""
    valid = np.array([v is not None and v is not _ABSENT for v in values], np.uint8)
    absent = np.array([v is _ABSENT for v in values], np.uint8)
    filled = [v if ok else None for v, ok in zip(values, valid.tolist(), strict=True)]
    array = _lists(filled, type_) if type_.kind is Kind.LIST else _scalars(filled, type_)
    return replace(array, valid=None if valid.all() else valid, absent=absent if absent.any() else None)


def _scalars(values: Sequence[Any], type_: ValueType) -> PayloadArray:
    kind = type_.kind
    if kind in (Kind.STR, Kind.UUID, Kind.ENUM):
        texts = pa.array([None if v is None else _text(v) for v in values], pa.utf8())
        codes, dictionary = encode_texts(texts)
        return PayloadArray(type_, codes, dictionary=dictionary)
    if kind is Kind.FLOAT:
        return PayloadArray(type_, np.array([0.0 if v is None else v for v in values], np.float64))
    if kind is Kind.BOOL:
        return PayloadArray(type_, np.array([0 if v is None else int(v) for v in values], np.uint8))
    return PayloadArray(type_, np.array([0 if v is None else _number(v, type_) for v in values], np.int64))


def _text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    return str(value) if isinstance(value, (UUID, int)) else str.__str__(value)


def _number(value: Any, type_: ValueType) -> int:
    if isinstance(value, datetime):
        return microseconds(value - EPOCH)
    if isinstance(value, date):
        return value.toordinal() - EPOCH.toordinal()
    if isinstance(value, timedelta):
        return microseconds(value)
    if isinstance(value, Decimal) or type_.kind is Kind.DECIMAL:
        return scaled(value, type_)
    return int(value)


def _lists(values: Sequence[Any], type_: ValueType) -> PayloadArray:
    element = type_.element
    assert element is not None
    lists: list[Sequence[Any]] = [() if v is None else v for v in values]
    offsets: npt.NDArray[np.int32] = np.zeros(len(lists) + 1, np.int32)
    np.cumsum([len(v) for v in lists], out=offsets[1:])
    flat = [v for inner in lists for v in inner]
    if element.kind is not Kind.RECORD:
        return PayloadArray(type_, offsets, element=payload_array(flat, element))
    fields = {f.name: payload_array([v.__dict__[f.name] for v in flat], f.type) for f in element.fields}
    return PayloadArray(type_, offsets, fields=fields)
