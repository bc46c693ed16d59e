"""Annotations of event and state fields turned into ``ValueType``s. What is not on the list is refused with what to
write.

Supported: int, float, bool, str, datetime, date, timedelta, UUID, ``Annotated[Decimal, Scale(2)]``, Enum classes with
str or int values, ``Literal[...]``, ``X | None``; in events also ``list[...]`` of these and of Records.
"""

from __future__ import annotations

import decimal
import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from runner.values import Kind, ValueType

__all__ = ["EnumClasses", "FieldType", "RecordClass", "Scale", "enum_name", "field_type", "fixed_scale"]

EnumClasses = Mapping[str, type[enum.Enum]]
"""Enum classes by ``ValueType.enum``."""

RecordClass = type[Any]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

ROUNDINGS = (
    decimal.ROUND_CEILING,
    decimal.ROUND_DOWN,
    decimal.ROUND_FLOOR,
    decimal.ROUND_HALF_DOWN,
    decimal.ROUND_HALF_EVEN,
    decimal.ROUND_HALF_UP,
    decimal.ROUND_UP,
)

_SCALARS: dict[object, Kind] = {
    int: Kind.INT,
    float: Kind.FLOAT,
    bool: Kind.BOOL,
    str: Kind.STR,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    timedelta: Kind.TIMEDELTA,
    UUID: Kind.UUID,
    Decimal: Kind.DECIMAL,
}


@dataclass(frozen=True)
class Scale:
    """How many digits a Decimal has behind the point: ``Annotated[Decimal, Scale(2)]``.

    digits: 0..18. rounding: a rounding name of the decimal module ("ROUND_HALF_EVEN") by which a value with more digits
    is rounded; without one such a value is an error.
    """

    digits: int
    rounding: str = ""

    def __post_init__(self) -> None:
        if type(self.digits) is not int or not 0 <= self.digits <= 18:
            raise ValueError(f"Scale takes 0 to 18 digits, not {self.digits!r}")
        if self.rounding and self.rounding not in ROUNDINGS:
            raise ValueError(f"no rounding is called {self.rounding!r}; there are {', '.join(ROUNDINGS)}")


@dataclass(frozen=True)
class FieldType:
    """A field's type with the Python classes behind it.

    type: what the kernel and the columns know. enums: the Enum classes inside it, by ``ValueType.enum``. record:
    the Record class of a list of records.
    """

    type: ValueType
    enums: EnumClasses = field(default_factory=dict, hash=False)
    record: RecordClass | None = None


class Unsupported(TypeError):
    """An annotation that no field can have; the message says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def enum_name(cls: type[enum.Enum]) -> str:
    """The name by which ``ValueType.enum`` knows an Enum class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def field_type(annotation: object, *, lists: bool = False, scale: int | None = None, rounding: str = "") -> FieldType:
    """The type of an annotation whose strings are resolved.

    lists: list[...] is allowed (events). scale, rounding: of a Decimal, where they are given beside the annotation.
    Raises Unsupported. A Decimal without a scale comes back with scale -1, for ``fixed_scale`` or an error.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for note in args[1:]:
            if isinstance(note, Scale):
                scale, rounding = note.digits, note.rounding or rounding
        return field_type(args[0], lists=lists, scale=scale, rounding=rounding)
    if origin in (Union, types.UnionType):
        return _optional(annotation, args, lists=lists, scale=scale, rounding=rounding)
    if origin is Literal:
        return _literal(args)
    if annotation is list or origin is list:
        return _list(annotation, args, allowed=lists)
    kind = _SCALARS.get(annotation)
    if kind is Kind.DECIMAL:
        return FieldType(ValueType(kind, scale=-1 if scale is None else Scale(scale).digits, rounding=rounding))
    if kind is not None:
        return FieldType(ValueType(kind))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum(annotation)
    raise _refusal(annotation)


def fixed_scale(found: FieldType, default: object) -> FieldType:
    """A Decimal's scale taken from its default (``Decimal("0.00")`` has 2) where the annotation gives none."""
    if found.type.kind is not Kind.DECIMAL or found.type.scale >= 0:
        return found
    if isinstance(default, Decimal) and default.is_finite():
        exponent = default.as_tuple().exponent
        if isinstance(exponent, int) and -18 <= exponent <= 0:
            return replace(found, type=replace(found.type, scale=-exponent))
    raise Unsupported("a Decimal needs a fixed scale", "write Annotated[Decimal, Scale(2)]")


