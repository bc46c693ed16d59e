"""Checks of the values that events and states hold: the rules that make the plain run the reference for the compiled
one.

Every check takes a value and returns the normalised one (aware datetimes in UTC, Decimals at their scale, Enum
members), or raises TypeError, ValueError or OverflowError naming the field.
"""

from __future__ import annotations

import decimal
import enum
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from runner.values import Kind, ValueType

__all__ = ["EXACT", "Check", "check_for", "microseconds", "scaled", "too_precise", "unscaled"]

Check = Callable[[Any], Any]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EXACT = decimal.Context(prec=100, rounding=decimal.ROUND_HALF_EVEN)
"""Room for every product of int64-scaled Decimals, so that a twin's arithmetic never rounds on the way."""


def microseconds(value: timedelta) -> int:
    """Exact microseconds of a timedelta, also where they exceed int64."""
    return (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds


def duration(value: int) -> timedelta:
    """The timedelta of exact microseconds."""
    return timedelta(microseconds=value)


def from_microseconds(value: int) -> datetime:
    """The UTC datetime of microseconds since 1970. Raises OverflowError outside of the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=value)


def scaled(value: Decimal | int, type_: ValueType, name: str = "value") -> int:
    """The int64 that the kernel holds: value * 10**scale, by the type's rounding rule.

    Raises ValueError (more digits than the scale, no rounding rule, not finite) or OverflowError (int64).
    """
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{name}: {value} is not a finite Decimal")
    if number.adjusted() > 20 and number:
        raise OverflowError(f"{name}: {value} does not fit a Decimal of scale {type_.scale}")
    shifted = number.scaleb(type_.scale, context=EXACT)
    whole = shifted.to_integral_value(rounding=type_.rounding or decimal.ROUND_DOWN)
    if whole != shifted and not type_.rounding:
        raise ValueError(f"{name}: {too_precise(value, type_.scale)}")
    result = int(whole)
    if not INT64_MIN <= result <= INT64_MAX:
        raise OverflowError(f"{name}: {value} does not fit a Decimal of scale {type_.scale}")
    return result


def too_precise(value: object, scale: int) -> str:
    """Why a value does not fit a Decimal without a rounding rule, and what its author can write."""
    return (
        f"{value} has more than {scale} digits behind the point; declare a larger scale, or how to round: "
        f'Scale({scale}, "ROUND_HALF_EVEN"), field(scale={scale}, rounding="ROUND_HALF_EVEN")'
    )


def unscaled(value: int, scale: int) -> Decimal:
    """The Decimal of a scaled int64."""
    return Decimal(value).scaleb(-scale, context=EXACT)


def check_for(
    type_: ValueType, name: str, enums: Mapping[str, type[enum.Enum]], record: type[Any] | None = None
) -> Check:
    """The check of a field. enums: Enum classes by ``ValueType.enum``; record: the class of a list of records."""
    if type_.optional:
        required = check_for(type_.required, name, enums, record)
        return lambda value: None if value is None else required(value)
    if type_.kind is Kind.DECIMAL:
        return _decimal(type_, name)
    if type_.kind is Kind.ENUM:
        cls = enums.get(type_.enum)
        return _literal(type_, name) if cls is None else _member(cls, name)
    if type_.kind is Kind.LIST:
        return _list(type_, name, enums, record)
    return _SCALARS[type_.kind](name)


def _wrong(name: str, value: object, wanted: str) -> TypeError:
    none = "; declare it as Optional to allow None" if value is None else ""
    return TypeError(f"{name} takes {wanted}, not {value!r}{none}")


def _int(name: str) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong(name, value, "an int")
            value = int(value)
        number: int = value
        if INT64_MIN <= number <= INT64_MAX:
            return number
        raise OverflowError(f"{name}: {value} does not fit int64")

    return check


def _float(name: str) -> Check:
    def check(value: Any) -> float:
        if type(value) is float:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(name, value, "a float")
        return float(value)

    return check


def _bool(name: str) -> Check:
    def check(value: Any) -> bool:
        if value is True or value is False:
            return value
        raise _wrong(name, value, "a bool")

    return check


def _str(name: str) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise _wrong(name, value, "a str")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{name}: {value!r} holds a lone surrogate, which is not text") from None
        return value if type(value) is str else str.__str__(value)

    return check


def _datetime(name: str) -> Check:
    def check(value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise _wrong(name, value, "an aware datetime")
        if value.tzinfo is UTC:
            return value
        if value.utcoffset() is None:
            raise ValueError(f"{name}: {value!r} has no time zone; give an aware datetime (tzinfo=UTC)")
        return value.astimezone(UTC)

    return check


def _date(name: str) -> Check:
    def check(value: Any) -> date:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        raise _wrong(name, value, "a date")

    return check


def _timedelta(name: str) -> Check:
    def check(value: Any) -> timedelta:
        if not isinstance(value, timedelta):
            raise _wrong(name, value, "a timedelta")
        if not INT64_MIN <= microseconds(value) <= INT64_MAX:
            raise OverflowError(f"{name}: {value} does not fit int64 microseconds")
        return value

    return check


def _uuid(name: str) -> Check:
    def check(value: Any) -> UUID:
        if isinstance(value, UUID):
            return value
        raise _wrong(name, value, "a UUID")

    return check


def _decimal(type_: ValueType, name: str) -> Check:
    scale = type_.scale

    def check(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
            raise _wrong(name, value, "a Decimal")
        return unscaled(scaled(value, type_, name), scale)

    return check


def _member(cls: type[enum.Enum], name: str) -> Check:
    def check(value: Any) -> enum.Enum:
        if type(value) is cls:
            return value
        if isinstance(value, (bool, enum.Enum)):
            raise _wrong(name, value, f"a {cls.__name__}")
        try:
            return cls(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} is no {cls.__name__}") from None

    return check


def _literal(type_: ValueType, name: str) -> Check:
    members = frozenset(type_.members)
    wanted = type(type_.members[0])

    def check(value: Any) -> str | int:
        if type(value) is not wanted:
            raise _wrong(name, value, f"one of {', '.join(map(repr, type_.members))}")
        if value not in members:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(map(repr, type_.members))}")
        return value

    return check


def _list(type_: ValueType, name: str, enums: Mapping[str, type[enum.Enum]], record: type[Any] | None) -> Check:
    assert type_.element is not None
    if type_.element.kind is Kind.RECORD:
        assert record is not None
        one: Check = _record(record, name)
    else:
        one = check_for(type_.element, f"an element of {name}", enums)

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise _wrong(name, value, "a list")
        return tuple([one(v) for v in value])

    return check


def _record(record: type[Any], name: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is record:
            return value
        if isinstance(value, dict):
            return record(**value)
        raise _wrong(name, value, f"{record.__name__} elements")

    return check


_SCALARS: dict[Kind, Callable[[str], Check]] = {
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.STR: _str,
    Kind.DATETIME: _datetime,
    Kind.DATE: _date,
    Kind.TIMEDELTA: _timedelta,
    Kind.UUID: _uuid,
}
