"""What a rival is once its events are in its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

__all__ = ["ACCOUNT", "THREADS", "Loaded", "State", "account_rows"]

THREADS = 2
ACCOUNT = "account:Account"


def _nothing() -> None:
    return None


class Loaded(NamedTuple):
    """fold: one whole fold, what is timed. rows: of its result, the table of each projection, with ids in ``account``;
    None: it makes none. events: how many it folds. octets: how many it reads, where that is what it is for. close: end
    what it started.
    """

    fold: Callable[[], Any]
    rows: Callable[[Any], Mapping[str, pa.Table]] | None
    events: int
    octets: int = 0
    close: Callable[[], Any] = _nothing


class State:
    """A row of ``account.Account`` while rivals in Python fold it."""

    __slots__ = ("balance", "deposits", "largest", "last_at", "open", "withdrawals")

    def __init__(self) -> None:
        self.balance = self.deposits = self.withdrawals = self.largest = self.last_at = 0
        self.open = False

    def apply(self, event: tuple[int, int, int]) -> State:
        """event: (type, amount, at). Returns itself, as libraries want it."""
        kind, amount, at = event
        if kind == 1:
            self.balance += amount
            self.deposits += 1
            self.largest = max(self.largest, amount)
        elif kind == 2:
            self.balance -= amount
            self.withdrawals += 1
        elif kind == 3:
            self.balance -= amount
        else:
            self.open = True
        self.last_at = at
        return self


def account_rows(states: Mapping[str, State]) -> dict[str, pa.Table]:
    """The rows of states by the account's id."""
    import pyarrow as pa

    fields = [name for name in State.__slots__ if name != "open"]
    columns = {name: pa.array([getattr(s, name) for s in states.values()], pa.int64()) for name in fields}
    columns["open"] = pa.array([s.open for s in states.values()])
    return {ACCOUNT: pa.table({"account": pa.array(list(states), pa.string()), **columns})}
