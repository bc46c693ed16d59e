"""What one look must know of the server and the table: a standby or not, since when it runs, which tables belong
together, which sequence the positions are drawn from and how. Read anew at each look: partitions and sequences change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import SourceError
from runner.postgres import named_sql

if TYPE_CHECKING:
    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.port import Relation

__all__ = ["STATEMENTS", "Facts", "Sequence", "facts_of"]

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
    """started: of the server, as text. backend: the pid of our own session. family: oids of the table and all that
    inherit from it, ascending; () of a query. sequences: that the position column draws from. subscribed: rows come by
    logical replication.
    """

    standby: bool
    started: str
    backend: int
    family: tuple[int, ...]
    sequences: tuple[Sequence, ...]
    subscribed: bool


def facts_of(connection: AnyConnection, relation: Relation, sequence: str = "") -> Facts:
    """One statement. ``sequence``: a name that counts with those of the column. Raises SourceError: no such table."""
    schema, table = relation.table or (None, None)
    named = {"schema": schema, "table": table, "column": relation.position[-1], "sequence": sequence or None}
    row = connection.execute(STATEMENTS["facts"], named).fetchone()
    assert row is not None
    standby, started, backend, family, sequences, subscribed = row
    if relation.table is not None and not family:
        raise SourceError(f"{relation.where}: the table {relation.label} is not there any more")
    found = tuple(Sequence(*each) for each in sequences or ())
    if sequence and not any(relation.table is None or s for s in found):
        raise SourceError(
            f"{relation.where}: there is no sequence {sequence}", hint="mend tail.sequence in runner.toml"
        )
    return Facts(standby, started, backend, tuple(family), found, subscribed)
