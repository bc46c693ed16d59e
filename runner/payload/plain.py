"""The plain twin of ``decode``: every payload parsed by ``json``, every value looked at on its own. For comparison,
not for speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from runner.batch import PayloadArray
from runner.kernels.hash import encode_texts
from runner.payload.coercion import check_coercions, parse_coercion
from runner.payload.scalars import Unfit, parse, stored_value
from runner.values import Kind, Path, PayloadColumn, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["BadValue", "decode_plain"]

_ABSENT: Final = object()


class BadValue(ValueError):
    """A payload's value does not fit its column. row: index of the text; the message is the reason."""

    def __init__(self, row: int, column: PayloadColumn, reason: str) -> None:
        super().__init__(reason)
        self.row, self.column, self.reason = row, column, reason


def decode_plain(texts: pa.Array, columns: Sequence[PayloadColumn]) -> dict[PayloadColumn, PayloadArray]:
    """The same as ``decode``."""
    check_coercions(columns)
    payloads = []
    for row, text in enumerate(texts.to_pylist()):
        try:
            payloads.append(parse(text))
        except ValueError as error:
            raise BadValue(row, columns[0], f"the payload is not JSON: {error}") from None
    found: dict[PayloadColumn, PayloadArray] = {}
    problems: list[BadValue] = []
    for column in columns:
        values = [_first(payload, column.paths) for payload in payloads]
        try:
            found[column] = _array(values, column.type, column.coerce)
        except _At as at:
            problems.append(BadValue(at.row, column, at.reason))
    if problems:
        raise min(problems, key=lambda p: p.row)
    return found


class _At(Exception):
    def __init__(self, row: int, reason: str) -> None:
        self.row, self.reason = row, reason


def _first(payload: Any, paths: Iterable[Path]) -> Any:
    for path in paths:
        value = payload
        for key in path:
            value = value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT:
            return value
    return _ABSENT


def _array(values: Sequence[Any], type_: ValueType, coerce: str) -> PayloadArray:
    there = [v is not None and v is not _ABSENT for v in values]
    valid = None if all(there) else np.array(there, np.uint8)
    absent = np.array([v is _ABSENT for v in values], np.uint8) if any(v is _ABSENT for v in values) else None
    if type_.kind is Kind.LIST:
        return _list(values, type_, valid, absent)
    coercion = parse_coercion(coerce)
    stored: list[Any] = []
    for row, value in enumerate(values):
        try:
            stored.append(stored_value(value, type_, coercion) if there[row] else None)
        except Unfit as error:
            raise _At(row, str(error)) from None
    return _BUILD[type_.kind](stored, type_, valid, absent)


def _list(values: Sequence[Any], type_: ValueType, valid: Any, absent: Any) -> PayloadArray:
    assert type_.element is not None
    offsets = [0]
    elements: list[Any] = []
    rows: list[int] = []
    problem: _At | None = None
    for row, value in enumerate(values):
        if value is not None and value is not _ABSENT:
            if not isinstance(value, list):
                problem = _At(row, "the value is not a list")
                break
            elements.extend(value)
            rows.extend([row] * len(value))
        offsets.append(len(elements))
    try:
        inner, fields = _elements(elements, type_)
    except _At as at:
        raise _At(rows[at.row], f"element {at.row - rows.index(rows[at.row])}: {at.reason}") from None
    if problem is not None:
        raise problem
    return PayloadArray(type_, np.array(offsets, np.int32), valid, absent, element=inner, fields=fields)


def _elements(elements: Sequence[Any], type_: ValueType) -> tuple[PayloadArray | None, Mapping[str, PayloadArray]]:
    assert type_.element is not None
    if type_.element.kind is not Kind.RECORD:
        return _array(elements, type_.element, ""), {}
    problems: list[_At] = []
    for row, value in enumerate(elements):
        if not isinstance(value, dict):
            problems.append(_At(row, "it is not an object"))
            break
    arrays = {}
    for field in type_.element.fields:
        try:
            arrays[field.name] = _array([_first(e, field.paths) for e in elements], field.type, field.coerce)
        except _At as at:
            problems.append(_At(at.row, f"{field.name}: {at.reason}"))
    if problems:
        raise min(problems, key=lambda p: p.row)
    return None, arrays


def _numbers(dtype: type[np.generic]) -> Callable[..., PayloadArray]:
    def build(stored: list[Any], type_: ValueType, valid: Any, absent: Any) -> PayloadArray:
        return PayloadArray(type_, np.array([0 if v is None else v for v in stored], dtype), valid, absent)

    return build


def _coded(stored: list[Any], type_: ValueType, valid: Any, absent: Any) -> PayloadArray:
    codes, dictionary = encode_texts(pa.array(stored, pa.utf8()))
    return PayloadArray(type_, codes, valid, absent, dictionary)


_BUILD: Mapping[Kind, Callable[..., PayloadArray]] = {
    Kind.INT: _numbers(np.int64),
    Kind.DATETIME: _numbers(np.int64),
    Kind.DATE: _numbers(np.int64),
    Kind.TIMEDELTA: _numbers(np.int64),
    Kind.DECIMAL: _numbers(np.int64),
    Kind.FLOAT: _numbers(np.float64),
    Kind.BOOL: _numbers(np.uint8),
    Kind.STR: _coded,
    Kind.UUID: _coded,
    Kind.ENUM: _coded,
}
