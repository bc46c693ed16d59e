"""Numbers written as text, read into int64, float64 and scaled int64, exactly or not at all.

Rows come as spans (``runner.kernels.jsonscan``): JSON numbers, or strings that hold a number where the caller allows
it. What needs more than 18 digits, a string with escapes, and what is no such number is left UNDECIDED for the plain
twin.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.fieldstatus import ABSENT, FOUND, NULL, UNDECIDED
from runner.kernels.jsontokens import digits_end, skip_space
from runner.kernels.loads import address_of, load_byte

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.kernels.jsonscan import Bytes, Int64s, Spans

__all__ = ["ROUNDING_CODES", "Statuses", "parse_decimals", "parse_floats", "parse_integers"]

Statuses = npt.NDArray[np.uint8]

ROUNDING_CODES: Final[Mapping[str, int]] = {
    "": 0,
    decimal.ROUND_CEILING: 1,
    decimal.ROUND_DOWN: 2,
    decimal.ROUND_FLOOR: 3,
    decimal.ROUND_HALF_DOWN: 4,
    decimal.ROUND_HALF_EVEN: 5,
    decimal.ROUND_HALF_UP: 6,
    decimal.ROUND_UP: 7,
}
"""How the decimal module's rounding rules are called in kernels; 0: more digits are an error."""

_MOST = 2**63 - 1
_POWERS = tuple(10**k for k in range(19))
_FLOAT_POWERS = tuple(float(10**k) for k in range(23))
_INTEGER, _NUMBER, _TEXT = 4, 5, 6


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _kind_status(kind: Any, in_text: Any, whole: Any) -> Any:
    # FOUND: a number to be read; else the row's status.
    if kind == _INTEGER or (kind == _NUMBER and not whole) or (kind == _TEXT and in_text):
        return FOUND
    if kind == 0:
        return ABSENT
    if kind == 1:
        return NULL
    return UNDECIDED


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _trimmed(data: Any, start: Any, stop: Any) -> Any:
    start = skip_space(data, start, stop)
    while stop > start:
        c = load_byte(data, stop - 1)
        if c != 32 and c != 10 and c != 13 and c != 9:
            break
        stop -= 1
    return start, stop


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _integer(data: Any, i: Any, stop: Any) -> Any:
    negative = False
    if i < stop and (load_byte(data, i) == 45 or load_byte(data, i) == 43):
        negative = load_byte(data, i) == 45
        i += 1
    if i == stop or digits_end(data, i, stop) != stop:
        return 0, UNDECIDED
    while i < stop - 1 and load_byte(data, i) == 48:
        i += 1
    if stop - i > 19:
        return 0, UNDECIDED
    value = np.uint64(0)
    for k in range(i, stop):
        value = value * np.uint64(10) + np.uint64(load_byte(data, k) - 48)
    if negative:
        if value > np.uint64(2**63):
            return 0, UNDECIDED
        return np.int64(np.uint64(0) - value), FOUND
    if value > np.uint64(_MOST):
        return 0, UNDECIDED
    return np.int64(value), FOUND


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _integers(data: Any, kinds: Any, starts: Any, stops: Any, in_text: Any, values: Any, statuses: Any) -> None:
    for row in range(len(kinds)):
        value = 0
        status = _kind_status(kinds[row], in_text, True)
        if status == FOUND:
            start, stop = starts[row], stops[row]
            if kinds[row] == _TEXT:
                start, stop = _trimmed(data, start, stop)
            value, status = _integer(data, start, stop)
        values[row], statuses[row] = value, status


