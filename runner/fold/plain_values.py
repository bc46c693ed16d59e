"""Payload columns turned back into Python values, for the twin: the obvious way, one value at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from runner.authoring.events import BAD
from runner.authoring.field_values import duration, from_microseconds, unscaled
from runner.values import Kind, RecordField, ValueType

if TYPE_CHECKING:
    from runner.authoring.definition import EventField
    from runner.authoring.field_types import EnumClasses, RecordClass
    from runner.batch import PayloadArray

__all__ = ["PlainColumn", "plain_column", "plain_elements"]

Int64s = npt.NDArray[np.int64]
EPOCH_DAY = date(1970, 1, 1).toordinal()


@dataclass
class PlainColumn:
    """A field's values. bad: entries whose stored value is none of the type's (an enum member that does not exist),
    by index, with the reason. missing: entries that are absent or null and must not be.
    """

    values: list[Any]
    bad: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)


def plain_column(column: PayloadArray, f: EventField, at: Int64s) -> PlainColumn:
    """The values of a field at entries ``at`` (int64[n]) of its column; defaults stand in for absent ones."""
    return _column(column, _wanted(f), at)


def plain_elements(column: PayloadArray, f: EventField, name: str, flat: Int64s) -> PlainColumn:
    """The values at entries ``flat`` (int64[n]) of a list field's elements: of their field ``name``, "": themselves."""
    wanted, element = _wanted(f), f.type.element
    assert element is not None
    if not name:
        assert column.element is not None
        return _column(column.element, _element(wanted, element), flat)
    return _column(column.fields[name], _field(wanted, next(x for x in element.fields if x.name == name)), flat)


@dataclass(frozen=True)
class _Wanted:
    name: str
    type: ValueType
    has_default: bool
    default: object
    enums: EnumClasses
    record: RecordClass | None


def _column(column: PayloadArray, wanted: _Wanted, at: Int64s) -> PlainColumn:
    plain = _list(column, wanted, at) if wanted.type.kind is Kind.LIST else _scalars(column, wanted, at)
    if column.valid is None:
        return plain
    valid = column.valid[at]
    absent = np.zeros(len(at), np.uint8) if column.absent is None else column.absent[at]
    for i in np.flatnonzero(valid == 0).tolist():
        plain.bad.pop(i, None)
        if absent[i] and wanted.has_default:
            plain.values[i] = wanted.default
        elif wanted.type.optional:
            plain.values[i] = None
        else:
            plain.missing[i] = f"{wanted.name} is {'absent' if absent[i] else 'null'}"
    return plain


def _scalars(column: PayloadArray, wanted: _Wanted, at: Int64s) -> PlainColumn:
    kind = wanted.type.kind
    stored = column.values[at]
    if kind in (Kind.INT, Kind.FLOAT):
        return PlainColumn(stored.tolist())
    if kind is Kind.BOOL:
        return PlainColumn([v == 1 for v in stored.tolist()])
    codes, inverse = np.unique(stored, return_inverse=True)
    if column.dictionary is None:
        distinct: list[Any] = codes.tolist()
    else:
        # Entries without a value have code 0, which an empty dictionary lacks.
        codes = codes[codes < len(column.dictionary)]
        distinct = column.dictionary.texts.take(codes.astype(np.int64)).to_pylist() or [""]
    values: list[Any] = []
    failed: dict[int, str] = {}
    members = _members(wanted)
    for i, value in enumerate(distinct):
        try:
            values.append(_value(value, wanted.type, members))
        except (ValueError, OverflowError, KeyError):
            values.append(None)
            failed[i] = f"{wanted.name}: {value!r} is no {_shown(wanted.type)}"
    places = inverse.tolist()
    bad = {i: failed[p] for i, p in enumerate(places) if p in failed} if failed else {}
    return PlainColumn([values[p] for p in places], bad)


def _members(wanted: _Wanted) -> dict[str, Any]:
    """Enum values by the text under which the log stores them."""
    if wanted.type.kind is not Kind.ENUM:
        return {}
    cls = wanted.enums.get(wanted.type.enum)
    return {str(m): m if cls is None else cls(m) for m in wanted.type.members}


def _value(value: Any, type_: ValueType, members: dict[str, Any]) -> Any:
    kind = type_.kind
    if kind is Kind.STR:
        return value
    if kind is Kind.ENUM:
        return members[value]
    if kind is Kind.UUID:
        return UUID(value)
    if kind is Kind.DATETIME:
        return from_microseconds(value)
    if kind is Kind.DATE:
        return date.fromordinal(value + EPOCH_DAY)
    if kind is Kind.TIMEDELTA:
        return duration(value)
    assert kind is Kind.DECIMAL
    return unscaled(value, type_.scale)


def _shown(type_: ValueType) -> str:
    return f"one of {', '.join(map(repr, type_.members))}" if type_.kind is Kind.ENUM else str(type_.kind)


def _list(column: PayloadArray, wanted: _Wanted, at: Int64s) -> PlainColumn:
    starts, stops = column.values[at].astype(np.int64), column.values[at + 1].astype(np.int64)
    lengths = stops - starts
    ends = np.cumsum(lengths)
    # The elements of all asked lists, one behind the other.
    flat = np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)
    elements = _elements(column, wanted, flat)
    owners = np.repeat(np.arange(len(at)), lengths)
    plain = PlainColumn([])
    for begin, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
        plain.values.append(tuple(elements.values[begin:end]))
    for i, reason in elements.bad.items():
        plain.bad.setdefault(int(owners[i]), reason)
    for i, reason in elements.missing.items():
        plain.missing.setdefault(int(owners[i]), reason)
    return plain


def _elements(column: PayloadArray, wanted: _Wanted, flat: Int64s) -> PlainColumn:
    element = wanted.type.element
    assert element is not None
    if element.kind is not Kind.RECORD:
        assert column.element is not None
        return _column(column.element, _element(wanted, element), flat)
    assert wanted.record is not None
    columns = {f.name: _column(column.fields[f.name], _field(wanted, f), flat) for f in element.fields}
    plain = PlainColumn([])
    names = tuple(columns)
    for values in zip(*(c.values for c in columns.values()), strict=True):
        made = object.__new__(wanted.record)
        made.__dict__.update(zip(names, values))  # noqa: B905 - as long as the columns, by construction
        plain.values.append(made)
    for name, inner_column in columns.items():
        for i, reason in inner_column.bad.items():
            own = plain.values[i].__dict__
            del own[name]
            own.setdefault(BAD, {})[name] = reason
        plain.missing.update(inner_column.missing)
    return plain


def _wanted(f: EventField) -> _Wanted:
    return _Wanted(f.name, f.type, f.has_default, f.default, f.enums, f.record)


def _element(wanted: _Wanted, element: ValueType) -> _Wanted:
    return _Wanted(f"an element of {wanted.name}", element, False, None, wanted.enums, None)


def _field(wanted: _Wanted, f: RecordField) -> _Wanted:
    return _Wanted(f"{wanted.name}.{f.name}", f.type, f.has_default, f.default, wanted.enums, None)
