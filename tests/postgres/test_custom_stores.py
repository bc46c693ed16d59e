"""The preset that is only configuration, and hostile names and values: right, or a clear error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from stores_of_libraries import Project, read, store

from runner.errors import ConfigError, RunnerError, SourceError
from runner.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

NOON = datetime(2026, 1, 2, 12, 30, 15, tzinfo=UTC)
PLAIN = {
    "preset": "custom",
    "table": "events",
    "position": "id",
    "aggregate_id": "stream",
    "version": "version",
    "type": "type",
    "payload": "data",
    "tail": "gaps",
}
TABLE = """
CREATE TABLE events (id bigserial PRIMARY KEY, stream text, version int, type text, data {data}, at {time})
"""


def brief(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(e["aggregate_id"], e["version"], e["type"], json.loads(e["payload"])) for e in events]


def test_two_columns_make_the_stream(database: Database) -> None:
    database.sql("""
        CREATE TABLE events (id serial PRIMARY KEY, kind text, no int, rev smallint, type text, data jsonb);
        INSERT INTO events (kind, no, rev, type, data) VALUES
        ('order', 7, 0, 'placed', '{"n": 1}'), ('order', 8, 0, 'placed', '{"n": 2}'), ('cart', 7, 0, 'placed', NULL)""")
    keys = {**PLAIN, "aggregate_id": ["kind", "no"], "separator": "-", "version": "rev"}
    events, mark = read(database, **keys)
    assert brief(events) == [
        ("order-7", 0, "placed", {"n": 1}),
        ("order-8", 0, "placed", {"n": 2}),
        ("cart-7", 0, "placed", {}),
    ]
    assert mark["tenants"][""]["after"] == [3]


@pytest.mark.parametrize("data", ["jsonb", "json", "text"])
def test_one_column_holds_all(data: str, database: Database) -> None:
    database.sql(f"CREATE TABLE events (pos integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY, doc {data})")
    first = (
        '{"meta": {"type": "placed", "id": 7, "at": "2026-01-02T13:30:15+01:00"}, "seq": 1, "data": {"n": [1, "ž"]}}'
    )
    other = '{"meta": {"type": "paid", "id": "7", "at": "2026-01-02T12:30:15Z"}, "seq": "2", "data": {}}'
    for text in (first, other):
        database.sql(f"INSERT INTO events (doc) VALUES ('{text}')")
    keys = {**PLAIN, "position": "pos", "aggregate_id": "doc.meta.id", "type": "doc.meta.type", "version": "doc.seq"}
    events, _ = read(database, **{**keys, "payload": "doc.data", "recorded_at": "doc.meta.at"})
    assert brief(events) == [("7", 1, "placed", {"n": [1, "ž"]}), ("7", 2, "paid", {})]
    assert {e["recorded_at"] for e in events} == {NOON}
    whole, _ = read(database, **{**keys, "payload": "doc"})
    assert json.loads(whole[0]["payload"]) == json.loads(first)


def test_quoted_names_in_mixed_schemas(database: Database) -> None:
    database.sql("""
        CREATE SCHEMA "My Schema";
        CREATE TABLE "My Schema"."Event""Log" ("eventId" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
            "streamId" uuid, "Version""; DROP TABLE x; --" int, "eventType" varchar(50), "a.b" jsonb,
            "order" timestamptz);
        INSERT INTO "My Schema"."Event""Log" ("streamId", "Version""; DROP TABLE x; --", "eventType", "a.b", "order")
        VALUES ('11111111-1111-1111-1111-111111111111', 1, 'placed', '{"x": {"k.l": 1}}', '2026-01-02 12:30:15+00')""")
    events, mark = read(
        database,
        preset="custom",
        schema="My Schema",
        table='Event"Log',
        position="eventId",
        aggregate_id="streamId",
        version=json.dumps('Version"; DROP TABLE x; --'),
        type="eventType",
        payload='"a.b".x',
        recorded_at="order",
        tail="gaps",
    )
    assert brief(events) == [("11111111-1111-1111-1111-111111111111", 1, "placed", {"k.l": 1})]
    assert events[0]["recorded_at"] == NOON
    assert mark["tenants"][""]["after"] == [1]


@pytest.mark.parametrize(
    ("column", "value", "mapping"),
    [
        ("timestamptz", "'2026-01-02 13:30:15+01'", "at"),
        ("timestamp", "'2026-01-02 12:30:15'", "at"),
        ("timestamp", "'2026-01-02 13:30:15'", {"path": "at", "zone": "Europe/Prague"}),
        ("text", "'2026-01-02T12:30:15Z'", "at"),
        ("text", "'2026-01-02 13:30:15'", {"path": "at", "zone": "Europe/Prague"}),
        ("text", "'02.01.2026 12:30:15'", {"path": "at", "format": "%d.%m.%Y %H:%M:%S", "zone": "UTC"}),
        ("bigint", "1767357015", {"path": "at", "format": "epoch"}),
        ("bigint", "1767357015000", {"path": "at", "format": "epoch_ms"}),
        ("numeric", "1767357015.000", {"path": "at", "format": "epoch"}),
        ("double precision", "1767357015", {"path": "at", "format": "epoch"}),
    ],
)
def test_times(column: str, value: str, mapping: Any, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time=column))
    database.sql(f"INSERT INTO events (stream, version, type, data, at) VALUES ('a', 1, 't', '{{}}', {value})")
    database.sql("INSERT INTO events (stream, version, type, data, at) VALUES ('a', 2, 't', '{}', NULL)")
    part = {"path": mapping} if isinstance(mapping, str) else mapping
    events, _ = read(database, **PLAIN, recorded_at={**part, "optional": True})
    assert [e["recorded_at"] for e in events] == [NOON, None]


@pytest.mark.parametrize("order", [["epoch", "seq"], ["seq"]])
def test_order_of_columns(order: list[str], database: Database) -> None:
    database.sql("""
        CREATE TABLE events (epoch int, seq numeric(20), stream text, version int, type text, data jsonb);
        INSERT INTO events SELECT n / 10, n % 10 + n / 100 * 1000, 'a', n, 't', jsonb_build_object('n', n)
        FROM generate_series(199, 0, -1) n""")
    keys = {**PLAIN, "position": order, "tail": "serialised"}
    events, mark = read(database, **keys)
    wanted = sorted(range(200), key=lambda n: (n // 10, n % 10) if len(order) == 2 else (n % 10 + n // 100 * 1000))
    if len(order) == 2:
        assert [e["version"] for e in events] == wanted
        assert (events[-1]["source_position_0"], events[-1]["source_position_1"]) == (19, 1009)
        assert mark["tenants"][""]["after"] == [19, 1009]
    else:
        assert sorted(e["version"] for e in events) == sorted(wanted)
    assert read(database, mark, **keys)[0] == []
    database.sql("INSERT INTO events VALUES (20, 5000, 'a', 200, 't', '{}')")
    events, _ = read(database, mark, **keys)
    assert [e["version"] for e in events] == [200]


@pytest.mark.parametrize(
    "tail", ["serialised", {"rule": "time", "grace": "50ms"}, {"rule": "gaps", "sequence": "events_id_seq"}]
)
def test_percent_signs_and_braces(tail: Any, database: Database) -> None:
    """In an author's query, and in the names of tenants that a condition holds."""
    database.sql("""
        CREATE TABLE events (id bigserial, stream text, version int, type text, data jsonb, of text, UNIQUE (of, id));
        INSERT INTO events (id, stream, version, type, data, of) VALUES
        (1, 'a%s', 1, 't', '{}', '50%'), (3, '{x}', 1, 't', '{}', '{}'), (7, 'b', 1, 't', '{}', '%(x)s');
        SELECT setval('events_id_seq', 7)""")
    query = {
        **PLAIN,
        "query": "SELECT * FROM events WHERE stream LIKE 'a%' OR stream = '{x}' AND id % 7 = 3",
        "tail": tail,
    }
    del query["table"]
    events, mark = read(database, **query)
    assert [e["aggregate_id"] for e in events] == ["a%s", "{x}"]
    assert read(database, mark, **query)[0] == []
    by_tenant = {**PLAIN, "tenant": "of", "tail": tail}
    events, mark = read(database, **by_tenant)
    assert sorted((e["tenant"], e["aggregate_id"]) for e in events) == [("%(x)s", "b"), ("50%", "a%s"), ("{}", "{x}")]
    database.sql("INSERT INTO events (id, stream, version, type, data, of) VALUES (5, 'c', 1, 't', '{}', '%(x)s')")
    late = [("%(x)s", "c")] if "time" in str(tail) else []
    assert [(e["tenant"], e["aggregate_id"]) for e in read(database, mark, **by_tenant)[0]] == late


