"""[sources.NAME] with a ``preset``: which event store in Postgres is read, and what of it. Where it is and who reads it
stands in the connection's settings.

Mappings are written as those of files (``mapping``); their paths begin with a column: ``type = "data.type"`` is the key
``type`` in the JSON of column ``data``. A column whose name holds a dot stands in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path as Directory
from typing import TYPE_CHECKING, Any, Literal

from runner.config.sources import read_field, read_path, read_time
from runner.config.table import Table

if TYPE_CHECKING:
    from runner.config.mapping import FieldMapping, TimeMapping
    from runner.values import Path

__all__ = ["STORE_SETTINGS", "TAILS", "Limits", "StoreConfig", "read_store"]

STORES = (
    *("marten", "message-db", "eventsourcing", "eventsourcing-dcb", "emmett", "spatie", "axon", "commanded"),
    *("rails-event-store", "eventuous", "custom"),
)
TAILS = ("xid", "gaps", "sessions", "serialised", "time")
"""xid: a column holds the writing transaction. gaps: the INSERT draws the position from a sequence. sessions: it does,
and sessions keep blocks of it. serialised: a writer waits until the one before it has committed. time: none of these; a
gap is passed by after a while."""
ENCODINGS = ("auto", "json", "zlib", "gzip", "hook")
STORE_SETTINGS = (
    *("preset", "schema", "schemas", "table", "query", "aggregate_id", "type", "version", "recorded_at", "position"),
    *("tenant", "payload", "separator", "aggregates", "streams", "types", "archived", "commands", "tail", "decode"),
    *("on_bad_line", "max_connections", "max_rows_per_second", "statement_timeout", "max_replica_lag", "namespace"),
    *("max_replica_wait", "notify_channel"),
)


@dataclass(frozen=True)
class Limits:
    """What protects the server. Rows a second and seconds of lag: 0 is no limit. replica_wait_seconds: for how long
    reading waits for a standby that is further behind.
    """

    connections: int = 2
    rows_per_second: int = 0
    statement_seconds: float = 3600.0
    replica_lag_seconds: float = 0.0
    replica_wait_seconds: float = 600.0


@dataclass(frozen=True)
class TailSettings:
    """How the newest rows are known to be whole. rule: of TAILS, "" is the preset's. Times in seconds.

    grace: how old a gap must be to be passed by time. window: how long it is asked for again. sequence: that the
    position is drawn from, where the column's default does not tell.
    """

    rule: str = ""
    grace: float = 10.0
    window: float = 7 * 86_400.0
    sequence: str = ""


@dataclass(frozen=True)
class StoreConfig:
    """What of a store is read. Mappings that are None are the preset's own.

    schemas: names, or patterns with ``*``, each a tenant. aggregates: of a store whose events have tags, the prefixes
    of those that are aggregates. streams, types: patterns of what is read; () is all. position: one or two columns.
    channels: on which the store or a trigger notifies; () is the preset's.
    """

    preset: str
    schemas: tuple[str, ...] = ()
    tenants_by_schema: bool = False
    table: str = ""
    query: str = ""
    aggregate_id: FieldMapping | None = None
    type: FieldMapping | None = None
    version: FieldMapping | None = None
    recorded_at: TimeMapping | None = None
    tenant: FieldMapping | None = None
    position: tuple[str, ...] = ()
    payload: Path = ()
    payload_optional: bool = False
    encoding: Literal["auto", "json", "zlib", "gzip", "hook"] = "auto"
    aggregates: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    archived: bool = False
    commands: bool = False
    tail: TailSettings = TailSettings()
    decode: str = ""
    channels: tuple[str, ...] = ()
    on_bad_line: Literal["stop", "reject"] = "stop"
    limits: Limits = Limits()
    root: Directory = Directory()
    """The directory of runner.toml, where the module of ``decode`` may lie."""


def read_store(table: Table, root: Directory) -> StoreConfig:
    """The keys of a store, taken from its table. Raises ConfigError."""
    preset = table.choice("preset", "", STORES)
    custom = preset == "custom"
    separator = table.text("separator", "/")
    schemas, by_schema = _schemas(table)
    name, query = table.text("table"), table.text("query")
    if query.rstrip().endswith(";"):
        query = query.rstrip().rstrip(";")
    if query and not custom:
        raise table.wrong("query", f'goes with preset = "custom", not with {preset!r}')
    if custom and bool(name) == bool(query):
        raise table.wrong("table", "is missing" if not name else "and query are both set", "write one of table, query")
    if query and by_schema:
        raise table.wrong("schemas", "goes with table, not with query", "write one source for each query")
    payload, optional, encoding = _payload(table, custom)
    made = StoreConfig(
        preset=preset,
        schemas=schemas,
        tenants_by_schema=by_schema,
        table=name,
        query=query,
        aggregate_id=read_field(table, "aggregate_id", separator, required=custom),
        type=read_field(table, "type", separator, required=custom),
        version=_one(table, "version", separator),
        recorded_at=read_time(table, separator),
        tenant=read_field(table, "tenant", separator),
        position=_position(table, custom),
        payload=payload,
        payload_optional=optional,
        encoding=encoding,
        aggregates=table.texts("aggregates"),
        streams=table.texts("streams"),
        types=table.texts("types"),
        archived=table.flag("archived"),
        commands=table.flag("commands"),
        tail=_tail(table),
        decode=_hook(table),
        channels=table.texts("notify_channel"),
        on_bad_line=table.choice("on_bad_line", "stop", ("stop", "reject")),
        limits=_limits(table),
        root=root,
    )
    if made.aggregates and preset != "eventsourcing-dcb":
        raise table.wrong("aggregates", "goes with a store whose events have tags", "streams takes patterns of streams")
    if custom and not made.tail.rule:
        raise table.wrong("tail", "is missing", f"write one of {', '.join(TAILS)}: how the newest rows are known whole")
    if made.tail.rule == "xid" and custom and len(made.position) != 2:
        raise table.wrong("position", "takes the transaction's column and the position's", 'tail = "xid" needs both')
    if encoding == "hook" and not made.decode:
        raise table.wrong("decode", "is missing", 'encoding = "hook" needs decode = "module:function"')
    return made


def _schemas(table: Table) -> tuple[tuple[str, ...], bool]:
    """(names and patterns, whether each is a tenant)."""
    if table.has("schema") and table.has("schemas"):
        raise table.wrong("schema", "and schemas are both set", "schemas is for a schema for each tenant")
    if table.has("schema"):
        return (table.text("schema"),), False
    found = table.texts("schemas")
    return found, bool(found)


def _one(table: Table, key: str, separator: str) -> FieldMapping | None:
    found = read_field(table, key, separator)
    if found is not None and (len(found.parts) > 1 or found.constant is not None):
        raise table.wrong(key, "takes one path: it is a number")
    return found


def _position(table: Table, custom: bool) -> tuple[str, ...]:
    found = table.texts("position")
    if custom and not found:
        raise table.wrong("position", "is missing", 'write position = "id", or two columns that order the rows')
    if len(found) > 2:
        raise table.wrong("position", f"takes one column or two, not {len(found)}")
    return found


def _payload(table: Table, custom: bool) -> tuple[Path, bool, Any]:
    value = table.take("payload")
    if value is None:
        if custom:
            raise table.wrong("payload", "is missing", 'write payload = "data", the column that holds the JSON')
        return (), False, "auto"
    if isinstance(value, str):
        return read_path(table, "payload", value), False, "auto"
    inner = Table(table.file, f"{table.where}.payload", value)
    inner.only("column", "path", "optional", "encoding")
    key = "column" if inner.has("column") else "path"
    path = read_path(table, "payload", inner.take(key)) if inner.has(key) else ()
    encoding = inner.choice("encoding", "auto", ENCODINGS)
    optional = inner.flag("optional")
    inner.done()
    if custom and not path:
        raise table.wrong("payload.column", "is missing")
    return path, optional, encoding


def _tail(table: Table) -> TailSettings:
    value = table.take("tail", "")
    inner = Table(table.file, f"{table.where}.tail", {"rule": value} if isinstance(value, str) else value)
    inner.only("rule", "grace", "window", "sequence")
    made = TailSettings(
        inner.choice("rule", "", ("", *TAILS)),
        inner.seconds("grace", TailSettings.grace),
        inner.seconds("window", TailSettings.window),
        inner.text("sequence"),
    )
    inner.done()
    return made


def _hook(table: Table) -> str:
    text = table.text("decode")
    if text and not re.fullmatch(r"[\w.]+:\w+", text):
        raise table.wrong("decode", f"is {text!r}", 'write "module:function", called with the type and the bytes')
    return text


def _limits(table: Table) -> Limits:
    return Limits(
        table.number("max_connections", Limits.connections, 1),
        table.number("max_rows_per_second", 0),
        table.seconds("statement_timeout", Limits.statement_seconds),
        table.seconds("max_replica_lag", 0.0),
        table.seconds("max_replica_wait", Limits.replica_wait_seconds),
    )
