"""Projections for logs whose sources give no recorded times: in runner.toml, ``modules = ["projections.untimed"]``."""

from __future__ import annotations

from runner import Event, Projection, on


class AggregateEvents(Projection):
    """One row per aggregate: how many events, the first and the last."""

    events: int = 0
    first_position: int = 0
    last_position: int = 0
    first_type: str = ""
    last_type: str = ""
    last_version: int = 0

    @on(Event)
    def counted(self, e: Event) -> None:
        if self.events == 0:
            self.first_position = e.position
            self.first_type = e.type
        self.events += 1
        self.last_position = e.position
        self.last_type = e.type
        self.last_version = e.version


class TypeCounts(Projection, key=("type",)):
    """One row per event type."""

    count: int = 0

    @on(Event)
    def counted(self, e: Event) -> None:
        self.count += 1

    def merge(self, other: TypeCounts) -> None:
        self.count += other.count
