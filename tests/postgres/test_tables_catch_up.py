"""Catch-ups where the deltas are merged, of loaded tables, of several read models at once; what is refused."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from published_tables import Published, with_schema

from runner.errors import PostgresError, PostgresTimeout, ReadModelError
from runner.sinks.export import canonical
from runner.sinks.postgres.port import SwitchTimeouts
from runner.testing.read_model_rows import child_shape, every_type_shape, keyed_shape, merged_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.sinks.shape import Shape

SHAPE = keyed_shape()
ROWS = {(f"a{i}",): (i, f"n{i}") for i in range(60)}


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Published:
    with_schema(database)
    return Published(tmp_path / "read_models", database.env)


def _same(published: Published, *shapes: Shape) -> None:
    for shape in shapes:
        shown, saved = published.rows(shape), published.models.table(shape.name)
        assert canonical(shown, shape.full_key) == canonical(saved, shape.full_key)


def _written(database: Database) -> int:
    """Rows that were inserted, updated or deleted in the live table."""
    with database.connect() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_all_tables WHERE relid = 'reads.accounts'::regclass"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("into_base", [False, True])
def test_deltas_that_were_merged_meanwhile(into_base: bool, published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS)
    for position, change in enumerate(({("a1",): (100, "x"), ("b",): (1, None)}, {("a1",): (200, "y")}), start=2):
        with published.delta(SHAPE, change, [(f"a{position * 5}",)], position) as built:
            published.models.publish_update([built])
    if into_base:
        published.models.compact("accounts")
    else:
        live = published.models.live("accounts")
        assert live is not None
        published.models._compacted(live, dict.fromkeys({f.partition for f in live.deltas}, False))
    before = _written(database)
    live = published.models.live("accounts")
    assert live is not None
    assert bool(live.deltas) is not into_base
    published.tables.apply([live])
    _same(published, SHAPE)
    # Two changed rows and two deleted ones, whichever way they were found.
    assert 0 < _written(database) - before <= 4
    state = published.tables.states()["accounts"]
    assert (state.revision, state.position) == (live.revision, live.position)
    published.update(SHAPE, {("c",): (1, "z")}, [("b",)], 9)
    _same(published, SHAPE)


def test_a_compaction_alone_makes_the_next_catch_up_no_dearer(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS)
    published.update(SHAPE, {("a1",): (100, "x")}, position=2)
    published.models.compact("accounts")
    before = _written(database)
    published.update(SHAPE, {("a2",): (100, "x")}, position=3)
    assert _written(database) - before == 1
    _same(published, SHAPE)


def test_all_rows_compared_tell_minus_zero_and_nan(published: Published) -> None:
    shape = every_type_shape()
    row: tuple[Any, ...] = (1, 0.0, None, "t", None, None, None, None, None, [], [1])
    published.rebuild(shape, {("a",): row, ("b",): row, ("c",): row})
    with published.delta(shape, {("a",): (1, -0.0, *row[2:]), ("b",): (1, float("nan"), *row[2:])}, [], 2) as built:
        published.models.publish_update([built])
    published.models.compact(shape.name)
    live = published.models.live(shape.name)
    assert live is not None
    published.tables.apply([live])
    _same(published, shape)


def test_a_read_model_of_one_row(published: Published) -> None:
    schema = pa.schema([pa.field("n", pa.int64())])
    shape = replace(merged_shape("total"), schema=schema, key=())
    published.rebuild(shape, {(): (5,)})
    _same(published, shape)
    published.update(shape, {(): (6,)}, position=2)
    _same(published, shape)
    published.update(shape, {}, [()], position=3)
    _same(published, shape)
    published.update(shape, {(): (7,)}, position=4)
    _same(published, shape)


def test_read_models_that_belong_together_change_together(published: Published, database: Database) -> None:
    one, two = keyed_shape("one"), child_shape("two")
    line = ("s", "t", "a", None)
    with published.built(one, ROWS) as a, published.built(two, {line: (1,)}) as b:
        tables = [published.tables.load(built.version) for built in (a, b)]
        # The second cannot be switched, so the first is not.
        database.sql("CREATE TABLE reads.two ()")
        with pytest.raises(ReadModelError, match=r"reads\.two is not a table of the runner's"):
            published.tables.switch(tables)
        assert published.tables.states() == {}
        database.sql("DROP TABLE reads.two")
        published.tables.switch(tables)
        published.models.publish_rebuild([a, b])
    with published.delta(one, {("a1",): (7, "")}, [], 2) as a, published.delta(two, {line: (2,)}, [], 2) as b:
        database.sql("ALTER TABLE reads.two ADD CONSTRAINT small CHECK (n < 2)")
        with pytest.raises(PostgresError, match="small"):
            published.tables.apply([a.version, b.version])
        assert {s.revision for s in published.tables.states().values()} == {0}
        database.sql("ALTER TABLE reads.two DROP CONSTRAINT small")
        published.tables.apply([a.version, b.version])
        published.models.publish_update([a, b])
    _same(published, one, two)


def test_what_is_live_otherwise_is_not_caught_up(published: Published) -> None:
    first = published.rebuild(SHAPE, ROWS, 5)
    published.update(SHAPE, {("a1",): (9, "")}, position=6)
    with pytest.raises(ReadModelError, match="not to be set back"):
        published.tables.apply([first])
    published.rebuild(replace(SHAPE, fingerprint="e" * 64), {("b",): (1, "")}, 7)
    with pytest.raises(ReadModelError, match="version 1 of 'accounts' is not live"):
        published.tables.apply([first])


def test_a_table_that_went_astray_is_loaded_again(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 5)
    live = published.update(SHAPE, {("a1",): (9, "")}, position=6)
    # A server that was set back, or somebody's hand: the table's checkpoint is not the embedded one.
    database.sql("DELETE FROM reads.accounts; UPDATE projection_runner.tables SET revision = 9, position = 99")
    database.sql("CREATE VIEW public.seen AS SELECT * FROM reads.accounts")
    published.tables.switch([published.tables.load(live)])
    _same(published, SHAPE)
    assert published.tables.states()["accounts"].position == 6
    assert database.sql("SELECT count(*) FROM public.seen") == [(60,)]
    assert database.sql("SELECT count(*) FROM projection_runner.tables") == [(1,)]
    # The same once more is nothing to do.
    relid = database.sql("SELECT 'reads.accounts'::regclass::oid")
    published.tables.switch([published.tables.load(live)])
    assert database.sql("SELECT 'reads.accounts'::regclass::oid") == relid


def test_a_former_version_is_loaded_anew_where_its_table_is_gone(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 5)
    published.update(SHAPE, {("a1",): (9, "")}, position=6)
    published.rebuild(replace(SHAPE, fingerprint="e" * 64), {("b",): (1, "")}, 7)
    assert published.tables.drop_former({"accounts": []}) == ("reads.accounts__v1",)
    published.tables.rollback(published.models.rollback("accounts"))
    _same(published, SHAPE)
    database.sql("DROP TABLE reads.accounts__v2")
    assert published.tables.drop_former({"accounts": [1]}) == ()
    assert database.sql("SELECT version FROM projection_runner.tables") == [(1,)]


def test_former_tables_that_somebody_needs_stay(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 5)
    published.rebuild(SHAPE, ROWS, 6)
    database.sql("CREATE VIEW public.before AS SELECT * FROM reads.accounts__v1")
    assert published.tables.drop_former({"accounts": [2]}) == ()
    database.sql("DROP VIEW public.before")
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT * FROM reads.accounts__v1")
        assert published.tables.drop_former({"accounts": [2]}) == ()
    assert published.tables.drop_former({"accounts": [2]}) == ("reads.accounts__v1",)


def test_inline_writers_lose_nothing(published: Published, database: Database) -> None:
    """Event and row in one transaction: under the lock the rest is applied, then the switch; a writer that waited
    writes into the new table."""
    published.rebuild(SHAPE, ROWS, 1)
    database.sql("CREATE TABLE events (n int PRIMARY KEY)")
    stop, errors = threading.Event(), []

    def write() -> None:
        try:
            with psycopg.connect(database.url, autocommit=True) as connection:
                number = 0
                while not stop.is_set():
                    number += 1
                    with connection.transaction():
                        connection.execute("INSERT INTO events VALUES (%s)", (number,))
                        connection.execute(
                            "UPDATE reads.accounts SET balance = %s WHERE aggregate_id = 'a1'", (number,)
                        )
        except psycopg.Error as error:
            errors.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        for position in range(2, 7):
            rows = {**ROWS, ("a1",): (-1, "")}
            with published.built(SHAPE, rows, position) as built:
                table = published.tables.load(built.version)
                published.models.publish_rebuild([built])
            published.tables.wait_for_snapshots([table])
            with published.tables.hold(["accounts"], seconds=5) as held:
                ((number,),) = database.sql("SELECT max(n) FROM events")
                with published.delta(SHAPE, {("a1",): (number, "")}, [], position) as rest:
                    table = published.tables.apply_loaded(table, rest.version)
                    published.tables.switch([table], held=held)
                    published.models.publish_update([rest])
    finally:
        stop.set()
        writer.join(30)
    assert errors == []
    assert database.sql("SELECT version FROM projection_runner.read_models") == [(6,)]
    assert database.sql("SELECT balance FROM reads.accounts WHERE aggregate_id = 'a1'") == database.sql(
        "SELECT max(n) FROM events"
    )


def test_a_hold_ends_by_itself_and_keeps_no_reader_out(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 1)
    with pytest.raises(PostgresTimeout), published.tables.hold(["accounts"], seconds=0.3) as held:  # noqa: PT012 - a context
        assert database.sql("SELECT count(*) FROM reads.accounts") == [(60,)]
        with database.connect(options="-c lock_timeout=50") as writer, pytest.raises(psycopg.errors.LockNotAvailable):
            writer.execute("UPDATE reads.accounts SET balance = 0")
        held.connection.execute("SELECT pg_sleep(2)")
    # The same where nothing was asked meanwhile, and the server's word may have been lost with the connection.
    with published.built(SHAPE, ROWS, 2) as built:
        table = published.tables.load(built.version)
        with pytest.raises(PostgresTimeout), published.tables.hold(["accounts"], seconds=0.3) as held:  # noqa: PT012
            _until(database, f"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {held.process}")
            published.tables.switch([table], held=held)
    database.sql("UPDATE reads.accounts SET balance = 0")
    # Who writes just now is waited for, and no longer than that.
    with database.connect() as writer, writer.transaction():
        writer.execute("UPDATE reads.accounts SET balance = 1")
        with pytest.raises(PostgresTimeout), published.tables.hold(["accounts"], seconds=0.3):
            raise AssertionError("the lock was had")


def test_who_holds_a_switch_up_is_named_and_nobody_else_waits(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 1)
    soon = SwitchTimeouts(lock=0.1, total=1.0)
    with published.built(SHAPE, {("b",): (1, "")}, 2) as built:
        table = published.tables.load(built.version)
        for begin, about in (("READ COMMITTED", r"holds reads\.accounts"), ("REPEATABLE READ", "snapshot")):
            with database.connect(application_name="the slow report") as reader, reader.transaction():
                reader.execute(f"SET TRANSACTION ISOLATION LEVEL {begin}")
                reader.execute("SELECT count(*) FROM reads.accounts")
                if begin == "REPEATABLE READ":
                    # One whose snapshot is older than what was written last into the new table.
                    published.tables.apply_loaded(table, built.version)
                    database.sql("UPDATE projection_runner.tables SET changed = now()")
                said = rf"process {reader.info.backend_pid} \(the slow report\) .*{about}"
                with pytest.raises(PostgresTimeout, match=said):
                    published.tables.switch([table], timeouts=soon)
                assert database.sql("SELECT count(*) FROM reads.accounts") == [(60,)]
        published.tables.switch([table])
        published.models.publish_rebuild([built])
    _same(published, SHAPE)


def test_a_catch_up_beside_a_switch_writes_into_no_other_table(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 1)
    with published.delta(SHAPE, {("a1",): (-1, "late")}, [], 2) as late, published.built(SHAPE, ROWS, 3) as built:
        published.tables.load(built.version)
        errors: list[Exception] = []

        def catch_up() -> None:
            try:
                published.tables.apply([late.version])
            except ReadModelError as error:
                errors.append(error)

        thread = threading.Thread(target=catch_up, daemon=True)
        with database.connect() as switching, switching.transaction():
            switching.execute("LOCK TABLE reads.accounts IN ACCESS EXCLUSIVE MODE")
            thread.start()
            _until(database, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
            switching.execute("ALTER TABLE reads.accounts RENAME TO accounts__v1")
            switching.execute("ALTER TABLE reads.accounts__v2 RENAME TO accounts")
        thread.join(30)
    assert "run the update again" in str(errors[0])
    assert database.sql("SELECT min(balance) FROM reads.accounts") == [(0,)]
    assert published.tables.states()["accounts"].version == 2


def test_a_role_that_sees_little_of_others_waits_for_them_too(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    role = database.role("GRANT CREATE, USAGE ON SCHEMA reads TO {role}")
    database.sql(f"CREATE SCHEMA projection_runner AUTHORIZATION {role.name}")
    published = Published(tmp_path / "read_models", role.env)
    published.rebuild(SHAPE, ROWS, 1)
    soon = SwitchTimeouts(lock=0.1, total=1.0)
    with database.connect() as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        with published.built(SHAPE, {("b",): (1, "")}, 2) as built:
            table = published.tables.load(built.version)
            with pytest.raises(PostgresTimeout, match=rf"process {reader.info.backend_pid} .*snapshot"):
                published.tables.switch([table], timeouts=soon)
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT * FROM reads.accounts")
        with pytest.raises(PostgresTimeout, match=rf"process {reader.info.backend_pid} .* holds"):
            published.tables.switch([table], timeouts=soon)
    published.tables.switch([table])
    assert published.tables.states()["accounts"].version == 2


def test_a_switch_that_takes_too_long_lets_go(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, ROWS, 1)
    # Whoever makes a view's new version waits for this trigger.
    database.sql(
        "CREATE VIEW public.seen AS SELECT * FROM reads.accounts;"
        "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); END';"
        "CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION slow()"
    )
    with published.built(SHAPE, {("b",): (1, "")}, 2) as built:
        table = published.tables.load(built.version)
        begun = time.monotonic()
        with pytest.raises(PostgresTimeout, match=r"longer than the 0\.3 s"):
            published.tables.switch([table], timeouts=SwitchTimeouts(lock=0.2, work=0.3, total=0.5))
        assert time.monotonic() - begun < 4.5
    assert database.sql("SELECT count(*) FROM public.seen") == [(60,)]
    assert database.sql("SELECT count(*) FROM pg_locks WHERE relation = 'reads.accounts'::regclass") == [(0,)]
    database.sql("DROP EVENT TRIGGER slow")
    published.tables.switch([table])
    assert database.sql("SELECT count(*) FROM public.seen") == [(1,)]


def _until(database: Database, question: str) -> None:
    until = time.monotonic() + 30
    while database.sql(question) != [(True,)]:
        assert time.monotonic() < until, question
        time.sleep(0.01)


def test_rows_of_others_must_find_theirs_in_the_new_table(published: Published, database: Database) -> None:
    shape = replace(SHAPE, required=("aggregate_id",))
    published.rebuild(shape, ROWS, 1)
    database.sql(
        "CREATE TABLE cards (account text REFERENCES reads.accounts, n int); INSERT INTO cards VALUES ('a7'), (NULL)"
    )
    fewer = {key: row for key, row in ROWS.items() if key != ("a7",)}
    with pytest.raises(
        ReadModelError, match=r"foreign key .* of public\.cards: rows there refer to rows that version 2"
    ):
        published.rebuild(shape, fewer, 2)
    database.sql("DELETE FROM cards")
    published.rebuild(shape, fewer, 2)
    other = replace(shape, key=("aggregate_id", "balance"), required=("aggregate_id", "balance"))
    with pytest.raises(ReadModelError, match="which will be no key"):
        published.tables.check([other])


def test_a_restored_dump_is_known_again(published: Published, database: Database) -> None:
    """The same tables with other numbers, as pg_restore makes them."""
    published.rebuild(SHAPE, ROWS, 1)
    live = published.rebuild(SHAPE, {("b",): (1, "")}, 2)
    for table in ("accounts", "accounts__v1"):
        database.sql(
            f"ALTER TABLE reads.{table} RENAME TO old; CREATE TABLE reads.{table} (LIKE reads.old);"
            f"INSERT INTO reads.{table} SELECT * FROM reads.old; DROP TABLE reads.old;"
            f"ALTER TABLE reads.{table} ADD UNIQUE NULLS NOT DISTINCT (aggregate_id)"
        )
    assert published.tables.states() == {}
    published.tables.switch([published.tables.load(live)])
    assert published.tables.states()["accounts"].position == 2
    published.update(SHAPE, {("c",): (1, "")}, position=3)
    published.tables.rollback(published.models.rollback("accounts"))
    _same(published, SHAPE)
    # A table that only has the name is not taken for the runner's.
    database.sql("DROP TABLE reads.accounts; CREATE TABLE reads.accounts (a int)")
    with pytest.raises(ReadModelError, match="is not a table of the runner's"):
        published.tables.check([SHAPE])
