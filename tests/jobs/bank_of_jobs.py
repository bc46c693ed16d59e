"""The projections that tests of jobs run: one of each kind of key, and one in plain Python."""

from __future__ import annotations

from runner import Event, Projection, Record, last, on


class Opened(Event, type="opened"):
    owner: str


class Moved(Event, type="moved"):
    amount: int
    note: str | None = None


class Closed(Event, type="closed"):
    pass


class Line(Record):
    sku: str
    quantity: int


class Bought(Event, type="bought"):
    lines: list[Line]


class Accounts(Projection, key=("aggregate_id",)):
    owner: str = ""
    balance: int = 0
    moves: int = 0
    note: str | None = None

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.owner = e.owner

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.balance += e.amount
        self.moves += 1
        if e.note is not None:
            self.note = e.note

    @on(Closed)
    def closed(self, e: Closed) -> None:
        self.delete()


class Items(Projection, key=("aggregate_id", "sku")):
    quantity: int = 0

    @on(Bought, each="lines")
    def bought(self, e: Bought, line: Line) -> None:
        self.quantity += line.quantity
        if self.quantity == 0:
            self.delete()


class Totals(Projection, key=("type",)):
    events: int = 0
    highest: int = -1000

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.events += 1
        self.highest = max(self.highest, e.amount)

    @on(Event)
    def any(self, e: Event) -> None:
        self.events += 1

    def merge(self, other: Totals) -> None:
        self.events += other.events
        self.highest = max(self.highest, other.highest)


class Trail(Projection, compiled=False):
    amounts: list[int] = last(3)

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.amounts.append(e.amount)
