"""Sync: events into the log once, whatever happens; bad lines counted; columns filled; facts told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import ids, lines

from runner.config import load_config
from runner.errors import ConfigError, DefinitionError, FieldValueError, LineError, SourceChanged, SourceError
from runner.jobs.syncing.sync import sync
from runner.log import Log, audit
from runner.stats import EventsRead, JobFinished, LineRejected, StageFinished, StageStarted

TOML = """
[log]
partitions = 4
segment_events = 10
[sources.s]
files = "events*.ndjson"
format = "ndjson"
aggregate_id = "id"
type = "type"
"""
PROGRAM = """
import sys
from runner.config import load_config
from runner.jobs.syncing.sync import sync
sync(load_config(sys.argv[1]))
"""


def config_of(folder, text=TOML):
    file = folder / "runner.toml"
    file.write_text(text)
    return load_config(file)


def rows(config):
    """(position, id, type, version, payload) of all events."""
    with Log.open(config.log.path) as log:
        assert audit(log).findings == ()
        found = [event for p in range(log.partitions) for event in log.raw(p)]
    return sorted((e.position, e.aggregate_id, e.type, e.version, e.payload) for e in found)


def names(config):
    return [row[1] for row in rows(config)]


def test_events_come_once_and_in_order(tmp_path):
    file, config = tmp_path / "events.ndjson", config_of(tmp_path)
    file.write_text(lines(0, 25) + '{"id":')
    first = sync(config)
    assert (first.events, first.last_position, first.previous_position) == (25, 25, 0)
    assert [(u.file, u.line) for u in first.sources[0].unfinished] == [("events.ndjson", 26)]
    assert names(config) == ids(0, 25)
    assert [row[0] for row in rows(config)] == list(range(1, 26))
    again = sync(config)
    assert (again.events, again.previous_position) == (0, 25)
    assert again.sources[0].unfinished == first.sources[0].unfinished
    file.write_text(lines(0, 31))
    (tmp_path / "events-2.ndjson").write_text(lines(31, 33))
    assert sync(config).events == 8
    assert names(config) == ids(0, 33)
    assert rows(config)[3][2:] == ("t", 1, '{"id":"e3","type":"t","n":3}')


def test_several_sources_feed_one_log_and_may_share_aggregates(tmp_path):
    config = config_of(
        tmp_path,
        TOML + 'namespace = "shared"\n[sources.other]\nfiles = "other.csv"\naggregate_id = "id"\n'
        'type = {constant = "o"}\nnamespace = "shared"\n[sources.own]\nfiles = "other.csv"\naggregate_id = "id"\n'
        'type = {constant = "p"}\ntenant = {constant = "T"}\n',
    )
    (tmp_path / "events.ndjson").write_text(lines(0, 2))
    (tmp_path / "other.csv").write_text("id\ne1\ne2\n")
    report = sync(config)
    assert [(s.name, s.events) for s in report.sources] == [("s", 2), ("other", 2), ("own", 2)]
    # The second event of e1 comes from another source; in a scope of its own it is a first one.
    assert [row[1:4] for row in rows(config)] == [
        ("e0", "t", 1), ("e1", "t", 1), ("e1", "o", 2), ("e2", "o", 1), ("e1", "p", 1), ("e2", "p", 1),
    ]  # fmt: skip
    with Log.open(config.log.path) as log:
        assert log.scopes == (("shared", ""), ("own", "T"))
    assert sync(config, ["own"]).sources[0].name == "own"
    with pytest.raises(ConfigError, match=r"no source is called oter \(did you mean other\?\)"):
        sync(config, ["oter"])
    with pytest.raises(ConfigError, match="names no sources"):
        sync(config_of(tmp_path, ""))


def test_a_bad_line_stops_and_all_lines_before_it_stay(tmp_path):
    file, config = tmp_path / "events.ndjson", config_of(tmp_path)
    file.write_text(lines(0, 14) + "{bad\n" + lines(14, 20))
    with pytest.raises(LineError, match=r"events\.ndjson:15: the line is not JSON"):
        sync(config)
    assert names(config) == ids(0, 14)
    file.write_text(lines(0, 20))
    assert sync(config).events == 6
    assert names(config) == ids(0, 20)


def test_rejected_lines_are_kept_and_counted_once(tmp_path):
    file, config = tmp_path / "events.ndjson", config_of(tmp_path, TOML + 'on_bad_line = "reject"\n')
    file.write_text(lines(0, 3) + '{bad "é"\n' + lines(3, 5) + "[]\n")
    facts = []
    report = sync(config, listener=facts.append).sources[0]
    assert (report.events, report.rejected, report.rejected_before) == (5, 2, 0)
    kept = Path(report.rejects_file)
    assert [(r["line"], r["text"]) for r in map(json.loads, kept.read_text().splitlines())] == [
        (4, '{bad "é"'),
        (7, "[]"),
    ]
    told = [f for f in facts if isinstance(f, LineRejected)]
    assert [(f.source, f.file, f.line) for f in told] == [("s", str(file), 4), ("s", str(file), 7)]
    with file.open("a") as stream:
        stream.write("5\n" + lines(5, 6))
    again = sync(config).sources[0]
    assert (again.events, again.rejected, again.rejected_before) == (1, 1, 2)
    assert len(kept.read_text().splitlines()) == 3
    # What a dead sync has left in it is cut off.
    with kept.open("a") as stream:
        stream.write("left behind\n")
    assert sync(config).sources[0].rejected == 0
    assert len(kept.read_text().splitlines()) == 3


def test_facts(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "events.ndjson").write_text(lines(0, 25))
    facts = []
    report = sync(config, listener=facts.append)
    read = [f for f in facts if isinstance(f, EventsRead)]
    assert sum(f.events for f in read) == 25
    assert {f.source for f in read} == {"s"}
    assert read[-1].bytes_done == read[-1].bytes_total == len(lines(0, 25))
    stages = [f for f in facts if isinstance(f, (StageStarted, StageFinished)) and f.stage == "sync"]
    assert [type(f) for f in stages] == [StageStarted, StageFinished]
    assert stages[1].events == 25
    ended = next(f for f in facts if isinstance(f, JobFinished))
    assert (ended.job_id, ended.what, ended.outcome) == (report.job_id, "sync", "succeeded")
    assert report.seconds["sync"] > 0
    assert report.events_per_second > 0


def test_versions_that_do_not_rise_are_an_error_that_loses_nothing(tmp_path):
    config = config_of(tmp_path, TOML + 'version = "v"\n')
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f'{{"id":"a","type":"t","v":{v}}}\n' for v in (0, 1, 2, 2, 3)))
    with pytest.raises(SourceError, match=r"events\.ndjson:4: version 2 of aggregate 'a' is there twice") as raised:
        sync(config)
    assert raised.value.exit_code == 5
    assert "reject" not in raised.value.hint
    with pytest.raises(SourceError, match='on_bad_line = "reject" leaves out no such event'):
        sync(config_of(tmp_path, TOML + 'version = "v"\non_bad_line = "reject"\n'))
    with pytest.raises(SourceError, match=r"events\.ndjson: event at position 2: version 2 .* is there twice"):
        sync(config_of(tmp_path, TOML + 'version = "v"\nposition = "v"\n'))
    config = config_of(tmp_path, TOML + 'version = "v"\n')
    file.write_text("".join(f'{{"id":"a","type":"t","v":{v}}}\n' for v in (0, 1, 2, 3)))
    sync(config)
    assert [row[3] for row in rows(config)] == [0, 1, 2, 3]
    (tmp_path / "events-2.ndjson").write_text('{"id":"b","type":"t","v":0}\n{"id":"a","type":"t","v":3}\n')
    with pytest.raises(
        SourceError, match=r"events-2\.ndjson:2: version 3 .* is not above the version 3 that the log has"
    ):
        sync(config)


def test_a_mapping_that_nothing_fits_is_mended_and_synced_again(tmp_path):
    (tmp_path / "events.ndjson").write_text("\n" + lines(0, 25))
    wrong = TOML.replace('"id"', '"idd"') + 'on_bad_line = "reject"\n'
    for _ in range(2):
        with pytest.raises(SourceError) as raised:
            sync(config_of(tmp_path, wrong))
        said = str(raised.value)
        assert "source s: no record fits its mapping, 25 were rejected; the first is " in said
        assert "events.ndjson:2: aggregate_id: there is no idd (did you mean id?); the record has id, type, n" in said
        assert len((tmp_path / "state" / "rejects" / "s.ndjson").read_text().splitlines()) == 25
    report = sync(config_of(tmp_path, TOML + 'on_bad_line = "reject"\n'))
    assert (report.events, report.sources[0].rejected, report.sources[0].rejected_before) == (25, 0, 0)
    # Once events are in the log the mapping stays, and a later sync may reject all that is new.
    with pytest.raises(SourceError, match="aggregate_id is idd, but the events in the log were read with id"):
        sync(config_of(tmp_path, wrong))
    (tmp_path / "events-2.ndjson").write_text("{bad\n")
    assert sync(config_of(tmp_path, TOML + 'on_bad_line = "reject"\n')).sources[0].rejected == 1


def test_a_mapping_may_change_as_long_as_no_event_is_in_the_log(tmp_path):
    (tmp_path / "events.csv").write_text("id,kind\na,t\n")
    csv = TOML.replace("events*.ndjson", "events.csv").replace('"ndjson"', '"csv"')
    for _ in range(2):
        with pytest.raises(SourceError, match="kind"):
            sync(config_of(tmp_path, csv.replace('"type"', '"kin"')))
    (tmp_path / "events.csv").write_text("id,kind\n,t\n")
    with pytest.raises(LineError, match="look at aggregate_id of"):
        sync(config_of(tmp_path, csv.replace('"type"', '"kind"')))
    assert sync(config_of(tmp_path, csv.replace('"type"', '"kind"').replace('"id"', '"kind"'))).events == 1


def test_a_changed_file_stops_the_sync_and_leaves_the_log(tmp_path):
    file, config = tmp_path / "events.ndjson", config_of(tmp_path)
    file.write_text(lines(0, 5))
    sync(config)
    file.write_text(lines(1, 9))
    with pytest.raises(SourceChanged, match=r"events\.ndjson changed behind its mark"):
        sync(config)
    assert names(config) == ids(0, 5)


PROJECTION = """
from runner import Event, Projection, on

