"""The compiler of handlers: a projection's methods become source text of Numba functions that answer with a status.

``compile_definition`` needs neither Numba nor a log: it is also the check of a definition's types. What the functions
take and give:

- a handler ``(s, pool, i, j, k, type_id, *arrays) -> status``: s the state's record, i the event's index in the batch,
  j its index among the events of its type, k the index of the element in the list's flattened arrays (0 without
  ``each``);
- a key ``(pool, i, j, k, type_id, *arrays) -> (status, word, ...)``: int64 words, one a part, two (is there one, which)
  for an Optional part; of all parts where the projection merges, else of all behind the aggregate;
- a merge ``(s, o, pool) -> status``.

Equal definitions and texts give equal source. An operation that is not known to be exact is a CompileError with the
author's file and line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.authoring.source_code import FunctionSource, function_source
from runner.errors import CompileError, DefinitionError
from runner.fold.lower import compare, extremes  # noqa: F401  # enter comparisons, min and max
from runner.fold.lower.calls import call_function, walk
from runner.fold.lower.lowering import ArrayRef, Lowering, Program, Scope, TextRegistry
from runner.fold.lower.stores import converted
from runner.fold.types import ElementType, EventType, StateType, Value
from runner.values import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.authoring.definition import HandlerDefinition, KeyPart, KeySource, ProjectionDefinition

__all__ = [
    "PRELUDE",
    "CompiledDefinition",
    "CompiledFunction",
    "CompiledHandler",
    "check_definition",
    "compile_definition",
]

PRELUDE = """\
from math import inf, nan

import numpy as np
from numba import njit

