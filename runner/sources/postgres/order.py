"""Where the order of a store disagrees with the versions of its aggregates, and what is done about it.

A transaction id is drawn when a transaction first writes, a pooled position long before its row: so version 5 of an
aggregate can stand before version 4. The log takes no version behind a higher one. So version 5, which stands too
early, is *held* when it comes, and handed out behind version 4 (``holding``).

What is known of version 4. A store that checks versions writes version 5 only where version 4 is committed. So when a
look sees version 5, version 4 is visible to that look's snapshot and to all later ones: it need only be asked for, at
any time after the look, among the rows that were not handed out. Where it is settled differs:

- by the same look, in the same span, some rows further on: version 5 waits in memory;
- by a later look only. Version 5 is of transaction 100, version 4 of 102, and 101 runs: then 100 is settled, 102 is
  not. Version 5 waits until a look settles 102, and the mark names it meanwhile;
- never: version 4 was deleted, or is not of this source. Then it is not visible among those rows, and nothing waits.

So a row waits only while a row of a lower version of its aggregate is *seen* in the table, behind it in the store's
order, not handed out; each look asks again. That row is settled as soon as the watermark passes it: nothing is held
longer than what the watermark's holders hold, and ``status`` names both. Whether an event comes of that row (it may be
of another type, or no event) plays no part: its place is what is waited for.

Which rows stand too early is asked of the server, but only for aggregates that give reason to: whose next event is more
than one version above the last that was handed out. The first event that stands too early always is, for the versions
that stand behind it are not among those before it; and of an aggregate that has a row held every next one is
(``Versions.forget``).

All this is inside of one epoch: a former life of a store was settled as a whole.
"""

from __future__ import annotations

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

__all__ = ["Columns", "Versions", "can_disagree", "places_in", "plain", "too_early", "waits_of", "with_places"]

Columns = tuple[int, ...]
"""The columns of the order of one row, as numbers."""

_NAMES = ("p0", "p1")
_VERSIONS = ("int2", "int4", "int8", "numeric")
_MANY = 10_000
"""Events of which the lowest version is what aggregates begin with."""
ASKED = 1_000
"""Aggregates that one query asks for."""


def can_disagree(store: Store) -> bool:
    """Whether positions are drawn by other rules than versions, and it can be asked."""
    if store.tail not in ("xid", "time", "sessions") or store.version is None:
        return False
    ids = [part for part in store.aggregate_id.parts if part.constant is None]
    version = plain_column(store.version)
    comparable = version in store.cells and store.cells[version].type in _VERSIONS
    return comparable and all(len(path) == 1 for part in ids for path in part.paths)


def too_early(
    connection: AnyConnection,
    statement: Statement,
    store: Store,
    coming: Composable,
    held: Iterable[Columns],
    rows: pa.RecordBatch,
) -> dict[Columns, Columns]:
    """Of the aggregates of some rows: which rows of those that are still to come (a condition), and of those held,
    stand before a lower version, each with the last such row's place.
    """
    labels = list(dict.fromkeys(path[0] for part in store.aggregate_id.parts for path in part.paths))
    cells = list(dict.fromkeys(tuple(row[label] for label in labels) for row in rows.select(labels).to_pylist()))
    condition = with_places(statement, store, coming, held)
    found: dict[Columns, Columns] = {}
    for at in range(0, len(cells), ASKED):
        asked = SQL("({}) AND {}").format(condition, _of_aggregates(labels, cells[at : at + ASKED]))
        found |= _asked(connection, statement, store, labels, asked)
    return found


def waits_of(
    connection: AnyConnection, statement: Statement, store: Store, coming: Composable, held: Sequence[Columns]
) -> dict[Columns, Columns]:
    """The row that each of some held rows waits for, where it waits for one. Raises PostgresError."""
    if not held:
        return {}
    labels = list(dict.fromkeys(path[0] for part in store.aggregate_id.parts for path in part.paths))
    columns = SQL(", ").join(Identifier(ALIAS, label) for label in labels)
    theirs = SQL("SELECT {} FROM {} WHERE {}").format(
        columns, statement.relation(), statement.meets(with_places(statement, store, SQL("false"), held))
    )
    asked = SQL("({}) AND ({}) IN ({})").format(with_places(statement, store, coming, held), columns, theirs)
    found = _asked(connection, statement, store, labels, asked)
    return {place: behind for place, behind in found.items() if place in set(held)}


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
    lowest in the first batch is, which has a store's oldest events; 0 where they are too few to tell.
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
            self._first = int(numbers[known].min()) if known.sum() >= _MANY else 0
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

    def forget(self, events: pa.RecordBatch) -> None:
        """Of these events' aggregates the next one is suspicious, whatever its version: rows of them are held."""
        aggregates, _ = self._numbered(events)
        assert self._first is not None
        self._last[aggregates] = self._first - 2

    def _numbered(self, events: pa.RecordBatch) -> tuple[Any, int]:
        """(a number for the aggregate of each event, how many there were before)."""
        texts = plain(events.select(["tenant", "aggregate_id"]))
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


def plain(events: pa.RecordBatch) -> pa.Table:
    """Events with texts as plain large ones, whatever they came as."""
    columns = []
    for column in events.columns:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        columns.append(decoded.cast(pa.large_utf8()) if pa.types.is_string(decoded.type) else decoded)
    return pa.table(columns, names=events.schema.names)
