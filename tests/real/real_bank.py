"""Projections of a Czech bank's accounts (PKDD'99): two CSV files about the same aggregates, exact money."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal

from runner import Event, Projection, Scale, field, key, on

Money = Annotated[Decimal, Scale(2)]


class Operation(Enum):
    """How money moved."""

    NONE = ""
    CASH_IN = "VKLAD"
    CASH_OUT = "VYBER"
    CARD = "VYBER KARTOU"
    FROM_BANK = "PREVOD Z UCTU"
    TO_BANK = "PREVOD NA UCET"


class Opened(Event, type="account.opened"):
    """A row of account.asc."""

    district: int = field("district_id", coerce="number")
    frequency: Literal["POPLATEK MESICNE", "POPLATEK TYDNE", "POPLATEK PO OBRATU"]
    opened_on: date = field("date", coerce="%y%m%d")


class Credited(Event, type="PRIJEM"):
    """Money that came in."""

    amount: Money = field(coerce="number")
    operation: Operation
    symbol: str = field("k_symbol")
    balance: Money = field(coerce="number")


class Debited(Event, type=("VYDAJ", "VYBER")):
    """Money that went out; two names for one thing."""

    amount: Decimal = field(scale=2, coerce="number")
    operation: Operation
    symbol: str = field("k_symbol")
    balance: Decimal = field(scale=2, coerce="number")
    bank: str | None


class Accounts(Projection, indexes=(("district",),)):
    """One row per account: both files feed it."""

    district: int | None = None
    frequency: str = ""
    opened_on: date | None = None
    came_in: Money = Decimal("0.00")
    went_out: Money = Decimal("0.00")
    net: Money = Decimal("0.00")
    largest: Decimal = Decimal("0.00")
    highest_balance: Money = Decimal("0.00")
    came_in_rounded: Annotated[Decimal, Scale(0, "ROUND_HALF_EVEN")] = Decimal(0)
    interest: Money | None = None
    movements: int = 0
    last_at: datetime | None = None
    last_operation: Operation = Operation.NONE
    last_bank: str = ""

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.district = e.district
        self.frequency = e.frequency
        self.opened_on = e.opened_on

    @on(Credited)
    def credited(self, e: Credited) -> None:
        self.came_in += e.amount
        self.net += e.amount
        self.came_in_rounded = self.came_in
        self.largest = max(self.largest, e.amount)
        self.highest_balance = max(self.highest_balance, e.balance)
        if e.symbol == "UROK":
            self.interest = e.amount if self.interest is None else self.interest + e.amount
        self.movements += 1
        self.last_at = e.recorded_at
        self.last_operation = e.operation

    @on(Debited)
    def debited(self, e: Debited) -> None:
        self.went_out += e.amount
        self.net -= e.amount
        self.largest = max(self.largest, e.amount)
        self.highest_balance = max(self.highest_balance, e.balance)
        self.movements += 1
        self.last_at = e.recorded_at
        self.last_operation = e.operation
        if e.bank is not None and e.bank != "":
            self.last_bank = e.bank


class Movements(Projection, key=("aggregate_id", "operation")):
    """Child rows: one per account and operation, an enum in the key."""

    count: int = 0
    total: Money = Decimal("0.00")

    @on(Credited)
    def credited(self, e: Credited) -> None:
        self.count += 1
        self.total += e.amount

    @on(Debited)
    def debited(self, e: Debited) -> None:
        self.count += 1
        self.total -= e.amount


class Turnover(Projection, key=("month", "operation")):
    """Merged: sums of Decimals per month and operation."""

    count: int = 0
    total: Money = Decimal("0.00")

    @key
    def month(e: Event) -> date:  # noqa: N805 - a key function takes the event
        return date(e.recorded_at.year, e.recorded_at.month, 1)

    @on(Credited)
    def credited(self, e: Credited) -> None:
        self.count += 1
        self.total += e.amount

    @on(Debited)
    def debited(self, e: Debited) -> None:
        self.count += 1
        self.total -= e.amount

    def merge(self, other: Turnover) -> None:
        self.count += other.count
        self.total += other.total
