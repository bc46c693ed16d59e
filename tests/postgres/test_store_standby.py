"""A real standby, which streams from a server of the test's own: read with the stated delay, followed, promoted while
it is followed; and a standby that falls behind.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fixtures_postgres import Database
from followers import STORE, Follower, append, folded, rows, started
from postgres_servers import PATIENCE, PostgresServer
from stores_of_libraries import Project, store

from runner.errors import PostgresTimeout
from runner.jobs.syncing.sync import sync
from runner.sources.postgres import extraction
from runner.sources.postgres.watermark import watermarks
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from runner.stats import Fact

COLUMNS = "stream text, version int, type text DEFAULT 't', data jsonb DEFAULT '{}'"
TABLES = f"""
    CREATE TABLE drawn (pos bigserial PRIMARY KEY, {COLUMNS});
    CREATE TABLE transacted (tx xid8 DEFAULT pg_current_xact_id(), pos bigserial, {COLUMNS}, PRIMARY KEY (tx, pos))"""
KEYS = {
    "preset": "custom",
    "aggregate_id": "stream",
    "version": "version",
    "type": "type",
    "payload": "data",
    "namespace": "both",
}


class Pair:
    """A primary and its standby, with one database."""

    def __init__(self, primary: Database, standby: Database) -> None:
        self.primary, self.standby = primary, standby

    def caught_up(self) -> None:
        """Wait until the standby has replayed all that the primary wrote."""
        ((end,),) = self.primary.sql("SELECT pg_current_wal_insert_lsn()::text")
        self.comes(f"SELECT pg_last_wal_replay_lsn() >= '{end}'")

    def comes(self, question: str) -> None:
        """Wait until the standby says yes."""
        until = time.monotonic() + PATIENCE
        while self.standby.sql(question) != [(True,)]:
            assert time.monotonic() < until, question


@pytest.fixture
def pair(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    primary = Database(own_postgres, "own", monkeypatch)
    primary.create()
    standby = PostgresServer.standby_of(own_postgres)
    try:
        yield Pair(primary, Database(standby, "own", monkeypatch))
    finally:
        standby.close()


def test_read_with_the_stated_delay(pair: Pair, tmp_path: Path) -> None:
    """Its snapshots tell which transactions ended, exactly; who holds a gap is not seen there: it is passed by time,
    and asked for again.
    """
    pair.primary.sql(TABLES)
    drawn = {"table": "drawn", "position": "pos", "tail": {"rule": "gaps", "grace": "100ms"}}
    transacted = {"table": "transacted", "position": ["tx", "pos"], "tail": "xid"}
    keys = {**KEYS, "url_env": pair.standby.env}
    project = Project(tmp_path, drawn={**keys, **drawn}, transacted={**keys, **transacted})
    with closing(pair.primary.connect()) as slow:
        slow.autocommit = False
        for table in ("drawn", "transacted"):
            insert = "INSERT INTO " + table + " (stream, version) VALUES ('{}', 1)"
            slow.execute(insert.format("slow " + table))
            pair.primary.sql(insert.format("quick " + table))
        pair.caught_up()
        assert project.sync().events == 1, "one is passed by time; by transaction nothing is settled yet"
        (seen,) = watermarks(store(pair.standby, **KEYS, **drawn), None)
        assert seen.rule == "by time"
        assert "the server is a standby, which does not show the locks of the writers" in seen.words
        (seen,) = watermarks(store(pair.standby, **KEYS, **transacted), None)
        assert (seen.rule, seen.behind) == ("exact", 1)
        slow.commit()
    pair.caught_up()
    assert project.sync().events == 3
    found = [e["aggregate_id"] for e in project.events()]
    assert found == ["quick drawn", "slow drawn", "slow transacted", "quick transacted"]
    assert project.mark("drawn")["tenants"][""]["tail"]["late"] == 1
    assert project.sync().events == 0


def started_on(pair: Pair, folder: Path, **keys: Any) -> Project:
    """A project that reads the standby, over a store with one event."""
    pair.primary.sql(STORE)
    with pair.primary.connect() as connection:
        append(connection, "first", 1)
    pair.caught_up()
    return started(pair.standby, folder, store=False, **keys)


def test_promoted_while_it_is_followed(pair: Pair, tmp_path: Path) -> None:
    project = started_on(pair, tmp_path, tail={"rule": "gaps", "grace": "0.1s"})
    with Follower(project.config) as follower:
        with pair.primary.connect() as connection:
            for number in range(20):
                append(connection, f"stream-{number % 3}", number)
        follower.wait(lambda: follower.position() == 21)
        pair.primary.server.stop()
        pair.standby.sql("SELECT pg_promote()")
        with pair.standby.connect() as connection:
            for number in range(5):
                append(connection, "of the new primary", number)
        wanted = folded(pair.standby)
        follower.wait(lambda: rows(project) == wanted)
    project.sync()
    assert project.mark()["tenants"][""]["identity"]["timeline"] == 2


def test_a_standby_that_stays_behind(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading waits for it, says so, and gives up in the end; a follower says so too, and goes on when it can."""
    monkeypatch.setattr(extraction, "LAG_POLL", 0.05)
    limits = {"max_replica_lag": "200ms", "max_replica_wait": "500ms", "tail": {"rule": "gaps", "grace": 0}}
    project = started_on(pair, tmp_path, **limits)
    with pair.primary.connect() as connection:
        append(connection, "first", 2)
        pair.caught_up()
        pair.standby.sql("SELECT pg_wal_replay_pause()")
        pair.comes("SELECT pg_get_wal_replay_pause_state() = 'paused'")
        append(connection, "first", 3)
    pair.comes("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()")
    pair.comes("SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '250 ms'")
    told: list[Fact] = []
    with pytest.raises(PostgresTimeout, match=r"\[sources.store\]: reading waits .* longer than max_replica_wait"):
        sync(project.config, listener=told.append)
    assert any(isinstance(fact, Noted) and "(max_replica_lag is 0.2 s)" in fact.text for fact in told)
    assert project.mark()["tenants"][""]["after"] == [1]
    pair.standby.sql("SELECT pg_wal_replay_resume()")
    pair.caught_up()
    project.sync()
    with Follower(project.config) as follower:
        behind = [90.0]
        monkeypatch.setattr(extraction, "replica_lag", lambda *_: behind[0])
        with pair.primary.connect() as connection:
            append(connection, "first", 4)
        follower.wait(lambda: any("a standby that is 90 s behind (max_replica_lag" in n for n in follower.notes()))
        follower.wait(follower.failures)
        behind[0] = 0.0
        follower.wait(lambda: follower.position() == 4)
