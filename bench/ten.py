"""Nine projections beside ``account.Account``, over the same events: with it, ten in one pass."""

from __future__ import annotations

from datetime import UTC, datetime

from account import Charged, Deposited, Opened, Withdrawn

from runner import Event, Projection, on

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


class Balance(Projection):
    balance: int = 0

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.balance -= e.amount

    @on(Charged)
    def charged(self, e: Charged) -> None:
        self.balance -= e.amount


class Deposits(Projection):
    deposits: int = 0
    total: int = 0
    largest: int = 0

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.deposits += 1
        self.total += e.amount
        self.largest = max(self.largest, e.amount)


class Withdrawals(Projection):
    withdrawals: int = 0
    total: int = 0
    largest: int = 0

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.withdrawals += 1
        self.total += e.amount
        self.largest = max(self.largest, e.amount)


class Fees(Projection):
    fees: int = 0
    total: int = 0

    @on(Charged)
    def charged(self, e: Charged) -> None:
        self.fees += 1
        self.total += e.amount


class Activity(Projection):
    events: int = 0
    last_at: datetime = BEGIN

    @on(Event)
    def happened(self, e: Event) -> None:
        self.events += 1
        self.last_at = e.recorded_at


class Turnover(Projection):
    turnover: int = 0
    movements: int = 0

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.turnover += e.amount
        self.movements += 1

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.turnover += e.amount
        self.movements += 1


class Extremes(Projection):
    largest_in: int = 0
    largest_out: int = 0

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.largest_in = max(self.largest_in, e.amount)

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.largest_out = max(self.largest_out, e.amount)


class Dates(Projection):
    opened_at: datetime = BEGIN
    deposited_at: datetime = BEGIN

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.opened_at = e.recorded_at

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.deposited_at = e.recorded_at


class Outflow(Projection):
    outflow: int = 0
    payments: int = 0
    last_at: datetime = BEGIN

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.outflow += e.amount
        self.payments += 1
        self.last_at = e.recorded_at

    @on(Charged)
    def charged(self, e: Charged) -> None:
        self.outflow += e.amount
        self.payments += 1
        self.last_at = e.recorded_at
