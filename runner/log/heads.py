"""The last version of each aggregate, found in the segments themselves: each dictionary entry carries it.

There is no separate state to keep in step: the newest segment that knows an aggregate has its head. Dictionaries are
mapped and ascend, so a look-up is a merge, and no memory is taken but for the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runner.kernels.gather import find_versions
from runner.kernels.order import NO_VERSION
from runner.log.manifest import WHOLE
from runner.log.streams import read_aggregates

if TYPE_CHECKING:
    from runner.log.storage import Container

__all__ = ["SegmentHeads", "last_known_versions", "partition_bounds"]

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]


def partition_bounds(hi: UInt64s, partitions: int) -> Int64s:
    """int64[P + 1]: entries bounds[p] <= i < bounds[p + 1] of an ascending ``hi`` belong to partition p."""
    if partitions == 1:
        return np.array([0, len(hi)], np.int64)
    lowest = np.arange(1, partitions, dtype=np.uint64) << np.uint64(64 - (partitions.bit_length() - 1))
    return np.concatenate(([0], np.searchsorted(hi, lowest), [len(hi)])).astype(np.int64)


class SegmentHeads:
    """One segment's dictionaries, opened when first asked for."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._tables: dict[int, tuple[UInt64s, UInt64s, Int64s]] = {}

    def table(self, partition: int) -> tuple[UInt64s, UInt64s, Int64s] | None:
        if partition not in self._tables:
            stream = self._container.stream(partition)
            if stream is None:
                return None
            found = read_aggregates(stream)
            self._tables[partition] = (found.hi, found.lo, found.last_version)
        return self._tables[partition]

    def find(self, hi: UInt64s, lo: UInt64s, bounds: Int64s, wanted: Int64s, out: Int64s) -> Int64s:
        """Fill ``out`` for those of ``wanted`` that this segment knows; return the others."""
        whole = self.table(WHOLE)
        if whole is not None:
            return find_versions(hi, lo, wanted, whole, out)
        left = []
        cuts = np.searchsorted(wanted, bounds)
        for p in np.flatnonzero(np.diff(cuts)).tolist():
            mine = wanted[cuts[p] : cuts[p + 1]]
            table = self.table(p)
            left.append(mine if table is None else find_versions(hi, lo, mine, table, out))
        return np.concatenate(left) if left else wanted[:0]


def last_known_versions(segments: list[SegmentHeads], hi: UInt64s, lo: UInt64s, partitions: int) -> Int64s:
    """int64[n]: the last version of each aggregate (hi, lo ascending), NO_VERSION for new ones."""
    out = np.full(len(hi), NO_VERSION, np.int64)
    wanted = np.arange(len(hi), dtype=np.int64)
    bounds = partition_bounds(hi, partitions)
    for segment in reversed(segments):
        if not len(wanted):
            break
        wanted = segment.find(hi, lo, bounds, wanted, out)
    return out
