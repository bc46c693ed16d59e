"""GitHub's events of one organisation through sync, rebuild, update and explain, against SQL over the raw file and
GitHub's own counters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from real_log import RealLog, one, same

from runner.jobs.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

RAW = """
CREATE TEMP TABLE raw AS
SELECT row_number() OVER () AS n, (json ->> 'id')::BIGINT AS id, json ->> 'type' AS type,
    (json ->> 'created_at')::TIMESTAMPTZ AS moment, json ->> '$.repo.name' AS repo, json ->> '$.actor.login' AS actor,
    (json ->> '$.actor.id')::BIGINT AS actor_id, json -> 'payload' AS p,
    coalesce(json ->> '$.payload.issue.number', json ->> '$.payload.pull_request.number') AS number,
    concat_ws('#', repo, number) AS aggregate_id
FROM read_ndjson_objects('{file}')
"""
DISCUSSED = "FROM raw WHERE type IN ('IssuesEvent', 'IssueCommentEvent')"
THREADS = f"""
WITH issues AS (SELECT *, p -> 'issue' AS i {DISCUSSED}), groups AS (
    SELECT n, arg_min(name[5:], place) FILTER (starts_with(name, 'sig/')) AS "group", count(*) AS labels FROM (
        SELECT n, unnest(i -> '$.labels[*].name') ->> '$' AS name,
            generate_subscripts(i -> '$.labels[*].name', 1) AS place
        FROM issues
    ) GROUP BY n
)
SELECT aggregate_id, aggregate_id AS reference, arg_max(i ->> 'title', n) AS title,
    lower(arg_max(i ->> '$.user.login', n)) AS author, arg_max(json_exists(i, '$.pull_request'), n) AS is_pull_request,
    arg_max((i ->> 'state') = 'open', n) AS open, count(*) FILTER (type = 'IssueCommentEvent') AS comments,
    arg_max((i ->> 'comments')::BIGINT, n) AS github_comments,
    list(i ->> '$.assignee.login' ORDER BY n)[-1] AS assignee, arg_max(coalesce("group", ''), n) AS "group",
    arg_max(coalesce(labels, 0), n) AS labels, coalesce(max(length(i ->> 'body')), 0) AS longest_body,
    arg_max(epoch_us(moment) - epoch_us((i ->> 'created_at')::TIMESTAMPTZ), n) AS age
FROM issues LEFT JOIN groups USING (n) GROUP BY aggregate_id
"""
PARTICIPANTS = """
SELECT aggregate_id, any_value(number::BIGINT) AS number, count(*) AS events, list(actor ORDER BY n)[-10:] AS recent
FROM raw WHERE number IS NOT NULL GROUP BY aggregate_id
"""
LABELS = f"""
SELECT aggregate_id, l ->> 'name' AS label, count(*) AS seen, arg_max(l ->> 'color', n) AS color,
    arg_max((l ->> 'default')::BOOLEAN, n) AS built_in, arg_min(moment, n) AS first_at
