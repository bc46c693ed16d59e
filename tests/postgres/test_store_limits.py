"""What protects a server, and what is known before and of a part: limits, plans, fractions of the aggregates."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stores_of_libraries import Project, read, store

from runner.cli.app import run
from runner.config.stores import Limits
from runner.errors import ConfigError, PostgresTimeout
from runner.jobs.syncing.fraction import parse_fraction
from runner.jobs.syncing.sync import sync
from runner.jobs.syncing.sync_plan import plan_sync
from runner.log import Log
from runner.postgres import SQL
from runner.sources import open_source
from runner.sources.postgres import extraction
from runner.sources.postgres.tail import Span
from runner.stats import Noted

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored

PLAIN = {
    "preset": "custom",
    "table": "events",
    "position": "id",
    "aggregate_id": "stream",
    "version": "version",
    "type": "type",
    "payload": "data",
    "tail": "serialised",
}


@pytest.fixture
def large(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """40,000 events of 400 streams, positions in clusters, in cuts of some thousands."""
    database.sql("""
        CREATE TABLE events (id bigint PRIMARY KEY, stream text, version int, type text, data jsonb);
        INSERT INTO events SELECT n + n / 10000 * 500000, 'stream-' || n % 400, n / 400, 'happened',
                                  jsonb_build_object('n', n) FROM generate_series(0, 39999) n;
        ANALYZE events""")
    monkeypatch.setattr(extraction, "FIRST_WIDTH", 1000)
    monkeypatch.setattr(extraction, "ROWS", 3000)
    return database


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_cuts_are_handed_on_in_order(connections: int, large: Database) -> None:
    busy: list[int] = []
    with closing(open_source(store(large, **PLAIN, max_connections=connections))) as reader:
        found = []
        for piece in reader.pieces():
            found.append(piece.events.column("source_position_1").to_numpy())
            if len(found) % 10 == 1:
                name = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'projection-runner: sync%'"
                busy.append(large.sql(name)[0][0])
    n = np.arange(40_000)
    assert (np.concatenate(found) == n + n // 10_000 * 500_000).all()
    # One more looks at the tail.
    assert max(busy) <= connections + 1


def test_a_reading_that_is_given_up(large: Database) -> None:
    with closing(open_source(store(large, **PLAIN, max_connections=3))) as reader:
        pieces = reader.pieces()
        for _ in range(3):
            next(pieces)
        after = reader.mark()["tenants"][""]["after"][0]
        pieces.close()
        mark = json.loads(json.dumps(reader.mark()))
        assert mark["tenants"][""]["after"] == [after]
    gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'projection-runner%'"
    until = time.monotonic() + 10
    while large.sql(gone) != [(0,)]:
        assert time.monotonic() < until
        time.sleep(0.05)
    events, _ = read(large, mark, **PLAIN)
    total = large.sql(f"SELECT count(*) FROM events WHERE id > {after}")[0][0]
    assert len(events) == total


def test_an_order_without_an_index(large: Database) -> None:
    large.sql("ALTER TABLE events DROP CONSTRAINT events_pkey")
    events, _ = read(large, **PLAIN)
    assert [e["source_position_1"] for e in events[:3]] == [0, 1, 2]
    assert len(events) == 40_000


def test_rows_per_second() -> None:
    throttle = extraction.Throttle(1_000)
    stop = threading.Event()
    begun = time.monotonic()
    for _ in range(4):
        throttle.take(500, stop)
    # A second's worth comes at once, the rest is owed.
    assert time.monotonic() - begun >= 0.95
    stop.set()
    throttle.take(1_000_000, stop)
    extraction.Throttle(0).take(1_000_000, threading.Event())


@pytest.mark.parametrize("connections", [1, 3])
def test_every_row_counts_for_the_rate(connections: int, large: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(extraction.Throttle, "take", lambda _self, rows, _stop: taken.append(rows))
    events, _ = read(large, **PLAIN, max_connections=connections, max_rows_per_second=1_000_000)
    assert sum(taken) == len(events) == 40_000


def test_a_reading_under_way_holds_no_writer_up(database: Database) -> None:
    """It is stopped in the middle of its rows, where a lock of the test's is in its way."""
    database.sql("""
        CREATE TABLE events (id bigint PRIMARY KEY, stream text, version int, type text, data jsonb);
        INSERT INTO events SELECT n, 'a', n, 'happened', '{}' FROM generate_series(1, 9) n;
        CREATE FUNCTION wait_there() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_lock_shared(7); PERFORM pg_advisory_unlock_shared(7); RETURN 0; END $$""")
    keys = {**PLAIN, "query": "SELECT id, stream, version + wait_there() AS version, type, data FROM events"}
    del keys["table"]
    found: list[int] = []
    reading = threading.Thread(target=lambda: found.append(len(read(database, **keys)[0])))
    with database.connect() as other:
        other.execute("SELECT pg_advisory_lock(7)")
        reading.start()
        waits = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until = time.monotonic() + 30
        while not (pids := other.execute(waits).fetchall()):
            assert time.monotonic() < until
            time.sleep(0.02)
        modes = "SELECT DISTINCT mode FROM pg_locks WHERE pid = ANY(%s) AND locktype IN ('relation', 'tuple')"
        assert other.execute(modes, [[pid for (pid,) in pids]]).fetchall() == [("AccessShareLock",)]
        other.execute("SET lock_timeout = '5s'")
        other.execute("UPDATE events SET type = 'changed' WHERE id = 9")
        other.execute("INSERT INTO events VALUES (10, 'a', 10, 'happened', '{}')")
        other.execute("SELECT pg_advisory_unlock(7)")
        reading.join()
    assert found == [9]


