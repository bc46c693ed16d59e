"""Readers in tight loops, as processes' threads of their own connections: what each saw that it must not see.

A read model here holds in every row the number of the version that wrote it, in ``balance``. So each read has to find
``rows`` rows of one number, at least that of the last switch that was committed before it began.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures_postgres import Database

PAUSE = 0.001
"""Seconds between two reads, so that who switches gets a turn in this process too."""
LOOK = "SELECT count(*), min({column}), max({column}) FROM {source}"


@dataclass
class Readers:
    """Start readers, switch, ``stop``: findings are sentences about what was wrong."""

    database: Database
    rows: int
    floor: int = 1
    """The last version whose switch was committed."""
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_of: str = ""
    reads: dict[str, int] = field(default_factory=dict)
    seen: dict[str, set[int]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def read(
        self, name: str, source: str, *, column: str = "balance", repeatable: bool = False, fresh: bool = True
    ) -> None:
        """A reader. fresh: whether what it sees has to be as new as the switch (a materialised view's is not)."""
        self.reads[name], self.seen[name] = 0, set()
        look = sql.SQL(LOOK).format(source=sql.SQL(source), column=sql.Identifier(column))

        def loop(connection: psycopg.Connection) -> None:
            if not repeatable:
                self._look(connection, name, look, fresh, self.floor)
                return
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                # The snapshot may be older than the first look at the table.
                floor = self.floor
                connection.execute("SELECT 1")
                first = self._look(connection, name, look, fresh, floor)
                if self._look(connection, name, look, fresh, floor) != first:
                    self.findings.append(f"{name}: two reads of one transaction differ")

        self._start(name, loop)

    def checkpoints(self, name: str = "checkpoint") -> None:
        """Rows and their checkpoint in one REPEATABLE READ transaction belong together."""
        self.reads[name], self.seen[name] = 0, set()

        def loop(connection: psycopg.Connection) -> None:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                connection.execute("SELECT 1")
                rows = connection.execute("SELECT count(*), min(balance), max(balance) FROM reads.accounts").fetchone()
                said = connection.execute(
                    "SELECT version FROM projection_runner.read_models WHERE read_model = 'accounts'"
                ).fetchone()
                self.reads[name] += 1
                if rows is None or said is None or (self.rows, said[0], said[0]) != rows:
                    self.findings.append(f"{name}: {rows} rows, but the checkpoint says {said}")

        self._start(name, loop)

    def write(self, name: str, statement: str) -> None:
        """A writer beside the readers, one row a transaction."""
        self.reads[name] = 0

        def loop(connection: psycopg.Connection) -> None:
            connection.execute(statement)
            self.reads[name] += 1
            time.sleep(0.002)

        self._start(name, loop)

    def hold(self, name: str, statement: str, seconds: float) -> None:
        """One who reads and then leaves the transaction open, again and again."""
        self.reads[name] = 0

        def loop(connection: psycopg.Connection) -> None:
            with connection.transaction():
                connection.execute(statement)
                self._stop.wait(seconds)
            self.reads[name] += 1
            time.sleep(0.05)

        self._start(name, loop)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(t.is_alive() for t in self._threads), "a reader hangs"

    def _look(
        self, connection: psycopg.Connection, name: str, look: sql.Composed, fresh: bool, floor: int
    ) -> tuple[object, ...]:
        begun = time.monotonic()
        row = connection.execute(look).fetchone()
        took = time.monotonic() - begun
        if took > self.slowest:
            self.slowest, self.slowest_of = took, name
        assert row is not None
        count, low, high = row
        self.reads[name] += 1
        self.seen[name].add(high)
        if count != self.rows or low != high:
            self.findings.append(f"{name}: {count} rows of versions {low} to {high}")
        elif fresh and low < floor:
            self.findings.append(f"{name}: rows of version {low} after the switch to {floor}")
        return (count, low, high)

    def _start(self, name: str, loop: Callable[[psycopg.Connection], None]) -> None:
        def run() -> None:
            try:
                with self.database.connect() as connection:
                    while not self._stop.is_set():
                        loop(connection)
                        time.sleep(PAUSE)
            except psycopg.Error as error:
                self.findings.append(f"{name}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
