"""[compare.NAME]: the table of the application that a read model is compared with, and how far it has come.

::

    [compare.orders]
    url_env = "SHOP_URL"                # absent: the database of the read models
    schema = "shop"
    table = "Orders"
    filter = "deleted_at IS NULL"       # the author's own SQL: which rows count
    ignore = ["notes"]                  # state fields that the table does not hold
    time_precision = "ms"               # of all times; numeric_scale likewise of all numbers
    progress = { preset = "marten", name = "Orders:All" }

    [compare.orders.columns]            # key columns and state fields; absent: the column of the same name
    aggregate_id = "Id"
    status = { column = "Status", values = { open = 0, paid = 1 } }
    total = { column = "Data", path = "total.amount", numeric_scale = 2 }
    placed_at = { column = "PlacedAt", zone = "Europe/Berlin" }
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from runner.config.mapping import parse_path
from runner.config.places import CONNECTION_SETTINGS, has_connection, read_connection
from runner.config.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.config.connection import ConnectionSettings

__all__ = [
    "PRECISIONS",
    "ColumnMapping",
    "CompareConfig",
    "ProgressConfig",
    "identifier",
    "proposed_variable",
    "read_compare",
]

NAME_BYTES = 63
"""What Postgres keeps of a name."""
PRECISIONS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "day": 86_400_000_000}
"""Microseconds of each."""
PROGRESS_PRESETS = ("marten", "emmett", "eventsourcing")
_CAST = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]*(\(\d+(, ?\d+)?\))?( with(out)? time zone)?(\[\])?")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_EPOCHS = ("epoch", "epoch_ms", "epoch_us")


@dataclass(frozen=True)
class ColumnMapping:
    """Where one column of a read model is in the application's table.

    path: keys inside a json or jsonb column. cast: a type of Postgres, or epoch, epoch_ms, epoch_us for times that are
    numbers. values: the read model's stored values, as text, to the table's. enum: of Enum fields, whether the table
    holds the member's number or its text. zone: of times without one. numeric_scale: numbers are equal when rounded to
    so many places; tolerance: when they differ by no more; time_precision: times are that differ by less than one such
    unit. constant: no column; all rows have this value. infinite: what infinite times are.
    """

    column: str = ""
    path: tuple[str, ...] = ()
    cast: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    enum: Literal["", "number", "text"] = ""
    zone: str = "UTC"
    time_precision: str = ""
    numeric_scale: int | None = None
    tolerance: str = ""
    trim: bool = False
    constant: str | None = None
    infinite: Literal["error", "null"] = "error"


@dataclass(frozen=True)
class ProgressConfig:
    """Up to which event the application's table reflects the store.

    preset and name: the row of that name in the store's own table of progress; schema, table: where it is, if not where
    the library puts it. sql: a query of one row with the position, two columns where the store orders by two; with
    neither, table, column and where name the row. inline: the table is written with the events, so it reflects every
    committed one. at_end: it reflects all that the log has. source: whose positions these are; "": the only source.
    """

    preset: str = ""
    name: str = ""
    schema: str = ""
    table: str = ""
    columns: tuple[str, ...] = ()
    where: Mapping[str, str | int] = field(default_factory=dict)
    sql: str = ""
    inline: bool = False
    at_end: bool = False
    source: str = ""


@dataclass(frozen=True)
class CompareConfig:
    """[compare.NAME]: the table of the application that a read model is compared with.

    connection: where it is; None is the database of the read models. schema: "" is found by the search path.
    filter: SQL, a condition over the table's columns. ignore: fields that are not compared. statement_seconds: how long
    a statement may take.
    """

    name: str
    table: str
    schema: str = ""
    connection: ConnectionSettings | None = None
    columns: Mapping[str, ColumnMapping] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    filter: str = ""
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    defaults: ColumnMapping = field(default_factory=ColumnMapping)
    """The tolerances and the zone of columns that say nothing of their own."""
    statement_seconds: float = 3600.0

    def mapping(self, column: str) -> ColumnMapping:
        """Of a column of the read model; ``column`` "" where nothing is said of where it is."""
        return self.columns.get(column, self.defaults)


def read_compare(name: str, table: Table, root: Path) -> CompareConfig:
    """Check one [compare.NAME]. Raises ConfigError."""
    table.only(
        *("table", "schema", "columns", "ignore", "filter", "progress", "time_precision", "numeric_scale", "zone"),
        *("statement_timeout", *CONNECTION_SETTINGS),
    )
    if not table.has("table"):
        raise table.wrong("table", "is missing", 'write table = "orders", the table of the application')
    defaults = _tolerances(table, ColumnMapping())
    columns = _columns(table.table("columns"), defaults)
    ignore = table.texts("ignore")
    for column in ignore:
        if column in columns:
            raise table.wrong("ignore", f"names {column}, which has a mapping too", "write one of them")
    made = CompareConfig(
        name,
        identifier(table, "table", ""),
        identifier(table, "schema", ""),
        read_connection(table, root, proposed_variable(name)) if has_connection(table) else None,
        columns,
        ignore,
        _condition(table, "filter"),
        _progress(table),
        defaults,
        table.seconds("statement_timeout", CompareConfig.statement_seconds),
    )
    table.done()
    return made


def _tolerances(table: Table, base: ColumnMapping) -> ColumnMapping:
    """The keys that a table and each of its columns take."""
    scale = table.number("numeric_scale", 0) if table.has("numeric_scale") else base.numeric_scale
    if scale is not None and scale > 18:
        raise table.wrong("numeric_scale", f"is {scale}; the highest is 18")
    return replace(
        base,
        numeric_scale=scale,
        time_precision=table.choice("time_precision", base.time_precision, ("", *PRECISIONS)),
        zone=_zone(table, base.zone),
    )


def _zone(table: Table, default: str) -> str:
    zone = table.text("zone", default)
    if not re.fullmatch(r"[A-Za-z0-9_+\-/:]+", zone):
        raise table.wrong("zone", f"is {zone!r}", 'write a name such as "Europe/Berlin", or "UTC"')
    return zone


def _columns(table: Table, defaults: ColumnMapping) -> dict[str, ColumnMapping]:
    found = {}
    for name in table.names():
        value = table.take(name)
        if isinstance(value, str):
            found[name] = replace(defaults, column=_name(table, name, value))
            continue
        found[name] = _column(Table(table.file, f"{table.where}.{name}", value), defaults)
    return found


def _column(table: Table, defaults: ColumnMapping) -> ColumnMapping:
    table.only(
        *("column", "path", "cast", "values", "enum", "zone", "time_precision", "numeric_scale", "tolerance", "trim"),
        *("constant", "infinite"),
    )
    base = _tolerances(table, defaults)
    column = identifier(table, "column", "")
    constant = table.take("constant")
    if constant is not None and (isinstance(constant, bool) or not isinstance(constant, str | int)):
        raise table.wrong("constant", f"takes a text or an integer, not {constant!r}")
    if constant is not None and (column or table.has("path")):
        raise table.wrong("constant", "and column are both set", "a constant stands for a column that is not there")
    cast = table.text("cast")
    if cast and cast not in _EPOCHS and not _CAST.fullmatch(cast):
        raise table.wrong("cast", f"is {cast!r}", f"write a type of Postgres (numeric(12,2)), or {', '.join(_EPOCHS)}")
    path = table.take("path")
    made = replace(
        base,
        column=column,
        path=() if path is None else _path(table, path),
        cast=cast,
        values=_values(table),
        enum=table.choice("enum", "", ("", "number", "text")),
        tolerance=_tolerance(table),
        trim=table.flag("trim"),
        constant=None if constant is None else str(constant),
        infinite=table.choice("infinite", "error", ("error", "null")),
    )
    if made.values and made.enum:
        raise table.wrong("enum", "and values are both set", "values says all that enum does")
    table.done()
    return made


def _path(table: Table, value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(v, str) and v for v in value):
        return tuple(value)
    if isinstance(value, str) and value:
        try:
            return tuple(parse_path(value))
        except ValueError as error:
            raise table.wrong("path", f"is {value!r}: {error}") from None
    raise table.wrong("path", f"takes a path, not {value!r}", 'write "total.amount", or a list of keys')


def _values(table: Table) -> dict[str, str]:
    inner = table.table("values")
    found = {}
    for name in inner.names():
        value = inner.take(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise inner.wrong(name, f"takes a text or an integer, not {value!r}")
        found[name] = str(value)
    return found


def _tolerance(table: Table) -> str:
    value = table.take("tolerance")
    if value is None:
        return ""
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", str(value)):
        raise table.wrong("tolerance", f"takes a number from 0, not {value!r}")
    return str(value)


def _progress(table: Table) -> ProgressConfig:
    value = table.take("progress")
    if value is None:
        return ProgressConfig()
    if value in ("inline", "log-end"):
        return ProgressConfig(inline=value == "inline", at_end=value == "log-end")
    if isinstance(value, str):
        value = {"sql": value}
    inner = Table(table.file, f"{table.where}.progress", value)
    inner.only("preset", "name", "schema", "table", "column", "columns", "where", "sql", "source", "inline")
    made = ProgressConfig(
        preset=inner.choice("preset", "", ("", *PROGRESS_PRESETS)),
        name=inner.text("name"),
        schema=identifier(inner, "schema", ""),
        table=identifier(inner, "table", ""),
        columns=inner.texts("columns" if inner.has("columns") else "column"),
        where=_row(inner),
        sql=_statement(inner, "sql"),
        inline=inner.flag("inline"),
        source=inner.text("source"),
    )
    if made.inline:
        inner.done()
        return made
    if made.preset and not made.name:
        raise inner.wrong("name", "is missing", 'write the projection\'s name in the store, "Orders:All" say')
    ways = [key for key, there in (("preset", made.preset), ("sql", made.sql), ("column", made.columns)) if there]
    if len(ways) != 1:
        hint = 'write preset and name; or sql; or table, column and where; or progress = "inline"'
        raise inner.wrong("", f"says {' and '.join(ways)}" if ways else "says nothing of a row", hint)
    if made.columns and not made.table:
        raise inner.wrong("table", "is missing", "the table with the row of progress")
    if len(made.columns) > 2:
        raise inner.wrong("columns", f"takes one column or two, not {len(made.columns)}")
    inner.done()
    return made


def _row(table: Table) -> dict[str, str | int]:
    value = table.take("where", {})
    if not isinstance(value, dict):
        raise table.wrong("where", f"takes a table, not {value!r}", 'where = { projection = "tickets" }, say')
    inner = Table(table.file, f"{table.where}.where", value)
    found: dict[str, str | int] = {}
    for name in inner.names():
        value = inner.take(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise inner.wrong(name, f"takes a text or an integer, not {value!r}")
        found[_name(inner, name, name)] = value
    return found


def _condition(table: Table, key: str) -> str:
    text = _statement(table, key)
    if ";" in text:
        raise table.wrong(key, "holds a semicolon", "it is one condition, as it would stand behind WHERE")
    depth = 0
    for bracket in re.findall(r"[()]", _QUOTED.sub("", text)):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            break
    if depth:
        raise table.wrong(key, "has brackets that do not match", "it is one condition, which is put into brackets")
    return text


def _statement(table: Table, key: str) -> str:
    text = table.text(key).strip().rstrip(";").strip()
    if "\0" in text:
        raise table.wrong(key, "holds a NUL")
    return text


def proposed_variable(name: str) -> str:
    """The environment variable to propose for a table's name."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_').upper() or 'POSTGRES'}_URL"


def identifier(table: Table, key: str, default: str) -> str:
    """A name in Postgres: any text without NUL that it does not cut."""
    return _name(table, key, table.text(key, default))


def _name(table: Table, key: str, value: str) -> str:
    if "\0" in value or len(value.encode()) > NAME_BYTES:
        raise table.wrong(key, f"is {value!r}", f"Postgres takes names of at most {NAME_BYTES} bytes")
    return value
