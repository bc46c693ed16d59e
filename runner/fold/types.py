"""The static types of expressions in handlers, and the values that carry them through the lowering.

Scalars have the ``ValueType`` of a field. What an expression can name besides (the event, the state, a list, an
element, a module's object) has a class of its own here, so that an operation can never take it for a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from runner.authoring.events import EventDefinition

__all__ = [
    "BOOL",
    "DATE",
    "DATETIME",
    "FLOAT",
    "INT",
    "NONE",
    "STR",
    "TIMEDELTA",
    "UUID",
    "VARIABLE",
    "ElementType",
    "EventType",
    "ListType",
    "NoneType",
    "ObjectType",
    "StateListType",
    "StateType",
    "StaticType",
    "TupleType",
    "Value",
    "decimal",
    "describe",
    "is_scalar",
    "join",
    "zero",
]

INT: Final = ValueType(Kind.INT)
FLOAT: Final = ValueType(Kind.FLOAT)
BOOL: Final = ValueType(Kind.BOOL)
STR: Final = ValueType(Kind.STR)
DATETIME: Final = ValueType(Kind.DATETIME)
DATE: Final = ValueType(Kind.DATE)
TIMEDELTA: Final = ValueType(Kind.TIMEDELTA)
UUID: Final = ValueType(Kind.UUID)

VARIABLE: Final[Any] = type("variable", (), {"__repr__": lambda _: "variable"})()
"""The ``constant`` of a value that is known at run time only."""


@dataclass(frozen=True)
class NoneType:
    """The type of None, and of a local that was only ever None."""


NONE: Final = NoneType()


@dataclass(frozen=True)
class EventType:
    """The event of a handler or key function; every: of @on(Event), which has the header fields only."""

    event: EventDefinition


@dataclass(frozen=True)
class StateType:
    """``self``, or the ``other`` of a merge."""

    variable: str
    """Its name in the generated source: s or o."""
    writable: bool


@dataclass(frozen=True)
class ElementType:
    """A record of a list. Its code is the index into the list's flattened arrays."""

    record: ValueType
    path: str
    """The list's field, before the dot in the names of its arrays."""
    scope: str
    """"element" for the third argument of an each-handler, "list" otherwise."""
    event: EventDefinition


@dataclass(frozen=True)
class ListType:
    """A list field of the event."""

    element: ValueType
    path: str
    event: EventDefinition


@dataclass(frozen=True)
class StateListType:
    """A ``last(n)`` or ``buckets(...)`` field of a state."""

    name: str
    type: ValueType
    state: StateType


@dataclass(frozen=True)
class TupleType:
    """A tuple written in the handler or a constant one: for membership and for several assignments at once."""


@dataclass(frozen=True)
class ObjectType:
    """A module, class or function that the author names; it can be called or looked into, not computed with."""


StaticType = (
    ValueType | NoneType | EventType | StateType | ElementType | ListType | StateListType | TupleType | ObjectType
)


@dataclass(frozen=True)
class Value:
    """An expression that was lowered.

    code: a Python expression without side effects or failures, of the Numba type that the kind has in the kernel (a
    BOOL is a real boolean), safe to evaluate more than once. valid: the same, a boolean, for an Optional; where
    it is false, code is some number. constant: its Python value, where it is known now. items: of a tuple.
    """

    type: StaticType
    code: str = ""
    valid: str = ""
    constant: Any = VARIABLE
    items: tuple[Value, ...] = field(default=())

    @property
    def known(self) -> bool:
        """Its Python value is known at compile time."""
        return self.constant is not VARIABLE

    @property
    def kind(self) -> Kind | None:
        """The kind of a scalar, None for everything else."""
        return self.type.kind if isinstance(self.type, ValueType) else None

    @property
    def scale(self) -> int:
        """Digits behind the point of a DECIMAL; 0 for an INT."""
        return self.type.scale if isinstance(self.type, ValueType) else 0

    @property
    def literal(self) -> bool:
        """It is of a Literal field: an index in the kernel, a plain str or int for the author."""
        return isinstance(self.type, ValueType) and self.type.kind is Kind.ENUM and not self.type.enum


def decimal(scale: int) -> ValueType:
    """The type of a Decimal with so many digits behind the point."""
    return ValueType(Kind.DECIMAL, scale=scale)


def is_scalar(type_: StaticType) -> bool:
    """Whether a local, an argument or a result can have it as a value."""
    return isinstance(type_, (ValueType, NoneType))


def describe(type_: StaticType) -> str:
    """A type in the author's words."""
    match type_:
        case NoneType():
            return "None"
        case ValueType():
            return _described(type_)
        case EventType():
            return f"the event {type_.event.name}"
        case StateType():
            return "the state"
        case ElementType():
            return f"an element of {type_.path}"
        case ListType():
            return f"the list {type_.path}"
        case StateListType():
            return f"the field {type_.name}"
        case TupleType():
            return "a tuple"
        case ObjectType():
            return "a function, class or module"


def _described(type_: ValueType) -> str:
    if type_.kind is Kind.DECIMAL:
        name = f"Decimal with {type_.scale} digits"
    elif type_.kind is Kind.ENUM:
        name = type_.enum.rpartition(":")[2] or f"Literal[{', '.join(map(repr, type_.members))}]"
    elif type_.kind is Kind.UUID:
        name = "UUID"
    else:
        name = str(type_.kind)
    return f"{name} or None" if type_.optional else name


def join(a: StaticType, b: StaticType) -> StaticType | None:
    """The one type of a local that is assigned both; None where there is none.

    None makes it Optional, Decimals take the finer scale, a Literal and a str make a str. An int and a float
    have none: Python would keep both.
    """
    if a == b:
        return a
    if isinstance(a, NoneType) and isinstance(b, ValueType):
        return replace(b, optional=True)
    if isinstance(b, NoneType) and isinstance(a, ValueType):
        return replace(a, optional=True)
    if not isinstance(a, ValueType) or not isinstance(b, ValueType):
        return None
    optional = a.optional or b.optional
    if a.required != b.required:
        # Literals of two fields, or a Literal and a str: plain values for the author.
        a, b = _unlisted(a), _unlisted(b)
    if a.kind is not b.kind:
        return None
    if a.kind is Kind.DECIMAL:
        return replace(decimal(max(a.scale, b.scale)), optional=optional)
    same = replace(a, optional=False) == replace(b, optional=False)
    return replace(a, optional=optional) if same else None


def _unlisted(type_: ValueType) -> ValueType:
    """A Literal as the type of its values, everything else as it is."""
    if type_.kind is not Kind.ENUM or type_.enum:
        return type_
    return STR if isinstance(type_.members[0], str) else INT


def zero(type_: StaticType) -> str:
    """The code that stands in where there is no value."""
    if isinstance(type_, ValueType):
        if type_.kind is Kind.FLOAT:
            return "0.0"
        if type_.kind is Kind.BOOL:
            return "False"
    return "0"
