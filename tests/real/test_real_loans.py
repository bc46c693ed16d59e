"""The loan applications (BPI Challenge 2012): sync, rebuild, update and explain, against SQL over the raw file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from real_log import RealLog, one, same

from runner.authoring.bounded import Buckets, LastValues
from runner.jobs.explain import explain

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

RAW = """
CREATE TEMP TABLE raw AS
SELECT position, stream, version, type, time::TIMESTAMPTZ AS moment, data ->> 'org:resource' AS resource,
    data ->> 'lifecycle:transition' AS transition, data -> 'case' AS c
FROM read_json('{file}', format = 'newline_delimited',
    columns = {{
        position: 'BIGINT', stream: 'VARCHAR', version: 'BIGINT', type: 'VARCHAR', time: 'VARCHAR', data: 'JSON'}})
"""
APPLICATIONS = """
SELECT stream AS aggregate_id, max((c ->> 'AMOUNT_REQ')::BIGINT) AS amount, max(c ->> 'concept:name') AS "case",
    epoch_us(min(moment) FILTER (c IS NOT NULL)) - epoch_us(max((c ->> 'REG_DATE')::TIMESTAMPTZ)) AS registered_late,
    coalesce(arg_max(CASE type WHEN 'A_APPROVED' THEN 'approved' WHEN 'A_DECLINED' THEN 'declined' ELSE 'cancelled' END,
        position) FILTER (type IN ('A_APPROVED', 'A_DECLINED', 'A_CANCELLED')), 'open') AS outcome,
    epoch_us(arg_max(moment, position) FILTER (type IN ('A_APPROVED', 'A_DECLINED', 'A_CANCELLED')))
        - epoch_us(min(moment) FILTER (type = 'A_SUBMITTED')) AS decided_after,
    count(*) FILTER (type = 'O_SENT') AS offers, count(*) FILTER (type = 'O_SENT_BACK') AS sent_back,
    arg_max(resource, position) FILTER (type IN ('O_SENT', 'O_SENT_BACK') AND resource IS NOT NULL) AS last_offer_by,
    min(moment) FILTER (type = 'A_SUBMITTED') AS submitted_at
FROM raw GROUP BY stream
"""
COURSES = """
WITH paused AS (
    SELECT *, epoch_us(moment) - epoch_us(lag(moment) OVER (PARTITION BY stream ORDER BY version)) AS pause FROM raw
), buckets AS (
    SELECT *, floor(pause / 1000000) AS seconds FROM paused
)
SELECT stream AS aggregate_id, count(*) AS steps, count(*) FILTER (resource IS NULL) AS without_resource,
    count(*) FILTER (transition = 'START') AS started, max(version) AS last_version,
    arg_max(moment, version) AS last_at,
    greatest(coalesce(max(pause), 0), 0) AS longest_pause, count(*) FILTER (pause > 7 * 86400000000) AS long_pauses,
    count(*) FILTER (pause = 0) AS at_once,
    [count(*) FILTER (seconds <= 0), count(*) FILTER (seconds > 0 AND seconds <= 60),
     count(*) FILTER (seconds > 60 AND seconds <= 3600), count(*) FILTER (seconds > 3600 AND seconds <= 86400),
     count(*) FILTER (seconds > 86400)] AS pauses,
    list(type ORDER BY version)[-10:] AS recent,
    coalesce(list(resource ORDER BY version) FILTER (resource IS NOT NULL), [])[-3:] AS recent_resources
FROM buckets GROUP BY stream
"""
HANDS = """
SELECT stream AS aggregate_id, resource, count(*) AS steps, count(*) FILTER (transition = 'COMPLETE') AS done,
    arg_min(moment, version) AS first_at, arg_max(type, version) AS last_type
FROM raw GROUP BY stream, resource
"""
PER_DAY = """
SELECT type, moment::DATE AS day, count(*) AS count, count(*) FILTER (resource IS NULL) AS without_resource,
    [count(*) FILTER (hour(moment) <= 5), count(*) FILTER (hour(moment) BETWEEN 6 AND 11),
     count(*) FILTER (hour(moment) BETWEEN 12 AND 17), count(*) FILTER (hour(moment) > 17)] AS hours
FROM raw GROUP BY ALL
"""
BANDS = """
SELECT CASE WHEN amount < 5000 THEN 'small' WHEN amount < 20000 THEN 'middle' ELSE 'large' END AS band,
    count(*) AS count, sum(amount)::BIGINT AS total, max(amount) AS highest
