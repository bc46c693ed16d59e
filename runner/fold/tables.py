"""Which state row belongs to which key: the growing sides of the dictionary map and of the key maps.

``AggregateRows`` numbers a partition's aggregates, ``KeyRows`` the keys of one projection. Both grow only between
kernel calls; row numbers stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.batch import AggregateDictionary
from runner.fold.bulk import bulk
from runner.kernels.dictmap import DictMap, empty_map
from runner.kernels.keymap import KeyMap, empty_keys

__all__ = ["AggregateRows", "KeyRows"]

Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


class AggregateRows:
    """The aggregates of a partition, numbered as they come.

    The first dictionary's entries are the rows 0.. as they stand; the hash table is made only when a second one comes,
    so a compacted partition never needs it.
    """

    def __init__(self) -> None:
        self._first: tuple[UInt64s, UInt64s] | None = None
        self._table: DictMap | None = None
        self._texts: list[pa.Array] = []
        self._scopes: list[Int16s] = []
        self._count = 0
        self._ascending = (0, True)

    def __len__(self) -> int:
        return self._count

    def enter(self, dictionary: AggregateDictionary, used: Int64s | None = None) -> Int32s:
        """rows int32[n]: the row of each entry; new ones get the next numbers, in order.

        used: only these entries (ascending) are meant, and the others get any row.
        """
        if used is not None:
            rows = np.zeros(len(dictionary), np.int32)
            part = AggregateDictionary(
                dictionary.texts.take(pa.array(used)), dictionary.hi[used], dictionary.lo[used], dictionary.scope[used]
            )
            rows[used] = self.enter(part)
            return rows
        before = self._count
        rows = self.find(dictionary.hi, dictionary.lo)
        if self._count > before:
            new = None if self._count - before == len(rows) else np.flatnonzero(rows >= before)
            self._texts.append(dictionary.texts if new is None else dictionary.texts.take(pa.array(new)))
            self._scopes.append(dictionary.scope if new is None else dictionary.scope[new])
        return rows

    def find(self, hi: UInt64s, lo: UInt64s) -> Int32s:
        """rows int32[n] of hashes; of aggregates that were all entered before, unless ``enter`` asks."""
        if self._first is None:
            self._first = hi, lo
            self._count = len(hi)
            return np.arange(len(hi), dtype=np.int32)
        table = self._room(len(hi))
        rows = np.empty(len(hi), np.int32)
        bulk().enter_aggregates(table, hi, lo, rows)
        self._count = int(table.used[0])
        return rows

    def _room(self, more: int) -> DictMap:
        old = self._table
        needed = self._count + more
        if old is not None and needed <= len(old.hi):
            return old
        hi, lo = self.hashes
        shared = int(hi[0]) ^ int(hi[-1]) if len(hi) else 0
        # Of equal hashes every bit is shared; 0 is as good a guess, and keeps the shift in range.
        bits = 64 - shared.bit_length() if shared else 0
        table = empty_map(max(2 * self._count, needed, 64), bits if old is None else int(old.used[1]))
        table.hi[: self._count] = hi
        table.lo[: self._count] = lo
        table.used[0] = self._count
        bulk().enter_rows_again(table)
        self._table = table
        return table

    @property
    def hashes(self) -> tuple[UInt64s, UInt64s]:
        """hi, lo: uint64[rows]."""
        if self._table is not None:
            return self._table.hi[: self._count], self._table.lo[: self._count]
        if self._first is not None:
            return self._first
        return np.empty(0, np.uint64), np.empty(0, np.uint64)

    @property
    def ascending(self) -> bool:
        """Whether the rows ascend by hash, as they do while all come from one dictionary."""
        if self._ascending[0] != self._count:
            hi, _ = self.hashes
            self._ascending = self._count, bool((hi[1:] >= hi[:-1]).all())
        return self._ascending[1]

    def identities(self) -> tuple[pa.Array, Int16s]:
        """The ids (utf8) and scopes (int16) of the rows."""
        if not self._texts:
            return pa.array([], pa.utf8()), np.empty(0, np.int16)
        texts = self._texts[0] if len(self._texts) == 1 else pa.chunked_array(self._texts).combine_chunks()
        scopes = self._scopes[0] if len(self._scopes) == 1 else np.concatenate(self._scopes)
        return texts, scopes


class KeyRows:
    """The keys of one projection, of ``words`` int64 words each."""

    def __init__(self, words: int, room: int) -> None:
        self.keys: KeyMap = empty_keys(max(room, 16), words)

    def __len__(self) -> int:
        return int(self.keys.used[0])

    @property
    def words(self) -> Int64s:
        """int64[rows, words]."""
        return self.keys.words[: len(self)]

    def reserve(self, more: int) -> bool:
        """Make room for ``more`` new keys; whether the arrays are others than before."""
        old, count = self.keys, len(self)
        if count + more <= len(old.words):
            return False
        new = empty_keys(max(2 * len(old.words), count + more), old.words.shape[1])
        new.words[:count] = old.words[:count]
        new.used[0] = count
        bulk().enter_keys_again(new)
        self.keys = new
        return True

    def enter(self, words: Int64s) -> Int64s:
        """rows int64[n] of the keys words[n, words of a key]."""
        self.reserve(len(words))
        rows = np.empty(len(words), np.int64)
        entered = bulk().enter_keys(self.keys, np.ascontiguousarray(words), rows)
        assert entered
        return rows
