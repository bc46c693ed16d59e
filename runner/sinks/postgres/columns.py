"""From a read model's shape to the columns of its table, and where the table is.

Users' tables hold identity, key and state columns, no hashes. Types are those of ``runner.postgres.types``: bigint,
double precision, numeric(19, scale), text, timestamptz, date, interval, uuid, boolean, arrays of these. Columns that
cannot be None are NOT NULL. The key is the primary key; where a part of it can be None, which no primary key can hold,
a UNIQUE NULLS NOT DISTINCT constraint. A key of no columns allows one row.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import ReadModelError
from runner.postgres import SQL, Identifier
from runner.postgres.types import pg_type_of
from runner.sinks.postgres.names import NAME_BYTES, SYSTEM_COLUMNS, fitted
from runner.sinks.postgres.port import TablePlace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.config.postgres import PostgresReadModelsConfig, PublishConfig
    from runner.postgres import Composed
    from runner.postgres.types import PgType
    from runner.sinks.shape import Shape

__all__ = ["Layout", "WantedIndex", "layout_of", "places_of"]

TENANT = "tenant"


@dataclass(frozen=True)
class WantedIndex:
    """An index that the read model itself asks for. name: while the table is live. columns: () is the one row."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The table of a read model, without where it is."""

    types: Mapping[str, PgType]
    """In the order of the columns."""
    key: tuple[str, ...]
    required: frozenset[str]
    """NOT NULL."""
    indexes: tuple[WantedIndex, ...]
    by_tenant: bool
    """Rows go to their tenant's table, which has no tenant column."""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.types)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(name for name in self.types if name not in self.key)

    @property
    def digest(self) -> str:
        """Equal for tables into which the same rows may be copied."""
        told = [[n, t.sql, n in self.required] for n, t in self.types.items()]
        return hashlib.sha256(json.dumps([told, self.key, self.by_tenant]).encode()).hexdigest()[:32]

    def definition(self, only: tuple[str, ...] = ()) -> Composed:
        """The columns for CREATE TABLE, or those of them that are named."""
        parts = [
            SQL("{} {}{}").format(Identifier(n), SQL(t.sql), SQL(" NOT NULL" if n in self.required else ""))
            for n, t in self.types.items()
            if not only or n in only
        ]
        return SQL(", ").join(parts)

    def key_constraint(self) -> Composed | None:
        """The constraint that knows a row; None where there is no column for one."""
        if not self.key:
            return None
        kind = "PRIMARY KEY" if self.required.issuperset(self.key) else "UNIQUE NULLS NOT DISTINCT"
        return SQL(kind + " ({})").format(self.names(self.key))

    def own_names(self, table: str) -> tuple[str, ...]:
        """The names of the indexes that the read model itself asks for, its key's first."""
        return (fitted(table, "_pkey"), *(index.name for index in self.indexes))

    @staticmethod
    def names(columns: tuple[str, ...]) -> Composed:
        return SQL(", ").join(Identifier(n) for n in columns)

    def rows_for(self, rows: pa.Table, place: TablePlace) -> pa.Table:
        """The rows of this place, with the table's columns."""
        if self.by_tenant and TENANT in rows.schema.names:
            rows = rows.filter(pc.equal(rows[TENANT], place.tenant))
        return rows.select(list(self.columns))


def layout_of(shape: Shape, place: TablePlace, *, by_tenant: bool = False) -> Layout:
    """The table of a read model. Raises ReadModelError where Postgres cannot have it."""
    where = f"read model {shape.name!r}"
    identity = tuple(n for n in shape.identity if not (by_tenant and n == TENANT))
    columns = tuple(n for n in shape.columns if n not in shape.identity or n in identity)
    types = {}
    for name in columns:
        if len(name.encode()) > NAME_BYTES or "\0" in name:
            raise ReadModelError(
                f"{where}: the column name {name!r} has more than {NAME_BYTES} bytes", hint="rename the field"
            )
        if name in SYSTEM_COLUMNS:
            raise ReadModelError(
                f"{where}: every table in Postgres has a column {name!r} of its own", hint="rename the field"
            )
        try:
            types[name] = pg_type_of(shape.schema.field(name).type)
        except TypeError as error:
            raise ReadModelError(f"{where}: column {name!r}: {error}") from error
    indexes = [WantedIndex(fitted("_".join((place.table, *i)), "_idx"), i) for i in shape.indexes]
    return Layout(
        types=types,
        key=(*identity, *shape.key),
        required=frozenset(shape.required) & frozenset(columns),
        indexes=tuple(indexes),
        by_tenant=by_tenant,
    )


def places_of(shape: Shape, config: PostgresReadModelsConfig, publish: PublishConfig | None) -> tuple[TablePlace, ...]:
    """Where the rows of a read model are seen. Raises ReadModelError where they cannot be told apart by tenant."""
    table = (publish.table if publish else "") or shape.name
    if len(table.encode()) > NAME_BYTES:
        raise ReadModelError(
            f"read model {shape.name!r}: its name has more than {NAME_BYTES} bytes, which a table's may not",
            hint=f"write [publish.{shape.name}] table = ... into runner.toml",
        )
    if publish is None or not publish.per_tenant_schema:
        return (TablePlace(config.schema, table),)
    tenants = sorted({tenant for _, tenant in shape.scopes}) or [""]
    if TENANT not in shape.columns and len(tenants) > 1:
        raise ReadModelError(
            f"read model {shape.name!r}: per_tenant_schema needs the tenant in its key",
            hint="its rows belong to no aggregate; add a key part named tenant, or publish one table for all",
        )
    return tuple(TablePlace(tenant or config.schema, table, tenant) for tenant in tenants)
