"""Servers that are restarted, killed, restored: prepared transactions hold, what was not durable was not published, and
a store that is not the one that was read is told.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from fixtures_postgres import Database
from tail_cases import PAIRS, PLAIN, WITH_TRANSACTION, Clock, Reader, check, committed, relation, write

from runner.errors import PostgresError, PostgresTimeout, PostgresUnavailable, SourceChanged, SourceError
from runner.sources.postgres.tail.durability import Durability
from runner.sources.postgres.tail.identity import StoreIdentity, check_tail, comparable

if TYPE_CHECKING:
    from collections.abc import Callable

    from postgres_servers import PostgresServer


@pytest.fixture
def own(own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database on a server that the test may kill."""
    database = Database(own_postgres, "own", monkeypatch)
    database.create()
    return database


@pytest.mark.parametrize(("table", "rule", "columns"), [(PLAIN, "gaps", ("pos",)), (WITH_TRANSACTION, "xid", PAIRS)])
@pytest.mark.parametrize("outcome", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("seen_before", [True, False])
def test_a_prepared_transaction_holds_across_a_restart(
    own: Database, table: str, rule: str, columns: tuple[str, ...], outcome: str, seen_before: bool
) -> None:
    own.sql(table)
    reader = Reader(own, rule, columns)
    with own.connect() as slow, own.connect() as quick:
        slow.execute("BEGIN")
        write(slow, "slow")
        write(quick, "quick")
        if seen_before:
            reader.step()
        slow.execute("PREPARE TRANSACTION 'order-7'")
        if seen_before:
            reader.step()
    own.server.restart()
    reader.again()
    settled = reader.step()
    assert reader.positions == []
    assert [h.what for h in settled.holders] == ["prepared transaction 'order-7'"]
    with own.connect() as quick:
        # Whoever writes now is not mistaken for a session of before the restart.
        write(quick, "quick", 2)
        reader.step()
        assert reader.positions == []
        quick.execute(f"{outcome} PREPARED 'order-7'")
    reader.step()
    reader.step()
    check(reader, committed(own))
    assert len(reader.log) == (3 if outcome == "COMMIT" else 2)
    reader.close()


def test_a_restart_voids_notes_about_sessions(own: Database) -> None:
    own.sql(PLAIN)
    reader = Reader(own, "gaps")
    slow = own.connect()
    slow.execute("BEGIN")
    write(slow, "slow")
    with own.connect() as quick:
        write(quick, "quick")
    assert reader.step().upto is None
    assert reader.mark["state"]["notes"]
    own.server.restart()
    slow.close()
    # Another transaction may have the same number now.
    other = own.connect()
    other.execute("BEGIN")
    write(other, "other")
    reader.again()
    reader.step()
    other.rollback()
    other.close()
    reader.step()
    check(reader, committed(own))
    reader.close()


def test_a_crash_of_one_backend_ends_the_connection_that_looks(own: Database) -> None:
    """The server starts anew without a new start time; it is told all the same."""
    own.sql(PLAIN)
    reader = Reader(own, "gaps")
    victim = own.connect()
    with own.connect() as quick:
        write(quick, "quick")
    reader.step()
    durability = Durability(reader.looking, "[sources.x]")
    started = own.sql("SELECT pg_postmaster_start_time()")
    identity = StoreIdentity.read(reader.looking, relation())
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    victim.close()
    deadline = time.monotonic() + 30

    def note_until_it_breaks() -> None:
        while time.monotonic() < deadline:
            durability.note()
            time.sleep(0.05)

    with pytest.raises(PostgresError):
        note_until_it_breaks()
    while True:
        try:
            assert own.sql("SELECT pg_postmaster_start_time()") == started
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    # As a pooler does it: another server connection, unseen.
    with own.connect() as other:
        durability._connection = other
        with pytest.raises(PostgresUnavailable, match="was restarted while rows were read"):
            durability.note()
    reader.again()
    with own.connect() as quick:
        write(quick, "quick", 2)
    reader.step()
    assert StoreIdentity.read(reader.looking, relation()).changes(identity) == ("the server was restarted",)
    check(reader, committed(own))
    reader.close()


def test_what_is_visible_is_published_only_once_it_is_durable(own: Database) -> None:
    """synchronous_commit = off and a log writer that sleeps: rows are seen, the crash takes them, other events get
    their positions.
    """
    own.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
    own.sql("ALTER SYSTEM SET wal_writer_flush_after = 0")
    own.sql(PLAIN)
    own.server.restart()
    own.sql("INSERT INTO events (agg, version) VALUES ('first', 1)")
    reader = Reader(own, "gaps")
    durability = Durability(reader.looking, "[sources.x]")
    reader.step()
    durability.note()
    durability.wait(20)
    published = list(reader.log)
    time.sleep(0.3)
    quick = own.connect()
    quick.execute("SET synchronous_commit = off")
    lost = write(quick, "lost")
    reader.step()
    assert lost in reader.positions
    durability.note()
    assert not durability.flushed(), "the commit is not on the disk yet"
    with pytest.raises(PostgresTimeout, match=r"not on the server's disk after 0.05 s"):
        durability.wait(0.05)
    own.server.kill9()
    with pytest.raises(PostgresError):
        durability.flushed()
    quick.close()
    own.server.start()
    own.sql("INSERT INTO events (agg, version) VALUES ('other', 1)")
    # The next process knows what was published, no more.
    reader.log, reader.mark, reader.after = published, None, (1,)
    reader.again()
    reader.step()
    durability = Durability(reader.looking, "[sources.x]")
    durability.note()
    durability.wait(20)
    check(reader, committed(own))
    assert ("lost", 1) not in committed(own)
    reader.close()


def test_nothing_waits_where_all_is_flushed(database: Database) -> None:
    with closing(database.connect()) as connection:
        durability = Durability(connection, "[sources.x]")
        assert durability.flushed(), "nothing was noted"
        database.sql(PLAIN)
        durability.note()
        durability.wait(30)


# Another store
# ----------------------------------------------------------------------------------------------------------


def test_a_store_is_known_by_its_server_and_table(own: Database, databases: Callable[[], Database]) -> None:
    own.sql(PLAIN)

    def read(database: Database = own) -> StoreIdentity:
        with closing(database.connect()) as connection:
            return StoreIdentity.read(connection, relation())

    first = read()
    assert StoreIdentity.from_json(first.to_json()) == first
    assert first.changes(read()) == ()
    own.server.restart()
    again = read()
    assert again.changes(first) == ("the server was restarted",)
    assert not again.is_another(first)
    own.sql("VACUUM FULL events")
    assert read().changes(again) == ("the table was rewritten or emptied",)
    own.sql("DROP TABLE events;" + PLAIN)
    assert "the table was made anew" in read().changes(again)
    assert read().is_another(again)
    copy = databases()
    copy.sql(PLAIN)
    assert any("another one (system identifier" in change for change in read(copy).changes(again))
    promoted = replace(again, timeline=2)
    assert promoted.changes(again) == ("the server was promoted or restored (timeline 2, was 1)",)
    assert not promoted.is_another(again)


def events(*rows: tuple[Any, ...]) -> pa.Table:
    names = ("source_position_0", "source_position_1", "tenant", "aggregate_id", "version", "type")
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 6
    types = (pa.int64(), pa.int64(), pa.utf8(), pa.utf8(), pa.int64(), pa.utf8())
    return pa.table({n: pa.array(list(c), t) for n, c, t in zip(names, columns, types, strict=True)})


def row(position: int, aggregate: str = "a", version: int | None = 1, tx: int = 0) -> tuple[Any, ...]:
    return (tx, position, "", aggregate, version, "Opened")


def test_a_tail_that_agrees_passes() -> None:
    log = events(row(1), row(2, "b"), row(4, "c", None))
    check_tail("[sources.x]", ("the server was restarted",), log, log)
    # A version that the source does not have.
    check_tail("[sources.x]", (), events(row(1, "a", -(2**63))), events(row(1, "a", None)))
    check_tail("[sources.x]", (), events(), events())


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ((row(1), row(2, "b")), r"2 events of the log are not there \(positions 3, 5\); up to 2 both agree"),
        (
            (row(1), row(2, "b"), row(3, "x"), row(5, "y", 2)),
            r"2 events of the log are not there \(positions 3, 5\); 2 are there that the log passed \(positions 3, 5\)",
        ),
        ((row(1), row(2, "b"), row(3, "c", 7), row(5, "d")), r"1 are others \(position 3\); up to 2 both agree"),
        (
            (row(1), row(2, "b"), row(3, "c"), row(4, "e"), row(5, "d")),
            r"1 are there that the log passed \(position 4\)",
        ),
    ],
    ids=["lost", "drawn again", "another version", "appeared"],
)
def test_a_tail_that_differs_stops_with_the_positions(store: tuple[Any, ...], words: str) -> None:
    log = events(row(1), row(2, "b"), row(3, "c"), row(5, "d"))
    with pytest.raises(SourceChanged, match=words) as caught:
        check_tail("[sources.x]", ("the server was restarted",), log, events(*store))
    assert "The server was restarted" in str(caught.value)
    assert "sync into a new log directory" in caught.value.hint


