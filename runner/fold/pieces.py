"""The order in which a batch is folded: as it is stored, or by blocks of aggregates whose states a cache holds.

In wavefront order each run of a type goes through all aggregates, so a partition with many of them, or with many
projections, fetches every state anew from far memory for each run. Blocks change no result: an aggregate's own events
keep their order. Rows of merged keys are of no aggregate; they are folded in stored order always, so that sums of
floats come out the same whichever projections share the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runner.fold.bulk import bulk

if TYPE_CHECKING:
    from runner.batch import Batch

__all__ = ["STORED_ORDER", "blocks_of"]

Int64s = npt.NDArray[np.int64]

HELD = 512 << 10
"""Bytes of states that stay in the cache of one core while a block is folded, beside the columns that pass."""
FEWEST = 64
"""Events that a piece should have on average: each begins with a mispredicted branch for each projection."""
STORED_ORDER: Int64s = np.empty((0, 3), np.int64)


def blocks_of(batch: Batch, types: int, state_bytes: int) -> Int64s:
    """The pieces int64[m, 3] (``runner.kernels.runs.cut_runs``) of a batch's long runs; the rest stays as it is.

    types: how many there are; state_bytes: of all states of one aggregate. ``STORED_ORDER`` where the states fit.
    """
    entries = len(batch.aggregates)
    if entries * state_bytes <= 2 * HELD:
        return STORED_ORDER
    step = max(1, HELD // state_bytes)
    blocks = -(-entries // step)
    room = int(len(batch) / (FEWEST * blocks))
    if room == 0:
        return STORED_ORDER
    runs, pieces = np.empty((room, 3), np.int64), np.empty((room * blocks, 3), np.int64)
    aggregate = batch.aggregate.view(np.uint32)
    made = bulk().cut(batch.types, aggregate, step, entries, np.zeros(types, np.int64), runs, pieces)
    return pieces[:made]
