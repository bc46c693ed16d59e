"""What ``coerce`` says: how numbers, dates and times are written in a payload that does not use JSON's own ways.

======================= ==========================================================================================
``""``                  strict: numbers are JSON numbers, times are ISO 8601 with a zone, dates are YYYY-MM-DD
``number``              a number in a string (or a JSON number)
``iso``                 ISO 8601; of a date also one with a time behind it, whose date is taken as it is written
``epoch``               seconds since 1970 UTC, a number or a number in a string; also ``epoch_ms``, ``_us``, ``_ns``
any other               a strptime format: ``%y%m%d``, ``%d.%m.%Y %H:%M:%S``
======================= ==========================================================================================

A time written without a zone needs one: ``iso@UTC``, ``%d.%m.%Y %H:%M@Europe/Prague``. Of a local time that occurs
twice the earlier is taken; one that does not occur (clocks put forward) is an error.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from runner.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.values import PayloadColumn

__all__ = ["EPOCH_SCALES", "Coercion", "check_coercions", "parse_coercion", "zone_of"]

EPOCH_SCALES = {"epoch": 6, "epoch_ms": 3, "epoch_us": 0, "epoch_ns": -3}
"""Powers of ten from the unit to microseconds."""

_ZONED = re.compile(r"(?s)(.*)@([A-Za-z_]+(?:/[A-Za-z0-9_+-]+)*)")


@dataclass(frozen=True)
class Coercion:
    """A parsed ``coerce``. format: of strptime. zone: the IANA name for times written without one, or ""."""

    style: Literal["strict", "number", "iso", "epoch", "format"]
    unit: str = ""
    format: str = ""
    zone: str = ""


@functools.lru_cache(maxsize=256)
def parse_coercion(text: str) -> Coercion:
    """The meaning of a ``coerce``. Raises ValueError: no such zone, or a format without a directive."""
    if text == "":
        return Coercion("strict")
    if text == "number":
        return Coercion("number")
    if text in EPOCH_SCALES:
        return Coercion("epoch", unit=text)
    zoned = _ZONED.fullmatch(text)
    body, zone = (zoned[1].strip(), zoned[2]) if zoned else (text, "")
    if zone:
        zone_of(zone)
    if body == "iso":
        return Coercion("iso", zone=zone)
    if "%" not in body:
        raise ValueError(f"{text!r} is neither number, iso, epoch, epoch_ms, epoch_us, epoch_ns nor a strptime format")
    return Coercion("format", format=body, zone=zone)


def check_coercions(columns: Sequence[PayloadColumn]) -> None:
    """Raises DefinitionError for the first column whose coercion, or that of a record's field, means nothing."""
    for column in columns:
        found = [column.coerce, *(field.coerce for inner in column.type.walk() for field in inner.fields)]
        for text in found:
            try:
                parse_coercion(text)
            except ValueError as error:
                path = ".".join(column.paths[0])
                raise DefinitionError(f"field {path} of {column.event_type}: coerce: {error}") from None


@functools.lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name!r}; write an IANA name such as Europe/Amsterdam or UTC"
        ) from None