FROM (SELECT (c ->> 'AMOUNT_REQ')::BIGINT AS amount FROM raw WHERE c IS NOT NULL) GROUP BY ALL
"""


@pytest.fixture(scope="module")
def sql(loans: RealLog, data: Path) -> duckdb.DuckDBPyConnection:
    connection = loans.sql()
    connection.execute(RAW.format(file=data / "bpic2012-loans/events.ndjson.gz"))
    return connection


def spans(table: str, *names: str) -> str:
    """A read model's columns with durations as microseconds."""
    return f"SELECT * REPLACE ({', '.join(f'epoch_us({n}) AS {n}' for n in names)}) FROM {table}"


def test_applications(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, spans("applications", "registered_late", "decided_after"), APPLICATIONS) == 13_087


def test_courses(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, spans("courses", "longest_pause"), COURSES) == 13_087


def test_hands(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM hands", HANDS) > 50_000
    nobody = one(sql, "SELECT sum(steps) FROM hands WHERE resource IS NULL")
    assert nobody == (18_010,)


def test_steps_per_day(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM steps_per_day", PER_DAY) > 3_000


def test_bands(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM bands", BANDS) == 3


def test_the_publishers_totals(sql: duckdb.DuckDBPyConnection) -> None:
    totals = dict(sql.execute("SELECT type, sum(count)::BIGINT FROM steps_per_day GROUP BY type").fetchall())
    assert (sum(totals.values()), len(totals)) == (262_200, 24)
    wanted = {
        "W_Completeren aanvraag": 54_850, "W_Nabellen offertes": 52_016, "A_SUBMITTED": 13_087, "A_DECLINED": 7_635,
        "O_SENT": 7_030,
    }  # fmt: skip
    assert {name: totals[name] for name in wanted} == wanted
    lengths = one(sql, "SELECT min(steps), median(steps), max(steps), sum(at_once) FROM courses")
    assert lengths == (3, 11, 175, 13_995)
    ends = dict(sql.execute("SELECT outcome, count(*) FROM applications GROUP BY outcome").fetchall())
    assert ends["declined"] == 7_635


def test_a_log_that_grew_between_two_folds_gives_the_same_bytes(loans: RealLog, grown_loans: RealLog) -> None:
    updated = grown_loans.bytes()
    assert updated == loans.bytes()
    assert grown_loans.sync().events == 0
    assert grown_loans.update().nothing_new
    grown_loans.rebuild()
    assert grown_loans.bytes() == updated


def test_up_to_a_time(loans: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    """At the end of daylight saving time, when local clocks show 02:30 for the second time."""
    place = datetime(2011, 10, 30, 1, 30, tzinfo=UTC)
    report = loans.rebuild(to=place)
    last = one(sql, "SELECT max(position) FROM raw WHERE moment <= ?", [place])
    assert last == (report.cut.position,)
    then = BANDS.replace("FROM raw", f"FROM (FROM raw WHERE position <= {report.cut.position})")
    try:
        with loans.sql() as now:
            rows = now.execute("FROM bands ORDER BY ALL").fetchall()
        assert rows == sql.execute(f"FROM ({then}) ORDER BY ALL").fetchall()
    finally:
        loans.update()
    with loans.sql() as now:
        rows = now.execute("FROM bands ORDER BY ALL").fetchall()
    assert rows == sql.execute(f"FROM ({BANDS}) ORDER BY ALL").fetchall()


def test_explain(loans: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    longest = one(sql, "SELECT aggregate_id FROM courses ORDER BY steps DESC, aggregate_id LIMIT 1")
    events = sql.execute("SELECT position, version, type, moment FROM raw WHERE stream = ? ORDER BY version", longest)
    steps = list(explain(loans.config, "courses", longest))
    assert [(s.position, s.version, s.event_type, s.recorded_at) for s in steps] == events.fetchall()
    assert len(steps) == 175
    assert steps[0].before is None
    assert all(later.before == earlier.after for earlier, later in pairwise(steps))
    assert {"steps", "last_at", "recent"} <= set(steps[-1].changed)
    (row,) = [r for r in loans.models.table("courses").to_pylist() if r["aggregate_id"] == longest[0]]
    last = {name: list(v) if isinstance(v, (LastValues, Buckets)) else v for name, v in (steps[-1].after or {}).items()}
    assert {"aggregate_id": longest[0], **last} == row


def test_explain_passes_over_what_has_no_handler(loans: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    steps = list(explain(loans.config, "applications", ["173688"]))
    count = one(sql, "SELECT count(*) FROM raw WHERE stream = '173688'")
    assert count == (len(steps),)
    assert next(s.handler for s in steps if s.handler) == "submitted"
    assert any(not s.handler and s.after is None and not s.deleted for s in steps)
    decided = [s for s in steps if s.handler in ("approved", "declined", "cancelled")][-1]
    assert decided.after is not None
    assert isinstance(decided.after["decided_after"], timedelta)
