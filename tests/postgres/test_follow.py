"""``runner update --follow`` over stores in Postgres, into files and into tables."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_postgres import Database
from followers import (
    PATIENCE,
    STORE,
    Follower,
    append,
    custom_source,
    folded,
    projections,
    published,
    rows,
    second_server,
    started,
)

from runner.config.connection import ConnectionSettings
from runner.errors import PostgresUnavailable, ReadModelError, SourceChanged
from runner.jobs.following import live
from runner.jobs.following.follow import Stop, follow
from runner.jobs.records.ledger import Ledger
from runner.jobs.syncing.sync import sync
from runner.log import Log, LogWriter
from runner.postgres.notify import Notifications, wait_for_any
from runner.sinks.read_models import ReadModels
from runner.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_servers import PostgresServer


@pytest.fixture
def own(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database on a server that the test may kill."""
    made = Database(own_postgres, "own", monkeypatch)
    made.create()
    return made


def test_what_is_written_meanwhile_becomes_visible_in_rounds(database: Database, tmp_path: Path) -> None:
    project = started(database, tmp_path)
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(300):
            append(connection, f"stream-{number % 7}", number)
        follower.wait(lambda: follower.position() == 301)
        assert rows(project) == folded(database)
        append(connection, "late", 5)
        follower.wait(lambda: follower.position() == 302)
        assert rows(project) == folded(database)
    report = follower.report
    assert report is not None
    assert (report.events, report.position, report.failures) == (301, 302, 0)
    assert report.lag["p99"] > 0


def test_what_is_followed_is_said_and_what_goes_live_beside_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = started(database, tmp_path)
    with Follower(project.config) as follower, database.connect() as connection:
        monkeypatch.setattr(ReadModels, "names", lambda _self: ("accounts", "tickets"))
        for number in range(1, 4):
            append(connection, "one", number)
            follower.wait(lambda wanted=number + 1: follower.position() == wanted)
        notes = follower.notes()
    assert notes[0] == "following accounts"
    assert notes.count("tickets is live since; start the follower anew to follow it") == 1


def test_one_job_in_the_ledger_whose_counts_grow(database: Database, tmp_path: Path) -> None:
    project = started(database, tmp_path)
    with Ledger(project.config.state.path / "jobs.sqlite") as ledger:
        before = len(ledger.jobs())
        with Follower(project.config) as follower, database.connect() as connection:
            for number in range(1, 4):
                append(connection, "one", number)
                follower.wait(lambda wanted=number + 1: follower.position() == wanted)
            follower.wait(lambda: ledger.jobs()[0].counts.get("events") == 3)
            assert ledger.jobs()[0].state == "running"
        assert len(ledger.jobs()) == before + 1
        job = ledger.jobs()[0]
        assert (job.what, job.state, job.projections) == ("follow", "succeeded", ("accounts",))
        assert job.counts["ended"] == "the test is over"
        assert job.counts["position"] == 4
        assert {"sync", "fold"} <= set(job.stages)


