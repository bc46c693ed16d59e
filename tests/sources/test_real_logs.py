"""The real event logs through sync, checked against their publishers' totals and against SQL over the raw files."""

from __future__ import annotations

import itertools
import json

import duckdb
import pytest

from runner.config import load_config
from runner.jobs.syncing.sync import sync
from runner.log import Log

TOML = """
[sources.bpic]
files = "{shared}/data/bpic2012-loans/events.ndjson.gz"
aggregate_id = "stream"
type = "type"
version = "version"
recorded_at = "time"
position = {{path = "position", ascending = true}}
payload = "data"

[sources.k8s]
files = "{shared}/data/k8s-github-events/*.zst"
format = "ndjson"
aggregate_id = ["repo.name", {{paths = ["payload.issue.number", "payload.pull_request.number"], optional = true}}]
separator = "#"
type = "type"
recorded_at = "created_at"
position = {{path = "id", ascending = true}}

[sources.berka]
files = "{shared}/data/berka-bank/trans.asc.gz"
encoding = "latin-1"
csv = {{delimiter = ";"}}
aggregate_id = "account_id"
type = ["type", {{path = "operation", optional = true}}]
recorded_at = {{path = "date", format = "%y%m%d", zone = "Europe/Prague"}}

[sources.git]
files = "{shared}/data/git-history-river/events.ndjson.gz"
aggregate_id = "stream"
type = "type"
version = "version"
recorded_at = "time"
payload = "data"
"""


@pytest.fixture(scope="module")
def synced(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    (folder / "runner.toml").write_text(TOML.format(shared=shared))
    config = load_config(folder / "runner.toml")
    report = sync(config)
    found = {name: [] for name in config.sources}
    with Log.open(config.log.path) as log:
        bounds, last = [], 0
        for entry in log.sources:
            bounds.append((entry.name, last, last + entry.events))
            last += entry.events
        for partition in range(log.partitions):
            for event in log.raw(partition):
                name = next(n for n, low, high in bounds if low < event.position <= high)
                found[name].append(event)
    assert sync(config).events == 0
    return report, {name: sorted(events) for name, events in found.items()}


@pytest.fixture(scope="module")
def raw(shared):
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set timezone = 'UTC'")
    bpic, git = (shared / "data" / d / "events.ndjson.gz" for d in ("bpic2012-loans", "git-history-river"))
    for name, path in (("bpic", bpic), ("git", git)):
        connection.execute(f"create table {name} as select json from read_ndjson_objects('{path}')")
    return connection


def times(connection, events):
    return [int(e.recorded_at.timestamp() * 1_000_000 + 0.5) for e in events]


def test_totals_of_the_publishers(synced):
    report, found = synced
    assert {s.name: s.events for s in report.sources} == {"bpic": 262_200, "k8s": 12_001, "berka": 49_102, "git": 5_810}
    counts = {}
    for event in found["bpic"]:
        counts[event.type] = counts.get(event.type, 0) + 1
    assert len(counts) == 24
    assert len({e.aggregate_id for e in found["bpic"]}) == 13_087
    assert (counts["W_Completeren aanvraag"], counts["W_Nabellen offertes"]) == (54_850, 52_016)
    assert (counts["A_SUBMITTED"], counts["A_DECLINED"], counts["O_SENT"]) == (13_087, 7_635, 7_030)
    assert len({e.aggregate_id.partition("#")[0] for e in found["k8s"]}) == 41
    assert len({e.aggregate_id for e in found["k8s"] if "#" in e.aggregate_id}) == 1_961
    assert len({e.type for e in found["k8s"]}) == 12
    assert len({e.aggregate_id for e in found["berka"]}) == 1_229
    assert len({e.aggregate_id for e in found["git"]}) == 581


@pytest.mark.parametrize("name", ["bpic", "git"])
def test_events_against_sql_over_the_raw_files(synced, raw, name):
    found = synced[1][name]
    expected = raw.execute(
        f"""select json->>'$.stream', json->>'$.type', (json->>'$.version')::bigint,
                   epoch_us((json->>'$.time')::timestamptz), (json->'$.data')::varchar
            from {name} order by (json->>'$.position')::bigint"""
    ).fetchall()
    assert len(found) == len(expected)
    micros = times(raw, found)
    for event, moment, (stream, kind, version, at, data) in zip(found, micros, expected, strict=True):
        assert (event.aggregate_id, event.type, event.version, moment) == (stream, kind, version, at)
        assert event.payload == data or json.loads(event.payload) == json.loads(data)


def test_the_torn_last_line_of_the_bank_waits(synced, shared):
    report = next(s for s in synced[0].sources if s.name == "berka")
    assert [(u.line, u.octets) for u in report.unfinished] == [(49_104, 27)]
    assert report.rejected == 0


def test_the_bank_against_sql_over_the_raw_file(synced, shared):
    connection = duckdb.connect(config={"threads": 1})
    expected = connection.execute(
        f"""select trans_id, account_id, date, type, operation, amount, balance, k_symbol, bank, account
            from read_csv('{shared}/data/berka-bank/trans.asc.gz', delim = ';', header = true, all_varchar = true,
                          quote = '"', allow_quoted_nulls = false, encoding = 'latin-1', ignore_errors = true,
                          null_padding = false)"""
    ).fetchall()
    found = [json.loads(e.payload) for e in synced[1]["berka"]]
    assert [tuple(row.values()) for row in found] == expected[: len(found)]
    assert len(expected) - len(found) in (0, 1)


def test_the_repositories_against_the_raw_lines(synced, shared):
    """Payloads are the lines as they are written; the id runs up, the time does not."""
    import io

    import zstandard

    found = synced[1]["k8s"]
    with (shared / "data/k8s-github-events/events.ndjson.zst").open("rb") as file:
        stream = io.TextIOWrapper(
            zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file), encoding="utf-8"
        )
        for event, line in zip(found, stream, strict=True):
            assert event.payload == line.rstrip("\n")
            record = json.loads(line)
            assert event.type == record["type"]
            assert event.recorded_at.strftime("%Y-%m-%dT%H:%M:%SZ") == record["created_at"]
    backwards = sum(a.recorded_at > b.recorded_at for a, b in itertools.pairwise(found))
    assert backwards == 309
