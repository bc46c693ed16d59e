"""A repository's files: rows that vanish and come back, equal to the repository itself."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from real_log import FILES, RealLog, one, same

from runner.jobs.explain import explain
from runner.jobs.proving.prove import prove

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

RAW = """
CREATE TEMP TABLE raw AS
SELECT position, stream, version, type, time::TIMESTAMPTZ AS moment, data.commit, data.author, data.added, data.deleted
FROM read_json('{file}', format = 'newline_delimited', columns = {{
    position: 'BIGINT', stream: 'VARCHAR', version: 'BIGINT', type: 'VARCHAR', time: 'VARCHAR',
    data: 'STRUCT(commit VARCHAR, author VARCHAR, added BIGINT, deleted BIGINT)'}})
"""
ALIVE = """
WITH lives AS (
    SELECT *, count(*) FILTER (type = 'FileDeleted') OVER (PARTITION BY stream ORDER BY version DESC) AS deaths_ahead
    FROM raw
)
SELECT stream AS aggregate_id, sum(added - deleted)::BIGINT AS lines, count(*) AS changes,
    arg_min(moment, version) AS since
FROM lives WHERE deaths_ahead = 0 GROUP BY stream
"""
LIVES = """
SELECT stream AS aggregate_id, sum(added - deleted)::BIGINT AS lines, count(*) AS commits,
    count(*) FILTER (type = 'FileDeleted') AS deaths, left(arg_max(commit, version), 7) AS last_commit,
    arg_max(author, version) AS last_author
FROM raw GROUP BY stream
"""
AUTHORS = """
SELECT author, count(*) AS commits, sum(added)::BIGINT AS added, sum(deleted)::BIGINT AS deleted
FROM raw GROUP BY author
"""


@pytest.fixture(scope="module")
def sql(files: RealLog, data: Path) -> duckdb.DuckDBPyConnection:
    connection = files.sql()
    connection.execute(RAW.format(file=data / "git-history-river/events.ndjson.gz"))
    return connection


def test_files_are_those_at_head(sql: duckdb.DuckDBPyConnection, data: Path) -> None:
    at_head = json.loads(gzip.decompress((data / "git-history-river/lines_at_head.json.gz").read_bytes()))
    assert dict(sql.execute("SELECT aggregate_id, lines FROM files").fetchall()) == at_head


@pytest.mark.parametrize("name", ["files", "plain"])
def test_files_that_are_there(name: str, sql: duckdb.DuckDBPyConnection) -> None:
    same(sql, f"FROM {name}", ALIVE)


def test_lives(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM lives", LIVES) == 581


def test_authors(sql: duckdb.DuckDBPyConnection) -> None:
    same(sql, "FROM authors", AUTHORS)


def test_any_update_schedule_gives_the_same_bytes(files: RealLog, data: Path, place: Callable[[str], Path]) -> None:
    """A file that is deleted in one update, and comes back in another."""
    lines = gzip.decompress((data / "git-history-river/events.ndjson.gz").read_bytes()).splitlines(keepends=True)
    folder = place("grown_files")
    log = RealLog(folder, "real_files", FILES.format(files="*.ndjson"), partitions=4)
    cuts = [0, 5, 1_201, 3_700, 5_000, len(lines)]
    for n, (start, stop) in enumerate(pairwise(cuts)):
        # Appended lines and new files, in turn.
        with (folder / f"events-{n // 2}.ndjson").open("ab") as file:
            file.writelines(lines[start:stop])
        assert log.sync().events == stop - start
        if n == 0:
            log.rebuild()
        else:
            assert log.update().events == stop - start
    prove(log.config, amount="all")
    assert log.bytes() == files.bytes()


def test_explain_shows_death_and_rebirth(files: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    reborn = one(
        sql, "SELECT aggregate_id FROM lives SEMI JOIN files USING (aggregate_id) WHERE deaths > 0 ORDER BY ALL LIMIT 1"
    )
    steps = list(explain(files.config, "files", reborn))
    events = sql.execute("SELECT version, type FROM raw WHERE stream = ? ORDER BY version", reborn).fetchall()
    assert [(s.version, s.event_type) for s in steps] == events
    assert [s.deleted for s in steps] == [kind == "FileDeleted" for _, kind in events]
    for former, later in pairwise(steps):
        assert later.before == former.after
    assert [(s.after or {}).get("changes") for s in explain(files.config, "plain", reborn)] == [
        (s.after or {}).get("changes") for s in steps
    ]
