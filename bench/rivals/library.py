"""The ledger in the ``eventsourcing`` library: aggregates that record it, and the loop that follows their store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from rivals.loaded import State

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Bank", "followed"]


class Account(Aggregate):
    @event("Opened")
    def __init__(self, name: str, at: int) -> None:
        self.name = name

    @staticmethod
    def create_id(name: str, at: int) -> UUID:
        return uuid5(NAMESPACE_URL, name)

    @event("Deposited")
    def deposit(self, amount: int, at: int) -> None:
        pass

    @event("Withdrawn")
    def withdraw(self, amount: int, at: int) -> None:
        pass

    @event("Charged")
    def charge(self, amount: int, at: int) -> None:
        pass


class Bank(Application[Any]):
    def record(self, events: Iterable[tuple[str, tuple[int, int, int]]]) -> int:
        """Record the events, each account's by its aggregate; returns how many."""
        accounts: dict[str, Account] = {}
        count = 0
        for name, (kind, amount, at) in events:
            if kind == 0:
                accounts[name] = Account(name, at)
            else:
                account = accounts[name]
                (account.deposit, account.withdraw, account.charge)[kind - 1](amount, at)
            count += 1
        self.save(*accounts.values())
        return count


_KINDS = {Account.Deposited: 1, Account.Withdrawn: 2, Account.Charged: 3}  # type: ignore[attr-defined]
_PAGE = 1000


def followed(bank: Bank) -> dict[str, State]:
    """All events of the store as the library hands them to its projections, folded; states by the account's name."""
    states: dict[UUID, State] = {}
    names: dict[UUID, str] = {}
    start = 1
    while True:
        found = bank.recorder.select_notifications(start=start, limit=_PAGE)
        if not found:
            return {names[identity]: state for identity, state in states.items()}
        for notification in found:
            happened: Any = bank.mapper.to_domain_event(notification)
            identity = happened.originator_id
            kind = _KINDS.get(type(happened), 0)
            if kind == 0:
                names[identity] = happened.name
                states[identity] = State().apply((0, 0, happened.at))
            else:
                states[identity].apply((kind, happened.amount, happened.at))
        start = int(found[-1].id) + 1
