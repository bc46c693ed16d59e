"""What a source's mark knows to be unread at or below a place: who is told to go on behind that place would miss it."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.sources.postgres.marks import StoreMark

__all__ = ["epochs_of", "unread_upto"]


def epochs_of(mark: StoreMark) -> tuple[int, ...]:
    """The highest position of each former life of the store (``tail/transactions.py``), ascending."""
    return tuple(sorted(_state(mark).get("epochs", ())))


def unread_upto(mark: StoreMark, place: tuple[int, ...]) -> str:
    """What may still come at or below a place (as the store orders, without the epoch), in words; "" for nothing."""
    tail, ends = mark.tail or {}, epochs_of(mark)
    epoch = bisect_left(ends, place[-1])
    found = []
    if tail.get("rule") == "xid" and epoch == len(ends):
        state = _state(mark)
        ids = sorted(x for x in (*state.get("pending", ()), *state.get("owed", ())) if x <= place[0])
        if ids:
            found.append(f"rows of {_some('transaction', ids)}, which is passed by for as long as it is open")
    gaps = [first for _, group in (tail.get("gaps") or {}).get("ranges", ()) for first in group[::2]]
    if low := sorted(first for first in gaps if first <= place[-1]):
        found.append(f"rows at {_some('position', low)}, passed by time")
    if low := sorted(first for first, _ in tail.get("owed", ()) if first <= place[-1]):
        found.append(f"late rows at {_some('position', low)}")
    if held := [h for h in mark.held if tuple(h[-len(place) :]) <= place]:
        found.append(f"{len(held):,} rows that wait for lower versions of their aggregates")
    full = (epoch, *place) if tail.get("rule") == "xid" else place
    if stopped := sorted(name for name, at in mark.stopped.items() if at is None or at < full):
        found.append(f"rows of {_some('the stopped tenant', stopped)}")
    return "; ".join(found)


def _state(mark: StoreMark) -> dict[str, Any]:
    state = (mark.tail or {}).get("state")
    return state if isinstance(state, dict) else {}


def _some(what: str, values: list[Any]) -> str:
    return f"{what} {values[0]}" + (f" and {len(values) - 1:,} more" if len(values) > 1 else "")
