"""The demo's ledger: accounts, their balances per currency, and what flowed per currency and day."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from runner import Event, Projection, Scale, key, on

Money = Annotated[Decimal, Scale(2)]


class AccountOpened(Event, type="account.opened"):
    owner: str
    currency: str


class MoneyDeposited(Event, type="money.deposited"):
    amount: Money
    currency: str


class MoneyWithdrawn(Event, type="money.withdrawn"):
    amount: Money
    currency: str


class FeeCharged(Event, type="fee.charged"):
    amount: Money
    currency: str
    reason: str = ""


class Accounts(Projection, indexes=(("owner",),)):
    """One row per account. The balance is in the account's own currency; other currencies are counted as foreign."""

    owner: str = ""
    currency: str = ""
    opened_at: datetime | None = None
    last_at: datetime | None = None
    balance: Money = Decimal("0.00")
    lowest: Money = Decimal("0.00")
    deposits: int = 0
    withdrawals: int = 0
    fees: int = 0
    foreign: int = 0

    @on(AccountOpened)
    def opened(self, e: AccountOpened) -> None:
        self.owner = e.owner
        self.currency = e.currency
        self.opened_at = e.recorded_at
        self.last_at = e.recorded_at

    @on(MoneyDeposited)
    def deposited(self, e: MoneyDeposited) -> None:
        self.deposits += 1
        self.last_at = e.recorded_at
        if e.currency == self.currency:
            self.balance += e.amount
        else:
            self.foreign += 1

    @on(MoneyWithdrawn)
    def withdrawn(self, e: MoneyWithdrawn) -> None:
        self.withdrawals += 1
        self.last_at = e.recorded_at
        if e.currency == self.currency:
            self.balance -= e.amount
            self.lowest = min(self.lowest, self.balance)
        else:
            self.foreign += 1

    @on(FeeCharged)
    def charged(self, e: FeeCharged) -> None:
        self.fees += 1
        self.last_at = e.recorded_at
        if e.currency == self.currency:
            self.balance -= e.amount
            self.lowest = min(self.lowest, self.balance)
        else:
            self.foreign += 1


class Balances(Projection, key=("aggregate_id", "currency")):
    """One row per account and currency: child rows of the account, no exchange between partitions is needed."""

    balance: Money = Decimal("0.00")
    movements: int = 0
    largest: Money = Decimal("0.00")
    last_at: datetime | None = None

    @on(MoneyDeposited)
    def deposited(self, e: MoneyDeposited) -> None:
        self.balance += e.amount
        self.movements += 1
        self.largest = max(self.largest, e.amount)
        self.last_at = e.recorded_at

    @on(MoneyWithdrawn)
    def withdrawn(self, e: MoneyWithdrawn) -> None:
        self.balance -= e.amount
        self.movements += 1
        self.largest = max(self.largest, e.amount)
        self.last_at = e.recorded_at

    @on(FeeCharged)
    def charged(self, e: FeeCharged) -> None:
        self.balance -= e.amount
        self.movements += 1
        self.last_at = e.recorded_at


class Flows(Projection, key=("currency", "day")):
    """One row per currency and day: folded per partition, merged at the end."""

    paid_in: Money = Decimal("0.00")
    paid_out: Money = Decimal("0.00")
    fees: Money = Decimal("0.00")
    movements: int = 0

    @key
    def day(e: Event) -> date:  # noqa: N805 - a key function takes the event, there is no state yet
        return e.recorded_at.date()

    @on(MoneyDeposited)
    def deposited(self, e: MoneyDeposited) -> None:
        self.paid_in += e.amount
        self.movements += 1

    @on(MoneyWithdrawn)
    def withdrawn(self, e: MoneyWithdrawn) -> None:
        self.paid_out += e.amount
        self.movements += 1

    @on(FeeCharged)
    def charged(self, e: FeeCharged) -> None:
        self.fees += e.amount
        self.movements += 1

    def merge(self, other: Flows) -> None:
        self.paid_in += other.paid_in
        self.paid_out += other.paid_out
        self.fees += other.fees
        self.movements += other.movements
