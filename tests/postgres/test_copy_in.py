"""Binary COPY into a server: what goes in comes out again, by COPY and by psycopg's rows; what cannot is named."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest
from copy_cases import FIRST_TIME, LAST_TIME, TEXTS, decimals, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from runner.errors import CopyError, PostgresError
from runner.postgres import types
from runner.postgres.copy_columns import CopyColumn
from runner.postgres.copy_in import copy_in
from runner.postgres.copy_out import copy_out
from runner.postgres.types import PgType, numeric, pg_type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures_postgres import Database
    from psycopg import Connection

INT64 = st.integers(-(2**63), 2**63 - 1)
MICROSECONDS = st.integers(FIRST_TIME, LAST_TIME)
UUIDS = st.uuids().map(lambda u: u.bytes)


def _lists(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | elements, max_size=4)


# Name, Arrow type, type of the table's column (None: the usual one), values.
CASES: list[tuple[str, pa.DataType, PgType | None, st.SearchStrategy[Any]]] = [
    ("int64", pa.int64(), None, INT64),
    ("int32", pa.int32(), None, st.integers(-(2**31), 2**31 - 1)),
    ("int16", pa.int16(), None, st.integers(-(2**15), 2**15 - 1)),
    ("int8", pa.int8(), None, st.integers(-128, 127)),
    ("uint32", pa.uint32(), None, st.integers(0, 2**32 - 1)),
    ("uint64", pa.uint64(), None, st.integers(0, 2**64 - 1)),
    ("narrowed", pa.int64(), types.INT2, st.integers(-(2**15), 2**15 - 1)),
    ("bool", pa.bool_(), None, st.booleans()),
    ("float32", pa.float32(), None, st.floats(width=32)),
    ("float64", pa.float64(), None, st.floats()),
    ("text", pa.string(), None, TEXTS),
    ("large_text", pa.large_string(), types.VARCHAR, TEXTS),
    ("codes", pa.dictionary(pa.int32(), pa.string()), None, TEXTS),
    ("binary", pa.binary(), None, st.binary(max_size=40)),
    ("large_binary", pa.large_binary(), None, st.binary(max_size=40)),
    ("uuid", pa.uuid(), None, UUIDS),
    ("uuid_text", pa.string(), types.UUID, st.uuids().map(str)),
    ("json", pa.string(), types.JSONB, st.sampled_from(["{}", '{"a": "ü😀"}', "[1, 2]", "1.50", '"x"', "null"])),
    ("timestamptz", pa.timestamp("us", "UTC"), None, MICROSECONDS),
    ("paris", pa.timestamp("us", "Europe/Paris"), None, MICROSECONDS),
    ("seconds", pa.timestamp("s", "UTC"), None, st.integers(FIRST_TIME // 10**6, LAST_TIME // 10**6)),
    ("timestamp", pa.timestamp("us"), None, MICROSECONDS),
    ("date", pa.date32(), None, st.integers(-2_440_588, 2_145_031_948)),
    ("duration", pa.duration("us"), None, INT64),
    ("decimal_19_4", pa.decimal128(19, 4), None, decimals(19, 4)),
    ("decimal_38_0", pa.decimal128(38, 0), None, decimals(38, 0)),
    ("decimal_38_38", pa.decimal128(38, 38), None, decimals(38, 38)),
    ("decimal_any", pa.decimal128(25, 7), types.NUMERIC, decimals(25, 7)),
    ("texts", pa.list_(pa.string()), None, _lists(TEXTS)),
    ("ints", pa.list_(pa.int64()), None, _lists(INT64)),
    ("large_ints", pa.large_list(pa.int32()), None, _lists(st.integers(-5, 5))),
    ("bools", pa.list_(pa.bool_()), None, _lists(st.booleans())),
    ("floats", pa.list_(pa.float64()), None, _lists(st.floats())),
    ("decimals", pa.list_(pa.decimal128(19, 2)), None, _lists(decimals(19, 2))),
    ("times", pa.list_(pa.timestamp("us", "UTC")), None, _lists(MICROSECONDS)),
    ("plain_times", pa.list_(pa.timestamp("us")), None, _lists(MICROSECONDS)),
    ("dates", pa.list_(pa.date32()), None, _lists(st.integers(-1000, 10**6))),
    ("uuids", pa.list_(pa.string()), types.UUID.array(), _lists(st.uuids().map(str))),
    ("jsons", pa.list_(pa.string()), types.JSONB.array(), _lists(st.sampled_from(["{}", "[1]"]))),
    ("blobs", pa.list_(pa.binary()), None, _lists(st.binary(max_size=9))),
]
ROWS = st.lists(st.tuples(*(st.none() | values for *_, values in CASES)), max_size=12)
SCHEMA = pa.schema([(name, arrow) for name, arrow, _, _ in CASES])
TYPES = {name: kind or pg_type_of(arrow) for name, arrow, kind, _ in CASES}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection[Any]]:
    with database.connect() as connection:
        yield connection


def _create(connection: Connection[Any], kinds: dict[str, PgType]) -> None:
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind.sql)) for name, kind in kinds.items()
    )
    connection.execute(sql.SQL("DROP TABLE IF EXISTS t; CREATE TABLE t ({})").format(columns))


def _array(values: list[Any], arrow: pa.DataType) -> pa.Array:
    if isinstance(arrow, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(arrow, pa.array(values, arrow.storage_type))
    if pa.types.is_dictionary(arrow):
        return pa.array(values, arrow.value_type).dictionary_encode().cast(arrow)
    return pa.array(values, arrow)


def _written(connection: Connection[Any], column: pa.Array, kind: PgType | None = None) -> list[Any]:
    """One column into a fresh table, and back as psycopg's values."""
    kinds = {"c": kind or pg_type_of(column.type)}
    _create(connection, kinds)
    batch = pa.record_batch([column], names=["c"])
    assert copy_in(connection, sql.Identifier("t"), batch.schema, iter([batch]), kinds) == len(column)
    return [value for (value,) in connection.execute("SELECT c FROM t")]


