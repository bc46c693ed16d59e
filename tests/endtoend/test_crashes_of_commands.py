"""kill -9 of each command at every numbered step of ``runner/steps.py``, then the same command again: the same bytes.

Log, read models and jobs have crash tests of their own parts; here it is the whole command line, in the order in which
a user gives the commands, and the rows at the end are those of a plain loop over the events.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from shop import FIRST, Shop, expected, history

from runner.steps import STEPS

pytestmark = pytest.mark.slow

MORE = 140
WALKERS = 2
HERE = Path(__file__).parent
COMMANDS = {
    "sync": ("appended", ["sync"]),
    "columns": ("appended", ["sync"]),
    "compact": ("synced", ["compact"]),
    "rebuild": ("synced", ["rebuild", "--all"]),
    "update": ("synced", ["update", "--all"]),
    "settle": ("synced", ["update", "--all"]),
    "rollback": ("rebuilt", ["rollback", "baskets", "--to", "1"]),
}
"""By the first part of a step: the project in which the command is given, and the command."""
ELSEWHERE = ("publish", "load", "switch", "apply", "in_place", "object", "schedule")
"""Of tables in Postgres: jobs/test_published_crashes.py and postgres/test_compare_crashes.py walk these steps; of
object stores: log/test_log_object_races.py; of scheduled runs: scheduling/.
"""
EMBEDDED = tuple(s for s in STEPS if s.partition(".")[0] not in ELSEWHERE)
PART_OF = {"columns": "sync", "settle": "update"}
"""Steps of a command that are named otherwise."""
SWITCH = {"sync": 3, "rebuild": 7, "update": 4, "settle": 0, "rollback": 1}
"""From this step on users see the new state."""


def walk(step: str) -> dict[str, Any]:
    what = step.partition(".")[0]
    before, command = COMMANDS[what]
    # An update that finds nothing new leaves a dead one's temporary files to whoever publishes next.
    more = [["rebuild", "--all"]] if what == "settle" else []
    return {"step": step, "before": before, "command": command, "again": [command, *more]}


@pytest.fixture(scope="module")
def results(built_once: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("walks")
    events = history(FIRST + MORE)
    # One update came before: only a second one finds deltas that it can merge (the steps of settle).
    stages = {
        "built": (events[FIRST : FIRST + MORE // 2], [["sync"], ["update", "--all"]]),
        "appended": (events[FIRST + MORE // 2 :], []),
        "synced": ([], [["sync"]]),
        "rebuilt": ([], [["update", "--all"], ["rebuild", "--all"]]),
    }
    former = built_once
    for name, (more, commands) in stages.items():
        shop = Shop(Path(shutil.copytree(former, root / name)))
        shop.append(more)
        for command in commands:
            shop.good(*command)
        former = shop.root
    steps = [*EMBEDDED, *(f"{what}.0" for what in COMMANDS if what not in PART_OF)]
    with ThreadPoolExecutor(WALKERS) as pool:
        parts = pool.map(lambda n: walked(root, tmp_path_factory.mktemp("work"), steps[n::WALKERS]), range(WALKERS))
    return {told["step"]: told for part in parts for told in part}


def walked(places: Path, work: Path, steps: list[str]) -> list[dict[str, Any]]:
    """These steps, walked by one script."""
    done = subprocess.run(
        [sys.executable, str(HERE / "command_walk.py"), str(places), str(work)],
        input=json.dumps([walk(step) for step in steps]),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return [{**json.loads(line), "stderr": done.stderr[-2_000:]} for line in done.stdout.splitlines()]


def content(seen: dict[str, Any]) -> dict[str, Any]:
    """Digests, checkpoints and events, without the numbers of versions."""
    return {**seen, "read_models": {n: m and m[:2] for n, m in seen["read_models"].items()}}


@pytest.mark.parametrize("step", EMBEDDED)
def test_killed_and_given_again(results: dict[str, Any], step: str) -> None:
    what, _, number = step.partition(".")
    told, whole = results[step], results[f"{PART_OF.get(what, what)}.0"]
    assert whole["killed"] == 0, whole["stderr"]
    assert told["killed"] == -signal.SIGKILL, told["stderr"]
    if what == "rollback":
        # It has happened already, or it happens now; a rollback to what is live is refused.
        assert told["after_crash"] == whole["after_crash"]
        assert told["again"] == [8]
    else:
        assert set(told["again"]) == {0}, told["stderr"]
    if what in SWITCH and int(number) < SWITCH[what]:
        assert told["after_crash"] == told["before"], "a dead command changed what users see"
    elif what in SWITCH:
        assert content(told["after_crash"]) == content(whole["after"])
    assert content(told["after"]) == content(whole["after"])
    assert told["left"] == []


def test_the_walks_are_what_they_should_be(results: dict[str, Any]) -> None:
    """Without a crash: sync takes all, update and rebuild give the same rows, rollback the former ones."""
    before, after = results["sync.0"]["before"], results["sync.0"]["after"]
    assert (before["log"][0], after["log"][0]) == (FIRST + MORE // 2, FIRST + MORE)
    assert content(results["update.0"]["after"]) == content(results["rebuild.0"]["after"])
    assert results["compact.0"]["after"] == results["compact.0"]["before"]
    live = [results["rollback.0"][when]["read_models"]["baskets"] for when in ("before", "after")]
    assert [position_and_version for _, *position_and_version in live] == [[FIRST + MORE, 2], [FIRST + MORE, 1]]


def test_a_real_process_dies_and_the_next_one_does_it(built: Shop) -> None:
    """The same once more with nothing forked: sync and update as two new processes each."""
    built.append(history(FIRST + MORE)[FIRST:])
    for command, step in ((["sync"], "sync.2"), (["update", "--all"], "update.3")):
        line = [sys.executable, "-m", "runner", *command, "--config", str(built.config)]
        died = subprocess.run(
            line, env={**os.environ, "RUNNER_CRASH_AT": step}, capture_output=True, text=True, check=False
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert died.stdout == ""
        assert built.rows() == expected(history(FIRST))
        assert built.good("jobs", "--json").json["jobs"][0]["state"] == "died"
        built.good(*command)
    assert built.rows() == expected(history(FIRST + MORE))