def test_late_events_are_not_taken_for_the_tail() -> None:
    log = events(row(10), row(11, "b"), row(3, "late"), row(12, "c"), row(12, "d"), row(13, "e"))
    assert comparable(log).column("source_position_1").to_pylist() == [10, 11, 12, 12, 13]
    assert comparable(log, 2).column("source_position_1").to_pylist() == [12, 12, 13], "a place has all its events"
    by_transaction = events(row(5, tx=1), row(3, tx=2), row(4, tx=2), row(2, tx=1))
    assert comparable(by_transaction).column("source_position_1").to_pylist() == [5, 3, 4]


def test_late_events_among_the_tail_are_compared_with_it() -> None:
    log = events(row(7), row(10), row(12, "c"), row(11, "late"), row(13, "e"))
    assert comparable(log, 3).column("source_position_1").to_pylist() == [10, 12, 11, 13]
    by_transaction = events(row(5, tx=1), row(3, tx=2), row(9, tx=1))
    assert comparable(by_transaction).column("source_position_1").to_pylist() == [5, 3, 9]


def test_transaction_ids_of_a_new_life_stand_behind_the_former_ones() -> None:
    log = events(row(1, tx=9_000), row(2, tx=9_001), row(3, tx=40), row(4, tx=41))
    log = log.append_column("epoch", pa.array([0, 0, 1, 1]))
    assert comparable(log, 3).column("source_position_1").to_pylist() == [2, 3, 4]


