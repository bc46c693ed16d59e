"""Columns of a binary COPY: the type of each on the server, the one wanted, and the way from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import pyarrow as pa

from runner.errors import CopyError
from runner.kernels import pgcopy_fields, pgcopy_numeric, pgcopy_values
from runner.kernels.pgcopy_fields import find_elements
from runner.postgres import types
from runner.postgres.types import PgType, arrow_type_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from runner.kernels.pgcopy_fields import Bytes, Fields, Int32s, Int64s

__all__ = ["CopyColumn", "decode"]

_INTS = {types.INT2: 2, types.INT4: 4, types.OID: 4, types.INT8: 8, types.XID8: 8}
_TEXTS = (types.TEXT, types.VARCHAR, types.BPCHAR, types.NAME, types.JSON, types.JSONB)
_TIMES = (types.TIMESTAMP, types.TIMESTAMPTZ)


@dataclass(frozen=True)
class CopyColumn:
    """One column of a COPY.

    type: what the server has. arrow: what is wanted, None: ``types.arrow_type_of``. Beyond that: integers as wider
    ones; texts, numeric, uuid and bytea (holding UTF-8) as string or large_string; numeric as a decimal128, where the
    value has to fit exactly; float4 as float64; uuid as fixed_size_binary(16) too.
    special: what infinite times and dates become, and NaN or infinite numerics as decimal128.
    Raises TypeError where there is no such way.
    """

    name: str
    type: PgType
    arrow: pa.DataType | None = None
    special: Literal["error", "null"] = "error"

    def __post_init__(self) -> None:
        if not _reads(self.type, self.wanted):
            raise TypeError(f"column {self.name}: Postgres {self.type.sql} is not read as Arrow {self.wanted}")

    @property
    def wanted(self) -> pa.DataType:
        """The Arrow type of the column."""
        return arrow_type_of(self.type) if self.arrow is None else self.arrow

    @property
    def field(self) -> pa.Field:
        """The column in a schema."""
        return pa.field(self.name, self.wanted)


def _reads(kind: PgType, wanted: pa.DataType) -> bool:
    if kind.element is not None:
        is_list = pa.types.is_list(wanted) or pa.types.is_large_list(wanted)
        return is_list and _reads(kind.element, wanted.value_type)
    text = pa.types.is_string(wanted) or pa.types.is_large_string(wanted)
    if kind in _INTS:
        widths = {pa.int16(): 2, pa.int32(): 4, pa.int64(): 8}
        return widths.get(wanted, 0) >= (8 if kind == types.OID else _INTS[kind])
    if kind in _TIMES:
        return bool(pa.types.is_timestamp(wanted)) and wanted.unit == "us"
    if kind.family == types.NUMERIC:
        return text or bool(pa.types.is_decimal128(wanted))
    if kind == types.BYTEA:
        return text or wanted in (pa.binary(), pa.large_binary())
    if kind == types.UUID:
        return text or wanted in (pa.uuid(), pa.binary(16))
    if kind == types.FLOAT4:
        return wanted in (pa.float32(), pa.float64())
    return text if kind in _TEXTS else bool(wanted == arrow_type_of(kind))


@dataclass(frozen=True)
class _Place:
    """What is being read, for messages."""

    column: CopyColumn
    first_row: int
    where: str

    def fail(self, row: int, reason: str, hint: str = "") -> NoReturn:
        raise CopyError(self.where, self.column.name, self.first_row + row, reason, hint=hint)


def decode(data: Bytes, fields: Fields, columns: tuple[CopyColumn, ...], first_row: int, where: str) -> pa.RecordBatch:
    """The rows that were found in ``data``, as columns of their own memory.

    first_row: the number of the first, from 1, for messages. Raises CopyError.
    """
    arrays = [
        _array(data, fields.offsets[i], fields.lengths[i], c.type, c.wanted, _Place(c, first_row, where))
        for i, c in enumerate(columns)
    ]
    return pa.record_batch(arrays, schema=pa.schema([c.field for c in columns]))


def _array(data: Bytes, offsets: Int64s, lengths: Int32s, kind: PgType, wanted: pa.DataType, place: _Place) -> pa.Array:
    valid = lengths >= 0
    if kind.element is not None:
        return _list(data, offsets, lengths, kind.element, wanted, place)
    if kind in _TEXTS or kind == types.BYTEA:
        values, ends, bad, why = pgcopy_values.read_texts(data, offsets, lengths, 1 if kind == types.JSONB else 0)
        _look(place, kind, lengths, bad, why)
        array = _texts(values, ends, valid, wanted)
        binary = pa.types.is_binary(wanted) or pa.types.is_large_binary(wanted)
        # The server sees to it that texts are UTF-8, of whatever encoding the database is.
        return _utf8(array, place) if kind == types.BYTEA and not binary else array
    if kind.family == types.NUMERIC and not pa.types.is_decimal(wanted):
        values, ends, bad, _ = pgcopy_numeric.read_numeric_texts(data, offsets, lengths)
        if bad >= 0:
            place.fail(bad, "these bytes are no numeric", _DECLARED)
        return _texts(values, ends, valid, wanted)
    if kind == types.UUID and (pa.types.is_string(wanted) or pa.types.is_large_string(wanted)):
        values, ends, bad, why = pgcopy_values.read_uuid_texts(data, offsets, lengths)
        _look(place, kind, lengths, bad, why)
        return _texts(values, ends, valid, wanted)
    values = _fixed(data, offsets, lengths, kind, wanted, valid, place)
    storage = wanted.storage_type if isinstance(wanted, pa.BaseExtensionType) else wanted
    array = pa.Array.from_buffers(storage, len(offsets), [_bits(valid), pa.py_buffer(values)])
    return pa.ExtensionArray.from_storage(wanted, array) if storage is not wanted else array


def _fixed(
    data: Bytes,
    offsets: Int64s,
    lengths: Int32s,
    kind: PgType,
    wanted: pa.DataType,
    valid: npt.NDArray[np.bool_],
    place: _Place,
) -> npt.NDArray[Any]:
    """The values' memory. ``valid`` becomes False where a special value is NULL."""
    null = place.column.special == "null"
    values: npt.NDArray[Any]
    if kind in _INTS:
        values, bad, why = pgcopy_values.read_ints(data, offsets, lengths, _INTS[kind])
        _look(place, kind, lengths, bad, why)
        if kind == types.OID:
            values &= 0xFFFFFFFF
        if kind == types.XID8 and bool((values < 0).any()):
            place.fail(int(np.argmax(values < 0)), "a transaction id beyond int64")
        return values if wanted == pa.int64() else values.astype(f"int{wanted.bit_width}")
    if kind in (types.FLOAT4, types.FLOAT8):
        values, bad, why = pgcopy_values.read_ints(data, offsets, lengths, 4 if kind == types.FLOAT4 else 8)
        _look(place, kind, lengths, bad, why)
        if kind == types.FLOAT8:
            return values
        values = values.astype(np.int32).view(np.float32)
        return values.astype(np.float64) if wanted == pa.float64() else values
    if kind.family == types.NUMERIC:
        values, bad, why = pgcopy_numeric.read_decimals(
            data, offsets, lengths, wanted.precision, wanted.scale, null, valid
        )
        if bad >= 0:
            _bad_decimal(data, offsets, lengths, bad, why, wanted, place)
        return values
    if kind == types.BOOL:
        values, bad, why = pgcopy_values.read_bools(data, offsets, lengths)
        values = np.packbits(values, bitorder="little")
    elif kind == types.UUID:
        values, bad, why = pgcopy_values.read_uuids(data, offsets, lengths)
    elif kind == types.DATE:
        values, bad, why = pgcopy_values.read_dates(data, offsets, lengths, null, valid)
    elif kind == types.INTERVAL:
        values, bad, why = pgcopy_values.read_intervals(data, offsets, lengths)
    else:
        assert kind in _TIMES
        values, bad, why = pgcopy_values.read_times(data, offsets, lengths, null, valid)
    _look(place, kind, lengths, bad, why)
    return values


