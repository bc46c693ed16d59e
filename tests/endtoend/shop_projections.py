"""Projections of a shop's baskets, copied into each project: every kind of key, compiled and plain."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from runner import Event, Projection, Record, field, key, last, on


class Line(Record):
    """One of the lines that were added."""

    sku: str
    quantity: int


class Opened(Event, type="basket.opened"):
    """A basket begins."""

    customer: str


class Added(Event, type="lines.added"):
    """Lines come in."""

    lines: list[Line]
    price: Decimal = field(scale=2)
    note: str = ""


class Dropped(Event, type="basket.dropped"):
    """A basket is thrown away; its id may be used again."""


class Baskets(Projection):
    """One row per basket that is there."""

    customer: str = ""
    quantity: int = 0
    total: Decimal = Decimal("0.00")
    notes: list[str] = last(3)
    letters: int = 0
    last_at: datetime | None = None

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.customer = e.customer
        self.last_at = e.recorded_at

    @on(Added)
    def added(self, e: Added) -> None:
        for line in e.lines:
            self.quantity += line.quantity
        self.total += e.price
        self.notes.append(e.note[:5])
        self.letters += len(e.note)
        self.last_at = e.recorded_at

    @on(Dropped)
    def dropped(self, e: Dropped) -> None:
        self.delete()


class Items(Projection, key=("aggregate_id", "sku")):
    """Child rows."""

    quantity: int = 0

    @on(Added, each="lines")
    def added(self, e: Added, line: Line) -> None:
        self.quantity += line.quantity


class Days(Projection, key=("type", "day")):
    """Merged over all baskets."""

    count: int = 0

    @key
    def day(e: Event) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Event)
    def counted(self, e: Event) -> None:
        self.count += 1

    def merge(self, other: Days) -> None:
        self.count += other.count


class Plain(Projection, compiled=False):
    """What cannot be compiled: formatting with a width."""

    total: Decimal = Decimal("0.00")
    shown: str = ""

    @on(Added)
    def added(self, e: Added) -> None:
        self.total += e.price
        self.shown = f"{self.total:>10}"

    @on(Dropped)
    def dropped(self, e: Dropped) -> None:
        self.delete()
