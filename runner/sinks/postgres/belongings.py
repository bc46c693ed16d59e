"""What hangs on a live table and has to go over to the next: read from the catalog as statements, tried beforehand.

Everything that the runner does not make itself is carried over: owner, grants, comments, storage parameters, defaults,
owned sequences, row-level security, triggers, rules, publications, indexes, constraints, extended statistics, foreign
keys from and to the table, views and functions that read it, policies of other tables that read it. What is none of
these and depends on the table is refused before a run begins, and so is what the new table's columns cannot bear: each
statement is tried on an empty temporary table of the same name, which nobody waits for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.errors import PostgresError, ReadModelError
from runner.postgres import SQL, Identifier, Jsonb, named_sql, qualified, translated
from runner.sinks.postgres.names import versioned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.postgres import AnyConnection, Composed
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace

__all__ = ["BELONGINGS", "Belonging", "Former", "belongings", "former_at", "own_index_statement", "rehearsed"]

BELONGINGS = named_sql("runner.sinks.postgres", "belongings.sql")
TRIED = ("create", "index", "load", "matview", "switch")


@dataclass(frozen=True)
class Belonging:
    """One thing. phase: see belongings.sql. name: for messages. statement: as the server printed it."""

    phase: str
    name: str
    statement: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def sql(self) -> Composed:
        # Made by the server from its catalog, with its own quotes.
        return SQL(self.statement.replace("{", "{{").replace("}", "}}")).format()


@dataclass(frozen=True)
class Former:
    """The live table that is to be replaced. columns: as the runner made them, name to (type, NOT NULL). own: the
    indexes that the runner made."""

    relid: int
    version: int
    columns: dict[str, tuple[str, bool]]
    own: frozenset[str]


def former_at(connection: AnyConnection, place: TablePlace) -> Former | None:
    """The live table of a place, or None. Raises ReadModelError where it is not the runner's own."""
    row = connection.execute(BELONGINGS["live_table"], {"schema": place.schema, "name": place.table}).fetchone()
    if row is None:
        return None
    relid, version, columns, own, _ = row
    if version is None:
        raise ReadModelError(
            f"{place.words} is not a table of the runner's: a switch would put its own in its place",
            hint="publish under another name ([publish.NAME] table = ...), or drop or rename it",
        )
    names = frozenset(own) | {versioned(name, version) for name in own}
    return Former(relid, version, {n: (c[0], c[1]) for n, c in columns.items()}, names)


def belongings(
    connection: AnyConnection, place: TablePlace, former: Former, layout: Layout, new: str = ""
) -> tuple[Belonging, ...]:
    """All that hangs on the live table, in the order of carrying over. In the caller's transaction, whose search path
    becomes the table's schema. new: the new table's name; "" is the live one's.
    """
    connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(place.schema)))
    made_required = [name for name, (_, required) in former.columns.items() if required]
    rows = connection.execute(
        BELONGINGS["belongings"].format(),
        {
            "relid": former.relid,
            "new": new or place.table,
            "columns": list(layout.columns),
            "required": [*made_required, *layout.required],
            "known": list(former.columns),
            "types": Jsonb({name: kind for name, (kind, _) in former.columns.items()}),
        },
    ).fetchall()
    for _, phase, _, _, detail in rows:
        if phase == "foreign":
            detail["own"] = detail["index"] in former.own
    return tuple(
        Belonging(phase, name, statement, detail or {})
        for _, phase, name, statement, detail in rows
        if not (phase == "index" and detail["name"] in former.own)
    )


def own_index_statement(item: Belonging, table: Identifier, name: str) -> Composed:
    """The statement of an index, a constraint with one, or statistics, for another table under another name."""
    text, detail = item.statement, item.detail
    if detail["kind"] == "constraint":
        return SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(table, Identifier(name), _as_printed(text))
    if not text.startswith(detail["prefix"]):
        raise PostgresError(f"{item.name}: the server prints it as {text!r}, which is not understood")
    rest = text.removeprefix(detail["prefix"])
    if detail["kind"] == "statistics":
        rest = rest.removesuffix(detail["suffix"])
        return SQL("CREATE STATISTICS {} {} FROM {}").format(Identifier(name), _as_printed(rest), table)
    start = SQL("CREATE UNIQUE INDEX" if detail["unique"] else "CREATE INDEX")
    return SQL("{} {} ON {} {}").format(start, Identifier(name), table, _as_printed(rest))


def _as_printed(text: str) -> Composed:
    return Belonging("", "", text).sql


def rehearsed(
    connection: AnyConnection, place: TablePlace, items: Sequence[Belonging], layout: Layout
) -> tuple[str, ...]:
    """What of these could not be carried over to a table of this layout, in words. Leaves nothing behind."""
    return tuple(_refusals(connection, place, items, layout))


def _refusals(
    connection: AnyConnection, place: TablePlace, items: Sequence[Belonging], layout: Layout
) -> Iterator[str]:
    for item in items:
        if item.phase == "refuse":
            yield f"{item.name}: {item.statement}"
        if item.phase == "foreign" and item.detail["own"] and item.detail["columns"] != sorted(layout.key):
            yield f"{item.name}: it refers to {', '.join(item.detail['columns'])}, which will be no key; drop it before"
    with connection.transaction(force_rollback=True):
        connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(place.schema)))
        table = qualified(None, place.table)
        connection.execute(SQL("CREATE TEMPORARY TABLE {} ({})").format(table, layout.definition()))
        key = layout.key_constraint()
        if key is not None:
            connection.execute(SQL("ALTER TABLE {} ADD {}").format(table, key))
        for number, item in enumerate(items):
            if item.phase not in TRIED or item.detail.get("rehearsed") is False:
                continue
            try:
                with translated(item.name), connection.transaction():
                    _try(connection, item, table, number)
            except PostgresError as error:
                yield str(error)


def _try(connection: AnyConnection, item: Belonging, table: Identifier, number: int) -> None:
    if item.phase == "index":
        connection.execute(own_index_statement(item, table, versioned(item.detail["name"], number)))
    elif "view" in item.detail:
        name = Identifier(f"projection_runner_view_{number}")
        connection.execute(SQL("CREATE TEMPORARY VIEW {} AS {}").format(name, _as_printed(item.detail["query"])))
        made = connection.execute(SQL("SELECT {}::regclass::oid").format(f"pg_temp.projection_runner_view_{number}"))
        (relid,) = made.fetchone() or (0,)
        columns = [
            connection.execute(BELONGINGS["view_columns"], {"relid": r}).fetchone()
            for r in (relid, item.detail["view"])
        ]
        if columns[0] != columns[1]:
            raise PostgresError(
                f"{item.name}: its columns would have other types", hint="drop it before, and make it again after"
            )
    else:
        connection.execute(item.sql)