# What goes in ---------------------------------------------------------------------------------------------------------


@given(rows=ROWS, cut=st.integers(0, 12))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_what_goes_in_comes_out_again(connection: Connection[Any], rows: list[tuple[Any, ...]], cut: int) -> None:
    arrays = [_array([row[i] for row in rows], arrow) for i, arrow in enumerate(SCHEMA.types)]
    batch = pa.record_batch(arrays, schema=SCHEMA)
    _create(connection, TYPES)
    batches = [batch.slice(0, cut), batch.slice(cut)]
    assert copy_in(connection, sql.Identifier("t"), SCHEMA, iter(batches), TYPES) == len(rows)
    # pyarrow makes no empty table with a list of UUIDs.
    wanted = {"decimal_any": pa.decimal128(25, 7), "uuids": pa.list_(pa.string())}
    columns = tuple(CopyColumn(name, kind, wanted.get(name)) for name, kind in TYPES.items())
    names = sql.SQL(", ").join(map(sql.Identifier, TYPES))
    query = sql.SQL("SELECT {} FROM t ORDER BY ctid").format(names)
    out = pa.Table.from_batches(copy_out(connection, query, columns), pa.schema([c.field for c in columns]))
    got = {name: out[name].combine_chunks() if rows else pa.array([], out[name].type) for name in TYPES}
    assert [
        name for name, array in zip(TYPES, arrays, strict=True) if not same(got[name], _as_read(array, got[name]))
    ] == []


def _as_read(array: pa.Array, got: pa.Array) -> pa.Array:
    """The column that went in as the type that comes out; texts of jsonb are as they were."""
    if isinstance(got, pa.ExtensionArray):
        if not isinstance(array, pa.ExtensionArray):
            values = [None if v is None else UUID(v).bytes for v in array.to_pylist()]
            return _array(values, got.type)
        return array
    if pa.types.is_timestamp(array.type) and array.type.unit == "us":
        return array.cast(pa.int64()).cast(got.type)
    return array.cast(got.type)


