"""Lists: those of an event, the ``last`` and ``buckets`` fields of a state; [...] and len, which strings have too."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.fold.lower.lowering import Lowering, calls, expression
from runner.fold.lower.names import constant, element_at, plain
from runner.fold.lower.numbers import binary
from runner.fold.lower.plainly import fails_always
from runner.fold.lower.strings import bound, text_item
from runner.fold.types import INT, ListType, StateListType, TupleType, Value, describe
from runner.kernels import status
from runner.values import Kind

if TYPE_CHECKING:
    from runner.values import ValueType

__all__ = ["bucket_index", "list_length", "list_range", "listed_at", "stored_at"]


def _offsets(c: Lowering, type_: ListType) -> tuple[str, str]:
    offsets = c.array("list", type_.path, "offsets")
    return f"np.int64({offsets}[j])", f"np.int64({offsets}[j + 1])"


def list_length(c: Lowering, value: Value) -> str:
    """How many elements there are."""
    if isinstance(value.type, ListType):
        start, stop = _offsets(c, value.type)
        return c.temp(f"{stop} - {start}")
    assert isinstance(value.type, StateListType)
    if value.type.type.kind is Kind.BUCKETS:
        return str(len(value.type.type.edges) + 1)
    return f"{value.type.state.variable}.n_{value.type.name}"


def list_range(c: Lowering, value: Value) -> str:
    """The arguments of a range over the indexes that ``listed_at`` takes."""
    if isinstance(value.type, ListType):
        return ", ".join(_offsets(c, value.type))
    return list_length(c, value)


def listed_at(c: Lowering, value: Value, index: str) -> Value:
    """The element at an index that is inside."""
    if isinstance(value.type, ListType):
        return element_at(c, value.type, index)
    assert isinstance(value.type, StateListType)
    return stored_at(value.type, index)


def stored_at(type_: StateListType, index: str) -> Value:
    """The element of a state's list."""
    if type_.type.kind is Kind.BUCKETS:
        return Value(INT, f"{type_.state.variable}.f_{type_.name}[{index}]")
    element = type_.type.element
    assert element is not None
    code = f"{type_.state.variable}.f_{type_.name}[{index}]"
    if element.kind is Kind.BOOL:
        code = f"({code} != 0)"
    valid = f"({type_.state.variable}.v_{type_.name}[{index}] != 0)" if element.optional else ""
    return Value(replace(element, rounding=""), code, valid)


def _list_item(c: Lowering, node: ast.Subscript, base: Value) -> Value:
    """base[index], from the end where it is negative, RANGE outside."""
    if isinstance(node.slice, ast.Slice):
        raise c.error(node, f"a slice of {describe(base.type)} is not supported", "loop over it with for")
    index = c.atom(bound(c, node, node.slice))
    length = c.atom(list_length(c, base))
    place = c.temp(f"({index} + {length} if {index} < 0 else {index})")
    c.guard(f"{place} < 0 or {place} >= {length}", status.RANGE)
    if isinstance(base.type, ListType):
        place = c.temp(f"{place} + {_offsets(c, base.type)[0]}")
    found = listed_at(c, base, place)
    # The list may change behind an expression that has read it.
    return replace(found, code=c.atom(found.code)) if isinstance(base.type, StateListType) else found


@expression(ast.Subscript)
def _subscript(c: Lowering, node: ast.Subscript) -> Value:
    base = c.expr(node.value)
    if isinstance(base.type, (ListType, StateListType)):
        return _list_item(c, node, base)
    if isinstance(base.type, TupleType):
        return _tuple_item(c, node, base)
    base = plain(c, base)
    if base.kind is not Kind.STR:
        raise c.error(
            node, f"{describe(base.type)} has no items", always=fails_always(c, lambda sample: sample[0], base)
        )
    return text_item(c, node, c.required(node, base))


def _tuple_item(c: Lowering, node: ast.Subscript, base: Value) -> Value:
    index = c.expr(node.slice).constant
    if type(index) is not int or not -len(base.items) <= index < len(base.items):
        raise c.error(node, "a tuple's item is named by a constant index", "write if/elif")
    return base.items[index]


@calls(len)
def _len(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    if len(arguments) != 1 or node.keywords:
        raise c.error(node, "len takes one argument", always=True)
    value = plain(c, arguments[0])
    if isinstance(value.type, (ListType, StateListType)):
        return Value(INT, list_length(c, value))
    if isinstance(value.type, TupleType):
        return constant(c, node, len(value.items))
    if value.kind is not Kind.STR:
        raise c.error(node, f"{describe(value.type)} has no len", always=fails_always(c, len, value))
    value = c.required(node, value)
    return Value(INT, c.temp(f"text_length(pool, {value.code})"))


def bucket_index(c: Lowering, type_: ValueType, value: Value) -> str:
    """The counter that an INT or FLOAT belongs to: as many edges are below it."""
    if value.kind is Kind.INT:
        # An int is above an edge just where it is above the edge's floor; edges go to 2**53 at most.
        floors = tuple(math.floor(e) for e in type_.edges)
        return c.temp(f"bucket_of({c.program.table('int64', floors)}, {value.code})")
    edges = tuple(float(e) for e in type_.edges)
    number = c.atom(value.code)
    c.guard(f"{number} != {number}", status.RANGE)
    return c.temp(f"bucket_of({c.program.table('float64', edges)}, {number})")


@calls(sum)
def _sum(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    value = arguments[0] if len(arguments) == 1 and not node.keywords else None
    if value is None or not isinstance(value.type, (ListType, StateListType)):
        raise c.error(node, "sum takes a list of the event or of the state here", "write a for loop that adds up")
    with c.captured(depth=1) as lines:
        c.temps += 1
        index = f"t{c.temps}"
        item = listed_at(c, value, index)
        if item.kind not in (Kind.INT, Kind.DECIMAL):
            raise c.error(node, f"sum of {describe(item.type)} is not supported", "write a for loop that adds up")
        item = c.required(node, item)
        c.temps += 1
        total = Value(item.type, f"t{c.temps}")
        c.line(f"{total.code} = {binary(c, node, ast.Add(), total, item).code}")
    c.line(f"{total.code} = 0")
    c.line(f"for {index} in range({list_range(c, value)}):")
    c.lines.extend(lines)
    return total
