"""The rules that a whole projection class keeps: signatures, keys, columns, merge. Each breach says what to write."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from runner.errors import DefinitionError
from runner.values import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.authoring.definition import HandlerDefinition, ProjectionDefinition

__all__ = ["check_definition", "check_function", "check_keywords"]


def check_keywords(name: object, key: object, version: object, flags: dict[str, object]) -> None:
    """The class keywords. Raises DefinitionError."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name):
        raise DefinitionError(
            f"name={name!r} does not name a table", hint="letters, digits and _, at most 63: name='open_orders'"
        )
    if type(version) is not int or version < 1:
        raise DefinitionError(f"version={version!r}", hint="a whole number from 1 on")
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise DefinitionError(f"{flag}={value!r}", hint=f"{flag}=True or {flag}=False")
    if not isinstance(key, tuple) or not key or not all(isinstance(p, str) and p for p in key):
        raise DefinitionError(f"key={key!r} names no columns", hint='write key=("aggregate_id", "sku")')


def check_function(function: Callable[..., Any], wanted: tuple[str, ...], what: str) -> None:
    """That a function is plain and takes exactly the wanted arguments. Raises DefinitionError at its line."""
    code = function.__code__
    here = {"file": code.co_filename, "line": code.co_firstlineno}
    shown = f"def {function.__name__}({', '.join(wanted)})"
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise DefinitionError(
            f"{what} is async or a generator",
            hint=f"a fold is a plain loop: {shown}",
            file=code.co_filename,
            line=code.co_firstlineno,
        )
    simple = (
        not code.co_kwonlyargcount
        and not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
        and not function.__defaults__
    )
    if not simple or code.co_argcount != len(wanted):
        raise DefinitionError(
            f"{what} takes {inspect.signature(function)}",
            hint=f"write {shown}",
            file=str(here["file"]),
            line=code.co_firstlineno,
        )


def check_definition(definition: ProjectionDefinition, key_functions: dict[str, Callable[..., Any]]) -> None:
    """All rules between fields, key, handlers and merge. Raises DefinitionError."""
    for handler in definition.handlers:
        _check_handler(handler, definition)
    for name, function in key_functions.items():
        elements = function.__code__.co_argcount == 2
        check_function(function, ("e", "line") if elements else ("e",), f"@key {name}")
        without = next((h for h in definition.handlers if elements and not h.each), None)
        if without is not None:
            raise _at(
                without, f"@key {name} takes an element, and this handler has none", f"write def {name}(e), or each=..."
            )
        if all(k.name != name for h in definition.handlers for k in h.key) and definition.handlers:
            raise DefinitionError(f"@key {name} is not in the key", hint=f'write key=(..., "{name}")')
    _check_columns(definition)
    _check_key(definition)
    if definition.merge is not None:
        check_function(definition.merge.function, ("self", "other"), "merge")


def _at(handler: HandlerDefinition, message: str, hint: str = "") -> DefinitionError:
    return DefinitionError(f"{handler.name}: {message}", hint=hint, file=handler.file, line=handler.line)


def _check_handler(handler: HandlerDefinition, definition: ProjectionDefinition) -> None:
    listed = handler.list_field
    if handler.each:
        if handler.every:
            raise _at(handler, f"on(Event) has no field {handler.each!r}", "name the event class that has the list")
        if listed is None or listed.type.kind is not Kind.LIST:
            lists = [f.name for f in handler.event.fields if f.type.kind is Kind.LIST]
            raise _at(
                handler,
                f"each={handler.each!r} is no list of {handler.event.name}",
                f"its lists are {lists}" if lists else "",
            )
        if listed.type.optional:
            raise _at(handler, f"each={handler.each!r} may be None", f"declare {handler.each}: list[...] = []")
    check_function(
        handler.function, ("self", "e", "line") if handler.each else ("self", "e"), f"handler {handler.name}"
    )


def _columns(definition: ProjectionDefinition) -> Iterable[str]:
    yield from (p.name for p in definition.key)
    yield from (f.name for f in definition.fields)


def _check_columns(definition: ProjectionDefinition) -> None:
    seen: dict[str, str] = {}
    for name in _columns(definition):
        if name.casefold() in seen:
            first = seen[name.casefold()]
            what = f"two columns are called {name}" if first == name else f"{first} and {name} differ in case only"
            raise DefinitionError(
                f"{definition.qualname}: {what}", hint="key parts and state fields are columns of one table; rename one"
            )
        seen[name.casefold()] = name
    for index in definition.indexes:
        for name in index:
            if name not in set(_columns(definition)):
                raise DefinitionError(
                    f"{definition.qualname}: indexes name {name!r}, which is no column",
                    hint=f"columns: {', '.join(_columns(definition))}",
                )


def _check_key(definition: ProjectionDefinition) -> None:
    for part in definition.key:
        if part.type.kind in (Kind.FLOAT, Kind.LIST, Kind.LAST, Kind.BUCKETS, Kind.RECORD):
            raise DefinitionError(
                f"{definition.qualname}: key part {part.name} is a {part.type.kind}",
                hint="a key is of ints, texts, dates, Decimals, enums, ...",
            )
    if not definition.merged:
        for handler in definition.handlers:
            if handler.key[0].scope != "aggregate_id":
                raise _at(handler, "aggregate_id of the key is the event's own", "leave it out of the handler's key")
        return
    if definition.merge is None:
        parts = ", ".join(f'"{p.name}"' for p in definition.key if p.name != "aggregate_id")
        raise DefinitionError(
            f"{definition.qualname}: its key does not begin with aggregate_id, so a row has parts in many partitions",
            hint=f'write def merge(self, other) that adds up two parts, or key=("aggregate_id", {parts})',
        )
    if not definition.merge_floats:
        for f in definition.fields:
            if any(t.kind is Kind.FLOAT for t in f.type.walk()):
                raise DefinitionError(
                    f"{definition.qualname}.{f.name} is a float, whose sum depends on the order of merging",
                    hint="use int or Decimal, or accept other last digits: class X(Projection, merge_floats=True, ...)",
                )
