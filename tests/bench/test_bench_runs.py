"""The benchmarks run, compare and answer in the shape that is promised; their speed is not looked at here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


def run(script: str, *arguments: str, out: Path) -> Any:
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        env={**os.environ, "RUNNER_BENCH_OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_replay_compares_and_answers(tmp_path: Path) -> None:
    found = run(
        "replay.py", "--events", "50_000", "--rounds", "2", "--rivals", "runner,scan,duckdb_int", "--json", out=tmp_path
    )
    assert (found["workload"], found["events"], found["not_run"]) == ("uniform", 50_000, {})
    assert set(found["figures"]) == {"runner", "scan", "duckdb_int"}
    assert set(found["ratios"]) == {"scan", "duckdb_int"}
    speed = {name: of["events_per_second"] for name, of in found["figures"].items()}
    for name, ratio in found["ratios"].items():
        assert ratio == pytest.approx(speed["runner"] / speed[name], abs=0.001)
    for of in found["figures"].values():
        assert of["lowest"] <= of["events_per_second"] <= of["highest"]
        assert of["rounds"] == 2
        assert of["peak_rss_mb"] > 0


@pytest.mark.slow
def test_postgres_is_compared_and_answers(tmp_path: Path) -> None:
    options = ("--events", "20_000", "--rounds", "1", "--library-events", "2_000", "--json")
    found = run("postgres.py", *options, out=tmp_path)
    assert (found["events"], found["rows"], found["library_events"]) == (20_000, 10_000, 2_000)
    seconds = found["seconds"]
    for ratio, (over, under) in {
        "sync_time_over_copy": ("sync", "copy_to_nowhere"),
        "load_time_over_copy": ("load", "copy_in"),
        "job_over_cursor_loop": ("cursor_loop", "job"),
        "read_over_eventsourcing": ("library", "library_sync"),
    }.items():
        assert found["ratios"][ratio] == pytest.approx(seconds[over] / seconds[under], rel=0.1, abs=0.02)


@pytest.mark.slow
def test_the_lag_of_a_follower_is_measured(tmp_path: Path) -> None:
    options = ("--rate", "40", "--seconds", "2", "--writers", "2", "--json")
    for told in ((), ("--notify",)):
        found = run("follow.py", *options, *told, out=tmp_path)
        assert (found["events"], found["notified"]) == (80, bool(told))
        lag = found["lag_seconds"]
        assert 0 < lag["p50"] <= lag["p99"] <= lag["p100"]
        assert found["rounds"] > 0


@pytest.mark.slow
def test_a_rebuild_under_a_memory_limit(tmp_path: Path) -> None:
    found = run("large.py", "--events", "100_000", "--limit-mb", "2000", out=tmp_path)
    assert (found["events"], found["rows"]) == (100_000, 5_000)
    assert "equal" in found["proved"]


@pytest.mark.slow
def test_small_things_are_measured(tmp_path: Path) -> None:
    found = run("small.py", "1", out=tmp_path)
    assert set(found) == {"help_seconds", "rebuild_10k_command_seconds", "rebuild_10k_seconds"}
    assert all(value > 0 for value in found.values())


def test_a_missed_limit_is_named_and_ends_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import limits

    ratios = {
        "duckdb_int": 9.0,
        "polars_int": 7.0,
        "duckdb_str": 11.0,
        "polars_str": 20.0,
        "python": 200.0,
        "scan": 0.3,
    }
    kept = {"ratios": ratios, "help_seconds": 0.39, "rebuild_10k_seconds": 1.49}
    limits.end_checked(kept, 0.0)
    for key, value in {"polars_int": 6.9, "duckdb_str": 10.9, "python": 199.0}.items():
        bad = {**kept, "ratios": {**ratios, key: value}}
        assert [line.count(f"{key} is {value}") for line in limits.missed(bad)] == [1]
    for key, value in {"help_seconds": 0.4, "rebuild_10k_seconds": 1.5}.items():
        assert [line.count(f"{key} is {value}") for line in limits.missed({**kept, key: value})] == [1]
        assert limits.missed({key: value} | {k: v for k, v in kept.items() if k != key}, slack=0.2) == []
    with pytest.raises(SystemExit, match="1"):
        limits.end_checked({**kept, "help_seconds": 0.6}, 0.2)
    assert "help_seconds is 0.600, the limit is under 0.4 (0.48 with the slack)" in capsys.readouterr().err
