"""The dictionary map: the entries of a batch's dictionary of aggregates to state rows, by both words of their hash.

Done once per batch, so that the fold itself reads ``rows[code]``. The slot of a hash is its bits behind those that all
hashes of the partition share: dictionaries ascend by hash, so the table, and the rows of aggregates that came together,
are touched in rising order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.options import KERNEL

__all__ = ["DictMap", "empty_map", "map_entries", "rehash_map"]


class DictMap(NamedTuple):
    """hi, lo: uint64[rows of room], the hash of each row; slots: int32[power of two], rows, -1 free.

    used: int64[2]: how many rows; how many leading bits all hashes share (a guess, which only speed hangs on).
    """

    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    used: npt.NDArray[np.int64]


def empty_map(rows: int, shared_bits: int) -> DictMap:
    """A map with room for ``rows`` aggregates; it stays at most half full."""
    slots = 1 << max(4, int(2 * rows - 1).bit_length())
    return DictMap(
        np.empty(rows, np.uint64),
        np.empty(rows, np.uint64),
        np.full(slots, -1, np.int32),
        np.array([0, shared_bits], np.int64),
    )


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _bits(slots: Any) -> Any:
    bits = np.uint64(0)
    size = len(slots)
    while size > 1:
        size >>= 1
        bits += np.uint64(1)
    return bits


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def map_entries(table: Any, hi: Any, lo: Any, rows: Any) -> Any:
    """rows[i] becomes the row of the aggregate with hash (hi[i], lo[i]); new ones get the next numbers, in order.

    There must be room for len(hi) new rows. Returns how many rows there were before.
    """
    before = table.used[0]
    count = before
    left = np.uint64(table.used[1])
    right = np.uint64(64) - _bits(table.slots)
    mask = len(table.slots) - 1
    slots, known_hi, known_lo = table.slots, table.hi, table.lo
    for i in range(len(hi)):
        high, low = hi[i], lo[i]
        slot = np.int64((high << left) >> right)
        while True:
            row = np.int64(slots[slot])
            if row < 0:
                row = count
                slots[slot] = np.int32(row)
                known_hi[row] = high
                known_lo[row] = low
                count += 1
                break
            if known_hi[row] == high and known_lo[row] == low:
                break
            slot = (slot + 1) & mask
        rows[i] = np.int32(row)
    table.used[0] = count
    return before


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def rehash_map(table: Any) -> None:
    """Enter every row into the emptied ``slots``."""
    left = np.uint64(table.used[1])
    right = np.uint64(64) - _bits(table.slots)
    mask = len(table.slots) - 1
    for row in range(table.used[0]):
        slot = np.int64((table.hi[row] << left) >> right)
        while table.slots[slot] >= 0:
            slot = (slot + 1) & mask
        table.slots[slot] = np.int32(row)
