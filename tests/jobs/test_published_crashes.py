"""kill -9 of a run at every step between files and tables in Postgres, then the same again: as without it, in both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fixtures_postgres import Servers

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent

FIRST = ["append", {"from": 0, "to": 160}]
SECOND = ["append", {"from": 160, "to": 240}]
REBUILD: list[Any] = ["rebuild", {"prove": 0}]
RESUME: list[Any] = ["rebuild", {"prove": 0, "resume": True}]
UPDATE: list[Any] = ["update", {}]
ROLLBACK: list[Any] = ["rollback", {"name": "accounts"}]

LOADING = ["load.1", "load.2", "load.2:6", "load.4", "load.5", "load.5:4"]
SWITCHING = ["publish.1", "switch.1", "switch.2", "switch.3", "switch.4"]
EMBEDDED = ["rebuild.6", "rebuild.7", "rebuild.8"]
REBUILD_CRASHES = [*LOADING, *SWITCHING, *EMBEDDED]
FIRST_CRASHES = ["load.2:3", "publish.1", "switch.4", "rebuild.6"]
"""Tried where nothing was live before, too."""
UPDATE_CRASHES = ["update.2", "publish.1", "apply.1", "apply.2", "apply.3", "update.3", "update.4", "update.5"]
ROLLBACK_CRASHES = ["switch.2", "switch.4", "rollback.1", "rollback.2"]
VISIBLE = {"switch.4", *EMBEDDED, "apply.3", "update.3", "update.4", "update.5", "rollback.1", "rollback.2"}
"""From these on users of the tables see the new rows."""


def walks() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def add(kind: str, before: list[Any], run: list[Any], crashes: list[str], *again: list[Any]) -> None:
        common = {"before": before, "run": run, "again": [*again]}
        made.extend({**common, "name": f"{kind}-{crash}", "crash": crash} for crash in ["", *crashes])

    add("first", [FIRST], REBUILD, FIRST_CRASHES, RESUME)
    add("next", [FIRST, REBUILD, SECOND], REBUILD, REBUILD_CRASHES, RESUME)
    add("anew", [FIRST, REBUILD, SECOND], REBUILD, ["load.2:5", "switch.4"], REBUILD)
    add("then", [FIRST, REBUILD, SECOND], REBUILD, ["load.2:5", "switch.4", "rebuild.6"], UPDATE)
    add("update", [FIRST, REBUILD, SECOND], UPDATE, UPDATE_CRASHES, UPDATE)
    # What comes next ends a rollback that died between its commits, before it does its own.
    add("rollback", [FIRST, REBUILD, SECOND, REBUILD], ROLLBACK, ROLLBACK_CRASHES, UPDATE)
    return made


@pytest.fixture(scope="module")
def results(servers: Servers, postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    name = f"walk_{os.getpid()}"
    postgres.psql(f"CREATE DATABASE {name}")
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "tables_walk.py"), str(tmp_path_factory.mktemp("tables"))],
            input=json.dumps(walks()),
            env={**os.environ, "RUNNER_WALK_URL": postgres.url_of(name)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    finally:
        postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")
    assert done.returncode == 0, done.stderr[-4000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [t["name"] for t in told] == [w["name"] for w in walks()], done.stderr[-4000:]
    return {t["name"]: {**t, "stderr": done.stderr[-6000:]} for t in told}


@pytest.mark.parametrize("walk", [w["name"] for w in walks() if not w["name"].endswith("-")])
def test_killed_and_run_again(results: dict[str, dict[str, Any]], walk: str) -> None:
    kind, _, crash = walk.partition("-")
    told, whole = results[walk], results[f"{kind}-"]
    step = crash.partition(":")[0]
    assert set(told["before"]) <= {0}, told["stderr"]
    assert whole["crash"] == 0, told["stderr"]
    assert told["crash"] == -9, f"the run did not die at {crash}: {told['stderr']}"
    tables = told["after_crash"]["tables"]
    if step in VISIBLE:
        assert tables == whole["after_crash"]["tables"]
    else:
        assert tables == told["seen_before"]["tables"], "users saw something of the dead run"
    assert set(told["again"]) <= {0}, told["stderr"]
    assert told["after"]["tables"] == told["after"]["embedded"], "the two say different things"
    if kind != "then" or step in VISIBLE:
        assert told["after"]["tables"] == whole["after"]["tables"]


def test_the_walks_are_what_they_should_be(results: dict[str, dict[str, Any]]) -> None:
    """Without a crash: a rebuild and an update give the same rows, a rollback the former ones."""
    after = {kind: results[f"{kind}-"]["after_crash"]["tables"] for kind in ("next", "update", "rollback")}
    assert after["next"] == after["update"]
    assert after["rollback"]["accounts"] == results["next-"]["seen_before"]["tables"]["accounts"]
    assert all(position == 240 for _, position in after["next"].values())
    # Former tables and loads that were given up do not gather.
    assert len(results["next-load.2"]["after"]["others"]) == len(results["next-"]["after_crash"]["others"])
