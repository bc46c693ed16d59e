"""Projections of the stores that the libraries wrote: bank accounts of ``eventsourcing``, orders of Emmett, accounts of
message-db, courses and students of the dynamic consistency boundary.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from runner import Event, Projection, Scale, field, on

Money = Annotated[Decimal, Scale(6)]


def _types(name: str) -> tuple[str, str]:
    """One event class for both of the bank's aggregates."""
    return f"eventsourcing_py_bank:BankAccount.{name}", f"eventsourcing_py_bank:TextAccount.{name}"


class Opened(Event, type=_types("Opened")):
    owner: str
    currency: str


class Deposited(Event, type=_types("Deposited")):
    amount: Money = field("amount._data_", coerce="number")


class Withdrawn(Event, type=_types("Withdrawn")):
    amount: Money = field("amount._data_", coerce="number")


class TransferSent(Event, type=_types("TransferSent")):
    amount: Money = field("amount._data_", coerce="number")


class TransferReceived(Event, type=_types("TransferReceived")):
    amount: Money = field("amount._data_", coerce="number")


class AddressChanged(Event, type=_types("AddressChanged")):
    street: str = field("address.street")
    no: int = field("address.no")
    latitude: float = field("address.geo.lat")
    longitude: float = field("address.geo.lon")
    tags: list[str] = field("address.tags")


class OverdraftSet(Event, type=_types("OverdraftSet")):
    limit: Money = field("limit._data_", coerce="number")


class Closed(Event, type=_types("Closed")):
    reason: str


class Accounts(Projection):
    """The bank's accounts, as the library rebuilds them."""

    version: int = 0
    owner: str = ""
    currency: str = ""
    balance: Money = Decimal(0)
    overdraft: Money = Decimal(0)
    closed: bool = False
    street: str = ""
    no: int = 0
    latitude: float = 0.0
    longitude: float = 0.0
    tags: int = 0

    @on(Event)
    def any(self, e: Event) -> None:
        self.version = e.version

    @on(Opened)
    def opened(self, e: Opened) -> None:
        self.owner = e.owner
        self.currency = e.currency

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount

    @on(Withdrawn)
    def withdrawn(self, e: Withdrawn) -> None:
        self.balance -= e.amount

    @on(TransferSent)
    def sent(self, e: TransferSent) -> None:
        self.balance -= e.amount

    @on(TransferReceived)
    def received(self, e: TransferReceived) -> None:
        self.balance += e.amount

    @on(AddressChanged)
    def moved(self, e: AddressChanged) -> None:
        self.street = e.street
        self.no = e.no
        self.latitude = e.latitude
        self.longitude = e.longitude
        self.tags = len(e.tags)

    @on(OverdraftSet)
    def set_overdraft(self, e: OverdraftSet) -> None:
        self.overdraft = e.limit

    @on(Closed)
    def close(self, e: Closed) -> None:
        self.closed = True
