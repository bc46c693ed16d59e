"""Projections of the workloads that are no ledger: wide payloads, many types, rare types, strings."""

from __future__ import annotations

from runner import Event, Projection, on

MANY = tuple(f"entry.{n:02d}" for n in range(64))
RARE = tuple(f"kind.{n:02d}" for n in range(16))
READINGS = tuple(f"r{n:02d}" for n in range(24))
CHANGES = ("ticket.changed", "ticket.commented")


class Reading(Event, type="reading.taken"):
    r00: int
    r01: int
    r02: int
    r03: int
    r04: int
    r05: int
    r12: int
    r13: int
    r14: int
    r15: int
    r16: int
    r23: int


class Sensors(Projection):
    """Twelve of the payload's twenty-eight fields."""

    readings: int = 0
    s00: int = 0
    s01: int = 0
    s02: int = 0
    s03: int = 0
    s04: int = 0
    s05: int = 0
    s12: int = 0
    s13: int = 0
    m14: int = 0
    m15: int = 0
    m16: int = 0
    m23: int = 0

    @on(Reading)
    def taken(self, e: Reading) -> None:
        self.readings += 1
        self.s00 += e.r00
        self.s01 += e.r01
        self.s02 += e.r02
        self.s03 += e.r03
        self.s04 += e.r04
        self.s05 += e.r05
        self.s12 += e.r12
        self.s13 += e.r13
        self.m14 = max(self.m14, e.r14)
        self.m15 = max(self.m15, e.r15)
        self.m16 = max(self.m16, e.r16)
        self.m23 = max(self.m23, e.r23)


class Debit(Event, type=MANY[:32]):
    amount: int


class Credit(Event, type=MANY[32:]):
    amount: int


class Ledgers(Projection):
    balance: int = 0
    debits: int = 0
    credits: int = 0
    largest: int = 0

    @on(Debit)
    def debited(self, e: Debit) -> None:
        self.balance += e.amount
        self.debits += 1
        self.largest = max(self.largest, e.amount)

    @on(Credit)
    def credited(self, e: Credit) -> None:
        self.balance -= e.amount
        self.credits += 1


class Alarm(Event, type=RARE[14:]):
    amount: int


class Alarms(Projection):
    """Of sixteen types it handles two, which have one event in a hundred."""

    alarms: int = 0
    total: int = 0

    @on(Alarm)
    def raised(self, e: Alarm) -> None:
        self.alarms += 1
        self.total += e.amount


class Change(Event, type=CHANGES):
    status: str
    owner: str


class Tickets(Projection):
    status: str = ""
    owner: str = ""
    opened: int = 0
    events: int = 0

    @on(Change)
    def changed(self, e: Change) -> None:
        self.status = e.status
        self.owner = e.owner
        self.events += 1
        if e.status == "status 3":
            self.opened += 1
