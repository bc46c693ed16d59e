"""The order of events: partitions, versions inside an aggregate, and wavefronts inside a batch; all by counting.

The *level* of an event is its rank among its aggregate's events in the batch (first: 0). Wavefront order is by
(level, type, aggregate); from the first level with fewer than ``THIN`` events on, what is left forms one tail, ordered
by (aggregate, place). An aggregate's own events keep their order in both. Level sizes never grow with the level, so all
levels of the tail are thin; without it an aggregate with half of all events would make as many runs as it has events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["NO_VERSION", "THIN", "last_versions", "partition_order", "version_order", "wavefront_order"]

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int16s = npt.NDArray[np.int16]

NO_VERSION = -(2**63)
"""The minimum int64: the source gives no version, or the aggregate has no event yet."""

THIN = 16
"""A level with fewer events goes to the tail: its runs would be too short to gain from."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _count_sort(keys: Any, buckets: Any, source: Any, target: Any, n: Any) -> None:
    # Stable: target[:n] is source[:n] by ascending keys[source[i]].
    place = np.zeros(buckets + 1, np.int64)
    for i in range(n):
        place[keys[source[i]] + 1] += 1
    for b in range(buckets):
        place[b + 1] += place[b]
    for i in range(n):
        x = source[i]
        b = keys[x]
        target[place[b]] = x
        place[b] += 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _partition(codes: Any, bounds: Any, starts: Any, order: Any) -> None:
    # bounds: first code of each partition. The partition of a code is looked up once per code, not per event.
    partitions = len(bounds) - 1
    part = np.empty(bounds[partitions], np.int32)
    for p in range(partitions):
        for c in range(bounds[p], bounds[p + 1]):
            part[c] = p
    starts[:] = 0
    for i in range(len(codes)):
        starts[part[codes[i]] + 1] += 1
    for p in range(partitions):
        starts[p + 1] += starts[p]
    place = starts.copy()
    for i in range(len(codes)):
        p = part[codes[i]]
        order[place[p]] = i
        place[p] += 1


def partition_order(codes: Int32s, bounds: Int64s) -> tuple[Int32s, Int64s]:
    """Gather events by partition, keeping their order: (order int32[n], starts int64[P + 1]).

    codes: int32[n], codes into a dictionary ascending by hash, so that partition p's codes are
    bounds[p] <= code < bounds[p + 1] (bounds: int64[P + 1]). Partition p's events are order[starts[p]:starts[p + 1]].
    """
    order, starts = np.empty(len(codes), np.int32), np.zeros(len(bounds), np.int64)
    _partition(codes, bounds, starts, order)
    return order, starts


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _wavefront(codes: Any, types: Any, n_codes: Any, n_types: Any, thin: Any, out: Any) -> Any:
    n = len(codes)
    count = np.zeros(n_codes + 1, np.int32)
    level = np.empty(n, np.int32)
    for i in range(n):
        level[i] = count[codes[i]]
        count[codes[i]] += 1
    # The first thin level, from how many aggregates have how many events.
    most = 0
    for c in range(n_codes):
        most = max(most, count[c])
    sizes = np.zeros(most + 1, np.int64)
    for c in range(n_codes):
        sizes[count[c]] += 1
    wide, left = 0, n_codes - sizes[0]
    while wide < most and left >= thin:
        wide += 1
        left -= sizes[wide]
    # By aggregate; then the wide levels' events by (level, type), the rest behind them as they are.
    place = np.empty(n_codes + 1, np.int64)
    at = 0
    for c in range(n_codes):
        place[c] = at
        at += count[c]
    by_aggregate = np.empty(n, np.int32)
    for i in range(n):
        c = codes[i]
        by_aggregate[place[c]] = i
        place[c] += 1
    front = 0
    for k in range(n):
        if level[by_aggregate[k]] < wide:
            front += 1
    tail = front
    kept = np.empty(front, np.int32)
    at = 0
    for k in range(n):
        i = by_aggregate[k]
        if level[i] < wide:
            kept[at] = i
            at += 1
        else:
            out[tail] = i
            tail += 1
    if wide * n_types <= 4 * n + 1024:
        buckets = wide * n_types
        spots = np.zeros(buckets + 1, np.int64)
        for k in range(front):
            spots[level[kept[k]] * n_types + types[kept[k]] + 1] += 1
        for b in range(buckets):
            spots[b + 1] += spots[b]
        for k in range(front):
            i = kept[k]
            b = level[i] * n_types + types[i]
            out[spots[b]] = i
            spots[b] += 1
    else:
        # Many levels times many types: two sorts, whose tables add up instead of multiplying.
        by_type = np.empty(front, np.int32)
        _count_sort(types, n_types, kept, by_type, front)
        _count_sort(level, wide, by_type, out, front)
    return front


def wavefront_order(codes: Int32s, types: Int16s, n_codes: int, *, thin: int = THIN) -> Int32s:
    """The wavefront order int32[n] of events given in the order in which each aggregate's are to be folded.

    codes: int32[n], 0 <= code < n_codes, aggregates; types: int16[n], not negative. Memory and time grow with
    n + n_codes + the highest type code, never with levels times types.
    """
    out = np.empty(len(codes), np.int32)
    if len(codes):
        _wavefront(codes, types, n_codes, int(types.max()) + 1, thin, out)
    return out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _fill_versions(codes: Any, versions: Any, heads: Any, none: Any) -> Any:
    # ``last`` is the highest so far. True where every version is above all before it.
    last = heads.copy()
    ascending = True
    for i in range(len(codes)):
        c = codes[i]
        if versions[i] == none:
            versions[i] = 1 if last[c] == none else last[c] + 1
        if last[c] != none and versions[i] <= last[c]:
            ascending = False
        else:
            last[c] = versions[i]
    return ascending


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _first_not_above(codes: Any, versions: Any, heads: Any, order: Any, none: Any) -> Any:
    last = heads.copy()
    for k in range(len(order)):
        i = order[k]
        c = codes[i]
        if last[c] != none and versions[i] <= last[c]:
            return i
        last[c] = versions[i]
    return -1


def version_order(codes: Int32s, versions: Int64s, heads: Int64s) -> tuple[Int32s | None, int]:
    """Put each aggregate's events into the order of their versions, in the places that they have together.

    codes: int32[n]; versions: int64[n] in the order of arrival, NO_VERSION where absent, which is filled in (one above
    the aggregate's highest so far, from 1); heads: int64[n_codes], the aggregates' last versions, NO_VERSION for new
    ones.

    Returns (order int32[n] or None where the events are in order already, index of the first event whose version is
    not above its aggregate's last, or -1).
    """
    if _fill_versions(codes, versions, heads, NO_VERSION):
        return None, -1
    order = np.empty(len(codes), np.int32)
    order[np.argsort(codes, kind="stable")] = np.lexsort((versions, codes))
    return order, int(_first_not_above(codes, versions, heads, order, NO_VERSION))


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _last_versions(codes: Any, versions: Any, heads: Any) -> None:
    for i in range(len(codes)):
        heads[codes[i]] = max(heads[codes[i]], versions[i])


def last_versions(codes: Int32s, versions: Int64s, n_codes: int) -> Int64s:
    """The highest version of each aggregate, int64[n_codes]; NO_VERSION where it has no event."""
    heads = np.full(n_codes, NO_VERSION, np.int64)
    _last_versions(codes, versions, heads)
    return heads
