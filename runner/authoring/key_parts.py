"""Keys: where each handler takes each key part from, and that all handlers agree on its type."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any, Protocol

from runner.authoring.definition import KeyPart, KeySource
from runner.authoring.events import HEADER, Event
from runner.authoring.field_types import FieldType, Unsupported, field_type
from runner.errors import DefinitionError
from runner.values import Kind, ValueType

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FunctionType

__all__ = ["Marked", "handler_key", "key_column", "part_name"]


class Marked(Protocol):
    """What ``@on`` notes."""

    @property
    def event(self) -> type[Event]: ...
    @property
    def each(self) -> str: ...
    @property
    def key(self) -> Mapping[str, str]: ...


def part_name(part: str) -> str:
    """The column of a key part: "line.sku" names the column "sku"."""
    return part.rpartition(".")[2]


def handler_key(
    key: Sequence[str],
    handler: str,
    function: FunctionType,
    marked: Marked,
    functions: Mapping[str, Callable[..., Any]],
) -> tuple[KeySource, ...]:
    """One handler's source of every key part. Raises DefinitionError at the handler's line."""
    names = [part_name(p) for p in key]
    try:
        _check_override(marked.key, names)
        return tuple(
            _source(marked.key.get(name, p), name, marked, functions) for name, p in zip(names, key, strict=True)
        )
    except DefinitionError as error:
        error.file, error.line, error.handler = function.__code__.co_filename, function.__code__.co_firstlineno, handler
        raise


def _check_override(override: Mapping[str, str], names: Sequence[str]) -> None:
    for name in override:
        if name not in names:
            raise DefinitionError(
                f"key={{{name!r}: ...}} names no key part", hint=f"the key parts are {', '.join(names)}"
            )


def _source(wanted: str, part: str, marked: Marked, functions: Mapping[str, Callable[..., Any]]) -> KeySource:
    if wanted == "aggregate_id":
        return KeySource("aggregate_id", "aggregate_id")
    if wanted in functions:
        function = functions[wanted]
        return KeySource("function", wanted, function, function.__code__.co_argcount > 1)
    name, dotted = part_name(wanted), "." in wanted
    listed = marked.event.__event__.field(marked.each) if marked.each else None
    if name in _element_fields(marked):
        return KeySource("element", name)
    if dotted and listed is not None and listed.type.element is not None and not listed.type.element.fields:
        return KeySource("element", "")
    if marked.event.__event__.field(name) is not None and not dotted:
        return KeySource("event", name)
    if name in HEADER and not dotted:
        return KeySource("header", name)
    override = f'@on({marked.event.__name__}, key={{"{part}": "..."}})'
    raise DefinitionError(
        f"key part {part!r}: {marked.event.__name__} has no field {wanted!r}",
        hint=f"name another field of it, {override}, or write @key def {part}(e) -> ...",
    )


def _element_fields(marked: Marked) -> dict[str, ValueType]:
    listed = marked.event.__event__.field(marked.each) if marked.each else None
    if listed is None or listed.type.element is None:
        return {}
    return {f.name: f.type for f in listed.type.element.fields}


def key_column(
    part: str, sources: Sequence[KeySource], marked: Sequence[Marked], functions: Mapping[str, Callable[..., Any]]
) -> KeyPart:
    """The column of a key part, of the one type that all handlers give it."""
    name = part_name(part)
    if not sources:  # a base class without handlers
        return KeyPart(name, HEADER.get(name, ValueType(Kind.STR)))
    types = [_type_of(s, m) for s, m in zip(sources, marked, strict=True)]
    first = types[0]
    for other, m in zip(types, marked, strict=True):
        if other.type != first.type:
            one, two = marked[0].event.__name__, m.event.__name__
            raise DefinitionError(
                f"key part {name!r} is {_shown(first.type)} of {one} and {_shown(other.type)} of {two}",
                hint=f"give both the same type, or write @key def {name}(e) -> ...",
            )
    return KeyPart(name, first.type, first.enums)


def _shown(type_: ValueType) -> str:
    scale = f" with {type_.scale} digits" if type_.kind is Kind.DECIMAL else ""
    return f"{type_.kind}{scale}{' or None' if type_.optional else ''}"


def _type_of(source: KeySource, marked: Marked) -> FieldType:
    if source.scope in ("aggregate_id", "header"):
        return FieldType(HEADER[source.name])
    if source.scope == "function":
        assert source.function is not None
        return _returned(source.name, source.function)
    found = marked.event.__event__.field(marked.each if source.scope == "element" else source.name)
    assert found is not None
    if source.scope == "event":
        return FieldType(_plain_type(found.type), dict(found.enums))
    element = found.type.element
    assert element is not None
    return FieldType(_plain_type(_element_fields(marked)[source.name] if source.name else element), dict(found.enums))


def _plain_type(type_: ValueType) -> ValueType:
    """A key holds the values as they are: the rounding rule of the field has done its work."""
    return replace(type_, rounding="")


def _returned(name: str, function: Callable[..., Any]) -> FieldType:
    code = function.__code__
    try:
        names = dict(zip(code.co_freevars, (c.cell_contents for c in function.__closure__ or ()), strict=False))
        found = field_type(typing.get_type_hints(function, localns=names or None, include_extras=True)["return"])
    except (KeyError, NameError, ValueError, Unsupported) as error:
        reason = "no return annotation" if isinstance(error, KeyError) else str(error)
        raise DefinitionError(
            f"@key {name}: {reason}",
            hint=f"write def {name}(e) -> date",
            file=code.co_filename,
            line=code.co_firstlineno,
        ) from None
    if found.type.kind is Kind.DECIMAL and found.type.scale < 0:
        raise DefinitionError(
            f"@key {name}: a Decimal needs a fixed scale",
            hint=f"write def {name}(e) -> Annotated[Decimal, Scale(2)]",
            file=code.co_filename,
            line=code.co_firstlineno,
        )
    return found
