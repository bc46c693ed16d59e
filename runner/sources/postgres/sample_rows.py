"""Rows of any table as they are, and what its catalog says of their order: for ``init`` to guess a mapping from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import ConfigError
from runner.postgres import SQL, Identifier, Literal, connect, translated
from runner.sources.postgres.store import STATEMENTS, relations
from runner.sources.postgres.tail import Relation
from runner.sources.postgres.tail.facts import facts_of

if TYPE_CHECKING:
    from runner.config.connection import ConnectionSettings
    from runner.postgres import AnyConnection
    from runner.sources.postgres.store import Found

__all__ = ["TableSample", "sample_table"]

ROWS = 2_000
SECONDS = 30.0
_INTS = ("int2", "int4", "int8")


@dataclass(frozen=True)
class TableSample:
    """records: rows as JSON, in the order of ``position``. documents: columns of JSON. position: the columns that seem
    to order it, () for none. tail: the rule that the order allows. keys: the columns of each unique key of several that
    has none of the order, the smallest first. numbers: integer columns.
    """

    schema: str
    table: str
    records: list[dict[str, Any]]
    documents: tuple[str, ...]
    position: tuple[str, ...]
    tail: str
    keys: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...]


def sample_table(settings: ConnectionSettings, schema: str, table: str) -> TableSample:
    """Raises ConfigError where there is no such table, or several; PostgresError."""
    with connect(settings, "init", statement_timeout=SECONDS) as connection, translated(settings.where):
        seen = [found for found in relations(connection, (), table) if schema in ("", found.schema)]
        if len(seen) != 1:
            there = [str(found) for found in seen or relations(connection, ())]
            raise ConfigError(
                f"{len(seen) or 'no'} tables are called {table}" + (f" in {schema}" if schema else ""),
                hint=f"say which with --schema and --table: there is {', '.join(there[:20]) or 'none to be seen'}",
            )
        return _sampled(connection, settings.where, seen[0])


def _sampled(connection: AnyConnection, where: str, found: Found) -> TableSample:
    keys = [frozenset(c) for (c,) in connection.execute(STATEMENTS["unique"], {"oid": found.oid}).fetchall()]
    position, tail = _order(connection, where, found, keys)
    name = Identifier(found.schema, found.name)
    order = SQL(" ORDER BY {}").format(SQL(", ").join(map(Identifier, position))) if position else SQL("")
    query = SQL("SELECT to_jsonb(r) FROM {} AS r{} LIMIT {}").format(name, order, Literal(ROWS))
    records = [row for (row,) in connection.execute(query).fetchall()]
    several = [tuple(name for name in found.columns if name in k) for k in keys if not k & set(position) and len(k) > 1]
    several.sort(key=len)
    numbers = tuple(name for name, (kind, _) in found.columns.items() if kind in _INTS)
    documents = tuple(label for label, (kind, _) in found.columns.items() if kind in ("json", "jsonb"))
    return TableSample(found.schema, found.name, records, documents, position, tail, tuple(several), numbers)


def _order(
    connection: AnyConnection, where: str, found: Found, keys: list[frozenset[str]]
) -> tuple[tuple[str, ...], str]:
    """(the columns of the order, the tail rule)."""
    numbers = [name for name, (kind, _) in found.columns.items() if kind in _INTS]
    transaction = [name for name, (kind, _) in found.columns.items() if kind == "xid8"]
    table = (found.schema, found.name)
    drawn = [n for n in numbers if facts_of(connection, Relation(where, Identifier(*table), (n,), table)).sequences]
    unique = [name for name in numbers if frozenset((name,)) in keys]
    best = [*(n for n in unique if n in drawn), *drawn, *unique]
    if transaction and best:
        return (transaction[0], best[0]), "xid"
    return ((best[0],), "gaps" if best[0] in drawn else "time") if best else ((), "time")
