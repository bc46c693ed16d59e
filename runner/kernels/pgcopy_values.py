"""Values of a binary COPY stream into columns: at the places that ``pgcopy_fields`` found, a column a call.

Every function gives the first row that it cannot take, or -1, and the code of why. NULLs (length -1) become 0 or
nothing; which rows are NULL stands in the lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from runner.kernels.loads import address_of, load_byte, load_word, store_byte, store_word
from runner.kernels.pgcopy_fields import big_int16, big_int32, big_int64, copy_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from runner.kernels.pgcopy_fields import Bytes, Int32s, Int64s

__all__ = [
    "BAD_VERSION",
    "BAD_WIDTH",
    "INFINITE",
    "MONTHS",
    "NO_ROW",
    "RANGE",
    "read_bools",
    "read_dates",
    "read_intervals",
    "read_ints",
    "read_texts",
    "read_times",
    "read_uuid_texts",
    "read_uuids",
]

BAD_WIDTH: Final = 1
"""A value has not as many bytes as its type."""
BAD_VERSION: Final = 2
"""A jsonb value of another version than 1."""
INFINITE: Final = 3
"""A time or date that is infinity."""
RANGE: Final = 4
"""A time that is beyond what int64 microseconds since 1970 hold."""
MONTHS: Final = 5
"""An interval with months or days, which have no fixed length."""

NO_ROW: Final = -1

_DAYS_TO_2000: Final = 10_957
_MICROSECONDS_TO_2000: Final = _DAYS_TO_2000 * 86_400_000_000
_LAST: Final = 2**63 - 1 - _MICROSECONDS_TO_2000
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INT32_MIN: Final = -(2**31)
_INT32_MAX: Final = 2**31 - 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _ints(data: Any, offsets: Any, lengths: Any, width: Any, out: Any) -> Any:
    for i in range(len(offsets)):
        at = data + offsets[i]
        if lengths[i] == width:
            if width == 8:
                out[i] = big_int64(at)
            elif width == 4:
                out[i] = big_int32(at)
            else:
                out[i] = big_int16(at)
        elif lengths[i] < 0:
            out[i] = 0
        else:
            return i
    return NO_ROW


def read_ints(data: Bytes, offsets: Int64s, lengths: Int32s, width: int) -> tuple[Int64s, int, int]:
    """Integers of 2, 4 or 8 bytes (also the bits of floats): (int64[n], bad row, why)."""
    out = np.empty(len(offsets), np.int64)
    return out, int(_ints(address_of(data), offsets, lengths, width, out)), BAD_WIDTH


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _bools(data: Any, offsets: Any, lengths: Any, out: Any) -> Any:
    for i in range(len(offsets)):
        if lengths[i] == 1:
            out[i] = load_byte(data, offsets[i]) != 0
        elif lengths[i] < 0:
            out[i] = 0
        else:
            return i
    return NO_ROW


def read_bools(data: Bytes, offsets: Int64s, lengths: Int32s) -> tuple[Bytes, int, int]:
    """Booleans: (uint8[n] of 0 and 1, bad row, why)."""
    out = np.empty(len(offsets), np.uint8)
    return out, int(_bools(address_of(data), offsets, lengths, out)), BAD_WIDTH


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _times(data: Any, offsets: Any, lengths: Any, infinite: Any, valid: Any, out: Any, why: Any) -> Any:
    for i in range(len(offsets)):
        out[i] = 0
        if lengths[i] < 0:
            continue
        if lengths[i] != 8:
            why[0] = BAD_WIDTH
            return i
        value = big_int64(data + offsets[i])
        if value in (_INT64_MIN, _INT64_MAX):
            if not infinite:
                why[0] = INFINITE
                return i
            valid[i] = 0
        elif value > _LAST:
            why[0] = RANGE
            return i
        else:
            out[i] = value + _MICROSECONDS_TO_2000
    return NO_ROW


def read_times(
    data: Bytes, offsets: Int64s, lengths: Int32s, infinite: bool, valid: npt.NDArray[np.bool_]
) -> tuple[Int64s, int, int]:
    """Timestamps with or without a zone: (int64[n], µs since 1970, bad row, why).

    infinite: infinity is NULL, and ``valid`` is made False there; else it is a bad row.
    """
    out, why = np.empty(len(offsets), np.int64), np.zeros(1, np.int64)
    bad = _times(address_of(data), offsets, lengths, infinite, valid.view(np.uint8), out, why)
    return out, int(bad), int(why[0])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _dates(data: Any, offsets: Any, lengths: Any, infinite: Any, valid: Any, out: Any, why: Any) -> Any:
    for i in range(len(offsets)):
        out[i] = 0
        if lengths[i] < 0:
            continue
        if lengths[i] != 4:
            why[0] = BAD_WIDTH
            return i
        value = big_int32(data + offsets[i])
        if value in (_INT32_MIN, _INT32_MAX):
            if not infinite:
                why[0] = INFINITE
                return i
            valid[i] = 0
        else:
            out[i] = value + _DAYS_TO_2000
    return NO_ROW


def read_dates(
    data: Bytes, offsets: Int64s, lengths: Int32s, infinite: bool, valid: npt.NDArray[np.bool_]
) -> tuple[Int32s, int, int]:
    """Dates: (int32[n], days since 1970, bad row, why). infinite, valid: as in ``read_times``."""
    out, why = np.empty(len(offsets), np.int32), np.zeros(1, np.int64)
    bad = _dates(address_of(data), offsets, lengths, infinite, valid.view(np.uint8), out, why)
    return out, int(bad), int(why[0])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _intervals(data: Any, offsets: Any, lengths: Any, out: Any, why: Any) -> Any:
    for i in range(len(offsets)):
        out[i] = 0
        if lengths[i] < 0:
            continue
        at = data + offsets[i]
        if lengths[i] != 16:
            why[0] = BAD_WIDTH
            return i
        if big_int64(at + 8) != 0:
            why[0] = MONTHS
            return i
        out[i] = big_int64(at)
    return NO_ROW


def read_intervals(data: Bytes, offsets: Int64s, lengths: Int32s) -> tuple[Int64s, int, int]:
    """Intervals without months and days: (int64[n], µs, bad row, why)."""
    out, why = np.empty(len(offsets), np.int64), np.zeros(1, np.int64)
    bad = _intervals(address_of(data), offsets, lengths, out, why)
    return out, int(bad), int(why[0])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _ends(data: Any, offsets: Any, lengths: Any, version: Any, ends: Any, why: Any) -> Any:
    total = 0
    ends[0] = 0
    for i in range(len(offsets)):
        if lengths[i] > 0:
            total += lengths[i]
            if version:
                if load_byte(data, offsets[i]) != version:
                    why[0] = BAD_VERSION
                    return i
                total -= 1
        elif version and lengths[i] == 0:
            why[0] = BAD_WIDTH
            return i
        ends[i + 1] = total
    return NO_ROW


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _texts(data: Any, offsets: Any, ends: Any, skip: Any, total: Any, out: Any) -> None:
    for i in range(len(offsets)):
        at = offsets[i] + skip
        to = ends[i]
        size = ends[i + 1] - to
        if size > 64:
            copy_bytes(data + at, out + to, size)
        elif to + ((size + 7) & ~7) <= total:
            # Whole words: what is written too much, the next text overwrites. A field has bytes behind it as far as
            # the buffer's spare room goes.
            for k in range(0, size, 8):
                store_word(out, to + k, load_word(data, at + k))
        else:
            for k in range(size):
                store_byte(out, to + k, load_byte(data, at + k))


def read_texts(data: Bytes, offsets: Int64s, lengths: Int32s, version: int = 0) -> tuple[Bytes, Int64s, int, int]:
    """Texts and bytes: (data, offsets int64[n + 1], bad row, why).

    version: 1 for jsonb, whose texts have this byte before them. ``data`` needs 8 bytes of spare room behind the
    last field.
    """
    ends, why = np.empty(len(offsets) + 1, np.int64), np.zeros(1, np.int64)
    bad = int(_ends(address_of(data), offsets, lengths, version, ends, why))
    if bad >= 0:
        return np.empty(0, np.uint8), ends[:1], bad, int(why[0])
    total = int(ends[-1])
    out = np.empty(total, np.uint8)
    _texts(address_of(data), offsets, ends, 1 if version else 0, total, address_of(out))
    return out, ends, NO_ROW, 0


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _uuids(data: Any, offsets: Any, lengths: Any, out: Any) -> Any:
    for i in range(len(offsets)):
        if lengths[i] == 16:
            store_word(out, 16 * i, load_word(data, offsets[i]))
            store_word(out, 16 * i + 8, load_word(data, offsets[i] + 8))
        elif lengths[i] < 0:
            store_word(out, 16 * i, np.uint64(0))
            store_word(out, 16 * i + 8, np.uint64(0))
        else:
            return i
    return NO_ROW


def read_uuids(data: Bytes, offsets: Int64s, lengths: Int32s) -> tuple[Bytes, int, int]:
    """UUIDs as 16 bytes each: (uint8[16 * n], bad row, why)."""
    out = np.empty(16 * len(offsets), np.uint8)
    return out, int(_uuids(address_of(data), offsets, lengths, address_of(out))), BAD_WIDTH


_HEX: Final = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), np.uint8)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _uuid_texts(data: Any, offsets: Any, lengths: Any, digits: Any, ends: Any, out: Any) -> Any:
    to = 0
    ends[0] = 0
    for i in range(len(offsets)):
        if lengths[i] == 16:
            for k in range(16):
                if k == 4 or k == 6 or k == 8 or k == 10:
                    out[to] = 45
                    to += 1
                byte = 2 * load_byte(data, offsets[i] + k)
                out[to] = digits[byte]
                out[to + 1] = digits[byte + 1]
                to += 2
        elif lengths[i] >= 0:
            return i
        ends[i + 1] = to
    return NO_ROW


def read_uuid_texts(data: Bytes, offsets: Int64s, lengths: Int32s) -> tuple[Bytes, Int64s, int, int]:
    """UUIDs as canonical text: (data, offsets int64[n + 1], bad row, why)."""
    ends, out = np.empty(len(offsets) + 1, np.int64), np.empty(36 * len(offsets), np.uint8)
    bad = int(_uuid_texts(address_of(data), offsets, lengths, _HEX, ends, out))
    return out[: int(ends[-1])] if bad < 0 else out[:0], ends, bad, BAD_WIDTH
