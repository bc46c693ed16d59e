"""The civil calendar in int64: days since 1970-01-01 to year, month and day (proleptic Gregorian), and back.

The algorithms are Howard Hinnant's ``civil_from_days`` and ``days_from_civil``
(https://howardhinnant.github.io/date_algorithms.html): years run from March, so that the leap day is a year's last, and
eras of 400 years have 146,097 days each. All divisions floor, so days before 1970 need no case of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

from runner.kernels.options import KERNEL
from runner.kernels.status import RANGE

__all__ = ["day_of", "days_of", "month_of", "year_of"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Numba has no types; under this name its decorator keeps those of the functions.
_njit: Callable[[_Function], _Function] = njit(**KERNEL)


@_njit
def _march(days: int) -> tuple[int, int]:
    """Days since 1970 -> (year that begins in March, day of that year)."""
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    return year_of_era + era * 400, day_of_year


@_njit
def year_of(days: int) -> int:
    """The year of days since 1970, DATE_MIN <= days <= DATE_MAX."""
    year, day = _march(days)
    return year + 1 if day >= 306 else year


@_njit
def month_of(days: int) -> int:
    """The month, 1..12, of days since 1970."""
    month = (5 * _march(days)[1] + 2) // 153
    return month + 3 if month < 10 else month - 9


@_njit
def day_of(days: int) -> int:
    """The day of the month, 1..31, of days since 1970."""
    day = _march(days)[1]
    return day - (153 * ((5 * day + 2) // 153) + 2) // 5 + 1


@_njit
def days_of(year: int, month: int, day: int) -> tuple[int, int]:
    """(days since 1970, status) of a date; RANGE where Python has no such date."""
    if year < 1 or year > 9999 or month < 1 or month > 12 or day < 1:
        return 0, RANGE
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    length = 28 + leap if month == 2 else 30 + ((month + month // 8) & 1)
    if day > length:
        return 0, RANGE
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468, 0
