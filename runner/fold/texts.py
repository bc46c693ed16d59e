"""The texts of one partition's fold: owns the string pool that kernels read and write, and makes room in it.

``Texts`` interns whole dictionaries, keeps slack for what a kernel may make, and gives texts back as Arrow arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.fold.bulk import bulk
from runner.kernels.hash import hash_texts, text_buffers
from runner.kernels.pool import Pool, empty_pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.batch import TextDictionary

__all__ = ["Texts"]

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

_LARGEST_TEXT_ARRAY = 2**31 - 1


class Texts:
    """A partition's pool. constants: texts whose ids stand as literals in the source; the first is "" and has id 0."""

    def __init__(self, constants: Sequence[str], texts: int = 256, size: int = 4096) -> None:
        self.pool = empty_pool(max(texts, len(constants) + 1), size)
        bulk().enter_texts_again(self.pool)
        ids = self.intern(pa.array(constants, pa.utf8()))
        # The empty text is 0 already; behind it the constants stand in their order, else literals would name others.
        assert ids.tolist() == list(range(len(constants))), constants

    @staticmethod
    def begun(constants: tuple[str, ...], more: tuple[str, ...]) -> tuple[Texts, Int64s]:
        """A pool with the constants and ``more`` texts, and the ids of the latter; made once, then copied."""
        texts, ids = _begun(constants, more)
        copy = object.__new__(Texts)
        data, starts, hi, lo, slots, used = texts.pool
        copy.pool = Pool(data.copy(), starts.copy(), hi.copy(), lo.copy(), slots.copy(), used.copy())
        return copy, ids

    def __len__(self) -> int:
        return int(self.pool.used[0])

    @property
    def size(self) -> int:
        """Bytes in use."""
        return int(self.pool.starts[len(self)])

    def reserve(self, texts: int, size: int) -> None:
        """Make room for ``texts`` more texts of ``size`` bytes together; ids stay."""
        old, count, used = self.pool, len(self), self.size
        more_texts = count + texts > min(len(old.hi), len(old.slots) // 2)
        if not more_texts and used + size <= len(old.data):
            return
        room = max(2 * len(old.hi), count + texts) if more_texts else len(old.hi)
        new = empty_pool(room, max(2 * len(old.data), used + size) if used + size > len(old.data) else len(old.data))
        new.data[:used] = old.data[:used]
        new.starts[: count + 1] = old.starts[: count + 1]
        new.hi[:count] = old.hi[:count]
        new.lo[:count] = old.lo[:count]
        new.used[0] = count
        bulk().enter_texts_again(new)
        self.pool = new

    def intern(self, texts: pa.Array) -> Int64s:
        """The ids int64[n] of a utf8 array; nulls count as the empty text."""
        if texts.null_count:
            texts = texts.fill_null("")
        return self.intern_hashed(texts, *hash_texts(texts))

    def intern_dictionary(self, dictionary: TextDictionary) -> Int64s:
        """The ids int64[n] of a batch's dictionary of texts."""
        return self.intern_hashed(dictionary.texts, dictionary.hi, dictionary.lo)

    def intern_hashed(self, texts: pa.Array, hi: UInt64s, lo: UInt64s) -> Int64s:
        """The ids int64[n] of texts whose hashes are known."""
        data, offsets = text_buffers(texts)
        ids = np.empty(len(texts), np.int64)
        done = 0
        while True:
            done = bulk().enter_texts(self.pool, data, offsets, hi, lo, ids, done)
            if done == len(ids):
                return ids
            # Most dictionaries are known already, so room is made only when it is really used up.
            self.reserve(min(len(ids) - done, 1 + len(self)), int(offsets[done + 1] - offsets[done]) + 64)

    def take(self, ids: Int64s) -> pa.Array:
        """The texts of these ids: utf8, or large_utf8 where they have 2 GB or more together."""
        ids = np.ascontiguousarray(ids, np.int64)
        offsets = np.zeros(len(ids) + 1, np.int64)
        starts = self.pool.starts
        np.cumsum(starts[ids + 1] - starts[ids], out=offsets[1:])
        size = int(offsets[-1])
        data = np.empty(size, np.uint8)
        bulk().gather_texts(self.pool, ids, offsets, data)
        if size > _LARGEST_TEXT_ARRAY:
            return pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(data))
        return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))


@lru_cache(maxsize=64)
def _begun(constants: tuple[str, ...], more: tuple[str, ...]) -> tuple[Texts, Int64s]:
    texts = Texts(constants)
    return texts, texts.intern(pa.array(more, pa.utf8()))
