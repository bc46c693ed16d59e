"""The key map: keys of several int64 words to row numbers, found or inserted in the middle of a kernel.

Open addressing with linear probing. Rows are numbered in the order in which their keys came. A full map answers -1 and
stays as it was; its owner makes more room between kernel calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.options import KERNEL

__all__ = ["KeyMap", "empty_keys", "insert_keys", "key_row", "rehash_keys"]

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_S32 = np.uint64(32)


class KeyMap(NamedTuple):
    """slots: int32[power of two], rows by hash, -1 free; words: int64[rows of room, words of a key]; used: int64[1]."""

    slots: npt.NDArray[np.int32]
    words: npt.NDArray[np.int64]
    used: npt.NDArray[np.int64]


def empty_keys(rows: int, words: int) -> KeyMap:
    """A map with room for ``rows`` keys of ``words`` words; it stays under 60 % full."""
    slots = 1 << max(4, int(rows * 5 // 3).bit_length())
    return KeyMap(np.full(slots, -1, np.int32), np.empty((rows, words), np.int64), np.zeros(1, np.int64))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _hash(key: Any) -> Any:
    h = np.uint64(len(key))
    for word in key:
        h = (h ^ np.uint64(word)) * _FIRST
        h ^= h >> _S32
        h *= _SECOND
        h ^= h >> _S32
    return np.int64(h & np.uint64(0x7FFFFFFF))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def key_row(keys: Any, key: Any) -> Any:
    """(row, whether it is new) of a key, a tuple of int64; (-1, False) where the room ends."""
    mask = len(keys.slots) - 1
    slot = _hash(key) & mask
    while True:
        row = np.int64(keys.slots[slot])
        if row < 0:
            row = keys.used[0]
            if row >= len(keys.words):
                return np.int64(-1), False
            keys.slots[slot] = np.int32(row)
            for w in range(len(key)):
                keys.words[row, w] = key[w]
            keys.used[0] = row + 1
            return row, True
        same = True
        for w in range(len(key)):
            same = same and keys.words[row, w] == key[w]
        if same:
            return row, False
        slot = (slot + 1) & mask


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _slot_of(keys: Any, words: Any, i: Any) -> Any:
    # ``_hash`` of words[i], for keys whose number of words is not known at compile time.
    h = np.uint64(words.shape[1])
    for w in range(words.shape[1]):
        h = (h ^ np.uint64(words[i, w])) * _FIRST
        h ^= h >> _S32
        h *= _SECOND
        h ^= h >> _S32
    return np.int64(h & np.uint64(0x7FFFFFFF)) & (len(keys.slots) - 1)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def rehash_keys(keys: Any) -> None:
    """Enter every row into the emptied ``slots``."""
    mask = len(keys.slots) - 1
    for row in range(keys.used[0]):
        slot = _slot_of(keys, keys.words, row)
        while keys.slots[slot] >= 0:
            slot = (slot + 1) & mask
        keys.slots[slot] = np.int32(row)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def insert_keys(keys: Any, words: Any, rows: Any) -> Any:
    """Find or insert the keys words[i]; their rows go to rows[i]. There must be room for all: else False."""
    mask = len(keys.slots) - 1
    for i in range(len(words)):
        slot = _slot_of(keys, words, i)
        while True:
            row = np.int64(keys.slots[slot])
            if row < 0:
                row = keys.used[0]
                if row >= len(keys.words):
                    return False
                keys.slots[slot] = np.int32(row)
                for w in range(words.shape[1]):
                    keys.words[row, w] = words[i, w]
                keys.used[0] = row + 1
                break
            same = True
            for w in range(words.shape[1]):
                same = same and keys.words[row, w] == words[i, w]
            if same:
                break
            slot = (slot + 1) & mask
        rows[i] = row
    return True
