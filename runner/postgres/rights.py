"""What a role may do with schemas, tables and sequences, and the statements that would let it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.sql import SQL as TEXT
from psycopg.sql import Composable, Identifier

from runner.postgres.errors import translated
from runner.postgres.statements import named_sql, qualified

if TYPE_CHECKING:
    from typing import LiteralString

    from runner.postgres.connection import AnyConnection

__all__ = ["SchemaRights", "TableRights", "grant", "schema_rights", "sequence_readable", "statement", "table_rights"]

SQL = named_sql("runner.postgres", "sql/rights.sql")


@dataclass(frozen=True)
class SchemaRights:
    """may_make: a schema in this database."""

    name: str
    exists: bool
    usage: bool
    create: bool
    may_make: bool


@dataclass(frozen=True)
class TableRights:
    """A table or view. kind: as pg_class has it. reads_some: at least some columns. row_security: rows are hidden from
    this role. owner: the role, quoted.
    """

    schema: str
    name: str
    kind: str
    usage: bool
    reads_some: bool
    reads: bool
    inserts: bool
    updates: bool
    deletes: bool
    owns: bool
    row_security: bool
    owner: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> Identifier:
        return qualified(self.schema, self.name)


def schema_rights(connection: AnyConnection, where: str, schema: str) -> SchemaRights:
    """Raises PostgresError."""
    with translated(where):
        row = connection.execute(SQL["schema"], {"schema": schema}).fetchone()
    assert row is not None
    return SchemaRights(schema, *row)


def table_rights(connection: AnyConnection, where: str, schema: str, name: str) -> TableRights | None:
    """None where there is no such table. schema: "" is the search path. Raises PostgresError."""
    with translated(where):
        row = connection.execute(SQL["tables"], {"schema": schema, "name": name}).fetchone()
    return None if row is None else TableRights(*row)


def sequence_readable(connection: AnyConnection, where: str, oid: int) -> bool:
    """Whether the last number that a sequence gave may be seen. Raises PostgresError."""
    with translated(where):
        row = connection.execute(SQL["sequence"], {"oid": oid}).fetchone()
    return bool(row and row[0])


def statement(connection: AnyConnection, text: LiteralString, **names: Composable) -> str:
    """A statement for a person to run, its names quoted."""
    return TEXT(text).format(**names).as_string(connection)


def grant(connection: AnyConnection, privileges: LiteralString, on: Composable, role: str) -> str:
    """``GRANT privileges ON on TO role;``"""
    return statement(connection, "GRANT {what} ON {on} TO {role};", what=TEXT(privileges), on=on, role=Identifier(role))
