"""LISTEN: to be told by the server that something was committed, and to wait for that beside other things.

A notification is a reason to look, never the truth: it says nothing of what may be read, several become one, and a
pooler in transaction mode swallows them without a word. Who waits looks by himself from time to time too.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

import psycopg
from psycopg import sql

from runner.postgres.connection import connect
from runner.postgres.errors import error_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config.connection import ConnectionSettings

__all__ = ["HasFile", "Notifications", "wait_for_any"]

MILLISECOND = 0.001


class HasFile(Protocol):
    """What can be waited for."""

    def fileno(self) -> int: ...


class Notifications:
    """A connection that listens on some channels. Close it."""

    def __init__(self, settings: ConnectionSettings, what: str, channels: Sequence[str]) -> None:
        """Raises PostgresError: also on a standby, where nobody can listen."""
        self._where = settings.where
        self._connection = connect(settings, what)
        try:
            for channel in dict.fromkeys(channels):
                self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except psycopg.Error as error:
            self._connection.close()
            raise error_of(error, self._where) from None

    def fileno(self) -> int:
        """To be waited for; readable where something has come, or the connection has gone."""
        return self._connection.fileno()

    def heard(self) -> int:
        """How many notifications have come since the last time; never waits. Raises PostgresError where the connection
        has gone: what was notified since is lost, so look at once.
        """
        found = 0
        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies() is not None:
                found += 1
        except psycopg.Error as error:
            raise error_of(error, self._where) from None
        return found

    def close(self) -> None:
        self._connection.close()


def wait_for_any(files: Sequence[HasFile], seconds: float) -> bool:
    """Wait until one of them is readable, at most so long; whether one is."""
    poll = select.poll()
    for file in files:
        poll.register(file.fileno(), select.POLLIN)
    return bool(poll.poll(max(0, seconds) / MILLISECOND))
