"""Dates and times written as text, read into days and microseconds since 1970.

ISO 8601 as it is met: ``2017-07-24T10:00:00.123Z``, a space in the place of the T, seconds left out, any number of
digits behind the point (cut after the sixth), offsets ``Z``, ``+02``, ``+0200``, ``+02:00`` or a trailing ``UTC``.
Other formats are strptime's; the kernel reads those made of full-width numbers and literals, everything else is left
UNDECIDED for the twin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.fieldstatus import ABSENT, FOUND, LOCAL, NULL, UNDECIDED
from runner.kernels.loads import address_of, load_byte

if TYPE_CHECKING:
    from runner.kernels.jsonscan import Bytes, Int64s, Spans
    from runner.kernels.textnumbers import Statuses

__all__ = ["compile_format", "parse_dates", "parse_formatted", "parse_times"]

_TEXT = 6
_DAY = 86_400_000_000
_FIRST = -62_135_596_800_000_000
"""0001-01-01, the first microsecond that a datetime holds."""
_LAST = 253_402_300_799_999_999

_DIRECTIVES: Final = {"Y": 256, "m": 257, "d": 258, "H": 259, "M": 260, "S": 261, "f": 262, "z": 263, "y": 264}


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _text_status(kind: Any) -> Any:
    if kind == _TEXT:
        return FOUND
    if kind == 0:
        return ABSENT
    if kind == 1:
        return NULL
    return UNDECIDED


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _number(data: Any, i: Any, stop: Any, width: Any) -> Any:
    # ``width`` digits from i on, or -1.
    if i + width > stop:
        return -1
    value = 0
    for k in range(i, i + width):
        c = load_byte(data, k)
        if c < 48 or c > 57:
            return -1
        value = value * 10 + (c - 48)
    return value


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _days(year: Any, month: Any, day: Any) -> Any:
    # (days since 1970, whether there is such a day)
    if year < 1 or month < 1 or month > 12 or day < 1:
        return 0, False
    longest = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        longest = 30
    elif month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if day > longest:
        return 0, False
    y = year - 1 if month <= 2 else year
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468, True


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _fraction(data: Any, i: Any, stop: Any) -> Any:
    # (microseconds, place behind the digits); the digits behind the sixth are passed over
    value = 0
    width = 0
    while i < stop:
        c = load_byte(data, i)
        if c < 48 or c > 57:
            break
        if width < 6:
            value = value * 10 + (c - 48)
            width += 1
        i += 1
    for _ in range(width, 6):
        value *= 10
    return value, i


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _iso_date(data: Any, i: Any, stop: Any) -> Any:
    # (days, whether YYYY-MM-DD stands at i)
    year, month, day = _number(data, i, stop, 4), _number(data, i + 5, stop, 2), _number(data, i + 8, stop, 2)
    if year < 0 or month < 0 or day < 0 or load_byte(data, i + 4) != 45 or load_byte(data, i + 7) != 45:
        return 0, False
    return _days(year, month, day)


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _offset(data: Any, i: Any, stop: Any) -> Any:
    # What is left of an ISO time is its zone: (microseconds east of UTC, status)
    if stop - i > 1 and load_byte(data, i) == 32:
        i += 1
    c = load_byte(data, i)
    if c == 90 or c == 122:
        return 0, (FOUND if i + 1 == stop else UNDECIDED)
    if stop - i == 3 and c == 85 and load_byte(data, i + 1) == 84 and load_byte(data, i + 2) == 67:
        return 0, FOUND
    if c != 43 and c != 45:
        return 0, UNDECIDED
    hours = _number(data, i + 1, stop, 2)
    minutes = 0
    if stop - i == 5:
        minutes = _number(data, i + 3, stop, 2)
    elif stop - i == 6 and load_byte(data, i + 3) == 58:
        minutes = _number(data, i + 4, stop, 2)
    elif stop - i != 3:
        return 0, UNDECIDED
    if hours < 0 or minutes < 0 or hours > 23 or minutes > 59:
        return 0, UNDECIDED
    east = (hours * 60 + minutes) * 60_000_000
    return (-east if c == 45 else east), FOUND


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _iso_time(data: Any, i: Any, stop: Any) -> Any:
    # (microseconds, FOUND, LOCAL or UNDECIDED)
    days, good = _iso_date(data, i, stop)
    if not good or stop - i < 16:
        return 0, UNDECIDED
    c = load_byte(data, i + 10)
    if c != 84 and c != 116 and c != 32:
        return 0, UNDECIDED
    hour, minute, second, micro = _number(data, i + 11, stop, 2), _number(data, i + 14, stop, 2), 0, 0
    if hour < 0 or minute < 0 or hour > 23 or minute > 59 or load_byte(data, i + 13) != 58:
        return 0, UNDECIDED
    i += 16
    if i < stop and load_byte(data, i) == 58:
        second = _number(data, i + 1, stop, 2)
        if second < 0 or second > 59:
            return 0, UNDECIDED
        i += 3
        if i < stop and (load_byte(data, i) == 46 or load_byte(data, i) == 44):
            first = i + 1
            micro, i = _fraction(data, first, stop)
            if i == first:
                return 0, UNDECIDED
    value = days * _DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
    if i == stop:
        return value, LOCAL
    east, status = _offset(data, i, stop)
    value -= east
    if status == FOUND and (value < _FIRST or value > _LAST):
        return 0, UNDECIDED
    return value, status


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _times(data: Any, kinds: Any, starts: Any, stops: Any, values: Any, statuses: Any) -> None:
    for row in range(len(kinds)):
        value = 0
        status = _text_status(kinds[row])
        if status == FOUND:
            value, status = _iso_time(data, starts[row], stops[row])
        values[row], statuses[row] = value if status != UNDECIDED else 0, status


def parse_times(data: Bytes, spans: Spans) -> tuple[Int64s, Statuses]:
    """int64[n], µs since 1970 UTC (where the status is LOCAL: local µs), and what became of each."""
    values, statuses = np.empty(len(spans), np.int64), np.empty(len(spans), np.uint8)
    _times(address_of(data), spans.kinds, spans.starts, spans.stops, values, statuses)
    return values, statuses


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _dates(data: Any, kinds: Any, starts: Any, stops: Any, loose: Any, values: Any, statuses: Any) -> None:
    for row in range(len(kinds)):
        value = 0
        status = _text_status(kinds[row])
        if status == FOUND:
            start, stop = starts[row], stops[row]
            value, good = _iso_date(data, start, stop)
            if loose and stop - start != 10:
                _, status = _iso_time(data, start, stop)
                good = good and status != UNDECIDED
            elif stop - start != 10:
                good = False
            status = FOUND if good else UNDECIDED
        values[row], statuses[row] = value if status == FOUND else 0, status


def parse_dates(data: Bytes, spans: Spans, loose: bool = False) -> tuple[Int64s, Statuses]:
    """int64[n], days since 1970, and what became of each. loose: a time may follow; the date is the one that is
    written.
    """
    values, statuses = np.empty(len(spans), np.int64), np.empty(len(spans), np.uint8)
    _dates(address_of(data), spans.kinds, spans.starts, spans.stops, loose, values, statuses)
    return values, statuses


def compile_format(text: str) -> npt.NDArray[np.int64] | None:
    """A strptime format for ``parse_formatted``, or None where the kernel does not know it (month names, say)."""
    program: list[int] = []
    letters = iter(text)
    for letter in letters:
        if letter == "%":
            directive = next(letters, "")
            if directive not in _DIRECTIVES or _DIRECTIVES[directive] in program:
                return None
            program.append(_DIRECTIVES[directive])
        elif letter == " " or (letter.isascii() and not letter.isspace()):
            program.append(ord(letter))
        else:
            return None
    if 256 in program and 264 in program:
        return None
    return np.array(program, np.int64)


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _formatted(data: Any, i: Any, stop: Any, program: Any) -> Any:
    # (microseconds, FOUND, LOCAL or UNDECIDED)
    year, month, day, hour, minute, second, micro, east = 1900, 1, 1, 0, 0, 0, 0, 0
    status = LOCAL
    for k in range(len(program)):
        step = program[k]
        if step < 256:
            if i >= stop or load_byte(data, i) != step:
                return 0, UNDECIDED
            i += 1
            continue
        if step == 262:
            first = i
            micro, i = _fraction(data, i, stop)
            if i == first or i - first > 6:
                return 0, UNDECIDED
            continue
        if step == 263:
            if i >= stop:
                return 0, UNDECIDED
            c = load_byte(data, i)
            status = FOUND
            if c == 90:
                i += 1
                continue
            colon = 1 if i + 3 < stop and load_byte(data, i + 3) == 58 else 0
            hours, minutes = _number(data, i + 1, stop, 2), _number(data, i + 3 + colon, stop, 2)
            if (c != 43 and c != 45) or hours < 0 or minutes < 0 or hours > 23 or minutes > 59:
                return 0, UNDECIDED
            i += 5 + colon
            if i < stop and (load_byte(data, i) == 58 or 48 <= load_byte(data, i) <= 57):
                return 0, UNDECIDED
            east = (hours * 60 + minutes) * 60_000_000
            if c == 45:
                east = -east
            continue
        width = 4 if step == 256 else 2
        value = _number(data, i, stop, width)
        if value < 0:
            return 0, UNDECIDED
        i += width
        if step == 256:
            year = value
        elif step == 257:
            month = value
        elif step == 258:
            day = value
        elif step == 259:
            hour = value
        elif step == 260:
            minute = value
        elif step == 261:
            second = value
        else:
            year = 2000 + value if value <= 68 else 1900 + value
    days, good = _days(year, month, day)
    if i != stop or not good or hour > 23 or minute > 59 or second > 59:
        return 0, UNDECIDED
    value = days * _DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro - east
    if value < _FIRST or value > _LAST:
        return 0, UNDECIDED
    return value, status


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _all_formatted(data: Any, kinds: Any, starts: Any, stops: Any, program: Any, values: Any, statuses: Any) -> None:
    for row in range(len(kinds)):
        value = 0
        status = _text_status(kinds[row])
        if status == FOUND:
            value, status = _formatted(data, starts[row], stops[row], program)
        values[row], statuses[row] = value, status


def parse_formatted(data: Bytes, spans: Spans, program: npt.NDArray[np.int64]) -> tuple[Int64s, Statuses]:
    """int64[n] and statuses as ``parse_times`` gives them, by a program of ``compile_format``."""
    values, statuses = np.empty(len(spans), np.int64), np.empty(len(spans), np.uint8)
    _all_formatted(address_of(data), spans.kinds, spans.starts, spans.stops, program, values, statuses)
    return values, statuses
