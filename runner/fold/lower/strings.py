"""Strings: ids of the partition's pool. Equal texts have equal ids, so everything but equality asks the pool."""

from __future__ import annotations

import ast

from runner.fold.lower.lowering import Lowering, calls, expression, method
from runner.fold.lower.names import constant, plain
from runner.fold.types import BOOL, STR, NoneType, TupleType, Value, describe
from runner.values import Kind, ValueType

__all__ = ["bound", "concatenated", "text_item", "text_of"]

_FORMATTED = "str, int, bool, UUID and Literal can stand in it"


def concatenated(c: Lowering, left: Value, right: Value) -> Value:
    """left + right, both STR."""
    return Value(STR, c.answered(f"text_concat(pool, {left.code}, {right.code})"))


def text_of(c: Lowering, node: ast.AST, value: Value) -> Value:
    """str(value); "None" where an Optional has no value."""
    if value.known and type(value.constant) in (str, int, bool, float):
        return constant(c, node, str(value.constant))
    if isinstance(value.type, NoneType):  # also of a local that was only ever None
        return constant(c, node, "None")
    value = plain(c, value)
    if not value.valid:
        return _text_of(c, node, value)
    valid = c.atom(value.valid)
    with c.captured(depth=1) as lines:
        assert isinstance(value.type, ValueType)  # only a scalar can be Optional
        some = _text_of(c, node, Value(value.type.required, value.code))
    result = c.temp(str(c.program.texts.id("None")))
    c.line(f"if {valid}:")
    c.lines.extend(lines)
    with c.indented():
        c.line(f"{result} = {some.code}")
    return Value(STR, result)


def _text_of(c: Lowering, node: ast.AST, value: Value) -> Value:
    match value.kind:
        case Kind.STR:
            return value
        case Kind.UUID:
            # A UUID stands in the pool in its canonical form, which is what str gives.
            return Value(STR, value.code)
        case Kind.INT:
            return Value(STR, c.answered(f"text_of_int(pool, {value.code})"))
        case Kind.BOOL:
            yes, no = c.program.texts.id("True"), c.program.texts.id("False")
            return Value(STR, f"({yes} if {value.code} else {no})")
    hint = "write its .value" if value.kind is Kind.ENUM else _FORMATTED
    raise c.error(node, f"the text of {describe(value.type)} is not supported", hint)


@calls(str)
def _str(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) != 1 or node.keywords:
        raise c.error(node, "str takes one argument here")
    return text_of(c, node, arguments[0])


@expression(ast.JoinedStr)
def _formatted(c: Lowering, node: ast.JoinedStr) -> Value:
    result: Value | None = None
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            if part.format_spec is not None or part.conversion not in (-1, ord("s")):
                raise c.error(
                    node, "an f-string with a format or !r is not supported", "write {x} alone; format in the query"
                )
            text = text_of(c, node, c.scalar(part.value))
        else:
            text = c.expr(part)
        result = text if result is None else concatenated(c, result, text)
    return constant(c, node, "") if result is None else result


def text_item(c: Lowering, node: ast.Subscript, base: Value) -> Value:
    """base[index] or base[start:stop] of a STR."""
    if isinstance(node.slice, ast.Slice):
        return _slice(c, node, base, node.slice)
    index = bound(c, node, node.slice)
    return Value(STR, c.answered(f"text_index(pool, {base.code}, {index})"))


def bound(c: Lowering, node: ast.AST, part: ast.expr) -> str:
    """An index as code."""
    value = c.required(node, plain(c, c.scalar(part)))
    if value.kind is not Kind.INT:
        raise c.error(node, f"an index is an int, not {describe(value.type)}")
    return value.code


def _slice(c: Lowering, node: ast.AST, base: Value, part: ast.Slice) -> Value:
    step = part.step
    if step is not None and not (isinstance(step, ast.Constant) and step.value in (None, 1) and step.value is not True):
        raise c.error(node, "a slice with a step is not supported", "write text[start:stop]")
    start, stop = (_slice_bound(c, node, b) for b in (part.lower, part.upper))
    return Value(STR, c.answered(f"text_slice(pool, {base.code}, {start}, {stop})"))


def _slice_bound(c: Lowering, node: ast.AST, part: ast.expr | None) -> str:
    if part is None or (isinstance(part, ast.Constant) and part.value is None):
        return "MIN"
    code = bound(c, node, part)
    # The lowest int64 stands for no bound in the pool; the one above it bounds any text in the same way.
    return code if isinstance(part, ast.Constant) else f"larger({code}, MIN + 1)"


def _texts(c: Lowering, node: ast.Call, arguments: list[Value], count: int) -> list[Value]:
    if len(arguments) != count or node.keywords:
        raise c.error(node, f"{ast.unparse(node.func)} takes {count or 'no'} argument{'s' if count != 1 else ''} here")
    found = [c.required(node, plain(c, a)) for a in arguments]
    for value in found:
        if value.kind is not Kind.STR:
            raise c.error(node, f"a str is needed, not {describe(value.type)}")
    return found


@method(Kind.STR, "lower", "upper")
def _case(c: Lowering, node: ast.Call, base: Value, arguments: list[Value]) -> Value:
    _texts(c, node, arguments, 0)
    assert isinstance(node.func, ast.Attribute)
    return Value(STR, c.answered(f"text_{node.func.attr}(pool, {base.code})"))


@method(Kind.STR, "startswith", "endswith")
def _affix(c: Lowering, node: ast.Call, base: Value, arguments: list[Value]) -> Value:
    assert isinstance(node.func, ast.Attribute)
    if len(arguments) == 1 and isinstance(arguments[0].type, TupleType):
        arguments = list(arguments[0].items)
        parts = _texts(c, node, arguments, len(arguments))
    else:
        parts = _texts(c, node, arguments, 1)
    function = "text_starts" if node.func.attr == "startswith" else "text_ends"
    tests = [f"{function}(pool, {base.code}, {p.code})" for p in parts]
    return Value(BOOL, f"({' or '.join(tests)})" if tests else "False")