def test_query(database: Database, tmp_path: Path) -> None:
    database.sql("""
        CREATE TABLE streams (no int PRIMARY KEY, name text);
        CREATE TABLE events (id bigserial PRIMARY KEY, no int, type text, data jsonb);
        INSERT INTO streams VALUES (1, 'one'), (2, 'two');
        INSERT INTO events (no, type, data) SELECT n % 2 + 1, 't', '{}' FROM generate_series(1, 9) n""")
    query = "SELECT e.id, s.name AS stream, e.type, e.data FROM events e JOIN streams s USING (no) WHERE 'x' = 'x'"
    keys = {**PLAIN, "query": query, "tail": "serialised"}
    del keys["table"], keys["version"]
    events, mark = read(database, **keys)
    assert [e["aggregate_id"] for e in events] == ["two", "one"] * 4 + ["two"]
    assert read(database, mark, **keys)[0] == []
    # Copied as it stands in an editor: what ends it, or is a comment at its end, ends no more.
    for copied in (query + ";\n", query + " -- all of them"):
        assert len(read(database, **{**keys, "query": copied})[0]) == 9
    for hostile in (
        "SELECT 1 AS id) AS m; DROP TABLE events; SELECT (1",
        "SELECT 1; DROP TABLE events",
        "SELECT nothing",
    ):
        with pytest.raises(RunnerError):
            read(database, **{**keys, "query": hostile})
    with pytest.raises(RunnerError, match=r"read-only|data-modifying"):
        read(
            database, **{**keys, "query": "WITH d AS (DELETE FROM events RETURNING *) SELECT id, no, type, data FROM d"}
        )
    assert database.sql("SELECT count(*) FROM events") == [(9,)]


