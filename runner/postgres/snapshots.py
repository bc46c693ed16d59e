"""One snapshot on several connections: what one transaction sees, others see too, while it is open."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg import sql

from runner.postgres.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

__all__ = ["exported_snapshot", "in_snapshot"]

_BEGIN = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


@contextmanager
def exported_snapshot(connection: Connection[Any], where: str = "snapshot") -> Iterator[str]:
    """A read-only transaction, and the name by which others can see what it sees, until the block is left.

    The connection is in autocommit and in no transaction. Raises PostgresError.
    """
    with _transaction(connection, where):
        with translated(where):
            row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None
        yield str(row[0])


@contextmanager
def in_snapshot(connection: Connection[Any], snapshot: str, where: str = "snapshot") -> Iterator[None]:
    """A read-only transaction in an exported snapshot, whose transaction has to be open until this one has begun.

    The connection is in autocommit, in no transaction, and in the same database. Raises PostgresError.
    """
    with _transaction(connection, where):
        with translated(where):
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        yield


@contextmanager
def _transaction(connection: Connection[Any], where: str) -> Iterator[None]:
    with translated(where):
        connection.execute(_BEGIN)
    try:
        yield
    finally:
        # Nothing was written; and a connection that has broken has no transaction to end.
        if not connection.broken and not connection.closed:
            with translated(where):
                connection.rollback()
