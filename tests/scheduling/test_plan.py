"""The plan's rules one by one, and whole lives of an entry beside an obvious twin, under a clock that jumps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.config import ScheduleConfig
from runner.jobs.scheduling.plan import FINAL, EntryState, Plan, RunEnd, Start, Unfinished, plan
from runner.jobs.scheduling.times import due_time, occurrences

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOURLY = ScheduleConfig("e", (("sync",),), every=3600.0)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def failed(how: RunEnd = "failed", failures: int = 1, exit_code: int = 1) -> EntryState:
    return EntryState(NOON, unfinished=Unfinished(NOON, how, failures, at(1), exit_code))


def test_what_is_due_is_started_once() -> None:
    assert plan(HOURLY, EntryState(NOON), at(59)) == Plan(None, at(60))
    assert plan(HOURLY, EntryState(NOON), at(60)) == Plan(Start(at(60)), None)
    assert plan(HOURLY, EntryState(at(60)), at(60)) == Plan(None, at(120))


def test_what_was_missed_is_caught_up_once_or_skipped() -> None:
    skip = replace(HOURLY, missed="skip", grace=60.0)
    assert plan(HOURLY, EntryState(NOON), at(200)) == Plan(Start(at(180)), None, missed=2)
    assert plan(skip, EntryState(NOON), at(200)) == Plan(None, at(200), missed=3, missed_to=at(180))
    assert plan(skip, EntryState(NOON), at(181)) == Plan(Start(at(180)), None, missed=2)


def test_nothing_starts_beside_a_run_of_the_entry() -> None:
    assert plan(HOURLY, EntryState(NOON, running=True), at(200)) == Plan(None, None)


def test_pauses_before_retries_double_up_to_the_longest() -> None:
    entry = replace(HOURLY, retries=9, retry_pause=60.0, retry_pause_most=200.0)
    for failures, pause in ((1, 1.0), (2, 2.0), (3, 200 / 60), (9, 200 / 60)):
        state = failed(failures=failures)
        assert plan(entry, state, at(1 + pause) - timedelta(seconds=1)) == Plan(None, at(1 + pause))
        assert plan(entry, state, at(1 + pause)) == Plan(Start(NOON, failures, again=True), None)
    assert plan(entry, failed(failures=10), at(50)) == Plan(None, at(60))


def test_a_later_occurrence_ends_the_retries() -> None:
    entry = replace(HOURLY, retries=9, retry_pause=7000.0, retry_pause_most=7000.0)
    assert plan(entry, failed(), at(30)) == Plan(None, at(60))
    assert plan(entry, failed(), at(60)) == Plan(Start(at(60)), None)


@pytest.mark.parametrize("code", sorted(FINAL))
def test_what_would_fail_again_just_so_is_not_retried(code: int) -> None:
    entry = replace(HOURLY, retries=9)
    assert plan(entry, failed(exit_code=code), at(50)) == Plan(None, at(60))
    assert plan(entry, failed("timed out", exit_code=code), at(50)).start == Start(NOON, 1, again=True)


def test_what_a_crash_or_a_stop_ended_counts_as_missed() -> None:
    skip = replace(HOURLY, missed="skip")
    again = Start(NOON, 1, again=True)
    assert plan(HOURLY, failed("died"), at(1)).start == again
    assert plan(HOURLY, failed("died", failures=2), at(50)).start is None
    assert plan(skip, failed("died"), at(50)).start is None
    assert plan(replace(skip, retries=1), failed("died"), at(1)).start == again
    assert plan(HOURLY, failed("stopped", failures=0), at(1)).start == Start(NOON, 0, again=True)
    assert plan(skip, failed("stopped", failures=0), at(50)).start is None


def test_a_clock_that_was_put_back_keeps_no_retry_waiting() -> None:
    entry = replace(HOURLY, retries=1, retry_pause=60.0)
    assert plan(entry, replace(failed(), handled=at(-240)), at(-240)).start == Start(NOON, 1, again=True)


class Life:
    """An entry's life as the scheduler leads it: what it started, with the ends that a script gives."""

    def __init__(self, entry: ScheduleConfig) -> None:
        self.entry = entry
        self.marks = [NOON]
        self.unfinished: Unfinished | None = None
        self.started: list[tuple[datetime, int]] = []
        self.missed = 0

    def state(self, now: datetime) -> EntryState:
        handled = max((mark for mark in self.marks if mark <= now), default=now)
        return EntryState(handled, unfinished=self.unfinished)

    def look(self, now: datetime, how: RunEnd, took: timedelta) -> datetime:
        """Do what is planned; a run ends at once, ``took`` later. The time when the scheduler is free again."""
        todo = plan(self.entry, self.state(now), now)
        self.missed += todo.missed
        if todo.start is None:
            if todo.missed_to is not None:
                self.marks.append(todo.missed_to)
                self.unfinished = None
            assert todo.look is not None
            return now
        self.started.append((todo.start.occurrence, todo.start.failures))
        self.marks.append(todo.start.occurrence)
        failures = todo.start.failures + (how in ("failed", "timed out", "died"))
        ended = now + took
        self.unfinished = None if how == "succeeded" else Unfinished(todo.start.occurrence, how, failures, ended)
        return ended