def test_it_is_what_the_server_has_by_its_own_word(connection: Connection[Any]) -> None:
    """Against psycopg's values, so that no mistake that both ways make is missed."""
    moment = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    some = UUID("00112233-4455-6677-8899-aabbccddeeff")
    cases: list[tuple[Any, pa.DataType, PgType | None]] = [
        (moment, pa.timestamp("us", "UTC"), None),
        (datetime(1969, 12, 31, 23, 59), pa.timestamp("us"), None),  # noqa: DTZ001  # a type without a zone
        (date(1582, 10, 4), pa.date32(), None),
        (Decimal("-12345.6700"), pa.decimal128(19, 4), None),
        (Decimal("0.0001"), pa.decimal128(19, 4), None),
        (Decimal(10) ** 37, pa.decimal128(38, 0), None),
        ([moment, None], pa.list_(pa.timestamp("us", "UTC")), None),
        ([Decimal("1.50"), None], pa.list_(pa.decimal128(19, 2)), None),
        (["a", None, "ü😀"], pa.list_(pa.string()), types.VARCHAR.array()),
        ([], pa.list_(pa.string()), None),
        (b"\0\xff", pa.binary(), None),
        (timedelta(microseconds=1), pa.duration("us"), None),
        (-0.0, pa.float64(), None),
        (2**64 - 1, pa.uint64(), None),
    ]
    for value, arrow, kind in cases:
        got = _written(connection, pa.array([None, value], arrow), kind)
        assert [repr(got[0]), got[1]] == ["None", value], (value, arrow)
    assert _written(connection, pa.array([str(some), str(some).upper()]), types.UUID) == [some, some]
    assert _written(connection, pa.array(['{"a": [1.50, "\\u00e9"]}']), types.JSONB) == [{"a": [1.5, "é"]}]
    assert _written(connection, pa.array([["{}"]]), types.JSONB.array()) == [[{}]]
    assert _written(connection, pa.array(["x y"]), types.JSON and types.BPCHAR) == ["x y"]
    # Also in the type's own words: jsonb and numeric are what they were.
    assert _written(connection, pa.array([Decimal("1.10")]), types.NUMERIC) == [Decimal("1.10")]
    assert str(_written(connection, pa.array([Decimal("1.10")]), types.NUMERIC)[0]) == "1.10"


def test_texts_of_megabytes_and_batches_of_thousands(connection: Connection[Any]) -> None:
    texts = ["é" * 2_500_000, "", None, "x" * 10_000_000, *(str(n) for n in range(40_000))]
    assert _written(connection, pa.array(texts)) == texts
    assert _written(connection, pa.array(texts, pa.large_string()).slice(1, 3)) == texts[1:4]


def test_slices_go_in_as_what_they_show(connection: Connection[Any]) -> None:
    lists = pa.array([["a"], None, ["b", None], [], ["c\0"]], pa.list_(pa.string()))
    # U+0000 stands outside the slice.
    assert _written(connection, lists.slice(1, 3)) == [None, ["b", None], []]
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 2], pa.int32()), pa.array(["\0", "b"]), mask=pa.array([True, False])
    )
    assert _written(connection, hidden) == [None, ["b"]]
    assert _written(connection, pa.array(["a\0", "b", "c\0"]).slice(1, 1)) == ["b"]


def test_no_rows_and_no_batches(connection: Connection[Any]) -> None:
    assert _written(connection, pa.array([], pa.int64())) == []
    schema = pa.schema([("c", pa.int64())])
    assert copy_in(connection, sql.Identifier("t"), schema, iter(()), {"c": types.INT8}) == 0


def test_names_are_quoted(connection: Connection[Any]) -> None:
    name = 'we"ird; DROP TABLE x --😀'
    table = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE TABLE {} ({} int8)").format(table, table))
    batch = pa.record_batch([pa.array([5])], names=[name])
    assert copy_in(connection, table, batch.schema, iter([batch]), {name: types.INT8}) == 1


# What cannot go in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "arrow", "kind", "reason"),
    [
        ("a\0b", pa.string(), None, "holds U+0000, which no text in Postgres can"),
        ("a\0b", pa.string(), types.JSONB, "holds U+0000"),
        (["x", "a\0b"], pa.list_(pa.string()), None, "holds U+0000"),
        ("no-uuid", pa.string(), types.UUID, "'no-uuid' is no UUID"),
        ("00112233445566778899aabbccddeeff0000", pa.string(), types.UUID, "is no UUID"),
        ("0011223g-4455-6677-8899-aabbccddeeff", pa.string(), types.UUID, "is no UUID"),
        (["0011223g-4455-6677-8899-aabbccddeeff"], pa.list_(pa.string()), types.UUID.array(), "is no UUID"),
        (40_000, pa.int64(), types.INT2, "40000"),
        (2**63, pa.uint64(), types.INT8, "9223372036854775808"),
        (Decimal("1.005"), pa.decimal128(9, 3), numeric(9, 2), "1.005"),
        (1, pa.timestamp("ns", "UTC"), types.TIMESTAMPTZ, "1970-01-01"),
        (FIRST_TIME - 1, pa.timestamp("us", "UTC"), None, "a time before 4714-11-24 BC"),
        (-(2**63), pa.timestamp("us"), None, "a time before 4714-11-24 BC"),
        (-(2**31), pa.date32(), None, "a time before 4714-11-24 BC"),
    ],
)
def test_what_cannot_go_in_is_named(
    connection: Connection[Any], value: Any, arrow: pa.DataType, kind: PgType | None, reason: str
) -> None:
    kinds = {"n": types.INT8, "odd": kind or pg_type_of(arrow)}
    _create(connection, kinds)
    arrays = [pa.array(range(5)), pa.array([None, None, None, value, None], arrow)]
    batch = pa.record_batch(arrays, names=["n", "odd"])
    with pytest.raises(CopyError) as caught:
        copy_in(connection, sql.Identifier("t"), batch.schema, iter([batch, batch]), kinds, where="orders")
    assert (caught.value.column, caught.value.row) == ("odd", 4)
    assert str(caught.value).startswith("orders: column odd, row 4: ")
    assert reason in str(caught.value)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_rows_are_counted_over_batches(connection: Connection[Any]) -> None:
    _create(connection, {"c": types.TEXT})
    batches = [pa.record_batch([pa.array(texts)], names=["c"]) for texts in (["a"] * 70_000, ["b", "c\0"])]
    with pytest.raises(CopyError, match=r"column c, row 70,002: .*U\+0000"):
        copy_in(connection, sql.Identifier("t"), batches[0].schema, iter(batches), {"c": types.TEXT})


