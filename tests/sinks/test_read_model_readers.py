"""Readers while versions are published under them: old or new, never an error, never half, never mixed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Accounts

COUNT = 60
SQL = """
    SELECT count(*), count(DISTINCT balance), min(balance), (SELECT position FROM runner.checkpoints) FROM accounts
"""
READER = """
import sys, duckdb
reads, seen = 0, set()
print("ready", flush=True)
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        row = connection.execute(sys.argv[2]).fetchone()
        again = connection.execute(sys.argv[2]).fetchone()
    assert row == again, (row, again)
    assert row[0] == 60 and row[1] == 1 and row[2] == row[3], row
    seen.add(row); reads += 1
print(reads, len(seen))
"""


def _state(n: int) -> dict[str, int]:
    return {f"a{i}": n for i in range(COUNT)}


def _publish_many(accounts: Accounts, until: float, at_least: int) -> int:
    """Rebuilds, updates and rollbacks, each changing every row to its position."""
    live = accounts.models.live("accounts")
    assert live is not None
    n, rounds = live.position, 0
    while rounds < at_least or time.monotonic() < until:
        n += 1
        if rounds % 3 == 0:
            accounts.rebuild(_state(n), n)
        else:
            accounts.update(_state(n), n)
        rounds += 1
        if rounds % 8 == 0:
            accounts.models.rollback("accounts")
    return rounds


def test_processes_reading_the_catalog_file_never_see_half(accounts: Accounts, root: Path) -> None:
    accounts.rebuild(_state(1), 1)
    arguments = [sys.executable, "-c", READER, str(root / "catalog.duckdb"), SQL]
    readers = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    _publish_many(accounts, time.monotonic() + 0.8, 9)
    for reader in readers:
        out, err = reader.communicate("stop\n", timeout=60)
        assert reader.returncode == 0, err
        reads, states = map(int, out.split())
        assert reads > 3
        assert states > 1, "the reader saw no switch at all"


def test_threads_of_the_publishing_process_never_see_half(accounts: Accounts, root: Path) -> None:
    accounts.rebuild(_state(1), 1)
    stop = threading.Event()
    wrong: list[object] = []
    seen: dict[str, set[object]] = {"file": set(), "connect": set()}

    def read(way: str) -> None:
        try:
            while not stop.is_set():
                opened = duckdb.connect(str(root / "catalog.duckdb"), read_only=True) if way == "file" else None
                with closing(opened or accounts.models.connect()) as connection:
                    row = connection.execute(SQL).fetchone()
                assert row is not None
                seen[way].add(row)
                if not (row[0] == COUNT and row[1] == 1 and row[2] == row[3]):
                    wrong.append(row)
        except Exception as error:  # any error at all is what this test looks for
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(way,)) for way in ("file", "connect", "file")]
    for thread in threads:
        thread.start()
    _publish_many(accounts, time.monotonic() + 0.8, 9)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(seen["connect"]) > 1


def test_an_open_catalog_keeps_showing_what_it_showed(accounts: Accounts, root: Path) -> None:
    catalog = str(root / "catalog.duckdb")
    accounts.rebuild({"a": 1}, 1)
    with duckdb.connect(catalog, read_only=True) as before, accounts.models.connect() as mine:
        for n in range(2, 12):  # also beyond the kept versions: the grace period keeps their files
            accounts.rebuild({"a": n}, n)
            accounts.update({"a": n, "b": n}, n)
        for old in (before, mine):
            assert old.execute("SELECT * FROM accounts").fetchall() == [("a", 1, "")]
            assert old.execute("SELECT position FROM runner.checkpoints").fetchall() == [(1,)]
        # DuckDB has one instance per path and process: this one is the old catalog still. connect() is not.
        with duckdb.connect(catalog, read_only=True) as again:
            assert again.execute("SELECT count(*) FROM accounts").fetchall() == [(1,)]
        assert accounts.rows() == {"a": 11, "b": 11}
        shown = (
            f"import duckdb; connection = duckdb.connect({catalog!r}, read_only=True)\n"
            "print(connection.sql('SELECT sum(balance) FROM accounts').fetchall())"
        )
        other = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
        assert other.stdout == "[(22,)]\n"
    with duckdb.connect(catalog, read_only=True) as after:
        assert after.execute("SELECT sum(balance) FROM accounts").fetchall() == [(22,)]


def test_a_writing_user_of_the_catalog_does_not_stop_a_publish(accounts: Accounts, root: Path) -> None:
    accounts.rebuild({"a": 1}, 1)
    with duckdb.connect(str(root / "catalog.duckdb")) as careless:
        careless.execute("CREATE TABLE mine (x INTEGER)")
        accounts.rebuild({"a": 2}, 2)
    assert accounts.rows() == {"a": 2}
    assert not accounts.models.repair()


def test_versions_beyond_the_kept_go_after_the_grace_period(make_accounts: Callable[..., Accounts], root: Path) -> None:
    accounts = make_accounts(keep=1, grace=timedelta(hours=1))
    for n in range(1, 5):
        accounts.rebuild({"a": n}, n)
    place = root / "accounts"
    assert [v.number for v in accounts.models.versions("accounts")] == [4, 3]
    assert sorted(p.name for p in place.iterdir() if p.is_dir()) == ["v1", "v2", "v3", "v4"]
    accounts = make_accounts(keep=1, grace=timedelta(0))
    accounts.update({"b": 5}, 5)
    assert sorted(p.name for p in place.iterdir()) == ["v3", "v3.lock", "v4", "v4.lock"]
    assert accounts.models.rollback("accounts").number == 3
    assert accounts.rows() == {"a": 3}
    accounts.rebuild({"a": 5}, 5)
    assert accounts.models.live("accounts").number == 5, "a version number was used twice"


def test_rollback_forward_needs_its_number(accounts: Accounts) -> None:
    for n in range(1, 4):
        accounts.rebuild({"a": n}, n)
    assert accounts.models.rollback("accounts").number == 2
    assert [v.number for v in accounts.models.versions("accounts")] == [2, 1, 3]
    assert accounts.models.rollback("accounts", to=3).number == 3
    assert accounts.rows() == {"a": 3}
    assert accounts.models.rollback("accounts").number == 2
    assert accounts.models.rollback("accounts").number == 1
