"""Occurrences beside an obvious twin that looks at every minute; jitter, as_of and the names of occurrences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.config import ScheduleConfig
from runner.errors import ConfigError
from runner.jobs.scheduling import times
from runner.jobs.scheduling.times import (
    as_of_time,
    due_time,
    next_due,
    next_occurrence,
    occurrence_named,
    occurrences,
    passed,
    place_before,
)

MINUTE = timedelta(minutes=1)
CHANGES = {  # zones and a day around which their clocks change, once each way
    "Europe/Berlin": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
    "America/Havana": (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),  # at midnight
    "Asia/Kathmandu": (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)),  # 5:45, never
    "UTC": (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)),
}


def entry(**settings: object) -> ScheduleConfig:
    return ScheduleConfig(**{"name": "e", "run": (("sync",),), **settings})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@st.composite
def expressions(draw) -> tuple[str, set[int], set[int], bool]:
    """(cron of minutes and hours, its minutes, its hours, whether both are named)."""

    def field(top: int) -> tuple[str, set[int]]:
        kind = draw(st.sampled_from(["star", "step", "one", "list", "range"]))
        if kind == "star":
            return "*", set(range(top))
        if kind == "step":
            step = draw(st.integers(2, top // 2))
            return f"*/{step}", set(range(0, top, step))
        some = sorted(draw(st.sets(st.integers(0, top - 1), min_size=1, max_size=1 if kind == "one" else 4)))
        if kind == "range":
            return f"{some[0]}-{some[-1]}", set(range(some[0], some[-1] + 1))
        return ",".join(map(str, some)), set(some)

    (minute, minutes), (hour, hours) = field(60), field(24)
    return f"{minute} {hour} * * *", minutes, hours, "*" not in minute + hour


def obvious(
    minutes: set[int], hours: set[int], named: bool, zone: ZoneInfo, begin: datetime, end: datetime
) -> list[datetime]:
    """All occurrences, found by looking at every minute of a span."""
    if not named:
        every = [begin + n * MINUTE for n in range(int((end - begin) / MINUTE))]
        shown = [t.astimezone(zone) for t in every]
        return [t for t, local in zip(every, shown, strict=True) if local.minute in minutes and local.hour in hours]
    found = set()
    wall = begin.astimezone(zone).replace(tzinfo=None) - timedelta(hours=2)
    while wall < end.astimezone(zone).replace(tzinfo=None):
        if wall.minute in minutes and wall.hour in hours:
            moved = wall
            while moved.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moved:
                moved += MINUTE  # the clock never shows it: the first time that it does
            found.add(moved.replace(tzinfo=zone).astimezone(UTC))
        wall += MINUTE
    return sorted(t for t in found if begin <= t < end)


@settings(max_examples=40, deadline=None)
@given(
    expressions(),
    st.sampled_from(sorted(CHANGES)),
    st.booleans(),
    st.integers(0, 14 * 60 * 60),
)
def test_cron_equals_looking_at_every_minute(expression, zone, second, into):
    cron, minutes, hours, named = expression
    day = CHANGES[zone][second]
    begin = day - timedelta(hours=3)
    end = day + timedelta(hours=28)
    found = obvious(minutes, hours, named, ZoneInfo(zone), begin, end)
    after = begin + timedelta(seconds=into)  # from any moment on, also within the hour that occurs twice
    one = entry(cron=cron, zone=zone)
    expected = [t for t in found if t > after]
    seen = []
    for _ in expected:
        after = next_occurrence(one, after)
        seen.append(after)
    assert seen == expected


def test_clocks_put_forward_and_back():
    nightly = entry(cron="30 2 * * *", zone="Europe/Berlin")
    assert next_occurrence(nightly, utc("2026-03-28T12:00+01:00")) == utc("2026-03-29T03:00+02:00")
    assert next_occurrence(nightly, utc("2026-03-29T03:00+02:00")) == utc("2026-03-30T02:30+02:00")
    first = next_occurrence(nightly, utc("2026-10-24T12:00+02:00"))
    assert first == utc("2026-10-25T02:30+02:00")
    assert next_occurrence(nightly, first) == utc("2026-10-26T02:30+01:00")
    hourly = entry(cron="0 * * * *", zone="Europe/Berlin")
    assert next_occurrence(hourly, utc("2026-10-25T02:00+02:00")) == utc("2026-10-25T02:00+01:00")


@given(st.integers(1, 100_000), st.integers(0, 4_000_000_000))
def test_intervals_count_elapsed_time(each, after):
    at = datetime.fromtimestamp(after, UTC)
    found = next_occurrence(entry(every=float(each)), at)
    assert int(found.timestamp()) % each == 0
    assert at < found <= at + timedelta(seconds=each)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([{"cron": "*/7 * * * *"}, {"cron": "0 3 * * *", "zone": "Europe/Berlin"}, {"every": 600.0}]),
    st.sampled_from([0.0, 30.0, 599.0]),
    st.integers(0, 3_000),
    st.integers(1, 90_000),
)
def test_passed_equals_a_list(kind, jitter, counted, span):
    """``counted`` small: the way for what is long past gives the same last occurrence."""
    one = entry(jitter=jitter, **kind)
    after = datetime(2026, 10, 24, 20, 1, 2, tzinfo=UTC)
    now = after + timedelta(seconds=span)
    between = []
    for o in occurrences(one, after):
        if o > now:
            break
        between.append(o)
    due = [o for o in between if due_time(one, o) <= now]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "COUNTED", counted)
        found = passed(one, after, now)
    assert (found and found.latest) == (due[-1] if due else None)
    if found:
        assert found.before == min(between.index(due[-1]), counted)
    upcoming = list(islice(occurrences(one, now), 30))
    assert next_due(one, now)[1] == min(due_time(one, o) for o in upcoming)


def test_a_year_of_minutes_is_passed_at_once():
    now = utc("2026-11-30T12:00:30+00:00")
    found = passed(entry(cron="* * * * *"), now - timedelta(days=365), now)
    assert found == times.Passed(utc("2026-11-30T12:00+00:00"), times.COUNTED)


def test_jitter_is_of_entry_and_occurrence():
    one, other = entry(every=600.0, jitter=300.0), entry(name="f", every=600.0, jitter=300.0)
    some = list(islice(occurrences(one, utc("2026-01-01T00:00Z")), 50))
    delays = [due_time(one, o) - o for o in some]
    assert delays == [due_time(one, o.astimezone(ZoneInfo("Asia/Tokyo"))) - o for o in some]
    assert delays != [due_time(other, o) - o for o in some]
    assert all(timedelta(0) <= d < timedelta(seconds=300) for d in delays)
    assert max(delays) - min(delays) > timedelta(seconds=200)  # spread over the whole of it


@pytest.mark.parametrize(
    ("as_of", "zone", "occurrence", "expected"),
    [
        ("start of day", "Europe/Berlin", "2026-11-30T00:30+01:00", "2026-11-30T00:00+01:00"),
        ("start of day", "Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00"),
        ("start of day", "America/Havana", "2026-03-08T02:00-04:00", "2026-03-08T01:00-04:00"),  # no midnight
        ("start of day", "America/Havana", "2026-11-01T02:00-05:00", "2026-11-01T00:00-04:00"),  # two: the first
        ("start of hour", "Asia/Kathmandu", "2026-11-30T07:50+05:45", "2026-11-30T07:00+05:45"),
        ("start of hour", "Europe/Berlin", "2026-10-25T02:30+01:00", "2026-10-25T02:00+01:00"),
        ("start of week", "Europe/Berlin", "2026-11-29T23:00+01:00", "2026-11-23T00:00+01:00"),
        ("start of month", "Europe/Berlin", "2026-11-30T00:30+01:00", "2026-11-01T00:00+01:00"),
        ("start of year", "Asia/Tokyo", "2026-01-01T00:10+09:00", "2026-01-01T00:00+09:00"),
        ("occurrence", "UTC", "2026-11-30T00:30+00:00", "2026-11-30T00:30+00:00"),
    ],
)
def test_as_of(as_of, zone, occurrence, expected):
    one = entry(cron="0 0 * * *", zone=zone, as_of=as_of)
    assert as_of_time(one, utc(occurrence)) == utc(expected)


def test_an_event_of_midnight_belongs_to_the_new_day():
    assert place_before(utc("2026-11-30T00:00+01:00")) == "2026-11-29T22:59:59.999999+00:00"
    assert as_of_time(entry(every=60.0), utc("2026-11-30T00:00Z")) is None


def test_occurrences_are_named_by_day_or_time():
    nightly = entry(cron="30 0 * * *", zone="Europe/Berlin")
    there = utc("2026-11-29T00:30+01:00")
    for text in ("2026-11-29", "2026-11-29T00:30", "2026-11-29 00:30", "2026-11-28T23:30Z"):
        assert occurrence_named(nightly, text) == there
    for text, words in {
        "yesterday": "not a time",
        "2026-11-29T01:30": "no occurrence at that time",
    }.items():
        with pytest.raises(ConfigError, match=words):
            occurrence_named(nightly, text)
    with pytest.raises(ConfigError, match="no occurrence on that day") as none:
        occurrence_named(entry(cron="0 6 1 * *"), "2026-11-29")
    assert "2026-12-01T06:00" in none.value.hint
    with pytest.raises(ConfigError, match="several"):
        occurrence_named(entry(every=3600.0), "2026-11-29")
    # A time that occurs twice is the first of the two, which is the one that runs.
    assert occurrence_named(entry(cron="30 2 * * *", zone="Europe/Berlin"), "2026-10-25T02:30") == utc(
        "2026-10-25T02:30+02:00"
    )
