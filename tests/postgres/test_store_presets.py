"""Presets of stores that no dump is at hand of: rows as their libraries write them, and the events that they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from store_schemas import SCHEMAS
from stores_of_libraries import Project, read

from runner.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

A, B = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
NOON = datetime(2026, 1, 2, 12, 30, 15, tzinfo=UTC)


def brief(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(e["aggregate_id"], e["version"], e["type"], json.loads(e["payload"])) for e in events]


@pytest.mark.parametrize("ids", ["uuid", "varchar(250)"])
def test_marten(ids: str, database: Database) -> None:
    database.sql(SCHEMAS["marten"].format(id=ids))
    database.sql(f"""
        INSERT INTO mt_events (seq_id, stream_id, version, type, data, timestamp, tenant_id, is_archived) VALUES
        (1, '{A}', 1, 'opened', '{{"n": 1}}', '2026-01-02 12:30:15+00', '*DEFAULT*', false),
        (2, '{B}', 1, 'opened', '{{"n": 2}}', '2026-01-02 12:30:15+00', 'blue', false),
        (3, gen_random_uuid(){"::text" if ids != "uuid" else ""}, 1, 'tombstone', '{{}}', now(), '*DEFAULT*', false),
        (5, '{A}', 2, 'closed', '{{"n": 5}}', '2026-01-02 13:30:15+01', '*DEFAULT*', NULL),
        (6, '{B}', 2, 'closed', '{{}}', now(), 'blue', true)""")
    events, mark = read(database, preset="marten", tail="serialised")
    assert brief(events) == [(A, 1, "opened", {"n": 1}), (B, 1, "opened", {"n": 2}), (A, 2, "closed", {"n": 5})]
    assert [e["tenant"] for e in events] == ["", "blue", ""]
    assert {e["recorded_at"] for e in events} == {NOON}
    assert mark["tenants"][""]["left_out"] == {"tombstones": 1, "archived": 1}
    assert len(read(database, preset="marten", archived=True, tail="serialised")[0]) == 4


def test_marten_with_binary_payloads(database: Database) -> None:
    """Some types are stored as bytes in a column beside, with an empty object in the place of their JSON."""
    database.sql(SCHEMAS["marten"].format(id="uuid"))
    database.sql(f"""
        ALTER TABLE mt_events ADD bdata bytea;
        INSERT INTO mt_events (seq_id, stream_id, version, type, data, bdata) VALUES
        (1, '{A}', 1, 'opened', '{{"n": 1}}', NULL), (2, '{A}', 2, 'packed', '{{}}', '\\x01')""")
    keys = {"preset": "marten", "tail": "serialised"}
    with pytest.raises(SourceError, match=r"row at position 2: payload: it is in bdata, as bytes"):
        read(database, **keys)
    assert brief(read(database, on_bad_line="reject", **keys)[0]) == [(A, 1, "opened", {"n": 1})]


def test_marten_of_former_versions(database: Database) -> None:
    """Without the columns for tenants and archives, times without a zone."""
    database.sql("""
        CREATE TABLE mt_streams (id uuid PRIMARY KEY, type varchar(100), version integer NOT NULL);
        CREATE TABLE mt_events (seq_id bigint PRIMARY KEY, id uuid, stream_id uuid, version integer NOT NULL,
                                data jsonb, type varchar(100), timestamp timestamptz DEFAULT now())""")
    database.sql(f"""INSERT INTO mt_events VALUES (1, gen_random_uuid(), '{A}', 1, '{{}}', 'opened')""")
    assert brief(read(database, preset="marten", tail="serialised")[0]) == [(A, 1, "opened", {})]


def test_emmett_with_partitions_of_its_own(database: Database) -> None:
    """A stream is known inside of its partition, which is a tenant where the source says so."""
    database.sql("""
        CREATE SEQUENCE emt_global_message_position;
        CREATE TABLE emt_messages (
            stream_position bigint NOT NULL, global_position bigint DEFAULT nextval('emt_global_message_position'),
            transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(), created timestamptz NOT NULL DEFAULT now(),
            is_archived boolean NOT NULL DEFAULT false, message_kind varchar(1) NOT NULL DEFAULT 'E',
            stream_id text NOT NULL, partition text NOT NULL, message_type text NOT NULL, message_data jsonb NOT NULL,
            PRIMARY KEY (stream_id, stream_position, partition, is_archived)) PARTITION BY LIST (partition);
        CREATE TABLE emt_messages_default PARTITION OF emt_messages FOR VALUES IN ('emt:default');
        CREATE TABLE emt_messages_shop PARTITION OF emt_messages FOR VALUES IN ('shop__blue');
        INSERT INTO emt_messages (stream_position, stream_id, partition, message_type, message_data) VALUES
        (1, 'order-1', 'emt:default', 'Placed', '{}'), (1, 'order-1', 'shop__blue', 'Placed', '{}')""")
    events, _ = read(database, preset="emmett", tenant="partition")
    assert [(e["tenant"], e["aggregate_id"]) for e in events] == [("emt:default", "order-1"), ("shop__blue", "order-1")]


def test_spatie(database: Database) -> None:
    """Events outside of an aggregate share one stream, in which there are no versions."""
    database.sql(SCHEMAS["spatie"])
    database.sql(f"""
        INSERT INTO stored_events
            (aggregate_uuid, aggregate_version, event_class, event_properties, meta_data, created_at)
        VALUES ('{A}', 1, 'App\\Events\\MoneyAdded', '{{"amount": 5}}', '{{}}', '2026-01-02 12:30:15'),
               (NULL, NULL, 'App\\Events\\MoneyAdded', '{{"amount": 6}}', '{{}}', '2026-01-02 12:30:15'),
               ('{A}', NULL, 'App\\Events\\Noted', '[]', '{{}}', '2026-01-02 12:30:15')""")
    database.sql("UPDATE stored_events SET event_properties = '{}' WHERE id = 3")
    events, _ = read(database, preset="spatie")
    assert brief(events) == [
        (A, 1, "App\\Events\\MoneyAdded", {"amount": 5}),
        ("no aggregate", None, "App\\Events\\MoneyAdded", {"amount": 6}),
        (A, None, "App\\Events\\Noted", {}),
    ]
    assert events[0]["recorded_at"] == NOON
    there = {"path": "created_at", "zone": "Europe/Prague"}
    assert read(database, preset="spatie", recorded_at=there)[0][0]["recorded_at"] == NOON.replace(hour=11)
    by_event = ["aggregate_uuid", "event_properties.account"]
    database.sql("""UPDATE stored_events SET event_properties = '{"account": "a-7"}' WHERE id = 2""")
    events, _ = read(database, preset="spatie", aggregate_id={"paths": by_event})
    assert [e["aggregate_id"] for e in events] == [A, "a-7", A]


@pytest.mark.parametrize("blob", ["bytea", "oid"])
def test_axon(blob: str, database: Database) -> None:
    database.sql(SCHEMAS["axon"].format(blob=blob))
    make = "lo_from_bytea(0, {})" if blob == "oid" else "{}"
    insert = """
        INSERT INTO domain_event_entry (global_index, aggregate_identifier, sequence_number, event_identifier, payload,
                                        payload_type, time_stamp)
        VALUES ({place}, '{id}', {version}, gen_random_uuid()::text, {payload}, 'com.shop.Ordered', '{time}')"""
    rows = (
        (1, "a", 0, '{"n": 1}', "2026-01-02T12:30:15Z"),
        (2, "b", 0, '{"n": 2}', "2026-01-02T12:30:15.123456789Z"),
        (51, "a", 1, '{"tags": ["ž"]}', "2026-01-02T12:30:15.1+00:00"),
    )
    for place, aggregate, version, payload, time in rows:
        made = make.format(f"convert_to('{payload}', 'UTF8')")
        database.sql(insert.format(place=place, id=aggregate, version=version, payload=made, time=time))
    events, _ = read(database, preset="axon", tail="serialised")
    kind = "com.shop.Ordered"
    assert brief(events) == [("a", 0, kind, {"n": 1}), ("b", 0, kind, {"n": 2}), ("a", 1, kind, {"tags": ["ž"]})]
    assert [e["recorded_at"].microsecond for e in events] == [0, 123_456, 100_000]


def test_axon_as_xml(database: Database) -> None:
    """Axon's default serialiser is XStream: it needs a hook."""
    database.sql(SCHEMAS["axon"].format(blob="bytea"))
    database.sql("""
        INSERT INTO domain_event_entry (global_index, aggregate_identifier, sequence_number, event_identifier, payload,
                                        payload_type, time_stamp)
        VALUES (1, 'a', 0, 'e', '<Ordered><n>7</n></Ordered>', 'com.shop.Ordered', '2026-01-02T12:30:15Z')""")
    with pytest.raises(SourceError, match=r"neither JSON nor zlib \(it begins with 3c 4f 72 64"):
        read(database, preset="axon", tail="serialised")
    events, _ = read(database, preset="axon", tail="serialised", decode="test_store_presets:from_xml")
    assert brief(events) == [("a", 0, "com.shop.Ordered", {"com.shop.Ordered": 7})]


