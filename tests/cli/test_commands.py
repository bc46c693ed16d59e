"""Whole commands on a small project, as a user gives them: from event files to rows and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from order_project import order

from runner.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    from order_project import Project


def test_from_files_to_rows(project: Project) -> None:
    assert "next: runner inspect" in project.run("init", "orders.ndjson")
    seen = project.json("inspect")
    assert seen["orders"]["types"] == {"order.placed": 20, "order.paid": 10}
    assert seen["orders"]["aggregates"]["count"] == 20

    synced = project.json("sync")
    assert (synced["events"], synced["last_position"]) == (30, 30)
    assert project.json("sync")["events"] == 0

    rebuilt = project.json("rebuild", "--all", "--engine", "threads", "--prove", "all")
    assert [p["name"] for p in rebuilt["projections"]] == ["summary"]
    assert rebuilt["projections"][0]["rows"] == 20
    assert rebuilt["projections"][0]["proved_aggregates"] == 20

    rows = project.json("query", "SELECT * FROM summary WHERE aggregate_id = 'order-3'")["rows"]
    assert rows == [
        {
            "aggregate_id": "order-3",
            "events": 2,
            "first_at": "2026-01-04T10:00:00+00:00",
            "last_at": "2026-01-10T10:00:00+00:00",
            "last_type": "order.paid",
            "amount_total": "3.75",
        }
    ]


def test_queries_see_the_log_too(built: Project) -> None:
    counted = built.json("query", "SELECT type, count(*) AS n FROM log.headers GROUP BY type ORDER BY n")
    assert counted["rows"] == [{"type": "order.paid", "n": 10}, {"type": "order.placed", "n": 20}]
    # The same stream twice in one query: each scan is a scan of its own.
    joined = built.json(
        "query",
        "SELECT count(*) AS n, sum((a.payload->>'amount')::DOUBLE) AS total FROM log.events a "
        "JOIN log.events b USING (aggregate_id) WHERE a.type = 'order.placed' AND b.type = 'order.paid'",
    )
    assert joined["rows"] == [{"n": 10, "total": 125.0}]
    checkpoints = built.json("query", "SELECT count(*) AS n FROM runner.checkpoints")
    assert checkpoints["rows"] == [{"n": 3}]
    assert "summary" in built.run("query", "SELEC 1", code=2) + built.err


def test_update_folds_what_came_and_rollback_goes_back(built: Project) -> None:
    built.append(order(2, 2, "order.paid", 12, amount=2.5), order(99, 1, "order.placed", 12, amount=9.0, customer="x"))
    assert built.json("sync")["events"] == 2
    lags = {m["name"]: m["lag"] for m in built.json("status")["read_models"]}
    assert lags == {"summary": 2, "aggregate_summary": 2, "event_counts": 2}

    updated = built.json("update", "--all", "--engine", "threads")
    assert (updated["events"], updated["nothing_new"]) == (2, False)
    changed = {p["name"]: p["rows"] for p in updated["projections"]}
    assert changed == {"summary": 2, "aggregate_summary": 2, "event_counts": 2}
    assert built.json("update", "--all")["nothing_new"]

    before = built.json("query", "SELECT * FROM summary ORDER BY ALL")
    rebuilt = built.json("rebuild", "summary", "--engine", "threads")
    assert rebuilt["projections"][0]["version"] == 2
    assert built.json("query", "SELECT * FROM summary ORDER BY ALL") == before

    back = built.json("rollback", "summary")
    assert (back["version"], back["former_version"]) == (1, 2)
    assert built.json("query", "SELECT * FROM summary ORDER BY ALL") == before


def test_status_tells_what_changed(built: Project) -> None:
    states = {m["name"]: m["projection"] for m in built.json("status")["read_models"]}
    assert set(states.values()) == {"same"}
    module = built.root / "events.py"
    module.write_text(module.read_text().replace("self.events += 1", "self.events += 2"))
    toml = built.root / "runner.toml"
    toml.write_text(toml.read_text().replace('"projections.generic"', '"projections.ledger"'))
    app_states = status_in_a_new_process(built)
    assert app_states["summary"] == "changed"
    assert app_states["event_counts"] == "gone"
    assert app_states["accounts"] == "not built"


def status_in_a_new_process(project: Project) -> dict[str, str]:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "runner", "status", "--json"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {m["name"]: m["projection"] for m in json.loads(done.stdout)["read_models"]}


def test_explain_shows_a_life(built: Project) -> None:
    shown = built.run("explain", "summary", "order-3")
    assert "order.placed" in shown
    assert "events: 1 -> 2" in shown
    steps = built.json("explain", "summary", "order-3")["steps"]
    assert [s["handler"] for s in steps] == ["counted", "when_order_placed", "counted"]
    last = built.json("explain", "summary", "order-3", "--last", "1")["steps"]
    assert last == steps[-1:]
    merged = built.json("explain", "event_counts", "order.paid", "2026-01-10")["steps"]
    assert len(merged) == 10
    assert built.json("explain", "summary", "nobody", code=1)["error"]["kind"] == "JobError"


def test_up_to_a_time(built: Project) -> None:
    report = built.json("rebuild", "summary", "--to", "2026-01-09T00:00:00Z", "--engine", "threads")
    assert report["cut"]["position"] == 1
    assert built.json("rebuild", "summary", "--to", "yesterday", code=2)["error"]["kind"] == "ConfigError"


def test_jobs_are_listed_and_shown(built: Project) -> None:
    jobs = built.json("jobs")["jobs"]
    assert [j["what"] for j in jobs] == ["rebuild", "sync"]
    assert built.json("jobs", "list", "--what", "sync")["jobs"] == jobs[1:]
    shown = built.json("jobs", "show", jobs[0]["id"])
    assert shown["state"] == "succeeded"
    assert len(shown["partitions"]) == 64
    assert "fold" in built.run("jobs", "show", jobs[0]["id"])
    assert built.json("jobs", "show", "nonsense", code=1)["error"]["kind"] == "JobError"


def test_compact_and_audit(built: Project) -> None:
    for n in range(3):
        built.append(order(200 + n, 1, "order.placed", 13, amount=1.0, customer="c"))
        built.run("sync")
    before = built.json("query", "SELECT * FROM log.events ORDER BY position")
    compacted = built.json("compact")
    assert compacted["segments"] < compacted["segments_before"]
    assert built.json("query", "SELECT * FROM log.events ORDER BY position") == before
    assert built.json("audit")["ok"]
    assert "the log is whole" in built.run("audit")
    segment = max((built.root / "log" / "segments").glob("*.raw"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(data)
    damaged = built.json("audit", code=6)["error"]
    assert damaged["kind"] == "AuditFailed"
    assert damaged["findings"]


def test_a_log_without_its_manifest_is_told_and_kept(built: Project) -> None:
    (built.root / "log" / "manifest.json").unlink()
    before = sorted((built.root / "log" / "segments").iterdir())
    built.run("sync", code=6)
    assert "manifest.json: missing" in built.err
    assert "copy the newest good file of manifests/" in built.err
    assert "manifest.json: missing" in built.run("status") + built.err
    built.run("query", "SELECT 1 AS one")
    assert "manifest.json: missing" in built.err
    assert sorted((built.root / "log" / "segments").iterdir()) == before


def test_a_damaged_fold_names_the_event(built: Project) -> None:
    built.append(order(3, 3, "order.placed", 14, amount="much", customer="c"))
    error = built.json("sync", code=7)["error"]
    assert "order-3" in error["message"]
    assert "much" in error["message"] or "amount" in error["message"]


def test_rebuild_needs_names_or_all(built: Project) -> None:
    assert "--all" in built.run("rebuild", code=2) + built.err
    assert built.json("rebuild", "sumary", code=2)["error"]["kind"] == "ConfigError"
    assert built.json("rebuild", "summary", "--all", code=2)["error"]["kind"] == "UsageError"


def test_metrics_are_written_at_the_end(built: Project) -> None:
    file = built.root / "runner.prom"
    built.run("rebuild", "summary", "--engine", "threads", "--metrics-file", str(file))
    text = file.read_text()
    assert 'projection="summary"' in text
    assert "runner_" in text


def test_init_asks_before_it_overwrites(built: Project) -> None:
    error = built.json("init", "orders.ndjson", code=2)["error"]
    assert error["hint"] == "--force overwrites"
    built.run("init", "orders.ndjson", "--force")
    assert built.json("init", "orders.ndjson", "--force", "--type", "data.amount")["mapping"]["type"] == "data.amount"


def test_plain_output_of_every_command_is_for_people(built: Project) -> None:
    for arguments in (
        ["status"],
        ["jobs"],
        ["inspect"],
        ["inspect", "--log"],
        ["prove", "--all"],
        ["compact"],
        ["sync"],
    ):
        out = built.run(*arguments)
        assert out.strip(), arguments
        assert not out.lstrip().startswith("{"), arguments


def test_demo_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = str(tmp_path / "demo")
    arguments = ["demo", "--events", "20_000", "--dir", directory, "--engine", "threads"]
    assert app.run([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["sync"]["events"] == 20_000
    assert [p["name"] for p in first["rebuild"]["projections"]] == ["accounts", "balances", "flows"]
    assert app.run(arguments) == 0
    captured = capsys.readouterr()
    assert "are kept" in captured.err
    assert "accounts:" in captured.out
    assert app.run(["demo", "--dir", str(tmp_path)]) == 2
    assert "not a demo's directory" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_demo_on_ray_gives_the_rows_of_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = []
    for engine in ("threads", "ray"):
        directory = tmp_path / engine
        assert app.run(["demo", "--events", "20_000", "--dir", str(directory), "--engine", engine, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rebuild"]["engine"] == engine
        config = ["--config", str(directory / "runner.toml"), "--json"]
        rows = []
        for name in ("accounts", "balances", "flows"):
            assert app.run(["query", f"SELECT * FROM {name} ORDER BY ALL", *config]) == 0
            rows.append(capsys.readouterr().out)
        digests.append(rows)
    assert digests[0] == digests[1]


def test_a_part_of_the_aggregates_never_looks_like_all(project: Project) -> None:
    project.run("init", "orders.ndjson")
    project.run("sync", "--aggregates", "1/2")
    line = "a part only: the log holds 1/2 of the aggregates of orders (sync --aggregates)"
    assert line in project.run("status")
    found = project.json("status")["log"]
    assert (found["part"], found["sources"][0]["aggregates"]) == (line, "1/2")
    assert line in project.run("inspect", "--log")
    assert project.json("inspect", "--log")["log"]["part"] == line
    assert line in project.run("rebuild", "--all", "--engine", "threads")
    project.run("sync", "--plan", "--aggregates", "1/2")
    project.run("sync", "--plan", code=2)
    assert "the log holds 1/2 of the aggregates of source orders, and all of them are asked for" in project.err


def test_a_whole_log_says_so_and_an_empty_one_too(built: Project) -> None:
    found = built.json("status")["log"]
    assert (found["part"], found["sources"][0]["aggregates"]) == ("", "all")
    assert "a part only" not in built.run("status") + built.run("inspect", "--log")


def test_a_rebuild_of_an_empty_log_says_that_it_is_empty(project: Project) -> None:
    project.run("init", "orders.ndjson")
    (project.root / "orders.ndjson").write_text("")
    project.run("sync")
    told = project.run("rebuild", "--all", "--engine", "threads")
    assert "0 events up to position 0, the log is empty: `runner sync` fills it" in told
    assert "all folded before" not in told
