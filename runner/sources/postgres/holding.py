"""Rows that stand before a lower version of their aggregate: held until that one was handed out. ``order`` says why,
and for how long.

A look begins with the rows that the looks before it held: they are read again, and asked for again, since what they
wait for may have gone meanwhile. A mark between names the rows that are held; a reading that goes on from it reads them
likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from runner.postgres import SQL, Identifier, translated
from runner.sources.postgres.order import Versions, can_disagree, places_in, plain, too_early, waits_of, with_places
from runner.sources.postgres.statement import ALIAS
from runner.sources.postgres.tail import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.postgres import AnyConnection
    from runner.sources.postgres.arrange import Arranged
    from runner.sources.postgres.marks import StoreMark
    from runner.sources.postgres.order import Columns
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Settled, StorePlace, Tail

__all__ = ["Holding", "waits"]


@dataclass(frozen=True)
class _Held:
    """One row's events. behind: where it may go."""

    place: Columns
    behind: Columns
    events: pa.Table

    @property
    def tenant(self) -> str:
        return str(self.events.column("tenant")[0].as_py() or "")


class Holding:
    """What is held of one store. stopped: whether a tenant, as the log names it, takes nothing for now: its rows stay
    held.
    """

    def __init__(
        self,
        connection: AnyConnection,
        statement: Statement,
        store: Store,
        tail: Tail,
        mark: StoreMark,
        stopped: Callable[[str], bool],
    ) -> None:
        self._connection, self._statement, self._store, self._tail = connection, statement, store, tail
        self._stopped = stopped
        # Only a first reading sees the oldest events.
        first = 0 if store.first_version is None and mark.after is not None else store.first_version
        self._versions = Versions(first) if can_disagree(store) else None
        self._marked: list[Columns] = list(mark.held)
        """Rows that a look before held, as long as they did not come again."""
        self._waiting: list[_Held] = []
        self._early: dict[Columns, Columns] = {}
        self._settled: Settled | None = None

    @property
    def places(self) -> tuple[Columns, ...]:
        """The rows that came and are not handed out yet."""
        return (*self._marked, *(held.place for held in self._waiting))

    @property
    def waits(self) -> tuple[tuple[Columns, Columns], ...]:
        """(a row that is held, the row that it waits for), as the last look found them."""
        return tuple((held.place, held.behind) for held in self._waiting)

    def begin(self, settled: Settled) -> list[Span]:
        """A look: the rows to be read first of all, those that are held."""
        self._marked, self._waiting, self._early, self._settled = list(self.places), [], {}, settled
        labels = SQL(", ").join(Identifier(ALIAS, label) for label in self._store.position)
        return [
            Span(epoch, with_places(self._statement, self._store, SQL("false"), places), labels)
            for epoch, places in _by_epoch(self._tail, self._marked).items()
        ]

    def came(self, rows: pa.RecordBatch) -> None:
        """Say that these rows, which were held, came again."""
        again = set(zip(*(column.tolist() for column in places_in(self._store, rows)), strict=True))
        self._marked = [place for place in self._marked if place not in again]

    def begun(self) -> None:
        """Say that all held rows came: those that did not are there no more."""
        self._marked = []

    def in_order(
        self, rows: pa.RecordBatch, arranged: Arranged, span: Span, after: StorePlace | None, first: int | None = None
    ) -> pa.RecordBatch:
        """The events of rows of a span that may go now, in an order in which none comes before a lower version.

        after: behind which all is still to come but these rows. first: of how many rows these are the events; None: of
        all. Raises PostgresError.
        """
        if self._versions is None:
            return arranged.events
        odd = self._versions.suspicious(arranged.events)
        if odd.any():
            assert self._settled is not None
            suspects = rows.take(pa.array(arranged.rows[odd]))
            coming = self._tail.coming(span.epoch, after, self._settled)
            with translated(f"[sources.{self._store.source}]"):
                self._early |= too_early(self._connection, self._statement, self._store, coming, self.places, suspects)
        places = [column[:first] for column in places_in(self._store, rows)]
        return self._without_early(places, arranged.rows, arranged.events, self._versions)

    def keep(self, rows: pa.RecordBatch) -> None:
        """Of held rows that came again: those of stopped tenants stay."""
        for place in zip(*(column.tolist() for column in places_in(self._store, rows)), strict=True):
            self._early.setdefault(place, place)

    def rest(self) -> pa.RecordBatch | None:
        """When all of a look came: what still waits for rows that it settled, which are gone. The others stay."""
        free = sorted(self._freed(self._is_settled), key=lambda held: held.behind)
        if not free:
            return None
        keys = [np.full(held.events.num_rows, float(k)) for k, held in enumerate(free)]
        return _sorted([held.events for held in free], np.concatenate(keys))

    def _is_settled(self, columns: Columns) -> bool:
        assert self._settled is not None
        epoch = int(self._tail.epochs([np.array([number], np.int64) for number in columns])[0])
        upto = self._settled.upto
        return upto is not None and self._tail.place(epoch, columns) <= upto

    def _freed(self, may: Callable[[Columns], bool]) -> list[_Held]:
        """Those whose row to wait for meets a condition; they wait no more."""
        free: list[_Held] = []
        rest: list[_Held] = []
        for held in self._waiting:
            (free if may(held.behind) and not self._stopped(held.tenant) else rest).append(held)
        self._waiting = rest
        return free

    def _without_early(
        self, places: Sequence[Any], rows: Any, events: pa.RecordBatch, versions: Versions
    ) -> pa.RecordBatch:
        """places: the columns of the order of the batch; rows: which row of it each event is."""
        if not (self._early or self._waiting) or not len(places[0]):
            return events
        kept = np.ones(events.num_rows, np.bool_)
        for at in np.flatnonzero(self._candidates(places)).tolist():
            place: Columns = tuple(int(column[at]) for column in places)
            behind = self._early.get(place)
            mine = np.flatnonzero(rows == at)
            if behind is not None and len(mine):
                kept[mine] = False
                self._waiting.append(_Held(place, behind, plain(events.take(pa.array(mine)))))
        if not kept.all():
            versions.forget(events.filter(pa.array(~kept)))
        last: Columns = tuple(int(column[-1]) for column in places)
        free = self._freed(lambda behind: behind <= last)
        if not free:
            return events if kept.all() else events.filter(pa.array(kept))
        at_rows = [np.full(held.events.num_rows, _row_of(places, held.behind) + 0.5) for held in free]
        return _sorted(
            [plain(events.filter(pa.array(kept))), *(held.events for held in free)],
            np.concatenate([rows[kept].astype(np.float64), *at_rows]),
        )

    def _candidates(self, places: Sequence[Any]) -> Any:
        """Rows whose last column is one of those looked for."""
        return np.isin(places[-1], np.fromiter((place[-1] for place in self._early), np.int64, len(self._early)))


