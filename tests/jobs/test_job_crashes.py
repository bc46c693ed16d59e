"""kill -9 at every numbered step of rebuild, update and rollback, then the same command again: bytes as without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.steps import STEPS

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent

FIRST = ["append", {"from": 0, "to": 160}]
SECOND = ["append", {"from": 160, "to": 240}]
REBUILD: list[Any] = ["rebuild", {"prove": 20}]
RESUME: list[Any] = ["rebuild", {"prove": 20, "resume": True}]
UPDATE: list[Any] = ["update", {}]
APART: list[Any] = ["update", {"together": 0}]
ROLLBACK: list[Any] = ["rollback", {"name": "accounts"}]

REBUILD_CRASHES = [*(f"rebuild.{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8)), "rebuild.2:3", "rebuild.3:3"]
FIRST_CRASHES = ["rebuild.2", "rebuild.3:3", "rebuild.6", "rebuild.7"]
"""Tried on a project without any read model too."""
UPDATE_CRASHES = [*(f"update.{n}" for n in (1, 2, 3, 4, 5)), "update.2:3"]
SETTLE_CRASHES = [f"settle.{n}" for n in (1, 2, 3, 4)]
"""An update that compacts what it and the one before wrote."""
ROLLBACK_CRASHES = [f"rollback.{n}" for n in (1, 2)]

SWITCH = {"rebuild": 7, "update": 4, "settle": 0, "rollback": 1}
"""From this step on the new rows are live."""


def walks() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"before": [FIRST], "crash": crash, "run": REBUILD, "again": RESUME, "name": f"first-{crash}"}
        for crash in ["", *FIRST_CRASHES]
    ]
    for crash in ["", *REBUILD_CRASHES]:
        before = [FIRST, REBUILD, SECOND]
        made.append({"before": before, "crash": crash, "run": REBUILD, "again": RESUME, "name": f"next-{crash}"})
    # Without --resume the same command begins anew, over what the dead run left.
    made.append(
        {"before": [FIRST], "crash": "rebuild.3:2", "run": REBUILD, "again": REBUILD, "name": "anew-rebuild.3:2"}
    )
    for crash in ["", *UPDATE_CRASHES]:
        before, run = [FIRST, REBUILD, SECOND], APART if ":" in crash else UPDATE
        made.append({"before": before, "crash": crash, "run": run, "again": run, "name": f"update-{crash}"})
    # The update was live already: what the dead run left goes with the next commit.
    for crash in ["", *SETTLE_CRASHES]:
        before = [["append", {"from": 0, "to": 80}], REBUILD, ["append", {"from": 80, "to": 160}], UPDATE, SECOND]
        made.append({"before": before, "crash": crash, "run": UPDATE, "again": REBUILD, "name": f"settle-{crash}"})
    for crash in ["", *ROLLBACK_CRASHES]:
        before = [FIRST, REBUILD, SECOND, REBUILD, REBUILD]
        again = ["rollback", {"name": "accounts", "to": 2}] if crash else UPDATE
        made.append({"before": before, "crash": crash, "run": ROLLBACK, "again": again, "name": f"rollback-{crash}"})
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    root = tmp_path_factory.mktemp("crashes")
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_walk.py"), str(root)],
        input=json.dumps(walks()),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [t["name"] for t in told] == [w["name"] for w in walks()], done.stderr[-4000:]
    return {t["name"]: {**t, "stderr": done.stderr[-3000:]} for t in told}


def bytes_of(live: dict[str, Any]) -> dict[str, Any]:
    """Digest, checkpoint and rows in the catalog by name, without the version's number."""
    return {name: [digest, position, count] for name, (digest, position, _, count) in live.items()}


def test_the_walks_go_through_every_step() -> None:
    wanted = {step for step in STEPS if step.startswith(("rebuild.", "update.", "settle.", "rollback."))}
    assert {w["crash"].partition(":")[0] for w in walks()} - {""} == wanted


@pytest.mark.parametrize(
    ("kind", "crash"), [*(("next", crash) for crash in REBUILD_CRASHES), *(("first", crash) for crash in FIRST_CRASHES)]
)
def test_a_rebuild_killed_and_resumed(results: dict[str, dict[str, Any]], kind: str, crash: str) -> None:
    check(results[f"{kind}-{crash}"], results[f"{kind}-"], "rebuild", crash)


@pytest.mark.parametrize("crash", UPDATE_CRASHES)
def test_an_update_killed_and_run_again(results: dict[str, dict[str, Any]], crash: str) -> None:
    check(results[f"update-{crash}"], results["update-"], "update", crash)


@pytest.mark.parametrize("crash", SETTLE_CRASHES)
def test_an_update_killed_while_it_compacts(results: dict[str, dict[str, Any]], crash: str) -> None:
    check(results[f"settle-{crash}"], results["settle-"], "settle", crash)


def test_a_rebuild_killed_and_begun_anew(results: dict[str, dict[str, Any]]) -> None:
    check(results["anew-rebuild.3:2"], results["first-"], "rebuild", "rebuild.3:2")


def test_an_update_gives_what_a_rebuild_gives(results: dict[str, dict[str, Any]]) -> None:
    assert bytes_of(results["update-"]["live_after"]) == bytes_of(results["next-"]["live_after"])


@pytest.mark.parametrize("crash", ROLLBACK_CRASHES)
def test_a_rollback_killed(results: dict[str, dict[str, Any]], crash: str) -> None:
    told = results[f"rollback-{crash}"]
    whole = results["rollback-"]
    assert told["crash"] == -9, told["stderr"]
    assert whole["live_before"]["accounts"][2] == 3
    assert whole["live_after_crash"]["accounts"][2] == 2, "the rollback without a crash"
    assert told["live_after_crash"] == whole["live_after_crash"]
    assert told["left"] == []


def check(told: dict[str, Any], whole: dict[str, Any], job: str, crash: str) -> None:
    assert set(told["before"]) <= {0}, told["stderr"]
    assert told["crash"] == -9, f"the run did not die at {crash}: {told['stderr']}"
    step = int(crash.partition(":")[0].rpartition(".")[2])
    if step < SWITCH[job]:
        assert told["live_after_crash"] == told["live_before"], "readers saw something of the dead run"
    else:
        assert bytes_of(told["live_after_crash"]) == bytes_of(whole["live_after"])
    assert told["again"] == 0, told["stderr"]
    assert bytes_of(told["live_after"]) == bytes_of(whole["live_after"])
    assert told["left"] == []
