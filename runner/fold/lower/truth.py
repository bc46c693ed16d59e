"""What counts as true, and what picks by it: and, or, not, bool(...), and the conditional expression."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from runner.fold.lower.lists import list_length
from runner.fold.lower.lowering import Lowering, calls, expression
from runner.fold.lower.names import enum_class
from runner.fold.lower.numbers import signed
from runner.fold.lower.stores import widened
from runner.fold.types import (
    BOOL,
    ElementType,
    EventType,
    ListType,
    NoneType,
    ObjectType,
    StateListType,
    StateType,
    StaticType,
    TupleType,
    Value,
    describe,
    join,
)
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from runner.errors import CompileError

__all__ = ["in_order", "is_member", "kept", "truth", "truth_of"]


def truth_of(c: Lowering, node: ast.expr) -> str:
    """The code of a boolean: whether an expression counts as true. Only here may `and` and `or` join other types."""
    if isinstance(node, ast.BoolOp):
        return in_order(c, node, [lambda n=n: truth_of(c, n) for n in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"(not {truth_of(c, node.operand)})"
    return truth(c, node, c.expr(node))


def truth(c: Lowering, node: ast.AST, value: Value) -> str:
    """Whether a value counts as true."""
    match value.type:
        case NoneType():
            return "False"
        case ListType():
            return f"({list_length(c, value)} != 0)"
        case StateListType():
            return f"({list_length(c, value)} != 0)"
        case TupleType():
            return str(bool(value.items))
        case ElementType() | EventType() | StateType() | ObjectType():
            raise c.error(node, f"{describe(value.type)} is always true", "test one of its fields")
    code = _scalar_truth(c, value)
    if not value.valid:
        return code
    return value.valid if code == "True" else f"({value.valid} and {code})"


def _scalar_truth(c: Lowering, value: Value) -> str:
    if value.known:
        return str(bool(value.constant))
    assert isinstance(value.type, ValueType)
    match value.kind:
        case Kind.BOOL:
            return value.code
        case Kind.FLOAT:
            return f"({value.code} != 0.0)"
        case Kind.DATETIME | Kind.DATE | Kind.UUID:
            return "True"
        case Kind.ENUM:
            members: tuple[Any, ...] = value.type.members if value.literal else tuple(enum_class(c, value.type))
            return is_member(value, [i for i, m in enumerate(members) if m], len(members))
    return f"({value.code} != 0)"


def is_member(value: Value, indexes: list[int], count: int) -> str:
    """Whether an enum is one of these members."""
    if len(indexes) == count:
        return "True"
    return f"({' or '.join(f'{value.code} == {i}' for i in indexes)})" if indexes else "False"


def in_order(c: Lowering, node: ast.BoolOp, parts: list[Any]) -> str:
    """The parts in order, each only where the ones before leave it open."""
    word = "and" if isinstance(node.op, ast.And) else "or"
    code: str = parts[0]()
    for part in parts[1:]:
        with c.captured(depth=1) as lines:
            right = part()
            if lines:
                c.temps += 1
                c.line(f"t{c.temps} = {right}")
        if not lines:
            code = f"({code} {word} {right})"
            continue
        result = f"t{c.temps}"
        c.line(f"{result} = {code}")
        c.line(f"if {result}:" if word == "and" else f"if not {result}:")
        c.lines.extend(lines)
        code = result
    return code


@expression(ast.UnaryOp)
def _unary(c: Lowering, node: ast.UnaryOp) -> Value:
    if isinstance(node.op, ast.Not):
        return Value(BOOL, f"(not {truth_of(c, node.operand)})")
    return signed(c, node)


@expression(ast.BoolOp)
def _bool_op(c: Lowering, node: ast.BoolOp) -> Value:
    first = c.expr(node.values[0])
    if first.kind is not Kind.BOOL or first.valid:
        return _one_of_operands(c, node, first, node.values[1:])

    def boolean(part: ast.expr) -> str:
        value = c.expr(part)
        if value.kind is Kind.BOOL and not value.valid:
            return value.code
        raise _mixed(c, part, node.op, first, value)

    rest = [lambda n=n: boolean(n) for n in node.values[1:]]
    return Value(BOOL, in_order(c, node, [lambda: first.code, *rest]))


def _mixed(c: Lowering, node: ast.AST, op: ast.boolop, left: Value, right: Value) -> CompileError:
    word = "and" if isinstance(op, ast.And) else "or"
    what = f"`{word}` of {describe(left.type)} and {describe(right.type)} gives one of them"
    return c.error(node, what, "write `y if x is None else x`, or compare: x != 0")


def _one_of_operands(c: Lowering, node: ast.BoolOp, left: Value, rest: list[ast.expr]) -> Value:
    """x or y: the first operand where it counts as true, else the second; `and` the other way round."""
    keeps_true = isinstance(node.op, ast.Or)
    test = c.atom(truth(c, node, left))
    if keeps_true and left.valid and isinstance(left.type, ValueType):
        left = Value(left.type.required, left.code)  # None is never true
    left = kept(c, left)
    with c.captured(depth=1) as lines:
        right = c.expr(rest[0])
        if len(rest) > 1:
            right = _one_of_operands(c, node, right, rest[1:])
    type_ = join(left.type, right.type)
    if type_ is None or not isinstance(type_, (ValueType, NoneType)):
        raise _mixed(c, node, node.op, left, right)
    return _chosen(c, type_, f"if {test}:" if keeps_true else f"if not {test}:", ([], left), (lines, right))


@calls(bool)
def _bool(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) != 1 or node.keywords:
        raise c.error(node, "bool takes one argument here")
    return Value(BOOL, truth(c, node, arguments[0]))


@expression(ast.IfExp)
def _if_expression(c: Lowering, node: ast.IfExp) -> Value:
    test = truth_of(c, node.test)
    with c.captured(depth=1) as first:
        left = c.expr(node.body)
    with c.captured(depth=1) as second:
        right = c.expr(node.orelse)
    type_ = join(left.type, right.type)
    if type_ is None or not isinstance(type_, (ValueType, NoneType)):
        what = f"one branch is {describe(left.type)}, the other {describe(right.type)}"
        raise c.error(node, what, "both must have one type: write float(...), or 0.0 for 0")
    return _chosen(c, type_, f"if {test}:", (first, left), (second, right))


def _chosen(
    c: Lowering, type_: StaticType, test: str, first: tuple[list[str], Value], second: tuple[list[str], Value]
) -> Value:
    """One of two values, each with the lines that make it, by a line that begins an if."""
    c.temps += 1
    optional = isinstance(type_, ValueType) and type_.optional
    result = Value(type_, f"t{c.temps}", f"v{c.temps}" if optional else "")
    for word, (lines, value) in ((test, first), ("else:", second)):
        c.line(word)
        c.lines.extend(lines)
        with c.indented():
            code, valid = widened(c, value, type_)
            c.line(f"{result.code} = {code}")
            if optional:
                c.line(f"{result.valid} = {valid}")
    return result


def kept(c: Lowering, value: Value) -> Value:
    """The same value in variables, where it is more than a name or a number."""
    if value.kind is None or value.known:
        return value
    return Value(value.type, c.atom(value.code), c.atom(value.valid) if value.valid else "")
