"""Former tables, and loads that were given up: dropped when nobody can want them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import PostgresError
from runner.postgres import qualified, translated
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.carrying import TABLES
from runner.sinks.postgres.matviews import drop_unused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from runner.postgres import AnyConnection

__all__ = ["drop_former"]


def drop_former(connection: AnyConnection, kept: Mapping[str, Collection[int]]) -> tuple[str, ...]:
    """Drop tables of these read models that are neither live nor of a kept version; what was dropped."""
    dropped = []
    for name, versions in sorted(kept.items()):
        for _, _, version, relid, relname, schema, live in connection.execute(
            BOOKS["of_model"], {"name": name}
        ).fetchall():
            if live or version in versions:
                continue
            if relname is None:
                connection.execute(BOOKS["forget_table"], {"relid": relid})
                continue
            try:
                with translated(f"{schema}.{relname}"), connection.transaction():
                    connection.execute("SET LOCAL lock_timeout = '200ms'")
                    drop_unused(connection, relid, version)
                    connection.execute(TABLES["drop"].format(table=qualified(schema, relname)))
                    connection.execute(BOOKS["forget_table"], {"relid": relid})
            except PostgresError:
                continue
            dropped.append(f"{schema}.{relname}")
    return tuple(dropped)
