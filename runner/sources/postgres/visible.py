"""Which positions of a store one snapshot sees: for comparisons with tables that are written with the events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runner.errors import ConfigError
from runner.postgres import SQL, Identifier, translated, types
from runner.postgres.copy_columns import CopyColumn
from runner.postgres.copy_out import copy_out
from runner.sources.postgres.statement import ALIAS, Statement
from runner.sources.postgres.store import resolve

if TYPE_CHECKING:
    from runner.config.postgres import PostgresSourceConfig
    from runner.postgres import AnyConnection

__all__ = ["Visible", "visible_positions"]


@dataclass(frozen=True)
class Visible:
    """positions: int64[n], ascending, of the order's last column, of the rows above ``above``."""

    above: int
    positions: npt.NDArray[np.int64]


def visible_positions(connection: AnyConnection, source: PostgresSourceConfig, above: int) -> Visible:
    """The positions above ``above`` that the connection's transaction sees. Of tables that the source has itself.

    Raises ConfigError where the store is not in this database, or one of several; PostgresError.
    """
    where = f"[sources.{source.name}]"
    with translated(where):
        found, _ = resolve(connection, source.name, source.store)
    if len(found) != 1:
        raise ConfigError(
            f"{where} is {len(found)} stores in the database of the table that is compared",
            hint="a table that is written inline is in the store's own database; else say progress = { ... }",
        )
    (store,) = found
    statement = Statement(store)
    relation = statement.tail_relation()
    label = store.position[-1]
    query = SQL("SELECT {0}::bigint FROM {1} WHERE {0} > {2}").format(
        Identifier(ALIAS, label), relation.named_rows, statement.value(label, above)
    )
    batches = copy_out(connection, query, (CopyColumn("position", types.INT8),), where=where)
    parts: list[Any] = [np.empty(0, np.int64), *(b.column(0).to_numpy(zero_copy_only=False) for b in batches)]
    return Visible(above, np.unique(np.concatenate(parts)))