def test_hooks_lie_beside_runner_toml(database: Database, tmp_path: Path) -> None:
    database.sql(SCHEMAS["axon"].format(blob="bytea"))
    database.sql("""
        INSERT INTO domain_event_entry (global_index, aggregate_identifier, sequence_number, event_identifier, payload,
                                        payload_type, time_stamp)
        VALUES (1, 'a', 0, 'e', '<n/>', 'T', '2026-01-02T12:30:15Z'),
               (2, 'a', 1, 'f', '<m/>', 'T', '2026-01-02T12:30:15Z')""")
    keys = {"preset": "axon", "url_env": database.env, "tail": "serialised", "decode": "my_payloads:decode"}
    project = Project(tmp_path, store=keys)
    with pytest.raises(ConfigError, match="my_payloads cannot be imported"):
        project.sync()
    hook = "def decode(type, octets):\n    return {'type': type, 'text': {b'<n/>': 'n'}[octets]}\n"
    (tmp_path / "my_payloads.py").write_text(hook)
    with pytest.raises(SourceError, match=r"position 2: payload: decode failed: KeyError: b'<m/>'"):
        project.sync()
    assert [e["payload"] for e in project.events()] == [{"type": "T", "text": "n"}]


def from_xml(type_: str, octets: bytes) -> dict[str, int]:
    return {type_: int(octets.decode().split("<n>")[1].split("<")[0])}


