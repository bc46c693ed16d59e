"""From states to the rows of a read model, and from saved rows back into states: tables of ``runner/fold/rows.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.fold.columns import arrow_column, kernel_column, read_states, state_columns
from runner.fold.rows import HASH_COLUMNS, key_schema, row_schema
from runner.fold.states import ALIVE, StateRows, put, taken
from runner.kernels.hash import order_by_hash
from runner.values import Kind

if TYPE_CHECKING:
    from runner.authoring.definition import KeyPart, ProjectionDefinition
    from runner.fold.plain_events import LogNames
    from runner.fold.tables import AggregateRows, KeyRows
    from runner.fold.texts import Texts

__all__ = ["Keys", "changed_rows", "key_words", "load_states", "table_hashes"]

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
States = npt.NDArray[np.void]


class Keys:
    """What names the rows of one projection: its aggregates, and the key map where the key has more."""

    def __init__(
        self,
        definition: ProjectionDefinition,
        names: LogNames,
        aggregates: AggregateRows,
        keys: KeyRows | None,
        texts: Texts,
    ) -> None:
        self.definition, self.names = definition, names
        self.aggregates, self.keys, self.texts = aggregates, keys, texts

    def __len__(self) -> int:
        return len(self.aggregates) if self.keys is None else len(self.keys)

    def owners(self, rows: Int64s) -> Int64s:
        """The aggregate's row of each of these rows."""
        return rows if self.keys is None else self.keys.words[rows, 0]

    @property
    def in_order(self) -> bool:
        """Whether the rows are by their aggregate's hash; those of merged keys, which have none, always are."""
        return self.definition.merged or (self.keys is None and self.aggregates.ascending)

    def sorted(self, rows: Int64s) -> Int64s:
        """The rows by their aggregate's hash, so that later lookups walk through the files."""
        if self.in_order:
            return rows
        hi, lo = self.aggregates.hashes
        owners = self.owners(rows)
        return rows[order_by_hash(hi[owners], lo[owners])]

    def columns(self, rows: Int64s | None) -> dict[str, pa.Array]:
        """Identity, key and hash columns of these rows, by name; None: of all rows in their order."""
        found: dict[str, pa.Array] = {}
        parts = self.definition.key
        if not self.definition.merged:
            ids, scopes = self.aggregates.identities()
            hi, lo = self.aggregates.hashes
            if rows is not None or self.keys is not None:
                owners = self.owners(np.arange(len(self)) if rows is None else rows)
                ids, scopes, hi, lo = ids.take(pa.array(owners)), scopes[owners], hi[owners], lo[owners]
            found[parts[0].name] = ids
            for place, name in enumerate(self.names.identity):
                values = pa.array([s[place] for s in self.names.scopes], pa.utf8())
                found[name] = values.take(pa.array(scopes.astype(np.int64)))
            found |= {name: pa.array(words) for name, words in zip(HASH_COLUMNS, (hi, lo), strict=True)}
            parts = parts[1:]
        if self.keys is not None:
            words = self.keys.words if rows is None else self.keys.words[rows]
            at = 0 if self.definition.merged else 1
            for part in parts:
                valid = words[:, at] if part.type.optional else None
                at += 1 if part.type.optional else 0
                found[part.name] = arrow_column(words[:, at].copy(), valid, part.type, self.texts)
                at += 1
        return found


def key_words(parts: tuple[KeyPart, ...], table: pa.Table, texts: Texts) -> list[Array]:
    """The words of these key parts, a column each, of the rows of a table."""
    words: list[Array] = []
    for part in parts:
        values, valid = kernel_column(_one(table.column(part.name)), part.type, texts)
        if valid is not None:
            words.append(valid)
        words.append(values)
    return words


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def table_hashes(table: pa.Table) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(hi, lo) of the rows' aggregates."""
    hi, lo = (np.array(_one(table.column(name)), np.uint64) for name in HASH_COLUMNS)
    return hi, lo


def load_states(keys: Keys, states: StateRows, table: pa.Table) -> States:
    """Put saved rows in the place of their keys; returns a copy of all states, to compare with later."""
    if table.num_rows:
        rows = keys.aggregates.find(*table_hashes(table)).astype(np.int64)
        if keys.keys is not None:
            words = [rows, *key_words(keys.definition.key[1:], table, keys.texts)]
            rows = keys.keys.enter(np.stack(words, axis=1).astype(np.int64, copy=False))
        states.reserve(len(keys))
        saved = np.repeat(states.default, table.num_rows)
        read_states(keys.definition, table, keys.texts, saved)
        saved[ALIVE] = 1
        put(states.rows, rows, saved)
    states.reserve(len(keys))
    return states.copied(len(keys))


def changed_rows(keys: Keys, states: StateRows, before: States | None) -> tuple[pa.Table, pa.Table | None]:
    """(rows, deleted): all live rows and None without ``before``, else rows that differ and keys that are gone."""
    now = states.rows[: len(keys)]
    # 0 or 1 each; copied out of the rows once, as NumPy is slow on bytes that lie apart.
    alive = np.array(now[ALIVE]).view(np.bool_)
    if before is None:
        if keys.in_order and bool(alive.all()):
            return _rows_table(keys, now, None), None
        return _rows_table(keys, now, keys.sorted(np.flatnonzero(alive))), None
    old = len(before)
    was = before[ALIVE] != 0
    wanted = alive.copy()
    wanted[:old] &= ~was | _differs(keys.definition, before, now[:old])
    gone = np.flatnonzero(was & ~alive[:old])
    schema = key_schema(keys.definition, keys.names.identity)
    named = keys.columns(keys.sorted(gone))
    deleted = pa.table([named[name] for name in schema.names], schema=schema)
    return _rows_table(keys, now, keys.sorted(np.flatnonzero(wanted))), deleted


def _rows_table(keys: Keys, states: States, rows: Int64s | None) -> pa.Table:
    held = states if rows is None else taken(states, rows)
    columns = keys.columns(rows) | state_columns(keys.definition, held, keys.texts)
    schema = row_schema(keys.definition, keys.names.identity)
    arrays = [columns[f.name] if columns[f.name].type == f.type else columns[f.name].cast(f.type) for f in schema]
    return pa.table(arrays, schema=schema)


def _differs(definition: ProjectionDefinition, a: States, b: States) -> npt.NDArray[np.bool_]:
    """bool[n]: rows whose fields are not the same bytes; what stands where there is no value does not count."""
    found = np.zeros(len(a), np.bool_)
    for f in definition.fields:
        value, flag = f"f_{f.name}", f"v_{f.name}"
        scalar = f.type if f.type.element is None else f.type.element
        x, y = a[value], b[value]
        unequal = x != y
        if scalar.kind is Kind.FLOAT:
            # By bits, that -0.0 and 0.0 are two values; every NaN is the same.
            unequal = (np.ascontiguousarray(x).view(np.int64) != np.ascontiguousarray(y).view(np.int64)) & ~(
                np.isnan(x) & np.isnan(y)
            )
        if f.type.kind not in (Kind.LAST, Kind.BUCKETS):
            if f.type.optional:
                unequal = (a[flag] != b[flag]) | (unequal & (a[flag] != 0))
            found |= unequal
            continue
        if f.type.kind is Kind.LAST:
            counts = a[f"n_{f.name}"]
            found |= counts != b[f"n_{f.name}"]
            if scalar.optional:
                unequal = (a[flag] != b[flag]) | (unequal & (a[flag] != 0))
            unequal &= np.arange(f.type.capacity) < counts[:, None]
        found |= unequal.any(axis=1)
    return found
