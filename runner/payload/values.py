"""Spans to the stored values of one type: the kernels do the rows they are sure of, the plain twin does the others.

Every function returns values and final statuses (FOUND, ABSENT, NULL); a value that fits nowhere raises ``UnfitAt``
with the lowest such row and the twin's reason.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.kernels.fieldstatus import ABSENT, FOUND, LOCAL, NULL, UNDECIDED
from runner.kernels.jsonscan import ESCAPED, INTEGER, NUMBER, TEXT, TRUE, Bytes, Int64s, Spans
from runner.kernels.textnumbers import Statuses, parse_decimals, parse_floats, parse_integers
from runner.kernels.textspans import copy_spans, copy_texts, copy_uuids, utf8_array
from runner.kernels.texttimes import compile_format, parse_dates, parse_formatted, parse_times
from runner.payload.coercion import EPOCH_SCALES, Coercion
from runner.payload.scalars import Unfit, parse, stored_value
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UnfitAt", "presence", "read_numbers", "read_texts", "times_as_utc", "written_datetimes"]

_DAY = 86_400_000_000
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_RULES_END = 2_114_380_800_000_000
"""2037-01-01: from that year on Arrow knows no summer time, Python does."""


class UnfitAt(ValueError):
    """The lowest row whose value does not fit, and why."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


def presence(spans: Spans) -> Statuses:
    """FOUND, ABSENT or NULL for each span, whatever its kind."""
    return _PRESENCE[spans.kinds]


_PRESENCE = np.array([ABSENT, NULL] + [FOUND] * 8, np.uint8)


def _plain_value(data: Bytes, spans: Spans, row: int) -> Any:
    text = data[spans.starts[row] : spans.stops[row]].tobytes()
    return parse(b'"' + text + b'"' if spans.kinds[row] in (TEXT, ESCAPED) else text)


def _by_twin(data: Bytes, spans: Spans, rows: npt.NDArray[np.intp], type_: ValueType, coercion: Coercion) -> list[Any]:
    """The stored values of some rows, lowest first; equal texts are read once."""
    known: dict[tuple[int, bytes], Any] = {}
    values = []
    for row in rows:
        key = int(spans.kinds[row]), data[spans.starts[row] : spans.stops[row]].tobytes()
        if key not in known:
            try:
                known[key] = stored_value(_plain_value(data, spans, int(row)), type_, coercion)
            except Unfit as error:
                raise UnfitAt(int(row), str(error)) from None
        values.append(known[key])
    return values


def read_numbers(
    data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion
) -> tuple[npt.NDArray[np.generic], Statuses]:
    """The values of a kind that is stored as numbers (int64, float64 or uint8 of n) and their statuses."""
    values, statuses = _NUMBERS[type_.kind](data, spans, type_, coercion)
    rows = np.flatnonzero(statuses >= LOCAL)
    if len(rows):
        values[rows] = _by_twin(data, spans, rows, type_, coercion)
        statuses[rows] = FOUND
    return values, statuses


