"""[sources.NAME] of runner.toml read into a ``SourceConfig``."""

from __future__ import annotations

import codecs
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from runner.config.file_formats import FORMATS, format_of
from runner.config.mapping import FieldMapping, Part, PayloadMapping, TimeMapping, parse_path
from runner.config.model import CsvConfig, SourceConfig
from runner.config.table import Table

if TYPE_CHECKING:
    from runner.values import Path as KeyPath

__all__ = ["read_field", "read_path", "read_source", "read_time"]

_SETTINGS = (
    *("files", "format", "compression", "encoding", "csv", "namespace", "aggregate_id", "type", "recorded_at"),
    *("version", "position", "tenant", "payload", "separator", "final", "on_bad_line", "gone_files"),
    *("copied_files", "verify"),
)
_EPOCHS = ("epoch", "epoch_ms", "epoch_us", "epoch_ns")


def read_source(name: str, table: Table, root: Path) -> SourceConfig:
    """Check one source's table. Raises ConfigError."""
    if not name or "\x1f" in name:
        raise table.wrong("", "has no usable name")
    table.only(*_SETTINGS)
    files = table.texts("files")
    if not files:
        raise table.wrong("files", "is missing", 'write files = "events.ndjson", a list, or a glob')
    separator = table.text("separator", "/")
    position, ascending = _position(table, separator)
    namespace = table.text("namespace") if table.has("namespace") else None
    if namespace is not None and "\x1f" in namespace:
        raise table.wrong("namespace", "holds the unit separator (U+001F)")
    source = SourceConfig(
        name=name,
        files=tuple(str(root / PurePath(f)) for f in files),
        aggregate_id=_field(table, "aggregate_id", separator, required=True),
        type=_field(table, "type", separator, required=True),
        recorded_at=_time(table, separator),
        version=_single(table, "version", separator),
        position=position,
        position_ascending=ascending,
        tenant=_field(table, "tenant", separator) if table.has("tenant") else None,
        payload=_payload(table),
        namespace=namespace,
        format=table.choice("format", _format_of(table, files), FORMATS),
        compression=table.choice("compression", "auto", ("auto", "none", "gzip", "zstd")),
        encoding=_encoding(table),
        csv=_csv(table.table("csv")),
        final=table.flag("final"),
        on_bad_line=table.choice("on_bad_line", "stop", ("stop", "reject")),
        gone_files=table.choice("gone_files", "stop", ("stop", "allow")),
        copied_files=table.choice("copied_files", "stop", ("stop", "allow")),
        verify=table.choice("verify", "full", ("full", "ends")),
        root=root,
    )
    table.done()
    if source.payload.columns and source.format == "ndjson":
        raise table.wrong("payload", "takes columns of CSV, Parquet and Arrow only", "name the path of an object")
    return source


def _format_of(table: Table, files: tuple[str, ...]) -> str:
    if table.has("format"):
        return "ndjson"
    found = format_of(files[0])
    if found is None:
        raise table.wrong("format", f"is missing, and {files[0]} does not tell", "write ndjson, csv, parquet or arrow")
    return found


def _encoding(table: Table) -> str:
    name = table.text("encoding", "utf-8")
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise table.wrong(
            "encoding", f"is {name!r}, which Python does not know", "utf-8, latin-1, cp1252 ..."
        ) from None


def _csv(table: Table) -> CsvConfig:
    made = CsvConfig(
        table.character("delimiter", ","),
        table.character("quote", '"', empty=True),
        table.character("escape", "", empty=True),
        table.flag("header", default=True),
        table.texts("columns"),
    )
    table.done()
    if made.columns and made.header:
        raise table.wrong("columns", "are for files without a header line", "add header = false, or leave them out")
    if not made.columns and not made.header:
        raise table.wrong("columns", "are missing: without a header line the columns have no names")
    if len(set(made.columns)) < len(made.columns):
        raise table.wrong("columns", "name one column twice")
    return made


# Fields ---------------------------------------------------------------------------------------------------------------


def read_field(table: Table, key: str, separator: str, *, required: bool = False) -> FieldMapping | None:
    """A field's mapping, None where it is not set. Raises ConfigError."""
    return _field(table, key, separator, required=required) if required or table.has(key) else None


def read_time(table: Table, separator: str) -> TimeMapping | None:
    """``recorded_at``, None where it is not set. Raises ConfigError."""
    return _time(table, separator)


def read_path(table: Table, key: str, text: Any) -> KeyPath:
    """The path that is written under a key. Raises ConfigError."""
    return _path(table, key, text)


