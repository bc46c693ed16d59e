"""Binary COPY out of a server: every type with its extremes against psycopg's rows, cut streams, errors, endings."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from copy_cases import CASES, ROWS, fill, plain, same
from hypothesis import HealthCheck, given, settings
from psycopg import sql

from runner.errors import CopyError, PostgresError, PostgresTimeout, PostgresUnavailable
from runner.postgres import copy_reading, types
from runner.postgres.copy_columns import CopyColumn
from runner.postgres.copy_describe import columns_of
from runner.postgres.copy_out import copy_out
from runner.postgres.libpq import copy_functions
from runner.postgres.snapshots import exported_snapshot, in_snapshot
from runner.postgres.types import numeric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures_postgres import Database
    from psycopg import Connection

_SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=["libpq", "psycopg"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of taking rows from the connection."""
    if request.param == "psycopg":
        monkeypatch.setattr(copy_reading, "copy_functions", lambda: None)
    else:
        assert copy_functions() is not None
    return str(request.param)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection[Any]]:
    with database.connect() as connection:
        yield connection


def _read(connection: Connection[Any], query: str, *columns: CopyColumn, **options: Any) -> pa.Table:
    schema = pa.schema([c.field for c in columns])
    return pa.Table.from_batches(copy_out(connection, sql.SQL(query), columns, **options), schema)


def _one(
    connection: Connection[Any], expression: str, kind: types.PgType, arrow: Any = None, special: Any = "error"
) -> Any:
    return _read(connection, f"SELECT {expression}", CopyColumn("c", kind, arrow, special)).column(0).to_pylist()[0]


# Values ---------------------------------------------------------------------------------------------------------------


@given(rows=ROWS)
@_SETTINGS
def test_all_types_are_read_as_by_psycopg(connection: Connection[Any], rows: list[tuple[Any, ...]]) -> None:
    fill(connection, "every", rows)
    columns = tuple(CopyColumn(c.name, c.type, c.arrow, c.special) for c in CASES)  # type: ignore[arg-type]
    names = ", ".join(c.name for c in CASES)
    table = _read(connection, f"SELECT {names} FROM every ORDER BY row", *columns, rows=5)
    assert table.num_rows == len(rows)
    got = {c.name: table[c.name].combine_chunks() if rows else pa.array([], c.arrow) for c in CASES}
    assert [c.name for c in CASES if not same(got[c.name], plain(connection, "every", c))] == []


def test_values_of_ten_megabytes_cross_every_border(connection: Connection[Any], way: str) -> None:
    query = "SELECT n, repeat(chr(960 + n), CASE WHEN n % 3 = 0 THEN 5000000 ELSE n END) FROM generate_series(1, 9) n"
    batches = list(
        copy_out(
            connection,
            sql.SQL(query),
            (CopyColumn("n", types.INT4), CopyColumn("t", types.TEXT)),
            octets=1 << 16,
        )
    )
    rows = [(row["n"], row["t"]) for batch in batches for row in batch.to_pylist()]
    assert rows == [(n, chr(960 + n) * (5_000_000 if n % 3 == 0 else n)) for n in range(1, 10)]
    # Each long row is alone in its batch, so that memory is bounded by one row.
    assert [b.num_rows for b in batches if b.nbytes > 1 << 20] == [1, 1, 1]


