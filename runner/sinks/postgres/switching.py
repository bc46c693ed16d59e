"""The switch: new tables take the live names, with all that hung on the former ones, in one transaction.

::

    1  every snapshot sees the loaded rows          older transactions are waited for, nobody waits for us
    2  locks had: views outermost first, then tables; one budget for all of them, then everything is let go
    3  renamed, all carried over, all views re-pointed; not committed
    4  committed

A reader that waits for the lock meanwhile looks the name up again when it has it, and finds the new table; one that had
the table before keeps it, and the lock, until its transaction ends. Views are replaced, not made again, so whoever
depends on them keeps them. A REPEATABLE READ reader finds rows in the new table, for its snapshot is younger than they.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout, ReadModelError
from runner.postgres import SQL, Identifier, Jsonb, qualified, translated
from runner.postgres import named_sql
from runner.sinks.postgres.belongings import BELONGINGS, Belonging, Former, belongings, former_at
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.carrying import TABLES, Incoming, missing, prepare
from runner.sinks.postgres.names import fitted, versioned
from runner.sinks.postgres.waiting import Deadline, wait_for_long_holders, wait_for_snapshots
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.port import SwitchTimeouts

__all__ = ["SWITCHING", "switch_in", "switched"]

SWITCHING = named_sql("runner.sinks.postgres", "switching.sql")


def switched(
    connection: AnyConnection, incoming: Sequence[Incoming], timeouts: SwitchTimeouts, where: str
) -> tuple[Belonging, ...]:
    """Wait and try until the switch is made or the time is over; what is still to be done behind it."""
    deadline = Deadline.of(timeouts)
    with translated(where):
        incoming = [prepare(connection, one, former_at(connection, one.place)) for one in incoming]
        wait_for_snapshots(connection, [i.relid for i in incoming], deadline)
    reached("switch.1")
    while True:
        try:
            with translated(where):
                formers = [former_at(connection, i.place) for i in incoming]
                relids = [f.relid for f in formers if f is not None]
                views = connection.execute(SWITCHING["dependents"], {"relids": relids}).fetchall()
                wait_for_long_holders(connection, [*relids, *(v for (v,) in views)], timeouts, deadline)
                with connection.transaction():
                    after = switch_in(connection, incoming, timeouts)
                reached("switch.4")
                return after
        except PostgresTimeout as error:
            if deadline.over:
                raise
            if error.sqlstate not in ("55P03", "40P01"):
                raise
            deadline.rest()


def switch_in(
    connection: AnyConnection, incoming: Sequence[Incoming], timeouts: SwitchTimeouts
) -> tuple[Belonging, ...]:
    """The switch itself, in the caller's transaction; what is still to be done behind it."""
    work = str(round(timeouts.work * 1000))
    connection.execute(SWITCHING["bounds"], {"lock": str(round(timeouts.lock * 1000)), "work": work})
    planned = _planned(connection, incoming)
    budget = time.monotonic() + timeouts.lock
    _lock(connection, planned, budget)
    with _at_most(connection, timeouts.work):
        again = _planned(connection, incoming)
        if [(f and f.relid, _locks(items)) for f, items in again] != [(f and f.relid, _locks(i)) for f, i in planned]:
            raise PostgresTimeout("what hangs on the table changed just now", sqlstate="55P03")
        for one, (_, items) in zip(incoming, again, strict=True):
            if lacks := missing(connection, one, [i for i in items if i.phase in ("index", "load")]):
                raise ReadModelError(f"{one.place.words} got {lacks[0].name} just now", hint="run it again")
        reached("switch.2")
        after: list[Belonging] = []
        for one, (former, items) in zip(incoming, again, strict=True):
            after += _carried(connection, one, former, items)
        for _, (former, _items) in zip(incoming, again, strict=True):
            _check_left_behind(connection, former)
        reached("switch.3")
    return tuple(after)


_Planned = tuple[Former | None, tuple[Belonging, ...]]


def _planned(connection: AnyConnection, incoming: Sequence[Incoming]) -> list[_Planned]:
    found: list[_Planned] = []
    for one in incoming:
        former = former_at(connection, one.place)
        items = () if former is None else belongings(connection, one.place, former, one.layout, one.relname)
        refused = [f"{i.name}: {i.statement}" for i in items if i.phase == "refuse"]
        if refused:
            raise ReadModelError(f"{one.place.words} cannot be switched: {'; '.join(refused)}")
        found.append((former, items))
    return found


def _locks(items: Sequence[Belonging]) -> list[str]:
    return [i.statement for i in items if i.phase == "lock"]


