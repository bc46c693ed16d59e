"""Wrong or unlucky command lines: one clear line, the right code, and nothing that was done looks undone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from order_project import order

from runner.cli import app

if TYPE_CHECKING:
    from order_project import Project


def test_metrics_that_cannot_be_pushed_leave_the_result(built: Project) -> None:
    report = built.json("rebuild", "summary", "--engine", "threads", "--pushgateway", "http://127.0.0.1:9")
    assert report["projections"][0]["version"] == 2
    assert "warning: metrics cannot be pushed" in built.err


def test_metrics_that_cannot_be_pushed_hide_no_failure(built: Project) -> None:
    error = built.json("rebuild", "summary", "--to", "nowhere", "--pushgateway", "http://127.0.0.1:9", code=2)["error"]
    assert "nowhere" in error["message"]


def test_a_metrics_file_that_cannot_be_is_told_before_the_run(built: Project) -> None:
    for file in (built.root, built.root / "none" / "runner.prom", built.root / "orders.ndjson" / "runner.prom"):
        error = built.json("rebuild", "summary", "--metrics-file", str(file), code=2)["error"]
        assert str(file) in error["message"]
    assert [j["what"] for j in built.json("jobs")["jobs"]] == ["rebuild", "sync"]


@pytest.mark.parametrize("place", ["0", "2020-01-01T00:00:00Z", "orders:-1"])
def test_a_place_before_the_first_event_is_refused(built: Project, place: str) -> None:
    for command in (["rebuild", "summary"], ["update", "--all"], ["explain", "summary", "order-3"]):
        error = built.json(*command, "--to", place, code=2)["error"]
        assert "nothing of the log lies up to it" in error["message"]
        assert error["hint"] == "the log has positions 1 to 30"


@pytest.mark.parametrize(
    ("place", "beyond"),
    [
        ("31", True),
        ("30", False),
        ("2026-02-01T00:00:00Z", True),
        ("2026-01-10T10:00:00Z", False),
        ("orders:1000", True),
        ("orders:30", False),
        ("5", False),
    ],
)
def test_a_place_beyond_the_log_is_told(built: Project, place: str, beyond: bool) -> None:
    built.run("explain", "summary", "order-3", "--to", place)
    assert ("is beyond the log, which ends at position 30" in built.err) == beyond


def test_rollback_names_the_versions_that_it_could_take(built: Project) -> None:
    built.run("rebuild", "summary", "--engine", "threads")
    assert built.json("rollback", "summary", "--version", "1")["version"] == 1
    error = built.json("rollback", "summary", code=8)["error"]
    assert error["message"] == "read model 'summary' has no earlier version to roll back to (kept: 2)"
    assert "--version N` takes one of 2" in error["hint"]
    assert built.json("rollback", "summary", "--version", "2")["version"] == 2


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "no statement"),
        (" ; ", "no statement"),
        ("/* only a comment */", "no statement"),
        ("SELECT 1; SELECT 2", "2 statements, and one is taken"),
        ("CREATE TABLE t (a INT)", "CREATE is not taken"),
        ("DROP VIEW summary", "DROP is not taken"),
        ("INSERT INTO summary SELECT 1", "INSERT is not taken"),
    ],
)
def test_query_takes_one_statement_that_reads(built: Project, sql: str, message: str) -> None:
    assert message in built.json("query", sql, code=2)["error"]["message"]


def test_query_reads_pivots_and_copies_to_files(built: Project) -> None:
    assert built.json("query", "DESCRIBE summary;")["rows"]
    pivoted = built.json("query", "PIVOT (SELECT type FROM log.headers) ON type USING count(*)")["rows"]
    assert pivoted == [{"order.paid": 10, "order.placed": 20}]
    file = built.root / "out.csv"
    built.run("query", f"COPY (SELECT aggregate_id FROM summary) TO '{file}'")
    assert len(file.read_text().splitlines()) == 21


def test_a_query_shows_as_many_rows_as_asked(built: Project) -> None:
    assert built.run("query", "SELECT position FROM log.headers ORDER BY 1", "--limit", "3").split()[-1] == "3"
    assert "position" in built.run("query", "SELECT position FROM log.headers", "--limit", "0")
    built.run("query", "SELECT 1", "--limit", "-1", code=2)


def test_a_query_as_json_keeps_columns_of_one_name_and_numbers_that_json_has_not(built: Project) -> None:
    sql = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 'NaN'::DOUBLE AS n, '-inf'::DOUBLE AS i, 0.5::DOUBLE AS x"
    assert built.json("query", sql)["rows"] == [{"a": 1, "a_2": 2, "a_1": 3, "n": "NaN", "i": "-Infinity", "x": 0.5}]


@pytest.mark.parametrize("target", ["log/manifest.json", "read_models/x.parquet", "elsewhere/../log/x"])
def test_a_query_writes_nothing_into_the_directories_of_the_runner(built: Project, target: str) -> None:
    sql = f"copy (select 'TO ''x''' as a) to '{built.root / target}' (FORMAT csv)"
    assert "only the runner writes" in built.json("query", sql, code=2)["error"]["message"]
    assert built.json("query", "SELECT count(*) AS n FROM log.headers")["rows"] == [{"n": 30}]


def test_status_knows_nothing_of_projections_that_cannot_be_loaded(built: Project) -> None:
    config = built.root / "runner.toml"
    config.write_text(re.sub(r"modules = .*", 'modules = ["no_such_module"]', config.read_text()))
    found = built.json("status")["read_models"]
    assert {model["projection"] for model in found} == {"unknown"}


def test_a_config_reached_by_another_way_is_the_same_one(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (built.root / "sub").mkdir()
    monkeypatch.chdir(built.root / "sub")
    assert app.run(["sync", "--config", "../runner.toml"]) == 0
    built.capture.readouterr()
    assert built.json("query", "SELECT count(*) AS n FROM log.headers")["rows"][0]["n"] == 30


def test_a_query_of_rows_that_are_gone_names_the_read_model(built: Project) -> None:
    for file in (built.root / "read_models" / "summary").rglob("*.parquet"):
        file.unlink()
    error = built.json("query", "SELECT count(events) FROM summary", code=8)["error"]
    assert "'summary'" in error["message"]
    assert error["hint"] == "`runner rebuild summary`"


def test_explain_tells_wrong_keys_from_unknown_ones(built: Project) -> None:
    assert built.json("explain", "summary", "order-3", "more", code=2)["error"]["kind"] == "ConfigError"
    error = built.json("explain", "event_counts", "order.paid", code=2)["error"]
    assert error["message"].endswith("and 1 part was given")
    assert built.json("explain", "summary", "nobody", code=1)["error"]["kind"] == "JobError"
    assert built.json("explain", "event_counts", "order.paid", "2020-01-01", code=1)["error"]["kind"] == "JobError"


def test_update_without_names_takes_the_live_ones_and_refuses_a_changed_one_at_the_end(built: Project) -> None:
    module = built.root / "events.py"
    built.append(order(2, 2, "order.paid", 12, amount=2.5))
    built.run("sync")
    module.write_text(module.read_text().replace("self.events += 1", "self.events += 2"))
    toml = built.root / "runner.toml"
    toml.write_text(toml.read_text().replace('"projections.generic"', '"projections.generic", "projections.ledger"'))
    done = subprocess.run(
        [sys.executable, "-m", "runner", "update", "--json", "--engine", "threads"],
        cwd=built.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 8, done.stderr
    report = json.loads(done.stdout)
    assert report["refused"] == ["summary"]
    assert {p["name"] for p in report["projections"]} == {"aggregate_summary", "event_counts"}
    assert "`runner rebuild summary`" in done.stderr
    lags = {m["name"]: m["lag"] for m in built.json("status")["read_models"]}
    assert (lags["summary"], lags["event_counts"], lags["aggregate_summary"]) == (1, 0, 0)


def test_inspect_guesses_the_types_that_init_wrote(project: Project) -> None:
    project.run("init", "orders.ndjson")
    written = (project.root / "events.py").read_text()
    fields = {f["path"]: f["type"] for f in project.json("inspect")["orders"]["fields"]["order.placed"]}
    assert fields["amount"] == "Decimal"
    assert "amount: Decimal" in written
    (project.root / "sales.csv").write_text("id,kind,pieces\na,sold,3\nb,sold,4\na,sold,5\n")
    project.run("init", "sales.csv", "--force", "--aggregate-id", "id", "--type", "kind")
    fields = {f["path"]: f["type"] for f in project.json("inspect")["sales"]["fields"]["sold"]}
    assert fields["pieces"] == "int"
    assert "pieces: int" in (project.root / "events.py").read_text()


def test_nothing_to_resume_is_told(built: Project) -> None:
    report = built.json("rebuild", "summary", "--resume")
    assert report["nothing_to_resume"]
    assert "note: nothing to resume" in built.err
