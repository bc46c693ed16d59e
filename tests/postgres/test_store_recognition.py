"""Stores are recognised by their tables, and what is recognised can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_schemas import SCHEMAS
from stores_of_libraries import read

from runner.sources.postgres.recognition import recognise

if TYPE_CHECKING:
    from fixtures_postgres import Database, Restored

FILLED = {"id": "uuid", "blob": "bytea", "data": "jsonb"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(name: str, database: Database) -> None:
    database.sql(SCHEMAS[name].format(**FILLED))
    database.sql("CREATE TABLE messages_of_others (global_position bigint, stream_id text)")
    with database.connect() as connection:
        (found,) = recognise(connection)
    assert (found.preset, found.schema, found.named) == (name, "public", False)
    assert read(database, preset=found.preset, schema=found.schema)[0] == []


@pytest.mark.parametrize(
    ("dump", "stores"),
    [
        ("emmett", [("emmett", "public", "emt_messages", False)]),
        ("message_db", [("message-db", "message_store", "messages", False)]),
        ("eventsourcing_dcb", [("eventsourcing-dcb", "public", "dcbapplication_events_tt_main", False)]),
        (
            "eventsourcing",
            [
                ("eventsourcing", "public", "bankaes_events", True),
                ("eventsourcing", "public", "bankplain_events", True),
                ("eventsourcing", "public", "bankzlib_events", True),
                ("eventsourcing", "public", "bankzlibaes_events", True),
                ("eventsourcing", "textids", "banktextids_events", True),
            ],
        ),
    ],
)
def test_dumps(dump: str, stores: list[tuple[str, str, str, bool]], database: Database, restored: Restored) -> None:
    restored(database, dump)
    database.sql("ANALYZE")
    with database.connect() as connection:
        found = recognise(connection)
    assert [(r.preset, r.schema, r.table, r.named) for r in found] == stores
    assert all(r.rows > 1_000 for r in found)


def test_several_in_several_schemas(database: Database) -> None:
    for schema in ("a", "b"):
        database.sql(f"CREATE SCHEMA {schema}")
        with database.connect() as connection:
            connection.execute(f"SET search_path = {schema}")
            connection.execute(SCHEMAS["marten"].format(**FILLED))
            connection.execute(SCHEMAS["spatie"])
    with database.connect() as connection:
        found = recognise(connection)
        assert [(r.preset, r.schema) for r in found] == [
            ("marten", "a"),
            ("spatie", "a"),
            ("marten", "b"),
            ("spatie", "b"),
        ]


def test_nothing(database: Database) -> None:
    database.sql("CREATE TABLE mt_events (seq_id bigint, stream_id uuid, version int, type text, data jsonb)")
    with database.connect() as connection:
        assert recognise(connection) == ()
