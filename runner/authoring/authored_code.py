"""All of the author's that a fold runs: handlers, the functions that they call, the classes that these use."""

from __future__ import annotations

import ast
import inspect
import re
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.authoring.class_members import classes_in, functions_of, is_special, members
from runner.authoring.source_code import FunctionSource, body_nodes, function_source, is_authored, uses
from runner.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runner.authoring.definition import ProjectionDefinition

__all__ = ["AuthoredCode", "authored_code", "default_values", "is_method"]


@dataclass
class AuthoredCode:
    """All of the author's that a fold runs. functions: each once, with the name of the handler, key function or merge
    through which it is reached first; classes: the same. names: the attributes that the functions read.
    """

    functions: list[tuple[str, FunctionSource]] = field(default_factory=list)
    classes: dict[type, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


def authored_code(definition: ProjectionDefinition, *, complete: bool = True) -> AuthoredCode:
    """Handlers, key functions, merge, every function of the author's that they call, and the classes that these use.

    Of a class the methods that Python calls by itself are in it, and those whose names the functions read.
    """
    roots: list[tuple[str, Callable[..., Any]]] = [(h.name, h.function) for h in definition.handlers]
    roots += [(k.name, k.function) for h in definition.handlers for k in h.key if k.function is not None]
    if definition.merge is not None:
        roots.append(("merge", definition.merge.function))
    code = AuthoredCode()
    seen: set[Callable[..., Any]] = set()
    waiting = [(name, inspect.unwrap(f)) for name, f in reversed(roots)]
    if complete:
        for root, enums in _field_enums(definition):
            code.classes.update({c: root for e in enums for c in classes_in(e, None)})
    while waiting:
        root, function = waiting.pop()
        if function not in seen:
            seen.add(function)
            _look_into(definition, root, function, code, waiting, complete=complete)
        if not waiting:
            waiting = [(root, f) for root, f in _methods(code) if f not in seen]
    return code


def _look_into(
    definition: ProjectionDefinition,
    root: str,
    function: Callable[..., Any],
    code: AuthoredCode,
    waiting: list[tuple[str, Callable[..., Any]]],
    *,
    complete: bool,
) -> None:
    try:
        source = function_source(function)
    except DefinitionError:
        if complete:
            raise
        return
    code.functions.append((root, source))
    code.names |= _names_read(source)
    defaults = default_values(function)
    for use in uses(source, definition.cls if is_method(definition, source) else None):
        if is_authored(use.value, function):
            waiting.append((root, inspect.unwrap(use.value)))
        for cls in classes_in(use.value, function):
            code.classes.setdefault(cls, root)
    for cls in classes_in(defaults, function):
        code.classes.setdefault(cls, root)


def default_values(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The values of a function's defaults, as they were when it was defined."""
    function = inspect.unwrap(function)
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())


def _field_enums(definition: ProjectionDefinition) -> Iterator[tuple[str, Iterable[type]]]:
    for f in definition.fields:
        yield f.name, f.enums.values()
    for part in definition.key:
        yield part.name, part.enums.values()
    for handler in definition.handlers:
        for read in handler.event.fields:
            if read.name in definition.reads[handler.name]:
                yield handler.name, read.enums.values()


def _names_read(source: FunctionSource) -> frozenset[str]:
    """Names of attributes that a function reads, also by a format text."""
    names: set[str] = set()
    for node in body_nodes(source.node):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.MatchClass):
            names.update(node.kwd_attrs)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(re.findall(r"\.(\w+)", node.value))
    return frozenset(names)


def _methods(code: AuthoredCode) -> list[tuple[str, Callable[..., Any]]]:
    """The methods of the classes found so far; classes that they bring are added."""
    found: list[tuple[str, Callable[..., Any]]] = []
    waiting = list(code.classes)
    while waiting:
        cls = waiting.pop(0)
        root = code.classes[cls]
        for name, value in members(cls).items():
            if name in code.names or is_special(name):
                found += [(root, inspect.unwrap(f)) for f in functions_of(name, value)]
            brought = [] if name == "__dataclass_fields__" else classes_in(value, None)
            for other in brought:
                if other not in code.classes:
                    code.classes[other] = root
                    waiting.append(other)
    return found


def is_method(definition: ProjectionDefinition, source: FunctionSource) -> bool:
    """Whether the function is a method, whose first parameter is the state."""
    for base in definition.cls.__mro__:
        found = base.__dict__.get(source.node.name)
        if isinstance(found, types.FunctionType) and inspect.unwrap(found) is source.function:
            return True
    return any(h.function is source.function for h in definition.handlers)
