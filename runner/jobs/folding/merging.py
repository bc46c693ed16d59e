"""Merged keys: the partial rows of all partitions become one row per key, in the order of partitions.

That order is always the same, so the result does not depend on which worker was first. For int and Decimal fields it
does not depend on the partitioning either. Floats, which ``merge_floats=True`` allows, are the exception: their last
digits depend on the order of the sums, so an update, a compacted log or other partitions can give other last digits
than a rebuild, and a proof compares them with a tolerance (``jobs/proving/same_bytes.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import FoldError, FoldFailure, ReadModelError
from runner.fold.merge import merge_rows
from runner.jobs.folding.partition import SavedStatesDamaged
from runner.sinks.rows import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.fold.plan import FoldPlan
    from runner.sinks.saved import SavedFiles
    from runner.sinks.shape import FileInfo

__all__ = ["differing", "merge_partials", "merge_with_saved", "merged"]


def merge_partials(
    plan: FoldPlan, definition: ProjectionDefinition, directory: Path, files: Iterable[FileInfo]
) -> pa.Table:
    """The merged rows of partial files (relative to ``directory``), each compared with its digest first."""
    ordered = sorted(files, key=lambda info: info.partition)
    return merged(plan, definition, [read_file(directory, info) for info in ordered])


def merged(plan: FoldPlan, definition: ProjectionDefinition, tables: Sequence[pa.Table]) -> pa.Table:
    """One row per key. Raises FoldError where the author's merge fails (a sum that does not fit)."""
    try:
        return merge_rows(plan, definition.name, tables)
    except (ArithmeticError, ValueError, TypeError, AssertionError) as error:
        failure = FoldFailure(definition.name, "merge", 0, "", "", f"{type(error).__name__}: {error}", 0)
        raise FoldError((failure,)) from error


def merge_with_saved(
    plan: FoldPlan, definition: ProjectionDefinition, partial: pa.Table, saved: SavedFiles
) -> pa.Table:
    """The rows that a catch-up writes: the saved rows of the partial's keys with the partial ones merged in."""
    if partial.num_rows == 0:
        return partial
    try:
        before = saved.by_keys(definition.name, partial.select([part.name for part in definition.key]))
    except ReadModelError as error:
        raise SavedStatesDamaged(definition.name, error) from error
    # Keys stand in the order in which they come first: the saved ones, then the new ones.
    after = merged(plan, definition, [before, partial])
    changed = np.ones(after.num_rows, np.bool_)
    changed[: before.num_rows] = differing(before, after.slice(0, before.num_rows))
    return after.filter(pa.array(changed))


def differing(before: pa.Table, after: pa.Table) -> npt.NDArray[np.bool_]:
    """bool[n]: which of n rows, in the same order in both, are not the same bytes."""
    found = np.zeros(before.num_rows, np.bool_)
    for name in after.schema.names:
        here, there = before[name].combine_chunks(), after[name].combine_chunks()
        if pa.types.is_floating(here.type) or pa.types.is_nested(here.type):
            # As text: NaN equals NaN, -0.0 does not equal 0.0, as in the canonical bytes.
            pairs = zip(here.to_pylist(), there.to_pylist(), strict=True)
            found |= np.array([repr(a) != repr(b) for a, b in pairs], np.bool_)
        else:
            here, there = _storage(here), _storage(there)
            one = pc.is_null(here).to_numpy(zero_copy_only=False) != pc.is_null(there).to_numpy(zero_copy_only=False)
            other = pc.fill_null(pc.not_equal(here, there.cast(here.type)), False).to_numpy(zero_copy_only=False)
            found |= one | other
    return found


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
