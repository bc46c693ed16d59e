"""Projections for any log, with no code: in runner.toml, ``modules = ["projections.generic"]``.

They look only at what every event has, so they need no event classes. For sources that give no recorded times there is
``projections.untimed``.
"""

from __future__ import annotations

from datetime import date, datetime

from runner import Event, Projection, key, on


class AggregateSummary(Projection):
    """One row per aggregate: how many events, the first and the last."""

    events: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    first_type: str = ""
    last_type: str = ""
    last_version: int = 0

    @on(Event)
    def counted(self, e: Event) -> None:
        if self.events == 0:
            self.first_at = e.recorded_at
            self.first_type = e.type
        self.events += 1
        self.last_at = e.recorded_at
        self.last_type = e.type
        self.last_version = e.version


class EventCounts(Projection, key=("type", "day")):
    """One row per event type and day (UTC) of recording."""

    count: int = 0

    @key
    def day(e: Event) -> date:  # noqa: N805 - a key function takes the event, there is no state yet
        return e.recorded_at.date()

    @on(Event)
    def counted(self, e: Event) -> None:
        self.count += 1

    def merge(self, other: EventCounts) -> None:
        self.count += other.count
