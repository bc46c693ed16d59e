"""Readers in tight loops, as threads with connections of their own: what each saw that it must not see.

A read model here holds in every row the number of the version that wrote it, in ``balance``, and in ``note`` how many
events of the row are in ``events``, which is written in the same transaction. So each read has to find ``rows`` rows of
one number, at least that of the last switch that was committed before it began, and as many events as there are.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixtures_postgres import Database

PAUSE = 0.008
"""Seconds between two reads, so that who switches gets a turn in this process too."""
LOOK = "SELECT count(*), min(balance), max(balance), sum(note::int), (SELECT count(*) FROM events) FROM {}"
CHECKPOINT = "SELECT version FROM projection_runner.read_models WHERE read_model = 'accounts'"


@dataclass
class Readers:
    """Start readers, switch, ``stop``: findings are sentences about what was wrong."""

    database: Database
    rows: int
    floor: int = 1
    """The last version whose switch was committed."""
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the longest read."""
    slowest_write: float = 0.0
    reads: dict[str, int] = field(default_factory=dict)
    seen: dict[str, set[int]] = field(default_factory=dict)
    """By source and reader: the versions that it saw."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def read(self, name: str, *sources: str, repeatable: bool = False, fresh: bool = True) -> None:
        """A reader of these sources in turns. fresh: whether what it sees has to be as new as the switch, and as the
        events (a materialised view's is not).
        """
        turns = cycle(self._known(name, sources))

        def loop(connection: psycopg.Connection) -> None:
            source = next(turns)
            if not repeatable:
                self._look(connection, name, source, fresh, self.floor)
                return
            # The snapshot may be older than the first look at the table.
            floor = self.floor
            with _repeatable(connection):
                first = self._look(connection, name, source, fresh, floor)
                if self._look(connection, name, source, fresh, floor) != first:
                    self.findings.append(f"{name}, {source}: two reads of one transaction differ")

        self._start(name, loop)

    def checkpoints(self, *sources: str) -> None:
        """Rows and their checkpoint in one REPEATABLE READ transaction belong together, whichever is read first."""
        turns = cycle([(name, source) for name in ("rows first", "checkpoint first") for source in sources])
        for name in ("rows first", "checkpoint first"):
            self._known(name, sources)

        def loop(connection: psycopg.Connection) -> None:
            name, source = next(turns)
            floor = self.floor
            with _repeatable(connection):
                said = connection.execute(CHECKPOINT).fetchone() if name == "checkpoint first" else None
                version = self._look(connection, name, source, True, floor)[1]
                said = connection.execute(CHECKPOINT).fetchone() if said is None else said
            if said != (version,):
                self.findings.append(f"{name}, {source}: rows of version {version}, but the checkpoint says {said}")

        self._start("checkpoints", loop)

    def write(self, name: str, *statements: str) -> None:
        """An inline writer beside the readers: these in one transaction, again and again."""
        self.reads[name] = 0

        def loop(connection: psycopg.Connection) -> None:
            begun = time.monotonic()
            with connection.transaction():
                for statement in statements:
                    if connection.execute(statement).rowcount != 1:
                        self.findings.append(f"{name}: no row for {statement}")
            self.slowest_write = max(self.slowest_write, time.monotonic() - begun)
            self.reads[name] += 1
            time.sleep(0.005)

        self._start(name, loop)

    def hold(self, name: str, statement: str, seconds: float) -> None:
        """One who reads and then leaves the transaction open, again and again, every other time with its snapshot."""
        self.reads[name] = 0
        levels = cycle(["READ COMMITTED", "REPEATABLE READ"])

        def loop(connection: psycopg.Connection) -> None:
            with connection.transaction():
                connection.execute(f"SET TRANSACTION ISOLATION LEVEL {next(levels)}")  # type: ignore[arg-type]
                connection.execute(statement)
                self._stop.wait(seconds)
            self.reads[name] += 1
            time.sleep(seconds / 2)

        self._start(name, loop)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(t.is_alive() for t in self._threads), "a reader hangs"

    def _known(self, name: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            self.reads[f"{name}, {source}"], self.seen[f"{name}, {source}"] = 0, set()
        return sources

    def _look(self, connection: psycopg.Connection, name: str, source: str, fresh: bool, floor: int) -> tuple[Any, ...]:
        begun = time.monotonic()
        row = connection.execute(LOOK.format(source)).fetchone()  # type: ignore[arg-type]
        self.slowest = max(self.slowest, time.monotonic() - begun)
        assert row is not None
        count, low, high, events, stored = row
        key = f"{name}, {source}"
        self.reads[key] += 1
        self.seen[key].add(high)
        if count != self.rows or low != high:
            self.findings.append(f"{key}: {count} rows of versions {low} to {high}")
        elif fresh and low < floor:
            self.findings.append(f"{key}: rows of version {low} after the switch to {floor}")
        elif fresh and events != stored:
            self.findings.append(f"{key}: {events} of {stored} events are in the rows of version {low}")
        return (count, low, high, events)

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


@contextmanager
def _repeatable(connection: psycopg.Connection) -> Iterator[None]:
    """A REPEATABLE READ transaction that has its snapshot."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT 1")
    yield
    connection.execute("COMMIT")
