"""The author's functions as source: syntax trees with the lines of their files, the names they use, the fields they read.

Not for running anything: trees are read, compared and (by the twin and the compiler) rewritten.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runner.errors import DefinitionError

if TYPE_CHECKING:
    from runner.definition import HandlerDefinition

__all__ = ["MISSING", "FunctionSource", "fields_read", "function_source", "is_authored", "local_names", "loaded_names", "resolve"]

FunctionNode = ast.FunctionDef | ast.Lambda

MISSING: Any = type("missing", (), {"__repr__": lambda _: "missing"})()
"""What ``resolve`` gives for a name that is not defined (yet)."""


@dataclass(frozen=True)
class FunctionSource:
    """A function and its syntax tree; line numbers in the tree are the file's."""

    function: Callable[..., Any]
    node: ast.FunctionDef
    file: str

    @property
    def line(self) -> int:
        """The line of its ``def``."""
        return self.node.lineno

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the positional parameters."""
        return tuple(a.arg for a in (*self.node.args.posonlyargs, *self.node.args.args))


@lru_cache(maxsize=256)
def _file_tree(file: str, text: str) -> ast.Module:
    return ast.parse(text, file)


def function_source(function: Callable[..., Any]) -> FunctionSource:
    """The source of a plain Python function (wrappers made by the runner are looked through).

    Raises DefinitionError where the text is not to be had (typed into an interpreter), or it is a lambda.
    """
    function = inspect.unwrap(function)
    code = function.__code__
    file = code.co_filename
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file, function.__globals__))
    name = function.__qualname__
    if not text:
        raise DefinitionError(f"the source of {name} cannot be read", hint="put it into a module file", file=file, line=code.co_firstlineno)
    for node in ast.walk(_file_tree(file, text)):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and _first_line(node) == code.co_firstlineno:
            return FunctionSource(function, node, file)
    raise DefinitionError(
        f"{name} is not a function that is written with def in {file}",
        hint="write it with def; if the file changed since it was imported, start again",
        file=file,
        line=code.co_firstlineno,
    )


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def is_authored(value: object) -> bool:
    """Whether it is a Python function of the author's (not of the standard library or of the runner), to be looked into."""
    if not isinstance(value, types.FunctionType):
        return False
    top = (value.__module__ or "").partition(".")[0]
    return top not in sys.stdlib_module_names and not (value.__module__ or "").startswith("runner.")


def resolve(function: Callable[..., Any], name: str) -> Any:
    """The value of a name that a function uses and does not assign: from its closure, module or builtins; else MISSING."""
    function = inspect.unwrap(function)
    if name in function.__code__.co_freevars:
        cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
        try:
            return cell.cell_contents
        except ValueError:  # assigned later in the enclosing function
            return MISSING
    if name in function.__globals__:
        return function.__globals__[name]
    return getattr(builtins, name, MISSING)


def local_names(node: ast.FunctionDef) -> frozenset[str]:
    """Parameters and assigned names of a function."""
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
    names = {a.arg for a in arguments if a is not None}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            names.add(inner.id)
        elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and inner is not node:
            names.add(inner.name)
        elif isinstance(inner, ast.arg):
            names.add(inner.arg)
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            names.add(inner.name)
        elif isinstance(inner, (ast.MatchAs, ast.MatchStar)) and inner.name:
            names.add(inner.name)
        elif isinstance(inner, ast.alias):
            names.add((inner.asname or inner.name).partition(".")[0])
    return frozenset(names)


def body_nodes(node: ast.FunctionDef) -> Iterator[ast.AST]:
    """All nodes that run when it is called or defined: body and defaults; not decorators, annotations of arguments."""
    for part in (*node.body, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
        yield from ast.walk(part)


def loaded_names(node: ast.FunctionDef) -> tuple[str, ...]:
    """Names that it reads and does not assign, sorted."""
    local = local_names(node)
    loaded = {n.id for n in body_nodes(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return tuple(sorted(loaded - local))


def value_of(function: Callable[..., Any], node: ast.expr, local: frozenset[str]) -> Any:
    """The value of a name or dotted name, as far as modules and classes lead; MISSING where it is local or unknown."""
    if isinstance(node, ast.Name):
        return MISSING if node.id in local else resolve(function, node.id)
    if isinstance(node, ast.Attribute):
        base = value_of(function, node.value, local)
        if isinstance(base, (types.ModuleType, type)):
            return inspect.getattr_static(base, node.attr, MISSING) if isinstance(base, type) else getattr(base, node.attr, MISSING)
    return MISSING


def fields_read(handler: HandlerDefinition) -> frozenset[str]:
    """The event's fields (header and payload) that a handler, its helpers and its key functions read.

    Where the event is passed somewhere that cannot be looked into, all fields count as read.
    """
    source = function_source(handler.function)
    names: set[str] = set()
    if len(source.parameters) > 1:
        names |= _reads(source, 1, frozenset())
    for part in handler.key:
        if part.scope in ("header", "event", "aggregate_id"):
            names.add(part.name)
        elif part.function is not None:
            names |= _reads(function_source(part.function), 0, frozenset())
    if handler.each:
        names.add(handler.each)
    if _ALL in names:
        from runner.events import HEADER  # only needed for what cannot be followed

        names |= set(HEADER) | {f.name for f in handler.event.fields}
    return frozenset(names - {_ALL})


_ALL = "*"


def _reads(source: FunctionSource, parameter: int, seen: frozenset[object]) -> set[str]:
    """Attributes read of one parameter, through helpers; _ALL where it goes out of sight."""
    if (source.function, parameter) in seen:
        return set()
    seen = seen | {(source.function, parameter)}
    name = source.parameters[parameter]
    local = local_names(source.node)
    names: set[str] = set()
    followed: set[int] = set()
    for node in body_nodes(source.node):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            names.add(node.attr)
            followed.add(id(node.value))
        elif isinstance(node, ast.Call):
            for i, argument in enumerate(node.args):
                if isinstance(argument, ast.Name) and argument.id == name:
                    helper = value_of(source.function, node.func, local)
                    if is_authored(helper) and i < len(function_source(helper).parameters):
                        names |= _reads(function_source(helper), i, seen)
                        followed.add(id(argument))
    for node in body_nodes(source.node):
        if isinstance(node, ast.Name) and node.id == name and id(node) not in followed:
            names.add(_ALL)
    return names
