"""Numbers that compiled functions and the compiler share, where Numba is not needed to know them."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATETIME_MAX", "DATETIME_MIN", "DATE_MAX", "DATE_MIN", "DAY", "ROUNDINGS"]

DAY: Final = 86_400_000_000
"""µs of a day."""
DATE_MIN: Final = -719_162
"""0001-01-01 in days since 1970, the first date that Python has."""
DATE_MAX: Final = 2_932_896
"""9999-12-31, the last one."""
DATETIME_MIN: Final = DATE_MIN * DAY
DATETIME_MAX: Final = (DATE_MAX + 1) * DAY - 1

ROUNDINGS: Final[Mapping[str, int]] = {
    decimal.ROUND_DOWN: 0,
    decimal.ROUND_UP: 1,
    decimal.ROUND_FLOOR: 2,
    decimal.ROUND_CEILING: 3,
    decimal.ROUND_HALF_EVEN: 4,
    decimal.ROUND_HALF_UP: 5,
    decimal.ROUND_HALF_DOWN: 6,
}
"""The number by which ``scaled.rounded_digits`` knows a rounding rule of the decimal module."""
