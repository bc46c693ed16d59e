"""Projections whose rows are hard to keep the same: made texts, exact amounts, windows, deletes, merged keys."""

from __future__ import annotations

import enum
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID  # noqa: TC003 - annotations of events are looked up

from runner import Event, Projection, Record, Scale, buckets, key, last, on

Money = Annotated[Decimal, Scale(2)]


class Grade(enum.Enum):
    LOW = "low"
    HIGH = "hö"


class Lot(Record):
    sku: str
    quantity: int
    cost: Money = Decimal("0.25")
    note: str | None = None


class Arrived(Event, type=("arrived", "arrived.v2")):
    lots: list[Lot]
    dock: str | None = None
    weight: float = 0.1


class Priced(Event, type="priced"):
    price: Money | None
    at: datetime | None = None
    grade: Grade = Grade.LOW
    ref: UUID | None = None
    good: bool = True


class Dropped(Event, type="dropped"):
    hard: bool


class Depots(Projection):
    """Every kind of state; a row that goes and comes again begins anew."""

    trail: str = ""
    dock: str | None = None
    value: Annotated[Decimal, Scale(3, "ROUND_HALF_EVEN")] = Decimal("0.000")
    price: Money | None = None
    weight: float = 0.0
    docks: list[str | None] = last(3)
    sizes: list[int] = buckets(0, 2, 5)
    changed: datetime | None = None
    idle: timedelta = timedelta(0)
    grade: Grade | None = None
    ref: UUID | None = None
    good: bool = False

    @on(Arrived)
    def arrived(self, e: Arrived) -> None:
        self.dock = e.dock
        self.docks.append(e.dock)
        self.weight = self.weight / 2 + e.weight
        for lot in e.lots:
            self.value += lot.cost * lot.quantity
            self.sizes.add(lot.quantity)
            if lot.note is not None and len(self.trail) < 30:
                self.trail = f"{lot.note[:3]}{lot.quantity};{self.trail}"

    @on(Priced)
    def priced(self, e: Priced) -> None:
        self.price = e.price
        if self.changed is not None:
            self.idle = max(self.idle, e.recorded_at - self.changed)
        self.changed = e.recorded_at if e.at is None else e.at
        self.grade = e.grade
        self.ref = e.ref
        self.good = self.good or e.good

    @on(Dropped)
    def dropped(self, e: Dropped) -> None:
        self.dock = None
        if e.hard:
            self.delete()
        self.trail = "dropped"


class Lots(Projection, key=("aggregate_id", "sku"), indexes=(("sku",),)):
    quantity: int = 0
    cost: Money = Decimal("0.00")
    note: str | None = None

    @on(Arrived, each="lots")
    def arrived(self, e: Arrived, lot: Lot) -> None:
        self.quantity += lot.quantity
        self.cost = max(self.cost, lot.cost)
        self.note = lot.note if lot.note is not None else e.dock
        if self.quantity <= 0:
            self.delete()


class Docks(Projection, key=("dock", "day", "source")):
    """A part that may be None, a computed one, a header field."""

    lots: int = 0
    cost: Money = Decimal("0.00")
    sizes: list[int] = buckets(0, 2)
    newest: datetime | None = None
    least: str = "~"

    @key
    def day(e: Event) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Arrived)
    def arrived(self, e: Arrived) -> None:
        self.sizes.add(len(e.lots))
        if self.newest is None or e.recorded_at > self.newest:
            self.newest = e.recorded_at
        for lot in e.lots:
            self.lots += 1
            self.cost += lot.cost
            self.least = min(self.least, lot.sku)

    def merge(self, other: Docks) -> None:
        self.lots += other.lots
        self.cost += other.cost
        self.sizes.merge(other.sizes)
        self.least = min(self.least, other.least)
        if other.newest is not None and (self.newest is None or other.newest > self.newest):
            self.newest = other.newest


class Kinds(Projection, key=("type", "tenant")):
    """All types, also those without a class."""

    count: int = 0

    @on(Event)
    def counted(self, e: Event) -> None:
        self.count += 1

    def merge(self, other: Kinds) -> None:
        self.count += other.count


class Counts(Projection, key=("aggregate_id", "type"), compiled=False):
    """Plain Python, by aggregate and type."""

    words: str = ""
    seen: int = 0

    @on(Arrived)
    def arrived(self, e: Arrived) -> None:
        self.seen += 1
        self.words = ",".join(sorted({lot.sku for lot in e.lots} | set(self.words.split(",")))[:5])

    @on(Dropped)
    def dropped(self, e: Dropped) -> None:
        self.seen += 1
        if self.seen > 2:
            self.delete()
