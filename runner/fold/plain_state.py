"""States in Python compared, copied and merged: the twin's side of ``update`` and of merged keys."""

from __future__ import annotations

import decimal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runner.authoring.bounded import Buckets, LastValues
from runner.authoring.field_values import EXACT
from runner.fold.checked import checked_functions
from runner.fold.rows import Row, row_schema, rows_table, saved_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from runner.authoring.definition import ProjectionDefinition

__all__ = ["copied", "merge_plain", "same_state"]


def copied(row: Row) -> Row:
    """The row with a state of its own."""
    state = object.__new__(type(row.state))
    own = dict(row.state.__dict__)
    for name, value in own.items():
        if isinstance(value, (LastValues, Buckets)):
            own[name] = value.copy()
    state.__dict__.update(own)
    return replace(row, state=state)


def same_state(definition: ProjectionDefinition, one: Row, other: Row) -> bool:
    """Whether two states are the same bytes: -0.0 is not 0.0, and all NaN are one."""
    return all(_same(one.state.__dict__[f.name], other.state.__dict__[f.name]) for f in definition.fields)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a.hex() == b.hex()
    if isinstance(a, LastValues):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def merge_plain(definition: ProjectionDefinition, tables: Sequence[pa.Table], identity: Sequence[str] = ()) -> pa.Table:
    """Partial rows of merged keys, in the order given, merged into one row per key. Tables of ``row_schema``.

    Raises what the author's merge raises (OverflowError where a sum does not fit).
    """
    merge = checked_functions(definition).merge
    assert merge is not None, "only projections with merge have partial rows"
    rows: dict[tuple[Any, ...], Row] = {}
    with decimal.localcontext(EXACT):
        for row in _all_rows(definition, tables, identity):
            into = rows.setdefault(row.key, row)
            if into is not row:
                merge(into.state, row.state)
    if not rows:
        return row_schema(definition, identity).empty_table()
    return rows_table(definition, list(rows.values()), identity)


def _all_rows(definition: ProjectionDefinition, tables: Iterable[pa.Table], identity: Sequence[str]) -> Iterable[Row]:
    for table in tables:
        yield from saved_rows(definition, table, identity)
