"""The suite: all parts run and give what the rows are judged by; results are merged; smaller forms never count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import expected
import pytest
import results
import suite
from expected import ROWS, judged

BENCH = Path(suite.__file__).parent
ELSEWHERE = {"small", "postgres", "follow"}
"""Parts that are scripts with tests of their own."""


def speeds(**figures: float) -> dict[str, Any]:
    return {
        "figures": {
            name.replace("__", "/"): {
                "events_per_second": value,
                "seconds": 1e9 / value,
                "rounds": 9,
                "events": 20_000_000,
                "peak_rss_mb": 100,
            }
            for name, value in figures.items()
        },
        "not_run": {},
    }


def seconds(**figures: float) -> dict[str, Any]:
    return {"figures": {name: {"seconds": value} for name, value in figures.items()}}


def good() -> dict[str, dict[str, Any]]:
    """Results that just reach every row."""
    memory = {"worker_mb": [355.0, 300.0], "states_mb": 100.0, "threads_process_mb": 712.0}
    return {
        "columnar": speeds(runner=180e6, scan=400e6, duckdb_int=18e6, polars_int=9e6, duckdb_str=10e6, polars_str=4e6),
        "core": speeds(runner_core=75e6, c_runs=100e6, c_switch=90e6, c_position=57e6),
        "in_python": speeds(runner=180e6, python=5e5, bytewax=2e5, bytewax_final=5e5, ray_data=6e5, eventsourcing=4e4),
        "ten": speeds(runner__uniform=180e6, runner__ten=40e6),
        "skew": speeds(runner__uniform=100e6, runner__zipf=90e6, runner__giant=70e6),
        "engines": seconds(threads_1=18.5, threads_2=10.0, ray_1=21.0, ray_2=11.0),
        "ten_times": {"sizes": [10, 100, 300], **seconds(**{"10": 1.0, "100": 10.5, "300": 31.5})},
        "update": seconds(update=0.5, rebuild=10.0),
        "memory": {"sizes": [10, 300], "figures": {"10": memory, "300": memory}},
    }


def test_every_row_is_judged_by_what_was_measured() -> None:
    assert [row["reached"] for row in judged(good())] == [True] * len(ROWS)
    assert all(row["why_not"] == "" and row["measured"] for row in judged(good()))
    worse = [
        ("columnar", "polars_int", 20e6),
        ("columnar", "duckdb_str", 11e6),
        ("core", "c_switch", 110e6),
        ("core", "c_position", 60e6),
        ("in_python", "bytewax_final", 7e5),
        ("in_python", "ray_data", 7e5),
        ("ten", "runner/ten", 38e6),
        ("skew", "runner/giant", 69e6),
        ("skew", "runner/zipf", 69e6),
    ]
    for part, name, speed in worse:
        parts = good()
        parts[part]["figures"][name] = {"events_per_second": speed, "seconds": 1e9 / speed}
        assert [row["part"] for row in judged(parts) if not row["reached"]] == [part], (part, name)
    slower = [("engines", "threads_2", 10.2), ("ten_times", "100", 10.6), ("ten_times", "300", 31.6)]
    for part, name, spent in [*slower, ("update", "update", 0.51), ("engines", "ray_2", 11.51)]:
        parts = good()
        parts[part]["figures"][name] = {"seconds": spent}
        missed = [row for row in judged(parts) if not row["reached"]]
        assert {row["part"] for row in missed} == {part}, (part, name)
        assert all(row["why_not"] for row in missed)
    for key, value in {"worker_mb": [357.0, 300.0], "threads_process_mb": 713.0}.items():
        parts = good()
        parts["memory"]["figures"]["300"] = {**parts["memory"]["figures"]["300"], key: value}
        assert [row["part"] for row in judged(parts) if not row["reached"]] == ["memory"]


def test_what_was_not_measured_is_not_reached_and_says_why() -> None:
    assert all(not row["reached"] and "not measured" in row["why_not"] for row in judged({}))
    parts = good()
    del parts["in_python"]["figures"]["bytewax"]
    parts["in_python"]["not_run"] = {"bytewax": "bytewax not installed"}
    row = judged(parts)[2]
    assert (row["reached"], row["measured"]) == (False, None)
    assert "bytewax not installed" in row["why_not"]


def part(result: dict[str, Any], at: str = "2026-01-01") -> dict[str, Any]:
    return {
        "at": at,
        "commit": "abc",
        "load_average": {"start": 0.1, "end": 2.0},
        "took_seconds": 1.0,
        "result": result,
    }


def test_parts_are_merged_into_what_was_measured_before(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    of = good()
    results.write(path, results.merged(path, "full", 1, {name: part(of[name]) for name in ("columnar", "core")}))
    other = {"core": part(speeds(runner_core=1.0, c_runs=2.0, c_switch=2.0, c_position=2.0), at="2026-01-02")}
    document = results.merged(path, "full", 1, other)
    assert list(document["parts"]) == ["columnar", "core"]
    assert document["parts"]["columnar"] == part(of["columnar"])
    assert [row["reached"] for row in document["expected"]] == [True] + [False] * 9
    assert document["measured"] == {"from": "2026-01-01", "to": "2026-01-02"}
    for form, seed in (("quick", 1), ("full", 2)):
        assert list(results.merged(path, form, seed, other)["parts"]) == ["core"]


def test_smaller_forms_are_never_the_result_of_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert results.path_of("full") == results.LATEST
    assert not {results.path_of(form) for form in suite.FORMS if form != "full"} & {results.LATEST}
    monkeypatch.setattr(sys, "argv", ["suite.py", "--quick", "--readme"])
    with pytest.raises(SystemExit, match="full form only"):
        suite.main()


def test_the_readme_has_table_and_chart_between_its_markers(tmp_path: Path) -> None:
    document = results.merged(tmp_path / "none", "full", 1, {name: part(of) for name, of in good().items()})
    readme, svg = tmp_path / "README.md", tmp_path / "chart.svg"
    readme.write_text(f"before\n{results.BEGIN}former\n{results.END}\nafter\n")
    for _ in range(2):
        results.write_readme(document, readme, svg)
    text = readme.read_text()
    assert text.startswith(f"before\n{results.BEGIN}")
    assert text.endswith(f"{results.END}\nafter\n")
    assert "former" not in text
    assert "| DuckDB, integer ids | 18 | 10 times | 100 |" in text
    assert "| update of 1 % new events that touch 1 % of the rows, against a rebuild | at most 0.05" in text
    assert "seed 1" in text
    drawn = ET.fromstring(svg.read_text())
    bars = [float(bar.attrib["width"]) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 11
    assert bars == sorted(bars, reverse=True)
    assert svg.stat().st_size < 10_000
    readme.write_text("no markers")
    with pytest.raises(SystemExit, match="no markers"):
        results.write_readme(document, readme, svg)


def test_the_projects_own_readme_has_the_markers() -> None:
    text = (BENCH.parent / "README.md").read_text()
    assert text.count(results.BEGIN) == text.count(results.END) == 1
    assert {row.part for row in expected.ROWS} <= set(suite.PARTS)


@pytest.mark.ray
@pytest.mark.slow
def test_smoke_of_the_whole_suite(tmp_path: Path) -> None:
    before = results.LATEST.read_bytes() if results.LATEST.exists() else None
    done = subprocess.run(
        [sys.executable, str(BENCH / "suite.py"), "--smoke", "--json", *(f"--without={name}" for name in ELSEWHERE)],
        env={**os.environ, "RUNNER_BENCH_OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "smoke.json").read_text()) == document
    assert (results.LATEST.read_bytes() if results.LATEST.exists() else None) == before
    assert document["form"] == "smoke"
    assert set(document["parts"]) == set(suite.PARTS) - ELSEWHERE
    not_here = {name for of in document["parts"].values() for name in of["result"].get("not_run", {})}
    for row in document["expected"]:
        assert row["measured"] or any(name in row["why_not"] for name in not_here), row
    updated = document["parts"]["update"]["result"]
    assert updated["new_events"] == updated["events"] // 100
    assert 0 < updated["touched_rows"] <= updated["events"] // 20 // 100
    for of in document["parts"]["memory"]["result"]["figures"].values():
        assert len(of["worker_mb"]) == 2
        assert min(of["worker_mb"]) > 20
    assert list((tmp_path / "projects").iterdir()) == []
