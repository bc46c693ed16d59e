"""Connections: named for who looks at the server, bounded in time, in UTC and UTF-8, read-only where only read.

A connection tells the server who it is (``application_name``: "projection-runner: sync bank"), never waits for ever,
neither for the network nor for a lock nor for a statement, and lets go of what a dead peer holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from runner.errors import PostgresDenied
from runner.postgres.errors import error_of
from runner.postgres.settings import parameters
from runner.secrets import keep_secret

if TYPE_CHECKING:
    from runner.config.connection import ConnectionSettings

__all__ = ["AnyConnection", "connect"]

AnyConnection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

NAME_BYTES = 63
"""What a server keeps of an application_name."""
# An answerless peer is given up after 30 + 3 * 10 seconds, unacknowledged data after 60.
_ALIVE = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


def connect(
    settings: ConnectionSettings,
    what: str,
    *,
    read_only: bool = True,
    autocommit: bool = True,
    statement_timeout: float = 0,
    lock_timeout: float = 5,
    idle_timeout: float = 0,
    connect_timeout: int = 10,
    prepare: bool = False,
) -> AnyConnection:
    """Open a connection. Use it as a context manager, or close it.

    what: for the application_name, "sync bank" say. Times are in seconds, 0 for none; idle_timeout: how long a
    transaction may stand open with nothing asked. prepare: whether statements that repeat are prepared on the server,
    which a pooler in transaction mode does not bear. Raises ConfigError, PostgresError (PostgresUnavailable,
    PostgresDenied).
    """
    wanted: dict[str, str] = {
        "client_encoding": "UTF8",
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "statement_timeout": _milliseconds(statement_timeout),
        "lock_timeout": _milliseconds(lock_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(idle_timeout),
        "default_transaction_read_only": "on" if read_only else "off",
    }
    connection = _opened(settings, what, connect_timeout, prepare=prepare)
    try:
        # After connecting, not as startup options: poolers refuse those.
        connection.execute(
            "SELECT " + ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(wanted)),
            [text for pair in wanted.items() for text in pair],
        )
        connection.autocommit = autocommit
        if read_only:
            connection.read_only = True
    except psycopg.Error as error:
        connection.close()
        raise error_of(error, settings.where) from None
    return connection


def _opened(settings: ConnectionSettings, what: str, timeout: int, *, prepare: bool) -> AnyConnection:
    try:
        return _open(settings, what, timeout, prepare=prepare, again=False)
    except PostgresDenied:
        if not settings.password_command:
            raise
    # A token that was good a minute ago may have run out.
    return _open(settings, what, timeout, prepare=prepare, again=True)


def _open(settings: ConnectionSettings, what: str, timeout: int, *, prepare: bool, again: bool) -> AnyConnection:
    found: dict[str, Any] = {"connect_timeout": str(timeout), **_ALIVE, **parameters(settings, again=again)}
    found["application_name"] = _name(what)
    try:
        connection = psycopg.connect(autocommit=True, prepare_threshold=5 if prepare else None, **found)
    except psycopg.Error as error:
        raise error_of(error, settings.where) from None
    # One that libpq itself has found, in a service or a passfile.
    keep_secret(connection.info.password)
    return connection


def _name(what: str) -> str:
    """At most 63 bytes of printable ASCII, which is what servers keep."""
    text = f"projection-runner: {what}".encode("ascii", "replace").decode("ascii")
    return "".join(c if c.isprintable() else "?" for c in text)[:NAME_BYTES]


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
