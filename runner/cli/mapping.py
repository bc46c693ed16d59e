"""Where in a record the aggregate's id, the type, the time and the payload seem to be: guessed from names and values.

Names settle most; values are the check (an id repeats, a version counts up inside its aggregate, a time parses).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from runner.cli.shapes import ValueShape, leaves
from runner.config import parse_path
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["GuessedMapping", "guess_mapping", "value_at", "with_paths"]

Path = tuple[str, ...]

MOST_TYPES = 500
"""More distinct texts than this are no event types."""

_TYPE = (
    "type",
    "event_type",
    "eventtype",
    "event_name",
    "event",
    "name",
    "kind",
    "message_type",
    "activity",
    "concept:name",
)
_AGGREGATE = (
    "aggregate_id",
    "aggregateid",
    "aggregate",
    "stream_id",
    "streamid",
    "stream_name",
    "stream",
    "originator_id",
    "aggregate_uuid",
    "aggregate_identifier",
    "entity_id",
    "case",
    "case_id",
    "case:concept:name",
    "subject",
    "key",
)
_TIME = (
    "recorded_at",
    "recorded",
    "occurred_at",
    "created_at",
    "timestamp",
    "time",
    "time:timestamp",
    "date",
    "created",
    "at",
    "ts",
    "datetime",
)
_VERSION = (
    "version",
    "aggregate_version",
    "event_version",
    "stream_version",
    "stream_position",
    "originator_version",
    "revision",
    "sequence_number",
    "ver",
    "rev",
)
_POSITION = (
    "position",
    "global_position",
    "global_sequence",
    "globalposition",
    "seq",
    "sequence",
    "offset",
    "id",
    "event_id",
)
_PAYLOAD = (
    "data",
    "payload",
    "body",
    "event_data",
    "event_properties",
    "message_data",
    "state",
    "attributes",
    "content",
)
_IDS = (
    "account_id",
    "account",
    "order_id",
    "order",
    "customer_id",
    "customer",
    "user_id",
    "user",
    "file",
    "path",
    "repo.name",
)


@dataclass(frozen=True)
class GuessedMapping:
    """Paths into a record; None where nothing fits. ``payload`` None: the record itself is the payload."""

    aggregate_id: Path | None
    type: Path | None
    recorded_at: Path | None
    version: Path | None
    position: Path | None
    payload: Path | None
    payload_is_text: bool = False
    """The payload is JSON inside a string."""
    time_kind: str = ""
    """What recorded_at looks like: "datetime", "naive", "date", "epoch", "epoch_ms", a strptime format, or ""."""


def value_at(record: object, path: Path) -> Any:
    """The value at a path, None where there is none."""
    for name in path:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return record


def guess_mapping(records: Sequence[dict[str, Any]], shape: ValueShape, *, in_payload: bool = False) -> GuessedMapping:
    """Guess from a sample and its shape (of all records). in_payload: the payload may hold type, id and time too."""
    payload = _named(shape, _PAYLOAD, lambda s: s.kinds["object"] > 0 or _json_texts(s))
    payload_name = payload[0] if payload else None
    found = {
        path: inner
        for path, inner, _ in leaves(shape)
        if (in_payload or path[0] != payload_name)
        and inner.seen > 0.9 * shape.seen
        and inner.kinds["list"] == 0
        and len(path) <= 2
    }
    total = shape.seen
    type_path = _pick(found, _TYPE[:3], lambda s: s.kinds["str"] > 0 and len(s.distinct) <= MOST_TYPES)
    type_path = type_path or _pick(
        found, _TYPE, lambda s: s.kinds["str"] > 0 and len(s.distinct) <= min(MOST_TYPES, max(3, total // 2))
    )
    version = _pick(found, _VERSION, _is_integer)
    position = _pick(found, _POSITION, lambda s: _is_integer(s) and len(s.distinct) >= min(total, 1_000), exact=True)
    position = position if position and _ascends(records, position) else None
    time = _pick(found, _TIME, lambda s: bool(_time_kind(s)))
    if time is None:
        time = next((p for p, s in found.items() if s.texts["datetime"] or s.texts["naive"]), None)
    taken = {type_path, version, position, time}
    aggregate = _aggregate({p: s for p, s in found.items() if p not in taken}, records, version)
    return GuessedMapping(
        aggregate,
        type_path,
        time,
        version,
        position,
        payload,
        payload_is_text=payload is not None and shape.fields[payload[0]].kinds["str"] > 0,
        time_kind=_time_kind(found[time]) if time else "",
    )


def with_paths(mapping: GuessedMapping, shape: ValueShape, asked: Mapping[str, str]) -> GuessedMapping:
    """The mapping with paths that the user knows better. Raises ConfigError for one that no record has."""
    for name, text in asked.items():
        path = parse_path(text)
        at = shape
        for key in path:
            if key not in at.fields:
                raise ConfigError(f"no sampled record has {text}", hint=f"there are {', '.join(at.fields)}")
            at = at.fields[key]
        if name == "payload":
            mapping = replace(mapping, payload=path, payload_is_text=at.kinds["str"] > 0)
        elif name == "recorded_at":
            mapping = replace(mapping, recorded_at=path, time_kind=_time_kind(at))
        elif name == "type":
            mapping = replace(mapping, type=path)
        else:
            mapping = replace(mapping, aggregate_id=path)
    return mapping


def _named(shape: ValueShape, names: Sequence[str], fits: Callable[[ValueShape], bool]) -> Path | None:
    by_name = {_plain(name): name for name in shape.fields}
    for name in names:
        actual = by_name.get(_plain(name))
        if actual is not None and fits(shape.fields[actual]):
            return (actual,)
    return None


def _pick(
    found: dict[Path, ValueShape], names: Sequence[str], fits: Callable[[ValueShape], bool], *, exact: bool = False
) -> Path | None:
    """The first path whose whole or last name is wanted and whose values fit; top-level names first."""
    by_depth = sorted(found, key=len)
    for name in names:
        for path in by_depth:
            whole = _plain(".".join(path))
            hit = whole == _plain(name) if exact else _plain(name) in (whole, _plain(path[-1]))
            if hit and fits(found[path]):
                return path
    return None


def _plain(name: str) -> str:
    """eventType, EventType, event_type."""
    return name.lower().replace("_", "")


def _json_texts(shape: ValueShape) -> bool:
    return isinstance(shape.example, str) and shape.example[:1] == "{" and shape.example[-1:] == "}"


def _is_integer(shape: ValueShape) -> bool:
    return shape.values > 0 and shape.kinds["int"] + (shape.texts["number"] if not shape.scale else 0) == shape.values


def _time_kind(shape: ValueShape) -> str:
    if shape.values == 0:
        return ""
    for kind in ("datetime", "naive", "date"):
        if shape.texts[kind] == shape.values:
            return kind
    if shape.texts["datetime"] + shape.texts["naive"] == shape.values and shape.texts["naive"]:
        return "naive"
    if _is_integer(shape) or shape.kinds["float"]:
        number = abs(float(str(shape.example)))
        if 1e8 < number < 1e10:
            return "epoch"
        if 1e11 < number < 1e13:
            return "epoch_ms"
        if shape.texts["number"] and all(_yymmdd(str(v)) for v in list(shape.distinct)[:200]):
            return "%y%m%d"
    return ""


def _yymmdd(text: str) -> bool:
    return len(text) == 6 and text.isdigit() and 1 <= int(text[2:4]) <= 12 and 1 <= int(text[4:]) <= 31


def _ascends(records: Sequence[dict[str, Any]], path: Path) -> bool:
    values = [value_at(record, path) for record in records]
    try:
        numbers = [int(v) for v in values]
    except (TypeError, ValueError):
        return False
    return all(a < b for a, b in pairwise(numbers))


def _aggregate(found: dict[Path, ValueShape], records: Sequence[dict[str, Any]], version: Path | None) -> Path | None:
    usable = {p: s for p, s in found.items() if s.kinds["str"] + s.kinds["int"] == s.values and s.values}
    named = _pick(usable, _AGGREGATE + _IDS, lambda s: len(s.distinct) > 1 and not s.distinct & {"", 0})
    if named is not None:
        return named
    candidates = [p for p, s in usable.items() if len(s.distinct) > 1 and not _time_kind(s)]
    if version is not None:
        for path in candidates:
            if _counts_up(records, path, version):
                return path
    # An id repeats, but it is not one of a few words.
    ids = [p for p in candidates if p[-1].lower().endswith(("id", "uuid", "key", "name"))]
    repeating = [p for p in ids or candidates if len(usable[p].distinct) < 0.9 * usable[p].values]
    return max(repeating, key=lambda p: len(usable[p].distinct), default=None)


def _counts_up(records: Sequence[dict[str, Any]], aggregate: Path, version: Path) -> bool:
    last: dict[object, int] = defaultdict(lambda: -(2**62))
    for record in records:
        name, number = value_at(record, aggregate), value_at(record, version)
        if not isinstance(number, int) or number <= last[name]:
            return False
        last[name] = number
    return True
