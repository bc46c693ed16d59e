"""Types and values for the tests of binary COPY, with a plain way to put each in and to get it out again.

The plain twin: values go in as psycopg's parameters and come out as its rows, one by one. Where Python has no such
value (years beyond 9999), the server is asked for numbers or text, so that nothing of what is tested is used.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import strategies as st
from psycopg import sql

from runner.postgres import types
from runner.postgres.types import PgType, numeric

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["CASES", "ROWS", "Case", "fill", "plain", "same"]

FIRST_TIME = -210_866_803_200_000_000
"""4714-11-24 BC in µs since 1970."""

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    [
        "",
        "'",
        '"',
        "\\",
        "\\N",
        "{a,b}",
        "\n\r\t",
        "😀👩‍👩‍👧",
        "\ufeff",
        "𝕏" * 9,
        "é" * 33,
        "x" * 65,
        "\x01",
        "\U0010ffff",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
).map(json.dumps)
_DIGITS = st.builds(
    lambda sign, digits, scale: Decimal((sign, tuple(digits), -scale)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.integers(-30, 60),
)
_ODD_NUMBERS = ["NaN", "Infinity", "-Infinity", "0", "0.00", "-0.0001", "10000", "9999.9999", "1E+130", "1E-90"]
LAST_TIME = 2**63 - 2
"""The last but one that Arrow can hold: of the very last, extract tells only 19 digits."""
_TIMES = st.integers(FIRST_TIME, LAST_TIME) | st.sampled_from([FIRST_TIME, -1, 0, 946_684_800_000_000, LAST_TIME])
_INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), -1, 0, 2**63 - 1])


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    numbers = st.integers(-most, most) | st.sampled_from([-most, most, 0, 1, -1, min(most, 10**scale)])
    return numbers.map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale)))


def _lists(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | elements, max_size=5)


def _since_2000(zone: str) -> str:
    # Products with intervals are computed in doubles: days and the rest of a day stay exact in them.
    past = "({p}::bigint - 946684800000000)"
    return (
        f"timestamp{zone} '2000-01-01 00:00:00+00' + {past} / 86400000000 * interval '24 hours'"
        f" + {past} %% 86400000000 * interval '1 microsecond'"
    )


_MICROSECONDS = "(extract(epoch FROM {c}) * 1000000)::bigint"


@dataclass(frozen=True)
class Case:
    """One column. put: SQL with the parameter ``{p}``. get: SQL of the column ``{c}``, for the value that is expected
    in Arrow; back: how it is expected where the value itself goes in and out.
    """

    name: str
    type: PgType
    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    put: str = ""
    get: str = "{c}"
    special: str = "error"


CASES = [
    Case("int2_", types.INT2, pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    Case("int4_", types.INT4, pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    Case("int8_", types.INT8, pa.int64(), _INT64),
    Case("int2_wide", types.INT2, pa.int64(), st.integers(-(2**15), 2**15 - 1)),
    Case("oid_", types.OID, pa.int64(), st.integers(0, 2**32 - 1)),
    Case("xid8_", types.XID8, pa.int64(), st.integers(0, 2**63 - 1), put="{p}::text::xid8", get="{c}::text::bigint"),
    Case("bool_", types.BOOL, pa.bool_(), st.booleans()),
    Case("float4_", types.FLOAT4, pa.float32(), st.floats(width=32), get="{c}::float8"),
    Case("float4_wide", types.FLOAT4, pa.float64(), st.floats(width=32), get="{c}::float8"),
    Case("float8_", types.FLOAT8, pa.float64(), st.floats()),
    Case("text_", types.TEXT, pa.large_string(), TEXTS),
    Case("text_short", types.TEXT, pa.string(), TEXTS),
    Case("varchar_", types.VARCHAR, pa.large_string(), TEXTS),
    Case("name_", types.NAME, pa.large_string(), st.text("aä😀", max_size=15)),
    Case("json_", types.JSON, pa.large_string(), _JSON, get="{c}::text"),
    Case("jsonb_", types.JSONB, pa.large_string(), _JSON, get="{c}::text"),
    Case("bytea_", types.BYTEA, pa.large_binary(), st.binary(max_size=70)),
    Case("bytea_text", types.BYTEA, pa.large_string(), TEXTS.map(str.encode), get="convert_from({c}, 'UTF8')"),
    Case("uuid_", types.UUID, pa.uuid(), st.uuids()),
    Case("uuid_text", types.UUID, pa.string(), st.uuids(), get="{c}::text"),
    Case(
        "numeric_text",
        types.NUMERIC,
        pa.large_string(),
        _DIGITS | st.sampled_from(_ODD_NUMBERS).map(Decimal),
        get="{c}::text",
    ),
    Case("numeric_38_9", types.NUMERIC, pa.decimal128(38, 9), decimals(38, 9)),
    Case("numeric_19_4", numeric(19, 4), pa.decimal128(19, 4), decimals(19, 4)),
    Case("numeric_38_0", numeric(38, 0), pa.decimal128(38, 0), decimals(38, 0)),
    Case("numeric_38_38", types.NUMERIC, pa.decimal128(38, 38), decimals(38, 38)),
    Case(
        "numeric_null",
        types.NUMERIC,
        pa.decimal128(12, 3),
        decimals(9, 2) | st.sampled_from(["NaN", "Infinity", "-Infinity"]).map(Decimal),
        get="CASE WHEN {c} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {c} END",
        special="null",
    ),
    Case(
        "timestamptz_", types.TIMESTAMPTZ, pa.timestamp("us", "UTC"), _TIMES, put=_since_2000("tz"), get=_MICROSECONDS
    ),
    Case("timestamp_", types.TIMESTAMP, pa.timestamp("us"), _TIMES, put=_since_2000(""), get=_MICROSECONDS),
    Case(
        "date_",
        types.DATE,
        pa.date32(),
        st.integers(-2_440_588, 2_145_031_948) | st.sampled_from([-2_440_588, 0, 2_145_031_948]),
        put="date '1970-01-01' + {p}::integer",
        get="{c} - date '1970-01-01'",
    ),
    Case(
        "interval_",
        types.INTERVAL,
        pa.duration("us"),
        st.integers(-(10**15), 10**15),
        put="{p}::bigint * interval '1 microsecond'",
        get=_MICROSECONDS,
    ),
    Case("text_array", types.TEXT.array(), pa.list_(pa.string()), _lists(TEXTS)),
    Case("int8_array", types.INT8.array(), pa.list_(pa.int64()), _lists(_INT64)),
    Case("float8_array", types.FLOAT8.array(), pa.large_list(pa.float64()), _lists(st.floats())),
    Case("numeric_array", types.NUMERIC.array(), pa.list_(pa.decimal128(25, 6)), _lists(decimals(25, 6))),
    Case("uuid_array", types.UUID.array(), pa.list_(pa.string()), _lists(st.uuids()), get="{c}::text[]"),
    Case("jsonb_array", types.JSONB.array(), pa.list_(pa.large_string()), _lists(_JSON), get="{c}::text[]"),
]

ROWS = st.lists(st.tuples(*(st.none() | case.values for case in CASES)), max_size=12)
"""Rows of a table with a column for each case."""


def fill(connection: Connection[Any], table: str, rows: list[tuple[Any, ...]]) -> None:
    """Make the table and put the rows in, with a column ``row`` that says their order."""
    columns = ", ".join(f"{case.name} {case.type.sql}" for case in CASES)
    connection.execute(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (row int, {columns})".encode())
    values = ", ".join((c.put or f"{{p}}::{c.type.sql}").format(p=f"%({c.name})s") for c in CASES)
    named = [{"row": i, **{c.name: v for c, v in zip(CASES, row, strict=True)}} for i, row in enumerate(rows)]
    if named:
        connection.cursor().executemany(f"INSERT INTO {table} VALUES (%(row)s, {values})".encode(), named)


def plain(connection: Connection[Any], table: str, case: Case) -> pa.Array:
    """A case's column by psycopg's rows."""
    got = sql.SQL(case.get).format(c=sql.Identifier(case.name))
    query = sql.SQL("SELECT {} FROM {} ORDER BY row").format(got, sql.Identifier(table))
    values = [value for (value,) in connection.execute(query)]
    if case.type in (types.TIMESTAMP, types.TIMESTAMPTZ, types.INTERVAL):
        return pa.array(values, pa.int64()).cast(case.arrow)
    if case.type == types.DATE:
        return pa.array(values, pa.int32()).cast(pa.date32())
    if case.type == types.UUID and case.arrow == pa.uuid():
        values = [None if value is None else value.bytes for value in values]
    return pa.array(values, case.arrow)


def same(first: pa.Array, second: pa.Array) -> bool:
    """Whether two columns are equal, also where Python or Arrow's printing has no word for a value."""
    first.validate(full=True)
    return first.type == second.type and _words(first) == _words(second)


def _words(array: pa.Array) -> list[Any]:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        words = iter(_words(array.flatten()))
        return [None if n is None else [next(words) for _ in range(n)] for n in array.value_lengths().to_pylist()]
    if pa.types.is_temporal(array.type):
        array = array.view(pa.int32() if array.type == pa.date32() else pa.int64())
    # Text tells -0.0 from 0.0, and one NaN is like another.
    return [repr(v) if isinstance(v, float) and not math.isnan(v) else str(v) for v in array.to_pylist()]
