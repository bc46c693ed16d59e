"""Keys: where each handler takes each key part from, and that all handlers agree on its type."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from runner.definition import KeyPart, KeySource
from runner.errors import DefinitionError
from runner.events import HEADER, Event, EventField
from runner.field_types import FieldType, Unsupported, field_type
from runner.values import Kind, ValueType

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


def handler_key(key: Sequence[str], marked: Marked, functions: Mapping[str, Callable[..., Any]]) -> tuple[KeySource, ...]:
    """One handler's source of every key part."""
    return tuple(_source(marked.key.get(part_name(p), p), part_name(p), marked, functions) for p in key)


def _source(wanted: str, part: str, marked: Marked, functions: Mapping[str, Callable[..., Any]]) -> KeySource:
    if wanted == "aggregate_id":
        return KeySource("aggregate_id", "aggregate_id")
    if wanted in functions:
        function = functions[wanted]
        return KeySource("function", wanted, function, function.__code__.co_argcount > 1)
    name = part_name(wanted)
    if name in _element_fields(marked):
        return KeySource("element", name)
    if marked.event.__event__.field(name) is not None and "." not in wanted:
        return KeySource("event", name)
    if name in HEADER and "." not in wanted:
        return KeySource("header", name)
    raise DefinitionError(
        f"key part {part!r}: {marked.event.__name__} has no field {wanted!r}",
        hint=f'name a field of it in the handler, @on({marked.event.__name__}, key={{"{part}": "..."}}), or write @key def {part}(e) -> ...',
    )


def _element_fields(marked: Marked) -> dict[str, ValueType]:
    listed = marked.event.__event__.field(marked.each) if marked.each else None
    if listed is None or listed.type.element is None:
        return {}
    return {f.name: f.type for f in listed.type.element.fields}


def key_column(part: str, sources: Sequence[KeySource], marked: Sequence[Marked]) -> KeyPart:
    """The column of a key part, of the one type that all handlers give it."""
    name = part_name(part)
    types = [_type_of(s, m) for s, m in zip(sources, marked, strict=True)]
    if not types:
        return KeyPart(name, HEADER.get(name, ValueType(Kind.STR)))
    first = types[0]
    for other in types[1:]:
        if other.type != first.type:
            raise DefinitionError(f"key part {name!r} is {first.type.kind} in one handler and {other.type.kind} in another")
    return KeyPart(name, first.type, first.enums)


def _type_of(source: KeySource, marked: Marked) -> FieldType:
    if source.scope in ("aggregate_id", "header"):
        return FieldType(HEADER[source.name])
    if source.scope == "function":
        assert source.function is not None
        try:
            return field_type(typing.get_type_hints(source.function, include_extras=True)["return"])
        except (KeyError, Unsupported) as error:
            raise DefinitionError(f"@key {source.name}: its type is not known ({error})", hint=f"write def {source.name}(e) -> date") from None
    found: EventField | None = marked.event.__event__.field(marked.each if source.scope == "element" else source.name)
    assert found is not None
    if source.scope == "event":
        return FieldType(found.type, dict(found.enums))
    return FieldType(_element_fields(marked)[source.name], dict(found.enums))