from runner.kernels.checked import (
    MIN,
    absolute,
    add,
    bits_and,
    bits_or,
    bits_xor,
    ceiling,
    compare_mixed,
    divide,
    divide_ints,
    float_floordiv,
    float_mod,
    floor,
    floordiv,
    larger,
    mod,
    mul,
    power,
    root,
    round_even,
    shift_left,
    shift_right,
    smaller,
    sub,
    truncate,
    whole,
)
from runner.kernels.civil import day_of, days_of, month_of, year_of
from runner.kernels.hints import natural
from runner.kernels.options import KERNEL
from runner.kernels.pool import (
    text_concat,
    text_contains,
    text_ends,
    text_index,
    text_length,
    text_less,
    text_lower,
    text_of_int,
    text_slice,
    text_starts,
    text_upper,
)
from runner.kernels.scaled import bucket_of, exact_digits, rounded_digits
"""
"""What generated functions call; stands at the head of their module."""


@dataclass(frozen=True)
class CompiledFunction:
    """A generated function: its name in the source, and the arrays that it takes behind the fixed arguments."""

    name: str
    arrays: tuple[ArrayRef, ...] = ()


@dataclass(frozen=True)
class CompiledHandler:
    """A handler; key: where the key has more than the aggregate, else None. deletes: it may answer DELETED."""

    handler: CompiledFunction
    key: CompiledFunction | None
    deletes: bool


@dataclass(frozen=True)
class CompiledDefinition:
    """A projection's functions. handlers: in the definition's order. source: PRELUDE and the functions."""

    source: str
    handlers: tuple[CompiledHandler, ...]
    merge: CompiledFunction | None


def compile_definition(definition: ProjectionDefinition, prefix: str, texts: TextRegistry) -> CompiledDefinition:
    """Type-check a projection's handlers, key functions and merge, and write their source.

    prefix: keeps the names of several projections in one module apart. texts: gets the strings that they name.
    Raises CompileError.
    """
    program = Program(re.sub(r"\W", "_", prefix), definition, texts)
    for field in definition.fields:
        program.enums.update(field.enums)
    for part in definition.key:
        program.enums.update(part.enums)
    handlers = tuple(_handler(program, h) for h in definition.handlers)
    merge = _merge(program)
    return CompiledDefinition(PRELUDE + "\n" + "\n".join(program.chunks), handlers, merge)


def check_definition(definition: ProjectionDefinition) -> None:
    """Type-check a projection without keeping anything. Raises CompileError."""
    compile_definition(definition, "check", TextRegistry())


def _source(program: Program, label: str, function: Callable[..., Any]) -> FunctionSource:
    try:
        return function_source(function)
    except DefinitionError as error:
        # The plain fold reads the text too: it is no way out.
        raise CompileError(error.message, hint=error.hint, file=error.file, line=error.line, handler=label) from None


def _event_values(handler: HandlerDefinition) -> list[Value]:
    """The arguments behind self: the event, and the element of an each-handler."""
    values = [Value(EventType(handler.event))]
    listed = handler.list_field
    if listed is not None:
        assert listed.type.element is not None
        values.append(Value(ElementType(listed.type.element, listed.name, "element", handler.event), "k"))
    return values


def _handler(program: Program, handler: HandlerDefinition) -> CompiledHandler:
    label = f"{program.projection}.{handler.name}"
    source = _source(program, label, handler.function)
    values = [Value(StateType("s", writable=True)), *_event_values(handler)]
    for value in values[1:]:
        if isinstance(value.type, EventType):
            for field in value.type.event.fields:
                program.enums.update(field.enums)
    scope = Scope.of(source, dict(zip(source.parameters, values, strict=False)))
    program.calling.append(source.function)
    made = walk(program, scope, "handler", label)
    program.calling.pop()
    function = _entered(program, f"handle_{handler.name}", "s, pool, i, j, k, type_id", made)
    return CompiledHandler(function, _key(program, handler, scope), made.deletes)


def _merge(program: Program) -> CompiledFunction | None:
    merge = program.definition.merge
    if merge is None:
        return None
    label = f"{program.projection}.merge"
    source = _source(program, label, merge.function)
    values = [Value(StateType("s", writable=True)), Value(StateType("o", writable=False))]
    program.calling.append(source.function)
    made = walk(program, Scope.of(source, dict(zip(source.parameters, values, strict=False))), "merge", label)
    program.calling.pop()
    return _entered(program, "merge", "s, o, pool", made)


def _entered(program: Program, words: str, parameters: str, made: Lowering) -> CompiledFunction:
    name = program.name("fold", words)
    names = ", ".join([parameters, *made.arrays.values()])
    program.chunks.append(f"@njit(**KERNEL)\ndef {name}({names}):\n" + "\n".join(made.lines) + "\n")
    return CompiledFunction(name, tuple(made.arrays))


# Keys


def _key(program: Program, handler: HandlerDefinition, scope: Scope) -> CompiledFunction | None:
    definition = program.definition
    if definition.by_aggregate:
        return None
    pairs = list(zip(definition.key, handler.key, strict=True))
    parts = pairs if definition.merged else pairs[1:]
    c = Lowering(program, scope, "key", f"{program.projection}.{handler.name}")
    c.failure = ", 0" * sum(2 if part.type.optional else 1 for part, _ in parts)
    words = [w for part, source in parts for w in _words(c, handler, part, source)]
    c.line(f"return {', '.join(['0', *words])}")
    return _entered(program, f"key_{handler.name}", "pool, i, j, k, type_id", c)


def _words(c: Lowering, handler: HandlerDefinition, part: KeyPart, source: KeySource) -> list[str]:
    node = c.scope.source.node
    value = _part(c, handler, source)
    code, valid = converted(c, node, value, part.type, f"key part {part.name}")
    if part.type.kind is Kind.BOOL:
        code = f"whole({code})"
    if part.type.kind is Kind.FLOAT:
        raise c.error(node, f"key part {part.name} is a float", "use an int, a Decimal or a str")
    if not part.type.optional:
        return [code]
    return [f"whole({valid})", f"({code} if {valid} else 0)"]


def _part(c: Lowering, handler: HandlerDefinition, source: KeySource) -> Value:
    values = _event_values(handler)
    if source.scope == "function":
        assert source.function is not None
        function = _source(c.program, c.label, source.function)
        given = dict(zip(function.parameters, values if source.takes_element else values[:1], strict=False))
        outer, c.label = c.label, f"{c.program.projection}.{source.name}"
        value = call_function(c, function.node, function, given)
        c.label = outer
        return value
    owner = "element" if source.scope == "element" else "event"
    line = c.scope.source.line
    node = ast.Attribute(ast.Name(owner, ast.Load(), lineno=line), source.name, ast.Load(), lineno=line)
    outer_scope = c.scope
    c.scope = Scope(outer_scope.source, {"event": values[0], "element": values[-1]}, escapes=False)
    c.locals = {"event": values[0].type, "element": values[-1].type}
    value = c.expr(node)
    c.scope, c.locals = outer_scope, {}
    return value
