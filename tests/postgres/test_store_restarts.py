"""A server that was restarted has the store that was read: what the log left out knowingly stops no sync, and what the
store has lost stops every one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fixtures_postgres import Database
from stores_of_libraries import Project

from runner.errors import SourceChanged, SourceError
from runner.jobs.syncing.fraction import parse_fraction
from runner.jobs.syncing.sync import sync
from runner.log import Log

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_servers import PostgresServer

COMMON: dict[str, Any] = {
    "preset": "custom",
    "table": "events",
    "aggregate_id": "stream",
    "type": "type",
    "payload": "data",
}
BY_TIME = {**COMMON, "position": "pos", "tenant": "tenant", "tail": {"rule": "time", "grace": 0}}
BY_TRANSACTION = {**COMMON, "position": ["tx", "pos"], "version": "version", "tail": "xid"}
SHARED = "CREATE TABLE events (pos bigint PRIMARY KEY, stream text, type text, tenant text, data jsonb)"
WITH_TRANSACTION = """
    CREATE TABLE events (tx xid8 NOT NULL DEFAULT pg_current_xact_id(), pos bigint NOT NULL, stream text, version int,
        type text DEFAULT 't', data jsonb DEFAULT '{}')"""


@pytest.fixture
def own(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database on a server that the test may restart."""
    database = Database(own_postgres, "own", monkeypatch)
    database.create()
    return database


def insert(database: Database, *positions: int) -> None:
    """Of two tenants, each event of an aggregate of its own."""
    rows = [f"({n}, 's{n}', 't', '{'blue' if n % 3 == 1 else 'red'}', '{{}}')" for n in positions]
    database.sql(f"INSERT INTO events VALUES {', '.join(rows)}")


def transacted(database: Database, *rows: tuple[int, int, str, int]) -> None:
    """(transaction, position, stream, version)."""
    for tx, position, stream, version in rows:
        database.sql(
            f"INSERT INTO events (tx, pos, stream, version) VALUES ('{tx}'::xid8, {position}, '{stream}', {version})"
        )


def positions(project: Project) -> list[int]:
    log = Log.open(project.config.log.path)
    found: list[int] = log.places("store").column("source_position_1").to_pylist()
    return found


def test_of_a_fraction_of_the_aggregates(own: Database, tmp_path: Path) -> None:
    own.sql(SHARED)
    insert(own, *range(1, 201))
    project = Project(tmp_path, store={**BY_TIME, "url_env": own.env})
    fraction = parse_fraction("1/4")
    had = sync(project.config, fraction=fraction).events
    assert 10 < had < 100
    own.server.restart()
    insert(own, *range(201, 401))
    assert sync(project.config, fraction=fraction).events > 10
    own.server.restart()
    own.sql(f"DELETE FROM events WHERE pos = {positions(project)[-2]}")
    with pytest.raises(SourceChanged, match="1 events of the log are not there"):
        sync(project.config, fraction=fraction)


def test_while_a_tenant_is_stopped(own: Database, tmp_path: Path) -> None:
    own.sql(SHARED)
    insert(own, *range(1, 41))
    own.sql("UPDATE events SET data = '[]' WHERE pos = 16")
    project = Project(tmp_path, store={**BY_TIME, "url_env": own.env})
    for n in (41, 51):
        with pytest.raises(SourceError, match="1 tenant stopped, the others were read: blue"):
            project.sync()
        own.server.restart()
        insert(own, *range(n, n + 10))
    own.sql("UPDATE events SET data = '{}'")
    project.sync()
    assert sorted(positions(project)) == list(range(1, 61))


def test_while_rows_are_held(own: Database, tmp_path: Path) -> None:
    """A sync that a bad row ends between a version that stands too early and the lower one."""
    own.sql(WITH_TRANSACTION)
    rows = [(1000, 1, "b", 1), (1001, 3, "a", 2), (1002, 4, "b", 2), (1003, 9, "b", 3), (1004, 2, "a", 1)]
    transacted(own, *rows)
    own.sql("UPDATE events SET data = '[]' WHERE pos = 9")
    project = Project(tmp_path, store={**BY_TRANSACTION, "url_env": own.env})
    with pytest.raises(SourceError, match=r"row at position \(1003, 9\)"):
        project.sync()
    assert project.mark()["tenants"][""]["held"] == [[1001, 3]]
    own.server.restart()
    own.sql("UPDATE events SET data = '{}'")
    project.sync()
    assert sorted(positions(project)) == [1, 2, 3, 4, 9]
    # Now it stands behind others in the log, and among them in the store.
    own.server.restart()
    assert project.sync().events == 0