@pytest.mark.parametrize("connections", [1, 3])
def test_a_rate_makes_no_statement_outlast_its_timeout(connections: int) -> None:
    """The slower rows may be read, the fewer one statement asks for, however many a cut would hold otherwise."""
    limits = Limits(connections, rows_per_second=600, statement_seconds=8.0)
    made = extraction.Extraction("test", lambda: pytest.fail("no connection is needed"), limits)
    span = Span(0, SQL("TRUE"), SQL("id"), 0, 20_000)
    widths = []
    for cut in made._cuts(span, cuttable=True):
        assert cut.low is not None
        assert cut.high is not None
        cut.rows = cut.high - cut.low
        widths.append(cut.rows)
        made._learn(cut)
    assert sum(widths) == 20_000
    assert max(widths) * connections <= 600 * 8.0 / 4
    without = extraction.Extraction(
        "test", lambda: pytest.fail("none"), Limits(rows_per_second=600, statement_seconds=0)
    )
    assert next(iter(without._cuts(span, cuttable=True))).high == 20_000


def test_statement_timeout(database: Database) -> None:
    database.sql("CREATE FUNCTION slow() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(30)'")
    columns = "g AS id, 'a' AS stream, 't' AS type, '{}'::jsonb AS data, slow() AS version"
    query = f"SELECT {columns} FROM generate_series(1, 9) g"
    keys = {**PLAIN, "query": query, "statement_timeout": "500ms"}
    del keys["table"]
    with pytest.raises(PostgresTimeout, match="statement timeout"):
        read(database, **keys)


def test_a_server_without_replicas_is_not_behind(database: Database) -> None:
    with closing(open_source(store(database, **PLAIN))) as reader, reader.connect("test") as connection:  # type: ignore[attr-defined]
        assert extraction.replica_lag(connection, "test") == 0.0
    made = extraction.Extraction("test", lambda: pytest.fail("no connection is needed"), Limits(replica_lag_seconds=5))
    made.close()