def read_texts(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[pa.Array, Statuses]:
    """The values of a kind that is stored as text (utf8 of n, null where there is none) and their statuses."""
    if type_.kind is Kind.ENUM and not isinstance(type_.members[0], str):
        numbers, statuses = read_numbers(data, spans, ValueType(Kind.INT), coercion)
        return pa.array(numbers, mask=statuses != FOUND).cast(pa.utf8()), statuses
    texts, statuses = (copy_uuids if type_.kind is Kind.UUID else copy_texts)(data, spans)
    rows = np.flatnonzero(statuses >= LOCAL)
    if len(rows):
        wanted = np.zeros(len(spans), np.bool_)
        wanted[rows] = True
        read = pa.array(_by_twin(data, spans, rows, type_, coercion), texts.type)
        texts = pc.replace_with_mask(texts, pa.array(wanted), read)
        statuses[rows] = FOUND
    return texts, statuses


def _integers(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[Int64s, Statuses]:
    return parse_integers(data, spans, coercion.style == "number")


def _decimals(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[Int64s, Statuses]:
    return parse_decimals(data, spans, type_.scale, type_.rounding, coercion.style == "number")


def _floats(
    data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion
) -> tuple[npt.NDArray[np.float64], Statuses]:
    values, statuses = parse_floats(data, spans, coercion.style == "number")
    # Numbers of 17 digits are usual among floats; Arrow reads them to the nearest float too. What becomes infinite
    # stays undecided, and so do strings, since Arrow would read "nan" and "inf".
    rows = np.flatnonzero((statuses == UNDECIDED) & ((spans.kinds == INTEGER) | (spans.kinds == NUMBER)))
    if len(rows):
        read = utf8_array(*copy_spans(data, spans.starts[rows], spans.stops[rows])).cast(pa.float64()).to_numpy()
        finite = np.isfinite(read)
        values[rows[finite]] = read[finite]
        statuses[rows[finite]] = FOUND
    return values, statuses


def _booleans(
    data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion
) -> tuple[npt.NDArray[np.uint8], Statuses]:
    statuses = presence(spans)
    statuses[spans.kinds > TRUE] = UNDECIDED
    return (spans.kinds == TRUE).astype(np.uint8), statuses


def _epochs(data: Bytes, spans: Spans, coercion: Coercion) -> tuple[Int64s, Statuses]:
    scale = EPOCH_SCALES[coercion.unit]
    if scale < 0:
        values, statuses = parse_integers(data, spans, in_text=True)
        values //= 10**-scale
    else:
        values, statuses = parse_decimals(data, spans, scale, decimal.ROUND_FLOOR, in_text=True)
    statuses[(statuses == FOUND) & ((values < _FIRST) | (values > _LAST))] = UNDECIDED
    return values, statuses


def _datetimes(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[Int64s, Statuses]:
    return written_datetimes(data, spans, coercion)


def written_datetimes(data: Bytes, spans: Spans, coercion: Coercion) -> tuple[Int64s, Statuses]:
    """µs since 1970 UTC; what is LOCAL or UNDECIDED is left to the twin."""
    if coercion.style == "epoch":
        return _epochs(data, spans, coercion)
    return times_as_utc(*_written_times(data, spans, coercion), coercion.zone)


def _written_times(data: Bytes, spans: Spans, coercion: Coercion) -> tuple[Int64s, Statuses]:
    if coercion.style != "format":
        return parse_times(data, spans)
    program = compile_format(coercion.format)
    # A program that never ends a text right leaves every row to the twin.
    return parse_formatted(data, spans, np.array([-1], np.int64) if program is None else program)


def times_as_utc(values: Int64s, statuses: Statuses, zone: str) -> tuple[Int64s, Statuses]:
    """LOCAL times of a zone as UTC; without a zone, and where the zone's rules are not plain, they are left LOCAL."""
    local = np.flatnonzero((statuses == LOCAL) & ((values < _RULES_END) | (zone == "UTC")))
    if not len(local) or not zone:
        return values, statuses
    times = pa.array(values[local], pa.timestamp("us"))
    try:
        utc = pc.assume_timezone(times, zone, ambiguous="earliest", nonexistent="raise").cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        # One of them does not occur, or there is no zone database here: the twin reads them one by one.
        return values, statuses
    inside = (utc >= _FIRST) & (utc <= _LAST)
    values[local[inside]] = utc[inside]
    statuses[local[inside]] = FOUND
    return values, statuses


def _dates(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[Int64s, Statuses]:
    if coercion.style == "epoch":
        values, statuses = _epochs(data, spans, coercion)
    elif coercion.style == "format":
        values, statuses = _written_times(data, spans, coercion)
        # With a zone in the format the kernel has left the day as it is written.
        statuses[statuses == FOUND] = UNDECIDED
        statuses[statuses == LOCAL] = FOUND
    else:
        return parse_dates(data, spans, coercion.style == "iso")
    return values // _DAY, statuses


def _timedeltas(data: Bytes, spans: Spans, type_: ValueType, coercion: Coercion) -> tuple[Int64s, Statuses]:
    if coercion.style != "epoch":
        return parse_decimals(data, spans, 6, "", coercion.style == "number")
    scale = EPOCH_SCALES[coercion.unit]
    return parse_decimals(data, spans, scale, "" if scale >= 0 else decimal.ROUND_FLOOR, in_text=True)


_NUMBERS: dict[Kind, Callable[[Bytes, Spans, ValueType, Coercion], tuple[npt.NDArray[Any], Statuses]]] = {
    Kind.INT: _integers,
    Kind.DECIMAL: _decimals,
    Kind.FLOAT: _floats,
    Kind.BOOL: _booleans,
    Kind.DATETIME: _datetimes,
    Kind.DATE: _dates,
    Kind.TIMEDELTA: _timedeltas,
}
