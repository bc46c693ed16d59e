"""The scheduler under a moved clock: real state, real locks, scripted runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from moved_clock import NOON, World

from runner.config import ScheduleConfig, SchedulerConfig, load_config
from runner.errors import JobError
from runner.jobs.following.stop import Stop
from runner.jobs.records.owner import Owner
from runner.jobs.scheduling.service import HEALTHY, scheduler_lock
from runner.jobs.scheduling.state import ScheduleState, directory_of
from runner.stats import EntryMissed, EntryRan, EntryStands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config import Config

EVERY = ScheduleConfig("often", (("sync",),), every=60.0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "runner.toml").write_text("")
    return load_config(tmp_path / "runner.toml")


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


def world(config: Config, stop: Stop, *entries: ScheduleConfig, **settings: object) -> World:
    scheduler = SchedulerConfig(**{"stop_wait": 30.0, **settings})  # type: ignore[arg-type]
    return World(replace(config, schedule=entries, scheduler=scheduler), stop)


def ends(one: World, entry: str = "often") -> list[tuple[float, str]]:
    """(the occurrence, in seconds since noon; how its run ended), the first first."""
    return [((r.occurrence - NOON).total_seconds(), r.state) for r in reversed(one.state.runs(entry, 99))]


def test_each_occurrence_runs_once_and_all_is_told(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.live(200)
    assert one.started == [("often", 60.0), ("often", 120.0), ("often", 180.0)]
    assert ends(one) == [(60.0, "succeeded"), (120.0, "succeeded"), (180.0, "succeeded")]
    assert [f for f in one.facts if isinstance(f, EntryRan)] == [EntryRan("often", "succeeded", 1.0)] * 3
    stands = [f for f in one.facts if isinstance(f, EntryStands)]
    assert stands[0] == EntryStands("often", False, NOON.timestamp() + 60, None, 0)
    assert stands[-1] == EntryStands("often", False, NOON.timestamp() + 240, NOON.timestamp() + 181, 0)


def test_what_came_while_a_run_went_on_is_one_run_behind_it(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.script["often"] = [{"seconds": 200.0}, {"seconds": 1.0}]
    one.live(310)
    assert ends(one) == [(60.0, "succeeded"), (240.0, "succeeded"), (300.0, "succeeded")]
    assert [f for f in one.facts if isinstance(f, EntryMissed)] == [EntryMissed("often", 2)]
    assert one.started[1] == ("often", 260.0)


def test_a_failed_run_is_tried_again_with_longer_pauses(config: Config, stop: Stop) -> None:
    one = world(config, stop, replace(EVERY, every=3600.0, retries=2, retry_pause=10.0))
    one.script["often"] = [{"seconds": 1.0, "how": "failed", "exit_code": 6}]
    one.live(3900)
    assert one.started == [("often", 3600.0), ("often", 3611.0), ("often", 3632.0)]
    assert [r.failures for r in one.state.runs("often", 9)] == [3, 2, 1]
    one.state.end(one.state.runs("often", 1)[0].id, "failed", one.now())  # told twice, counted once
    assert one.state.runs("often", 1)[0].failures == 3


def test_a_run_over_its_limit_is_asked_to_end_then_killed(config: Config, stop: Stop) -> None:
    one = world(config, stop, replace(EVERY, every=3600.0, limit=20.0, retries=1, retry_pause=100.0))
    one.script["often"] = [{"seconds": 999.0}, {"seconds": 999.0, "deaf": True}]
    one.live(3900)
    first, second = one.runs
    assert (first.asked_at, first.killed) == (3620.0, False)
    assert (second.begun, second.asked_at, second.killed) == (3720.0, 3740.0, True)
    assert ends(one) == [(3600.0, "timed out"), (3600.0, "timed out")]
    assert one.passed >= 3770  # not before stop_wait was over


def test_a_run_that_is_killed_from_outside_has_died(config: Config, stop: Stop) -> None:
    one = world(config, stop, replace(EVERY, every=3600.0))
    one.script["often"] = [{"seconds": 5.0, "how": None, "exit_code": -9}]
    one.live(4000)
    # Once more, as what a crash ended is missed; not for ever.
    assert ends(one) == [(3600.0, "died"), (3600.0, "died")]
    assert "signal 9" in one.state.runs("often", 1)[0].error


def test_somebodys_own_signal_is_a_failure(config: Config, stop: Stop) -> None:
    one = world(config, stop, replace(EVERY, every=3600.0))
    one.script["often"] = [{"seconds": 5.0, "how": "stopped", "exit_code": 130}]
    one.live(4000)
    assert ends(one) == [(3600.0, "failed")]


def test_a_stop_ends_the_runs_and_the_next_scheduler_starts_them_again(config: Config, stop: Stop) -> None:
    one = world(config, stop, replace(EVERY, every=3600.0), replace(EVERY, name="deaf", every=3600.0))
    one.script = {"often": [{"seconds": 999.0}], "deaf": [{"seconds": 999.0, "deaf": True}]}
    one.live(3700)
    assert (ends(one), ends(one, "deaf")) == ([(3600.0, "stopped")], [(3600.0, "stopped")])
    assert {run.killed: run.asked_at for run in one.runs} == {False: 3700.0, True: 3700.0}
    assert 3730 <= one.passed < 3731
    again = Stop()
    other = World(one.config, again, {"often": [{"seconds": 1.0}]}, passed=one.passed)
    other.live(3740)
    again.close()
    assert ends(other)[1:] == [(3600.0, "succeeded")]
    assert other.state.runs("often", 1)[0].failures == 0


def test_hurry_kills_at_once(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.script["often"] = [{"seconds": 999.0, "deaf": True}]
    one.until = 100
    scheduler = one.scheduler()
    stop_set = stop.set

    def stopped(why: str = "") -> None:
        stop_set(why)
        if one.passed > 105:
            scheduler.hurry()

    stop.set = stopped  # type: ignore[method-assign]
    scheduler.run()
    assert one.runs[0].killed
    assert 105 < one.passed < 106


def test_what_was_missed_while_nothing_ran_is_caught_up_once(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.live(70)
    again = Stop()
    later = World(one.config, again, passed=3_630.0)
    later.live(3_640)
    assert ends(later)[1:] == [(3_600.0, "succeeded")]
    assert later.state.missed_count("often") == 58
    again.close()


def test_an_entry_with_other_times_begins_anew(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.live(70)
    again = Stop()
    changed = replace(one.config, schedule=(replace(EVERY, every=50.0),))
    other = World(changed, again, passed=3_630.0)
    other.live(3_655)
    assert ends(other)[1:] == [(3_650.0, "succeeded")]
    assert other.state.missed_count("often") == 0
    again.close()


def test_places_go_to_who_waited_longest(config: Config, stop: Stop) -> None:
    entries = [replace(EVERY, name=n, every=e) for n, e in (("a", 60.0), ("b", 54.0), ("c", 50.0))]
    one = world(config, stop, *entries, runs=1)
    for name in "abc":
        one.script[name] = [{"seconds": 8.0}]
    one.live(75)
    assert one.started == [("c", 50.0), ("b", 58.0), ("a", 66.0)]


def test_a_clock_that_is_set_doubles_nothing(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.live(130)
    again = Stop()
    back = World(one.config, again, passed=one.passed, offset=timedelta(seconds=-100))
    back.live(300)
    again.close()
    assert ends(back) == [(60.0, "succeeded"), (120.0, "succeeded"), (180.0, "succeeded")]


def test_a_run_by_hand_keeps_the_clocks_run_waiting(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    lock = FileLock(directory_of(config) / "locks" / "entry-often.lock")
    directory_of(config).joinpath("locks").mkdir(parents=True, exist_ok=True)
    with lock:
        one.live(70)
    assert one.started == []


def test_a_run_that_died_with_its_scheduler_is_started_again(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    one.state.seen(EVERY, NOON)
    run = one.state.begin("often", NOON, NOON)
    gone = Owner.here()
    with one.state.transaction() as connection:
        connection.execute("UPDATE runs SET pid = 1, process = ? WHERE id = ?", (f"{gone.process}-", run))
    one.live(5)
    assert ends(one) == [(0.0, "died"), (0.0, "succeeded")]


@pytest.mark.parametrize("step", ["schedule.1", "schedule.2"])
def test_a_scheduler_that_is_killed_at_a_step_loses_and_doubles_nothing(config: Config, stop: Stop, step: str) -> None:
    world(config, stop, EVERY).state.close()  # makes the state
    code = f"""
