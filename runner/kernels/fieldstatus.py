"""What became of one value on its way from text to column: one uint8 a row.

A kernel reads what it reads exactly, and leaves everything else UNDECIDED: the plain twin then gives the value, or
says why there is none. So a bad value is never passed on, and both paths give the same reasons.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT", "FOUND", "LOCAL", "NULL", "UNDECIDED"]

FOUND: Final = 0
ABSENT: Final = 1
"""No path was present."""
NULL: Final = 2
LOCAL: Final = 3
"""A time without a zone: the value counts local microseconds, and the caller knows the zone or refuses it."""
UNDECIDED: Final = 4
"""The plain twin decides."""
