"""Where the order of a store disagrees with the versions of its aggregates, and what is done about it.

A transaction id is drawn when a transaction first writes, a pooled position long before its row: so version 5 of an
aggregate can stand before version 4. All such rows of a look are settled together, for version 4 was committed before
version 5 was written; but the log is committed in the middle of a look too, and takes no version behind a higher one.

So the rows that stand too early are asked for first: those that have a row of a lower version of their aggregate behind
them. They are *held* when they come, and handed out behind the last of those rows. A mark between names the held rows;
a reading that goes on from it reads them again with what is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from runner.postgres import SQL, Identifier
from runner.sources.postgres.statement import ALIAS, plain_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.postgres import AnyConnection, Composable
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Span

__all__ = ["Columns", "Order", "can_disagree", "places_in", "too_early", "with_places"]

Columns = tuple[int, ...]
"""The columns of the order of one row, as numbers."""


def can_disagree(store: Store) -> bool:
    """Whether positions are drawn by other rules than versions, and it can be asked."""
    if store.tail not in ("xid", "time") or store.version is None:
        return False
    ids = [part for part in store.aggregate_id.parts if part.constant is None]
    return bool(plain_column(store.version)) and all(len(path) == 1 for part in ids for path in part.paths)


def too_early(
    connection: AnyConnection, statement: Statement, store: Store, span: Span, held: Iterable[Columns]
) -> dict[Columns, Columns]:
    """The rows of a span, and of those held, that stand before a lower version: each with the last such row's place."""
    assert store.version is not None
    numbers = [statement.number(label) for label in store.position]
    labels = dict.fromkeys(path[0] for part in store.aggregate_id.parts for path in part.paths)
    if store.tenant_field is not None:
        labels |= dict.fromkeys(path[0] for part in store.tenant_field.parts for path in part.paths)
    names = [SQL("p{}").format(SQL(str(k))) for k in range(len(numbers))]
    query = SQL(
        "SELECT {names}, behind FROM (SELECT {columns}, max(ARRAY[{numbers}]) OVER (PARTITION BY {aggregate} ORDER BY "
        "{version} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS behind FROM {rows} WHERE {condition}) AS x "
        "WHERE behind > ARRAY[{names}]"
    ).format(
        names=SQL(", ").join(names),
        columns=SQL(", ").join(SQL("{} AS {}").format(*pair) for pair in zip(numbers, names, strict=True)),
        numbers=SQL(", ").join(numbers),
        aggregate=SQL(", ").join(Identifier(ALIAS, label) for label in labels),
        version=Identifier(ALIAS, plain_column(store.version)),
        rows=statement.relation(),
        condition=statement.meets(with_places(statement, store, span.condition, held)),
    )
    return {tuple(row[:-1]): tuple(row[-1]) for row in connection.execute(query).fetchall()}


def with_places(statement: Statement, store: Store, condition: Composable, places: Iterable[Columns]) -> Composable:
    """A condition, or being one of some rows."""
    listed = [
        SQL("({})").format(SQL(", ").join(statement.value(*pair) for pair in zip(store.position, place, strict=True)))
        for place in places
    ]
    if not listed:
        return condition
    columns = SQL(", ").join(Identifier(ALIAS, label) for label in store.position)
    return SQL("(({}) OR ({}) IN ({}))").format(condition, columns, SQL(", ").join(listed))


def places_in(store: Store, rows: pa.RecordBatch) -> list[Any]:
    """The columns of the order, int64[n] each."""
    return [rows.column(label).to_numpy(zero_copy_only=False) for label in store.position]


@dataclass(frozen=True)
class _Held:
    """One row's events. behind: where it may go."""

    place: Columns
    behind: Columns
    events: pa.Table


@dataclass
class Order:
    """What is held while a span is read. early: rows to be held, with the place behind which they may go."""

    early: dict[Columns, Columns] = field(default_factory=dict)
    _waiting: list[_Held] = field(default_factory=list)

    @property
    def held(self) -> list[Columns]:
        """The rows that came and are not handed out yet."""
        return [held.place for held in self._waiting]

    def in_order(self, places: Sequence[Any], rows: Any, events: pa.RecordBatch) -> pa.RecordBatch:
        """The events that may go now: those that came too early stand behind the row that they have to wait for.

        places: the columns of the order of the batch; rows: which row of it each event is.
        """
        if not self.early and not self._waiting:
            return events
        kept = np.ones(events.num_rows, np.bool_)
        for at in np.flatnonzero(self._candidates(places)).tolist():
            place: Columns = tuple(int(column[at]) for column in places)
            behind = self.early.get(place)
            mine = np.flatnonzero(rows == at)
            if behind is not None and len(mine):
                kept[mine] = False
                self._waiting.append(_Held(place, behind, _plain(events.take(pa.array(mine)))))
        last: Columns = tuple(int(column[-1]) for column in places)
        free = [held for held in self._waiting if held.behind <= last]
        if not free:
            return events if kept.all() else events.filter(pa.array(kept))
        self._waiting = [held for held in self._waiting if held.behind > last]
        at_rows = [np.full(held.events.num_rows, _row_of(places, held.behind) + 0.5) for held in free]
        return _sorted(
            [_plain(events.filter(pa.array(kept))), *(held.events for held in free)],
            np.concatenate([rows[kept].astype(np.float64), *at_rows]),
        )

    def rest(self) -> pa.RecordBatch | None:
        """What still waits when all rows came: what it waited for is gone."""
        free, self._waiting = sorted(self._waiting, key=lambda held: held.behind), []
        if not free:
            return None
        keys = [np.full(held.events.num_rows, float(k)) for k, held in enumerate(free)]
        return _sorted([held.events for held in free], np.concatenate(keys))

    def _candidates(self, places: Sequence[Any]) -> Any:
        """Rows whose last column is one of those looked for."""
        return np.isin(places[-1], np.fromiter((place[-1] for place in self.early), np.int64, len(self.early)))


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


def _plain(events: pa.RecordBatch) -> pa.Table:
    """Events with texts as plain large ones, whatever they came as."""
    columns = []
    for column in events.columns:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        columns.append(decoded.cast(pa.large_utf8()) if pa.types.is_string(decoded.type) else decoded)
    return pa.table(columns, names=events.schema.names)
