"""What a connection can learn of its server: version, role, standby, limits, clock; and what stands between them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import psycopg

from runner.errors import PostgresError
from runner.postgres.connection import connect
from runner.postgres.errors import translated
from runner.postgres.statements import named_sql

if TYPE_CHECKING:
    from runner.config.connection import ConnectionSettings
    from runner.postgres.connection import AnyConnection

__all__ = ["Pooling", "ServerFacts", "pooling", "server_facts"]

SQL = named_sql("runner.postgres", "sql/server.sql")

TURNS = 3
"""How often a setting is asked for again before anybody else works."""

Pooling = Literal["none", "session", "transaction"]
"""What lies between: nothing, a pooler that keeps a server's session for ours, one that changes it at each
transaction."""


@dataclass(frozen=True)
class ServerFacts:
    """A server as its session sees it. clock_ahead: seconds by which its clock is ahead of ours. role_limit: -1: none.

    standby_lag: seconds, None on a primary and where nothing is waiting. asynchronous_commits: whose commits need not
    be durable, in words. sees_sessions: whether the activity of other roles is shown. sees_identity: whether the system
    identifier is.
    """

    version: int
    role: str
    database: str
    encoding: str
    standby: bool
    superuser: bool
    bypasses_row_security: bool
    role_limit: int
    sees_sessions: bool
    synchronous_commit: str
    most_connections: int
    connections: int
    clock_ahead: float
    sees_identity: bool
    standby_lag: float | None = None
    asynchronous_commits: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        return self.version // 10_000


def server_facts(connection: AnyConnection, where: str) -> ServerFacts:
    """Ask the server. Raises PostgresError."""
    with translated(where):
        before = time.time()
        cursor = connection.execute(SQL["facts"])
        after = time.time()
        row = cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        found = dict(zip((column.name for column in cursor.description), row, strict=True))
        clock = found.pop("clock")
        found.pop("backend")
        lag = connection.execute(SQL["standby_lag"]).fetchone() if found["standby"] else None
        asynchronous = connection.execute(SQL["asynchronous_commits"]).fetchall()
    return ServerFacts(
        **found,
        clock_ahead=clock - (before + after) / 2,
        standby_lag=lag[0] if lag else None,
        asynchronous_commits=tuple(words for (words,) in asynchronous),
    )


def pooling(settings: ConnectionSettings) -> Pooling:
    """Whether a pooler stands between, and how it works. Opens two connections of its own. Raises PostgresError.

    A setting is left in one connection. A pooler in transaction mode that takes turns gives that connection another
    session at its next statement; one that takes the last one used first gives the second connection the first one's.
    """
    with connect(settings, "doctor") as first, connect(settings, "doctor") as second, translated(settings.where):
        # What a server says of its process at the start, a pooler makes up.
        between = first.info.backend_pid != _pid(first)
        mark = uuid4().hex
        left = first.execute(SQL["leave_mark"], {"mark": mark}).fetchone()
        kept = [first.execute(SQL["read_mark"]).fetchone() for _ in range(TURNS)]
        second.autocommit = False
        seen = second.execute(SQL["read_mark"]).fetchone()
        try:
            # The second one now holds a session, perhaps the one that the mark is in.
            kept.append(first.execute(SQL["read_mark"]).fetchone())
        finally:
            with suppress(psycopg.Error):
                second.rollback()
        if seen is None or seen[0] == mark or any(each != left for each in kept):
            return "transaction"
        return "session" if between else "none"


def _pid(connection: AnyConnection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is None:
        raise PostgresError("the server gave no process id")
    return int(row[0])
