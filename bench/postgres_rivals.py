"""What ``postgres.py`` compares the runner with: bare COPY both ways, and the loop that one would write by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from postgres_stores import COLUMNS
from psycopg import sql

from runner.postgres.copy_reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FIELDS",
    "bare_copy_in",
    "bare_copy_out",
    "copied_bytes",
    "cursor_loop",
    "key_and_analyze",
    "timed_read_loop",
]

FIELDS = ("balance", "deposits", "withdrawals", "largest", "last_at", "open")
_TABLE = """
CREATE TABLE {name} (aggregate_id text NOT NULL, balance bigint NOT NULL, deposits bigint NOT NULL,
    withdrawals bigint NOT NULL, largest bigint NOT NULL, last_at timestamptz NOT NULL, open boolean NOT NULL{key})
"""


def bare_copy_out(url: str) -> float:
    """Seconds of psql for the ledger as binary COPY to nowhere; without a psql, of libpq in a compiled loop."""
    query = f"COPY (SELECT {COLUMNS} FROM ledger ORDER BY position) TO STDOUT (FORMAT binary)"
    psql = shutil.which("psql")
    begun = time.perf_counter()
    if psql is not None:
        subprocess.run([psql, "-X", "-q", "-c", query, url], stdout=subprocess.DEVNULL, check=True, env=os.environ)
        return time.perf_counter() - begun
    with psycopg.connect(url, autocommit=True) as connection:
        begun = time.perf_counter()
        with Reading(connection, sql.SQL(query).format(), octets=1 << 20, rows=1 << 20) as reading:
            while (filled := reading.take(lambda: None)) is not None:
                reading.give_back(filled)
        return time.perf_counter() - begun


def timed_read_loop(url: str) -> float:
    """Seconds of psycopg's own reading of the same, a row a call, to nowhere."""
    query = f"COPY (SELECT {COLUMNS} FROM ledger ORDER BY position) TO STDOUT (FORMAT binary)"
    with psycopg.connect(url, autocommit=True) as connection:
        begun = time.perf_counter()
        with connection.cursor().copy(query.encode()) as copy:
            for _ in copy:
                pass
        return time.perf_counter() - begun


def copied_bytes(url: str, table: str) -> list[bytes]:
    """A table as binary COPY, in pieces of about a megabyte."""
    pieces: list[bytes] = []
    with psycopg.connect(url, autocommit=True) as connection:
        query = f"COPY (SELECT aggregate_id, {', '.join(FIELDS)} FROM {table}) TO STDOUT (FORMAT binary)"
        with connection.cursor().copy(query.encode()) as copy:
            gathered = bytearray()
            for block in copy:
                gathered += block
                if len(gathered) > 1 << 20:
                    pieces.append(bytes(gathered))
                    gathered.clear()
            pieces.append(bytes(gathered))
    return pieces


def bare_copy_in(url: str, pieces: Sequence[bytes]) -> float:
    """Seconds of a bare binary COPY of prepared bytes into a new table without an index."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"DROP TABLE IF EXISTS bare")
        begun = time.perf_counter()
        connection.execute(_TABLE.format(name="bare", key="").encode())
        with connection.cursor().copy(b"COPY bare FROM STDIN (FORMAT binary)") as copy:
            for piece in pieces:
                copy.write(piece)
        return time.perf_counter() - begun


def key_and_analyze(url: str) -> float:
    """Seconds of what a table needs behind its COPY before it is used."""
    with psycopg.connect(url, autocommit=True) as connection:
        begun = time.perf_counter()
        connection.execute(b"ALTER TABLE bare ADD PRIMARY KEY (aggregate_id)")
        connection.execute(b"ANALYZE bare")
        return time.perf_counter() - begun


def cursor_loop(url: str) -> float:
    """Seconds of the plain way: a server-side cursor, a dict of states, upserts by executemany."""
    begun = time.perf_counter()
    states: dict[str, list[Any]] = {}
    with psycopg.connect(url) as connection:
        connection.execute(b"DROP TABLE IF EXISTS by_loop")
        connection.execute(_TABLE.format(name="by_loop", key=", PRIMARY KEY (aggregate_id)").encode())
        with connection.cursor(name="events") as cursor:
            cursor.itersize = 10_000
            cursor.execute(b"SELECT account, type, data, recorded_at FROM ledger ORDER BY position")
            for account, kind, data, recorded_at in cursor:
                state = states.get(account)
                if state is None:
                    state = states[account] = [0, 0, 0, 0, datetime(1970, 1, 1, tzinfo=UTC), False]
                if kind == "money.deposited":
                    amount = data["amount"]
                    state[0] += amount
                    state[1] += 1
                    state[3] = max(state[3], amount)
                elif kind == "money.withdrawn":
                    state[0] -= data["amount"]
                    state[2] += 1
                else:
                    state[5] = True
                state[4] = recorded_at
        connection.cursor().executemany(
            f"INSERT INTO by_loop VALUES ({', '.join(['%s'] * 7)}) ON CONFLICT (aggregate_id) DO UPDATE SET ".encode()
            + ", ".join(f"{name} = excluded.{name}" for name in FIELDS).encode(),
            [(str(account), *state) for account, state in states.items()],
        )
    return time.perf_counter() - begun
