"""Names, attributes and constants: what the author's words stand for in the kernel."""

from __future__ import annotations

import ast
import enum
import types
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from runner.authoring.events import HEADER
from runner.authoring.field_types import Unsupported, enum_name, field_type
from runner.authoring.field_values import microseconds
from runner.authoring.source_code import MISSING, resolve
from runner.fold.lower.lowering import ATTRIBUTES, Lowering, attribute, calls, expression
from runner.fold.lower.plainly import fails_always
from runner.fold.types import (
    BOOL,
    DATE,
    DATETIME,
    FLOAT,
    INT,
    NONE,
    STR,
    TIMEDELTA,
    UUID,
    VARIABLE,
    ElementType,
    EventType,
    ListType,
    ObjectType,
    StateListType,
    StateType,
    TupleType,
    Value,
    decimal,
    describe,
)
from runner.kernels import status
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.authoring.events import EventField

__all__ = ["constant", "element_at", "enum_class", "integer", "known_call", "plain", "state_field"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


# Constants


def integer(value: int) -> str:
    """An int64 as code."""
    return str(value) if value >= 0 else f"({value})"


def constant(c: Lowering, node: ast.AST, value: Any) -> Value:
    """A Python value that is known now."""
    if value is None:
        return Value(NONE, "0", constant=None)
    if isinstance(value, enum.Enum):
        return _enum_constant(c, node, value)
    match value:
        case bool():
            return Value(BOOL, str(value), constant=value)
        case int() if type(value) is int:
            if not INT64_MIN <= value <= INT64_MAX:
                raise c.error(node, f"{value} does not fit int64", "every int result must fit 64 bits", always=True)
            return Value(INT, integer(value), constant=value)
        case float() if type(value) is float:
            return Value(FLOAT, _float(value), constant=value)
        case str() if type(value) is str:
            return Value(STR, str(c.program.texts.id(value)), constant=value)
        case datetime():
            return _datetime_constant(c, node, value)
        case date():
            return Value(DATE, integer(value.toordinal() - _EPOCH_DAY), constant=value)
        case timedelta() if INT64_MIN <= microseconds(value) <= INT64_MAX:
            return Value(TIMEDELTA, integer(microseconds(value)), constant=value)
        case uuid.UUID():
            return Value(UUID, str(c.program.texts.id(str(value))), constant=value)
        case Decimal():
            return _decimal_constant(c, node, value)
        case tuple():
            return Value(TupleType(), constant=value, items=tuple(constant(c, node, v) for v in value))
        case frozenset():
            # In one order whatever the hash seed is, so that equal definitions give equal source.
            ordered = sorted(value, key=lambda v: (type(v).__name__, repr(v)))
            return Value(TupleType(), constant=value, items=tuple(constant(c, node, v) for v in ordered))
        case list() | dict() | set() | bytearray():
            name = type(value).__name__
            raise c.error(node, f"a {name} of the module can change while a fold runs", "write a tuple or a frozenset")
        case (
            tzinfo()
            | types.ModuleType()
            | type()
            | types.FunctionType()
            | types.BuiltinFunctionType()
            | types.MethodType()
        ):
            return Value(ObjectType(), constant=value)
    if callable(value):
        return Value(ObjectType(), constant=value)
    raise c.error(node, f"a constant of type {type(value).__name__} is not supported", "int, float, str, Decimal, ...")


def _float(value: float) -> str:
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "(-inf)"
    return repr(value) if value >= 0 and not repr(value).startswith("-") else f"({value!r})"


def _datetime_constant(c: Lowering, node: ast.AST, value: datetime) -> Value:
    if value.utcoffset() is None:
        raise c.error(node, f"{value!r} has no time zone", "write datetime(..., tzinfo=UTC)", always=True)
    if value.utcoffset():
        raise c.error(node, f"{value!r} is not in UTC, so its parts would differ", "write it with tzinfo=UTC")
    return Value(DATETIME, integer(microseconds(value - _EPOCH)), constant=value)


def _decimal_constant(c: Lowering, node: ast.AST, value: Decimal) -> Value:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise c.error(node, f"{value!r} is not a finite Decimal")
    scale = max(0, -exponent)
    if scale > 18 or value.adjusted() > 20:
        raise c.error(node, f"{value!r} does not fit a scaled int64", "a Decimal has up to 18 digits behind the point")
    scaled = int(value.scaleb(scale))
    if not INT64_MIN <= scaled <= INT64_MAX:
        raise c.error(node, f"{value!r} does not fit a scaled int64")
    return Value(decimal(scale), integer(scaled), constant=value)


def _enum_constant(c: Lowering, node: ast.AST, member: enum.Enum) -> Value:
    cls = type(member)
    try:
        found = field_type(cls).type
    except Unsupported as error:
        raise c.error(node, str(error), error.hint) from None
    c.program.enums[enum_name(cls)] = cls
    return Value(found, str(next(i for i, m in enumerate(cls) if m is member)), constant=member)


def enum_class(c: Lowering, type_: ValueType) -> type[enum.Enum]:
    """The class of an ENUM that is not a Literal."""
    return c.program.enums[type_.enum]


def plain(c: Lowering, value: Value) -> Value:
    """A Literal as the str or int that it is for the author; everything else as it is."""
    if not value.literal or not isinstance(value.type, ValueType):
        return value
    return _members(c, value, value.type.members)


def _members(c: Lowering, value: Value, members: tuple[Any, ...]) -> Value:
    """What an enum's index stands for, from a table of str or int."""
    optional = bool(value.valid)
    if isinstance(members[0], str):
        table = c.program.table("int64", tuple(c.program.texts.id(m) for m in members))
        return Value(replace(STR, optional=optional), f"{table}[{value.code}]", value.valid)
    table = c.program.table("int64", members)
    return Value(replace(INT, optional=optional), f"{table}[{value.code}]", value.valid)


@expression(ast.Constant)
def _constant(c: Lowering, node: ast.Constant) -> Value:
    return constant(c, node, node.value)


@expression(ast.Tuple)
def _tuple(c: Lowering, node: ast.Tuple) -> Value:
    items = tuple(c.scalar(item) if not isinstance(item, ast.Constant) else c.expr(item) for item in node.elts)
    known = tuple(i.constant for i in items) if all(i.known for i in items) else VARIABLE
    return Value(TupleType(), constant=known, items=items)


def known_call(c: Lowering, node: ast.Call, arguments: list[Value], function: Callable[..., Any]) -> Value | None:
    """The value of a call whose arguments are all known now; None where one is not."""
    keywords = {k.arg: c.expr(k.value) for k in node.keywords if k.arg is not None}
    if not all(v.known for v in (*arguments, *keywords.values())):
        return None
    try:
        made = function(*(a.constant for a in arguments), **{n: v.constant for n, v in keywords.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise c.error(node, f"{ast.unparse(node)}: {error}", always=True) from None
    return constant(c, node, made)


@calls(uuid.UUID)
def _uuid(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    known = known_call(c, node, arguments, uuid.UUID)
    if known is None:
        raise c.error(node, "a UUID of a computed text is not supported", "declare the event's field as UUID")
    return known


# Names


@expression(ast.Name)
def _name(c: Lowering, node: ast.Name) -> Value:
    name = node.id
    if name in c.locals or name in c.local_names:
        if name in c.scope.parameters:
            return _parameter(c, c.scope.parameters[name])
        return _local(c, node)
    found = resolve(c.scope.source.function, name)
    if found is MISSING:
        raise c.error(node, f"{name} is not defined", "define it in the module, or import it there", always=True)
    return constant(c, node, found)


def _parameter(c: Lowering, value: Value) -> Value:
    type_ = value.type
    if isinstance(type_, ElementType) and type_.record.kind is not Kind.RECORD:
        # An each-handler over a list of scalars: the element itself.
        return element_at(c, ListType(type_.record, type_.path, type_.event), value.code, type_.scope)
    return value


def _local(c: Lowering, node: ast.Name) -> Value:
    name = node.id
    if c.assigned is not None and name not in c.assigned:
        raise c.error(node, f"{name} is not assigned on every path to here", f"assign {name} before the if or for")
    if name not in c.locals:
        raise c.error(node, f"{name} is used where no path leads")
    type_ = c.locals[name]
    valid = f"m_{name}" if isinstance(type_, ValueType) and type_.optional else ""
    return Value(type_, f"l_{name}", valid)


@expression(ast.Attribute)
def _attribute(c: Lowering, node: ast.Attribute) -> Value:
    base = c.expr(node.value)
    match base.type:
        case EventType():
            return _event_field(c, node, base.type)
        case ElementType():
            return _element_field(c, node, base)
        case StateType():
            return state_field(c, node, base.type)
        case ObjectType():
            return _object_attribute(c, node, base.constant)
        case ValueType():
            return _value_attribute(c, node, base)
    raise c.error(node, f"{describe(base.type)} has no attribute {node.attr} here", _list_hint(base))


def _list_hint(base: Value) -> str:
    return "loop over it with for" if isinstance(base.type, (ListType, StateListType)) else ""


def _value_attribute(c: Lowering, node: ast.Attribute, base: Value) -> Value:
    assert base.kind is not None
    lower = ATTRIBUTES.get((base.kind, node.attr))
    if lower is None:
        known = sorted(name for kind, name in ATTRIBUTES if kind is base.kind)
        raise c.error(
            node,
            f"{describe(base.type)}.{node.attr} is not supported",
            f"there is {', '.join(known)}" if known else "",
            always=fails_always(c, lambda sample: getattr(sample, node.attr), base),
        )
    return lower(c, node, c.required(node, base))


def _object_attribute(c: Lowering, node: ast.Attribute, holder: Any) -> Value:
    found = getattr(holder, node.attr, MISSING)
    if found is MISSING:
        raise c.error(node, f"{getattr(holder, '__name__', holder)} has no attribute {node.attr}", always=True)
    return constant(c, node, found)


@attribute(Kind.ENUM, "value", "name")
def _enum_attribute(c: Lowering, node: ast.Attribute, base: Value) -> Value:
    assert isinstance(base.type, ValueType)
    if base.literal:
        raise c.error(
            node, f"a {describe(base.type)} is a plain value and has no {node.attr}", "use it as it is", always=True
        )
    if base.known:
        return constant(c, node, getattr(base.constant, node.attr))
    if node.attr == "value":
        return _members(c, base, base.type.members)
    return _members(c, base, tuple(m.name for m in enum_class(c, base.type)))


# The event


def _event_field(c: Lowering, node: ast.Attribute, type_: EventType) -> Value:
    name = node.attr
    found = type_.event.field(name)
    if found is not None:
        return _payload_field(c, node, type_, found)
    if name in HEADER:
        return _header_field(c, name)
    known = ", ".join([*(f.name for f in type_.event.fields), *HEADER])
    raise c.error(node, f"{type_.event.name} has no field {name}", f"it has {known}", always=True)


def _header_field(c: Lowering, name: str) -> Value:
    if name == "type":
        return Value(STR, "type_id")
    if name in ("aggregate_id", "source", "tenant"):
        codes = c.array("header", "aggregate_id", "values")
        return Value(STR, f"{c.array('header', name, 'map')}[{codes}[i]]")
    code = f"{c.array('header', name, 'values')}[i]"
    if name == "recorded_at":
        # The lowest int64 says that the source gives no time; the twin says so to the author.
        code = c.temp(code)
        c.guard(f"{code} == MIN", status.REFUSED)
    return Value(HEADER[name], code)


def _payload_field(c: Lowering, node: ast.AST, owner: EventType, field: EventField) -> Value:
    _remember(c, field.enums)
    if field.type.kind is Kind.LIST:
        assert field.type.element is not None
        return Value(ListType(field.type.element, field.name, owner.event))
    return _loaded(c, "event", field.name, field.type, "j")


def _element_field(c: Lowering, node: ast.Attribute, base: Value) -> Value:
    type_ = base.type
    assert isinstance(type_, ElementType)
    found = next((f for f in type_.record.fields if f.name == node.attr), None)
    if found is None:
        known = ", ".join(f.name for f in type_.record.fields)
        raise c.error(node, f"{describe(type_)} has no field {node.attr}", f"it has {known}", always=True)
    return _loaded(c, type_.scope, f"{type_.path}.{found.name}", found.type, base.code)


def element_at(c: Lowering, type_: ListType, index: str, scope: str = "list") -> Value:
    """The element of a list field at an index into its flattened arrays."""
    field = type_.event.field(type_.path)
    assert field is not None
    _remember(c, field.enums)
    if type_.element.kind is Kind.RECORD:
        return Value(ElementType(type_.element, type_.path, scope, type_.event), index)
    return _loaded(c, scope, type_.path, type_.element, index)


def _remember(c: Lowering, enums: Mapping[str, type[enum.Enum]]) -> None:
    c.program.enums.update(enums)


def _loaded(c: Lowering, scope: str, name: str, type_: ValueType, index: str) -> Value:
    """One entry of a payload column."""
    code = f"{c.array(scope, name, 'values')}[{index}]"
    valid = f"({c.array(scope, name, 'valid')}[{index}] != 0)" if type_.optional else ""
    if type_.kind in (Kind.STR, Kind.UUID, Kind.ENUM):
        code = f"{c.array(scope, name, 'map')}[{code}]"
        if valid:
            # The entry of a null is no code, and the dictionary may be empty.
            code = f"({code} if {valid} else 0)"
    if type_.kind is Kind.BOOL:
        code = f"({code} != 0)"
    if type_.kind is Kind.ENUM:
        code = c.temp(code)
        c.guard(f"{code} < 0", status.RANGE)
    return Value(replace(type_, rounding=""), code, valid)


# The state


def state_field(c: Lowering, node: ast.Attribute, state: StateType) -> Value:
    """What a state field holds now."""
    field = c.program.field(node.attr)
    if field is None:
        what = f"{c.program.projection} has no state field {node.attr}"
        raise c.error(
            node, what, "declare it with its default", always=not hasattr(c.program.definition.cls, node.attr)
        )
    _remember(c, field.enums)
    if field.type.kind in (Kind.LAST, Kind.BUCKETS):
        return Value(StateListType(field.name, field.type, state))
    code = f"{state.variable}.f_{field.name}"
    valid = f"({state.variable}.v_{field.name} != 0)" if field.type.optional else ""
    if field.type.kind is Kind.BOOL:
        code = f"({code} != 0)"
    if c.scope.escapes:
        code, valid = c.temp(code), c.temp(valid) if valid else ""
    return Value(replace(field.type, rounding=""), code, valid)