# A restored store and its transaction ids
# -------------------------------------------------------------------------------

DUMPED = (
    WITH_TRANSACTION
    + ";".join(
        [
            "",
            *(
                f"INSERT INTO events VALUES ('{tx}'::xid8, {pos}, 'old', {v})"
                for v, (tx, pos) in enumerate([(40_000_000, 2), (40_000_001, 1), (40_000_001, 3), (3, 4)], start=1)
            ),
        ]
    )
    + "; SELECT setval('events_pos_seq', 4)"
)


def test_ids_of_another_life_are_settled_and_come_first(each_database: Database) -> None:
    each_database.sql(DUMPED)
    with closing(Reader(each_database, "xid", PAIRS)) as reader, closing(each_database.connect()) as slow:
        slow.autocommit = False
        write(slow, "slow")
        each_database.sql("INSERT INTO events (agg, version) VALUES ('quick', 1)")
        reader.step()
        # Row 4 has an id that this server has given out before; it is above the last row that tells.
        assert reader.positions == [2, 1, 3, 4]
        assert [place[0] for *_, place in reader.log] == [0, 0, 0, 1]
        reader.again()
        slow.commit()
        reader.step()
        assert reader.positions == [2, 1, 3, 4, 5, 6]
        reader.again()
        assert reader.step().late == ()
        assert len(reader.log) == 6


def test_a_restored_store_begins_a_new_epoch(database: Database, databases: Callable[[], Database]) -> None:
    """Read on one server, restored into another whose ids are lower, with rows that were written after the last
    sync."""
    database.sql(WITH_TRANSACTION)
    old = Reader(database, "xid", PAIRS)
    database.sql("INSERT INTO events (agg, version) VALUES ('a', 1)")
    database.sql("INSERT INTO events (agg, version) VALUES ('a', 2)")
    old.step()
    database.sql("INSERT INTO events (agg, version) VALUES ('a', 3)")
    rows = database.sql("SELECT tx::text::bigint + 40000000, pos, agg, version FROM events ORDER BY pos")
    restored = databases()
    restored.sql(WITH_TRANSACTION)
    with closing(restored.connect()) as connection:
        for tx, pos, agg, version in rows:
            connection.execute("INSERT INTO events VALUES (%s::text::xid8, %s, %s, %s)", (tx, pos, agg, version))
        connection.execute("SELECT setval('events_pos_seq', 3)")
    new = Reader(restored, "xid", PAIRS)
    # As if the first two had been read from it, before it was restored.
    new.log = [(agg, v, (0, place[1] + 40_000_000, place[2])) for agg, v, place in old.log]
    new.mark, new.after = old.mark, new.log[-1][2]
    new.mark["state"]["passed"] += 40_000_000
    new.again()
    new.tail.new_life(new.looking)
    restored.sql("INSERT INTO events (agg, version) VALUES ('a', 4)")
    new.step()
    assert new.positions == [1, 2, 3, 4]
    assert [place[0] for *_, place in new.log] == [0, 0, 0, 1]
    new.again()
    restored.sql("INSERT INTO events (agg, version) VALUES ('a', 5)")
    new.step()
    check(new, committed(restored))
    new.close()
    old.close()


