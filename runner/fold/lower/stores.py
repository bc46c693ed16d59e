"""What is put somewhere: into a state field, a local, a result or a key, checked and rounded as in the plain run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.authoring.bounded import Buckets, LastValues
from runner.fold.lower.decimals import at_scale, rescaled
from runner.fold.lower.lists import bucket_index, stored_at
from runner.fold.lower.names import constant, enum_class, plain
from runner.fold.lower.numbers import as_float
from runner.fold.types import NoneType, StateListType, StateType, StaticType, Value, describe, zero
from runner.kernels import status
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from runner.fold.lower.lowering import Lowering

__all__ = ["converted", "state_method", "store_field", "widened"]


def widened(c: Lowering, value: Value, type_: StaticType) -> tuple[str, str]:
    """(code, valid) of a value as the type that ``join`` found for it; valid is "" unless that is Optional."""
    if isinstance(value.type, NoneType) or not isinstance(type_, ValueType):
        return zero(type_), "False"
    if type_.kind is not Kind.ENUM:
        value = plain(c, value)
    code = at_scale(c, value, type_.scale) if type_.kind is Kind.DECIMAL else value.code
    return code, (value.valid or "True") if type_.optional else ""


def converted(c: Lowering, node: ast.AST, value: Value, target: ValueType, what: str) -> tuple[str, str]:
    """(code, valid) of a value as a field keeps it, checked as the plain run checks an assignment.

    what: the field in the author's words. valid is "" unless the field is Optional.
    """
    if isinstance(value.type, NoneType):
        if not target.optional:
            raise c.error(node, f"{what} is never None", f"declare it as {describe(target)} | None", always=True)
        return zero(target), "False"
    if not value.valid:
        return _converted(c, node, value, target, what), "True" if target.optional else ""
    if not target.optional:
        return _converted(c, node, c.required(node, value), target, what), ""
    # What fails on the way must fail only where there is a value.
    bare = Value(value.type.required if isinstance(value.type, ValueType) else target, value.code)
    valid = c.atom(value.valid)
    with c.captured(depth=1) as lines:
        code = _converted(c, node, bare, target, what)
        if lines:
            c.temps += 1
            c.line(f"t{c.temps} = {code}")
    if not lines:
        return code, valid
    result = f"t{c.temps}"
    c.line(f"{result} = {zero(target)}")
    c.line(f"if {valid}:")
    c.lines.extend(lines)
    return result, valid


def _converted(c: Lowering, node: ast.AST, value: Value, target: ValueType, what: str) -> str:
    if value.kind is None:
        raise c.error(node, f"{what} cannot hold {describe(value.type)}", always=True)
    match target.kind:
        case Kind.FLOAT if value.kind in (Kind.INT, Kind.FLOAT):
            return as_float(value)
        case Kind.DECIMAL if value.kind in (Kind.INT, Kind.DECIMAL):
            return rescaled(c, value, target)
        case Kind.ENUM:
            return _member(c, node, value, target, what)
    written = value.known
    if value.literal:
        value = plain(c, value)
    if value.kind is target.kind:
        return value.code
    # No event field is involved that could be read otherwise.
    text_into_number = written and value.kind is Kind.STR and target.kind in (Kind.INT, Kind.FLOAT, Kind.DECIMAL)
    hint = "write a number, or declare it as str" if text_into_number else _hint(value, target)
    raise c.error(node, f"{what} is {describe(target)}, not {describe(value.type)}", hint, always=True)


def _hint(value: Value, target: ValueType) -> str:
    name = "Decimal" if value.kind is Kind.DECIMAL else describe(value.type).removesuffix(" or None")
    declared = f"declare it as {name}"
    match (value.kind, target.kind):
        case (Kind.BOOL, Kind.INT | Kind.FLOAT):
            return "write int(x)"
        case (Kind.FLOAT | Kind.DECIMAL, Kind.INT):
            return f"write int(x) or round(x), or {declared}"
        case (Kind.DECIMAL, Kind.FLOAT):
            return f"write float(x), or {declared}"
        case (Kind.FLOAT, Kind.DECIMAL):
            return "declare the event's field as Decimal, or this as float: a Decimal and a float do not mix"
        case (Kind.INT, Kind.BOOL):
            return "write x != 0"
        case (Kind.ENUM, _):
            return "write its .value"
        case (Kind.INT | Kind.UUID, Kind.STR):
            return "write str(x)"
        case (Kind.STR, Kind.INT | Kind.FLOAT | Kind.DECIMAL):
            return 'read it as a number: field(..., coerce="number")'
        case (Kind.DATETIME, Kind.DATE):
            return "write x.date()"
    return declared


def _member(c: Lowering, node: ast.AST, value: Value, target: ValueType, what: str) -> str:
    """The index of an enum's member: from the member, or from its stored value."""
    own = value.type if isinstance(value.type, ValueType) else None
    if own is not None and own.kind is Kind.ENUM and (own.enum, own.members) == (target.enum, target.members):
        return value.code
    if value.literal:
        value = plain(c, value)
    wanted = Kind.STR if isinstance(target.members[0], str) else Kind.INT
    if value.known and value.kind is not Kind.ENUM and type(value.constant) is type(target.members[0]):
        if value.constant in target.members:
            return str(target.members.index(value.constant))
        raise c.error(
            node,
            f"{value.constant!r} is no {describe(target)}",
            f"it has {', '.join(map(repr, target.members))}",
            always=not _finds_members(c, target),
        )
    if value.kind is not wanted:
        always = not _finds_members(c, target)
        raise c.error(
            node,
            f"{what} is {describe(target)}, not {describe(value.type)}",
            "assign one of its members",
            always=always,
        )
    if _finds_members(c, target):
        raise c.error(node, f"{describe(target)} has a _missing_ of its own", "assign one of its members")
    code = c.atom(value.code)
    index = c.temp("-1")
    for i, member in enumerate(target.members):
        c.line(f"if {code} == {constant(c, node, member).code}: {index} = {i}")
    c.guard(f"{index} < 0", status.RANGE)
    return index


