"""A Ray of three nodes that runs already, whose workers have none of the author's modules: jobs there, the death of a
worker and of a node, a log out of sight."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from job_project import history
from ray_cluster import ACCOUNTS, EVENTS, SEED, VAT

pytestmark = pytest.mark.ray

SCRIPT = Path(__file__).with_name("ray_cluster.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("cluster")
    script = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = script.communicate(timeout=600)
    finally:
        if script.poll() is None:
            family = psutil.Process(script.pid).children(recursive=True)
            for process in (script, *family):
                process.kill()
            script.wait()
    assert script.returncode == 0, err[-4000:]
    told: dict[str, Any] = json.loads(out)
    return told


def of(results: dict[str, Any], scenario: str) -> dict[str, Any]:
    told: dict[str, Any] = results[scenario]
    assert "failed" not in told, told["failed"]
    return told


def taxes() -> dict[str, int]:
    """The rows by a loop that knows nothing of the runner."""
    found: dict[str, int] = {}
    for event in history(SEED, EVENTS, accounts=ACCOUNTS):
        if event.type == "moved":
            found[event.aggregate] = found.get(event.aggregate, 0) + VAT * event.payload["amount"]
    return found


def check(results: dict[str, Any], told: dict[str, Any]) -> None:
    assert told["by_ray"]["rows"] == taxes()
    assert told["by_ray"] == of(results, "modules")["in_process"], "other bytes than in process"


def test_workers_get_the_modules_that_they_lack(results: dict[str, Any]) -> None:
    told = of(results, "modules")
    assert told["worker"] == {"folder": results["elsewhere"], "has": [], "loader": "runner.engine.modules"}
    assert told["report"] == ["ray", 2, EVENTS]
    check(results, told)


def test_a_rebuild_by_command_at_an_address(results: dict[str, Any]) -> None:
    told = of(results, "command")
    assert told["code"] == 0, told["stderr"]
    report = json.loads(told["stdout"])
    assert (report["engine"], report["events"]) == ("ray", EVENTS)
    check(results, told)


def test_a_task_whose_worker_died_is_done_again(results: dict[str, Any]) -> None:
    told = of(results, "death")
    assert told["died"]
    assert told["events"] == EVENTS
    check(results, told)


def test_workers_that_do_not_see_the_log_say_so_before_the_run_starts(results: dict[str, Any]) -> None:
    told = of(results, "unseen")
    assert f"no log at {told['log']}" in told["error"]
    assert "workers on " in told["error"]
    assert "--engine threads" in told["hint"]
    assert told["begun"] == 0, "tasks were handed out"
    assert told["same"], "what is live changed"


def test_a_node_is_killed_in_the_middle(results: dict[str, Any]) -> None:
    told = of(results, "node_death")
    assert told["waited"], "no task waited there for the node's end"
    assert told["nodes"] == 3
    assert told["events"] == EVENTS
    check(results, told)
