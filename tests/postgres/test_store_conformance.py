"""Event stores pass the conformance suite that every source has to pass, under each kind of tail rule."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from stores_of_libraries import store

from runner.sources import open_source
from runner.sources.postgres import extraction
from runner.testing.sources import CHECKS, SourceEvent, check_schedule, schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fixtures_postgres import Database

    from runner.sources import SourceReader
    from runner.testing.sources import SourcePort, Step

TABLE = """
    CREATE TABLE events (pos bigint {default} PRIMARY KEY, tx xid8 NOT NULL DEFAULT pg_current_xact_id(), stream text,
                         version int, type text, at timestamptz NOT NULL, data {data})"""
KEYS = {
    "preset": "custom",
    "table": "events",
    "aggregate_id": "stream",
    "version": "version",
    "type": "type",
    "recorded_at": "at",
    "payload": "data",
}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "gaps": ({"position": "pos", "tail": "gaps"}, "jsonb"),
    "serialised": ({"position": "pos", "tail": "serialised"}, "json"),
    "xid": ({"position": ["tx", "pos"], "tail": "xid"}, "text"),
    "time": ({"position": "pos", "tail": {"rule": "time", "grace": 0}}, "bytea"),
}


class StorePort:
    """A table of events that can be written to. Its readers are closed with it."""

    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        keys, self._data = KINDS[kind]
        database.sql("DROP TABLE IF EXISTS events")
        default = "GENERATED ALWAYS AS IDENTITY" if kind != "serialised" else "DEFAULT 0"
        database.sql(TABLE.format(default=default, data=self._data))
        self._serial = 0 if kind == "serialised" else None
        self._source = store(database, **KEYS, **keys)
        self._readers: list[Any] = []

    def write(self, events: Sequence[SourceEvent]) -> None:
        with self._database.connect() as connection, connection.transaction(), connection.cursor() as cursor:
            for e in events:
                text = json.dumps(e.payload, ensure_ascii=False)
                data: Any = text.encode() if self._data == "bytea" else text
                row: dict[str, Any] = {"stream": e.aggregate_id, "version": e.version, "type": e.type}
                row |= {"at": e.recorded_at, "data": data}
                if self._serial is not None:
                    self._serial += 1
                    row["pos"] = self._serial
                names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
                cursor.execute(f"INSERT INTO events ({names}) VALUES ({values})", row)

    def open(self, mark: Any) -> SourceReader:
        reader = open_source(self._source, mark)
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


@pytest.fixture(params=KINDS)
def port(request: pytest.FixtureRequest, database: Database) -> Iterator[StorePort]:
    with closing(StorePort(database, request.param)) as made:
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[SourcePort], None], port: StorePort) -> None:
    check(port)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=schedules())
def test_schedules(kind: str, schedule: list[Step], database: Database) -> None:
    with closing(StorePort(database, kind)) as port:
        check_schedule(port, schedule)


def test_small_cuts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through many cuts over several connections."""
    monkeypatch.setattr(extraction, "FIRST_WIDTH", 7)
    monkeypatch.setattr(extraction, "ROWS", 11)
    for kind in ("gaps", "xid"):
        with closing(StorePort(database, kind)) as port:
            CHECKS[0](port)
