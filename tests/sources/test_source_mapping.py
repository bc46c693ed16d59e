"""Where the parts of an event are in a record: paths, parts, constants, and what makes a record a bad line."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import fields, read, read_all, source

from runner.errors import LineError
from runner.payload.scalars import Unfit
from runner.sources.arrange import arrange
from runner.sources.chunks import cut_chunk, json_records
from runner.sources.plain import parse_line, plain_event, plain_payload


def write(folder, *records):
    texts = [r if isinstance(r, str) else json.dumps(r) for r in records]
    (folder / "events.ndjson").write_bytes("".join(f"{t}\n" for t in texts).encode("utf-8", "surrogatepass"))


MAPPED = """
files = "events.ndjson"
aggregate_id = ["repo.name", {paths = ["issue.number", "pull.number"], optional = true}]
type = {parts = ["kind", {path = "action", optional = true}], separator = ":"}
recorded_at = "at"
version = "v"
tenant = {path = "org", optional = true}
payload = {path = "data", optional = true}
"""


def test_paths_parts_alternatives_and_optional_parts(tmp_path):
    at = "2026-01-01T00:00:00Z"
    write(
        tmp_path,
        {
            "repo": {"name": "a/b"},
            "issue": {"number": 7},
            "kind": "issue",
            "action": "open",
            "at": at,
            "v": 0,
            "org": "o",
        },
        {"repo": {"name": "a/b"}, "pull": {"number": 8}, "kind": "pull", "at": at, "v": "3", "data": {"x": 1.50}},
        {"repo": {"name": "a/b"}, "issue": None, "kind": "push", "action": "", "at": at, "v": 1, "data": '{"y": 2}'},
    )
    found = read_all(source(tmp_path, MAPPED))
    assert fields(found, "tenant", "aggregate_id", "type", "version", "payload") == [
        ("o", "a/b/7", "issue:open", 0, "{}"),
        ("", "a/b/8", "pull", 3, '{"x": 1.5}'),
        ("", "a/b", "push", 1, '{"y": 2}'),
    ]
    assert found.rows[0]["recorded_at"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.places == [(0, 1), (0, 2), (0, 3)]


def test_a_payload_is_the_text_as_it_is_written(tmp_path):
    """Also what a float64 could not hold; the whole record where no payload is named."""
    text = '{"id":"a","type":"t",  "n":0.10000000000000000000000001, "n":1E400,"s":"\\u00e9\\ud800"}'
    write(tmp_path, f" {text} \r")
    body = 'files = "events.ndjson"\naggregate_id = "id"\ntype = "type"\n'
    assert [r["payload"] for r in read_all(source(tmp_path, body)).rows] == [text]


def test_constants_and_quoted_keys(tmp_path):
    write(tmp_path, {"a.b": {'c"d': 5}})
    body = """
