"""What a handler may use from outside of itself without its output depending on anything but its events: constants."""

from __future__ import annotations

import enum
import re
import types
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

__all__ = ["constant_text"]

_PLAIN = (
    bool,
    int,
    str,
    bytes,
    type(None),
    Decimal,
    Fraction,
    date,
    datetime,
    time,
    timedelta,
    timezone,
    UUID,
    type(...),
    range,
)


def constant_text(value: object) -> str | None:
    """A text that is equal for equal constants of equal type, the same in every process; None for what is no
    constant.
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}={constant_text(value.value)}"
    if isinstance(value, float):
        return f"float:{value.hex()}"
    if isinstance(value, complex):
        return f"complex:{value.real.hex()},{value.imag.hex()}"
    if isinstance(value, ZoneInfo):
        return f"ZoneInfo:{value.key}"
    if isinstance(value, re.Pattern):
        return f"re:{value.pattern!r}:{value.flags}"
    if isinstance(value, _PLAIN):
        return f"{type(value).__qualname__}:{value!r}"
    if isinstance(value, (tuple, frozenset)):
        parts = [constant_text(v) for v in value]
        known = [p for p in parts if p is not None]
        if len(known) < len(parts):
            return None
        return f"{type(value).__qualname__}({','.join(sorted(known) if isinstance(value, frozenset) else known)})"
    if isinstance(value, types.MappingProxyType):
        items = [(constant_text(k), constant_text(v)) for k, v in value.items()]
        return None if any(k is None or v is None for k, v in items) else f"mapping({items!r})"
    return None
