"""Where the order of a store disagrees with the versions of its aggregates, and what is done about it.

A transaction id is drawn when a transaction first writes, a pooled position long before its row: so version 5 of an
aggregate can stand before version 4. All such rows of a look are settled together, for version 4 was committed before
version 5 was written; but the log is committed in the middle of a look too, and takes no version behind a higher one.

So rows that stand too early, with a row of a lower version of their aggregate behind them, are *held* when they come,
and handed out behind the last of those rows. A mark between names the held rows; a reading that goes on from it reads
them again with what is new. Which they are is asked of the server, but only of aggregates that give reason to: whose
next event is more than one version above the last. The first event that stands too early always is, for the versions
that stand behind it are not among those before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.kernels.hash import hash_texts
from runner.kernels.keymap import empty_keys, insert_keys, rehash_keys
from runner.log.arrival import SEPARATOR
from runner.postgres import SQL, Identifier, Literal
from runner.sources.postgres.statement import ALIAS, plain_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.postgres import AnyConnection, Composable
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Span

__all__ = ["Columns", "Order", "Versions", "can_disagree", "places_in", "too_early", "with_places"]

Columns = tuple[int, ...]
"""The columns of the order of one row, as numbers."""

_NAMES = ("p0", "p1")
ASKED = 1_000
"""Aggregates that one query asks for."""


def can_disagree(store: Store) -> bool:
    """Whether positions are drawn by other rules than versions, and it can be asked."""
    if store.tail not in ("xid", "time") or store.version is None:
        return False
    ids = [part for part in store.aggregate_id.parts if part.constant is None]
    return bool(plain_column(store.version)) and all(len(path) == 1 for part in ids for path in part.paths)


def too_early(
    connection: AnyConnection,
    statement: Statement,
    store: Store,
    span: Span,
    held: Iterable[Columns],
    rows: pa.RecordBatch,
) -> dict[Columns, Columns]:
    """Of the aggregates of some rows: which rows of a span, and of those held, stand before a lower version, each with
    the last such row's place.
    """
    labels = list(dict.fromkeys(path[0] for part in store.aggregate_id.parts for path in part.paths))
    cells = list(dict.fromkeys(tuple(row[label] for label in labels) for row in rows.select(labels).to_pylist()))
    condition = with_places(statement, store, span.condition, held)
    found: dict[Columns, Columns] = {}
    for at in range(0, len(cells), ASKED):
        asked = SQL("({}) AND {}").format(condition, _of_aggregates(labels, cells[at : at + ASKED]))
        found |= _asked(connection, statement, store, labels, asked)
    return found


def _asked(
    connection: AnyConnection, statement: Statement, store: Store, labels: Sequence[str], condition: Composable
) -> dict[Columns, Columns]:
    assert store.version is not None
    numbers = [statement.number(label) for label in store.position]
    names = [SQL(name) for name in _NAMES[: len(numbers)]]
    within = dict.fromkeys(labels)
    if store.tenant_field is not None:
        within |= dict.fromkeys(path[0] for part in store.tenant_field.parts for path in part.paths)
    query = SQL(
        "SELECT {names}, behind FROM (SELECT {columns}, max(ARRAY[{numbers}]) OVER (PARTITION BY {aggregate} ORDER BY "
        "{version} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS behind FROM {rows} WHERE {condition}) AS x "
        "WHERE behind > ARRAY[{names}]"
    ).format(
        names=SQL(", ").join(names),
        columns=SQL(", ").join(SQL("{} AS {}").format(*pair) for pair in zip(numbers, names, strict=True)),
        numbers=SQL(", ").join(numbers),
        aggregate=SQL(", ").join(Identifier(ALIAS, label) for label in within),
        version=Identifier(ALIAS, plain_column(store.version)),
        rows=statement.relation(),
        condition=statement.meets(condition),
    )
    return {tuple(row[:-1]): tuple(row[-1]) for row in connection.execute(query).fetchall()}


def _of_aggregates(labels: Sequence[str], cells: Sequence[tuple[Any, ...]]) -> Composable:
    """A condition: rows of these aggregates."""
    whole = [cell for cell in cells if None not in cell]
    # A part that is missing equals nothing: such aggregates are compared one by one.
    columns = [Identifier(ALIAS, label) for label in labels]
    parts: list[Composable] = [
        SQL(" AND ").join(
            SQL("{} IS NULL").format(column) if value is None else SQL("{} = {}").format(column, Literal(value))
            for column, value in zip(columns, cell, strict=True)
        )
        for cell in cells
        if None in cell
    ]
    if whole:
        listed = SQL(", ").join(SQL("({})").format(SQL(", ").join(map(Literal, cell))) for cell in whole)
        parts.append(SQL("({}) IN ({})").format(SQL(", ").join(columns), listed))
    return SQL("({})").format(SQL(" OR ").join(SQL("({})").format(part) for part in parts))


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


class Versions:
    """The last version of every aggregate that came. first: what an aggregate's first version is; None: what the
    lowest in the first batch is, which has a store's oldest events.
    """

    def __init__(self, first: int | None) -> None:
        self._first = first
        self._keys = empty_keys(1 << 12, 2)
        self._last = np.empty(1 << 12, np.int64)

    def suspicious(self, events: pa.RecordBatch) -> Any:
        """bool[n]: events more than one version above the highest that came before of their aggregate."""
        versions = events.column("version")
        known = versions.is_valid().to_numpy(zero_copy_only=False)
        numbers = versions.fill_null(0).to_numpy(zero_copy_only=False)
        if self._first is None:
            self._first = int(numbers[known].min()) if known.any() else 0
        aggregates, new = self._numbered(events)
        if new < int(self._keys.used[0]):
            self._last[new : int(self._keys.used[0])] = self._first - 1
        order = np.argsort(aggregates, kind="stable")
        mine, sorted_versions = aggregates[order], np.where(known, numbers, -1)[order]
        begins = np.concatenate(([True], mine[1:] != mine[:-1])) if len(mine) else np.zeros(0, np.bool_)
        before = np.concatenate(([0], sorted_versions[:-1]))
        # The highest before: inside of the batch too, and rarely another than the one just before.
        before = np.where(begins, self._last[mine], before)
        odd = sorted_versions > before + 1
        np.maximum.at(self._last, mine, sorted_versions)
        out = np.zeros(len(mine), np.bool_)
        out[order] = odd & known[order]
        return out

    def _numbered(self, events: pa.RecordBatch) -> tuple[Any, int]:
        """(a number for the aggregate of each event, how many there were before)."""
        texts = _plain(events.select(["tenant", "aggregate_id"]))
        joined = pc.binary_join_element_wise(
            texts.column("tenant"), texts.column("aggregate_id"), pa.scalar(SEPARATOR, pa.large_utf8())
        )
        hashes = hash_texts(joined.combine_chunks())
        words = np.stack([h.view(np.int64) for h in hashes], axis=1)
        rows = np.empty(len(words), np.int64)
        before = int(self._keys.used[0])
        while not insert_keys(self._keys, words, rows):
            self._grow()
        return rows, before

    def _grow(self) -> None:
        old, used = self._keys, int(self._keys.used[0])
        room = 4 * len(old.words)
        self._keys = empty_keys(room, 2)
        self._keys.words[:used] = old.words[:used]
        self._keys.used[0] = used
        rehash_keys(self._keys)
        self._last = np.concatenate([self._last, np.empty(room - len(self._last), np.int64)])


def places_in(store: Store, rows: pa.RecordBatch) -> list[Any]:
    """The columns of the order, int64[n] each."""
    return [rows.column(label).to_numpy(zero_copy_only=False) for label in store.places]


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