def _path(table: Table, key: str, text: Any) -> KeyPath:
    if not isinstance(text, str) or not text:
        raise table.wrong(key, f'takes a path such as "repo.name", not {text!r}')
    try:
        return parse_path(text)
    except ValueError as error:
        raise table.wrong(key, f"is no path: {error}", 'a key that holds dots stands in quotes: data."a.b"') from None


def _paths(table: Table, key: str, inner: Table) -> tuple[KeyPath, ...]:
    if inner.has("path"):
        return (_path(table, key, inner.take("path")),)
    return tuple(_path(table, key, text) for text in inner.texts("paths"))


def _part(table: Table, key: str, value: Any, more: tuple[str, ...] = ()) -> Part:
    """more: settings of the same table that others have taken out of it."""
    if isinstance(value, str):
        return Part((_path(table, key, value),))
    inner = Table(table.file, f"{table.where}.{key}", value)
    inner.only("path", "paths", "constant", "optional", *more)
    constant = inner.text("constant") if inner.has("constant") else None
    paths = _paths(table, key, inner)
    optional = inner.flag("optional")
    inner.done()
    if (constant is None) == (not paths):
        raise table.wrong(key, "takes one of path, paths and constant")
    return Part(paths, constant, optional)


def _mapping(table: Table, key: str, value: Any, separator: str, more: tuple[str, ...] = ()) -> FieldMapping:
    if isinstance(value, list):
        value = {"parts": value}
    if isinstance(value, dict) and "parts" in value:
        inner = Table(table.file, f"{table.where}.{key}", value)
        inner.only("parts", "separator", *more)
        separator = inner.text("separator", separator)
        parts = inner.take("parts")
        inner.done()
        if not isinstance(parts, list) or not parts:
            raise table.wrong(key, f"takes a list of parts, not {parts!r}")
        return FieldMapping(tuple(_part(table, key, part) for part in parts), separator)
    return FieldMapping((_part(table, key, value, ("parts", "separator", *more)),), separator)


def _field(table: Table, key: str, separator: str, *, required: bool = False) -> FieldMapping:
    hint = f'write {key} = "path.in.the.record"'
    return _mapping(table, key, table.required(key, hint) if required else table.take(key), separator)


def _single(table: Table, key: str, separator: str) -> FieldMapping | None:
    if not table.has(key):
        return None
    found = _field(table, key, separator)
    if len(found.parts) > 1 or found.constant is not None:
        raise table.wrong(key, "takes one path: it is a number")
    return found


def _position(table: Table, separator: str) -> tuple[FieldMapping | None, bool]:
    ascending = False
    value = table.take("position")
    if value is None:
        return None, False
    if isinstance(value, dict) and "ascending" in value:
        inner = Table(table.file, f"{table.where}.position", {"ascending": value["ascending"]})
        ascending = inner.flag("ascending")
        value = {k: v for k, v in value.items() if k != "ascending"}
    found = _mapping(table, "position", value, separator, ("ascending",))
    if len(found.parts) > 1 or found.constant is not None or found.parts[0].optional:
        raise table.wrong("position", "takes one path that every record has: it is a number")
    return found, ascending


def _time(table: Table, separator: str) -> TimeMapping | None:
    value = table.take("recorded_at")
    if value is None:
        return None
    style = zone = ""
    if isinstance(value, dict):
        inner = Table(
            table.file, f"{table.where}.recorded_at", {k: v for k, v in value.items() if k in ("format", "zone")}
        )
        style, zone = inner.text("format"), inner.text("zone")
        value = {k: v for k, v in value.items() if k not in ("format", "zone")}
    if style and style != "iso" and style not in _EPOCHS and "%" not in style:
        raise table.wrong(
            "recorded_at.format", f"is {style!r}", 'write "iso", "epoch", "epoch_ms" or a strptime format'
        )
    if zone:
        table.check_zone("recorded_at.zone", zone)
        if style in _EPOCHS:
            raise table.wrong("recorded_at.zone", "does not go with an epoch, which counts from 1970 UTC")
    mapping = _mapping(table, "recorded_at", value, separator, ("format", "zone"))
    return TimeMapping(mapping, f"{style or 'iso'}@{zone}" if zone else style)


def _payload(table: Table) -> PayloadMapping:
    value = table.take("payload")
    if value is None:
        return PayloadMapping()
    if isinstance(value, str):
        return PayloadMapping((_path(table, "payload", value),))
    inner = Table(table.file, f"{table.where}.payload", value)
    inner.only("path", "paths", "columns", "optional")
    made = PayloadMapping(_paths(table, "payload", inner), inner.texts("columns"), inner.flag("optional"))
    inner.done()
    if made.paths and made.columns:
        raise table.wrong("payload", "takes a path or columns, not both")
    return made