def parse_integers(data: Bytes, spans: Spans, in_text: bool = False) -> tuple[Int64s, Statuses]:
    """int64[n], 0 where there is none, and what became of each. in_text: a string may hold the number."""
    values, statuses = np.empty(len(spans), np.int64), np.empty(len(spans), np.uint8)
    _integers(address_of(data), spans.kinds, spans.starts, spans.stops, in_text, values, statuses)
    return values, statuses


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _parts(data: Any, i: Any, stop: Any) -> Any:
    # A number's (status, negative, digits as an int64, exponent of ten, whether it is written as a whole number).
    negative = False
    if i < stop and (load_byte(data, i) == 45 or load_byte(data, i) == 43):
        negative = load_byte(data, i) == 45
        i += 1
    digits = 0
    significant = 0
    seen = 0
    exponent = 0
    whole = True
    while i < stop:
        c = load_byte(data, i)
        if 48 <= c <= 57:
            seen += 1
            if significant > 0 or c != 48:
                significant += 1
                if significant > 18:
                    return UNDECIDED, negative, digits, exponent, whole
                digits = digits * 10 + (c - 48)
            if not whole:
                exponent -= 1
        elif c == 46 and whole:
            whole = False
        else:
            break
        i += 1
    if seen == 0:
        return UNDECIDED, negative, digits, exponent, whole
    if i < stop:
        if (load_byte(data, i) | 32) != 101:
            return UNDECIDED, negative, digits, exponent, whole
        whole = False
        i += 1
        down = False
        if i < stop and (load_byte(data, i) == 45 or load_byte(data, i) == 43):
            down = load_byte(data, i) == 45
            i += 1
        if i == stop or digits_end(data, i, stop) != stop:
            return UNDECIDED, negative, digits, exponent, whole
        if stop - i > 4:
            return UNDECIDED, negative, digits, exponent, whole
        power = 0
        while i < stop:
            power = power * 10 + (load_byte(data, i) - 48)
            i += 1
        exponent += -power if down else power
    return FOUND, negative, digits, exponent, whole


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _round_away(negative: Any, odd: Any, half: Any, rounding: Any) -> Any:
    # Whether what is dropped (not nothing; half: -1, 0, 1 against the middle) takes the last kept digit one further.
    if rounding == 1:
        return not negative
    if rounding == 3:
        return negative
    if rounding == 4:
        return half > 0
    if rounding == 5:
        return half > 0 or (half == 0 and odd)
    if rounding == 6:
        return half >= 0
    return rounding == 7


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _scaled(negative: Any, digits: Any, shift: Any, rounding: Any) -> Any:
    # (digits * 10**shift with its sign, status); digits < 10**18
    if digits == 0:
        return 0, FOUND
    if shift >= 0:
        if shift > 18 or digits > _MOST // _POWERS[shift]:
            return 0, UNDECIDED
        kept = digits * _POWERS[shift]
        return (-kept if negative else kept), FOUND
    drop = -shift
    kept, rest, half = 0, digits, -1
    if drop <= 18:
        power = _POWERS[drop]
        kept = digits // power
        rest = digits - kept * power
        half = -1 if 2 * rest < power else (0 if 2 * rest == power else 1)
    if rest != 0:
        if rounding == 0:
            return 0, UNDECIDED
        if _round_away(negative, kept & 1 == 1, half, rounding):
            kept += 1
    return (-kept if negative else kept), FOUND


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _decimals(
    data: Any, kinds: Any, starts: Any, stops: Any, in_text: Any, scale: Any, rounding: Any, values: Any, statuses: Any
) -> None:
    for row in range(len(kinds)):
        value = 0
        status = _kind_status(kinds[row], in_text, False)
        if status == FOUND:
            start, stop = starts[row], stops[row]
            if kinds[row] == _TEXT:
                start, stop = _trimmed(data, start, stop)
            status, negative, digits, exponent, _ = _parts(data, start, stop)
            if status == FOUND:
                value, status = _scaled(negative, digits, scale + exponent, rounding)
        values[row], statuses[row] = value, status


def parse_decimals(
    data: Bytes, spans: Spans, scale: int, rounding: str = "", in_text: bool = False
) -> tuple[Int64s, Statuses]:
    """int64[n], the numbers times 10**scale, 0 where there is none, and what became of each.

    rounding: the decimal module's name of a rule for more digits than the scale; without one they are an error.
    """
    values, statuses = np.empty(len(spans), np.int64), np.empty(len(spans), np.uint8)
    code = ROUNDING_CODES[rounding]
    _decimals(address_of(data), spans.kinds, spans.starts, spans.stops, in_text, scale, code, values, statuses)
    return values, statuses


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _floats(data: Any, kinds: Any, starts: Any, stops: Any, in_text: Any, values: Any, statuses: Any) -> None:
    for row in range(len(kinds)):
        value = 0.0
        status = _kind_status(kinds[row], in_text, False)
        if status == FOUND:
            start, stop = starts[row], stops[row]
            if kinds[row] == _TEXT:
                start, stop = _trimmed(data, start, stop)
            status, negative, digits, exponent, whole = _parts(data, start, stop)
            if status == FOUND:
                # Both operands are exact, so the one division or product is rounded as the written number must be.
                if digits > 2**53 or exponent < -22 or exponent > 22:
                    status = UNDECIDED
                elif exponent < 0:
                    value = np.float64(digits) / _FLOAT_POWERS[-exponent]
                else:
                    value = np.float64(digits) * _FLOAT_POWERS[exponent]
                if negative and not (whole and digits == 0):
                    value = -value
        values[row], statuses[row] = value, status


def parse_floats(data: Bytes, spans: Spans, in_text: bool = False) -> tuple[npt.NDArray[np.float64], Statuses]:
    """float64[n], the numbers nearest to what is written, 0 where there is none, and what became of each."""
    values, statuses = np.empty(len(spans), np.float64), np.empty(len(spans), np.uint8)
    _floats(address_of(data), spans.kinds, spans.starts, spans.stops, in_text, values, statuses)
    return values, statuses