@pytest.mark.parametrize(
    ("value", "arrow", "kind", "reason"),
    [
        ("{", pa.string(), types.JSONB, "line 4"),
        (r'{"a": "\u0000"}', pa.string(), types.JSONB, "line 4"),
        (Decimal("123.4"), pa.decimal128(9, 1), numeric(3, 1), "line 4"),
    ],
)
def test_what_the_server_refuses_names_the_line(
    connection: Connection[Any], value: Any, arrow: pa.DataType, kind: PgType, reason: str
) -> None:
    _create(connection, {"c": kind})
    batch = pa.record_batch([pa.array([None, None, None, value], arrow)], names=["c"])
    with pytest.raises(PostgresError, match=f"orders: .*{reason}.*column c"):
        copy_in(connection, sql.Identifier("t"), batch.schema, iter([batch]), {"c": kind}, where="orders")
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_source_that_fails_leaves_nothing(connection: Connection[Any]) -> None:
    _create(connection, {"c": types.INT8})
    batch = pa.record_batch([pa.array([1])], names=["c"])

    def failing() -> Iterator[pa.RecordBatch]:
        yield batch
        raise ValueError("the file is torn")

    with pytest.raises(ValueError, match="the file is torn"):
        copy_in(connection, sql.Identifier("t"), batch.schema, failing(), {"c": types.INT8})
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_it_is_part_of_the_callers_transaction(connection: Connection[Any]) -> None:
    _create(connection, {"c": types.INT8})
    batch = pa.record_batch([pa.array([1, 2])], names=["c"])
    with connection.transaction(force_rollback=True):
        assert copy_in(connection, sql.Identifier("t"), batch.schema, iter([batch]), {"c": types.INT8}) == 2
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_batch_of_another_schema(connection: Connection[Any]) -> None:
    _create(connection, {"c": types.INT8})
    other = pa.record_batch([pa.array(["a"])], names=["c"])
    with pytest.raises(CopyError, match="a batch has the schema"):
        copy_in(connection, sql.Identifier("t"), pa.schema([("c", pa.int64())]), iter([other]), {"c": types.INT8})


@pytest.mark.parametrize(
    ("arrow", "kind"),
    [
        (pa.int64(), types.TEXT),
        (pa.string(), types.INT8),
        (pa.float64(), types.FLOAT4),
        (pa.timestamp("us"), types.TIMESTAMPTZ),
        (pa.string(), types.TEXT.array()),
        (pa.list_(pa.string()), types.TEXT),
        (pa.decimal256(40, 2), types.NUMERIC),
        (pa.string(), types.XID8),
    ],
)
def test_what_becomes_nothing_is_refused_before(arrow: pa.DataType, kind: PgType) -> None:
    """Before anything is asked of the connection, which may be none."""
    closed: Any = None
    with pytest.raises(TypeError, match=r"column c: Arrow .* does not become Postgres"):
        copy_in(closed, sql.Identifier("t"), pa.schema([("c", arrow)]), iter(()), {"c": kind})


def test_arrow_types_without_one_in_postgres() -> None:
    for arrow in (pa.list_(pa.list_(pa.int64())), pa.struct([("a", pa.int64())]), pa.null(), pa.decimal256(40, 2)):
        with pytest.raises(TypeError, match="no Postgres type"):
            pg_type_of(arrow)


def test_numbers_of_types_are_the_servers(connection: Connection[Any]) -> None:
    from runner.postgres.types import _SCALARS

    for kind in _SCALARS:
        row = connection.execute("SELECT %s::regtype::oid, %s::regtype::oid", (kind.name, f"{kind.name}[]")).fetchone()
        assert row == (kind.oid, kind.array_oid), kind
