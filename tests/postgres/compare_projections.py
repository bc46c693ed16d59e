"""Orders of Emmett's store, as the read model that is compared with a simulated application's table."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated

from runner import Event, Projection, Scale, on

Euros = Annotated[Decimal, Scale(4)]
CENT = Decimal("0.01")


class Status(Enum):
    NONE = "none"
    OPEN = "open"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    PAID = "paid"
    SHIPPED = "shipped"


class OrderOpened(Event):
    customerId: str  # noqa: N815  # as the store has it
    openedAt: datetime  # noqa: N815


class ItemAdded(Event):
    product: str
    quantity: int
    unitPriceCents: int  # noqa: N815


class ItemRemoved(Event):
    product: str
    quantity: int
    unitPriceCents: int  # noqa: N815


class DiscountApplied(Event):
    cents: int


class OrderConfirmed(Event):
    confirmedAt: datetime  # noqa: N815


class OrderCancelled(Event):
    reason: str


class PaymentRecorded(Event):
    amountCents: int  # noqa: N815


class OrderShipped(Event):
    parcel: str
    weightKg: float  # noqa: N815


class Orders(Projection):
    revision: int = 0
    customer: str = ""
    status: Status = Status.NONE
    total: Euros = Decimal(0)
    paid: int | None = None
    items: int = 0
    opened_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    touched_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    weight: float = 0.0
    reason: str = ""
    done: bool = False

    @on(Event)
    def any(self, e: Event) -> None:
        self.revision = e.version
        self.touched_at = e.recorded_at

    @on(OrderOpened)
    def opened(self, e: OrderOpened) -> None:
        self.customer = e.customerId
        self.status = Status.OPEN
        self.opened_at = e.openedAt
        self.total = Decimal(0)
        self.items = 0

    @on(ItemAdded)
    def added(self, e: ItemAdded) -> None:
        self.total += Decimal(e.quantity * e.unitPriceCents) * CENT
        self.items += e.quantity

    @on(ItemRemoved)
    def removed(self, e: ItemRemoved) -> None:
        self.total -= Decimal(e.quantity * e.unitPriceCents) * CENT
        self.items -= e.quantity

    @on(DiscountApplied)
    def discounted(self, e: DiscountApplied) -> None:
        self.total -= Decimal(e.cents) * CENT

    @on(OrderConfirmed)
    def confirmed(self, e: OrderConfirmed) -> None:
        self.status = Status.CONFIRMED

    @on(OrderCancelled)
    def cancelled(self, e: OrderCancelled) -> None:
        self.status = Status.CANCELLED
        self.reason = e.reason
        self.done = True

    @on(PaymentRecorded)
    def paid_for(self, e: PaymentRecorded) -> None:
        self.status = Status.PAID
        self.paid = e.amountCents

    @on(OrderShipped)
    def shipped(self, e: OrderShipped) -> None:
        self.status = Status.SHIPPED
        self.weight = e.weightKg
        self.done = True
