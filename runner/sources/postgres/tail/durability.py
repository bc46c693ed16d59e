"""Visible is not durable: with ``synchronous_commit = off`` a row is visible before its commit is on the disk, and a
crash takes it back; its position is then drawn again by another event. So what was read is published only once it is
durable.

1. Read rows.
2. After that, note how far the server's write-ahead log has been *inserted* (``pg_current_wal_insert_lsn``). The commit
   records of all rows that were visible stand before that point.
3. Publish when the *flushed* point has reached the noted one. Then a crash cannot take any of those rows back.

Between reading and publishing no crash may lie: a flushed point could have reached the noted one in another life of the
log. So the server says with each answer since when it has run without a crash, which must be as it was before the
reading.

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

from runner.errors import PostgresTimeout, PostgresUnavailable
from runner.postgres import translated
from runner.sources.postgres.tail.facts import STATEMENTS

if TYPE_CHECKING:
    from runner.postgres import AnyConnection

__all__ = ["Durability"]

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
NUDGE_AFTER = 0.1
"""Seconds after which the server is asked to flush."""


class Durability:
    """Made before rows are read. where: for messages. Raises PostgresError, PostgresUnavailable where the server has
    crashed since.
    """

    def __init__(self, connection: AnyConnection, where: str) -> None:
        self._connection, self._where = connection, where
        self._noted: str | None = None
        self._life = ""
        self.note()
        self._noted = None

    def note(self) -> None:
        """What has been read until now is to be waited for."""
        with translated(self._where):
            row = self._connection.execute(STATEMENTS["inserted"]).fetchone()
        assert row is not None
        self._check(row[1])
        self._noted = row[0]

    def flushed(self) -> bool:
        """Whether all that was noted is durable."""
        if self._noted is not None:
            with translated(self._where):
                row = self._connection.execute(STATEMENTS["flushed"], {"noted": self._noted}).fetchone()
            assert row is not None
            self._check(row[1])
            if row[0]:
                self._noted = None
        return self._noted is None

    def _check(self, life: str) -> None:
        self._life = self._life or life
        if life != self._life:
            raise PostgresUnavailable(
                f"{self._where}: the server was restarted while rows were read",
                hint="nothing of it was published; run the command again",
            )

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