FROM (SELECT *, unnest(p -> '$.issue.labels[*]') AS l {DISCUSSED}) GROUP BY ALL
"""
PULL_REQUESTS = """
WITH pulls AS (
    SELECT *, p -> 'pull_request' AS q, type = 'PullRequestEvent' AS change,
        count(*) FILTER (type <> 'PullRequestEvent') OVER (PARTITION BY aggregate_id ORDER BY n) AS reviews_before
    FROM raw WHERE type IN ('PullRequestEvent', 'PullRequestReviewCommentEvent')
), rows AS (
    SELECT aggregate_id, coalesce(arg_max(q ->> '$.user.login', n) FILTER (change), '') AS author,
        coalesce(arg_max((q ->> 'merged')::BOOLEAN, n) FILTER (change), false) AS merged,
        epoch_us(max((q ->> 'merged_at')::TIMESTAMPTZ) FILTER (change))
            - epoch_us(max((q ->> 'created_at')::TIMESTAMPTZ) FILTER (change AND q ->> 'merged_at' IS NOT NULL))
            AS merged_after,
        (list(q ->> '$.milestone.title' ORDER BY n) FILTER (change))[-1] AS milestone,
        coalesce(arg_max((q ->> 'commits')::BIGINT, n) FILTER (change), 0) AS commits,
        coalesce(arg_max((q ->> 'additions')::BIGINT, n) FILTER (change), 0) AS additions,
        coalesce(arg_max((q ->> 'deletions')::BIGINT, n) FILTER (change), 0) AS deletions,
        count(*) FILTER (change AND p ->> 'action' = 'reopened') AS reopened,
        count(*) FILTER (change AND p ->> 'action' = 'opened') > 0 AS opened_here,
        count(*) FILTER (NOT change) AS reviews,
        count(*) FILTER (NOT change AND p ->> '$.comment.position' IS NULL) AS reviews_without_line,
        coalesce(arg_max(reviews_before, n) FILTER (change), 0) AS reviews_until_change,
        coalesce(arg_max((q ->> 'review_comments')::BIGINT, n) FILTER (change), 0) AS github_reviews,
        count(*) FILTER (change) AS changes
    FROM pulls GROUP BY aggregate_id
)
SELECT aggregate_id, author, merged, merged_after, milestone, commits, additions + deletions AS churn,
    CASE WHEN churn > 0 THEN additions::DOUBLE / churn::DOUBLE ELSE 0.0 END::DOUBLE AS added_share, * EXCLUDE (
        aggregate_id, author, merged, merged_after, milestone, commits, additions, deletions)
FROM rows
"""
PUSHES = """
SELECT aggregate_id, count(*) AS pushes, coalesce(sum(size) FILTER (NOT cut), 0)::BIGINT AS size,
    coalesce(sum((p ->> 'distinct_size')::BIGINT) FILTER (NOT cut), 0)::BIGINT AS distinct_size,
    coalesce(sum(listed) FILTER (NOT cut), 0)::BIGINT AS listed,
    coalesce(sum(len(list_filter(p ->> '$.commits[*].distinct', lambda d: d = 'true'))) FILTER (NOT cut), 0)::BIGINT
        AS listed_distinct,
    count(*) FILTER (cut) AS cut, count(*) FILTER (NOT cut AND ends_with(p ->> 'ref', '/master')) AS to_master
FROM (
    SELECT *, (p ->> 'size')::BIGINT AS size, json_array_length(p, '$.commits')::BIGINT AS listed, size > listed AS cut
    FROM raw WHERE type = 'PushEvent'
) GROUP BY aggregate_id
"""
COMMITTERS = """
SELECT aggregate_id, c ->> '$.author.name' AS author, count(*) AS commits,
    count(*) FILTER ((c ->> 'distinct')::BOOLEAN) AS "distinct", sum(length(c ->> 'message'))::BIGINT AS letters,
    arg_max(c ->> 'sha', n * 1000 + place) AS last_sha
FROM (
    SELECT *, unnest(p -> '$.commits[*]') AS c, generate_subscripts(p -> '$.commits[*]', 1) AS place
    FROM raw WHERE type = 'PushEvent'
) GROUP BY ALL
"""
REPOSITORY_DAYS = """
SELECT repo, moment::DATE AS day, count(*) AS events, max(id) AS highest_id,
    [count(*) FILTER (hour(moment) <= 5), count(*) FILTER (hour(moment) BETWEEN 6 AND 11),
     count(*) FILTER (hour(moment) BETWEEN 12 AND 17), count(*) FILTER (hour(moment) > 17)] AS hours