def _list(
    data: Bytes, offsets: Int64s, lengths: Int32s, element: PgType, wanted: pa.DataType, place: _Place
) -> pa.Array:
    found = find_elements(data, offsets, lengths, element.oid)
    if found.bad >= 0:
        reasons = {
            pgcopy_fields.ARRAY_DIMENSIONS: f"an array of {found.found} dimensions; only those of one are read",
            pgcopy_fields.ARRAY_TYPE: f"the array's elements have the type with the oid {found.found}, "
            f"not {element.oid} ({element.name})",
        }
        place.fail(found.bad, reasons.get(found.reason, "these bytes are no array"), _DECLARED)
    # A bad element is told by its own number: the array's row is found again from it.
    inner = _Elements(place.column, place.first_row, place.where, found.ends)
    values = _array(data, found.offsets, found.lengths, element, wanted.value_type, inner)
    ends, kind = found.ends, pa.types.is_list(wanted)
    ends_buffer = pa.py_buffer(_narrow(ends) if kind else ends)
    return pa.Array.from_buffers(wanted, len(offsets), [_bits(lengths >= 0), ends_buffer], children=[values])


@dataclass(frozen=True)
class _Elements(_Place):
    ends: Int64s

    def fail(self, row: int, reason: str, hint: str = "") -> NoReturn:
        array = int(np.searchsorted(self.ends, row, side="right")) - 1
        place = f"element {row - int(self.ends[array]) + 1}: {reason}"
        raise CopyError(self.where, self.column.name, self.first_row + array, place, hint=hint)


