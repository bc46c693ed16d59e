"""What of a live table's belongings the next table gets before the switch: storage, constraints, indexes, statistics.

Done without anybody waiting: the next table is nobody's yet. Only a foreign key locks a table of others, the one that
it refers to, against its writers. So it is added as a switch is made, in a transaction of its own: nobody queues for
longer than ``SwitchTimeouts.lock`` at a time. It is validated in the next, which keeps no writer out. All is done
again, for what came in the meantime, when the switch begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout, ReadModelError
from runner.postgres import SQL, Identifier, Jsonb, named_sql, qualified, translated
from runner.sinks.postgres.belongings import BELONGINGS, belongings, own_index_statement
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.matviews import missing as missing_views
from runner.sinks.postgres.matviews import remake
from runner.sinks.postgres.names import versioned
from runner.sinks.postgres.waiting import READING, RETRIED, wait_for_long_holders
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.belongings import Belonging, Former
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import SwitchTimeouts, TablePlace
    from runner.sinks.postgres.waiting import Deadline

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
    connection: AnyConnection,
    one: Incoming,
    former: Former | None,
    timeouts: SwitchTimeouts,
    deadline: Deadline,
    phases: Sequence[str] = BEFORE,
) -> Incoming:
    """Carry over what the table still lacks; with the names of all its indexes, which are noted.

    Raises PostgresTimeout naming who holds the table that a foreign key refers to until the deadline.
    """
    if former is not None:
        with connection.transaction():
            items = belongings(connection, one.place, former, one.layout, one.relname)
        for item in missing(connection, one, [i for i in items if i.phase in phases]):
            if "refers" in item.detail:
                _carry_foreign_key(connection, one, item, timeouts, deadline)
                continue
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
    constraints = _constraints(connection, one)
    not_null = {name for (name,) in connection.execute(BELONGINGS["not_null"], relid).fetchall()}

    def lacks(item: Belonging) -> bool:
        if item.phase == "index":
            return versioned(item.detail["name"], one.version) not in have
        if item.phase == "load" and "constraint" in item.detail:
            validated = constraints.get(item.detail["constraint"])
            return validated is None or (item.detail.get("validate", False) and not validated)
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


def _constraints(connection: AnyConnection, one: Incoming) -> dict[str, bool]:
    """Those that the table has, and whether each is validated."""
    return dict(connection.execute(BELONGINGS["constraints"], {"relid": one.relid}).fetchall())


def _carry_foreign_key(
    connection: AnyConnection, one: Incoming, item: Belonging, timeouts: SwitchTimeouts, deadline: Deadline
) -> None:
    """Add it where it is not there, then validate it: two transactions, the first of them short and tried again."""
    name, where = item.detail["constraint"], f"{item.name} of {one.place.words}"
    while name not in _constraints(connection, one):
        try:
            with translated(where):
                wait_for_long_holders(connection, [item.detail["refers"]], [], timeouts, deadline, passed=READING)
                with connection.transaction():
                    connection.execute(TABLES["lock_at_most"], {"milliseconds": str(round(timeouts.lock * 1000))})
                    connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(one.place.schema)))
                    connection.execute(item.sql)
        except PostgresTimeout as error:
            if deadline.over or error.sqlstate not in RETRIED:
                raise
            deadline.rest()
    reached("load.3")
    if item.detail["validate"]:
        table = qualified(one.place.schema, one.relname)
        connection.execute(TABLES["validate"].format(table=table, name=Identifier(name)))