files = "events.ndjson"
aggregate_id = '"a.b"."c\\"d"'
type = {constant = "made"}
tenant = {constant = "T"}
"""
    assert fields(read_all(source(tmp_path, body)), "tenant", "aggregate_id", "type") == [("T", "5", "made")]


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ('"at"', "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00"),
        ('{path = "at", zone = "Europe/Amsterdam"}', "2011-10-30 02:30:00", "2011-10-30T00:30:00"),
        ('{path = "at", zone = "Europe/Amsterdam"}', "2011-10-30T02:30:00+01:00", "2011-10-30T01:30:00"),
        ('{path = "at", format = "%y%m%d", zone = "Europe/Prague"}', 930101, None),
        ('{path = "at", format = "%y%m%d", zone = "Europe/Prague"}', "930101", "1992-12-31T23:00:00"),
        ('{path = "at", format = "%d %b %Y %H:%M:%S %z"}', "01 Jan 2026 00:00:00 -0130", "2026-01-01T01:30:00"),
        ('{path = "at", format = "epoch"}', 1.25, "1970-01-01T00:00:01.250000"),
        ('{path = "at", format = "epoch_ms"}', "1250", "1970-01-01T00:00:01.250000"),
        ('{parts = ["at", {constant = "10:00"}], separator = " ", zone = "UTC"}', "2026-01-01", "2026-01-01T10:00:00"),
        (
            '{parts = ["at", {constant = "1000"}], separator = "", format = "%Y%m%d%H%M", zone = "UTC"}',
            20260101,
            "2026-01-01T10:00:00",
        ),
    ],
)
def test_times(tmp_path, setting, value, expected):
    write(tmp_path, {"id": "a", "type": "t", "at": value})
    body = f'files = "events.ndjson"\naggregate_id = "id"\ntype = "type"\nrecorded_at = {setting}\n'
    found = read(source(tmp_path, body))
    if expected is None:
        assert "is not a string" in str(found.error)
        return
    assert [row["recorded_at"] for row in found.rows] == [datetime.fromisoformat(expected).replace(tzinfo=UTC)]


GOOD = {"repo": {"name": "r"}, "kind": "k", "at": "2026-01-01T00:00:00Z", "v": 1, "data": {}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ('{"a":NaN}', "is not JSON"),
        ('{"a":1,}', "is not JSON"),
        ("[1]", "not an object"),
        ("5", "not an object"),
        ("\0\0\0\0", "NUL bytes"),
        ({**GOOD, "repo": {}}, "aggregate_id: there is no repo.name"),
        ({**GOOD, "repo": {"name": None}}, "aggregate_id: there is no repo.name"),
        ({**GOOD, "repo": {"name": ""}}, "aggregate_id: repo.name is empty"),
        ({**GOOD, "repo": {"name": {}}}, "aggregate_id: repo.name is an object"),
        ({**GOOD, "repo": {"name": 1.5}}, "aggregate_id: repo.name is 1.5, neither a string nor an integer"),
        ({**GOOD, "repo": {"name": True}}, "neither a string nor an integer"),
        ({**GOOD, "repo": {"name": "a\0b"}}, "aggregate_id holds a NUL"),
        ({**GOOD, "repo": {"name": "\ud800"}}, "surrogate"),
        ({**GOOD, "issue": {"number": []}}, "is a list"),
        ({**GOOD, "kind": ""}, "type: kind is empty"),
        ({**GOOD, "org": "a\x1fb"}, "tenant holds the unit separator"),
        ({**GOOD, "at": "yesterday"}, "recorded_at: 'yesterday' is not an ISO 8601 time"),
        ({**GOOD, "at": "2026-01-01T00:00:00"}, "recorded_at: '2026-01-01T00:00:00' has no time zone"),
        ({**GOOD, "at": None}, "recorded_at: there is no at"),
        ({**GOOD, "v": "one"}, "version: 'one' is not an integer"),
        ({**GOOD, "v": 2**63}, "version: 9223372036854775808 does not fit int64"),
        ({**GOOD, "v": -1}, "version: -1 is too low"),
        ({**GOOD, "v": None}, "version: there is no v"),
        ({**GOOD, "data": [1]}, "payload: [1] is not an object"),
        ({**GOOD, "data": "{x"}, "payload: the string is not JSON"),
        ({**GOOD, "data": "[]"}, "payload: [] is not an object"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_a_bad_line_is_named_and_what_stands_before_it_is_kept(tmp_path, line, reason):
    write(tmp_path, GOOD, "", line, GOOD)
    found = read(source(tmp_path, MAPPED))
    assert isinstance(found.error, LineError)
    assert (found.error.file, found.error.line) == (str(tmp_path / "events.ndjson"), 3)
    assert reason in found.error.reason
    assert found.places == [(0, 1)]
    # Mended, it goes on behind the last good line.
    write(tmp_path, GOOD, "", GOOD, GOOD)
    assert read_all(source(tmp_path, MAPPED), found.mark).places == [(0, 3), (0, 4)]


def test_text_in_no_encoding_is_a_bad_line(tmp_path):
    good = b'{"id":"\xc3\xa9","type":"t"}\n'
    (tmp_path / "events.ndjson").write_bytes(good + b'{"id":"a","type":"\xe9"}\n' + good)
    body = 'files = "events.ndjson"\naggregate_id = "id"\ntype = "type"\non_bad_line = "reject"\n'
    found = read_all(source(tmp_path, body))
    assert found.ids == ["é", "é"]
    assert [(b.line, b.reason) for b in found.rejected] == [(2, "byte 19 of the line is not text in utf-8")]


def test_positions_are_kept_and_checked_where_asked(tmp_path):
    rows = [{"id": f"e{n}", "type": "t", "n": n} for n in (5, 9, 9, 7, 10)]
    write(tmp_path, *rows)
    body = 'files = "events.ndjson"\naggregate_id = "id"\ntype = "type"\non_bad_line = "reject"\n'
    assert read_all(source(tmp_path, body + 'position = "n"\n')).places == [(0, n) for n in (5, 9, 9, 7, 10)]
    checked = body + 'position = {path = "n", ascending = true}\n'
    found = read_all(source(tmp_path, checked))
    assert found.places == [(0, 5), (0, 9), (0, 10)]
    assert [(b.line, b.reason) for b in found.rejected] == [
        (3, "position 9 does not lie above 9 before it"),
        (4, "position 7 does not lie above 9 before it"),
    ]
    assert json.loads(found.rejected[0].text) == rows[2]
    # The next reading goes on from the highest.
    write(tmp_path, *rows, {"id": "late", "type": "t", "n": 10}, {"id": "e11", "type": "t", "n": "11"})
    again = read_all(source(tmp_path, checked), found.mark)
    assert (again.ids, [b.line for b in again.rejected]) == (["e11"], [6])
    stopping = read(source(tmp_path, checked.replace('"reject"', '"stop"')))
    assert (stopping.ids, stopping.error.line) == (["e5", "e9"], 3)
    assert stopping.mark["last"] == 9


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "aggregate_id",
            '"streem"',
            "aggregate_id: there is no streem (did you mean stream?); the record has stream, kind",
        ),
        ("type", '"knid"', "type: there is no knid (did you mean kind?); the record has stream, kind, at, meta, n"),
        ("recorded_at", '"zzzz"', "recorded_at: there is no zzzz; the record has stream, kind"),
        ("version", '"meta.versoin"', "no meta.versoin (did you mean meta.version?); meta has version, org"),
        ("position", '"mata.version"', "no mata.version (did you mean meta.version?); the record has"),
        ("tenant", '["meta.orgs", "kind"]', "tenant: there is no meta.orgs (did you mean meta.org?); meta has"),
        ("payload", '"mteta"', "payload: there is no mteta (did you mean meta?); the record has"),
        ("version", '"n"', "version: there is no n, n is null"),
        ("version", '"kind.n"', "version: there is no kind.n, kind is no object"),
        ("aggregate_id", '{paths = ["x", "y"]}', "aggregate_id: there is no x or y; the record has stream"),
    ],
)
def test_a_path_that_no_record_has_is_a_mistake_of_the_mapping(tmp_path, key, value, said):
    record = {
        "stream": "s-1",
        "kind": "made",
        "at": "2026-01-01T00:00:00Z",
        "meta": {"version": 1, "org": "o"},
        "n": None,
    }
    write(tmp_path, record)
    mapping = {"files": '"events.ndjson"', "aggregate_id": '"stream"', "type": '"kind"', key: value}
    found = read(source(tmp_path, "".join(f"{k} = {v}\n" for k, v in mapping.items())))
    assert isinstance(found.error, LineError)
    assert said in str(found.error)
    assert found.error.hint == f"no record fitted so far: look at {key} of [sources.s] in runner.toml"


def test_behind_a_record_that_fitted_the_line_is_to_blame(tmp_path):
    write(tmp_path, {"id": "a", "type": "t"}, {"idd": "b", "type": "t", **{f"k{n}": n for n in range(30)}})
    found = read(source(tmp_path))
    assert len(found.rows) == 1
    assert "there is no id (did you mean idd?); the record has idd, type, k0," in str(found.error)
    assert "k17 and 12 more (mend the line, or set on_bad_line" in str(found.error)
    write(tmp_path, "{bad")
    assert "mend the line" in str(read(source(tmp_path)).error)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.floats(allow_nan=False),
    st.text("aé\0\x1f\ud800 1", max_size=3),
    st.just("2026-01-01T00:00:00Z"),
    st.just("2026-01-01 00:00"),
    st.just('{"k":[]}'),
    st.just("{"),
)
records = st.fixed_dictionaries(
    {},
    optional={
        "repo": st.one_of(scalars, st.fixed_dictionaries({}, optional={"name": scalars})),
        "issue": st.fixed_dictionaries({}, optional={"number": scalars}),
        "pull": st.fixed_dictionaries({}, optional={"number": scalars}),
        "kind": scalars,
        "action": scalars,
        "at": scalars,
        "v": scalars,
        "org": scalars,
        "data": st.one_of(scalars, st.dictionaries(st.text("ab", max_size=1), scalars, max_size=2)),
    },
)
likely = st.fixed_dictionaries(
    {
        "repo": st.fixed_dictionaries({"name": st.text("ab1", min_size=1, max_size=2)}),
        "kind": st.sampled_from(["x", "y"]),
        "at": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01 00:00Z", "1999-12-31T23:59:59.5-01:00"]),
        "v": st.one_of(st.integers(0, 9), st.sampled_from(["7", " 8 "])),
    },
    optional={"org": scalars, "issue": st.fixed_dictionaries({"number": scalars}), "data": scalars},
)
any_line = st.one_of(
    st.one_of(records, likely).map(lambda r: json.dumps(r).encode()),
    likely.map(lambda r: json.dumps(r, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.tuples(likely, st.integers(0, 60)).map(lambda pair: json.dumps(pair[0]).encode()[: pair[1]]),
    st.sampled_from([b"", b"  \r", b"\0", b"[]", b'{"a":tru}', b'{"a":\xff}']),
)


@given(found=st.lists(any_line, max_size=8), mapped=st.sampled_from([MAPPED, MAPPED.replace("payload =", "# ")]))
@settings(max_examples=250, deadline=None)
def test_bulk_and_plain_agree(tmp_path_factory, found, mapped):
    folder = tmp_path_factory.getbasetemp()
    config = source(folder, mapped)
    expected, reasons = [], []
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        try:
            event = plain_event(parse_line(line), config)
            expected.append((event, plain_payload(line, config), number))
        except Unfit as error:
            reasons.append((number, str(error)))
    chunk, rest = cut_chunk(b"".join(line + b"\n" for line in found), 1, None)
    assert rest == b""
    bulk = json_records(chunk, config).records
    arranged = arrange(bulk, config, 0)
    events = arranged.events.to_pydict()
    times = arranged.events.column("recorded_at").cast("int64").to_pylist()
    assert [
        (e.tenant, e.aggregate_id, e.version, e.type, e.recorded_at, payload, line) for e, payload, line in expected
    ] == list(
        zip(
            events["tenant"],
            events["aggregate_id"],
            events["version"],
            events["type"],
            times,
            events["payload"],
            events["source_position_1"],
            strict=True,
        )
    )
    assert [(int(bulk.lines[row]), reason) for row, reason in arranged.bad] == reasons