def test_an_open_transaction_does_not_hold_the_publication_of_others(own: Database) -> None:
    """What it wrote stands behind the last commit in the server's log, which nobody flushes for a long while."""
    own.sql(PLAIN)
    with closing(own.connect(options="-c default_transaction_read_only=on")) as connection, own.connect() as slow:
        durability = Durability(connection, "[sources.x]")
        for _ in range(2):
            slow.execute("BEGIN")
            write(slow, "slow")
            durability.note()
            durability.wait(10)
            slow.execute("ROLLBACK")


# Where the writers cannot be seen -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "rule", "columns"), [(PLAIN, "gaps", ("pos",)), (WITH_TRANSACTION, "xid", PAIRS)])
def test_a_standby_and_its_promotion(own: Database, table: str, rule: str, columns: tuple[str, ...]) -> None:
    """Locks are not seen on a standby, so gaps are passed by time there; snapshots are right there too."""
    own.sql(table)
    own.sql("INSERT INTO events (agg, version) VALUES ('first', 1)")
    own.sql("BEGIN; INSERT INTO events (agg, version) VALUES ('given up', 1); ROLLBACK")
    own.sql("INSERT INTO events (agg, version) VALUES ('second', 1)")
    with own.connect() as slow:
        slow.execute("BEGIN")
        write(slow, "prepared")
        slow.execute("PREPARE TRANSACTION 'order-7'")
    own.sql("INSERT INTO events (agg, version) VALUES ('third', 1)")
    clock = Clock()
    reader = Reader(own, rule, columns, clock=clock)
    before = StoreIdentity.read(reader.looking, relation())
    reader.close()
    server = own.server
    server.stop()
    signal_file = server.data / "standby.signal"
    signal_file.touch()
    os.chown(signal_file, server.data.stat().st_uid, -1)
    server.start()
    reader.again()
    assert own.sql("SELECT pg_is_in_recovery()") == [(True,)]
    durability = Durability(reader.looking, "[sources.x]")
    settled = reader.step()
    durability.note()
    durability.wait(5)
    if rule == "gaps":
        assert "by time" in settled.words
        assert "the server is a standby" in settled.words
        assert reader.tail.rule == "by time"
        assert reader.positions == [1]
        clock.move(seconds=11)
        reader.step()
        assert reader.positions == [1, 3, 5]
    else:
        assert reader.tail.rule == "exact"
        reader.step()
        assert reader.positions == [1, 3], "the prepared transaction is older than the third event's"
    own.sql("SELECT pg_promote(true, 60)")
    now = StoreIdentity.read(reader.looking, relation())
    assert any(change.startswith("the server was promoted") for change in now.changes(before))
    assert not now.is_another(before)
    reader.again()
    settled = reader.step()
    assert reader.tail.rule == "exact"
    assert "standby" not in settled.words
    own.sql("COMMIT PREPARED 'order-7'")
    settled = reader.step()
    if rule == "gaps":
        assert reader.late == [("prepared", 1)], "passed by time on the standby, asked for again under the exact rule"
    check(reader, committed(own))
    reader.close()


def test_rows_of_a_subscription_come_without_their_writers(database: Database) -> None:
    for table, rule, columns in ((PLAIN, "gaps", ("pos",)), (WITH_TRANSACTION, "xid", PAIRS)):
        database.sql("DROP TABLE IF EXISTS events;" + table)
        database.sql(
            "SET allow_system_table_mods = on; INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) "
            "VALUES (1, 'events'::regclass, 'r')"
        )
        reader = Reader(database, rule, columns)
        if rule == "gaps":
            assert "the rows come by logical replication" in reader.step().words
            assert reader.tail.rule == "by time"
        else:
            with pytest.raises(SourceError, match="filled by logical replication"):
                reader.step()
        database.sql("SET allow_system_table_mods = on; DELETE FROM pg_subscription_rel")
        reader.close()