class T(Event, type="t"):
    n: int

class Sums(Projection):
    total: int = 0

    @on(T)
    def add(self, e):
        self.total += e.n
"""


def test_the_columns_of_the_projections_are_filled(tmp_path):
    (tmp_path / "sums_of_sync.py").write_text(PROJECTION)
    text = TOML + '[project]\nmodules = ["sums_of_sync"]\n'
    config = config_of(tmp_path, text)
    file = tmp_path / "events.ndjson"
    file.write_text(lines(0, 25))
    assert sync(config).columns > 0
    from runner.config import load_definitions

    (sums,) = load_definitions(config)
    with Log.open(config.log.path) as log:
        assert log.missing_columns(sums.payload_columns(log.types)) == ()
    assert sync(config).columns == 0
    # A value that does not fit is told once the events are safe.
    file.write_text(lines(0, 25) + '{"id":"x","type":"t","n":"five"}\n')
    with pytest.raises(FieldValueError):
        sync(config)
    assert names(config) == [*ids(0, 25), "x"]


def test_a_module_that_cannot_be_imported_is_told_once_the_events_are_safe(tmp_path):
    (tmp_path / "broken_of_sync.py").write_text("import nothing_like_that\n")
    config = config_of(tmp_path, TOML + '[project]\nmodules = ["broken_of_sync"]\n')
    (tmp_path / "events.ndjson").write_text(lines(0, 5))
    with pytest.raises(DefinitionError, match=r"broken_of_sync\.py:1: module broken_of_sync cannot be imported"):
        sync(config)
    assert names(config) == ids(0, 5)


def test_a_state_directory_that_cannot_be_written(tmp_path):
    config = config_of(tmp_path, TOML + 'on_bad_line = "reject"\n')
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "rejects").write_text("in the way")
    (tmp_path / "events.ndjson").write_text("{\n" + lines(0, 1))
    with pytest.raises(SourceError, match="rejected lines cannot be kept in"):
        sync(config)
    (tmp_path / "state" / "rejects").unlink()
    assert sync(config).events == 1


# Crashes --------------------------------------------------------------------------------------------------------------


def crashed(config, step):
    died = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(config.file)],
        env={**os.environ, "RUNNER_CRASH_AT": step},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.parametrize("step", ["sync.1", "sync.2", "sync.3", "sync.1:2", "sync.2:3", "sync.3:2"])
def test_killed_at_any_step_and_run_again(tmp_path, step, monkeypatch):
    text = (
        TOML + 'on_bad_line = "reject"\n[sources.second]\nfiles = "second.ndjson"\naggregate_id = "id"\ntype = "type"\n'
    )
    content = "".join(lines(k, k + 1) + ("{bad\n" if k % 7 == 3 else "") for k in range(40))
    logs = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        config = config_of(folder, text)
        (folder / "events.ndjson").write_text(content * 1)
        (folder / "second.ndjson").write_text(lines(100, 105))
        if name == "killed":
            crashed(config, step)
        report = sync(config)
        with Log.open(config.log.path) as log:
            logs.append((log.digest, rows(config), [s.events for s in log.sources]))
        kept = (folder / "state" / "rejects" / "s.ndjson").read_text()
        assert [json.loads(r)["line"] for r in kept.splitlines()] == [
            n for n, line in enumerate(content.splitlines(), 1) if line == "{bad"
        ]
        assert sync(config).events == 0
        assert report.last_position == 45
    assert logs[0] == logs[1]


@given(cuts=st.lists(st.integers(0, 900), max_size=4), bad=st.sets(st.integers(0, 29), max_size=2))
@settings(max_examples=15, deadline=None)
def test_any_schedule_of_syncs_gives_the_same_log(tmp_path_factory, cuts, bad):
    folder = tmp_path_factory.mktemp("schedule")
    config = config_of(folder, TOML + 'on_bad_line = "reject"\n')
    whole = "".join(lines(k, k + 1) if k not in bad else "{\n" for k in range(30))
    for place in sorted({min(c, len(whole)) for c in cuts} | {len(whole)}):
        (folder / "events.ndjson").write_text(whole[:place])
        if set(whole[:place].split("\n")[:-1]) == {"{"}:
            with pytest.raises(SourceError, match="no record fits"):
                sync(config)
        else:
            sync(config)
    assert names(config) == [f"e{k}" for k in range(30) if k not in bad]
    assert [row[0] for row in rows(config)] == list(range(1, 31 - len(bad)))
