"""Numeric values of a binary COPY stream: to their exact text, and to 128-bit integers at a scale.

On the wire a numeric is int16 number of digits, int16 weight of the first, uint16 sign, int16 digits behind the
point that are shown, then the digits, int16 each, to the base 10000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from runner.kernels.loads import address_of
from runner.kernels.pgcopy_fields import big_int16

if TYPE_CHECKING:
    import numpy.typing as npt

    from runner.kernels.pgcopy_fields import Bytes, Int32s, Int64s

__all__ = ["BAD_NUMERIC", "NO_NUMBER", "TOO_FINE", "TOO_LARGE", "read_decimals", "read_numeric_texts"]

BAD_NUMERIC: Final = 1
"""The bytes are no numeric."""
NO_NUMBER: Final = 2
"""NaN or an infinity."""
TOO_FINE: Final = 3
"""More digits behind the point than the scale."""
TOO_LARGE: Final = 4
"""More digits than the precision."""

_NEGATIVE: Final = 0x4000
_NAN: Final = 0xC000
_INFINITY: Final = 0xD000
_MINUS_INFINITY: Final = 0xF000

_LOW: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)
_TOP: Final = np.uint64(10**38 >> 64)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _bad(at: Any, length: Any) -> Any:
    """Whether these bytes are no numeric."""
    if length < 8:
        return True
    digits = big_int16(at)
    sign = big_int16(at + 4) & 0xFFFF
    if digits < 0 or length != 8 + 2 * digits or big_int16(at + 6) < 0:
        return True
    if sign != 0 and sign != _NEGATIVE and sign != _NAN and sign != _INFINITY and sign != _MINUS_INFINITY:
        return True
    for k in range(digits):
        digit = big_int16(at + 8 + 2 * k)
        if digit < 0 or digit > 9999:
            return True
    return False


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _digit(at: Any, digits: Any, k: Any) -> Any:
    return big_int16(at + 8 + 2 * k) if 0 <= k < digits else 0


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _width(at: Any) -> Any:
    """How long the text is, at most."""
    sign = big_int16(at + 4) & 0xFFFF
    if sign >= _NAN:
        return 9
    weight, scale = big_int16(at + 2), big_int16(at + 6)
    return 1 + (4 * (weight + 1) if weight >= 0 else 1) + (1 + scale if scale else 0)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _write(at: Any, out: Any, to: Any) -> Any:
    sign = big_int16(at + 4) & 0xFFFF
    if sign >= _NAN:
        if sign == _MINUS_INFINITY:
            out[to] = 45
            to += 1
        word = (78, 97, 78, 0, 0, 0, 0, 0) if sign == _NAN else (73, 110, 102, 105, 110, 105, 116, 121)
        for k in range(3 if sign == _NAN else 8):
            out[to + k] = word[k]
        return to + (3 if sign == _NAN else 8)
    digits, weight, scale = big_int16(at), big_int16(at + 2), big_int16(at + 6)
    if sign == _NEGATIVE:
        out[to] = 45
        to += 1
    first = to
    for k in range(weight + 1):
        digit = _digit(at, digits, k)
        unit = 1000
        for _ in range(4):
            figure = digit // unit
            digit -= figure * unit
            unit //= 10
            if figure or to > first:
                out[to] = 48 + figure
                to += 1
    if to == first:
        out[to] = 48
        to += 1
    if scale:
        out[to] = 46
        to += 1
        left = scale
        k = weight + 1
        while left > 0:
            digit = _digit(at, digits, k)
            unit = 1000
            for _ in range(min(left, 4)):
                figure = digit // unit
                digit -= figure * unit
                unit //= 10
                out[to] = 48 + figure
                to += 1
            left -= 4
            k += 1
    return to


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _room(data: Any, offsets: Any, lengths: Any, state: Any) -> Any:
    room = 0
    for i in range(len(offsets)):
        if lengths[i] >= 0:
            if _bad(data + offsets[i], lengths[i]):
                return i
            room += _width(data + offsets[i])
    state[0] = room
    return -1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _numeric_texts(data: Any, offsets: Any, lengths: Any, ends: Any, out: Any) -> None:
    to = 0
    ends[0] = 0
    for i in range(len(offsets)):
        if lengths[i] >= 0:
            to = _write(data + offsets[i], out, to)
        ends[i + 1] = to


def read_numeric_texts(data: Bytes, offsets: Int64s, lengths: Int32s) -> tuple[Bytes, Int64s, int, int]:
    """Numerics as the server writes them, also NaN, Infinity and -Infinity: (data, offsets int64[n + 1], bad row,
    why).
    """
    state, ends = np.zeros(1, np.int64), np.zeros(len(offsets) + 1, np.int64)
    bad = int(_room(address_of(data), offsets, lengths, state))
    if bad >= 0:
        return np.empty(0, np.uint8), ends, bad, BAD_NUMERIC
    out = np.empty(int(state[0]), np.uint8)
    _numeric_texts(address_of(data), offsets, lengths, ends, out)
    return out[: int(ends[-1])], ends, -1, 0


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _times_plus(high: Any, low: Any, factor: Any, more: Any) -> Any:
    """(high, low) * factor + more, in 128 bits; factor up to 10000. What exceeds 10**38 by far has a high above
    _TOP.
    """
    if high > _TOP // factor:
        return _TOP + np.uint64(1), low
    part = (low & _LOW) * factor + more
    bottom = part & _LOW
    part = (low >> _32) * factor + (part >> _32)
    return high * factor + (part >> _32), ((part & _LOW) << _32) | bottom


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _decimals(
    data: Any, offsets: Any, lengths: Any, scale: Any, limit: Any, null: Any, valid: Any, out: Any, why: Any
) -> Any:
    for i in range(len(offsets)):
        out[2 * i] = 0
        out[2 * i + 1] = 0
        if lengths[i] < 0:
            continue
        at = data + offsets[i]
        if _bad(at, lengths[i]):
            why[0] = BAD_NUMERIC
            return i
        digits, weight, sign = big_int16(at), big_int16(at + 2), big_int16(at + 4) & 0xFFFF
        if sign >= _NAN:
            if not null:
                why[0] = NO_NUMBER
                return i
            valid[i] = 0
            continue
        high, low = np.uint64(0), np.uint64(0)
        power = 4 * (weight + 1) + scale
        for k in range(digits):
            digit = big_int16(at + 8 + 2 * k)
            power -= 4
            if power >= 0:
                high, low = _times_plus(high, low, np.uint64(10_000), np.uint64(digit))
            else:
                # Of this digit's four figures only the first 4 + power have a place.
                unit = 1
                for _ in range(min(-power, 4)):
                    unit *= 10
                if digit % unit:
                    why[0] = TOO_FINE
                    return i
                if power > -4:
                    high, low = _times_plus(high, low, np.uint64(10_000 // unit), np.uint64(digit // unit))
            if high > _TOP:
                why[0] = TOO_LARGE
                return i
        while power > 0 and (high or low):
            step = min(power, 4)
            unit = 1
            for _ in range(step):
                unit *= 10
            high, low = _times_plus(high, low, np.uint64(unit), np.uint64(0))
            power -= step
            if high > _TOP:
                why[0] = TOO_LARGE
                return i
        if high > limit[1] or (high == limit[1] and low >= limit[0]):
            why[0] = TOO_LARGE
            return i
        if sign == _NEGATIVE:
            low = ~low + np.uint64(1)
            high = ~high + (np.uint64(1) if low == np.uint64(0) else np.uint64(0))
        out[2 * i] = low
        out[2 * i + 1] = high
    return -1


def read_decimals(
    data: Bytes,
    offsets: Int64s,
    lengths: Int32s,
    precision: int,
    scale: int,
    null: bool,
    valid: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.uint64], int, int]:
    """Numerics times 10**scale, exactly, as 128-bit integers: (uint64[2 * n], low word first, bad row, why).

    null: NaN and infinities are NULL, and ``valid`` is made False there; else they are bad rows.
    """
    out, why = np.empty(2 * len(offsets), np.uint64), np.zeros(1, np.int64)
    limit = np.array([10**precision & (2**64 - 1), 10**precision >> 64], np.uint64)
    bad = _decimals(address_of(data), offsets, lengths, scale, limit, null, valid.view(np.uint8), out, why)
    return out, int(bad), int(why[0])
