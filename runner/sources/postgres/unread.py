"""What a source's mark knows to be unread at or below a place: who is told to go on behind that place would miss it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.sources.postgres.tail.choose import unread_of

if TYPE_CHECKING:
    from runner.sources.postgres.marks import StoreMark

__all__ = ["epochs_of", "unread_upto"]


def epochs_of(mark: StoreMark) -> tuple[int, ...]:
    """The highest position of each former life of the store (``tail/transactions.py``), ascending."""
    return unread_of(mark.tail).ends


def unread_upto(mark: StoreMark, place: tuple[int, ...]) -> str:
    """What may still come at or below a place (as the store orders, without the epoch), in words; "" for nothing."""
    tail = unread_of(mark.tail)
    epoch = tail.epoch(place[-1])
    found = []
    if epoch == len(tail.ends) and (ids := sorted(x for x in tail.transactions if x <= place[0])):
        found.append(f"rows of {_some('transaction', ids)}, which is passed by for as long as it is open")
    if low := sorted(first for first in tail.gaps if first <= place[-1]):
        found.append(f"rows at {_some('position', low)}, passed by time")
    if low := sorted(first for first in tail.late if first <= place[-1]):
        found.append(f"late rows at {_some('position', low)}")
    if held := [h for h in mark.held if tuple(h[-len(place) :]) <= place]:
        found.append(f"{len(held):,} rows that wait for lower versions of their aggregates")
    full = (epoch, *place) if tail.by_epoch else place
    if stopped := sorted(name for name, at in mark.stopped.items() if at is None or at < full):
        found.append(f"rows of {_some('the stopped tenant', stopped)}")
    return "; ".join(found)


def _some(what: str, values: list[Any]) -> str:
    return f"{what} {values[0]}" + (f" and {len(values) - 1:,} more" if len(values) > 1 else "")
