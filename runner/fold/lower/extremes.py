"""min and max of values: the first of the least or greatest, as in Python, for one type at a time."""

from __future__ import annotations

import ast
from typing import Final

from runner.fold.lower.decimals import at_scale
from runner.fold.lower.lowering import Lowering, calls
from runner.fold.lower.names import constant, plain
from runner.fold.types import StaticType, Value, decimal, describe
from runner.values import Kind

_ORDERED: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.STR, Kind.DATETIME, Kind.DATE, Kind.TIMEDELTA})


@calls(min)
def _min(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    return _extreme(c, node, arguments, "smaller")


@calls(max)
def _max(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    return _extreme(c, node, arguments, "larger")


def _extreme(c: Lowering, node: ast.Call, arguments: list[Value], function: str) -> Value:
    if len(arguments) < 2 or node.keywords:
        raise c.error(node, f"{ast.unparse(node.func)} takes two or more values here", "write a for loop for a list")
    values = [plain(c, a) for a in arguments]
    for value in values:
        if value.kind is None:
            raise c.error(node, f"{describe(value.type)} has no order", "test with `is None` first")
    values = [c.required(node, v) for v in values]
    kinds = {v.kind for v in values}
    type_: StaticType
    if Kind.DECIMAL in kinds and kinds <= {Kind.DECIMAL, Kind.INT}:
        type_ = decimal(max(v.scale for v in values))
        codes = [at_scale(c, v, type_.scale) for v in values]
    elif len(kinds) == 1 and kinds <= _ORDERED:
        type_, codes = values[0].type, [v.code for v in values]
        if all(v.known for v in values) and kinds <= {Kind.INT, Kind.FLOAT}:
            return constant(c, node, (min if function == "smaller" else max)(v.constant for v in values))
    else:
        mixed = " and ".join(sorted({describe(v.type) for v in values}))
        hint = "write float(x) for the int" if kinds == {Kind.INT, Kind.FLOAT} else "give values of one type"
        raise c.error(node, f"{ast.unparse(node.func)} of {mixed} is not supported", hint)
    best = codes[0]
    for code in codes[1:]:
        best = _text(c, best, code, function) if kinds == {Kind.STR} else f"{function}({best}, {code})"
    return Value(type_, best)


def _text(c: Lowering, best: str, code: str, function: str) -> str:
    best, code = c.atom(best), c.atom(code)
    a, b = (code, best) if function == "smaller" else (best, code)
    return c.temp(f"({code} if text_less(pool, {a}, {b}) else {best})")