def test_payloads_in_text_and_bytes(database: Database) -> None:
    import gzip
    import zlib

    database.sql(TABLE.format(data="bytea", time="timestamptz"))
    payloads = [
        b'{"n": 1}',
        b' \n{"n": 2}',
        zlib.compress(b'{"n": 3}'),
        gzip.compress(b'{"n": 4}'),
        None,
        b"null",
        b'"{}"',
    ]
    with database.connect() as connection:
        for n, payload in enumerate(payloads):
            connection.execute(
                "INSERT INTO events (stream, version, type, data) VALUES ('a', %s, 't', %s)", (n, payload)
            )
    events, _ = read(database, **PLAIN)
    found = [json.loads(e["payload"]) for e in events]
    assert found == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}, {}, {}, {}]


@pytest.mark.parametrize(
    ("data", "payload", "reason"),
    [
        ("jsonb", "'[1]'", r"payload: \[1\] is not an object"),
        ("jsonb", "'7'", "payload: 7 is not an object"),
        ("text", "'{\"a\": 1'", "payload: it is not JSON"),
        ("text", "'<a/>'", "payload: it is not JSON"),
        ("bytea", "'\\x00ff'", r"payload: neither JSON nor zlib \(it begins with 00 ff, 2 bytes\)"),
        ("bytea", "'\\x789c00'", "payload: neither JSON nor zlib"),
        ("bytea", "'\\x7b22ff227d'", "payload: byte 3 of it is no text in UTF-8"),
    ],
)
def test_bad_payloads(data: str, payload: str, reason: str, database: Database, tmp_path: Path) -> None:
    database.sql(TABLE.format(data=data, time="timestamptz"))
    rows = [("'a'", 1, "'{}'"), ("'a'", 2, payload), ("'b'", 1, "'{}'")]
    for stream, version, text in rows:
        database.sql(f"INSERT INTO events (stream, version, type, data) VALUES ({stream}, {version}, 't', {text})")
    stopped = open_source(store(database, **PLAIN))
    pieces = stopped.pieces()
    assert next(pieces).events.num_rows == 1
    with pytest.raises(SourceError, match=rf"public\.events: row at position 2: {reason}"):
        next(pieces)
    assert stopped.mark()["tenants"][""]["after"] == [1]
    stopped.close()
    keys = {**PLAIN, "url_env": database.env, "on_bad_line": "reject"}
    project = Project(tmp_path, store=keys)
    report = project.sync()
    assert (report.events, report.sources[0].rejected) == (2, 1)
    with open(report.sources[0].rejects_file, encoding="utf-8") as file:  # noqa: PTH123  # a path in text
        rejected = json.loads(file.read())
    assert (rejected["file"], rejected["line"]) == ("public.events", 2)
    assert project.sync().events == 0


