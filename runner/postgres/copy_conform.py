"""Columns brought to the Arrow type that is encoded for their type in Postgres: without loss, or with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import CopyError
from runner.kernels.pgcopy_write import parse_uuids
from runner.postgres import types

if TYPE_CHECKING:
    from runner.postgres.types import PgType

__all__ = ["conform", "encoded_type"]

_ENCODED = {
    types.BOOL: pa.bool_(),
    types.INT2: pa.int16(),
    types.INT4: pa.int32(),
    types.INT8: pa.int64(),
    types.FLOAT4: pa.float32(),
    types.FLOAT8: pa.float64(),
    types.BYTEA: pa.large_binary(),
    types.DATE: pa.date32(),
    types.TIMESTAMP: pa.timestamp("us"),
    types.TIMESTAMPTZ: pa.timestamp("us"),
    types.INTERVAL: pa.duration("us"),
    types.UUID: pa.binary(16),
} | dict.fromkeys(
    (types.TEXT, types.VARCHAR, types.BPCHAR, types.NAME, types.JSON, types.JSONB), pa.large_string()
)  # fmt: skip
_TEXT_LIKE = tuple(kind for kind, encoded in _ENCODED.items() if encoded == pa.large_string())

_FIRST_TIME = -210_866_803_200_000_000
_FIRST_DATE = -2_440_588
"""4714-11-24 BC in µs and in days since 1970: Postgres has no earlier ones, and pgpq's subtraction may wrap."""

_Place = tuple[str, str, int]
"""where, column, number of the first row."""


def encoded_type(name: str, given: pa.DataType, kind: PgType) -> pa.DataType:
    """As what Arrow type a column is encoded. Raises TypeError where it cannot become this type."""
    if pa.types.is_dictionary(given):
        return encoded_type(name, given.value_type, kind)
    if kind.element is not None:
        if not (pa.types.is_list(given) or pa.types.is_large_list(given)):
            _refuse(name, given, kind)
        inner = encoded_type(name, given.value_type, kind.element)
        return pa.large_list(inner) if pa.types.is_large_list(given) else pa.list_(inner)
    text = pa.types.is_string(given) or pa.types.is_large_string(given) or given == pa.string_view()
    if kind.family == types.NUMERIC:
        if pa.types.is_integer(given):
            return pa.decimal128(20, 0)
        if not pa.types.is_decimal128(given) or given.scale < 0:
            _refuse(name, given, kind)
        # The server would round to a smaller scale.
        scale = given.scale if kind.scale is None else min(given.scale, kind.scale)
        return pa.decimal128(given.precision if scale == given.scale else 38, scale)
    encoded = _ENCODED.get(kind)
    ways = {
        types.BOOL: pa.types.is_boolean(given),
        types.INT2: pa.types.is_integer(given),
        types.INT4: pa.types.is_integer(given),
        types.INT8: pa.types.is_integer(given),
        types.FLOAT4: given in (pa.float16(), pa.float32()),
        types.FLOAT8: pa.types.is_floating(given),
        types.BYTEA: pa.types.is_binary(given)
        or pa.types.is_large_binary(given)
        or pa.types.is_fixed_size_binary(given),
        types.DATE: given == pa.date32(),
        types.TIMESTAMP: pa.types.is_timestamp(given) and given.tz is None,
        types.TIMESTAMPTZ: pa.types.is_timestamp(given) and given.tz is not None,
        types.INTERVAL: pa.types.is_duration(given),
        types.UUID: text or given in (pa.uuid(), pa.binary(16)),
    }
    if encoded is None or not ways.get(kind, text):
        _refuse(name, given, kind)
    return encoded


def _refuse(name: str, given: pa.DataType, kind: PgType) -> NoReturn:
    raise TypeError(f"column {name}: Arrow {given} does not become Postgres {kind.sql}")