def waits(
    connection: AnyConnection, statement: Statement, store: Store, tail: Tail, mark: StoreMark, settled: Settled
) -> tuple[tuple[Columns, Columns], ...]:
    """(a row that a mark holds, the row that it waits for), where it waits for one. Raises PostgresError."""
    found: dict[Columns, Columns] = {}
    for epoch, places in _by_epoch(tail, mark.held).items():
        found |= waits_of(connection, statement, store, tail.coming(epoch, mark.after, settled), places)
    return tuple(sorted(found.items()))


def _by_epoch(tail: Tail, places: Sequence[Columns]) -> dict[int, list[Columns]]:
    found: dict[int, list[Columns]] = {}
    for place in places:
        epoch = int(tail.epochs([np.array([number], np.int64) for number in place])[0])
        found.setdefault(epoch, []).append(place)
    return dict(sorted(found.items()))


def _row_of(places: Sequence[Any], place: Columns) -> int:
    """The last row that is not behind a place, -1 where there is none."""
    low, high = 0, len(places[0])
    for column, value in zip(places, place, strict=True):
        part = column[low:high]
        low, high = low + int(np.searchsorted(part, value, "left")), low + int(np.searchsorted(part, value, "right"))
        if low == high:
            return low - 1
    return high - 1


def _sorted(parts: list[pa.Table], keys: Any) -> pa.RecordBatch:
    """Events by key, then by version."""
    joined = pa.concat_tables(parts).combine_chunks()
    versions = joined.column("version").to_numpy()
    order = np.lexsort((versions, keys))
    return joined.take(pa.array(order)).combine_chunks().to_batches()[0]