def _finds_members(c: Lowering, target: ValueType) -> bool:
    """Whether the enum has a rule of its own for values that no member has."""
    return bool(target.enum) and any(
        "_missing_" in vars(k) for k in enum_class(c, target).__mro__ if k.__module__ != "enum"
    )


# State


def store_field(c: Lowering, node: ast.AST, state: StateType, name: str, value: Value) -> None:
    """self.name = value."""
    field = c.program.field(name)
    if field is None:
        what = f"{c.program.projection} has no state field {name}"
        raise c.error(node, what, f"declare {name}: <type> = <default>", always=True)
    if not state.writable:
        raise c.error(node, f"the other state of a merge cannot be changed: {name}", "assign to self")
    if field.type.kind in (Kind.LAST, Kind.BUCKETS):
        how = f"self.{name}.append(v)" if field.type.kind is Kind.LAST else f"self.{name}.add(v)"
        raise c.error(node, f"{name} cannot be assigned to", f"write {how}", always=True)
    c.program.enums.update(field.enums)
    code, valid = converted(c, node, value, field.type, name)
    if valid and valid not in ("True", "False"):
        # Rows without a value hold a zero, so that equal rows are equal bytes.
        code = f"({code} if {valid} else {zero(field.type)})"
    c.line(f"{state.variable}.f_{name} = {code}")
    if field.type.optional:
        c.line(f"{state.variable}.v_{name} = {_bit(valid)}")


def _bit(code: str) -> str:
    return {"True": "1", "False": "0"}.get(code, code)


def state_method(c: Lowering, node: ast.Call, owner: StateListType, name: str, arguments: Sequence[Value]) -> None:
    """self.seen.append(v), self.sizes.add(v), self.sizes.merge(other.sizes)."""
    what = f"{owner.name}.{name}"
    wanted = ("append",) if owner.type.kind is Kind.LAST else ("add", "merge")
    if name not in wanted or len(arguments) != 1 or node.keywords:
        always = not hasattr(LastValues if owner.type.kind is Kind.LAST else Buckets, name)
        hint = f"there is {' and '.join(wanted)}, with one argument"
        raise c.error(node, f"{what} is not supported", hint, always=always)
    if not owner.state.writable:
        raise c.error(node, f"the other state of a merge cannot be changed: {what}", "change self")
    if owner.name in c.iterated:
        raise c.error(node, f"{owner.name} is changed inside a loop over it", f"loop first, {name} behind it")
    if name == "append":
        _append(c, node, owner, arguments[0])
    elif name == "add":
        _add(c, node, owner, arguments[0])
    else:
        _merge(c, node, owner, arguments[0])


def _append(c: Lowering, node: ast.AST, owner: StateListType, value: Value) -> None:
    element, capacity = owner.type.element, owner.type.capacity
    assert element is not None
    code, valid = converted(c, node, value, element, f"a value of {owner.name}")
    if valid and valid not in ("True", "False"):
        code = f"({code} if {valid} else {zero(element)})"
    parts = [(f"{owner.state.variable}.f_{owner.name}", c.atom(code))]
    if element.optional:
        parts.append((f"{owner.state.variable}.v_{owner.name}", _bit(valid)))
    count = f"{owner.state.variable}.n_{owner.name}"
    place = c.temp(count)
    c.line(f"if {place} < {capacity}:")
    c.line(f"    {count} = {place} + 1")
    c.line("else:")
    with c.indented():
        c.line(f"{place} = {capacity - 1}")
        if capacity > 1:
            shift = f"{place}_"
            c.line(f"for {shift} in range({capacity - 1}):")
            for array, _ in parts:
                c.line(f"    {array}[{shift}] = {array}[{shift} + 1]")
    for array, new in parts:
        c.line(f"{array}[{place}] = {new}")


def _add(c: Lowering, node: ast.AST, owner: StateListType, value: Value) -> None:
    value = plain(c, value)
    if value.kind not in (Kind.INT, Kind.FLOAT):
        raise c.error(node, f"{owner.name}.add takes an int or a float, not {describe(value.type)}", always=True)
    index = bucket_index(c, owner.type, c.required(node, value))
    counter = stored_at(owner, index).code
    c.line(f"{counter} = {c.checked(f'add({counter}, 1)', status.OVERFLOW)}")


def _merge(c: Lowering, node: ast.AST, owner: StateListType, other: Value) -> None:
    if not isinstance(other.type, StateListType) or other.type.type != owner.type:
        raise c.error(node, f"{owner.name}.merge takes buckets of the same edges", f"write other.{owner.name}")
    c.temps += 1
    index = f"t{c.temps}"
    c.line(f"for {index} in range({len(owner.type.edges) + 1}):")
    with c.indented():
        counter = stored_at(owner, index).code
        more = stored_at(other.type, index).code
        c.line(f"{counter} = {c.checked(f'add({counter}, {more})', status.OVERFLOW)}")
