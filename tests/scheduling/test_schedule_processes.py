"""``runner schedule`` as processes: kept places, kills, restarts, probes."""

from __future__ import annotations

import json
import re
import select
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import psutil
import pytest
from filelock import FileLock
from scheduled_shop import Scheduling, Shop

from runner.cli import app
from runner.jobs.scheduling.child import output_of
from runner.jobs.scheduling.state import ScheduleState, directory_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.jobs.scheduling.state import EntryRun

OFTEN = """
[[schedule]]
name = "often"
run = "sync"
every = "1s"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, OFTEN)
    yield made
    made.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def waiting(shop: Shop, scheduling: Scheduling) -> EntryRun:
    """The run that waits for its turn, which the test has; those that were before it are passed over."""
    while True:
        found = re.search(r"started \(run (\d+)", scheduling.until("started (run"))
        assert found is not None
        number = int(found[1])
        with ScheduleState(shop.config) as state:
            while (run := state.run(number)).state == "running":
                if "waiting" in output_of(shop.config, "often", number).read_text():
                    return run
                select.select([], [], [], 0.02)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_and_its_run_that_goes_on(shop: Shop) -> None:
    shop.append(("a", "2026-11-28T10:00:00Z", 1))
    turn = FileLock(directory_of(shop.config) / "locks" / "turn-log.lock")
    directory_of(shop.config).joinpath("locks").mkdir(parents=True)
    with turn:  # so the run waits for its turn, for as long as the test likes
        first = shop.start("--port", "0")
        url = re.search(r"http://127\.0\.0\.1:\d+", first.until("healthz"))
        assert url is not None
        first.until("started (run")
        code, said = get(f"{url[0]}/healthz")
        assert (code, json.loads(said)["status"]) == (200, "ok")
        assert 'runner_schedule_running{entry="often"} 1.0' in get(f"{url[0]}/metrics")[1]
        assert get(f"{url[0]}/else")[0] == 404
        assert app.run(["schedule", "--config", str(shop.root / "runner.toml")]) == 1  # a second one is refused
        with ScheduleState(shop.config) as state:
            (run,) = state.running()
        first.signal(signal.SIGKILL)
        first.ended()
        assert psutil.pid_exists(run.owner.pid)
        second = shop.start("--port", "0")
        second.until(f"still runs (run {run.id})")
    second.until("succeeded")
    with turn:
        run = waiting(shop, second)
        psutil.Process(run.owner.pid).kill()
        second.until("died")
        second.until("started (run")
        second.signal(signal.SIGTERM)
        second.until("asked to end")
        assert second.ended() == 0
    with ScheduleState(shop.config, read_only=True) as state:
        runs = state.runs("often", 99)
        assert state.running() == ()
    assert runs[0].state == "stopped"
    assert [r.state for r in runs[1:] if r.state != "succeeded"] == ["died"]
    done = [r.occurrence for r in runs if r.state == "succeeded"]
    assert len(set(done)) == len(done)
