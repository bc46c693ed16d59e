"""One record to one event, read plainly: the twin of ``arrange``, which also gives the reason why a record is no
event.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.config.mapping import FieldMapping, Part, path_text
from runner.payload.coercion import parse_coercion
from runner.payload.scalars import Number, Unfit, parse, stored_value
from runner.values import Kind, Path, ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.config.model import SourceConfig

__all__ = ["PlainEvent", "parse_line", "plain_event", "plain_payload", "raw_member"]


MOST_KEYS = 20
"""How many keys of a record a reason names."""


@dataclass(frozen=True)
class PlainEvent:
    """An event without its payload. recorded_at: µs since 1970 UTC."""

    tenant: str
    aggregate_id: str
    version: int | None
    type: str
    recorded_at: int | None
    position: int | None


def parse_line(line: bytes, encoding: str = "utf-8") -> Any:
    """The JSON object of a line. Raises Unfit with the reason."""
    if b"\0" in line:
        raise Unfit("the line holds NUL bytes, as a torn write leaves them")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Unfit(f"byte {error.start + 1} of the line is not text in {encoding}") from None
    try:
        record = parse(text)
    except ValueError as error:
        raise Unfit(f"the line is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise Unfit("the line is JSON, but not an object")
    return record


def plain_event(record: Mapping[str, Any], source: SourceConfig, *, table: bool = False) -> PlainEvent:
    """The event that a record says. table: keys are columns, whose names may hold dots. Raises Unfit."""
    time = source.recorded_at
    return PlainEvent(
        tenant="" if source.tenant is None else _text(record, source.tenant, "tenant", table),
        aggregate_id=_text(record, source.aggregate_id, "aggregate_id", table),
        version=_number(record, source.version, "version", table, least=0),
        type=_text(record, source.type, "type", table),
        recorded_at=None if time is None else _time(record, time.field, time.coerce, table),
        position=_number(record, source.position, "position", table, least=-(2**62)),
    )


def _value(record: Mapping[str, Any], path: Path, table: bool) -> Any:
    if table and (name := ".".join(path)) in record:
        return record[name]
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _part(record: Mapping[str, Any], part: Part, name: str, table: bool) -> Any:
    if part.constant is not None:
        return part.constant
    for path in part.paths:
        value = _value(record, path, table)
        if value is not None and not (part.optional and value == ""):
            return value
    if part.optional:
        return None
    raise Unfit(f"{name}: {lacking(record, part.paths, table)}")


def lacking(record: Mapping[str, Any], paths: Sequence[Path], table: bool = False) -> str:
    """That a record has none of these paths, with the keys that are there instead and the nearest of them."""
    said = f"there is no {' or '.join(map(path_text, paths))}"
    path, inner, depth = paths[0], record, 0
    if not (table and ".".join(path) in record):
        while depth < len(path) - 1 and isinstance(inner.get(path[depth]), dict):
            inner, depth = inner[path[depth]], depth + 1
    else:
        path = (".".join(path),)
    here, place = path_text(path[:depth]) or "the record", path_text(path[: depth + 1])
    if path[depth] in inner:
        found, nothing = inner[path[depth]], "empty" if table else "null"
        return f"{said}, {place} is {nothing if found is None else 'no object'}"
    if not inner:
        return f"{said}, {here} has no keys"
    close = difflib.get_close_matches(path[depth], inner, 1, 0.6)
    near = f" (did you mean {path_text((*path[:depth], close[0], *path[depth + 1 :]))}?)" if close else ""
    shown = [path_text((key,)) for key in list(inner)[:MOST_KEYS]]
    more = f" and {len(inner) - MOST_KEYS} more" if len(inner) > MOST_KEYS else ""
    return f"{said}{near}; {here} has {', '.join(shown)}{more}"


def _text(record: Mapping[str, Any], mapping: FieldMapping, name: str, table: bool) -> str:
    texts = []
    for part in mapping.parts:
        value = _part(record, part, name, table)
        if isinstance(value, Number) and not any(sign in value.text for sign in ".eE"):
            value = value.text
        if value is None:
            continue
        if not isinstance(value, str):
            shown = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else value
            raise Unfit(f"{name}: {part} is {shown}, neither a string nor an integer")
        if value == "" and part.constant is None:
            raise Unfit(f"{name}: {part} is empty")
        texts.append(value)
    text = mapping.separator.join(texts)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit(f"{name} holds half of a surrogate pair, which is not text") from None
    if text == "" and name != "tenant":
        raise Unfit(f"{name} is empty")
    if "\0" in text:
        raise Unfit(f"{name} holds a NUL character")
    if name == "tenant" and "\x1f" in text:
        raise Unfit("tenant holds the unit separator (U+001F)")
    return text


def _number(
    record: Mapping[str, Any], mapping: FieldMapping | None, name: str, table: bool, *, least: int
) -> int | None:
    if mapping is None:
        return None
    value = _part(record, mapping.parts[0], name, table)
    if value is None:
        return None
    try:
        number = int(stored_value(value, ValueType(Kind.INT), parse_coercion("number")))
    except Unfit as error:
        raise Unfit(f"{name}: {error}") from None
    if number < least:
        raise Unfit(f"{name}: {number} is too low")
    return number


def _time(record: Mapping[str, Any], mapping: FieldMapping, coerce: str, table: bool) -> int | None:
    values = [_part(record, part, "recorded_at", table) for part in mapping.parts]
    there = [v for v in values if v is not None]
    if not there:
        return None
    if len(mapping.parts) == 1:
        value = there[0]
    else:
        texts = [v.text if isinstance(v, Number) and not any(s in v.text for s in ".eE") else v for v in there]
        if not all(isinstance(t, str) for t in texts):
            raise Unfit("recorded_at: a part of it is neither a string nor an integer")
        value = mapping.separator.join(texts)
    try:
        return int(stored_value(value, ValueType(Kind.DATETIME), parse_coercion(coerce)))
    except Unfit as error:
        raise Unfit(f"recorded_at: {error}") from None


# Payload --------------------------------------------------------------------------------------------------------------


def plain_payload(line: bytes, source: SourceConfig) -> str:
    """The payload of a JSON line that ``parse_line`` takes: the text of an object as it is written. Raises Unfit."""
    text = line.decode().strip(" \t\r\n")
    if not source.payload.paths:
        return text
    raw = None
    for path in source.payload.paths:
        raw = text
        for key in path:
            raw = None if raw is None else raw_member(raw, key)
        if raw is not None:
            break
    if raw is None:
        if source.payload.optional:
            return "{}"
        raise Unfit(f"payload: {lacking(parse(text), source.payload.paths)}")
    return payload_text(raw)


def payload_text(raw: str) -> str:
    """The payload that a JSON value stands for. Raises Unfit."""
    value = parse(raw)
    if value is None:
        return "{}"
    if isinstance(value, str):
        raw = value.strip(" \t\r\n")
        try:
            raw.encode()
            value = parse(raw)
        except ValueError as error:
            raise Unfit(f"payload: the string is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unfit(f"payload: {raw[:60]} is not an object")
    return raw


def raw_member(text: str, wanted: str) -> str | None:
    """The text of an object's member as it is written, the last of that key; None: no such member, or no object."""
    space = " \t\r\n"
    if not text.startswith("{"):
        return None
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    found = None
    i = 1
    while True:
        while text[i] in space or text[i] == ",":
            i += 1
        if text[i] == "}":
            return found
        key, i = decoder.raw_decode(text, i)
        while text[i] in space or text[i] == ":":
            i += 1
        start = i
        _, i = decoder.raw_decode(text, i)
        if key == wanted:
            found = text[start:i]
