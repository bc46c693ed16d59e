"""``runner init --preset custom --table NAME``: a mapping for a table that is no known store's, guessed from its rows
and its catalog; to be read and corrected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.cli.mapping import guess_mapping
from runner.cli.shapes import ValueShape
from runner.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from runner.cli.mapping import GuessedMapping
    from runner.sources.postgres.sample_rows import TableSample

__all__ = ["custom_keys"]


def custom_keys(sample: TableSample) -> dict[str, Any]:
    """The keys of [sources.NAME] but where the server is. Raises ConfigError for what cannot be told."""
    name = f"{sample.schema}.{sample.table}"
    if not sample.records:
        raise SourceError(f"{name} has no events to learn from")
    shape = ValueShape()
    # What orders the rows is neither their stream nor their version.
    records = [{k: v for k, v in record.items() if k not in sample.position} for record in sample.records]
    for record in records:
        shape.add(record)
    mapping = guess_mapping(records, shape)
    if None in (mapping.type, mapping.aggregate_id):
        inside = guess_mapping(records, shape, in_payload=True)
        mapping = inside if inside.type is not None else mapping
    payload = ".".join(mapping.payload) if mapping.payload else next(iter(sample.documents), "")
    position = sample.position or mapping.position or ()
    stream, version = _stream(sample, mapping)
    found = {
        "schema": sample.schema,
        "table": sample.table,
        "position": _one(position),
        "aggregate_id": _one(stream),
        "version": version,
        "type": ".".join(mapping.type) if mapping.type else "",
        "recorded_at": _time(mapping),
        "payload": payload,
        "tail": sample.tail,
    }
    lacking = [key for key in ("position", "aggregate_id", "type", "payload") if not found[key]]
    if lacking:
        raise ConfigError(
            f"which columns of {name} hold {', '.join(lacking)} cannot be told",
            hint='write [sources.NAME] with preset = "custom" into runner.toml: the README shows its keys',
        )
    return {key: value for key, value in found.items() if value}


def _stream(sample: TableSample, mapping: GuessedMapping) -> tuple[tuple[str, ...], str]:
    """(the stream's columns, the version): as a unique key has them together, else as their names and values say."""
    named = ".".join(mapping.version) if mapping.version else ""
    for key in sample.keys:
        numbers = [name for name in key if name in sample.numbers]
        version = named if named in numbers else numbers[0] if len(numbers) == 1 else ""
        if version:
            return tuple(name for name in key if name != version), version
    return ((".".join(mapping.aggregate_id),) if mapping.aggregate_id else ()), named


def _one(columns: tuple[str, ...]) -> str | list[str]:
    return columns[0] if len(columns) == 1 else list(columns)


def _time(mapping: GuessedMapping) -> Any:
    if mapping.recorded_at is None:
        return ""
    path = ".".join(mapping.recorded_at)
    plain = mapping.time_kind in ("datetime", "naive", "date", "")
    return path if plain else {"path": path, "format": mapping.time_kind}
