"""The benchmark's projection: what the rivals' SQL computes, as an author would write it."""

from __future__ import annotations

from datetime import UTC, datetime

from runner import Event, Projection, on


class Opened(Event, type="account.opened"):
    currency: str


class Deposited(Event, type="money.deposited"):
    amount: int


class Withdrawn(Event, type="money.withdrawn"):
    amount: int


class Charged(Event, type="fee.charged"):
    amount: int


class Account(Projection):
    balance: int = 0
    deposits: int = 0
    withdrawals: int = 0
    largest: int = 0
    last_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    open: bool = False

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.open = True
        self.last_at = e.recorded_at

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount
        self.deposits += 1
        self.largest = max(self.largest, e.amount)
        self.last_at = e.recorded_at

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.balance -= e.amount
        self.withdrawals += 1
        self.last_at = e.recorded_at

    @on(Charged)
    def charged(self, e: Charged) -> None:
        self.balance -= e.amount
        self.last_at = e.recorded_at
