"""Materialised views directly over a live table: made again over the next one beforehand, and exchanged in the switch.

What they show is from the moment of the load, as a REFRESH then would have given; no query of theirs can be changed, so
the new ones take the names of those before, with their indexes, grants and comments. Those over views need nothing: the
view is re-pointed, and the next REFRESH follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import ReadModelError
from runner.postgres import SQL, Identifier, named_sql, qualified
from runner.sinks.postgres.belongings import BELONGINGS, Belonging, own_index_statement
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.names import fitted, versioned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.postgres import AnyConnection, Composed
    from runner.sinks.postgres.port import TablePlace

__all__ = ["drop_unused", "exchange", "remake"]

VIEWS = named_sql("runner.sinks.postgres", "matviews.sql")


def remake(
    connection: AnyConnection, place: TablePlace, version: int, relid: int, relname: str, items: Sequence[Belonging]
) -> None:
    """Make what is missing of the materialised views over a table that is not live yet; noted as a writing of it."""
    wanted = [i for i in items if i.phase == "matview"]
    have = {(schema, name): populated for schema, name, populated in _over(connection, relid)}
    for item in wanted:
        detail = item.detail
        name = versioned(detail["name"], version)
        view = qualified(detail["schema"], name)
        if (detail["schema"], name) not in have:
            with connection.transaction():
                _make(connection, item, view, place, relname)
            if (detail["schema"], name) not in {(s, n) for s, n, _ in _over(connection, relid)}:
                connection.execute(VIEWS["drop"].format(view=view))
                raise ReadModelError(
                    f"{item.name} would not read the new table", hint="drop it, and make it again after"
                )
        indexes = {
            n for (n,) in connection.execute(BELONGINGS["indexes_of"], {"schema": detail["schema"], "name": name})
        }
        if detail["populated"] and not have.get((detail["schema"], name)):
            connection.execute(VIEWS["refresh"].format(view=view))
            connection.execute(BOOKS["note_written"], {"relid": relid})
        for index in detail["indexes"] or ():
            if versioned(index["name"], version) not in indexes:
                made = Belonging("index", item.name, index["statement"], index)
                connection.execute(own_index_statement(made, view, versioned(index["name"], version)))
        connection.execute(VIEWS["owner"].format(view=view, owner=Identifier(detail["owner"])))


def exchange(connection: AnyConnection, version: int, items: Sequence[Belonging]) -> list[Composed]:
    """In the switch: the new ones take the names; gives how the former ones are dropped, when nothing reads them."""
    drops = []
    for item in items:
        if item.phase != "matview":
            continue
        detail = item.detail
        schema, name = detail["schema"], detail["name"]
        aside = fitted(name, f"__{detail['view']}")
        connection.execute(VIEWS["rename"].format(view=qualified(schema, name), name=Identifier(aside)))
        for index in detail["indexes"] or ():
            former, new = (qualified(schema, n) for n in (index["name"], versioned(index["name"], version)))
            put_aside = Identifier(fitted(index["name"], f"__{detail['view']}"))
            rename = SQL("ALTER INDEX {} RENAME TO {}; ALTER INDEX {} RENAME TO {}")
            connection.execute(rename.format(former, put_aside, new, Identifier(index["name"])))
        new = qualified(schema, versioned(name, version))
        connection.execute(VIEWS["rename"].format(view=new, name=Identifier(name)))
        given = connection.execute(BELONGINGS["default_grants"], {"schema": schema, "name": name}).fetchall()
        for statement in (*(revoke for (revoke,) in given), *(detail["statements"] or ())):
            connection.execute(Belonging("switch", item.name, statement).sql)
        drops.append(VIEWS["drop"].format(view=qualified(schema, aside)))
    return drops


def drop_unused(connection: AnyConnection, relid: int, version: int) -> None:
    """Drop those that were made over a table that never became live."""
    for schema, name, _ in _over(connection, relid):
        if name.endswith(f"__v{version}"):
            connection.execute(VIEWS["drop"].format(view=qualified(schema, name)))


def missing(connection: AnyConnection, version: int, relid: int, items: Sequence[Belonging]) -> list[Belonging]:
    """Those that came after the new ones were made."""
    have = {(schema, name) for schema, name, _ in _over(connection, relid)}
    wanted = [i for i in items if i.phase == "matview"]
    return [i for i in wanted if (i.detail["schema"], versioned(i.detail["name"], version)) not in have]


def _make(connection: AnyConnection, item: Belonging, view: Identifier, place: TablePlace, relname: str) -> None:
    detail = item.detail
    names = {"relname": Identifier(relname), "live": Identifier(place.table), "schema": Identifier(place.schema)}
    connection.execute(VIEWS["lend_name"].format(table=qualified(place.schema, relname), **names))
    path = SQL("SET LOCAL search_path = projection_runner, {}").format(Identifier(place.schema))
    connection.execute(path)
    options = SQL(" WITH ({})").format(Belonging("", "", detail["options"]).sql) if detail["options"] else SQL("")
    space = SQL(" TABLESPACE {}").format(Identifier(detail["tablespace"])) if detail["tablespace"] else SQL("")
    query = Belonging("", "", detail["query"]).sql
    connection.execute(VIEWS["create"].format(view=view, options=options, tablespace=space, query=query))
    connection.execute(VIEWS["return_name"].format(**names))


def _over(connection: AnyConnection, relid: int) -> list[tuple[str, str, bool]]:
    return [(s, n, p) for s, n, p in connection.execute(BELONGINGS["over"], {"relid": relid}).fetchall()]
