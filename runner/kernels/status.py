"""What a compiled function answers instead of raising: one int64.

A status never carries a wrong value on: whatever is not ``OK`` or ``DELETED`` stops the kernel, and either more room is
made (``GROW``) or the plain twin folds the partition again (everything else). Of ``REFUSED`` the twin's result counts:
a compiled function may always answer it where it cannot compute exactly. The others say that the plain handler fails
too; where it does not, one of the two is wrong, and nothing of the projection is published.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DELETED",
    "GROW",
    "NAMES",
    "NONE_VALUE",
    "OK",
    "OVERFLOW",
    "RAISED",
    "RANGE",
    "REFUSED",
    "SCALE",
    "ZERO_DIVISION",
]

OK: Final = 0
"""The handler did its work."""
DELETED: Final = 1
"""The handler did its work and called ``self.delete()``."""
GROW: Final = 2
"""The string pool or a key map is full: the partition starts over with more room."""
REFUSED: Final = 3
"""A value outside what the kernel computes exactly; the plain result may well be fine."""
OVERFLOW: Final = 4
"""An integer result does not fit int64."""
ZERO_DIVISION: Final = 5
"""A division by zero."""
NONE_VALUE: Final = 6
"""None where a value is needed."""
RANGE: Final = 7
"""A value, date or index outside its range."""
RAISED: Final = 8
"""The author's ``assert`` or ``raise``."""
SCALE: Final = 9
"""A Decimal has more digits than its scale, and no rounding rule is given."""

NAMES: Final[dict[int, str]] = {
    OK: "ok",
    DELETED: "deleted",
    GROW: "grow",
    REFUSED: "refused",
    OVERFLOW: "overflow",
    ZERO_DIVISION: "division by zero",
    NONE_VALUE: "None where a value is needed",
    RANGE: "out of range",
    RAISED: "raised by the handler",
    SCALE: "more digits than the scale",
}
"""Words for reports."""
