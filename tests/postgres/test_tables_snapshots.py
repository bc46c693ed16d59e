"""Readers whose snapshot is older than the switch, and who look the table up behind it: each interleaving, scripted.

Where a step is what keeps a reader from something old, the same script without it shows that it would be found.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from published_tables import Published, with_schema

import runner.sinks.postgres.tables
import runner.sinks.postgres.waiting
from runner.errors import PostgresTimeout
from runner.sinks.postgres.port import SwitchTimeouts
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg
    from fixtures_postgres import Database

    from runner.sinks.postgres.port import LoadedTable
    from runner.sinks.read_models import Built

SHAPE = keyed_shape()
FIRST = {(f"a{i}",): (1, "") for i in range(20)}
NEXT = {(f"a{i}",): (2, "") for i in range(20)}
LAST = {("a3",): (1000, ""), ("new",): (1, "")}
SEEN_FIRST, SEEN_LOADED, SEEN_LAST = (20, 20), (20, 40), (21, 1039)
LOOK = "SELECT count(*), sum(balance)::int FROM {}"
CHECKPOINT = "SELECT version FROM projection_runner.read_models WHERE read_model = 'accounts'"
GATE = 4711


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Published:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env, total=20.0)
    published.rebuild(SHAPE, FIRST)
    database.sql(
        "CREATE VIEW public.seen AS SELECT * FROM reads.accounts; CREATE VIEW public.above AS SELECT * FROM seen;"
        "CREATE FUNCTION late() RETURNS TABLE (n bigint, total int) LANGUAGE plpgsql STABLE AS $$ BEGIN "
        f"PERFORM pg_advisory_lock_shared({GATE}); RETURN QUERY {LOOK.format('reads.accounts')}; END $$"
    )
    return published


@contextmanager
def repeatable(database: Database, source: str = "reads.accounts") -> Iterator[Callable[[], Any]]:
    """A REPEATABLE READ transaction that has its snapshot; what it finds in the table when asked."""
    with database.connect(application_name="the old one") as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        reader.execute("SELECT 1")
        yield lambda: reader.execute(LOOK.format(source)).fetchone()


@contextmanager
def function(database: Database) -> Iterator[Callable[[], Any]]:
    """READ COMMITTED: a STABLE function has its statement's snapshot and looks the name up when it gets there."""
    found: list[Any] = []
    with database.connect() as gate:
        gate.execute(f"SELECT pg_advisory_lock({GATE})")

        def read() -> None:
            with database.connect(application_name="the old one") as reader:
                found.extend(reader.execute("SELECT * FROM late()").fetchall())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        until(database, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

        def look() -> Any:
            gate.execute(f"SELECT pg_advisory_unlock({GATE})")
            thread.join(30)
            return found[0]

        yield look


READERS = {
    "table": repeatable,
    "view": lambda database: repeatable(database, "public.seen"),
    "view above a view": lambda database: repeatable(database, "public.above"),
    "function": function,
}


def until(database: Database, question: str) -> None:
    end = time.monotonic() + 30
    while database.sql(question) != [(True,)]:
        assert time.monotonic() < end, question
        time.sleep(0.01)


def _unwaited(*_: Any) -> None:
    """The wait for snapshots left out."""


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("waits", [True, False], ids=["", "unwaited"])
def test_a_snapshot_from_between_the_load_and_the_last_catch_up(
    kind: str, waits: bool, published: Published, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is caught up with under the lock is newer: behind the switch it would find the table without that."""
    with published.built(SHAPE, NEXT, 2) as built:
        table = published.tables.load(built.version)
        published.models.publish_rebuild([built])
    published.tables.wait_for_snapshots([table])
    with published.delta(SHAPE, LAST, [], 3) as rest:
        with READERS[kind](database) as look:
            if not waits:
                monkeypatch.setattr(runner.sinks.postgres.tables, "wait_for_snapshots", _unwaited)
                _switched_under_lock(published, table, rest, 10.0)
                assert look() == SEEN_LOADED, "an old snapshot: the last rows are not there"
            else:
                with pytest.raises(PostgresTimeout, match=r"\(the old one\) has a snapshot older than the last rows"):
                    _switched_under_lock(published, table, rest, 0.3)
                assert look() == SEEN_FIRST
        if waits:
            _switched_under_lock(published, table, rest, 10.0)
    assert database.sql(LOOK.format("public.above")) == [SEEN_LAST]


def _switched_under_lock(published: Published, table: LoadedTable, rest: Built, seconds: float) -> None:
    """As inline writers are caught up with."""
    with published.tables.hold(["accounts"], seconds=seconds) as held:
        table = published.tables.apply_loaded(table, rest.version)
        published.tables.switch([table], held=held)


@pytest.mark.parametrize("kind", READERS)
def test_a_snapshot_from_before_the_load(
    kind: str, published: Published, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found empty behind a switch that does not wait; not switched by one that does, also after a catch-up."""
    soon = SwitchTimeouts(lock=0.1, total=0.3)
    with READERS[kind](database) as look, published.built(SHAPE, NEXT, 2) as built:
        table = published.tables.load(built.version)
        published.tables.apply_loaded(table, built.version)
        with pytest.raises(PostgresTimeout, match=r"\(the old one\) has a snapshot older than the last rows"):
            published.tables.switch([table], timeouts=soon)
        monkeypatch.setattr("runner.sinks.postgres.switching.wait_for_snapshots", _unwaited)
        published.tables.switch([table], timeouts=soon)
        assert look()[0] == 0


def test_a_snapshot_that_is_handed_on_while_it_is_waited_for(
    published: Published, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imported by one who began behind the first look, and kept longer than by the one who exported it."""
    told: list[str] = []
    with database.connect() as giver, database.connect() as taker:
        giver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        ((snapshot,),) = giver.execute("SELECT pg_export_snapshot()").fetchall()

        def between_looks(_: float) -> None:
            told.append("look")
            if len(told) == 1:
                taker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                taker.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
                giver.execute("ROLLBACK")
            if len(told) == 4:
                assert taker.execute(LOOK.format("reads.accounts")).fetchone() == SEEN_FIRST
                taker.execute("ROLLBACK")
                monkeypatch.undo()

        with published.built(SHAPE, NEXT, 2) as built:
            table = published.tables.load(built.version)
            monkeypatch.setattr(runner.sinks.postgres.waiting.time, "sleep", between_looks)
            published.tables.switch([table])
    assert len(told) == 4
    assert database.sql(LOOK.format("reads.accounts")) == [SEEN_LOADED]


def test_a_checkpoint_that_is_read_before_its_rows(published: Published, database: Database) -> None:
    """Who asked for the checkpoint keeps the name as it is; who has the table gets the checkpoint at once."""
    waiting = SwitchTimeouts(lock=10.0, total=30.0)
    switched: list[bool] = []
    later: list[Any] = []

    def switch(table: LoadedTable) -> None:
        published.tables.switch([table], timeouts=waiting)
        switched.append(True)

    def read() -> None:
        with database.connect() as fresh, fresh.transaction():
            fresh.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            later.extend(fresh.execute(CHECKPOINT).fetchall())
            later.extend(fresh.execute(LOOK.format("public.above")).fetchall())

    def begun(reader: psycopg.Connection[Any]) -> None:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SET LOCAL statement_timeout = '5s'")

    with published.built(SHAPE, NEXT, 2) as built:
        table = published.tables.load(built.version)
        with database.connect() as asked, database.connect() as has:
            begun(asked)
            begun(has)
            assert asked.execute(CHECKPOINT).fetchall() == [(1,)]
            assert has.execute(LOOK.format("reads.accounts")).fetchone() == SEEN_FIRST
            threads = [threading.Thread(target=switch, args=(table,), daemon=True)]
            threads[0].start()
            until(database, _WAITS.format(1))
            threads.append(threading.Thread(target=read, daemon=True))
            threads[1].start()
            until(database, _WAITS.format(2))
            # Neither waits for the switch, which waits for both.
            assert has.execute(CHECKPOINT).fetchall() == [(1,)]
            has.execute("COMMIT")
            assert asked.execute(LOOK.format("public.above")).fetchone() == SEEN_FIRST
            assert switched == later == []
            asked.execute("COMMIT")
            for thread in threads:
                thread.join(30)
    assert switched == [True]
    assert later == [(2,), SEEN_LOADED]


_WAITS = "SELECT count(*) = {} FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_one_who_asked_for_a_checkpoint_and_stays_is_named(published: Published, database: Database) -> None:
    with database.connect(application_name="a dashboard") as reader, reader.transaction():
        reader.execute(CHECKPOINT)
        with published.built(SHAPE, NEXT, 2) as built:
            table = published.tables.load(built.version)
            with pytest.raises(PostgresTimeout, match=r"\(a dashboard\) holds the checkpoint of a read model"):
                published.tables.switch([table], timeouts=SwitchTimeouts(lock=0.1, total=0.5))
    published.tables.switch([table])
    assert database.sql(CHECKPOINT) == [(2,)]


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_writers_that_wait_for_the_lock(level: str, published: Published, database: Database) -> None:
    """In READ COMMITTED they write into the new table, where they find all rows; in REPEATABLE READ they would not."""
    changed: list[int] = []
    with published.built(SHAPE, NEXT, 2) as built:
        table = published.tables.load(built.version)
        published.models.publish_rebuild([built])
    with published.delta(SHAPE, LAST, [], 3) as rest, database.connect(application_name="writer") as writer:
        writer.execute(f"BEGIN ISOLATION LEVEL {level}")
        writer.execute("CREATE TABLE an_event ()")

        def write() -> None:
            found = writer.execute("UPDATE reads.accounts SET balance = balance + 1 WHERE aggregate_id = 'new'")
            changed.append(found.rowcount)

        thread = threading.Thread(target=write, daemon=True)
        with published.tables.hold(["accounts"], seconds=10.0) as held:
            thread.start()
            until(database, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'relation' AND NOT granted")
            table = published.tables.apply_loaded(table, rest.version)
            if level == "REPEATABLE READ":
                with pytest.raises(PostgresTimeout, match=r"\(writer\) .*, and waits for the lock of the live tables"):
                    published.tables.switch([table], held=held)
            else:
                published.tables.switch([table], held=held)
        thread.join(30)
        writer.execute("COMMIT")
        if level == "REPEATABLE READ":
            assert changed == [0], "it has written into the table of its snapshot, where no such row was"
            _switched_under_lock(published, table, rest, 10.0)
        else:
            assert changed == [1]
    assert database.sql(LOOK.format("reads.accounts")) == [(21, 1039 + sum(changed))]