@pytest.mark.parametrize(("rows", "octets"), [(1, 1), (7, 1 << 20), (1 << 20, 300), (1 << 20, 1 << 24)])
def test_batches_are_bounded(connection: Connection[Any], way: str, rows: int, octets: int) -> None:
    query = sql.SQL("SELECT n::bigint, 'text ' || n FROM generate_series(1, 3000) n")
    columns = (CopyColumn("n", types.INT8), CopyColumn("t", types.TEXT))
    batches = list(copy_out(connection, query, columns, rows=rows, octets=octets))
    assert [n for b in batches for n in b.column(0).to_pylist()] == list(range(1, 3001))
    assert [t for b in batches for t in b.column(1).to_pylist()] == [f"text {n}" for n in range(1, 3001)]
    assert max(b.num_rows for b in batches) <= min(rows, max(1, octets // 20))


def test_no_rows(connection: Connection[Any], way: str) -> None:
    assert _read(connection, "SELECT 1 WHERE false", CopyColumn("n", types.INT4)).num_rows == 0


@pytest.mark.parametrize(
    ("expression", "kind", "arrow", "reason"),
    [
        ("timestamptz 'infinity'", types.TIMESTAMPTZ, None, "infinity"),
        ("timestamp '-infinity'", types.TIMESTAMP, None, "infinity"),
        ("date 'infinity'", types.DATE, None, "infinity"),
        ("timestamptz '294276-12-31 23:59:59Z'", types.TIMESTAMPTZ, None, "a time beyond the year 294246"),
        ("numeric 'NaN'", types.NUMERIC, pa.decimal128(9, 2), "NaN, which is no decimal number"),
        ("numeric '-Infinity'", types.NUMERIC, pa.decimal128(9, 2), "-Infinity, which is no decimal number"),
        ("1.234", types.NUMERIC, pa.decimal128(9, 2), "1.234 has more than 2 digits behind the point"),
        ("0.00001", types.NUMERIC, pa.decimal128(9, 2), "0.00001 has more than 2 digits behind the point"),
        ("-10000000::numeric", types.NUMERIC, pa.decimal128(9, 2), "-10000000 has more than 7 digits before the point"),
        ("1e37::numeric", types.NUMERIC, pa.decimal128(38, 2), "has more than 36 digits before the point"),
        ("1e38::numeric", types.NUMERIC, pa.decimal128(38, 0), "more than 38 digits before the point"),
        ("1e4000::numeric", types.NUMERIC, pa.decimal128(38, 0), "more than 38 digits before the point"),
        ("interval '1 month'", types.INTERVAL, None, "an interval with months or days"),
        ("interval '1 day'", types.INTERVAL, None, "an interval with months or days"),
        ("18446744073709551615::text::xid8", types.XID8, None, "a transaction id beyond int64"),
        (r"'\xff00'::bytea", types.BYTEA, pa.string(), "the bytes are no UTF-8: invalid start byte at byte 0"),
        ("ARRAY[[1,2],[3,4]]", types.INT4.array(), None, "an array of 2 dimensions"),
        ("ARRAY[1,2]", types.INT8.array(), None, "the array's elements have the type with the oid 23, not 20 (bigint)"),
        ("ARRAY['2000-01-01'::date, NULL, 'infinity']", types.DATE.array(), None, "element 3: infinity"),
        ("5::int4", types.INT8, None, "4 bytes are no bigint"),
        ("'a'", types.JSONB, None, "a jsonb value of an unknown version"),
        ("''", types.JSONB, None, "0 bytes are no jsonb"),
        ("5::int4", types.INT4.array(), None, "these bytes are no array"),
        ("'abcdefgh'", types.NUMERIC, None, "these bytes are no numeric"),
        ("'abcdefghijkl'", types.NUMERIC, pa.decimal128(9, 2), "these bytes are no numeric"),
        ("5::int8", types.BOOL, None, "8 bytes are no boolean"),
        ("5::int8", types.UUID, None, "8 bytes are no uuid"),
        ("5::int8", types.DATE, None, "8 bytes are no date"),
        ("5::int4", types.TIMESTAMP, None, "4 bytes are no timestamp"),
        ("5::int4", types.INTERVAL, None, "4 bytes are no interval"),
    ],
)  # fmt: skip
def test_values_without_a_place_are_named(
    connection: Connection[Any], expression: str, kind: types.PgType, arrow: Any, reason: str
) -> None:
    columns = (CopyColumn("row", types.INT4), CopyColumn("odd", kind, arrow))
    with pytest.raises(CopyError) as caught:
        _read(
            connection,
            f"SELECT n, CASE WHEN n = 3 THEN {expression} END FROM generate_series(1, 5) n",
            *columns,
            where="bank",
        )
    assert (caught.value.column, caught.value.row) == ("odd", 3)
    assert str(caught.value).startswith("bank: column odd, row 3: ")
    assert reason in str(caught.value)
    # An autocommit connection is as good as new.
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_special_values_can_be_null(connection: Connection[Any]) -> None:
    assert _one(connection, "timestamptz 'infinity'", types.TIMESTAMPTZ, special="null") is None
    assert _one(connection, "date '-infinity'", types.DATE, special="null") is None
    assert _one(connection, "numeric 'NaN'", types.NUMERIC, pa.decimal128(9, 2), "null") is None
    dates = _one(connection, "ARRAY['2000-01-01'::date, NULL, 'infinity']", types.DATE.array(), None, "null")
    assert [str(d) for d in dates] == ["2000-01-01", "None", "None"]


def test_arrays_with_other_bounds_and_empty_ones(connection: Connection[Any]) -> None:
    assert _one(connection, "'[5:7]={1,NULL,3}'::int[]", types.INT4.array()) == [1, None, 3]
    assert _one(connection, "'{}'::int[]", types.INT4.array()) == []


@pytest.mark.parametrize(
    ("encoding", "text"), [("LATIN1", "chr(233)"), ("SQL_ASCII", r"convert_from('\xc3a9', 'SQL_ASCII')")]
)
def test_texts_of_any_encoding_arrive_as_utf8(database: Database, encoding: str, text: str) -> None:
    name = f"{database.name}_{encoding.lower()}"
    database.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(database.server.url_of(name), autocommit=True, client_encoding="utf8") as connection:
            assert _one(connection, text, types.TEXT) == "é"
            if encoding == "SQL_ASCII":
                with pytest.raises(PostgresError, match="invalid byte sequence"):
                    _one(connection, r"convert_from('\xe9', 'SQL_ASCII')", types.TEXT)
    finally:
        database.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_is_not_read_as_asked_is_refused_at_once() -> None:
    for kind, arrow in [
        (types.INT8, pa.int32()),
        (types.TEXT, pa.int64()),
        (types.TIMESTAMPTZ, pa.timestamp("ns", "UTC")),
        (types.OID, pa.int32()),
        (types.INT4.array(), pa.int32()),
    ]:
        with pytest.raises(TypeError, match=r"column c: Postgres .* is not read as Arrow"):
            CopyColumn("c", kind, arrow)


# Asking for the columns -----------------------------------------------------------------------------------------------


def test_columns_are_asked_of_the_server(connection: Connection[Any]) -> None:
    connection.execute("CREATE TYPE mood AS ENUM ('glad', 'so so'); CREATE DOMAIN age AS smallint CHECK (VALUE > 0)")
    query = sql.SQL(
        "SELECT 'glad'::mood AS \"Odd name\", 5::age AS a, 1.5::numeric(7,3) AS n, 1.5::numeric AS m, now() AS t,"
        " ARRAY['x'] AS l, '{}'::jsonb AS j, NULL::uuid AS u"
    )
    columns = columns_of(connection, query, arrow={"u": pa.string()})
    assert [(c.name, c.type, c.wanted) for c in columns] == [
        ("Odd name", types.TEXT, pa.large_string()),
        ("a", types.INT2, pa.int16()),
        ("n", numeric(7, 3), pa.decimal128(7, 3)),
        ("m", types.NUMERIC, pa.large_string()),
        ("t", types.TIMESTAMPTZ, pa.timestamp("us", "UTC")),
        ("l", types.TEXT.array(), pa.list_(pa.large_string())),
        ("j", types.JSONB, pa.large_string()),
        ("u", types.UUID, pa.string()),
    ]
    (batch,) = copy_out(connection, query, columns)
    assert batch.to_pylist()[0] | {"t": None} == {
        "Odd name": "glad", "a": 5, "n": Decimal("1.500"), "m": "1.5", "t": None, "l": ["x"],
        "j": "{}", "u": None,
    }  # fmt: skip
    with pytest.raises(CopyError, match=r"column p: the type point is not read \(select it as text: p::text\)"):
        columns_of(connection, sql.SQL("SELECT point '(1,2)' AS p"))


# Endings --------------------------------------------------------------------------------------------------------------


def test_an_error_in_the_middle_of_the_rows(connection: Connection[Any], way: str) -> None:
    query = "SELECT 1 / (n - 200000) FROM generate_series(1, 300000) n"
    with pytest.raises(PostgresError, match=r"^bank: division by zero") as caught:
        _read(connection, query, CopyColumn("n", types.INT4), where="bank", octets=1 << 16)
    assert caught.value.sqlstate == "22012"
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_that_is_wrong(connection: Connection[Any]) -> None:
    with pytest.raises(PostgresError, match="nowhere"):
        _read(connection, "SELECT * FROM nowhere", CopyColumn("n", types.INT4))


def test_a_timeout_in_the_middle_of_the_rows(connection: Connection[Any], way: str) -> None:
    connection.execute("SET statement_timeout = '300ms'")
    query = "SELECT n, CASE WHEN n = 50000 THEN pg_sleep(20) END::text FROM generate_series(1, 60000) n"
    begun = time.monotonic()
    with pytest.raises(PostgresTimeout):
        _read(connection, query, CopyColumn("n", types.INT4), CopyColumn("s", types.TEXT))
    assert time.monotonic() - begun < 15
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_is_ended_by_another(database: Database, connection: Connection[Any], way: str) -> None:
    query = sql.SQL("SELECT n, repeat('x', 1000) FROM generate_series(1, 1000000) n")
    columns = (CopyColumn("n", types.INT4), CopyColumn("t", types.TEXT))
    batches = copy_out(connection, query, columns, octets=1 << 16)
    assert next(batches).num_rows
    database.sql(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
    with pytest.raises(PostgresUnavailable):
        list(batches)


def test_another_client_encoding_is_refused(database: Database) -> None:
    with database.connect(client_encoding="latin1") as connection, pytest.raises(CopyError, match="client_encoding"):
        _one(connection, "1", types.INT4)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_closed_early_the_query_ends(connection: Connection[Any], way: str, in_transaction: bool) -> None:
    query = sql.SQL("SELECT n, repeat('x', 1000) FROM (SELECT generate_series(1, 100000000) AS n) AS s")
    columns = (CopyColumn("n", types.INT4), CopyColumn("t", types.TEXT))
    if in_transaction:
        connection.execute("BEGIN")
    batches = copy_out(connection, query, columns, octets=1 << 16)
    assert next(batches).num_rows
    begun = time.monotonic()
    batches.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 15
    if in_transaction:
        connection.rollback()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_cancelled_while_the_server_is_silent(connection: Connection[Any], way: str) -> None:
    begun = time.monotonic()

    def cancelled() -> None:
        if time.monotonic() - begun > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _read(connection, "SELECT pg_sleep(30)::text", CopyColumn("s", types.TEXT), cancelled=cancelled)
    assert time.monotonic() - begun < 15
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_several_connections_read_one_snapshot(database: Database, connection: Connection[Any]) -> None:
    connection.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n")
    column = CopyColumn("n", types.INT4)
    with database.connect() as first, database.connect() as second, exported_snapshot(first) as snapshot:
        connection.execute("DELETE FROM t WHERE n % 2 = 0")
        with in_snapshot(second, snapshot):
            low = _read(first, "SELECT n FROM t WHERE n <= 500", column)
            high = _read(second, "SELECT n FROM t WHERE n > 500", column)
        assert _read(second, "SELECT n FROM t", column).num_rows == 500
    assert sorted(low["n"].to_pylist() + high["n"].to_pylist()) == list(range(1, 1001))


def test_notices_and_notifications_in_the_middle_of_the_rows(
    database: Database, connection: Connection[Any], way: str
) -> None:
    """Notices are handed to Python while rows are taken without the interpreter's lock."""
    connection.execute(
        "CREATE FUNCTION loud(n int) RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN IF n % 1000 = 0 THEN RAISE NOTICE 'at %', n; END IF; RETURN n; END$$; LISTEN news"
    )
    heard: list[str] = []
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    query = sql.SQL("SELECT loud(n), repeat('x', 200) FROM generate_series(1, 20000) n")
    columns = (CopyColumn("n", types.INT4), CopyColumn("t", types.TEXT))
    batches = copy_out(connection, query, columns, octets=1 << 16)
    rows = next(batches).num_rows
    database.sql("NOTIFY news, 'of the day'")
    rows += sum(batch.num_rows for batch in batches)
    assert rows == 20_000
    assert heard == [f"at {n}" for n in range(1000, 20_001, 1000)]
    assert [n.payload for n in connection.notifies(timeout=5, stop_after=1)] == ["of the day"]
