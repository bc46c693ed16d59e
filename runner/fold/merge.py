"""Partial rows of merged keys into one row per key: compiled, with the plain twin where that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from runner.errors import ProofError
from runner.fold.columns import read_states
from runner.fold.kernel import INFO_SIZE
from runner.fold.output import Keys, changed_rows, key_words
from runner.fold.plain_state import merge_plain
from runner.fold.rows import row_schema
from runner.fold.states import ALIVE, StateRows
from runner.fold.tables import AggregateRows, KeyRows
from runner.fold.texts import Texts
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.fold.plan import FoldPlan

__all__ = ["merge_rows"]


def merge_rows(plan: FoldPlan, projection: str, tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of a merged key from partial tables of ``row_schema``, in the order given: saved rows, then partitions.

    Rows stand in the order in which their keys come first, so equal tables in equal order give equal bytes.
    Raises what the author's merge raises (OverflowError where a sum does not fit).
    """
    definition = plan.definition(projection)
    schema = row_schema(definition, plan.names.identity)
    parts = [table for table in tables if table.num_rows]
    if not parts:
        return schema.empty_table()
    if projection not in plan.compiled:
        return merge_plain(definition, parts, plan.names.identity)
    texts, size = 1024, 65_536
    while True:
        code, merged = _merge_compiled(plan, projection, pa.concat_tables(parts), texts, size)
        if code == status.GROW:
            texts, size = 4 * texts, 4 * size
        elif code == status.OK:
            return merged
        else:
            break
    plain = merge_plain(definition, parts, plan.names.identity)
    if code != status.REFUSED:
        raise ProofError(
            f"{projection}: the compiled merge stopped ({status.NAMES[code]}), and the plain one did not",
            hint="one of them is wrong: please report it; compiled=False goes on without the compiled one",
        )
    return plain


def _merge_compiled(
    plan: FoldPlan, projection: str, table: pa.Table, room: int, size: int
) -> tuple[int, pa.Table | None]:
    """(status, the merged rows where it is OK)."""
    definition = plan.definition(projection)
    n = plan.compiled.index(projection)
    pool = Texts(plan.constants)
    others = np.repeat(plan.defaults[n], table.num_rows)
    read_states(definition, table, pool, others)
    others[ALIVE] = 1
    words = np.stack(key_words(definition.key, table, pool), axis=1).astype(np.int64, copy=False)
    pool.reserve(room, size)
    rows = KeyRows(plan.words[n], table.num_rows)
    states = StateRows(plan.defaults[n])
    states.room(table.num_rows)
    merge = getattr(plan.kernel(), f"merge_{n}")
    code = merge(np.zeros(INFO_SIZE, np.int64), pool.pool, rows.keys, states.rows, np.ascontiguousarray(words), others)
    if code != status.OK:
        return code, None
    keys = Keys(definition, plan.names, AggregateRows(), rows, pool)
    merged, _ = changed_rows(keys, states, None)
    return code, merged