def conform(column: pa.Array, kind: PgType, encoded: pa.DataType, place: _Place) -> pa.Array:
    """The column as the type ``encoded_type`` says. Raises CopyError naming the row."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if kind.element is not None:
        return _list(column, kind.element, encoded, place)
    if kind == types.UUID and encoded != column.type:
        return _uuids(column, place)
    if column.type != encoded:
        if pa.types.is_timestamp(encoded) and column.type.tz is not None:
            # Zones are how times are shown, the values are UTC.
            column = column.cast(pa.timestamp(column.type.unit))
        try:
            column = column.cast(encoded)
        except pa.ArrowInvalid as error:
            _name_row(column, encoded, error, place)
    if kind in _TEXT_LIKE:
        _no_nul(column, place)
    if kind in (types.TIMESTAMP, types.TIMESTAMPTZ, types.DATE):
        _not_before_all_times(column, place)
    return column


def _list(column: pa.Array, element: PgType, encoded: pa.DataType, place: _Place) -> pa.Array:
    where, name, first = place
    # Only what these rows show: an array may be a slice, and hold elements under its nulls.
    values = column.flatten()
    ends = np.zeros(len(column) + 1, np.int64)
    np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), out=ends[1:])
    try:
        values = conform(values, element, encoded.value_type, (where, name, 1))
    except CopyError as error:
        # Its row is the number of the element.
        row = int(np.searchsorted(ends, error.row - 1, side="right")) - 1
        raise CopyError(where, name, first + row, error.reason, hint=error.hint) from None
    mask = None if column.null_count == 0 else pc.is_null(column)
    kind = pa.LargeListArray if pa.types.is_large_list(encoded) else pa.ListArray
    return kind.from_arrays(pa.array(ends, column.offsets.type), values, type=encoded, mask=mask)


def _bytes_and_ends(column: pa.Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The data of a large_string array, and where its texts end there: uint8[...], int64[n + 1]."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), ends


def _uuids(column: pa.Array, place: _Place) -> pa.Array:
    column = column.cast(pa.large_string())
    if len(column) == 0:
        return pa.array([], pa.binary(16))
    data, ends = _bytes_and_ends(column)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values, bad = parse_uuids(data, ends, valid)
    if bad >= 0:
        where, name, first = place
        raise CopyError(where, name, first + bad, f"{_short(column[bad].as_py())} is no UUID")
    bits = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(16), len(column), [bits, pa.py_buffer(values)])


def _no_nul(column: pa.Array, place: _Place) -> None:
    if len(column) == 0:
        return
    data, ends = _bytes_and_ends(column)
    used = data[int(ends[0]) : int(ends[-1])]
    if len(used) == 0 or int(used.min()) != 0:
        return
    found = pc.fill_null(pc.match_substring(column, "\0"), False)
    row = pc.index(found, True).as_py()
    if row >= 0:
        where, name, first = place
        reason = f"{_short(column[row].as_py())} holds U+0000, which no text in Postgres can"
        raise CopyError(where, name, first + row, reason, hint="leave it out of the value, or make the field bytes")


def _not_before_all_times(column: pa.Array, place: _Place) -> None:
    days = column.type == pa.date32()
    numbers = column.view(pa.int32() if days else pa.int64())
    least = pc.min(numbers).as_py()
    if least is not None and least < (_FIRST_DATE if days else _FIRST_TIME):
        where, name, first = place
        row = int(pc.index(numbers, pa.scalar(least, numbers.type)).as_py())
        raise CopyError(where, name, first + row, "a time before 4714-11-24 BC, the first that Postgres has")


def _name_row(column: pa.Array, encoded: pa.DataType, error: pa.ArrowInvalid, place: _Place) -> NoReturn:
    """Which value it was that the cast refused."""
    where, name, first = place
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(encoded)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    raise CopyError(where, name, first + low, f"{_short(column[low : low + 1].cast(pa.string())[0].as_py())}: {error}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
