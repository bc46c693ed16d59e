"""A read model with a field of each kind, from a file of events."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated
from uuid import UUID

from runner import Event, Projection, Scale, last, on

Money = Annotated[Decimal, Scale(3)]


class Level(IntEnum):
    LOW = 1
    HIGH = 7


class Thing(Event):
    number: int
    ratio: float
    ok: bool
    name: str
    at: datetime
    day: date
    ref: UUID
    price: Money
    level: Level
    note: str | None = None


class Things(Projection):
    number: int = 0
    ratio: float = 0.0
    ok: bool = False
    name: str = ""
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    day: date = date(1970, 1, 1)
    ref: UUID = UUID(int=0)
    price: Money = Decimal(0)
    level: Level = Level.LOW
    note: str | None = None
    took: timedelta = timedelta(0)
    numbers: list[int] = last(3)

    @on(Thing)
    def thing(self, e: Thing) -> None:
        self.number = e.number
        self.ratio = e.ratio
        self.ok = e.ok
        self.name = e.name
        self.day = e.day
        self.ref = e.ref
        self.price = e.price
        self.level = e.level
        self.note = e.note
        self.took = e.at - self.at
        self.at = e.at
        self.numbers.append(e.number)


class Levels(Projection, key="level", merge_floats=True):
    """One row a level, over all things."""

    count: int = 0
    largest: float = 0.0

    @on(Thing)
    def thing(self, e: Thing) -> None:
        self.count += 1
        self.largest = max(self.largest, e.ratio)

    def merge(self, other: Levels) -> None:
        self.count += other.count
        self.largest = max(self.largest, other.largest)