HOSTILE = [
    'it\'s "quoted"',
    "two\nlines\tand tabs",
    "🎁 emoji",
    "back\\slash",
    "%s {x} $1 ;--",
    " leading",
    "\x1f unit",
    "ſ" * 900,
]


def test_hostile_values(database: Database, tmp_path: Path) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    numbers = '{"big": 123456789012345678901234567890, "tiny": 1e-400, "float": 1.10, "text": "\\\\u0041"}'
    with database.connect() as connection:
        for text in HOSTILE:
            connection.execute(
                "INSERT INTO events (stream, version, type, data) VALUES (%s, 1, %s, %s)", (text, text[:40], numbers)
            )
    project = Project(tmp_path, store={**PLAIN, "url_env": database.env})
    assert project.sync().events == len(HOSTILE)
    events = project.events()
    assert [e["aggregate_id"] for e in events] == HOSTILE
    assert [e["type"] for e in events] == [text[:40] for text in HOSTILE]
    assert all("123456789012345678901234567890" in e["text"] and "1.10" in e["text"] for e in events)


def test_nul_escapes(database: Database) -> None:
    """json keeps what jsonb refuses: an escaped NUL is no text that an id may hold; in a payload it stays as it is."""
    database.sql(TABLE.format(data="json", time="timestamptz"))
    database.sql(r"""INSERT INTO events (stream, version, type, data) VALUES ('a', 1, 't', '{"id": "x\u0000y"}')""")
    events, _ = read(database, **PLAIN)
    assert events[0]["payload"] == r'{"id": "x\u0000y"}'
    with pytest.raises(SourceError, match="position 1: aggregate_id holds a NUL character"):
        read(database, **{**PLAIN, "aggregate_id": "data.id"})


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
@pytest.mark.parametrize("column", ["timestamptz", "timestamp", "timestamptz NOT NULL"])
def test_infinite_times(value: str, column: str, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time=column))
    database.sql("INSERT INTO events (stream, version, type, data, at) VALUES ('a', 1, 't', '{}', now())")
    database.sql(f"INSERT INTO events (stream, version, type, data, at) VALUES ('a', 2, 't', '{{}}', '{value}')")
    with pytest.raises(SourceError, match="row at position 2: recorded_at: it is infinite"):
        read(database, **PLAIN, recorded_at="at")
    events, _ = read(database, **PLAIN, recorded_at="at", on_bad_line="reject")
    assert [e["version"] for e in events] == [1]


