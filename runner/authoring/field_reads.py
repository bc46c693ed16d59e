"""Which fields of an event a handler reads, found in its syntax tree: what need not be read from the log is not."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from runner.authoring.events import HEADER
from runner.authoring.source_code import (
    FunctionSource,
    body_nodes,
    function_source,
    is_authored,
    scoped_nodes,
    value_of,
)

if TYPE_CHECKING:
    from runner.authoring.definition import HandlerDefinition

__all__ = ["fields_read"]

_ALL = "*"


def fields_read(handler: HandlerDefinition, owner: type) -> frozenset[str]:
    """The event's fields (header and payload) that a handler, its helpers and its key functions read.

    Where the event goes somewhere that cannot be looked into, all fields count as read. Names that are no field
    stay in, for the one who checks them. owner: the projection class.
    """
    names = _reads(function_source(handler.function), 1, owner, frozenset())
    for part in handler.key:
        if part.scope in ("header", "event", "aggregate_id"):
            names.add(part.name)
        elif part.function is not None:
            names |= _reads(function_source(part.function), 0, None, frozenset())
    if handler.each:
        names.add(handler.each)
    if _ALL in names:
        names |= set(HEADER) | {f.name for f in handler.event.fields}
    return frozenset(names - {_ALL})


def _reads(source: FunctionSource, parameter: int, owner: type | None, seen: frozenset[object]) -> set[str]:
    """Attributes read of one parameter, through helpers; _ALL where it goes out of sight."""
    if (source.function, parameter) in seen or parameter >= len(source.parameters):
        return set()
    seen |= {(source.function, parameter)}
    name = source.parameters[parameter]
    names: set[str] = set()
    followed: set[int] = set()
    for node, local in scoped_nodes(source.node):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            names.add(node.attr)
            followed.add(id(node.value))
        elif isinstance(node, ast.Call):
            for helper, at, argument in _passed(source, node, name, local, owner):
                names |= _reads(helper, at, None, seen)
                followed.add(id(argument))
    if any(isinstance(n, ast.Name) and n.id == name and id(n) not in followed for n in body_nodes(source.node)):
        names.add(_ALL)
    return names


def _passed(
    source: FunctionSource, call: ast.Call, name: str, local: frozenset[str], owner: type | None
) -> list[tuple[FunctionSource, int, ast.expr]]:
    """Where a call passes the parameter on to a helper: the helper, its parameter's place, the argument."""
    positional = [(i, a) for i, a in enumerate(call.args) if isinstance(a, ast.Name) and a.id == name]
    named = [(k.arg, k.value) for k in call.keywords if isinstance(k.value, ast.Name) and k.value.id == name]
    if (not positional and not named) or any(isinstance(a, ast.Starred) for a in call.args):
        return []
    function = value_of(source.function, call.func, local, owner)
    if not is_authored(function, source.function):
        return []
    helper = function_source(function)
    shift = 1 if _is_method(call.func, source, owner) else 0
    found: list[tuple[FunctionSource, int, ast.expr]] = [
        (helper, i + shift, a) for i, a in positional if i + shift < len(helper.parameters)
    ]
    found += [(helper, helper.parameters.index(k), a) for k, a in named if k in helper.parameters]
    return found


def _is_method(func: ast.expr, source: FunctionSource, owner: type | None) -> bool:
    return (
        owner is not None
        and isinstance(func, ast.Attribute)
        and isinstance(func.value, ast.Name)
        and func.value.id == source.parameters[0]
        and not isinstance(owner.__dict__.get(func.attr), staticmethod)
    )
