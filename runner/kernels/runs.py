"""Runs of equal type codes: what wavefront order makes long, and a fold walks through one by one.

Where the states of a partition are more than a cache holds, each run would fetch all of them again. ``cut_runs`` cuts
the long runs into *pieces* of neighbouring aggregates, so that a fold takes all events of some aggregates before those
of the next. An aggregate's own events keep their order, as every run is ascending by aggregate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from runner.kernels.hints import natural
from runner.kernels.options import KERNEL

__all__ = ["cut_runs", "run_end"]


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def run_end(kinds: Any, begin: Any) -> Any:
    """The first index behind ``begin`` at which the int16 array has another value than there; its length at most."""
    end = len(kinds)
    begin = natural(np.int64(begin))
    kind = kinds[begin]
    i = natural(begin + 1)
    # Outside wavefront order runs are of a few events; only behind those it pays to look at many at once.
    near = min(end, begin + 8)
    while i < near:
        if kinds[i] != kind:
            return i
        i = natural(i + 1)
    # Blocks without an exit inside: the compiler makes a few vector instructions of each.
    while i + 64 <= end:
        other = np.int16(0)
        for k in range(64):
            other |= kinds[natural(i + k)] ^ kind
        if other != 0:
            break
        i = natural(i + 64)
    while i < end and kinds[i] == kind:
        i = natural(i + 1)
    return i


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _ascends(values: Any, begin: Any, end: Any) -> Any:
    # Blocks without an exit inside, for the compiler's vectors.
    i = natural(begin + 1)
    while i + 64 <= end:
        falls = np.int64(0)
        for k in range(64):
            falls |= np.int64(values[natural(i + k)]) - np.int64(values[natural(i + k - 1)])
        if falls < 0:
            return False
        i = natural(i + 64)
    while i < end:
        if values[i] < values[i - 1]:
            return False
        i += 1
    return True


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _first_from(values: Any, begin: Any, end: Any, bound: Any) -> Any:
    # The first index of the ascending values[begin:end] that holds ``bound`` or more.
    low, high = begin, end
    while low < high:
        middle = natural((low + high) >> 1)
        if values[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def cut_runs(kinds: Any, aggregate: Any, step: Any, entries: Any, seen: Any, runs: Any, pieces: Any) -> Any:
    """Cut the batch's first runs into pieces of ``step`` aggregates; returns how many pieces there are.

    kinds int16[n], aggregate uint32[n] (below ``entries``): the batch's. seen: int64[types], 0 at first. runs:
    int64[r, 3], room for the runs that are cut: no more are, nor any from the first on that does not ascend by
    aggregate. pieces: int64[r * ceil(entries / step), 3] gets begin, end and the index of the first event among those
    of its type. The pieces cover a prefix of the batch.
    """
    count, begin = 0, 0
    while begin < len(kinds) and count < len(runs):
        begin = natural(begin)
        end = natural(run_end(kinds, begin))
        if not _ascends(aggregate, begin, end):
            break
        runs[count, 0], runs[count, 1], runs[count, 2] = begin, end, seen[kinds[begin]]
        seen[kinds[begin]] += end - begin
        count += 1
        begin = end
    made = 0
    bound = 0
    while bound < entries:
        bound += step
        for r in range(count):
            begin, end = natural(runs[r, 0]), natural(runs[r, 1])
            stop = end if bound >= entries else _first_from(aggregate, begin, end, bound)
            if stop > begin:
                pieces[made, 0], pieces[made, 1], pieces[made, 2] = begin, stop, runs[r, 2]
                made += 1
                runs[r, 0] = stop
                runs[r, 2] += stop - begin
    return made