def obvious(
    entry: ScheduleConfig, looks: list[tuple[datetime, RunEnd, timedelta]]
) -> tuple[list[tuple[datetime, int]], int]:
    """The same life from a list of all occurrences, each crossed out when it is dealt with."""
    last = looks[-1][0] + timedelta(days=1)
    open_ones = list(takewhile(lambda o: o <= last, occurrences(entry, NOON)))
    started, missed, free = list[tuple[datetime, int]](), 0, NOON
    tried: tuple[datetime, int, RunEnd, datetime] | None = None
    for now, how, took in looks:
        if now < free:
            continue
        due = [o for o in open_ones if o <= now and due_time(entry, o) <= now]
        run: tuple[datetime, int] | None = None
        if due:
            passed_over = [o for o in open_ones if o < due[-1]]
            open_ones = [o for o in open_ones if o > due[-1]]
            missed += len(passed_over)
            tried = None
            if entry.missed == "skip" and now > due_time(entry, due[-1]) + timedelta(seconds=entry.grace):
                missed += 1
            else:
                run = due[-1], 0
        elif tried is not None:
            occurrence, failures, ended_so, ended = tried
            pause = 0.0 if ended_so in ("died", "stopped") else entry.retry_pause
            for _ in range(failures - 1):
                pause = min(pause * 2, entry.retry_pause_most)
            allowed = entry.retries
            if entry.missed == "once":
                allowed = {"stopped": 10**6, "died": max(1, entry.retries)}.get(ended_so, entry.retries)
            elif ended_so == "stopped":
                allowed = -1
            if failures <= allowed and now >= ended + timedelta(seconds=pause):
                run = occurrence, failures
        if run is not None:
            started.append(run)
            free = now + took
            failures = run[1] + (how in ("failed", "timed out", "died"))
            tried = None if how == "succeeded" else (run[0], failures, how, free)
    return started, missed


ENTRIES = st.builds(
    ScheduleConfig,
    st.just("e"),
    st.just((("sync",),)),
    every=st.sampled_from([60.0, 600.0]),
    jitter=st.sampled_from([0.0, 50.0]),
    missed=st.sampled_from(["once", "skip"]),
    grace=st.sampled_from([0.0, 30.0, 500.0]),
    retries=st.integers(0, 2),
    retry_pause=st.sampled_from([5.0, 100.0]),
    retry_pause_most=st.just(150.0),
)
ENDS = st.sampled_from(["succeeded", "failed", "timed out", "died", "stopped"])
LOOKS = st.lists(st.tuples(st.integers(0, 900), ENDS, st.integers(0, 300)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, LOOKS)
def test_a_life_equals_the_obvious_one(entry: ScheduleConfig, script: list[tuple[int, RunEnd, int]]) -> None:
    now, looks = NOON, list[tuple[datetime, RunEnd, timedelta]]()
    for passed, how, took in script:
        now += timedelta(seconds=passed)
        looks.append((now, how, timedelta(seconds=took)))
    life, free = Life(entry), NOON
    for now, how, took_so in looks:
        if now >= free:
            free = life.look(now, how, took_so)
    assert (life.started, life.missed) == obvious(entry, looks)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.lists(st.one_of(st.integers(0, 90), st.integers(-90_000, 90_000)), max_size=60), st.integers(0, 59))
def test_whatever_the_clock_does_no_occurrence_runs_twice(entry: ScheduleConfig, jumps: list[int], second: int) -> None:
    life, now = Life(entry), NOON + timedelta(seconds=second)
    for jump in jumps:
        now += timedelta(seconds=jump)
        life.look(now, "succeeded", timedelta(0))
        life.look(now, "succeeded", timedelta(0))
    occurred = [occurrence for occurrence, _ in life.started]
    assert len(set(occurred)) == len(occurred)
    # And it goes on with the next one, wherever the clock has been.
    following = next(occurrences(entry, now + timedelta(days=3)))
    now = due_time(entry, following)
    life.look(now, "succeeded", timedelta(0))
    assert life.state(now).handled == following
