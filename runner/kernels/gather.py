"""Moving texts and finding hashes in bulk: what a segment build and a compaction do per event beside sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from runner.kernels.siphash import load_word, store_word

__all__ = ["append_texts", "find_versions", "gather_texts", "large_texts"]

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _ends(offsets: Any, rows: Any, ends: Any) -> None:
    for i in range(len(rows)):
        ends[i + 1] = ends[i] + offsets[rows[i] + 1] - offsets[rows[i]]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _copy(data: Any, offsets: Any, rows: Any, out: Any, ends: Any) -> None:
    for i in range(len(rows)):
        at = offsets[rows[i]]
        to = ends[i]
        length = ends[i + 1] - to
        k = 0
        while k + 8 <= length:
            store_word(out, to + k, load_word(data, at + k))
            k += 8
        if k < length and length >= 8:
            # The last word overlaps the one before it.
            store_word(out, to + length - 8, load_word(data, at + length - 8))
        else:
            while k < length:
                out[to + k] = data[at + k]
                k += 1


def gather_texts(data: Bytes, offsets: Int64s, rows: npt.NDArray[np.int32]) -> tuple[Bytes, Int64s]:
    """Texts ``rows`` (int32[m]) of (data, offsets), packed: (data, offsets int64[m + 1])."""
    ends = np.zeros(len(rows) + 1, np.int64)
    _ends(offsets, rows, ends)
    out = np.empty(int(ends[-1]), np.uint8)
    _copy(data, offsets, rows, out, ends)
    return out, ends


def append_texts(data: Bytes, offsets: Int64s, rows: npt.NDArray[np.int32], out: Bytes, ends: Int64s) -> None:
    """Texts ``rows`` into ``out`` from ends[0] on; fills ends[1:], int64[m + 1]. There has to be room."""
    _ends(offsets, rows, ends)
    _copy(data, offsets, rows, out, ends)


def large_texts(data: Bytes, offsets: Int64s) -> pa.Array:
    """The large_utf8 array over packed texts; no copy."""
    return pa.Array.from_buffers(pa.large_utf8(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _find(hi: Any, lo: Any, wanted: Any, table_hi: Any, table_lo: Any, table_version: Any, out: Any) -> Any:
    # Both ascend: a gallop from the last place, so that few in many and many in many are both cheap.
    found = 0
    n = len(table_hi)
    at = 0
    for k in range(len(wanted)):
        c = wanted[k]
        h, w = hi[c], lo[c]
        step = 1
        low, high = at, at
        while high < n and (table_hi[high] < h or (table_hi[high] == h and table_lo[high] < w)):
            low = high + 1
            high += step
            step *= 2
        high = min(high, n)
        while low < high:
            mid = (low + high) >> 1
            if table_hi[mid] < h or (table_hi[mid] == h and table_lo[mid] < w):
                low = mid + 1
            else:
                high = mid
        at = low
        if at == n:
            for rest in range(k, len(wanted)):
                wanted[rest - found] = wanted[rest]
            return len(wanted) - found
        if table_hi[at] == h and table_lo[at] == w:
            out[c] = table_version[at]
            found += 1
        else:
            wanted[k - found] = c
    return len(wanted) - found


def find_versions(
    hi: UInt64s, lo: UInt64s, wanted: Int64s, table: tuple[UInt64s, UInt64s, Int64s], out: Int64s
) -> Int64s:
    """Look up the last versions of hashes: out[c] for every c of ``wanted`` that is in ``table``.

    hi, lo: ascending; wanted: int64[m], ascending indices into them (overwritten); table: (hi, lo, version), ascending.
    Returns those of ``wanted`` that the table does not have.
    """
    left = _find(hi, lo, wanted, *table, out)
    return wanted[:left]