def test_after_late_rows(own: Database, tmp_path: Path) -> None:
    own.sql(SHARED)
    insert(own, 1, 2, 4, 5)
    project = Project(tmp_path, store={**BY_TIME, "url_env": own.env})
    project.sync()
    insert(own, 3, 6)
    project.sync()
    assert positions(project) == [1, 2, 4, 5, 3, 6]
    own.server.restart()
    assert project.sync().events == 0
    own.server.restart()
    own.sql("DELETE FROM events WHERE pos = 3")
    with pytest.raises(SourceChanged, match=r"1 events of the log are not there \(position 3\)"):
        project.sync()


def test_of_a_restored_store_whose_new_rows_have_lower_transactions(own: Database, tmp_path: Path) -> None:
    own.sql(WITH_TRANSACTION)
    transacted(own, *((40_000_000 + n, n, f"old {n}", 1) for n in range(1, 6)))
    project = Project(tmp_path, store={**BY_TRANSACTION, "url_env": own.env})
    assert project.sync().events == 5
    for n in (6, 7, 8):
        own.sql(f"INSERT INTO events (pos, stream, version) VALUES ({n}, 'new {n}', 1)")
    assert project.sync().events == 3
    own.server.restart()
    assert project.sync().events == 0
    own.sql("DELETE FROM events WHERE pos > 6")
    own.server.restart()
    for _ in range(2):
        with pytest.raises(SourceChanged, match="2 events of the log are not there"):
            project.sync()


def test_with_a_partition_that_came_and_one_that_went(own: Database, tmp_path: Path) -> None:
    """What came with rows of former positions is taken in late; where what was read went, the error says so."""
    own.sql("""
        CREATE SEQUENCE drawn;
        CREATE TABLE events (pos bigint DEFAULT nextval('drawn'), stream text, type text DEFAULT 't', part int,
            data jsonb DEFAULT '{}') PARTITION BY LIST (part);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
        CREATE TABLE "Events 2" (LIKE events INCLUDING DEFAULTS);
        CREATE TABLE events_3 (LIKE events INCLUDING DEFAULTS);
        INSERT INTO events (stream, part) VALUES ('a', 1);
        INSERT INTO "Events 2" (stream, part) SELECT 'b' || n, 2 FROM generate_series(1, 3) n;
        INSERT INTO events (stream, part) VALUES ('c', 1)""")
    keys = {**COMMON, "position": "pos", "tail": {"rule": "gaps", "sequence": "drawn"}, "url_env": own.env}
    project = Project(tmp_path, store=keys)
    assert project.sync().events == 2
    own.sql("""
        ALTER TABLE events ATTACH PARTITION "Events 2" FOR VALUES IN (2);
        ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES IN (3)""")
    own.server.restart()
    assert project.sync().events == 3
    assert positions(project) == [1, 5, 2, 3, 4]
    # One that was replaced by a copy of itself holds what the log has.
    own.sql("""
        CREATE TABLE copied (LIKE events INCLUDING DEFAULTS);
        INSERT INTO copied SELECT * FROM "Events 2";
        ALTER TABLE events DETACH PARTITION "Events 2";
        ALTER TABLE events ATTACH PARTITION copied FOR VALUES IN (2)""")
    own.server.restart()
    assert project.sync().events == 0
    # One without rows may go.
    own.sql("DROP TABLE events_3")
    own.server.restart()
    assert project.sync().events == 0
    own.sql("ALTER TABLE events DETACH PARTITION copied")
    own.server.restart()
    with pytest.raises(SourceChanged, match=r"positions 2, 3, 4.* The partition public\.copied was detached"):
        project.sync()
    own.sql("DROP TABLE copied")
    with pytest.raises(SourceChanged, match=r"positions 2, 3, 4.* A partition was dropped, the server was restarted"):
        project.sync()
