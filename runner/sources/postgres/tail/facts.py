"""What one look must know of the server and the table: a standby or not, since when it runs, which tables belong
together, which sequence the positions are drawn from and how. Read anew at each look: partitions and sequences change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import SourceError
from runner.postgres import Identifier, named_sql

if TYPE_CHECKING:
    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.port import Relation, StorePlace

__all__ = ["STATEMENTS", "Facts", "Sequence", "facts_of", "newest"]

STATEMENTS = named_sql("runner.sources.postgres.tail", "tail.sql")


@dataclass(frozen=True)
class Sequence:
    """oid, quoted name, and what it does. cache: positions that a session takes at a time. least: its lowest."""

    oid: int
    name: str
    increment: int
    cache: int
    cycles: bool
    least: int


@dataclass(frozen=True)
class Facts:
    """started: since when the server has run without a crash, as text. family: oids of the table and all that
    inherit from it, ascending; () of a query. sequences: that the position column draws from. subscribed: rows come by
    logical replication.
    """

    standby: bool
    started: str
    family: tuple[int, ...]
    sequences: tuple[Sequence, ...]
    subscribed: bool


def facts_of(connection: AnyConnection, relation: Relation, sequence: str = "") -> Facts:
    """One statement. ``sequence``: a name that counts with those of the column. Raises SourceError: no such table."""
    schema, table = relation.table or (None, None)
    named = {"schema": schema, "table": table, "column": relation.position[-1], "sequence": sequence or None}
    row = connection.execute(STATEMENTS["facts"], named).fetchone()
    assert row is not None
    standby, started, family, sequences, subscribed = row
    if relation.table is not None and not family:
        raise SourceError(f"{relation.where}: the table {relation.label} is not there any more")
    found = tuple(Sequence(*each) for each in sequences or ())
    if sequence and not any(relation.table is None or s for s in found):
        raise SourceError(
            f"{relation.where}: there is no sequence {sequence}", hint="mend tail.sequence in runner.toml"
        )
    return Facts(standby, started, tuple(family), found, subscribed)


def newest(connection: AnyConnection, relation: Relation) -> StorePlace | None:
    """The highest visible place; None where there is no row."""
    r = relation
    if len(r.position) == 1:
        query = STATEMENTS["newest"].format(
            number=r.number(),
            position=r.column(),
            column=Identifier(r.position[0]),
            rows=r.named_rows,
            finite=r.finite(),
            condition=r.condition,
            alias=Identifier(r.alias),
        )
    else:
        query = STATEMENTS["newest_pair"].format(
            first_number=r.number(0),
            second_number=r.number(1),
            first=r.column(0),
            second=r.column(1),
            rows=r.named_rows,
            finite=r.finite(),
            condition=r.condition,
        )
    row = connection.execute(query).fetchone()
    return None if row is None or row[0] is None else tuple(row)