from dataclasses import replace
from moved_clock import World
from runner.config import ScheduleConfig, load_config
from runner.jobs.following.stop import Stop
config = load_config({str(config.file)!r})
World(replace(config, schedule=(ScheduleConfig("often", (("sync",),), every=60.0),)), Stop()).live(200)
"""
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "RUNNER_CRASH_AT": step, "PYTHONPATH": here}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    one = World(replace(config, schedule=(EVERY,)), stop, passed=70.0)
    one.live(130)
    assert ends(one) == [(60.0, "died"), (60.0, "succeeded"), (120.0, "succeeded")]


def test_one_scheduler_at_a_time(config: Config) -> None:
    with scheduler_lock(config), pytest.raises(JobError, match="runs already"):
        scheduler_lock(config)
    scheduler_lock(config).release()


def test_health_tells_a_scheduler_that_hangs_or_stops(config: Config, stop: Stop) -> None:
    one = world(config, stop, EVERY)
    scheduler = one.scheduler()
    scheduler.look()
    well, said = scheduler.health()
    assert (well, said["status"]) == (True, "ok")
    assert said["entries"] == {"often": {"running": False, "next_run": "2026-11-30T12:01:00+00:00", "failures": 0}}
    one.passed += HEALTHY
    assert scheduler.health()[1]["status"] == "hangs"
    stop.set()
    assert scheduler.health() == (False, {**said, "status": "stopping"})


def test_state_is_trimmed_but_keeps_what_counts(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.jobs.scheduling.state.KEPT", 3)
    with ScheduleState(config) as state:
        state.seen(EVERY, NOON)
        good = state.begin("often", NOON, NOON)
        state.end(good, "succeeded", NOON)
        for n in range(1, 9):
            state.end(state.begin("often", NOON + timedelta(n), NOON), "failed", NOON + timedelta(n), error="x")
        assert len(state.runs("often", 99)) == 4
        success = state.last_success("often")
        assert success is not None
        assert success.id == good
        assert state.of("often", NOON + timedelta(99)).handled == NOON + timedelta(8)
        state.seen(EVERY, NOON + timedelta(99))  # known: nothing begins anew
        assert state.of("often", NOON + timedelta(99)).handled == NOON + timedelta(8)
