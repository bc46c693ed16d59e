"""Stores whose order disagrees with the versions of their aggregates: the log gets every aggregate in order, wherever
it is cut.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from store_schemas import SCHEMAS
from stores_of_libraries import Project, store

from runner.sources import open_source
from runner.sources.postgres import extraction
from runner.sources.postgres.watermark import watermarks

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

INVERTED = """
    CREATE TABLE events (tx xid8 NOT NULL, pos bigint NOT NULL, stream text, version int, type text, data jsonb);
    CREATE INDEX ON events (tx, pos)"""
KEYS = {
    "preset": "custom",
    "table": "events",
    "position": ["tx", "pos"],
    "aggregate_id": "stream",
    "version": "version",
    "type": "type",
    "payload": "data",
    "tail": "xid",
}


def events_of(seed: int, count: int = 600, streams: int = 8) -> list[tuple[int, int, str, int]]:
    """(transaction, position, stream, version): positions in the order of versions, transactions drawn before."""
    r = random.Random(seed)
    versions: dict[str, int] = defaultdict(int)
    made = []
    for position in range(1, count + 1):
        stream = f"s{r.randrange(streams)}"
        versions[stream] += 1
        # Some transactions drew their id long before they wrote.
        early = r.choice((0, 0, 0, r.randrange(5), r.randrange(200)))
        made.append((1000 + max(1, position - early), position, stream, versions[stream]))
    return made


def small_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "FIRST_WIDTH", 20)
    monkeypatch.setattr(extraction, "NARROWEST", 20)
    monkeypatch.setattr(extraction, "ROWS", 30)


def fill(database: Database, events: list[tuple[int, int, str, int]]) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO events VALUES (%s::text::xid8, %s, %s, %s, 't', '{}')",
            [(str(tx), pos, stream, version) for tx, pos, stream, version in events],
        )


def check(found: list[dict[str, Any]], events: list[tuple[int, int, str, int]]) -> None:
    by_stream: dict[str, list[int]] = defaultdict(list)
    for e in found:
        by_stream[e["aggregate_id"]].append(e["version"])
    assert len(found) == len(events)
    assert all(versions == list(range(1, len(versions) + 1)) for versions in by_stream.values())


@pytest.mark.parametrize("seed", range(3))
def test_segments_end_anywhere(seed: int, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_cuts(monkeypatch)
    database.sql(INVERTED)
    events = events_of(seed)
    assert sorted(events) != sorted(events, key=lambda e: (e[2], e[3]))
    fill(database, events)
    project = Project(tmp_path, log="segment_events = 25", store={**KEYS, "url_env": database.env})
    assert project.sync().events == len(events)
    check(project.events(), events)
    assert project.sync().events == 0
    (mark,) = project.mark()["tenants"].values()
    assert mark["held"] == []


def test_left_anywhere(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that ended behind any piece: what was held is read again."""
    small_cuts(monkeypatch)
    database.sql(INVERTED)
    events = events_of(7, 300)
    fill(database, events)
    source = store(database, **KEYS)
    with closing(open_source(source)) as reader:
        pieces = sum(1 for _ in reader.pieces())
    assert pieces >= 8
    held = 0
    for ended in range(1, pieces):
        found: list[dict[str, Any]] = []
        with closing(open_source(source)) as reader:
            iterator = reader.pieces()
            for _ in range(ended):
                found += next(iterator).events.to_pylist()
            mark = json.loads(json.dumps(reader.mark()))
        held += len(mark["tenants"][""]["held"])
        with closing(open_source(source, mark)) as reader:
            for piece in reader.pieces():
                found += piece.events.to_pylist()
            assert reader.mark()["tenants"][""]["held"] == []  # type: ignore[index]  # JSON
        check(found, events)
    assert held > 0


def test_pooled_positions(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Axon under Hibernate: two nodes write from blocks of fifty, in turns to the same aggregates."""
    small_cuts(monkeypatch)
    database.sql(SCHEMAS["axon"].format(blob="bytea"))
    r = random.Random(1)
    blocks, drawn = [iter(()), iter(())], 1
    versions: dict[str, int] = defaultdict(int)
    events, rows = [], []
    for _ in range(400):
        node, stream = r.randrange(2), f"s{r.randrange(4)}"
        place = next(blocks[node], None)
        if place is None:
            blocks[node] = iter(range(drawn, drawn + 50))
            drawn += 50
            place = next(blocks[node])
        events.append((0, place, stream, versions[stream] + 1))
        rows.append((place, stream, versions[stream]))
        versions[stream] += 1
    insert = """
        INSERT INTO domain_event_entry (global_index, aggregate_identifier, sequence_number, event_identifier, payload,
                                        payload_type, time_stamp)
        VALUES (%s, %s, %s, gen_random_uuid()::text, '{}', 'T', '2026-01-02T12:30:15Z')"""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(insert, rows)
    keys = {"preset": "axon", "url_env": database.env, "tail": {"rule": "time", "grace": 0}}
    project = Project(tmp_path, log="segment_events = 25", store=keys)
    assert project.sync().events == len(events)
    found = [{**e, "version": e["version"] + 1} for e in project.events()]
    check(found, events)


def test_a_time_ahead_of_the_clock_holds_itself_back_alone(database: Database, tmp_path: Path) -> None:
    """A row of the order by time that is dated into the future: what is written before that time is read."""
    database.sql("CREATE TABLE events (at timestamptz, id serial, stream text, version int, type text, data jsonb)")
    write = "INSERT INTO events (at, stream, version, type, data) VALUES (now() + interval '{}', '{}', 1, 't', '{{}}')"
    keys = {**KEYS, "position": ["at", "id"], "tail": {"rule": "time", "grace": "10ms", "window": "12h"}}
    project = Project(tmp_path / "project", store={**keys, "url_env": database.env})
    notes: list[str] = []
    for by, name in (("0 s", "first"), ("1 hour", "ahead"), ("0 s", "behind")):
        database.sql(write.format(by, name))
        notes = list(project.sync().sources[0].notes)
    assert [e["aggregate_id"] for e in project.events()] == ["first", "behind"]
    (note,) = (note for note in notes if "ahead of" in note)
    assert note.startswith("newer events wait for a row whose time is ahead of the server's clock; would end it: time")
    (seen,) = watermarks(store(database, **keys), None)
    assert (seen.behind, [h.what[:10] for h in seen.holders][-1:]) == (3, ["a row whos"])
    assert "asked for again for 0.5 days" in seen.words
    database.sql("UPDATE events SET at = now() WHERE stream = 'ahead'")
    project.sync()
    assert [e["aggregate_id"] for e in project.events()] == ["first", "behind", "ahead"]
