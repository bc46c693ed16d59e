"""What the server says of the application's table, and which of its columns each column of a read model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.config.table import nearest
from runner.errors import ConfigError, ReadModelError
from runner.postgres import named_sql, translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.authoring.definition import ProjectionDefinition
    from runner.authoring.field_types import EnumClasses
    from runner.config.comparison import ColumnMapping, CompareConfig
    from runner.postgres import AnyConnection
    from runner.sinks.shape import Shape
    from runner.values import ValueType

__all__ = ["STATEMENTS", "ForeignTable", "TableColumn", "Wanted", "described", "wanted_columns"]

STATEMENTS = named_sql("runner.sinks.application", "application.sql")


@dataclass(frozen=True)
class TableColumn:
    """type: as the server writes it, with its modifier; base: of a domain the type below it, no modifier."""

    name: str
    type: str
    base: str
    category: str
    not_null: bool
    has_default: bool
    generated: bool


@dataclass(frozen=True)
class ForeignTable:
    """The application's table. kind: relkind of pg_class. rows: as the server guesses."""

    schema: str
    name: str
    oid: int
    kind: str
    rows: int
    columns: Mapping[str, TableColumn]
    key: tuple[str, ...]
    """Of the primary key."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Wanted:
    """One column of the read model and where it is. type: None of identity columns, which are text.

    column: None where the mapping is a constant.
    """

    name: str
    type: ValueType | None
    enums: EnumClasses
    default: object
    mapping: ColumnMapping
    column: TableColumn | None
    is_key: bool


def described(connection: AnyConnection, config: CompareConfig) -> ForeignTable:
    """Look the table up. Raises ConfigError where there is none, ReadModelError where it is no table with rows."""
    where = f"[compare.{config.name}]"
    with translated(where):
        found = connection.execute(
            STATEMENTS["table"], {"schema": config.schema or None, "table": config.table}
        ).fetchone()
        if found is None:
            like = connection.execute(STATEMENTS["like"], {"table": config.table}).fetchall()
            there = f"there is {', '.join(f'{s}.{n}' for s, n in like)}" if like else "names are taken with their case"
            name = f"{config.schema}.{config.table}" if config.schema else config.table
            raise ConfigError(f"{where}: there is no table {name}, or the role may not see it", hint=there)
        schema, name, oid, kind, rows, may_select = found
        if not may_select:
            raise ReadModelError(
                f"{where}: the role may not read {schema}.{name}",
                hint=f'GRANT SELECT ON "{schema}"."{name}" TO the role of {where}',
            )
        columns = {
            row[0]: TableColumn(*row) for row in connection.execute(STATEMENTS["columns"], {"oid": oid}).fetchall()
        }
        key = tuple(row[0] for row in connection.execute(STATEMENTS["key"], {"oid": oid}).fetchall())
    return ForeignTable(schema, name, oid, kind, max(int(rows), 0), columns, key)


def wanted_columns(
    config: CompareConfig, table: ForeignTable, definition: ProjectionDefinition, shape: Shape
) -> tuple[Wanted, ...]:
    """The columns that are compared: keys first, then fields. Raises ConfigError naming what is not there."""
    where = f"[compare.{config.name}]"
    fields = {f.name: f for f in definition.fields}
    parts = {p.name: p for p in definition.key}
    for name in (*config.columns, *config.ignore):
        if name not in shape.columns:
            raise ConfigError(
                f"{where}: {definition.name} has no column {name!r}", hint=nearest(name, set(shape.columns))
            )
    found = []
    for name in shape.columns:
        is_key = name in shape.full_key
        if name in config.ignore:
            if is_key:
                raise ConfigError(f"{where}: {name} is a key column, which cannot be ignored")
            continue
        known = fields.get(name) or parts.get(name)
        found.append(
            Wanted(
                name,
                None if known is None else known.type,
                {} if known is None else known.enums,
                fields[name].default if name in fields else None,
                config.mapping(name),
                _column(config, table, name),
                is_key,
            )
        )
    if all(w.is_key and w.column is None for w in found):
        raise ConfigError(f"{where}: all key columns are constants", hint="one of them has to be a column")
    return tuple(sorted(found, key=lambda w: not w.is_key))


def _column(config: CompareConfig, table: ForeignTable, name: str) -> TableColumn | None:
    mapping, where = config.mapping(name), f"[compare.{config.name}]"
    if mapping.constant is not None:
        return None
    if mapping.column:
        if mapping.column not in table.columns:
            raise ConfigError(
                f"{where}: {table} has no column {mapping.column!r} (columns.{name})",
                hint=nearest(mapping.column, table.columns),
            )
        return table.columns[mapping.column]
    if name in table.columns:
        return table.columns[name]
    like = [c for c in table.columns.values() if _plain(c.name) == _plain(name)]
    if len(like) == 1:
        return like[0]
    raise ConfigError(
        f"{where}: {table} has no column for {name}",
        hint=f'write [compare.{config.name}.columns] {name} = "its column" ({", ".join(table.columns)}), '
        f'or ignore = ["{name}"]',
    )


def _plain(name: str) -> str:
    """One spelling of orderId, order_id and "Order ID"."""
    return "".join(c for c in name.casefold() if c.isalnum())
