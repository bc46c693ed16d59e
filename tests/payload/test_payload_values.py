"""What particular payload values become, said by hand: the twins could be wrong together."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from decimal import Decimal

import duckdb
import pytest
from payload_cases import LINE, T, column, plain, texts

from runner.errors import DefinitionError
from runner.payload import BadValue, decode, decode_plain
from runner.payload.coercion import parse_coercion
from runner.values import Kind, PayloadColumn, RecordField

BOTH = pytest.mark.parametrize("function", [decode, decode_plain], ids=["kernels", "plain"])


def values(function, wanted, *found):
    return plain(function(texts(*(f'{{"v":{v}}}' for v in found)), [wanted])[wanted])


@BOTH
def test_absent_null_and_value_are_told_apart(function):
    wanted = column(Kind.INT)
    array = function(texts("{}", '{"v":null}', '{"v":0}', '{"w":1}'), [wanted])[wanted]
    assert plain(array) == ["absent", None, 0, "absent"]
    assert array.valid.tolist() == [0, 0, 1, 0]
    assert array.absent.tolist() == [1, 0, 0, 1]
    everywhere = function(texts('{"v":1}'), [wanted])[wanted]
    assert everywhere.valid is None
    assert everywhere.absent is None


@BOTH
def test_the_first_present_path_wins_and_null_is_present(function):
    wanted = PayloadColumn("t", (("a",), ("b", "c.d"), ("e",)), T(Kind.INT))
    found = function(
        texts(
            '{"e":5,"b":{"c.d":3},"a":1}', '{"e":5,"b":{"c.d":null}}', '{"e":5,"b":{"c":{"d":3}}}', '{"b":[1],"e":6}'
        ),
        [wanted],
    )[wanted]
    assert plain(found) == [1, None, 5, 6]


@BOTH
def test_of_equal_keys_the_last_counts(function):
    wanted = PayloadColumn("t", (("a", "b"),), T(Kind.INT))
    payloads = texts('{"a":{"b":1},"a":{"b":2}}', '{"a":{"b":1},"a":{}}', '{"a":{"b":1},"a":3}', '{"\\u0061":{"b":4}}')
    assert plain(function(payloads, [wanted])[wanted]) == [2, "absent", "absent", 4]


@BOTH
@pytest.mark.parametrize(
    ("wanted", "text", "stored"),
    [
        (column(Kind.INT), "9223372036854775807", 2**63 - 1),
        (column(Kind.INT), "-9223372036854775808", -(2**63)),
        (column(Kind.INT, coerce="number"), '" 0042 "', 42),
        (column(Kind.FLOAT), "0.1", 0.1),
        (column(Kind.FLOAT), "9007199254740993", 9007199254740992.0),
        (column(Kind.FLOAT), "2.2250738585072011e-308", 2.2250738585072011e-308),
        (column(Kind.FLOAT), "7", 7.0),
        (column(Kind.DECIMAL, scale=2), "0.1", 10),
        (column(Kind.DECIMAL, scale=2), "1.500", 150),
        (column(Kind.DECIMAL, scale=2), "1e1", 1000),
        (column(Kind.DECIMAL, scale=18), "0.100000000000000005", 100000000000000005),
        (column(Kind.DECIMAL, scale=2), "12345678901234567.89", 1234567890123456789),
        (column(Kind.DECIMAL, scale=2, rounding="ROUND_HALF_EVEN"), "0.125", 12),
        (column(Kind.DECIMAL, scale=2, rounding="ROUND_HALF_EVEN"), "0.1250000000000000000000001", 13),
        (column(Kind.DECIMAL, scale=2, rounding="ROUND_HALF_UP"), "-0.125", -13),
        (column(Kind.DECIMAL, scale=2, rounding="ROUND_CEILING"), "-0.129", -12),
        (column(Kind.DECIMAL, scale=2, coerce="number"), '"20000"', 2000000),
        (column(Kind.BOOL), "true", 1),
        (column(Kind.STR), '"a\\u0000\\n\\ud83d\\ude00"', "a\0\n\U0001f600"),
        (column(Kind.UUID), '"0123456789ABCDEF0123456789ABCDEF"', "01234567-89ab-cdef-0123-456789abcdef"),
        (column(Kind.ENUM, members=("x",)), '"other"', "other"),
        (column(Kind.ENUM, members=(1,)), "-7", "-7"),
        (column(Kind.DATETIME), '"1970-01-01T01:00:00.1234569+01:00"', 123456),
        (column(Kind.DATETIME), '"1969-12-31 23:59:59.5Z"', -500000),
        (column(Kind.DATETIME, coerce="epoch"), "1.5", 1500000),
        (column(Kind.DATETIME, coerce="epoch"), '"-0.0000001"', -1),
        (column(Kind.DATETIME, coerce="epoch_ms"), "1500", 1500000),
        (column(Kind.DATETIME, coerce="iso@Europe/Amsterdam"), '"2011-10-30T02:30:00"', 1319934600000000),
        (column(Kind.DATETIME, coerce="%d.%m.%Y %H:%M@Europe/Prague"), '"01.07.1970 02:00"', 15642000000000 - 0),
        (column(Kind.DATE), '"1970-02-01"', 31),
        (column(Kind.DATE, coerce="iso"), '"1970-02-01T23:00:00-05:00"', 31),
        (column(Kind.DATE, coerce="%y%m%d"), '"700201"', 31),
        (column(Kind.TIMEDELTA), '"P1DT0.5S"', 86_400_500_000),
        (column(Kind.TIMEDELTA), "-1.5", -1_500_000),
    ],
    ids=repr,
)
def test_values(function, wanted, text, stored):
    assert values(function, wanted, text) == [stored]


@BOTH
@pytest.mark.parametrize(
    ("wanted", "text", "reason"),
    [
        (column(Kind.INT), "9223372036854775808", "does not fit int64"),
        (column(Kind.INT), "1" * 5000, "does not fit int64"),
        (column(Kind.INT), "5.0", "not an integer"),
        (column(Kind.INT), "true", "true is not a number"),
        (column(Kind.INT), '"5"', 'coerce="number"'),
        (column(Kind.INT, coerce="number"), '"5 000"', "not an integer"),
        (column(Kind.STR), "5", "5 is not a string"),
        (column(Kind.STR), '"\\ud800"', "surrogate"),
        (column(Kind.STR), "{}", "an object is not a string"),
        (column(Kind.FLOAT), "1e400", "does not fit a float"),
        (column(Kind.FLOAT, coerce="number"), '"nan"', "not a number"),
        (column(Kind.DECIMAL, scale=2), "0.001", 'field(scale=2, rounding="ROUND_HALF_EVEN")'),
        (column(Kind.DECIMAL, scale=2), "0.10000000000000000001", "more than 2 digits"),
        (column(Kind.DECIMAL, scale=2), "1e17", "does not fit"),
        (column(Kind.DECIMAL, scale=2), "1e999999999", "does not fit"),
        (column(Kind.BOOL), "1", "not true or false"),
        (column(Kind.UUID), '"0123"', "not a UUID"),
        (column(Kind.ENUM, members=("x",)), "1", "not a string"),
        (column(Kind.DATETIME), '"2026-01-01T00:00:00"', "no time zone"),
        (column(Kind.DATETIME), '"2026-02-30T00:00:00Z"', "day"),
        (column(Kind.DATETIME), "1500000000", "not a string"),
        (column(Kind.DATETIME, coerce="epoch"), "1e12", "beyond the years"),
        (column(Kind.DATETIME, coerce="iso@Europe/Amsterdam"), '"2011-03-27T02:30:00"', "does not occur"),
        (column(Kind.DATETIME, coerce="%Y@UTC"), '"26"', "not a time as %Y"),
        (column(Kind.DATE), '"2026-01-01T00:00:00Z"', "not a date"),
        (column(Kind.TIMEDELTA), "0.0000001", "more than 6 digits"),
        (column(Kind.LIST, element=T(Kind.INT)), "{}", "not a list"),
        (column(Kind.LIST, element=T(Kind.INT)), '[1,"2"]', "element 1: '2' is not a number"),
        (column(Kind.LIST, element=LINE), '[{"q":1},null]', "element 1: it is not an object"),
        (column(Kind.LIST, element=LINE), '[{"q":1},{"q":true}]', "element 1: q: true is not a number"),
        (column(Kind.INT), "NaN", "not JSON"),
        (column(Kind.INT), "[1,]", "not JSON"),
        (column(Kind.INT), "[" * 501 + "]" * 501, "nested deeper"),
    ],
    ids=lambda v: repr(v)[:50],
)
def test_bad_values_are_named(function, wanted, text, reason):
    with pytest.raises(BadValue) as raised:
        values(function, wanted, "null", text, "null")
    assert raised.value.row == 1
    assert raised.value.column == wanted
    assert reason in raised.value.reason


@BOTH
def test_the_lowest_row_is_named_whatever_the_order_of_columns(function):
    late, early = column(Kind.INT, "a"), column(Kind.STR, "b")
    with pytest.raises(BadValue) as raised:
        function(texts('{"a":1,"b":"x"}', '{"a":1,"b":2}', '{"a":"x","b":"x"}'), [late, early])
    assert (raised.value.row, raised.value.column) == (1, early)


@BOTH
def test_lists_of_scalars_and_records(function):
    scalars, lines = column(Kind.LIST, "s", element=T(Kind.STR)), column(Kind.LIST, "l", element=LINE)
    found = function(
        texts(
            '{"s":["a","b",null],"l":[{"q":1,"p":"2.50"},{"q":2,"r.s":1,"u\\"":"x"}]}',
            '{"s":[],"l":null}',
            "{}",
            '{"s":[ "\\u0063" ],"l":[ {} ]}',
        ),
        [scalars, lines],
    )
    assert plain(found[scalars]) == [["a", "b", None], [], "absent", ["c"]]
    assert plain(found[lines]) == [
        [{"q": 1, "p": 250, "u": "absent"}, {"q": 2, "p": 100, "u": "x"}],
        None,
        "absent",
        [{"q": "absent", "p": "absent", "u": "absent"}],
    ]
    assert found[lines].values.tolist() == [0, 2, 2, 2, 3]


def test_a_string_of_ten_megabytes():
    wanted = column(Kind.STR)
    long = "é" * 5_000_000
    assert values(decode, wanted, '"x"', f'"{long}"', f'"\\n{long}"') == ["x", long, f"\n{long}"]


def test_no_payloads_and_sliced_payloads():
    wanted = column(Kind.STR)
    assert len(decode(texts(), [wanted])[wanted]) == 0
    three = texts('{"v":"a"}', '{"v":"b"}', '{"v":"c"}')
    assert plain(decode(three[1:], [wanted])[wanted]) == ["b", "c"]
    assert decode(three, []) == {}


def test_numbers_against_duckdb():
    """An independent parser: doubles of all lengths, and exact sums of decimals."""
    rows = [f'{{"v":{k * 0.1 + k / 3!r},"d":{k}.{k % 100:02}}}' for k in range(2_000)]
    floats, decimals = column(Kind.FLOAT), column(Kind.DECIMAL, "d", scale=2)
    found = decode(texts(*rows), [floats, decimals])
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("create table p as select unnest(?::varchar[]) as p", [rows])
    expected = connection.execute("select (p->>'v')::double, (p->>'d')::decimal(18, 2) from p").fetchall()
    assert found[floats].values.tolist() == [v for v, _ in expected]
    assert [Decimal(v).scaleb(-2) for v in found[decimals].values.tolist()] == [d for _, d in expected]


@pytest.mark.parametrize("text", ["epoc", "iso@Nowhere/Land", "number@UTC"])
def test_coercions_that_mean_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"neither|no time zone"):
        parse_coercion(text)


def test_a_zone_is_no_part_of_a_format_with_a_sign_in_it():
    assert parse_coercion("%d@%H").format == "%d@%H"
    assert parse_coercion("%d %H @ Europe/Prague") != parse_coercion("%d %H@Europe/Prague")
    assert parse_coercion("%d %H @Europe/Prague").zone == "Europe/Prague"


@BOTH
def test_a_coercion_that_means_nothing_names_its_field(function):
    record = T(Kind.RECORD, fields=(RecordField("at", T(Kind.DATE), (("at",),), "ymd"),))
    for wanted in (column(Kind.DATE, "day", "ymd"), column(Kind.LIST, "day", element=record)):
        with pytest.raises(DefinitionError, match="field day of t: coerce: 'ymd' is neither"):
            function(texts("{}"), [wanted])


def test_escapes_at_the_borders_of_utf8():
    points = [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF]
    pairs = [0x10000, 0x10FFFF]
    escaped = [f"\\u{p:04x}" for p in points]
    escaped += [f"\\u{0xD800 + ((p - 0x10000) >> 10):04X}\\u{0xDC00 + ((p - 0x10000) & 0x3FF):04X}" for p in pairs]
    assert values(decode, column(Kind.STR), *(f'"{e}"' for e in escaped)) == [chr(p) for p in points + pairs]


@BOTH
def test_every_border_of_the_calendar(function):
    """The last days of all months of leap, century and other years, and the days behind them."""
    wanted = column(Kind.DATE)
    for year in (1, 4, 1600, 1900, 1999, 2000, 2024, 2100, 9999):
        for month in range(1, 13):
            last = monthrange(year, month)[1]
            days = (date(year, month, last) - date(1970, 1, 1)).days
            assert values(function, wanted, f'"{year:04}-{month:02}-{last:02}"') == [days]
            with pytest.raises(BadValue):
                values(function, wanted, f'"{year:04}-{month:02}-{last + 1:02}"')


@BOTH
@pytest.mark.parametrize("digits", [1, 7, 9007199254740992, 9007199254740993, 999999999999999999])
def test_floats_at_the_borders_of_exact_powers(function, digits):
    found = [f"{digits}e{exponent}" for exponent in (-24, -23, -22, -21, 0, 21, 22, 23, 24)]
    assert values(function, column(Kind.FLOAT), *found) == [float(text) for text in found]
