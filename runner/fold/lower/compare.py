"""Comparisons, truth, and, or, not, and the conditional expression."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final

from runner.fold.lower.decimals import at_scale
from runner.fold.lower.lists import list_range, listed_at
from runner.fold.lower.lowering import Lowering, expression
from runner.fold.lower.names import enum_class, plain
from runner.fold.lower.numbers import DATES, NUMBERS, as_float, as_int
from runner.fold.lower.plainly import fails_always, operation
from runner.fold.lower.truth import in_order, is_member, kept
from runner.fold.types import (
    BOOL,
    ListType,
    NoneType,
    StateListType,
    TupleType,
    Value,
    describe,
)
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Collection


__all__ = ["equality"]

_ORDERS: Final[dict[type[ast.cmpop], tuple[str, Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_DECIMALS: Final = frozenset({Kind.DECIMAL, Kind.INT, Kind.BOOL})
_EXACT_FLOAT: Final = 2**53


@expression(ast.Compare)
def _compare(c: Lowering, node: ast.Compare) -> Value:
    if len(node.ops) == 1:
        left = c.expr(node.left)
        return Value(BOOL, _compared(c, node, node.ops[0], left, c.expr(node.comparators[0])))
    # a < b < c: each operand once, and the second pair only where the first holds.
    operands = [c.expr(node.left)]

    def pair(op: ast.cmpop, right: ast.expr) -> str:
        operands.append(kept(c, c.expr(right)))
        return _compared(c, node, op, operands[-2], operands[-1])

    operands[0] = kept(c, operands[0])
    parts = [lambda o=o, r=r: pair(o, r) for o, r in zip(node.ops, node.comparators, strict=True)]
    return Value(BOOL, in_order(c, ast.BoolOp(ast.And(), []), parts))


def _compared(c: Lowering, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> str:
    match op:
        case ast.Eq():
            return equality(c, node, left, right)
        case ast.NotEq():
            return f"(not {equality(c, node, left, right)})"
        case ast.Is():
            return _identity(c, node, left, right)
        case ast.IsNot():
            return f"(not {_identity(c, node, left, right)})"
        case ast.In():
            return _membership(c, node, left, right)
        case ast.NotIn():
            return f"(not {_membership(c, node, left, right)})"
    return _order(c, node, op, left, right)


def _identity(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    if isinstance(left.type, NoneType) or isinstance(right.type, NoneType):
        return _is_none(left if isinstance(right.type, NoneType) else right)
    enums = left.kind is Kind.ENUM and right.kind is Kind.ENUM and not left.literal and not right.literal
    if enums or (left.kind is Kind.BOOL and right.kind is Kind.BOOL):
        return equality(c, node, left, right)
    raise c.error(node, f"`is` between {describe(left.type)} and {describe(right.type)} says nothing", "write ==")


def _is_none(value: Value) -> str:
    if isinstance(value.type, NoneType):
        return "True"
    return f"(not {value.valid})" if value.valid else "False"


def equality(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    """left == right."""
    if isinstance(left.type, NoneType) or isinstance(right.type, NoneType):
        return _is_none(left if isinstance(right.type, NoneType) else right)
    if left.kind is None or right.kind is None:
        raise c.error(node, f"{describe(left.type)} == {describe(right.type)} is not supported", "compare their values")
    if left.valid or right.valid:
        return _optional_equality(c, node, left, right)
    if Kind.ENUM in (left.kind, right.kind):
        return _enum_equality(c, node, left, right)
    kinds = {left.kind, right.kind}
    if kinds <= NUMBERS:
        return _number_comparison(c, "==", left, right)
    if kinds <= _DECIMALS:
        scale = max(left.scale, right.scale)
        return f"({at_scale(c, left, scale)} == {at_scale(c, right, scale)})"
    if len(kinds) == 1:
        return f"({left.code} == {right.code})"
    raise c.error(node, f"{describe(left.type)} and {describe(right.type)} are never equal", _unlike_hint(kinds))


def _unlike_hint(kinds: Collection[Kind | None]) -> str:
    if set(kinds) == {Kind.DECIMAL, Kind.FLOAT}:
        return "a Decimal and a float do not mix; make the float field a Decimal"
    if set(kinds) == {Kind.DATETIME, Kind.DATE}:
        return "take the .date() of the datetime"
    if set(kinds) == {Kind.STR, Kind.UUID}:
        return "write str(x) for the UUID"
    return "compare values of one type"


def _optional_equality(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    sides = [v.valid for v in (left, right) if v.valid]
    bare = [_bare(v) for v in (left, right)]
    both = c.atom(sides[0]) if len(sides) == 1 else c.temp(f"({sides[0]} and {sides[1]})")
    with c.captured(depth=1) as lines:
        same = equality(c, node, bare[0], bare[1])
    result = c.temp(f"not ({sides[0]} or {sides[1]})" if len(sides) == 2 else "False")
    c.line(f"if {both}:")
    c.lines.extend(lines)
    with c.indented():
        c.line(f"{result} = {same}")
    return result


def _bare(value: Value) -> Value:
    if value.valid and isinstance(value.type, ValueType):
        return Value(value.type.required, value.code, constant=value.constant)
    return value


def _enum_equality(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    if left.known and right.known:
        return str(bool(left.constant == right.constant))
    if left.type == right.type and not right.known and not left.known:
        cls = None if left.literal or not isinstance(left.type, ValueType) else enum_class(c, left.type)
        if cls is not None and cls.__eq__ not in (object.__eq__, str.__eq__, int.__eq__):
            raise c.error(node, f"{cls.__name__} has an __eq__ of its own", "compare their .value")
        return f"({left.code} == {right.code})"
    for value, other in ((left, right), (right, left)):
        if value.kind is Kind.ENUM and not value.known and other.known and isinstance(value.type, ValueType):
            members: tuple[Any, ...] = value.type.members if value.literal else tuple(enum_class(c, value.type))
            return is_member(value, [i for i, m in enumerate(members) if m == other.constant], len(members))
    first, second = plain(c, left), plain(c, right)
    if Kind.ENUM in (first.kind, second.kind):
        raise c.error(node, f"{describe(left.type)} == {describe(right.type)} is not supported", "compare its .value")
    return equality(c, node, first, second)


def _number_comparison(c: Lowering, sign: str, left: Value, right: Value) -> str:
    if left.kind is not Kind.FLOAT and right.kind is not Kind.FLOAT:
        return f"({as_int(left)} {sign} {as_int(right)})"
    if left.kind is right.kind or _float_exactly(left) or _float_exactly(right):
        return f"({as_float(left)} {sign} {as_float(right)})"
    if left.kind is Kind.FLOAT:
        mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
        return _number_comparison(c, mirrored.get(sign, sign), right, left)
    found = c.temp(f"compare_mixed({as_int(left)}, {right.code})")
    match sign:
        case "<":
            return f"({found} == -1)"
        case "<=":
            return f"({found} <= 0)"
        case ">":
            return f"({found} == 1)"
        case ">=":
            return f"({found} == 0 or {found} == 1)"
    return f"({found} == 0)"


def _float_exactly(value: Value) -> bool:
    """Whether a number that is no float is one exactly, so that floats can be compared."""
    return value.kind is Kind.BOOL or (value.known and value.kind is Kind.INT and abs(value.constant) <= _EXACT_FLOAT)


def _order(c: Lowering, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> str:
    sign, _ = _ORDERS[type(op)]
    for value in (left, right):
        if isinstance(value.type, NoneType):
            raise c.error(node, "an order with None fails always", "test with `is None` first", always=True)
    left, right = c.required(node, plain(c, left)), c.required(node, plain(c, right))
    kinds = {left.kind, right.kind}
    if kinds <= NUMBERS:
        return _number_comparison(c, sign, left, right)
    if kinds <= _DECIMALS:
        scale = max(left.scale, right.scale)
        return f"({at_scale(c, left, scale)} {sign} {at_scale(c, right, scale)})"
    if len(kinds) == 1 and kinds <= DATES:
        return f"({left.code} {sign} {right.code})"
    if set(kinds) == {Kind.STR}:
        a, b = (left.code, right.code) if sign in ("<", ">=") else (right.code, left.code)
        less = f"text_less(pool, {a}, {b})"
        return c.temp(less if sign in ("<", ">") else f"not {less}")
    hint = "compare its .value" if Kind.ENUM in kinds else _unlike_hint(kinds)
    always = fails_always(c, operation(op), left, right)
    raise c.error(node, f"{describe(left.type)} {sign} {describe(right.type)} is not supported", hint, always=always)


def _membership(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    if isinstance(right.type, TupleType):
        if any(i.kind is Kind.FLOAT and (not i.known or i.constant != i.constant) for i in right.items):
            raise c.error(node, "`in` with floats that may be NaN is not supported", "write x == a or x == b")
        tests = [equality(c, node, left, item) for item in right.items]
        return f"({' or '.join(tests)})" if tests else "False"
    if isinstance(right.type, (ListType, StateListType)):
        return _in_list(c, node, left, right)
    left, right = plain(c, left), plain(c, right)
    if left.kind is Kind.STR and right.kind is Kind.STR:
        left, right = c.required(node, left), c.required(node, right)
        return c.temp(f"text_contains(pool, {right.code}, {left.code})")
    raise c.error(
        node,
        f"{describe(left.type)} in {describe(right.type)} is not supported",
        "write x in (a, b), or a <= x < b",
        always=fails_always(c, operator.contains, right, left),
    )


def _in_list(c: Lowering, node: ast.AST, left: Value, right: Value) -> str:
    left = kept(c, left)
    c.temps += 2
    result, index = f"t{c.temps - 1}", f"t{c.temps}"
    c.line(f"{result} = False")
    c.line(f"for {index} in range({list_range(c, right)}):")
    c.indent += 1
    item = listed_at(c, right, index)
    if item.kind is Kind.FLOAT or left.kind is Kind.FLOAT:
        raise c.error(node, "`in` with floats is not supported", "write a for loop that compares")
    test = equality(c, node, left, item)
    c.line(f"if {test}:")
    c.line(f"    {result} = True")
    c.line("    break")
    c.indent -= 1
    return result
