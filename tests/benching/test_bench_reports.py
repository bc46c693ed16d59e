"""The report of a bench: the command on a small log, its JSON and page, comparisons, what is refused, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.cli import app
from runner.jobs.benching import measuring
from runner.jobs.benching.cache import Extents, emptied
from runner.jobs.benching.comparing import compared, read_earlier
from runner.jobs.benching.course import Cost, chosen, worker_counts
from runner.jobs.benching.report import Figure, Spread, StageShare, spread
from runner.jobs.benching.verdict import Measured, bottleneck

if TYPE_CHECKING:
    from runner.jobs.benching.report import BenchReport

EVENTS = 6_000
MODULE = """
from runner import Event, Projection, on

class Moved(Event, type="moved"):
    amount: int

class Balances(Projection):
    balance: int = 0

    @on(Moved)
    def moved(self, e):
        self.balance += e.amount

class PerType(Projection, key=("type",)):
    count: int = 0

    @on(Event)
    def counted(self, e):
        self.count += 1

    def merge(self, other):
        self.count += other.count
"""
CONFIG = """
[project]
modules = ["bench_events"]
[log]
path = "log"
partitions = 4
[sources.moves]
files = ["moves.ndjson"]
aggregate_id = "id"
type = "type"
payload = "data"
[sources.gone]
files = ["nowhere.ndjson"]
aggregate_id = "id"
type = "type"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    (root / "bench_events.py").write_text(MODULE)
    (root / "runner.toml").write_text(CONFIG)
    with (root / "moves.ndjson").open("w") as file:
        for n in range(EVENTS):
            file.write(json.dumps({"id": f"a-{n * 7 % 500}", "type": "moved", "data": {"amount": n}}) + "\n")
    assert app.run(["sync", "moves", "--config", str(root / "runner.toml")]) == 0
    return root


def bench(project: Path, *more: str) -> int:
    options = ["--engine", "threads", "--workers", "2", "--seconds", "3", "--runs", "3"]
    return app.run(["bench", *options, *more, "--config", str(project / "runner.toml")])


