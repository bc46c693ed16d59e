"""Which columns a query has, asked of the server: a binary COPY itself says nothing of names and types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from runner.errors import CopyError
from runner.postgres import types
from runner.postgres.copy_columns import CopyColumn
from runner.postgres.errors import translated
from runner.postgres.types import numeric, type_by_oid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from psycopg import Column, Connection

    from runner.postgres.types import PgType

__all__ = ["columns_of"]

# Enums, citext and the like: types of an extension or a user, which send themselves as their text.
_AS_TEXT = """
SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.oid = t.typsend
WHERE t.oid = ANY (%s) AND p.prosrc IN ('textsend', 'varcharsend', 'bpcharsend', 'namesend', 'enum_send')
"""


def columns_of(
    connection: Connection[Any],
    query: sql.Composable,
    *,
    arrow: Mapping[str, pa.DataType] | None = None,
    where: str = "COPY",
) -> tuple[CopyColumn, ...]:
    """The columns of a query for ``copy_out``; the query is planned, not run.

    arrow: other Arrow types than ``types.arrow_type_of``, by column. Raises CopyError for a type that is not read, with
    the cast that helps; TypeError for an Arrow type that it cannot become; PostgresError.
    """
    with translated(where):
        cursor = connection.execute(sql.SQL("SELECT * FROM ({}) AS described LIMIT 0").format(query))
        described = cursor.description or []
        unknown = [c.type_code for c in described if type_by_oid(c.type_code) is None]
        texts = {oid for (oid,) in connection.execute(_AS_TEXT, (unknown,))} if unknown else set()
    return tuple(
        CopyColumn(c.name, _type(c, c.type_code in texts, where), (arrow or {}).get(c.name)) for c in described
    )


def _type(column: Column, text: bool, where: str) -> PgType:
    if text:
        return types.TEXT
    kind = type_by_oid(column.type_code)
    if kind is None:
        raise CopyError(
            where,
            column.name,
            0,
            f"the type {column.type_display} is not read",
            hint=f"select it as text: {column.name}::text",
        )
    if kind == types.NUMERIC and column.precision is not None and (column.scale or 0) >= 0:
        return numeric(column.precision, column.scale or 0)
    return kind