def _lock(connection: AnyConnection, planned: Sequence[_Planned], budget: float) -> None:
    """All locks, before the budget is over: views in the order in which readers lock them, then tables."""
    locks = {i.detail["of"]: i for _, items in planned for i in items if i.phase == "lock"}
    relids = [former.relid for former, _ in planned if former is not None]
    order = [v for (v,) in connection.execute(SWITCHING["dependents"], {"relids": relids}).fetchall()]
    for item in sorted(
        locks.values(), key=lambda i: order.index(i.detail["of"]) if i.detail["of"] in order else len(order)
    ):
        _within(connection, budget)
        connection.execute(item.sql)
    for relid in relids:
        _within(connection, budget)
        connection.execute(SWITCHING["lock_table"].format(table=_relation(connection, relid)))


def _within(connection: AnyConnection, budget: float) -> None:
    left = round((budget - time.monotonic()) * 1000)
    if left <= 0:
        raise PostgresTimeout("the locks were not had in time", sqlstate="55P03")
    connection.execute(SWITCHING["lock_timeout"], {"lock": str(left)})


def _relation(connection: AnyConnection, relid: int) -> Identifier:
    row = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %s",
        (relid,),
    ).fetchone()
    if row is None:
        raise PostgresTimeout("the table was dropped just now", sqlstate="55P03")
    return qualified(*row)


@contextmanager
def _at_most(connection: AnyConnection, seconds: float) -> Iterator[None]:
    """Cancel what runs when the time is over: a timeout of the server counts each statement anew."""
    timer = threading.Timer(seconds, connection.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _carried(
    connection: AnyConnection, one: Incoming, former: Former | None, items: Sequence[Belonging]
) -> list[Belonging]:
    """Rename, and carry over; gives what belongs behind the switch."""
    schema, live = one.place.schema, qualified(one.place.schema, one.place.table)
    connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(schema)))
    for (statement,) in connection.execute(BELONGINGS["stripped"], {"relid": one.relid}).fetchall():
        connection.execute(Belonging("", "", statement).sql)
    if former is not None:
        for item in items:
            if item.phase == "before":
                connection.execute(item.sql)
        # A version that is loaded again takes the place of the same version, which is then of no use.
        same = former.version == one.version
        name = fitted(one.place.table, f"__{former.relid}") if same else versioned(one.place.table, former.version)
        connection.execute(TABLES["rename"].format(table=live, name=Identifier(name)))
        _rename_own(connection, schema, former.relid, {}, former.version)
    connection.execute(TABLES["rename"].format(table=qualified(schema, one.relname), name=Identifier(one.place.table)))
    _rename_own(connection, schema, one.relid, one.names, None)
    for item in items:
        if item.phase == "switch":
            try:
                connection.execute(item.sql)
            except Exception as error:
                error.add_note(f"{item.name}: {item.statement}")
                raise
    if former is not None and former.version == one.version:
        connection.execute(TABLES["drop"].format(table=qualified(schema, fitted(one.place.table, f"__{former.relid}"))))
        connection.execute(BOOKS["forget_table"], {"relid": former.relid})
    return [i for i in items if i.phase == "after"]


def _rename_own(
    connection: AnyConnection, schema: str, relid: int, names: Mapping[str, str], aside: int | None
) -> None:
    """Give a table's indexes and statistics their live names, or with ``aside`` (its version) others, and note them."""
    rows = connection.execute(BELONGINGS["own_names"], {"relid": relid}).fetchall()
    wanted = {name: versioned(name, aside) if aside is not None else names.get(name, name) for name, _ in rows}
    found = connection.execute(SWITCHING["names_taken"], {"schema": schema, "names": list(wanted.values())}).fetchall()
    taken = {name for (name,) in found}
    kept: dict[str, str] = {}
    for name, is_index in rows:
        new = wanted[name]
        if new == name or new in taken:
            continue
        statement = TABLES["rename_index"] if is_index else SWITCHING["rename_statistics"]
        connection.execute(statement.format(index=qualified(schema, name), name=Identifier(new)))
        if aside is not None:
            kept[new] = name
    connection.execute(BOOKS["note_names"], {"relid": relid, "names": Jsonb(kept)})


def _check_left_behind(connection: AnyConnection, former: Former | None) -> None:
    if former is None:
        return
    row = connection.execute(BELONGINGS["left_behind"], {"relid": former.relid}).fetchone()
    if row is not None and row[0]:
        raise ReadModelError(
            f"after the switch these would still read the former table: {row[0]}",
            hint="nothing was changed; make them read the table by its plain name, or drop them",
        )