@pytest.mark.parametrize("connections", [1, 3])
def test_reading_waits_for_a_standby_and_says_so(
    connections: int, large: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = [90.0, 70.0, 2.0]
    monkeypatch.setattr(extraction, "replica_lag", lambda *_: behind.pop(0) if behind else 0.0)
    monkeypatch.setattr(extraction, "LAG_POLL", 0.01)
    keys = {**PLAIN, "url_env": large.env, "max_connections": connections, "max_replica_lag": "30s"}
    told: list[Any] = []
    project = Project(tmp_path, store=keys)
    assert sync(project.config, listener=told.append).events > 0
    assert behind == []
    (noted,) = [fact.text for fact in told if isinstance(fact, Noted)]
    assert "[sources.store]: reading waits for a standby that is " in noted
    assert "s behind (max_replica_lag is 30 s)" in noted


@pytest.mark.parametrize("connections", [1, 3])
def test_a_wait_for_a_standby_ends_with_the_sync(
    connections: int, large: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What interrupts the thread that reads ends the wait of all connections."""
    monkeypatch.setattr(extraction, "replica_lag", lambda *_: 90.0)
    monkeypatch.setattr(extraction, "LAG_POLL", 0.01)
    keys = {**PLAIN, "url_env": large.env, "max_connections": connections, "max_replica_lag": "30s"}

    def interrupt(fact: Any) -> None:
        if isinstance(fact, Noted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(Project(tmp_path, store=keys).config, listener=interrupt)
    assert not [t for t in threading.enumerate() if t.name.startswith("extraction")]


# Plans ----------------------------------------------------------------------------------------------------------------


def test_plan(large: Database, tmp_path: Path) -> None:
    project = Project(tmp_path, store={**PLAIN, "url_env": large.env})
    (plan,) = plan_sync(project.config).sources
    assert (plan.source, plan.place) == ("store", "public.events")
    assert plan.rows is not None
    assert 36_000 <= plan.rows <= 44_000
    assert plan.octets is not None
    assert plan.disk is not None
    assert 40_000 * 10 < plan.disk < plan.octets
    assert plan.seconds is not None
    assert not project.config.log.path.exists()
    project.sync()
    (plan,) = plan_sync(project.config).sources
    assert (plan.rows, plan.how.split(" ")[0]) == (0, "counted")
    large.sql("INSERT INTO events SELECT 9000000 + n, 'new', n, 't', '{}' FROM generate_series(1, 7) n")
    (plan,) = plan_sync(project.config).sources
    assert plan.rows == 7


def test_plan_on_the_command_line(
    database: Database, restored: Restored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restored(database, "emmett")
    project = Project(tmp_path, store={"preset": "emmett", "url_env": database.env})
    config = ["--config", str(project.folder / "runner.toml")]
    assert run(["sync", "--plan", *config]) == 0
    shown = capsys.readouterr().out
    assert "rows" in shown
    assert "public.emt_messages: " in shown
    assert "no index serves the order" in shown
    assert run(["sync", "--plan", "--json", *config]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert 9_000 <= as_json["sources"][0]["rows"] <= 11_000
    assert not project.config.log.path.exists()


def test_plan_of_files(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text('{"id": "a", "type": "t"}\n' * 10)
    project = Project(tmp_path, files={"files": "events.ndjson", "aggregate_id": "id", "type": "type"})
    (plan,) = plan_sync(project.config).sources
    assert (plan.rows, plan.octets) == (None, 250)
    project.sync()
    (plan,) = plan_sync(project.config).sources
    assert plan.octets == 0


# Fractions ------------------------------------------------------------------------------------------------------------


def test_whole_aggregates(database: Database, restored: Restored, tmp_path: Path) -> None:
    """The same aggregates whatever is read how; together the fractions are all."""
    restored(database, "message_db")
    keys = {"preset": "message-db", "url_env": database.env}
    whole = Project(tmp_path / "whole", store=keys)
    whole.sync()
    streams: dict[str, list[int]] = {}
    for e in whole.events():
        streams.setdefault(e["aggregate_id"], []).append(e["version"])
    part = Project(tmp_path / "part", store=keys)
    sync(part.config, fraction=parse_fraction("1/10"))
    found: dict[str, list[int]] = {}
    for e in part.events():
        found.setdefault(e["aggregate_id"], []).append(e["version"])
    assert 60 <= len(found) <= 190
    assert all(versions == streams[stream] for stream, versions in found.items())
    identity = Log.open(part.config.log.path).manifest.sources[0].identity
    assert identity["aggregates"] == "1/10"

    more = "INSERT INTO message_store.messages (stream_name, position, type) VALUES ('{}', {}, 'Deposited')"
    mine, other = next(iter(found)), next(s for s in streams if s not in found)
    for stream in (mine, other):
        database.sql(more.format(stream, len(streams[stream])))
    assert sync(part.config, fraction=parse_fraction("1/10")).events == 1
    with pytest.raises(ConfigError, match="the log holds 1/10 of the aggregates of source store, and all of them"):
        part.sync()
    with pytest.raises(ConfigError, match="the log holds all aggregates of source store, and 1/10 of them"):
        sync(whole.config, fraction=parse_fraction("1/10"))


@pytest.mark.parametrize("text", ["", "1", "0/10", "3/2", "10/10", "a/b", "-1/5", "1/0"])
def test_fractions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="takes a part of all"):
        parse_fraction(text)


def test_a_fraction_on_the_command_line(large: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, store={**PLAIN, "url_env": large.env})
    config = ["--config", str(project.folder / "runner.toml")]
    assert run(["sync", "--aggregates", "1/8", "--json", *config]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["events"] % 100 == 0
    assert 2_000 <= report["events"] <= 8_000
    assert run(["sync", *config]) == 2
