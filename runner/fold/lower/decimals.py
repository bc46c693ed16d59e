"""Decimals: a scaled int64 with the scale known at compile time; exact, or refused where 64 bits are too few."""

from __future__ import annotations

import ast
import decimal as decimals
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from runner.fold.lower.lowering import Lowering, calls, method
from runner.fold.lower.names import constant, plain
from runner.fold.types import INT, Value, decimal, describe
from runner.kernels import status
from runner.kernels.constants import ROUNDINGS
from runner.values import Kind

if TYPE_CHECKING:
    from runner.values import ValueType

__all__ = [
    "at_scale",
    "decimal_absolute",
    "decimal_arithmetic",
    "decimal_whole",
    "rescaled",
]

_MOST_DIGITS: Final = 18
_CONTEXT: Final = decimals.Context(prec=60)


def at_scale(c: Lowering, value: Value, scale: int, failing: int = status.REFUSED) -> str:
    """The code of a DECIMAL, INT or BOOL with as many digits as ``scale``, which is not below its own."""
    if value.known:
        scaled = int(Decimal(value.constant).scaleb(scale, context=_CONTEXT))
        if -(2**63) <= scaled < 2**63:
            return str(scaled) if scaled >= 0 else f"({scaled})"
    code = f"whole({value.code})" if value.kind is Kind.BOOL else value.code
    shift = scale - value.scale
    return code if shift == 0 else c.checked(f"mul({code}, {10**shift})", failing)


def rescaled(c: Lowering, value: Value, target: ValueType) -> str:
    """The code of a DECIMAL or INT as a field keeps it: its scale, by its rounding rule, or SCALE."""
    shift = value.scale - target.scale
    if shift <= 0:
        return at_scale(c, value, target.scale, status.OVERFLOW)
    if target.rounding:
        return c.temp(f"rounded_digits({value.code}, {10**shift}, {ROUNDINGS[target.rounding]})")
    return c.checked(f"exact_digits({value.code}, {10**shift})")


def decimal_arithmetic(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
    """left op right, at least one a DECIMAL, the other a DECIMAL, INT or BOOL."""
    match op:
        case ast.Add() | ast.Sub():
            scale = max(left.scale, right.scale)
            a, b = at_scale(c, left, scale), at_scale(c, right, scale)
            name = "add" if isinstance(op, ast.Add) else "sub"
            return Value(decimal(scale), c.checked(f"{name}({a}, {b})", status.REFUSED))
        case ast.Mult():
            scale = left.scale + right.scale
            if scale > _MOST_DIGITS:
                raise c.error(
                    node,
                    f"a product of {left.scale} and {right.scale} digits has {scale}, more than {_MOST_DIGITS}",
                    'round a factor first: x.quantize(Decimal("0.01"))',
                )
            a, b = at_scale(c, left, left.scale), at_scale(c, right, right.scale)
            return Value(decimal(scale), c.checked(f"mul({a}, {b})", status.REFUSED))
        case ast.Div() | ast.FloorDiv() | ast.Mod():
            raise c.error(
                node,
                "division of Decimals has no fixed number of digits",
                "multiply by the inverse as a Decimal constant, or keep sum and count and divide in the query",
            )
    raise c.error(node, f"{type(op).__name__} of {describe(left.type)} and {describe(right.type)} is not supported")


def decimal_absolute(c: Lowering, value: Value) -> Value:
    """abs of a DECIMAL or TIMEDELTA."""
    return Value(value.type, c.checked(f"absolute({value.code})", status.REFUSED))


def decimal_whole(c: Lowering, value: Value, rounding: str) -> Value:
    """A DECIMAL as an INT, by a rounding rule."""
    if value.scale == 0:
        return Value(INT, value.code)
    return Value(INT, c.temp(f"rounded_digits({value.code}, {10**value.scale}, {ROUNDINGS[rounding]})"))


@calls(Decimal)
def _decimal(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) != 1 or node.keywords:
        raise c.error(node, "Decimal takes one argument here")
    value = c.required(node, plain(c, arguments[0]))
    if value.known and type(value.constant) in (str, int, bool, Decimal):
        try:
            return constant(c, node, Decimal(value.constant))
        except decimals.InvalidOperation:
            raise c.error(node, f"{value.constant!r} is no Decimal", always=True) from None
    if value.kind in (Kind.INT, Kind.BOOL):
        return Value(decimal(0), at_scale(c, value, 0))
    if value.kind is Kind.DECIMAL:
        return value
    raise c.error(
        node,
        f"Decimal of {describe(value.type)} is not supported",
        'write Decimal("0.1") for a constant; declare the event field as Decimal with a scale',
    )


@method(Kind.DECIMAL, "quantize")
def _quantize(c: Lowering, node: ast.Call, value: Value, arguments: list[Value]) -> Value:
    rounding = decimals.ROUND_HALF_EVEN
    for keyword in node.keywords:
        if keyword.arg != "rounding":
            raise c.error(node, f"quantize(..., {keyword.arg}=...) is not supported")
        arguments = [*arguments, c.expr(keyword.value)]
    if len(arguments) == 2:
        rounding = arguments[1].constant
    unit = arguments[0].constant if arguments else None
    if not isinstance(unit, Decimal) or rounding not in ROUNDINGS or len(arguments) > 2:
        raise c.error(
            node, "quantize takes a constant and a rounding", 'write x.quantize(Decimal("0.01"), ROUND_HALF_UP)'
        )
    exponent = unit.as_tuple().exponent
    if not isinstance(exponent, int) or not -_MOST_DIGITS <= exponent <= 0:
        raise c.error(node, f"quantize by {unit} is not supported", "by 1 down to 18 digits behind the point")
    # Python fails where the result has over 28 digits; an int64 has 19.
    wanted = decimal(-exponent)
    if value.scale <= wanted.scale:
        return Value(wanted, at_scale(c, value, wanted.scale))
    code = f"rounded_digits({value.code}, {10 ** (value.scale - wanted.scale)}, {ROUNDINGS[rounding]})"
    return Value(wanted, c.temp(code))


@method(Kind.DECIMAL, "copy_abs")
def _copy_abs(c: Lowering, _node: ast.Call, value: Value, _arguments: list[Value]) -> Value:
    return decimal_absolute(c, value)