def test_a_notification_ends_the_wait(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With looks an hour apart only the store's own word can bring the events."""
    project = started(database, tmp_path, notify_channel="Told \"of' events")
    monkeypatch.setattr("runner.jobs.following.live.FIRST_PAUSE", 3600.0)
    monkeypatch.setattr("runner.jobs.following.live.LONGEST_PAUSE", 3600.0)
    monkeypatch.setattr("runner.jobs.following.live.NOTIFIED_PAUSE", 3600.0)
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(1, 4):
            append(connection, "one", number)
            connection.execute("""NOTIFY "Told ""of' events" """)
            follower.wait(lambda wanted=number + 1: follower.position() == wanted)
    assert rows(project) == folded(database)


def test_events_that_come_without_a_word_are_seen_too(database: Database, tmp_path: Path) -> None:
    """A channel that nobody notifies, as behind a pooler: looking is enough."""
    project = started(database, tmp_path, notify_channel="silent")
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(1, 4):
            append(connection, "one", number)
            follower.wait(lambda wanted=number + 1: follower.position() == wanted)


def test_a_writer_who_holds_the_watermark_is_waited_for(database: Database, tmp_path: Path) -> None:
    project = started(database, tmp_path, notify_channel="told")
    with Follower(project.config) as follower, database.connect() as slow, database.connect() as quick:
        slow.execute("BEGIN")
        append(slow, "slow", 1)
        append(quick, "quick", 2)
        quick.execute("NOTIFY told")
        looks = len(follower.facts)
        follower.wait(lambda: len(follower.facts) > looks + 5)
        assert follower.position() == 1
        slow.execute("COMMIT")
        follower.wait(lambda: follower.position() == 3)
    assert rows(project) == folded(database)


def test_tables_in_postgres_are_kept_current(database: Database, tmp_path: Path) -> None:
    project = started(database, tmp_path, reads=True)
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(100):
            append(connection, f"stream-{number % 5}", number)
        follower.wait(lambda: follower.position() == 101)
        assert published(database) == folded(database) == rows(project)


def test_a_missing_schema_ends_it_with_what_to_do(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody makes it but a person: it is asked again only as long as another run may be at it."""
    monkeypatch.setattr("runner.jobs.following.troubles.BUSY", 0.5)
    project = started(database, tmp_path, reads=True)
    follower = Follower(project.config)

    def follow_until_it_goes() -> None:
        with follower, database.connect() as connection:
            append(connection, "one", 1)
            follower.wait(lambda: follower.position() == 2)
            connection.execute("DROP SCHEMA reads CASCADE")
            append(connection, "one", 2)
            follower.ended()

    with pytest.raises(ReadModelError, match="there is no schema 'reads'") as raised:
        follow_until_it_goes()
    assert raised.value.hint.startswith("CREATE SCHEMA reads AUTHORIZATION ")
    assert not [note for note in follower.notes() if "loaded again" in note]


@pytest.mark.parametrize("reads", [False, True])
def test_a_restarted_server(own: Database, tmp_path: Path, reads: bool) -> None:
    project = started(own, tmp_path, reads=reads)
    with Follower(project.config) as follower:
        for mode in ("fast", "immediate"):
            with own.connect() as connection:
                for number in range(50):
                    append(connection, f"stream-{number % 5}", number)
            own.server.stop(mode)
            failures = follower.failures()
            follower.wait(lambda so_far=failures: follower.failures() > so_far)
            own.server.start()
            with own.connect() as connection:
                append(connection, "afterwards", 7)
            follower.wait(lambda: sum(n for _, n in rows(project).values()) == sum(n for _, n in folded(own).values()))
        assert rows(project) == folded(own)
        if reads:
            follower.wait(lambda: published(own) == folded(own))
    assert any("goes on after" in note for note in follower.notes())


@pytest.mark.parametrize("reads", [False, True])
def test_killed_connections(database: Database, tmp_path: Path, reads: bool) -> None:
    """All connections of the follower, again and again, while events are written."""
    project = started(database, tmp_path, reads=reads, notify_channel="told")
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name LIKE 'projection-runner:%' AND datname = current_database()"
    )
    with Follower(project.config) as follower, database.connect() as connection:
        killed = 0
        for number in range(8):
            for each in range(20):
                append(connection, f"stream-{each % 5}", number)
            connection.execute("NOTIFY told")
            killed += connection.execute(kill).fetchone()[0]  # type: ignore[index]  # one row
            follower.wait(lambda wanted=20 * (number + 1) + 1: follower.position() >= wanted)
        assert killed
        assert rows(project) == folded(database)
        if reads:
            assert published(database) == folded(database)
        assert follower.failures()


@pytest.mark.parametrize("lost", [False, True])
def test_a_failover(own: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    """The standby that takes over has all events, or lost some that were read and gave their places to others."""
    project = started(own, tmp_path)
    with ExitStack() as stack:
        if lost:
            standby = stack.enter_context(second_server(own.server))
        follower = stack.enter_context(Follower(project.config))
        with own.connect() as connection:
            for number in range(30):
                append(connection, f"stream-{number % 5}", number)
        follower.wait(lambda: follower.position() == 31)
        if not lost:
            standby = stack.enter_context(second_server(own.server))
        own.server.stop()
        follower.wait(follower.failures)
        with standby.connect("own") as connection:
            for number in range(3):
                append(connection, "on the new primary", number)
        monkeypatch.setenv(own.env, standby.url_of("own"))
        if lost:
            follower.ended()
            assert isinstance(follower.error, SourceChanged)
            assert "position" in str(follower.error)
            follower.error = None
            assert Log.open(project.config.log.path).last_position == 31
        else:
            follower.wait(lambda: follower.position() == 34)
            assert rows(project)["on the new primary"] == (3, 3)


def test_what_cannot_be_reached_at_the_start_is_an_error_at_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = started(database, tmp_path)
    monkeypatch.setenv(database.env, "postgresql:///nothing?host=/nowhere")
    stop = Stop()
    with pytest.raises(PostgresUnavailable):
        follow(project.config, stop=stop)
    stop.close()


def test_another_sync_beside_it(database: Database, tmp_path: Path) -> None:
    """What somebody else brings into the log is followed from there, and read on behind it."""
    project = started(database, tmp_path)
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(30):
            append(connection, "one", number)
            if number % 3 == 0:
                with_patience(lambda: sync(project.config))
        follower.wait(lambda: follower.position() == 31)
    assert rows(project) == folded(database)


def test_a_log_that_another_writes_is_waited_for_with_growing_pauses(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        opened.append("store")
        return open_source(*arguments, **named)

    project = started(database, tmp_path)
    with Follower(project.config) as follower, database.connect() as connection:
        monkeypatch.setattr(live, "open_source", counted)
        with LogWriter.open(project.config.log.path):
            append(connection, "one", 5)
            begun = time.monotonic()
            follower.wait(lambda: follower.failures() >= 4)
            assert time.monotonic() - begun >= 0.1 + 0.2 + 0.4
            assert len(opened) <= 4
        follower.wait(lambda: follower.position() == 2)
    assert rows(project) == folded(database)


def with_patience(work: Any) -> None:
    """The log has one writer at a time."""
    from runner.errors import LogLocked

    for _ in range(1000):
        try:
            work()
        except LogLocked:
            threading.Event().wait(0.01)
        else:
            return
    raise AssertionError("the log was never free")


def test_small_segments_are_joined_meanwhile(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.jobs.following.follow.FEW", 4)
    project = started(database, tmp_path)
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(1, 25):
            append(connection, "one", number)
            follower.wait(lambda wanted=number + 1: follower.position() == wanted)
    with Log.open(project.config.log.path) as log:
        assert len(log.manifest.segments) < 12
        assert log.last_position == 25
    assert rows(project) == folded(database)


def test_a_tenant_that_cannot_be_read_stops_only_itself(database: Database, tmp_path: Path) -> None:
    for tenant in ("tenant_a", "tenant_b"):
        database.sql(f"CREATE SCHEMA {tenant}; SET search_path = {tenant}; {STORE}")
    database.sql("ALTER TABLE tenant_b.events ALTER data TYPE text")
    with database.connect(options="-c search_path=tenant_a") as good, database.connect() as bad:
        append(good, "one", 1)
        insert = "INSERT INTO tenant_b.events (stream, version, type, data) VALUES ('x', %s, 'Deposited', %s)"
        bad.execute(insert, (1, '{"amount": 1}'))
        project = started(database, tmp_path, store=False, schemas="tenant_*")
        with Follower(project.config) as follower:
            bad.execute(insert, (2, "{oops"))
            follower.wait(lambda: any("tenant_b" in note for note in follower.notes()))
            for number in range(1, 6):
                append(good, "one", number)
                follower.wait(lambda wanted=number + 2: follower.position() == wanted)
            bad.execute("""UPDATE tenant_b.events SET data = '{"amount": 5}' WHERE version = 2""")
            follower.wait(lambda: follower.position() == 8)
            follower.wait(lambda: any("all tenants are read again" in note for note in follower.notes()))


def test_several_sources_each_by_itself(database: Database, own: Database, tmp_path: Path) -> None:
    """One server is down: the other source, and a file, go on."""
    file = tmp_path / "events.ndjson"
    line = '{"stream": "in a file", "type": "Deposited", "version": %d, "data": {"amount": 3}}\n'
    file.write_text(line % 1)
    own.sql(STORE)
    more = {
        "other": custom_source(own),
        "file": {"files": str(file), "aggregate_id": "stream", "type": "type", "payload": "data", "version": "version"},
    }
    projections(tmp_path / "project", "accounts_followed")
    with own.connect() as connection:
        append(connection, "other", 1)
    project = started(database, tmp_path, more=more)
    with Follower(project.config) as follower, database.connect() as connection:
        own.server.stop()
        follower.wait(follower.failures)
        append(connection, "first", 1)
        follower.wait(lambda: follower.position() == 4)
        with file.open("a") as lines:
            lines.write(line % 2)
        follower.wait(lambda: follower.position() == 5)
        own.server.start()
        with own.connect() as again:
            append(again, "other", 1)
        follower.wait(lambda: follower.position() == 6)


def test_stop_wakes_who_waits() -> None:
    stop = Stop()
    assert not wait_for_any([stop], 0)
    threading.Timer(0.05, stop.set).start()
    assert wait_for_any([stop], PATIENCE)
    assert stop.is_set()
    stop.close()


def hear_out(told: Notifications) -> None:
    """The server's last words may come before the end of the connection."""
    while wait_for_any([told], PATIENCE):
        told.heard()


def test_a_killed_listener_is_an_error(database: Database, tmp_path: Path) -> None:
    told = Notifications(ConnectionSettings("[sources.store]", url_env=database.env), "listen", ["a", "b", "a"])
    try:
        database.sql("NOTIFY a; NOTIFY b")
        assert wait_for_any([told], PATIENCE)
        assert told.heard() == 2
        assert told.heard() == 0
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%: listen'")
        assert wait_for_any([told], PATIENCE)
        with pytest.raises(PostgresUnavailable):
            hear_out(told)
    finally:
        told.close()
