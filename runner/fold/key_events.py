"""Which events may touch one row of a merged key, found in columns: the twin then folds those alone.

An event is taken where a handler's key has the wanted values, and where that cannot be told because a value is
missing or unreadable, since the twin has to say so. Each distinct stored value is turned into a Python value once, by
what the twin itself uses; key functions are called for the events that the other key parts leave.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runner.authoring.field_values import EXACT, check_for
from runner.fold.checked import checked_functions
from runner.fold.plain_events import BatchColumns, EventReader
from runner.fold.plain_values import plain_column, plain_elements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.authoring.definition import EventField, HandlerDefinition, KeySource, ProjectionDefinition
    from runner.batch import Batch, PayloadArray
    from runner.fold.plain_events import LogNames
    from runner.values import ValueType

__all__ = ["KeyEvents"]

CHUNK = 2_048
"""Events that are Python objects at the same time: few, so that they stay in the caches and die young."""

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]


class KeyEvents:
    """bool[n] for a batch: which of its events may touch the row. ``matches``: by key column, whether a value of it is
    the wanted one.
    """

    def __init__(
        self, definition: ProjectionDefinition, names: LogNames, matches: Sequence[Callable[[object], bool]]
    ) -> None:
        self.definition, self.names, self.matches = definition, names, tuple(matches)
        self._functions = checked_functions(definition).keys

    def __call__(self, batch: Batch) -> Bools:
        columns = BatchColumns(batch)
        kept = np.zeros(len(batch), np.bool_)
        with decimal.localcontext(EXACT):
            for code in np.unique(batch.types).tolist():
                places = np.flatnonzero(batch.types == code)
                for handler in self.definition.handlers_of(self.names.types[code]):
                    kept[places] |= self._of_handler(handler, code, columns, places)
        return kept

    def _of_handler(self, handler: HandlerDefinition, code: int, columns: BatchColumns, places: Int64s) -> Bools:
        """bool[m] for the events at ``places``, which are those of the type."""
        name = self.names.types[code]
        unreadable = np.zeros(len(places), np.bool_)
        for f in handler.event.fields:
            if f.name in self.definition.reads[handler.name]:
                unreadable |= _lacking(columns.batch.payload[f.column(name)], f)
        left = np.flatnonzero(~unreadable)
        parts = list(zip(handler.key, self.matches, range(len(handler.key)), strict=True))
        for source, matches, part in sorted(parts, key=lambda p: p[0].scope == "function"):
            at = places[left]
            if source.scope == "function":
                found = self._by_function(handler, source, matches, part, code, columns, at)
            elif source.scope == "element":
                found = _by_element(handler, source, matches, name, columns, at)
            elif source.scope == "event":
                found = _by_field(handler, source, matches, name, columns, at)
            else:
                found = self._by_header(source, matches, code, columns, at)
            left = left[found]
        unreadable[left] = True
        return unreadable

    def _by_header(
        self, source: KeySource, matches: Callable[[object], bool], code: int, columns: BatchColumns, places: Int64s
    ) -> Bools:
        batch, name = columns.batch, source.name
        stored: Any = getattr(batch, name, None)
        if name == "type":
            stored = batch.types
        elif name in ("source", "tenant", "aggregate_id"):
            stored = batch.aggregate
        _, first, inverse = np.unique(stored[places], return_index=True, return_inverse=True)
        values, failed = columns.header(name, code, places[first], self.names)
        return _judged(values, failed, matches)[inverse]

    def _by_function(
        self,
        handler: HandlerDefinition,
        source: KeySource,
        matches: Callable[[object], bool],
        part: int,
        code: int,
        columns: BatchColumns,
        places: Int64s,
    ) -> Bools:
        function, key = self._functions[source.name], self.definition.key[part]
        check = check_for(key.type, key.name, key.enums)
        reader = EventReader(handler.event, self.definition.reads[handler.name])

        known: dict[object, bool] = {}

        def judged(value: Any) -> bool:
            # Many events, few values.
            found = known.get(value)
            if found is None:
                found = known[value] = matches(value)
            return found

        def touches(event: Any) -> bool:
            try:
                if source.takes_element:
                    return any(judged(check(function(event, element))) for element in getattr(event, handler.each))
                return judged(check(function(event)))
            except Exception:  # whatever the author's code raises is the event's failure, and the twin's to tell
                return True

        found = np.zeros(len(places), np.bool_)
        for start in range(0, len(places), CHUNK):
            events, _ = columns.objects(reader, code, places[start : start + CHUNK], self.names)
            found[start : start + CHUNK] = [touches(event) for event in events]
        return found


def _by_field(
    handler: HandlerDefinition,
    source: KeySource,
    matches: Callable[[object], bool],
    event_type: str,
    columns: BatchColumns,
    places: Int64s,
) -> Bools:
    f = handler.event.field(source.name)
    assert f is not None, "a key part of the event has a field that it comes from"
    column = columns.batch.payload[f.column(event_type)]
    at = columns.dense[places]
    first, inverse = _distinct(column, at)
    plain = plain_column(column, f, at[first])
    return _judged(plain.values, {**plain.bad, **plain.missing}, matches)[inverse]


def _by_element(
    handler: HandlerDefinition,
    source: KeySource,
    matches: Callable[[object], bool],
    event_type: str,
    columns: BatchColumns,
    places: Int64s,
) -> Bools:
    """Whether some element of each event's list has the value."""
    f = handler.list_field
    assert f is not None, "a key part of an element has a list that it comes from"
    column = columns.batch.payload[f.column(event_type)]
    at = columns.dense[places]
    starts, stops = column.values[at].astype(np.int64), column.values[at + 1].astype(np.int64)
    lengths = stops - starts
    ends = np.cumsum(lengths)
    flat = np.repeat(starts - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
    child = column.fields[source.name] if source.name else column.element
    assert child is not None
    first, inverse = _distinct(child, flat)
    plain = plain_elements(column, f, source.name, flat[first])
    found = _judged(plain.values, {**plain.bad, **plain.missing}, matches)[inverse]
    owners = np.repeat(np.arange(len(places)), lengths)
    touched: Bools = np.bincount(owners[found], minlength=len(places)) > 0
    return touched


def _judged(values: Sequence[object], failed: dict[int, str], matches: Callable[[object], bool]) -> Bools:
    return np.array([i in failed or matches(value) for i, value in enumerate(values)], np.bool_)


def _distinct(column: PayloadArray, at: Int64s) -> tuple[Int64s, Int64s]:
    """(a place in ``at`` of each distinct entry, int64[n] which of them each is); null and absent are entries too."""
    _, codes = np.unique(column.values[at], return_inverse=True)
    for flags in (column.valid, column.absent):
        if flags is not None:
            codes = codes * 2 + flags[at]
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return first, inverse


def _lacking(column: PayloadArray, f: EventField) -> Bools:
    """bool[n]: entries without a value that must have one, also inside of a list."""
    lacking = _without(column, f.type, has_default=f.has_default)
    element = f.type.element
    if element is None:
        return lacking
    children = [(column.element, element, False)]
    if column.fields:
        children = [(column.fields[r.name], r.type, r.has_default) for r in element.fields]
    ends = column.values.astype(np.int64)
    owners = np.repeat(np.arange(len(column)), ends[1:] - ends[:-1])
    for child, type_, has_default in children:
        assert child is not None, "a list of scalars has its elements"
        inside = owners[_without(child, type_, has_default=has_default)[: len(owners)]]
        lacking |= np.bincount(inside, minlength=len(column)) > 0
    return lacking


def _without(column: PayloadArray, type_: ValueType, *, has_default: bool) -> Bools:
    if type_.optional or column.valid is None:
        return np.zeros(len(column), np.bool_)
    without: Bools = column.valid == 0
    return without if not has_default or column.absent is None else without & (column.absent == 0)