def digest_of(project: Path) -> dict[str, str]:
    files = [p for p in sorted(project.rglob("*")) if p.is_file() and "state" not in p.parts and "cache" not in str(p)]
    return {str(p.relative_to(project)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def report(project: Path) -> dict[str, Any]:
    """The JSON of one bench, which has left everything as it was."""
    before = digest_of(project)
    file = project.parent / f"{project.name}.json"
    with file.open("w") as out, redirect_stdout(out):
        assert bench(project, "--json", "--html", str(file.with_suffix(".html")), "--times", "10") == 0
    assert digest_of(project) == before
    assert not list(project.rglob(".bench-*"))
    return {**json.loads(file.read_text()), "file": str(file)}


def test_all_of_it_is_measured(report: dict[str, Any]) -> None:
    assert report["schema"] == 1
    assert report["sample"]["events"] == report["sample"]["log_events"] == EVENTS
    assert report["workers"] == 2
    warm = {(p["events"], p["workers"]) for p in report["points"] if p["cache"] == "warm"}
    assert warm >= {(EVENTS, 2), (EVENTS, 1), (EVENTS // 2, 2), (EVENTS // 4, 2), (EVENTS // 8, 2)}
    assert report["cold"] or any(p["cache"] == "cold" for p in report["points"])
    assert all(p["seconds"]["runs"] == 3 for p in report["points"])
    assert {s["stage"] for s in report["stages"]} == {"scan", "fold", "write", "merge"}
    assert sum(s["share"] for s in report["stages"]) == pytest.approx(1.0)
    assert sum(report["skew"]["events"]) == EVENTS
    assert report["octets"]["header"] > 0
    assert report["octets"]["columns"] > 0
    assert report["memory"]["peak"] >= report["memory"]["base"] > 0
    moves, gone = report["sources"]
    assert (moves["source"], moves["skipped"], moves["events"]) == ("moves", "", EVENTS)
    assert moves["sync"]["median"] > 0
    assert gone["skipped"]
    largest = next(p for p in report["points"] if (p["events"], p["workers"], p["cache"]) == (EVENTS, 2, "warm"))
    assert largest["rows"] == 501
    whole, times, both = report["estimates"]
    assert (whole["events"], whole["workers"], whole["measured"]) == (EVENTS, 2, largest["seconds"]["median"])
    assert (times["events"], times["workers"], both["workers"]) == (10 * EVENTS, 2, 20)
    assert all(e["low"] <= e["seconds"] <= e["high"] for e in report["estimates"])
    assert report["held_out"] is not None
    assert report["bottleneck"].endswith(".")


def test_the_shape_of_the_json_is_stable(report: dict[str, Any]) -> None:
    """Who changes these raises SCHEMA."""
    assert set(report) - {"file"} == {
        "bottleneck", "cold", "comparison", "engine", "error", "estimates", "figures", "fingerprints", "formula",
        "held_out", "job_id", "log_id", "machine", "measured_at", "memory", "model", "notes", "octets", "points",
        "projections", "sample", "schema", "seconds", "skew", "sources", "stages", "why", "workers",
    }  # fmt: skip
    assert set(report["points"][0]) == {
        "cache", "cut_seconds", "events", "position", "rate", "rows", "seconds", "size", "stages", "workers",
    }  # fmt: skip
    assert set(report["figures"][0]) == {"better", "name", "slack", "unit", "value"}
    assert set(report["figures"][0]["value"]) == {"high", "least", "low", "median", "most", "runs"}
    assert [f["name"] for f in report["figures"] if "cold" not in f["name"]] == [
        "rebuild, 2 workers, warm", "rebuild, 1 worker, warm", "fold of a worker", "write of a worker",
        "sync of moves", "columns of moves", "memory of a worker", "read for an event",
    ]  # fmt: skip


def test_the_page_needs_nothing_else(report: dict[str, Any]) -> None:
    page = Path(report["file"]).with_suffix(".html").read_text()
    assert not re.search(r"(?i)https?:|//[a-z]|<script|<link|@import|url\(|src=", page)
    assert page.count("<svg") == page.count("</svg>") == 4
    for words in ("Stages", "events, millions", "seconds", "Estimates", "workers", "events, thousands"):
        assert words in page
    assert "NaN" not in page
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page).split()


def test_text_and_a_comparison(project: Path, report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    # Against a report that was a thousand times as fast, all timings are worse.
    earlier = {k: v for k, v in report.items() if k != "file"}
    for figure in earlier["figures"]:
        if figure["unit"] == "events/s":
            figure["value"] = {k: v if k == "runs" else v * 1000 for k, v in figure["value"].items()}
    file = project.parent / "faster.json"
    file.write_text(json.dumps(earlier))
    assert bench(project, "--no-sync", "--no-cold", "--compare", str(file)) == 12
    out = capsys.readouterr().out
    assert "figures are worse" in out
    assert "not measured now: sync of moves" in out
    assert "model: t = start" in out
    assert f"all {EVENTS:,} events of the log" in out


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("not json", 2, "is not JSON"),
        ("{}", 2, "is not a report of runner bench"),
        ('{"schema": 99, "figures": []}', 2, "has schema 99"),
        ('{"schema": 1, "figures": []}', 2, "is not whole"),
    ],
)
def test_what_is_no_report_is_refused(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, code: int, said: str
) -> None:
    (tmp_path / "old.json").write_text(change)
    assert bench(project, "--compare", str(tmp_path / "old.json")) == code
    assert said in capsys.readouterr().err


def test_refusals_before_anything_is_measured(
    project: Path, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(project, "--compare", report["file"], "--runs", "2") == 2
    assert "nothing is known of their spread" in capsys.readouterr().err
    assert bench(project, "balances", "--compare", report["file"]) == 2
    assert "measured balances, per_type, this run balances" in capsys.readouterr().err
    assert bench(project, "--html", str(tmp_path / "no" / "page.html")) == 2
    capsys.readouterr()
    (tmp_path / "bench_events.py").write_text(MODULE)
    (tmp_path / "runner.toml").write_text(CONFIG)
    assert bench(tmp_path) == 6
    assert "no log at" in capsys.readouterr().err


def test_ctrl_c_tells_what_was_measured_and_leaves_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, told = digest_of(project), []
    real = measuring.Measured

    def pressed(*arguments: Any) -> Any:
        told.append(arguments)
        if len(told) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(measuring, "Measured", pressed)
    assert bench(project, "--no-sync", "--no-cold") == 130
    out = capsys.readouterr().out
    assert out.startswith("measured so far, medians:")
    assert len(out.splitlines()) in (2, 3)
    assert digest_of(project) == before
    assert not list(project.rglob(".bench-*"))


# Parts -------------------------------------------------------------------------------------------------------------


def figure(median: float, width: float, better: Any = "higher", slack: float = 0.0) -> Figure:
    value = Spread(median, median - width, median + width, median - width, median + width, 5)
    return Figure("x", "events/s", better, value, slack)


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        (figure(100, 2), figure(85, 2), "worse"),
        (figure(100, 2), figure(95, 2), "same"),  # within the threshold
        (figure(100, 9), figure(85, 9), "same"),  # within the spread
        (figure(100, 2), figure(120, 2), "better"),
        (figure(100, 2, "lower"), figure(120, 2, "lower"), "worse"),
        (figure(100, 2, "lower"), figure(80, 2, "lower"), "better"),
        (figure(100, 2, "lower", 30), figure(120, 2, "lower", 30), "same"),  # too little to count
    ],
)
def test_worse_is_beyond_threshold_and_spread(
    report: dict[str, Any], tmp_path: Path, then: Figure, now: Figure, verdict: str
) -> None:
    earlier = replace(read_earlier(Path(report["file"])), figures=(then,))

    class Now:
        figures = (now,)
        machine = type("M", (), {"processor": earlier.machine["processor"], "cores": earlier.machine["cores"]})
        engine, projections, fingerprints = earlier.engine, earlier.projections, earlier.fingerprints
        sample = type("S", (), {"events": earlier.events})

    found: BenchReport | Any = Now
    comparison = compared(earlier, found, 0.1)
    assert [c.verdict for c in comparison.figures] == [verdict]
    assert comparison.notes == ()


def test_a_course_fits_into_its_time() -> None:
    events = [1_000_000] * 64
    small = chosen(events, 2, cost=Cost(1e-3, 1e-10), seconds=60, runs=5)
    assert (len(small.partitions), small.sizes) == (64, (0.125, 0.25, 0.5, 1.0))
    large = chosen(events, 2, cost=Cost(1e-3, 1e-6), seconds=60, runs=5)
    assert len(large.partitions) == 8  # four for each worker
    assert large.sizes[-1] < 1
    between = chosen(events, 2, cost=Cost(1e-3, 1e-7), seconds=60, runs=5)
    assert 8 <= len(between.partitions) < 64
    spent = sum(size * len(between.partitions) * 1e6 * 1e-7 / w for size, w in between.folds) * 5
    assert 10 < spent < 60
    assert [worker_counts(n) for n in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]


def test_the_sentence_names_what_limits() -> None:
    stages = [StageShare(n, 10, spread([1.0]), spread([2e6]), s) for n, s in (("fold", 0.3), ("write", 0.7))]
    found = Measured(stages, seconds=1.0, start=0.1, workers=2, busy=2.0, largest=0.02, alone=1.9)
    assert bottleneck(found) == "Writing the rows takes 70% of the workers' time: 2.00 M events/s a worker."
    assert bottleneck(replace(found, start=0.6)).startswith("The start limits a log of this size: 60%")
    assert "one has 80% of the events, so 1.2 of 2" in bottleneck(replace(found, busy=1.25, largest=0.8))
    assert bottleneck(replace(found, alone=1.1)).startswith("More workers are no help: 2 are 1.10 times")
    assert bottleneck(replace(found, alone=1.1, at_best=1.5)).startswith("Writing the rows")


def test_pages_leave_the_cache_or_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "pages"
    file.write_bytes(bytes(1 << 20))
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    extents = Extents(((str(file), ((4096, 900_000),)),))
    assert extents.octets == 900_000
    left = emptied(extents)
    assert 0.0 <= left <= 1.0
    file.read_bytes()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert len(mapped[:]) == 1 << 20  # pages that somebody has mapped stay
        assert emptied(extents) > 0.9
