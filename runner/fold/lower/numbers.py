"""Arithmetic on int, float and bool: exact as in Python, or a status."""

from __future__ import annotations

import ast
import math
import operator
from typing import Final

from runner.fold.lower.dates import date_arithmetic
from runner.fold.lower.decimals import decimal_absolute, decimal_arithmetic, decimal_whole
from runner.fold.lower.lowering import Lowering, calls, expression
from runner.fold.lower.names import constant, integer, plain
from runner.fold.lower.plainly import fails_always, operation
from runner.fold.lower.strings import concatenated
from runner.fold.types import BOOL, FLOAT, INT, ElementType, EventType, NoneType, StateType, Value, describe
from runner.kernels import status
from runner.values import Kind

__all__ = ["as_float", "as_int", "binary"]

NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.BOOL})
DATES: Final = frozenset({Kind.DATETIME, Kind.DATE, Kind.TIMEDELTA})

_SIGNS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.MatMult: "@",
}
_INT_OVERFLOWING: Final = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_INT_WITH_STATUS: Final = {
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "power",
    ast.LShift: "shift_left",
    ast.RShift: "shift_right",
}
_INT_BITS: Final = {ast.BitAnd: "bits_and", ast.BitOr: "bits_or", ast.BitXor: "bits_xor"}


def as_int(value: Value) -> str:
    """The code of an INT or BOOL as an int64."""
    if value.known:
        return integer(int(value.constant))
    return f"whole({value.code})" if value.kind is Kind.BOOL else value.code


def as_float(value: Value) -> str:
    """The code of an INT, BOOL or FLOAT as a float64; int64 to float64 rounds as Python does."""
    if value.kind is Kind.FLOAT:
        return value.code
    return f"float({as_int(value)})"


@expression(ast.BinOp)
def _binary(c: Lowering, node: ast.BinOp) -> Value:
    left = c.expr(node.left)
    right = c.expr(node.right)
    return binary(c, node, node.op, left, right)


