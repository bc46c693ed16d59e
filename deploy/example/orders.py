"""The read models of the example shop: one row per order, and one per day and currency."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from runner import Event, Projection, Scale, key, on

Money = Annotated[Decimal, Scale(2)]


class Placed(Event, type="OrderPlaced"):
    currency: str
    total: Money


class Paid(Event, type="OrderPaid"):
    currency: str
    amount: Money


class Cancelled(Event, type="OrderCancelled"):
    pass


class Orders(Projection):
    status: str = "placed"
    currency: str = ""
    total: Money = Decimal("0.00")
    paid: Money = Decimal("0.00")
    changed_at: datetime | None = None

    @on(Placed)
    def placed(self, e):
        self.currency = e.currency
        self.total = e.total
        self.changed_at = e.recorded_at

    @on(Paid)
    def has_paid(self, e):
        self.paid += e.amount
        self.status = "paid"
        self.changed_at = e.recorded_at

    @on(Cancelled)
    def cancelled(self, e):
        self.status = "cancelled"
        self.changed_at = e.recorded_at


class Takings(Projection, key=("currency", "day")):
    payments: int = 0
    paid: Money = Decimal("0.00")

    @key
    def day(e: Event) -> date:  # noqa: N805 - takes the event, there is no state yet
        return e.recorded_at.date()

    @on(Paid)
    def has_paid(self, e):
        self.payments += 1
        self.paid += e.amount

    def merge(self, other):
        self.payments += other.payments
        self.paid += other.paid