def _texts(values: Bytes, ends: Int64s, valid: npt.NDArray[np.bool_], wanted: pa.DataType) -> pa.Array:
    large = pa.types.is_large_string(wanted) or pa.types.is_large_binary(wanted)
    offsets = ends if large else _narrow(ends)
    return pa.Array.from_buffers(wanted, len(ends) - 1, [_bits(valid), pa.py_buffer(offsets), pa.py_buffer(values)])


def _narrow(ends: Int64s) -> Int32s:
    # A batch has at most the bytes of the buffer that it was read from, or is one row, which has at most 1 GB.
    assert int(ends[-1]) < 2**31
    return ends.astype(np.int32)


def _bits(valid: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    return None if bool(valid.all()) else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _utf8(array: pa.Array, place: _Place) -> pa.Array:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(array.cast(pa.large_binary() if array.type == pa.large_string() else pa.binary())):
            try:
                bytes(value.as_py() or b"").decode()
            except UnicodeDecodeError as error:
                place.fail(row, f"the bytes are no UTF-8: {error.reason} at byte {error.start}")
        raise
    return array


_DECLARED = "the column is declared as another type than the server has"


def _look(place: _Place, kind: PgType, lengths: Int32s, bad: int, why: int) -> None:
    if bad < 0:
        return
    reasons = {
        pgcopy_values.BAD_WIDTH: f"{lengths[bad]} bytes are no {kind.name}",
        pgcopy_values.BAD_VERSION: "a jsonb value of an unknown version",
        pgcopy_values.INFINITE: "infinity, which has no place among times here",
        pgcopy_values.RANGE: "a time beyond the year 294246, the last that Arrow can hold",
        pgcopy_values.MONTHS: "an interval with months or days, which have no fixed length",
    }
    hints = {
        pgcopy_values.BAD_WIDTH: _DECLARED,
        pgcopy_values.BAD_VERSION: _DECLARED,
        pgcopy_values.INFINITE: "leave such rows out, or have infinity read as NULL",
    }
    place.fail(bad, reasons[why], hints.get(why, ""))


def _bad_decimal(
    data: Bytes, offsets: Int64s, lengths: Int32s, bad: int, why: int, wanted: pa.DataType, place: _Place
) -> NoReturn:
    if why == pgcopy_numeric.BAD_NUMERIC:
        place.fail(bad, "these bytes are no numeric", _DECLARED)
    values, ends, _, _ = pgcopy_numeric.read_numeric_texts(data, offsets[bad : bad + 1], lengths[bad : bad + 1])
    text = bytes(values[: int(ends[-1])]).decode()
    text = text if len(text) <= 60 else f"{text[:60]}..."
    if why == pgcopy_numeric.NO_NUMBER:
        place.fail(bad, f"{text}, which is no decimal number", "leave such rows out, or have it read as NULL")
    if why == pgcopy_numeric.TOO_FINE:
        place.fail(bad, f"{text} has more than {wanted.scale} digits behind the point")
    place.fail(bad, f"{text} has more than {wanted.precision - wanted.scale} digits before the point")