@pytest.mark.parametrize("data", ["bytea", "jsonb", "json"])
def test_commanded(data: str, database: Database) -> None:
    """Every event once, as $all has it, under the stream that it was appended to; linked streams double nothing."""
    database.sql(SCHEMAS["commanded"].format(data=data))
    database.sql("INSERT INTO streams (stream_id, stream_uuid) VALUES (1, 'order-1'), (2, 'order-2'), (3, 'linked')")
    for n, (stream, version) in enumerate([(1, 1), (2, 1), (1, 2)], 1):
        event = f"00000000-0000-0000-0000-00000000000{n}"
        payload = f"""'{{"n": {n}}}'::text::{data}""" if data != "bytea" else f"""convert_to('{{"n": {n}}}', 'UTF8')"""
        database.sql(f"INSERT INTO events (event_id, event_type, data) VALUES ('{event}', 'Elixir.Opened', {payload})")
        links = [(stream, version, "NULL", "NULL"), (0, n, stream, version), (3, n, stream, version)]
        for link in links:
            values = ", ".join(map(str, link))
            database.sql(f"INSERT INTO stream_events VALUES ('{event}', {values})")
    events, mark = read(database, preset="commanded")
    opened = "Elixir.Opened"
    assert brief(events) == [
        ("order-1", 1, opened, {"n": 1}),
        ("order-2", 1, opened, {"n": 2}),
        ("order-1", 2, opened, {"n": 3}),
    ]
    assert [(e["source_position_0"], e["source_position_1"]) for e in events] == [(0, 1), (0, 2), (0, 3)]
    assert read(database, mark, preset="commanded")[0] == []


