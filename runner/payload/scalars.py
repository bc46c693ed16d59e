"""One scalar of a payload, read plainly: what the kernels must agree with, and who gives the reasons.

``stored_value`` takes what ``parse`` gives (numbers stay as they are written) and returns the stored form: an int, a
float or a str, as ``PayloadArray`` holds them. Raises ``Unfit`` with the reason.
"""

from __future__ import annotations

import decimal
import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from runner.authoring.field_values import too_precise
from runner.kernels.jsonscan import MAX_DEPTH
from runner.payload.coercion import EPOCH_SCALES, Coercion, zone_of
from runner.values import Kind, ValueType

__all__ = ["Number", "Unfit", "parse", "stored_value"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY: Final = 86_400_000_000 * (date.max - date(1970, 1, 1)).days + 86_399_999_999
_FIRST_DAY: Final = 86_400_000_000 * (date.min - date(1970, 1, 1)).days

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_ISO_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"( ?(?:[Zz]|UTC|([+-])([0-9]{2})(?::?([0-9]{2}))?))?"
)
_DURATION = re.compile(
    r"([+-])?P(?:([0-9]+)W|(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:[.,][0-9]+)?)S)?)?)"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
_SPACE: Final = " \t\r\n"


class Unfit(ValueError):
    """A value does not fit its type; the message is the reason."""


class Number:
    """A JSON number as it is written, so that nothing is lost by reading it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _refuse(literal: str) -> Any:
    raise ValueError(f"{literal} is not JSON")


def parse(text: str | bytes) -> Any:
    """A JSON text with its numbers as ``Number``. Raises ValueError; of equal keys the last counts."""
    if isinstance(text, bytes):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse)


def _depth(text: str) -> int:
    deepest = depth = 0
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"|[^][{}"]+', "", text, flags=re.DOTALL):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def stored_value(value: Any, type_: ValueType, coercion: Coercion) -> int | float | str:
    """The stored form of a scalar that is there and not null."""
    kind = type_.kind
    if kind is Kind.STR:
        return _text(value)
    if kind is Kind.INT:
        return _integer(value, in_text=coercion.style == "number")
    if kind is Kind.FLOAT:
        return _float(value, coercion)
    if kind is Kind.BOOL:
        return int(_need(value, bool, "true or false"))
    if kind is Kind.DECIMAL:
        return _scaled(_number(value, coercion), type_.scale, type_.rounding)
    if kind is Kind.ENUM:
        return _text(value) if isinstance(type_.members[0], str) else str(_integer(value, in_text=False))
    if kind is Kind.UUID:
        text = _text(value)
        if not _UUID.fullmatch(text) or len(text) not in (32, 36):
            raise Unfit(f"{_shown(value)} is not a UUID")
        plain = text.replace("-", "").lower()
        return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    if kind is Kind.DATETIME:
        return _datetime(value, coercion)
    if kind is Kind.DATE:
        return _date(value, coercion)
    assert kind is Kind.TIMEDELTA, kind
    return _timedelta(value, coercion)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.text if isinstance(value, Number) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _need(value: Any, wanted: type, what: str) -> Any:
    if not isinstance(value, wanted):
        raise Unfit(f"{_shown(value)} is not {what}")
    return value


def _text(value: Any) -> str:
    text: str = _need(value, str, "a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit(f"{_shown(value)} holds half of a surrogate pair, which is not text") from None
    return text


def _number_text(value: Any, *, in_text: bool) -> str:
    if isinstance(value, Number):
        return value.text
    if in_text and isinstance(value, str):
        return value.strip(_SPACE)
    hint = '; coerce="number" reads numbers in strings' if isinstance(value, str) and not in_text else ""
    raise Unfit(f"{_shown(value)} is not a number{hint}")


def _integer(value: Any, *, in_text: bool) -> int:
    text = _number_text(value, in_text=in_text)
    if not _INTEGER.fullmatch(text):
        raise Unfit(f"{_shown(value)} is not an integer")
    number = Decimal(text)
    if not INT64_MIN <= number <= INT64_MAX:
        raise Unfit(f"{_shown(value)} does not fit int64")
    return int(number)


def _number(value: Any, coercion: Coercion, *, in_text: bool = False) -> Decimal:
    text = _number_text(value, in_text=in_text or coercion.style == "number")
    if not _NUMBER.fullmatch(text):
        raise Unfit(f"{_shown(value)} is not a number")
    try:
        return Decimal(text)
    except decimal.InvalidOperation:
        raise Unfit(f"{_shown(value)} is beyond any number that is kept") from None


def _float(value: Any, coercion: Coercion) -> float:
    text = _number_text(value, in_text=coercion.style == "number")
    if not _NUMBER.fullmatch(text):
        raise Unfit(f"{_shown(value)} is not a number")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Unfit(f"{_shown(value)} does not fit a float")
    return 0.0 if number == 0 and _INTEGER.fullmatch(text) else number


def _scaled(number: Decimal, scale: int, rounding: str, what: str = "") -> int:
    if number and number.adjusted() > 20 - scale:
        raise Unfit(f"{number:g} does not fit {what or f'a Decimal of scale {scale}'}")
    if number and number.adjusted() < -1_000:
        # Far below the last digit: any tiny number of that sign is rounded alike, and this one has few digits.
        number = Decimal((number.as_tuple().sign, (1,), -1_000))
    wide = decimal.Context(prec=len(number.as_tuple().digits) + 64, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    shifted = number.scaleb(scale, context=wide)
    whole = shifted.to_integral_value(rounding=rounding or decimal.ROUND_DOWN, context=wide)
    if whole != shifted and not rounding:
        raise Unfit(f"{number} has more than {scale} digits behind the point" if what else too_precise(number, scale))
    if not INT64_MIN <= whole <= INT64_MAX:
        raise Unfit(f"{number} does not fit {what or f'a Decimal of scale {scale}'}")
    return int(whole)


def _epoch(value: Any, coercion: Coercion) -> int:
    number = _number(value, coercion, in_text=True)
    micros = _scaled(number, EPOCH_SCALES[coercion.unit], decimal.ROUND_FLOOR, "a time")
    if not _FIRST_DAY <= micros <= _LAST_DAY:
        raise Unfit(f"{_shown(value)} is beyond the years 1 to 9999")
    return micros


def _micros(moment: datetime, value: Any, coercion: Coercion) -> int:
    if moment.tzinfo is None:
        if not coercion.zone:
            raise Unfit(f"{_shown(value)} has no time zone; a coercion can name it: {coercion.format or 'iso'}@UTC")
        zone = zone_of(coercion.zone)
        try:
            utc = moment.replace(tzinfo=zone).astimezone(UTC)
            if utc.astimezone(zone).replace(tzinfo=None) != moment:
                raise Unfit(f"{_shown(value)} does not occur in {coercion.zone}: clocks are put forward over it")
        except OverflowError:
            raise Unfit(f"{_shown(value)} is beyond the years 1 to 9999") from None
        return (utc - _EPOCH) // _MICROSECOND
    micros = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST_DAY <= micros <= _LAST_DAY:
        raise Unfit(f"{_shown(value)} is beyond the years 1 to 9999")
    return micros


def _iso(text: str) -> datetime:
    found = _ISO_TIME.fullmatch(text)
    if not found:
        raise Unfit(f"{_shown(text)} is not an ISO 8601 time (2026-01-31T12:00:00Z)")
    year, month, day, hour, minute = (int(found[k]) for k in range(1, 6))
    micro = int((found[7] or "")[:6].ljust(6, "0"))
    zone = None
    if found[8]:
        hours, minutes = int(found[10] or 0), int(found[11] or 0)
        if hours > 23 or minutes > 59:
            raise Unfit(f"{_shown(text)} has no such offset from UTC")
        east = timedelta(hours=hours, minutes=minutes)
        zone = UTC if not found[9] else timezone(-east if found[9] == "-" else east)
    try:
        return datetime(year, month, day, hour, minute, int(found[6] or 0), micro, tzinfo=zone)
    except ValueError as error:
        raise Unfit(f"{_shown(text)}: {error}") from None


def _parsed(text: str, format_: str) -> datetime:
    try:
        return datetime.strptime(text, format_)  # noqa: DTZ007  # the zone is the coercion's, or missing it is an error
    except (ValueError, OverflowError, re.error) as error:
        raise Unfit(f"{_shown(text)} is not a time as {format_}: {error}") from None


def _datetime(value: Any, coercion: Coercion) -> int:
    if coercion.style == "epoch":
        return _epoch(value, coercion)
    text = _text(value)
    return _micros(_parsed(text, coercion.format) if coercion.style == "format" else _iso(text), value, coercion)


def _date(value: Any, coercion: Coercion) -> int:
    if coercion.style == "epoch":
        return _epoch(value, coercion) // 86_400_000_000
    text = _text(value)
    if coercion.style == "format":
        day = _parsed(text, coercion.format).date()
    elif coercion.style == "iso" and len(text) != 10:
        day = _iso(text).date()
    else:
        found = _ISO_DATE.fullmatch(text)
        if not found:
            raise Unfit(f"{_shown(value)} is not a date (2026-01-31)")
        try:
            day = date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError as error:
            raise Unfit(f"{_shown(value)}: {error}") from None
    return (day - date(1970, 1, 1)).days


def _timedelta(value: Any, coercion: Coercion) -> int:
    unit = EPOCH_SCALES[coercion.unit] if coercion.style == "epoch" else 6
    if isinstance(value, Number) or coercion.style in ("number", "epoch"):
        number = _number(value, coercion, in_text=coercion.style == "epoch")
        return _scaled(number, unit, "" if unit >= 0 else decimal.ROUND_FLOOR, "a duration")
    text = _text(value)
    found = _DURATION.fullmatch(text)
    if not found or text.rstrip("+-")[-1:] in ("P", "T"):
        raise Unfit(f"{_shown(value)} is neither a number of seconds nor an ISO 8601 duration (P1DT2H3.5S)")
    weeks, days, hours, minutes = (int(found[k] or 0) for k in range(2, 6))
    seconds = Decimal((found[6] or "0").replace(",", "."))
    whole = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60
    micros = _scaled(Decimal(whole), 6, "", "a duration") + _scaled(seconds, 6, "", "a duration")
    if micros > INT64_MAX:
        raise Unfit(f"{_shown(value)} does not fit int64 microseconds")
    return -micros if found[1] == "-" else micros
