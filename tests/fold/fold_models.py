"""Event and projection classes that the fold's tests share: every kind of field, key and handler at least once."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID  # noqa: TC003  # annotations of events are looked up

from runner import Event, Projection, Record, Scale, buckets, field, key, last, on


class Grade(enum.Enum):
    """Text values."""

    LOW = "low"
    HIGH = "high"


class Step(enum.Enum):
    """Int values, one negative."""

    DOWN = -1
    UP = 1


class Line(Record):
    """An element with an Optional field and a default."""

    sku: str
    quantity: int
    price: Annotated[Decimal, Scale(2)]
    note: str | None = None


class Placed(Event, type=("order.placed", "order.imported")):
    """Two stored names; a list of records, a list of scalars."""

    lines: list[Line]
    weights: list[float] = []  # noqa: RUF012  # how authors write it
    customer: str | None = None


class Paid(Event, type="order.paid"):
    """One field of every kind; defaults that stand in for absent fields."""

    amount: Annotated[Decimal, Scale(2)]
    count: int = 7
    rate: float = 0.5
    fine: bool = True
    at: datetime | None = None
    day: date = date(2020, 2, 29)
    took: timedelta = timedelta(hours=1)
    ref: UUID | None = field("refs.main")
    grade: Grade = Grade.HIGH
    step: Step | None = None
    currency: str = "EUR"


class Cancelled(Event, type="order.cancelled"):
    """Deletes rows."""

    hard: bool


class Touched(Event, type="order.touched"):
    """No payload, and no handler but those for all types."""


class Orders(Projection):
    """Every kind of state field, one row an aggregate."""

    total: Annotated[Decimal, Scale(2)] = Decimal("0.00")
    quantity: int = 0
    rate: float = 0.0
    fine: bool = False
    customer: str | None = None
    currency: str = "none"
    paid_at: datetime | None = None
    day: date = date(1999, 12, 31)
    took: timedelta = timedelta(0)
    ref: UUID | None = None
    grade: Grade = Grade.LOW
    step: Step | None = Step.UP
    skus: list[str] = last(3)
    steps: list[int | None] = last(2)
    sizes: list[int] = buckets(0, 10, 100)
    stored: str = ""

    @on(Placed)
    def placed(self, e: Placed) -> None:
        """Loops over both lists."""
        for line in e.lines:
            self.quantity += line.quantity
            self.total += line.price * line.quantity
            self.skus.append(line.sku)
            self.sizes.add(line.quantity)
            if line.note is not None:
                self.currency = line.note
        for weight in e.weights:
            self.rate += weight
        self.customer = e.customer
        self.stored = e.type

    @on(Paid)
    def paid(self, e: Paid) -> None:
        """Takes over every kind of value."""
        self.total += e.amount
        self.quantity += e.count
        self.rate = e.rate
        self.fine = e.fine
        self.paid_at = e.recorded_at if e.at is None else e.at
        self.day = e.day
        self.took += e.took
        self.ref = e.ref
        self.grade = e.grade
        self.step = e.step
        self.currency = e.currency
        self.steps.append(e.count if e.fine else None)

    @on(Cancelled)
    def cancelled(self, e: Cancelled) -> None:
        """Deletes, or only forgets."""
        self.customer = None
        if e.hard:
            self.delete()


class OrderLines(Projection, key=("aggregate_id", "sku")):
    """Child rows, keyed by an element's field."""

    quantity: int = 0
    revenue: Annotated[Decimal, Scale(2)] = Decimal("0.00")
    note: str | None = None

    @on(Placed, each="lines")
    def placed(self, e: Placed, line: Line) -> None:
        """Negative quantities take lines away."""
        self.quantity += line.quantity
        self.revenue += line.price * line.quantity
        if line.note is not None:
            self.note = line.note
        if self.quantity < 0:
            self.delete()


class Daily(Projection, key=("type", "day", "grade")):
    """Merged rows over all types; an Optional, an enum and a computed key part."""

    count: int = 0
    newest: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    sizes: list[int] = buckets(0, 5)

    @key
    def day(e: Event) -> date:  # noqa: N805  # a key function takes the event
        """The day of recording."""
        return e.recorded_at.date()

    @key
    def grade(e: Event) -> str | None:  # noqa: N805  # a key function takes the event
        """None for every second version."""
        return None if e.version % 2 == 0 else "odd"

    @on(Event)
    def counted(self, e: Event) -> None:
        """Counts."""
        self.count += 1
        self.newest = max(self.newest, e.recorded_at)
        self.sizes.add(e.version)

    def merge(self, other: Daily) -> None:
        """Adds up."""
        self.count += other.count
        self.newest = max(self.newest, other.newest)
        self.sizes.merge(other.sizes)


class Slugs(Projection):
    """Makes texts in the kernel: the pool must grow on the way."""

    slug: str = ""
    longest: str = ""

    @on(Placed)
    def placed(self, e: Placed) -> None:
        """Joins what the lines say."""
        for line in e.lines:
            self.slug = f"{line.sku}-{e.position}"
            if len(self.longest) < 200:
                self.longest = self.longest + line.sku.upper()


ALL = (Orders, OrderLines, Daily, Slugs)
