"""Tenants: a schema each, or a column. One log takes them all, and what stops one stops only that one.

- ``schemas = "tenant_*"``: each schema is a store of its own, with its own watermark.
- A tenant column, positions drawn per tenant (a unique index has both columns, none the position alone): each tenant is
  a store of its own too, its rows chosen by the column.
- A tenant column, positions drawn for all: the rows are read in one go under one watermark. A tenant whose row cannot
  be taken is *stopped* there: the mark names it with the place before, the others go on, and its rows from there on are
  read again by the next sync, before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.postgres import SQL, Identifier, Literal
from runner.sources.postgres.preset import Condition
from runner.sources.postgres.statement import ALIAS, plain_column
from runner.sources.postgres.store import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from runner.errors import RunnerError
    from runner.postgres import AnyConnection
    from runner.sources.postgres.arrange import Arranged
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Span, StorePlace, Tail

__all__ = [
    *("TenantFailure", "behind_stop", "but_rows", "divided", "of_tenant", "tenant_label", "tenant_name"),
    *("tenants_of", "without_stopped"),
]


@dataclass(frozen=True)
class TenantFailure:
    """What stopped one tenant, while the others went on."""

    tenant: str
    error: RunnerError


def tenant_label(store: Store) -> str:
    """The column that names the tenant, "" where there is none, or it lies inside of JSON."""
    return "" if store.tenant_field is None else plain_column(store.tenant_field)


def divided(connection: AnyConnection, store: Store) -> tuple[Store, ...]:
    """The store itself, or one for each tenant where positions are drawn per tenant."""
    label = tenant_label(store)
    if not label or store.relation is None or store.cells[label].alias != "m":
        return (store,)
    rows = connection.execute(STATEMENTS["unique"], {"oid": store.relation.oid}).fetchall()
    unique = [frozenset(columns) for (columns,) in rows]
    position = frozenset(store.cells[name].column for name in store.position)
    column = store.cells[label].column
    if any(key <= position for key in unique) or not any(key == position | {column} for key in unique):
        return (store,)
    table = Identifier(store.relation.schema, store.relation.name)
    query = SQL("SELECT DISTINCT {}::text FROM {} ORDER BY 1").format(Identifier(column), table)
    names = [name for (name,) in connection.execute(query).fetchall()]
    return tuple(_one(store, label, name) for name in names)


def _one(store: Store, label: str, name: str | None) -> Store:
    only = Condition(label, () if name is None else (name,))
    return replace(store, tenant=tenant_name(store, name or ""), tenant_field=None, only=(*store.only, only))


def tenant_name(store: Store, name: str) -> str:
    """The tenant in the log, of what the column has."""
    clean = "" if name in store.default_tenants else name
    return "/".join(part for part in (store.tenant, clean) if part)


# One pass over several tenants ----------------------------------------------------------------------------------------


def tenants_of(store: Store, rows: pa.RecordBatch) -> pa.Array:
    """The tenant of each row as the column has it, large_utf8; "" for none."""
    column = rows.column(tenant_label(store))
    return pc.fill_null(column.cast(pa.large_utf8()), "")


def of_tenant(store: Store, span: Span, tenant: str) -> Span:
    """The rows of a span that are one tenant's."""
    column = Identifier(ALIAS, tenant_label(store))
    mine = SQL("coalesce({}::text, '') = {}").format(column, Literal(tenant))
    return replace(span, condition=SQL("({}) AND {}").format(span.condition, mine))


def without_stopped(arranged: Arranged, tenants: pa.Array, stopped_at: Mapping[str, int]) -> Arranged:
    """The events but those of stopped tenants. stopped_at: per tenant the first row that is not taken."""
    gone = np.zeros(len(tenants), np.bool_)
    for tenant, row in stopped_at.items():
        mine = pc.equal(tenants, pa.scalar(tenant, pa.large_utf8())).to_numpy(zero_copy_only=False)
        mine[:row] = False
        gone |= mine
    kept = ~gone[arranged.rows]
    if kept.all():
        return arranged
    return replace(arranged, events=arranged.events.filter(pa.array(kept)), rows=arranged.rows[kept])


def behind_stop(
    store: Store, tail: Tail, rows: pa.RecordBatch, epoch: int, stopped: Mapping[str, StorePlace | None]
) -> npt.NDArray[np.bool_]:
    """Which rows will come with their stopped tenants, which are read on from these places."""
    behind = np.zeros(rows.num_rows, np.bool_)
    tenants = tenants_of(store, rows)
    columns = [rows.column(label).to_numpy(zero_copy_only=False) for label in store.places]
    for tenant, place in stopped.items():
        mine: Any = pc.equal(tenants, pa.scalar(tenant, pa.large_utf8()))
        for row in np.flatnonzero(mine.to_numpy(zero_copy_only=False)).tolist():
            behind[row] = place is None or tail.place(epoch, [int(c[row]) for c in columns]) > place
    return behind


def but_rows(arranged: Arranged, gone: npt.NDArray[np.bool_]) -> Arranged:
    """Without what some rows are, events or none."""
    kept = ~gone[arranged.rows]
    bad = tuple(each for each in arranged.bad if not gone[each[0]])
    return replace(arranged, events=arranged.events.filter(pa.array(kept)), rows=arranged.rows[kept], bad=bad)
