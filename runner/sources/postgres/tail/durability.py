"""Visible is not durable: with ``synchronous_commit = off`` a row is visible before its commit is on the disk, and a
crash takes it back; its position is then drawn again by another event. So what was read is published only once it is
durable.

1. Read rows.
2. After that, note how far the server's write-ahead log has been *inserted* (``pg_current_wal_insert_lsn``). The commit
   records of all rows that were visible stand before that point.
3. Publish when the *flushed* point has reached the noted one. Then a crash cannot take any of those rows back.

Both points must be asked on one connection that has been open since before the reading: a crash of the server ends it,
so an answer on it says that no crash lay between. (Asked on a new connection, a flushed point could have reached the
noted one in another life of the log.)

A commit that waits for its flush is flushed when it becomes visible, and what an asynchronous commit left follows
within about three times ``wal_writer_delay``. But behind the last commit stands what open transactions have written,
and the server flushes that only with the next commit or its own entry every 15 s. So after a moment the connection ends
a transaction of its own that has an id and nothing else: its commit makes the server's log writer flush all that stands
before it. That writes to no table and needs no privilege; it takes one transaction id.

A standby is given only what its primary has flushed, so there is nothing to wait for; what an asynchronous failover
loses is found by ``identity``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout
from runner.postgres import translated
from runner.sources.postgres.tail.facts import STATEMENTS

if TYPE_CHECKING:
    from runner.postgres import AnyConnection

__all__ = ["Durability"]

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
NUDGE_AFTER = 0.1
"""Seconds after which the server is asked to flush."""


class Durability:
    """For one connection: that of ``Tail.look``, open since before the rows were read. where: for messages."""

    def __init__(self, connection: AnyConnection, where: str) -> None:
        self._connection, self._where = connection, where
        self._noted: str | None = None

    def note(self) -> None:
        """What has been read until now is to be waited for. Raises PostgresError: also where the server has crashed
        since.
        """
        with translated(self._where):
            row = self._connection.execute(STATEMENTS["inserted"]).fetchone()
        self._noted = None if row is None else row[0]

    def flushed(self) -> bool:
        """Whether all that was noted is durable. Raises PostgresError."""
        if self._noted is not None:
            with translated(self._where):
                row = self._connection.execute(STATEMENTS["flushed"], {"noted": self._noted}).fetchone()
            if row is not None and row[0]:
                self._noted = None
        return self._noted is None

    def wait(self, timeout: float = 60.0) -> None:
        """Return when ``flushed``. Raises PostgresTimeout after ``timeout`` seconds, PostgresError."""
        begun, pause, nudged = time.monotonic(), FIRST_PAUSE, False
        while not self.flushed():
            waited = time.monotonic() - begun
            if waited >= timeout:
                raise PostgresTimeout(
                    f"{self._where}: what was read is not on the server's disk after {timeout:g} s",
                    hint="nothing of it was published; is the server's disk full or slow? CHECKPOINT forces it",
                )
            if waited >= NUDGE_AFTER and not nudged:
                nudged = True
                with translated(self._where):
                    self._connection.execute(STATEMENTS["nudge"])
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