FROM raw GROUP BY ALL
"""
ACTORS = "SELECT actor, max(actor_id) AS id, count(*) AS events, max(moment) AS last_at FROM raw GROUP BY actor"


@pytest.fixture(scope="module")
def sql(github: RealLog, github_text: bytes, place: Callable[[str], Path]) -> duckdb.DuckDBPyConnection:
    file = place("github_raw") / "events.ndjson"
    file.write_bytes(github_text)
    connection = github.sql()
    connection.execute(RAW.format(file=file))
    file.unlink()
    return connection


@pytest.mark.parametrize(
    ("actual", "expected", "rows"),
    [
        ("SELECT * REPLACE (epoch_us(age) AS age) FROM threads", THREADS, 1_877),
        ("FROM participants", PARTICIPANTS, 1_961),
        ("FROM labels", LABELS, None),
        ("SELECT * REPLACE (epoch_us(merged_after) AS merged_after) FROM pull_requests", PULL_REQUESTS, None),
        ("FROM pushes", PUSHES, None),
        ("FROM committers", COMMITTERS, None),
        ("FROM repository_days", REPOSITORY_DAYS, None),
        ("FROM actors", ACTORS, 1_268),
    ],
    ids=["threads", "participants", "labels", "pull_requests", "pushes", "committers", "repository_days", "actors"],
)
def test_read_models(sql: duckdb.DuckDBPyConnection, actual: str, expected: str, rows: int | None) -> None:
    assert rows in (None, same(sql, actual, expected))


def test_letters_beyond_ascii_are_pythons(github: RealLog, github_text: bytes) -> None:
    """Titles in all languages: no kernel knows every letter's other case; where one occurs, Python folds."""
    last: dict[str, str] = {}
    for line in github_text.splitlines():
        if b'"type":"Issue' in line:
            event = json.loads(line)
            issue = event["payload"]["issue"]
            last[f"{event['repo']['name']}#{issue['number']}"] = issue["title"]
    assert not all(title.isascii() for title in last.values())
    rows = {row["aggregate_id"]: (row["loud"], row["quiet"]) for row in github.models.table("titles").to_pylist()}
    assert rows == {key: (title.upper(), title.lower()[:40]) for key, title in last.items()}
    assert github.rebuilt is not None
    by_twin = {p.name: p.by_twin for p in github.rebuilt.projections}
    assert 0 < by_twin.pop("titles") <= 16
    assert set(by_twin.values()) == {0}


def test_the_publishers_totals(github: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    totals = one(sql, "SELECT sum(events), count(DISTINCT repo), count(DISTINCT day) FROM repository_days")
    assert totals == (12_001, 41, 5)


def test_githubs_own_counters(sql: duckdb.DuckDBPyConnection) -> None:
    """Pushes say how many commits they have; a pull request says how many review comments it got."""
    pushes = one(sql, "SELECT sum(pushes - cut), sum(size - listed), sum(distinct_size - listed_distinct) FROM pushes")
    assert pushes == (349, 0, 0)
    reviews = one(
        sql,
        """
        SELECT count(*), count(*) FILTER (reviews_until_change = github_reviews), sum(reviews_until_change) > 200
        FROM pull_requests WHERE opened_here AND changes > 1
        """,
    )
    # Two are counted otherwise by GitHub itself: comments deleted since, or made in a moment before the event.
    assert reviews == (212, 210, True)


def test_a_log_that_grew_between_two_folds_gives_the_same_bytes(github: RealLog, grown_github: RealLog) -> None:
    updated = grown_github.bytes()
    assert updated == github.bytes()
    grown_github.rebuild()
    assert grown_github.bytes() == updated


def test_explain(github: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    key = one(sql, "SELECT aggregate_id FROM threads ORDER BY comments DESC, aggregate_id LIMIT 1")
    steps = list(explain(github.config, "threads", key))
    events = sql.execute("SELECT id, type, moment FROM raw WHERE aggregate_id = ? ORDER BY n", key).fetchall()
    assert [(s.event_type, s.recorded_at) for s in steps] == [(kind, moment) for _, kind, moment in events]
    assert all(f'"id":"{number}"' in s.payload for (number, *_), s in zip(events, steps, strict=True))
    comments = [s for s in steps if s.event_type == "IssueCommentEvent"]
    assert [(s.after or {})["comments"] for s in comments] == list(range(1, len(comments) + 1))
    assert "comments" in comments[-1].changed


def test_explain_goes_through_a_list(github: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    """One step for each element, in the order of the list."""
    key = one(sql, "SELECT aggregate_id, author FROM committers ORDER BY commits DESC, aggregate_id LIMIT 1")
    steps = [s for s in explain(github.config, "committers", key) if s.handler]
    places = [(s.position, s.element) for s in steps]
    assert places == sorted(places)
    commits = one(sql, "SELECT commits, last_sha FROM committers WHERE (aggregate_id, author) = (?, ?)", key)
    assert commits == (len(steps), (steps[-1].after or {})["last_sha"])