def binary(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
    """left op right."""
    folded = _folded(c, node, op, left, right)
    if folded is not None:
        return folded
    left, right = _operand(c, node, left), _operand(c, node, right)
    kinds = {left.kind, right.kind}
    if kinds <= NUMBERS:
        return _numbers(c, node, op, left, right)
    if kinds <= {Kind.DECIMAL, Kind.INT, Kind.BOOL}:
        return decimal_arithmetic(c, node, op, left, right)
    if kinds <= DATES | {Kind.INT, Kind.BOOL} and kinds & DATES:
        return date_arithmetic(c, node, op, left, right)
    if kinds == {Kind.STR} and isinstance(op, ast.Add):
        return concatenated(c, left, right)
    raise refused(c, node, op, left, right)


def refused(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Exception:
    """The error for operands that do not go together."""
    kinds = {left.kind, right.kind}
    hint = ""
    if kinds == {Kind.DECIMAL, Kind.FLOAT}:
        hint = "a Decimal and a float do not mix; make the float field a Decimal"
    elif isinstance(op, ast.Mod) and left.kind is Kind.STR:
        hint = 'write an f-string: f"{a}-{b}"'
    elif Kind.STR in kinds and Kind.INT in kinds and isinstance(op, ast.Add):
        hint = "write str(n), or an f-string"
    elif Kind.ENUM in kinds:
        hint = "compute with its .value"
    sign = _SIGNS[type(op)]
    always = fails_always(c, operation(op), left, right)
    return c.error(node, f"{describe(left.type)} {sign} {describe(right.type)} is not supported", hint, always=always)


def _operand(c: Lowering, node: ast.AST, value: Value) -> Value:
    if isinstance(value.type, NoneType):
        raise c.error(node, "arithmetic with None fails always", "test with `is None` first", always=True)
    if value.kind in (None, Kind.LIST, Kind.LAST, Kind.BUCKETS, Kind.RECORD):
        always = value.kind is Kind.RECORD or isinstance(value.type, (EventType, ElementType, StateType))
        raise c.error(node, f"{describe(value.type)} cannot be computed with", always=always)
    return c.required(node, plain(c, value))


def _folded(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value | None:
    """The result of an operation on constants, where there is one that fits; a failing one is left to run time."""
    plain_types = (int, float, bool, str)
    if type(left.constant) not in plain_types or type(right.constant) not in plain_types:
        return None
    if isinstance(op, (ast.Pow, ast.LShift)) and isinstance(right.constant, int) and right.constant > 64:
        return None
    if isinstance(left.constant, str) is not isinstance(right.constant, str):
        return None
    try:
        result = operation(op)(left.constant, right.constant)
    except (ArithmeticError, ValueError, TypeError):
        return None
    if isinstance(result, int) and not -(2**63) <= result < 2**63:
        return None
    return constant(c, node, result) if type(result) in plain_types else None


def _numbers(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
    kind = type(op)
    if Kind.FLOAT in (left.kind, right.kind):
        return _floats(c, node, op, left, right)
    if kind in _INT_BITS and left.kind is Kind.BOOL and right.kind is Kind.BOOL:
        sign = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "!="}[kind]
        return Value(BOOL, f"({left.code} {sign} {right.code})")
    a, b = as_int(left), as_int(right)
    if kind in _INT_OVERFLOWING:
        return Value(INT, c.checked(f"{_INT_OVERFLOWING[kind]}({a}, {b})", status.OVERFLOW))
    if kind in _INT_WITH_STATUS:
        return Value(INT, c.checked(f"{_INT_WITH_STATUS[kind]}({a}, {b})"))
    if kind in _INT_BITS:
        return Value(INT, f"{_INT_BITS[kind]}({a}, {b})")
    if kind is ast.Div:
        return Value(FLOAT, c.checked(f"divide_ints({a}, {b})"))
    raise refused(c, node, op, left, right)


def _floats(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
    a, b = as_float(left), as_float(right)
    match op:
        case ast.Add() | ast.Sub() | ast.Mult():
            return Value(FLOAT, f"({a} {_SIGNS[type(op)]} {b})")
        case ast.Div():
            return Value(FLOAT, c.checked(f"divide({a}, {b})"))
        case ast.FloorDiv() | ast.Mod():
            divisor = c.atom(b)
            c.guard(f"{divisor} == 0.0", status.ZERO_DIVISION)
            name = "float_mod" if isinstance(op, ast.Mod) else "float_floordiv"
            return Value(FLOAT, c.temp(f"{name}({a}, {divisor})"))
        case ast.Pow():
            raise c.error(node, "** with a float is not exact on every machine", "write x * x, or math.sqrt(x)")
    raise refused(c, node, op, left, right)


def signed(c: Lowering, node: ast.UnaryOp) -> Value:
    """-x, +x and ~x."""
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant) and type(node.operand.value) is int:
        # -2**63 is an int64, though 2**63 is none.
        return constant(c, node, -node.operand.value)
    value = _operand(c, node, c.expr(node.operand))
    if isinstance(node.op, ast.Invert):
        if value.kind is not Kind.INT:
            always = fails_always(c, operator.invert, value)
            raise c.error(node, f"~ of {describe(value.type)} is not supported", "write `not x`", always=always)
        return Value(INT, f"bits_xor({value.code}, -1)")
    if value.kind not in (Kind.INT, Kind.BOOL, Kind.FLOAT, Kind.DECIMAL, Kind.TIMEDELTA):
        always = fails_always(c, operation(node.op), value)
        raise c.error(node, f"the sign of {describe(value.type)} cannot be changed", always=always)
    if isinstance(node.op, ast.UAdd):
        return Value(INT, as_int(value)) if value.kind is Kind.BOOL else value
    if value.kind is Kind.FLOAT:
        return constant(c, node, -value.constant) if value.known else Value(FLOAT, f"(-{value.code})")
    if value.known and value.kind in (Kind.INT, Kind.BOOL, Kind.DECIMAL, Kind.TIMEDELTA):
        return constant(c, node, value.constant.copy_negate() if value.kind is Kind.DECIMAL else -value.constant)
    code = status.OVERFLOW if value.kind in (Kind.INT, Kind.BOOL) else status.REFUSED
    type_ = INT if value.kind is Kind.BOOL else value.type
    return Value(type_, c.checked(f"sub(0, {as_int(value)})", code))


# Functions of numbers


def _number(c: Lowering, node: ast.Call, arguments: list[Value], count: int = 1) -> list[Value]:
    if len(arguments) != count or node.keywords:
        raise c.error(node, f"{ast.unparse(node.func)} takes {count} argument{'s' if count > 1 else ''} here")
    return [_operand(c, node, a) for a in arguments]


@calls(abs)
def _abs(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    match value.kind:
        case Kind.INT | Kind.BOOL:
            return Value(INT, c.checked(f"absolute({as_int(value)})", status.OVERFLOW))
        case Kind.FLOAT:
            return Value(FLOAT, f"abs({value.code})")
        case Kind.DECIMAL | Kind.TIMEDELTA:
            return decimal_absolute(c, value)
    raise c.error(node, f"abs of {describe(value.type)} is not supported", always=fails_always(c, abs, value))


@calls(int)
def _int(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    match value.kind:
        case Kind.INT | Kind.BOOL:
            return Value(INT, as_int(value))
        case Kind.FLOAT:
            return Value(INT, c.checked(f"truncate({value.code})"))
        case Kind.DECIMAL:
            return decimal_whole(c, value, "ROUND_DOWN")
    hint = 'read it as a number: field(..., coerce="number")' if value.kind is Kind.STR else ""
    raise c.error(node, f"int of {describe(value.type)} is not supported", hint, always=fails_always(c, int, value))


@calls(float)
def _float(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) == 1 and isinstance(arguments[0].constant, str):
        try:
            return constant(c, node, float(arguments[0].constant))
        except ValueError as error:
            raise c.error(node, str(error)) from None
    (value,) = _number(c, node, arguments)
    if value.kind in NUMBERS:
        return Value(FLOAT, as_float(value))
    if value.kind is Kind.DECIMAL and value.scale <= 15:
        # Both are floats exactly, or it is refused; and then IEEE division gives the nearest float, as Python does.
        return Value(FLOAT, c.checked(f"divide_ints({value.code}, {10**value.scale})"))
    hint = 'read it as a number: field(..., coerce="number")' if value.kind is Kind.STR else ""
    always = fails_always(c, float, value)
    raise c.error(node, f"float of {describe(value.type)} is not supported", hint, always=always)


@calls(round)
def _round(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) != 1 or node.keywords:
        raise c.error(
            node,
            "round(x, n) of a float is not exact",
            "keep money as Decimal with a rounding rule, or write round(x * 100) for whole hundredths",
        )
    (value,) = _number(c, node, arguments)
    match value.kind:
        case Kind.INT | Kind.BOOL:
            return Value(INT, as_int(value))
        case Kind.FLOAT:
            return Value(INT, c.checked(f"round_even({value.code})"))
        case Kind.DECIMAL:
            return decimal_whole(c, value, "ROUND_HALF_EVEN")
    raise c.error(node, f"round of {describe(value.type)} is not supported", always=fails_always(c, round, value))


@calls(math.floor, math.ceil, math.trunc)
def _to_whole(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    found = c.expr(node.func).constant
    function, rounding = {
        math.floor: ("floor", "ROUND_FLOOR"),
        math.ceil: ("ceiling", "ROUND_CEILING"),
        math.trunc: ("truncate", "ROUND_DOWN"),
    }[found]
    match value.kind:
        case Kind.INT | Kind.BOOL:
            return Value(INT, as_int(value))
        case Kind.FLOAT:
            return Value(INT, c.checked(f"{function}({value.code})"))
        case Kind.DECIMAL:
            return decimal_whole(c, value, rounding)
    what = f"{ast.unparse(node.func)} of {describe(value.type)} is not supported"
    raise c.error(node, what, always=fails_always(c, found, value))


@calls(math.sqrt)
def _sqrt(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    if value.kind not in NUMBERS:
        raise c.error(node, f"math.sqrt of {describe(value.type)} is not supported", "write math.sqrt(float(x))")
    return Value(FLOAT, c.checked(f"root({as_float(value)})"))


@calls(math.fabs)
def _fabs(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    if value.kind not in NUMBERS:
        raise c.error(node, f"math.fabs of {describe(value.type)} is not supported", "write abs(x)")
    return Value(FLOAT, f"abs({as_float(value)})")


@calls(math.isnan, math.isinf, math.isfinite)
def _classified(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    (value,) = _number(c, node, arguments)
    if value.kind not in NUMBERS:
        raise c.error(node, f"it takes a float, not {describe(value.type)}")
    x = c.atom(as_float(value))
    found = c.expr(node.func).constant
    if found is math.isnan:
        return Value(BOOL, f"({x} != {x})")
    finite = f"({x} - {x} == 0.0)"
    return Value(BOOL, finite if found is math.isfinite else f"({x} == {x} and not {finite})")
