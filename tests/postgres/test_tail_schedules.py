"""Thousands of transactions of real concurrent writers, while a reader goes by the rules; after the dust settles every
committed event was read exactly once, each aggregate's in order. The naive reader, on the same schedule, loses events.

A schedule is told by its seed, which is printed: what each writer does, how long it waits between draws, whether it
commits, rolls back, prepares, or uses savepoints. Only the threads' interleaving is the machine's.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tail_cases import PAIRS, PARTITIONED, PLAIN, WITH_TRANSACTION, Naive, Reader, check, committed, write

from runner.sources.postgres.tail import TailConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from fixtures_postgres import Database

PATIENCE = 120.0


@dataclass(frozen=True)
class Plan:
    """What the writers of a schedule do. tables: where they insert, with the value of ``part``. cached: sessions
    reconnect, as a pool that renews its connections does.
    """

    seed: int
    writers: int
    transactions: int
    tables: tuple[tuple[str, int | None], ...] = (("events", None),)
    prepared: float = 0.03
    savepoints: float = 0.2
    rollbacks: float = 0.2
    slow: float = 0.03
    asynchronous: float = 0.3
    reconnects: float = 0.0


class Writer(threading.Thread):
    """Writes events of its own aggregates with versions without a gap, as a checked append would."""

    def __init__(self, database: Database, plan: Plan, number: int) -> None:
        super().__init__(daemon=True)
        self._database, self._plan, self._number = database, plan, number
        self._random = random.Random(f"{plan.seed} {number}")
        self._versions = {f"w{number}-{i}": 0 for i in range(6)}
        self._prepared: list[tuple[str, dict[str, int]]] = []
        self.error: BaseException | None = None
        self.longest = 0.0
        self.rolled_back = 0

    def run(self) -> None:
        try:
            connection = self._connect()
            for n in range(self._plan.transactions):
                if self._random.random() < self._plan.reconnects:
                    connection.close()
                    connection = self._connect()
                self._transaction(connection, n)
            for gid, _ in self._prepared:
                connection.execute(f"COMMIT PREPARED '{gid}'")
            connection.close()
        except BaseException as error:
            self.error = error

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self._database.connect(application_name=f"writer {self._number}")

    def _transaction(self, connection: psycopg.Connection[tuple[Any, ...]], n: int) -> None:
        r, plan = self._random, self._plan
        begun = time.monotonic()
        connection.execute("BEGIN")
        if r.random() < plan.asynchronous:
            connection.execute("SET LOCAL synchronous_commit = off")
        busy = {agg for _, versions in self._prepared for agg in versions}
        written: dict[str, int] = {}
        for i in range(r.randint(1, 4)):
            agg = r.choice([a for a in self._versions if a not in busy])
            if r.random() < plan.savepoints:
                connection.execute(f"SAVEPOINT s{i}")
                self._insert(connection, agg, 1_000_000)
                connection.execute(f"ROLLBACK TO SAVEPOINT s{i}")
            written[agg] = written.get(agg, self._versions[agg]) + 1
            self._insert(connection, agg, written[agg])
            if r.random() < 0.3:
                time.sleep(r.random() * 0.01)
        if r.random() < plan.slow:
            time.sleep(0.1)
        self._end(connection, n, written)
        self.longest = max(self.longest, time.monotonic() - begun)

    def _end(self, connection: psycopg.Connection[tuple[Any, ...]], n: int, written: dict[str, int]) -> None:
        choice = self._random.random()
        if choice < self._plan.rollbacks:
            connection.execute("ROLLBACK")
            self.rolled_back += 1
        elif choice < self._plan.rollbacks + self._plan.prepared and not self._prepared:
            gid = f"{self._database.name} {self._number} {n}"
            connection.execute(f"PREPARE TRANSACTION '{gid}'")
            self._prepared.append((gid, written))
            return
        else:
            connection.execute("COMMIT")
            self._versions |= written
        if self._prepared and self._random.random() < 0.3:
            gid, versions = self._prepared.pop()
            connection.execute(f"{'COMMIT' if self._random.random() < 0.7 else 'ROLLBACK'} PREPARED '{gid}'")
            if gid in self._rolled(connection):
                raise AssertionError("a prepared transaction is still there")
            self._versions |= self._there(connection, versions)

    def _rolled(self, connection: psycopg.Connection[tuple[Any, ...]]) -> set[str]:
        return {gid for (gid,) in connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall()}

    def _there(self, connection: psycopg.Connection[tuple[Any, ...]], versions: dict[str, int]) -> dict[str, int]:
        """What of a prepared transaction was committed."""
        rows = connection.execute(
            "SELECT agg, max(version) FROM events WHERE agg = ANY(%s) GROUP BY agg", (list(versions),)
        ).fetchall()
        return dict(rows)

    def _insert(self, connection: psycopg.Connection[tuple[Any, ...]], agg: str, version: int) -> None:
        table, part = self._random.choice(self._plan.tables)
        write(connection, agg, version, table, **({} if part is None else {"part": part}))


class SureLoss:
    """Interleavings by which ``position > last`` must lose an event: drawn before, committed after a poll that saw
    more."""

    def __init__(self, database: Database) -> None:
        self._slow, self._quick = database.connect(), database.connect()
        self._slow.autocommit = False
        self.lost: list[int] = []

    def act(self, naive: Naive) -> None:
        n = len(self.lost) + 1
        drawn = write(self._slow, "passed by", n)
        write(self._quick, "in front", n)
        naive.poll()
        self._slow.commit()
        self.lost.append(drawn)

    def close(self) -> None:
        self._slow.close()
        self._quick.close()


def run(database: Database, plan: Plan, reader: Reader, naive: Naive | None, again: float) -> list[Writer]:
    """Let the writers write while the reader reads; both are done when it returns."""
    sys.stdout.write(f"schedule: {plan}\n")
    writers = [Writer(database, plan, number) for number in range(plan.writers)]
    r = random.Random(f"{plan.seed} reader")
    sure = SureLoss(database)
    for writer in writers:
        writer.start()
    end = time.monotonic() + PATIENCE
    while any(w.is_alive() for w in writers):
        assert time.monotonic() < end, "the schedule does not come to its end"
        if naive is not None and r.random() < 0.1:
            sure.act(naive)
        if naive is not None:
            naive.poll()
        reader.step(between=(lambda: time.sleep(0.005)) if r.random() < 0.2 else (lambda: None))
        if r.random() < again:
            reader.again()
    for writer in writers:
        writer.join()
        if writer.error is not None:
            raise writer.error
    if naive is not None:
        for _ in range(3):
            sure.act(naive)
        naive.poll()
        assert sure.lost
        assert not set(sure.lost) & set(naive.positions)
    sure.close()
    return writers


def drain(reader: Reader, done: Callable[[], bool]) -> None:
    """Read on until ``done``; everything has ended, so it may not take long."""
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "something holds the watermark although every writer has ended"
        reader.step()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20_261_123, 7])
def test_a_fenced_sequence(each_database: Database, seed: int) -> None:
    each_database.sql(PARTITIONED)
    tables = (("events", 0), ("events", 1), ("events_0", 0), ("events_1", 1), ("events_1_a", 1))
    with closing(Reader(each_database, "gaps")) as reader, closing(Naive(each_database)) as naive:
        plan = Plan(seed, writers=8, transactions=250, tables=tables)
        writers = run(each_database, plan, reader, naive, again=0.02)
        reader.step()
        reader.step()
        events = committed(each_database)
        check(reader, events)
        lost = len(events) - len(set(naive.positions))
        assert lost > 0
        sys.stdout.write(
            f"{sum(w.rolled_back for w in writers)} rollbacks, {len(events)} events; the naive reader lost {lost}, "
            f"the fence none; the longest writer took {max(w.longest for w in writers):.3f} s\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20_261_123, 7])
def test_transaction_ids(each_database: Database, seed: int) -> None:
    each_database.sql(WITH_TRANSACTION)
    # Writers that begin and draw ids long before they insert are passed after a moment, and come late.
    config = TailConfig("xid", patience=timedelta(milliseconds=20))
    with closing(Reader(each_database, config, PAIRS)) as reader, closing(Naive(each_database)) as naive:
        run(each_database, Plan(seed, writers=8, transactions=250), reader, naive, again=0.02)
        reader.step()
        reader.step()
        events = committed(each_database)
        check(reader, events)
        assert len(events) > len(set(naive.positions))


@pytest.mark.slow
def test_a_sequence_with_a_cache(database: Database) -> None:
    database.sql(PLAIN)
    database.sql("ALTER SEQUENCE events_pos_seq CACHE 16")
    with closing(Reader(database, "sessions")) as reader, closing(Naive(database)) as naive:
        run(database, Plan(3, writers=6, transactions=200, reconnects=0.2), reader, naive, again=0.0)
        naive.close()
        reader.step()
        drain(reader, lambda: reader.tail.look(reader.looking).holders == ())
        reader.step()
        check(reader, committed(database))


@pytest.mark.slow
def test_the_plain_table_with_a_process_for_each_look(database: Database) -> None:
    database.sql(PLAIN)
    with closing(Reader(database, "gaps")) as reader:
        run(database, Plan(11, writers=6, transactions=100, prepared=0.1), reader, None, again=1.0)
        reader.again()
        reader.step()
        reader.step()
        check(reader, committed(database))