@pytest.mark.parametrize("data", ["bytea", "jsonb"])
def test_rails(data: str, database: Database) -> None:
    """Linked events are not doubled; positions in streams may be missing."""
    database.sql(SCHEMAS["rails-event-store"].format(data=data))
    for n, streams in enumerate([[("Order$1", "0")], [("Order$2", "NULL"), ("linked", "0")], [("Order$1", "1")]], 1):
        event = f"00000000-0000-0000-0000-00000000000{n}"
        payload = f"""'{{"n": {n}}}'::text::{data}""" if data != "bytea" else f"""convert_to('{{"n": {n}}}', 'UTF8')"""
        database.sql(f"""INSERT INTO event_store_events (event_id, event_type, data, created_at)
                         VALUES ('{event}', 'OrderPlaced', {payload}, '2026-01-02 12:30:15')""")
        for stream, position in streams:
            database.sql(f"""INSERT INTO event_store_events_in_streams (stream, position, event_id, created_at)
                             VALUES ('{stream}', {position}, '{event}', now())""")
    events, _ = read(database, preset="rails-event-store")
    placed = "OrderPlaced"
    assert brief(events) == [
        ("Order$1", 0, placed, {"n": 1}),
        ("Order$2", None, placed, {"n": 2}),
        ("Order$1", 1, placed, {"n": 3}),
    ]
    assert {e["recorded_at"] for e in events} == {NOON}
    # The stream was deleted, which leaves its events; one that is published in no stream looks the same.
    database.sql("DELETE FROM event_store_events_in_streams WHERE stream = 'Order$1'")
    events, _ = read(database, preset="rails-event-store")
    assert [(e["aggregate_id"], e["version"]) for e in events] == [
        ("no stream", None),
        ("Order$2", None),
        ("no stream", None),
    ]


def test_eventuous(database: Database) -> None:
    database.sql(SCHEMAS["eventuous"])
    database.sql("""
        INSERT INTO streams (stream_name) VALUES ('Order-1'), ('Order-2');
        INSERT INTO messages (message_type, stream_id, stream_position, json_data, created) VALUES
        ('V1.Placed', 1, 0, '{"n": 1}', '2026-01-02 12:30:15'), ('V1.Placed', 2, 0, '{"n": 2}', '2026-01-02 12:30:15'),
        ('V1.Paid', 1, 1, '{"n": 3}', '2026-01-02 12:30:15')""")
    events, mark = read(database, preset="eventuous")
    assert brief(events) == [
        ("Order-1", 0, "V1.Placed", {"n": 1}),
        ("Order-2", 0, "V1.Placed", {"n": 2}),
        ("Order-1", 1, "V1.Paid", {"n": 3}),
    ]
    assert {e["recorded_at"] for e in events} == {NOON}
    assert mark["tenants"][""]["after"] == [3]


def test_lacking_tables_are_named(database: Database) -> None:
    with pytest.raises(SourceError, match="the database holds no table mt_events"):
        read(database, preset="marten")
    database.sql("CREATE TABLE mt_events (seq_id bigint, stream_id uuid)")
    with pytest.raises(SourceError, match=r"public\.mt_events lacks the columns data, timestamp, type, version"):
        read(database, preset="marten")