@pytest.mark.parametrize("value", ["0044-03-15 BC", "10000-01-01"])
def test_times_beyond_the_calendar(value: str, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    database.sql(f"INSERT INTO events (stream, version, type, data, at) VALUES ('a', 1, 't', '{{}}', '{value}')")
    with pytest.raises(SourceError, match="recorded_at: at lies beyond the years 1 to 9999"):
        read(database, **PLAIN, recorded_at="at")


@pytest.mark.parametrize(
    ("value", "reason"), [("NaN", "version: "), ("1.5", "version: "), ("-1", "version: -1 is too low")]
)
def test_versions_that_are_no_integers(value: str, reason: str, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    database.sql("ALTER TABLE events ALTER version TYPE numeric")
    database.sql(f"INSERT INTO events (stream, version, type, data) VALUES ('a', '{value}', 't', '{{}}')")
    with pytest.raises(SourceError, match=f"position 1: {reason}"):
        read(database, **PLAIN)


@pytest.mark.parametrize(
    ("column", "reason"), [("stream", "aggregate_id: there is no stream"), ("type", "type: there is no type")]
)
def test_nothing_where_something_must_be(column: str, reason: str, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    database.sql("INSERT INTO events (stream, version, type, data) VALUES ('a', 1, 't', '{}')")
    database.sql(f"UPDATE events SET {column} = NULL")
    with pytest.raises(SourceError, match=f"position 1: {reason}"):
        read(database, **PLAIN)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"position": "strem"}, "position names strem, and public.events has no such column"),
        ({"aggregate_id": "streem"}, r"aggregate_id \(streem\) names streem"),
        ({"position": "stream"}, "position is ordered by stream, a column of type text"),
        ({"table": "event"}, "the database holds no table event"),
        ({"schema": "nowhere"}, "no schema nowhere holds events"),
        ({"decode": "no_such_module:f"}, "no_such_module cannot be imported"),
    ],
)
def test_mappings_that_fit_nothing(change: dict[str, Any], reason: str, database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    with pytest.raises((ConfigError, SourceError), match=reason):
        read(database, **{**PLAIN, **change})


def test_the_mapping_may_not_change(database: Database) -> None:
    database.sql(TABLE.format(data="jsonb", time="timestamptz"))
    database.sql("INSERT INTO events (stream, version, type, data) VALUES ('a', 1, 't', '{}')")
    _, mark = read(database, **PLAIN)
    with pytest.raises(SourceError, match="aggregate_id is type, but the events in the log were read with stream"):
        read(database, mark, **{**PLAIN, "aggregate_id": "type"})


def test_an_order_by_time_and_number(database: Database) -> None:
    """Microseconds since 1970 are the places of a column of times."""
    database.sql("""
        CREATE TABLE events (at timestamptz, id int, stream uuid, kind text, data jsonb, UNIQUE (at, id));
        INSERT INTO events SELECT '2026-01-02 12:30:15+00'::timestamptz + interval '1 microsecond' * (n / 3), n % 3,
            '11111111-1111-1111-1111-111111111111', 't', '{}' FROM generate_series(0, 8) n""")
    keys = {"preset": "custom", "table": "events", "position": ["at", "id"], "aggregate_id": "stream", "type": "kind"}
    keys |= {"payload": "data", "recorded_at": "at", "tail": "serialised"}
    events, mark = read(database, **keys)
    places = [(e["source_position_0"], e["source_position_1"]) for e in events]
    first = int(NOON.timestamp()) * 1_000_000
    assert places == [(first + n // 3, n % 3) for n in range(9)]
    assert events[3]["recorded_at"].microsecond == 1
    database.sql("INSERT INTO events VALUES ('2026-01-02 12:30:15.000002+00', 7, gen_random_uuid(), 't', '{}')")
    events, _ = read(database, mark, **keys)
    assert [e["source_position_1"] for e in events] == [7]


def test_views_enums_and_domains(database: Database) -> None:
    database.sql("""
        CREATE TYPE kind AS ENUM ('placed', 'paid');
        CREATE DOMAIN stream_id AS varchar(20) CHECK (VALUE <> '');
        CREATE TABLE rows (id bigserial PRIMARY KEY, stream stream_id, version smallint, type kind, data json);
        INSERT INTO rows (stream, version, type, data) VALUES ('a', 1, 'placed', '{"n": 1.50}'), ('a', 2, 'paid', '{}');
        CREATE VIEW events AS SELECT * FROM rows WHERE id > 0""")
    events, mark = read(database, **{**PLAIN, "tail": "serialised"})
    assert [(e["aggregate_id"], e["version"], e["type"]) for e in events] == [("a", 1, "placed"), ("a", 2, "paid")]
    assert events[0]["payload"] == '{"n": 1.50}'
    assert read(database, mark, **{**PLAIN, "tail": "serialised"})[0] == []
    assert len(read(database, **{**PLAIN, "tail": "serialised", "types": "pa*"})[0]) == 1
