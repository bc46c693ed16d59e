"""Laying deltas over base rows: the newest row of a key wins, deletions take it out; in Arrow and numpy, in bulk.

Key columns may hold nulls (None is a key value) and any type but floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.sinks.shape import DELETED, DELTA, HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["in_hashes", "key_codes", "lay_over", "newest_of", "rows_of_hashes", "rows_with_keys"]

UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]


def words(table: pa.Table, name: str) -> UInt64s:
    """A hash column as uint64[n]."""
    return cast("UInt64s", table[name].to_numpy())


def in_hashes(hi: UInt64s, lo: UInt64s, wanted_hi: UInt64s, wanted_lo: UInt64s) -> Bools:
    """bool[n]: whether (hi[i], lo[i]) is among the wanted pairs, which are ascending."""
    if len(wanted_hi) == 0 or len(hi) == 0:
        return np.zeros(len(hi), dtype=np.bool_)
    equal = wanted_hi[1:] == wanted_hi[:-1]
    if equal.any():
        first = np.concatenate([[True], ~(equal & (wanted_lo[1:] == wanted_lo[:-1]))])
        wanted_hi, wanted_lo = wanted_hi[first], wanted_lo[first]
    if bool(np.any(wanted_hi[1:] == wanted_hi[:-1])):
        # Two aggregates share 64 bits of hash: look up both words, slower.
        pairs = np.dtype([("hi", np.uint64), ("lo", np.uint64)])
        have, want = np.empty(len(hi), pairs), np.empty(len(wanted_hi), pairs)
        have["hi"], have["lo"], want["hi"], want["lo"] = hi, lo, wanted_hi, wanted_lo
        return np.isin(have, want)
    place = np.searchsorted(wanted_hi, hi)
    np.minimum(place, len(wanted_hi) - 1, out=place)
    return cast("Bools", (wanted_hi[place] == hi) & (wanted_lo[place] == lo))


def rows_of_hashes(hi: UInt64s, lo: UInt64s, wanted_hi: UInt64s, wanted_lo: UInt64s) -> Int64s:
    """``flatnonzero(in_hashes(...))`` for few of many: hi ascends, and is searched for each of the wanted pairs."""
    first = np.searchsorted(hi, wanted_hi, "left")
    counts = np.searchsorted(hi, wanted_hi, "right") - first
    rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    rows = rows[lo[rows] == np.repeat(wanted_lo, counts)]
    # Wanted pairs that share their first word, or are given twice, find rows out of order or twice.
    return cast("Int64s", rows if bool(np.all(rows[1:] > rows[:-1])) else np.unique(rows))


def key_codes(table: pa.Table, key: Sequence[str]) -> list[Int64s]:
    """Per key column int64[n] codes: equal codes in all of them are equal keys. Null is a value of its own."""
    codes = []
    for name in key:
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_duration(column.type):
            column = column.cast(pa.int64())
        encoded = column.dictionary_encode(null_encoding="encode")
        codes.append(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))
    return codes


def newest_of(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """The last row of each key, in the order of their places. Rows stand oldest first."""
    if table.num_rows < 2:
        return table
    codes = key_codes(table, key)
    if not codes:
        return table.slice(table.num_rows - 1)
    order = np.lexsort(codes)  # stable: within a key, the oldest first
    last = np.ones(len(order), dtype=np.bool_)
    changes = np.zeros(len(order) - 1, dtype=np.bool_)
    for column in codes:
        ordered = column[order]
        changes |= ordered[1:] != ordered[:-1]
    last[:-1] = changes
    if last.all():
        return table
    return table.take(pa.array(np.sort(order[last])))


def lay_over(base: pa.Table, deltas: Sequence[pa.Table], key: Sequence[str], *, keep_deleted: bool = False) -> pa.Table:
    """Rows after the deltas (oldest first, with their DELETED and DELTA columns).

    Only rows whose aggregate a delta names are looked at. With ``keep_deleted`` the result is a delta itself: DELETED
    and DELTA stay, and so do the deletions.
    """
    schema = base.schema
    if not any(d.num_rows for d in deltas):
        return base
    changed = pa.concat_tables([d for d in deltas if d.num_rows])
    untouched = base.slice(0, 0)
    touched = base
    if HASH[0] in schema.names and base.num_rows:
        hi, lo = words(changed, HASH[0]), words(changed, HASH[1])
        order = np.lexsort((lo, hi))
        hit = in_hashes(words(base, HASH[0]), words(base, HASH[1]), hi[order], lo[order])
        untouched, touched = base.filter(pa.array(~hit)), base.filter(pa.array(hit))
    if DELETED not in schema.names:
        touched = touched.append_column(DELETED, pa.array(np.zeros(touched.num_rows, dtype=np.bool_)))
        touched = touched.append_column(DELTA, pa.array(np.zeros(touched.num_rows, dtype=np.int32)))
    merged = newest_of(pa.concat_tables([touched, changed.select(touched.schema.names)]), key)
    if keep_deleted:
        return pa.concat_tables([untouched, merged])
    merged = merged.filter(pc.invert(merged[DELETED])).select(schema.names)
    return pa.concat_tables([untouched, merged]).combine_chunks()


def rows_with_keys(table: pa.Table, keys: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows of ``table`` whose key columns are equal to a row of ``keys``."""
    if not key or not table.num_rows or not keys.num_rows:
        return table.slice(0, table.num_rows if keys.num_rows else 0)
    both = pa.concat_tables([keys.select(key).cast(table.select(key).schema), table.select(key)])
    codes = key_codes(both, key)
    numbered = np.unique(np.stack(codes), axis=1, return_inverse=True)[1].reshape(-1)
    wanted = np.zeros(int(numbered.max()) + 1, dtype=np.bool_)
    wanted[numbered[: keys.num_rows]] = True
    return table.filter(pa.array(wanted[numbered[keys.num_rows :]]))
