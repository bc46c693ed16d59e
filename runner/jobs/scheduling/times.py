"""The occurrences of an entry, their jitter, and the time that ``as_of`` makes of one. Pure: no clock is read here.

cronsim tells the times of a cron expression, by the rules of Debian's cron. An expression that names minute and hour
(neither begins with a star) is of times of the day: one that occurs twice, as clocks are put back, is the first of the
two alone; one that does not occur, as clocks are put forward, is the moment at which they were. Others are of what the
clock shows: both hours that it shows twice, and none that it leaves out. ``every`` counts elapsed time and knows no
zone. Where clocks change by half an hour (Lord Howe Island alone) the second kind may lose times of that day.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim

from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config import ScheduleConfig

__all__ = [
    "Passed",
    "as_of_time",
    "due_time",
    "last_occurrence",
    "next_due",
    "next_occurrence",
    "occurrence_named",
    "occurrences",
    "passed",
    "place_before",
]

COUNTED = 1_000
"""Occurrences that were passed are counted so far: after a year's sleep nobody wants to know more."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


def next_occurrence(entry: ScheduleConfig, after: datetime) -> datetime:
    """The first occurrence behind ``after``, in UTC."""
    return next(occurrences(entry, after))


def occurrences(entry: ScheduleConfig, after: datetime) -> Iterator[datetime]:
    """All that come behind ``after``, ascending, in UTC."""
    if entry.every:
        each = timedelta(seconds=entry.every)
        number = (after - _EPOCH) // each
        while True:
            number += 1
            yield _EPOCH + number * each
    for found in CronSim(entry.cron, after.astimezone(ZoneInfo(entry.zone))):
        # From within the second of two equal hours it begins with times of the first.
        if (occurrence := found.astimezone(UTC)) > after:
            yield occurrence


def due_time(entry: ScheduleConfig, occurrence: datetime) -> datetime:
    """When an occurrence is due: itself and its jitter, which is always the same for the same occurrence."""
    if not entry.jitter:
        return occurrence
    text = f"{entry.name}\x1f{occurrence.astimezone(UTC).isoformat()}"
    drawn = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return occurrence + timedelta(microseconds=int(entry.jitter * 1e6) * drawn >> 64)


def next_due(entry: ScheduleConfig, after: datetime) -> tuple[datetime, datetime]:
    """(occurrence, when it is due): of those behind ``after`` the one that is due first."""
    best: tuple[datetime, datetime] | None = None
    for occurrence in occurrences(entry, after):
        if best is not None and occurrence >= best[1]:
            break
        due = due_time(entry, occurrence)
        if best is None or due < best[1]:
            best = occurrence, due
    assert best is not None  # there is no last occurrence: the configuration has looked
    return best


@dataclass(frozen=True)
class Passed:
    """latest: the last occurrence that is due; before: how many lie between it and where was looked from (at most
    COUNTED)."""

    latest: datetime
    before: int


def passed(entry: ScheduleConfig, after: datetime, now: datetime) -> Passed | None:
    """What is due by ``now`` of the occurrences behind ``after``; None where nothing is."""
    found: Passed | None = None
    for count, occurrence in enumerate(occurrences(entry, after)):
        if occurrence > now:
            return found
        if count == COUNTED:
            break
        if due_time(entry, occurrence) <= now:
            found = Passed(occurrence, count)
    # Long past: the last one that is due is looked for in a stretch that grows until it holds one.
    stretch = timedelta(hours=1)
    while True:
        begin = max(after, now - timedelta(seconds=entry.jitter) - stretch)
        late = [o for o in takewhile(lambda o: o <= now, occurrences(entry, begin)) if due_time(entry, o) <= now]
        if late:
            return Passed(late[-1], COUNTED)
        if begin == after:
            return None
        stretch *= 8


def last_occurrence(entry: ScheduleConfig, now: datetime) -> datetime:
    """The last one that has come. Raises ConfigError where none has for a hundred years."""
    stretch = timedelta(hours=1)
    while stretch < timedelta(days=36_525):
        found = None
        for found in takewhile(lambda o: o <= now, occurrences(entry, now - stretch)):  # noqa: B007 - the last is wanted
            pass
        if found is not None:
            return found
        stretch *= 8
    raise ConfigError(f"{entry.name} had no occurrence yet", hint="its cron expression names a day that is rare")


def as_of_time(entry: ScheduleConfig, occurrence: datetime) -> datetime | None:
    """Up to when an occurrence's rebuilds fold, in UTC: events recorded before it count. None: all of the log."""
    if not entry.as_of:
        return None
    local = occurrence.astimezone(ZoneInfo(entry.zone))
    if entry.as_of == "start of hour":
        local = local.replace(minute=0, second=0, microsecond=0)
    elif entry.as_of != "occurrence":
        day = local.date()
        first = {
            "start of day": day,
            "start of week": day - timedelta(days=day.weekday()),
            "start of month": day.replace(day=1),
            "start of year": day.replace(month=1, day=1),
        }[entry.as_of]
        # A midnight that occurs twice is the first; of one that does not occur this is the moment behind the gap.
        local = datetime(first.year, first.month, first.day, tzinfo=local.tzinfo)
    return local.astimezone(UTC)


def place_before(time: datetime) -> str:
    """The place (``--to``) of all that was recorded before a time."""
    return (time.astimezone(UTC) - _INSTANT).isoformat(timespec="microseconds")


def occurrence_named(entry: ScheduleConfig, text: str) -> datetime:
    """The occurrence that a person means: a day that has one alone, or its time; without a zone in the entry's.

    Raises ConfigError for what is no time, and no occurrence of the entry.
    """
    zone = ZoneInfo(entry.zone)
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"--for {text}: not a time", hint="a day (2026-11-29) or a time of it (2026-11-29T00:30)"
        ) from None
    time = (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
    if len(text.strip()) > 10:
        found = next_occurrence(entry, time - _INSTANT)
        if found != time:
            raise ConfigError(
                f"--for {text}: {entry.name} has no occurrence at that time",
                hint=f"the next one is {found.astimezone(zone).isoformat()}",
            )
        return found
    first = next_occurrence(entry, time - _INSTANT)
    if first.astimezone(zone).date() != time.astimezone(zone).date():
        raise ConfigError(
            f"--for {text}: {entry.name} has no occurrence on that day",
            hint=f"the next one is {first.astimezone(zone).isoformat()}",
        )
    second = next_occurrence(entry, first)
    if second.astimezone(zone).date() == time.astimezone(zone).date():
        raise ConfigError(
            f"--for {text}: {entry.name} has several occurrences on that day",
            hint=f"say which: {first.astimezone(zone).isoformat()}, {second.astimezone(zone).isoformat()} ...",
        )
    return first