def _optional(
    annotation: object, args: tuple[object, ...], *, lists: bool, scale: int | None, rounding: str
) -> FieldType:
    inner = [a for a in args if a is not type(None)]
    if len(inner) != 1 or len(inner) == len(args):
        raise Unsupported(f"{_shown(annotation)} has several types", "a field has one type, or one type and None")
    found = field_type(inner[0], lists=lists, scale=scale, rounding=rounding)
    return replace(found, type=replace(found.type, optional=True))


def _literal(args: tuple[object, ...]) -> FieldType:
    values = tuple(a for a in args if a is not None)
    members = _members(values, f"Literal[{', '.join(map(repr, args))}]")
    return FieldType(ValueType(Kind.ENUM, optional=len(values) < len(args), members=members))


def _enum(cls: type[enum.Enum]) -> FieldType:
    if issubclass(cls, enum.Flag):
        raise Unsupported(f"{cls.__qualname__} is a Flag", "write an int field, or an Enum without combinations")
    members = _members(tuple(m.value for m in cls), cls.__qualname__)
    return FieldType(ValueType(Kind.ENUM, members=members, enum=enum_name(cls)), {enum_name(cls): cls})


def _members(values: tuple[object, ...], what: str) -> tuple[str | int, ...]:
    if not values:
        raise Unsupported(f"{what} has no members")
    texts = [v for v in values if isinstance(v, str)]
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if len(texts) == len(values):
        return tuple(str.__str__(t) for t in texts)
    if len(numbers) == len(values) and all(INT64_MIN <= n <= INT64_MAX for n in numbers):
        return tuple(int(n) for n in numbers)
    raise Unsupported(f"{what} has values that are neither all str nor all int64", "give its members str values")


def _list(annotation: object, args: tuple[object, ...], *, allowed: bool) -> FieldType:
    if not allowed:
        raise Unsupported(
            "a list of any length is not supported in state",
            "write last(10) or buckets(...) as its default, or use a child key (aggregate_id, ...)",
        )
    if len(args) != 1:
        raise Unsupported(
            f"{_shown(annotation)} says no element type", "write list[int], or list[Line] with class Line(Record)"
        )
    record = getattr(args[0], "__record_type__", None)
    if record is not None:
        inner = typing.cast("FieldType", record)
        return FieldType(ValueType(Kind.LIST, element=inner.type), inner.enums, inner.record)
    inner = field_type(args[0])
    if inner.type.kind is Kind.DECIMAL and inner.type.scale < 0:
        raise Unsupported("a Decimal needs a fixed scale", "write list[Annotated[Decimal, Scale(2)]]")
    return FieldType(ValueType(Kind.LIST, element=inner.type), inner.enums)


def _refusal(annotation: object) -> Unsupported:
    origin = get_origin(annotation) or annotation
    if origin in (dict, set, frozenset, tuple) or hasattr(annotation, "__record_type__"):
        return Unsupported(
            f"{_shown(annotation)}: maps and records are supported neither in state nor as a single field yet",
            "in state use a child key (aggregate_id, ...); in an event name the inner value by its path: "
            "field('outer.inner')",
        )
    return Unsupported(
        f"{_shown(annotation)} is not a field type",
        "int, float, bool, str, datetime, date, timedelta, UUID, Decimal with Scale, an Enum, Literal, "
        "or one of them | None",
    )


def _shown(annotation: object) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
