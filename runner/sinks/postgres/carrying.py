"""What of a live table's belongings the next table gets before the switch: storage, constraints, indexes, statistics.

Done without anybody waiting: the next table is nobody's yet. It is done again, for what came in the meantime, when the
switch begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.errors import ReadModelError
from runner.postgres import SQL, Identifier, Jsonb, named_sql, qualified
from runner.sinks.postgres.belongings import BELONGINGS, belongings, own_index_statement
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.matviews import missing as missing_views
from runner.sinks.postgres.matviews import remake
from runner.sinks.postgres.names import versioned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.belongings import Belonging, Former
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace

__all__ = ["TABLES", "Incoming", "missing", "prepare"]

TABLES = named_sql("runner.sinks.postgres", "tables.sql")
BEFORE = ("create", "index", "load")


@dataclass(frozen=True)
class Incoming:
    """A table that is to become live. relname: what it is called now. names: what its indexes and statistics are
    called now, and what when it is live."""

    read_model: str
    place: TablePlace
    layout: Layout
    version: int
    relid: int
    relname: str
    names: Mapping[str, str] = field(default_factory=dict)


def prepare(
    connection: AnyConnection, one: Incoming, former: Former | None, phases: Sequence[str] = BEFORE
) -> Incoming:
    """Carry over what the table still lacks; with the names of all its indexes, which are noted."""
    if former is not None:
        with connection.transaction():
            items = belongings(connection, one.place, former, one.layout, one.relname)
        for item in missing(connection, one, [i for i in items if i.phase in phases]):
            with connection.transaction():
                connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(one.place.schema)))
                _carry(connection, one, item)
        if "load" in phases:
            _check_referring(connection, one, items)
            remake(connection, one.place, one.version, one.relid, one.relname, items)
        names = {versioned(i.detail["name"], one.version): i.detail["name"] for i in items if i.phase == "index"}
        one = replace(one, names={**one.names, **names})
    connection.execute(BOOKS["note_names"], {"relid": one.relid, "names": Jsonb(dict(one.names))})
    return one


def _check_referring(connection: AnyConnection, one: Incoming, items: Sequence[Belonging]) -> None:
    """Raise ReadModelError where rows of others refer to rows that the table has not."""
    for item in items:
        if item.phase == "foreign":
            with connection.transaction():
                connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(one.place.schema)))
                found = connection.execute(item.sql).fetchone()
            if found == (True,):
                raise ReadModelError(
                    f"{item.name}: rows there refer to rows that version {one.version} of {one.read_model!r} has not",
                    hint="delete or change them, or drop the foreign key",
                )


def missing(connection: AnyConnection, one: Incoming, items: Sequence[Belonging]) -> tuple[Belonging, ...]:
    """What of these is to be carried over before the switch and the table has not. Settings are set again and again."""
    relid = {"relid": one.relid}
    have = {name for name, _ in connection.execute(BELONGINGS["own_names"], relid).fetchall()}
    constraints = {name for (name,) in connection.execute(BELONGINGS["constraints"], relid).fetchall()}
    not_null = {name for (name,) in connection.execute(BELONGINGS["not_null"], relid).fetchall()}

    def lacks(item: Belonging) -> bool:
        if item.phase == "index":
            return versioned(item.detail["name"], one.version) not in have
        if item.phase == "load" and "constraint" in item.detail:
            return item.detail["constraint"] not in constraints
        return item.phase == "load" and item.detail["not_null"] not in not_null

    views = missing_views(connection, one.version, one.relid, items)
    return tuple(item for item in items if lacks(item) or item.phase == "create" or item in views)


def _carry(connection: AnyConnection, one: Incoming, item: Belonging) -> None:
    table = qualified(one.place.schema, one.relname)
    if item.phase == "index":
        name = versioned(item.detail["name"], one.version)
        connection.execute(own_index_statement(item, table, name))
        return
    connection.execute(item.sql)
    if item.detail.get("validate"):
        connection.execute(TABLES["validate"].format(table=table, name=Identifier(item.detail["constraint"])))
