"""The switch: new tables take the live names, with all that hung on the former ones, in one transaction.

::

    1  every snapshot sees the new table's rows      older transactions are waited for (``waiting``: why it is so)
    2  locks had: of the names (who asked for their checkpoints), views outermost first, tables; one budget for all
       of them, then everything is let go
    3  renamed, all carried over, all views re-pointed; not committed
    4  committed

A reader that waits for the lock meanwhile looks the name up again when it has it, and finds the new table; one that had
the table before keeps it, and the lock, until its transaction ends. Views are replaced, not made again, so whoever
depends on them keeps them. A REPEATABLE READ reader that has asked for the checkpoint first keeps the name as it is,
by a lock of its own (``stays`` in ``bookkeeping.sql``). It is asked for before the others: who holds it may still want
the table, and who holds the table gets the checkpoint without it. So neither order of the two waits for the switch
while the switch waits for it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.errors import PostgresError, PostgresTimeout, ReadModelError
from runner.postgres import SQL, Identifier, Jsonb, Literal, named_sql, qualified, translated
from runner.sinks.postgres.belongings import BELONGINGS, Belonging, Former, belongings, former_at
from runner.sinks.postgres.bookkeeping import BOOKS
from runner.sinks.postgres.carrying import TABLES, Incoming, missing, prepare
from runner.sinks.postgres.matviews import exchange
from runner.sinks.postgres.names import fitted, versioned
from runner.sinks.postgres.waiting import RETRIED, Deadline, wait_for_long_holders, wait_for_snapshots
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runner.postgres import AnyConnection, Composed
    from runner.sinks.postgres.port import SwitchTimeouts, TablePlace

__all__ = ["SWITCHING", "plan_switch", "switch_in", "switched"]

SWITCHING = named_sql("runner.sinks.postgres", "switching.sql")
_Found = tuple[Former | None, tuple[Belonging, ...]]


def switched(
    connection: AnyConnection,
    incoming: Sequence[Incoming],
    timeouts: SwitchTimeouts,
    where: str,
    also: Callable[[AnyConnection], None],
) -> tuple[Belonging, ...]:
    """Wait and try until the switch is made or the time is over; what is still to be done behind it.

    also: what else is done in its transaction, at its end.
    """
    deadline = Deadline.of(timeouts)
    with translated(where):
        incoming = [prepare(connection, i, former_at(connection, i.place), timeouts, deadline) for i in incoming]
        wait_for_snapshots(connection, [i.relid for i in incoming], deadline)
    reached("switch.1")
    while True:
        try:
            with translated(where):
                plan = plan_switch(connection, incoming)
                wait_for_long_holders(connection, plan.relids, plan.keys, timeouts, deadline)
                with connection.transaction():
                    after = switch_in(connection, plan, timeouts)
                    also(connection)
        except PostgresTimeout as error:
            if deadline.over or error.sqlstate not in RETRIED:
                raise
            deadline.rest()
        else:
            reached("switch.4")
            return after


@dataclass(frozen=True)
class Plan:
    """A switch, thought out before anything is locked. keys: of the names, as readers of checkpoints lock them; relids:
    what is locked after them, in that order: views, then tables."""

    incoming: tuple[Incoming, ...]
    formers: tuple[Former | None, ...]
    keys: tuple[int, ...]
    relids: tuple[int, ...]
    locks: tuple[Composed, ...]


def plan_switch(connection: AnyConnection, incoming: Sequence[Incoming]) -> Plan:
    """What has to be locked, and how."""
    with connection.transaction():
        found = _found(connection, incoming)
    formers = [former for former, _ in found]
    relids = [former.relid for former in formers if former is not None]
    above = [v for (v,) in connection.execute(SWITCHING["dependents"], {"relids": relids}).fetchall()]
    others = {i.detail["of"]: i for _, items in found for i in items if i.phase == "lock"}
    # Readers lock the view that they name first, then what is below it.
    order = sorted(others, key=lambda of: (above.index(of) if of in above else len(above), of))
    tables = [_relation(connection, relid) for relid in relids]
    keys = [_key_of(connection, one.place) for one in incoming]
    locks = [
        *(SWITCHING["lock_name"].format(key=Literal(key)) for key in keys),
        *(others[of].sql for of in order),
        *(SWITCHING["lock_table"].format(table=t) for t in tables),
    ]
    return Plan(tuple(incoming), tuple(formers), tuple(keys), (*order, *relids), tuple(locks))


def _key_of(connection: AnyConnection, place: TablePlace) -> int:
    row = connection.execute(SWITCHING["key_of"], {"schema": place.schema, "table": place.table}).fetchone()
    assert row is not None
    return int(row[0])


def switch_in(connection: AnyConnection, plan: Plan, timeouts: SwitchTimeouts) -> tuple[Belonging, ...]:
    """The switch itself, in the caller's transaction; what is still to be done behind it."""
    lock, work = (str(round(seconds * 1000)) for seconds in (timeouts.lock, timeouts.work))
    connection.execute(SWITCHING["bounds"], {"lock": lock, "work": work})
    # One message to the server, whose clock shares the time out among the locks: nobody queues longer than that.
    left = SWITCHING["lock_time_left"].format(lock=Literal(round(timeouts.lock * 1000)))
    connection.execute(SQL("; ").join(part for one in plan.locks for part in (left, one)) + SQL(";"))
    with _at_most(connection, timeouts.work):
        found = _found(connection, plan.incoming)
        if plan != _again(plan, found):
            raise PostgresTimeout("what hangs on the table changed just now", sqlstate=RETRIED[0])
        for one, (_, items) in zip(plan.incoming, found, strict=True):
            if lacks := missing(connection, one, [i for i in items if i.phase in ("index", "load", "matview")]):
                raise ReadModelError(f"{one.place.words} got {lacks[0].name} just now", hint="run it again")
        reached("switch.2")
        after: list[Belonging] = []
        for one, (former, items) in zip(plan.incoming, found, strict=True):
            after += _carried(connection, one, former, items)
        for former in plan.formers:
            _check_left_behind(connection, former)
        reached("switch.3")
    return tuple(after)


def _again(plan: Plan, found: Sequence[_Found]) -> Plan:
    """The same plan, if the same has still to be locked."""
    wanted = {i.detail["of"] for _, items in found for i in items if i.phase == "lock"}
    locked = set(plan.relids) >= wanted
    return replace(plan, formers=tuple(former for former, _ in found)) if locked else replace(plan, relids=())


def _found(connection: AnyConnection, incoming: Sequence[Incoming]) -> list[_Found]:
    found: list[_Found] = []
    for one in incoming:
        former = former_at(connection, one.place)
        items = () if former is None else belongings(connection, one.place, former, one.layout, one.relname)
        refused = [f"{i.name}: {i.statement}" for i in items if i.phase == "refuse"]
        if refused:
            raise ReadModelError(f"{one.place.words} cannot be switched: {'; '.join(refused)}")
        found.append((former, items))
    return found


def _relation(connection: AnyConnection, relid: int) -> Identifier:
    row = connection.execute(SWITCHING["name_of"], {"relid": relid}).fetchone()
    if row is None:
        raise PostgresTimeout("the table was dropped just now", sqlstate="55P03")
    return qualified(*row)


@contextmanager
def _at_most(connection: AnyConnection, seconds: float) -> Iterator[None]:
    """Cancel what runs when the time is over: a timeout of the server counts each statement anew."""
    over = threading.Event()

    def cancel() -> None:
        over.set()
        # Where the server is gone there is nothing left to cancel; whoever waits is told by the connection.
        with suppress(PostgresError), translated("switch"):
            connection.cancel()

    timer = threading.Timer(seconds, cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if over.is_set():
            raise PostgresTimeout(
                f"the switch took longer than the {seconds:g} s for which it may keep others out",
                hint="what is live is as before; run it again when the server has less to do",
                sqlstate=RETRIED[2],
            ) from None
        raise
    finally:
        timer.cancel()


def _carried(
    connection: AnyConnection, one: Incoming, former: Former | None, items: Sequence[Belonging]
) -> list[Belonging]:
    """Rename, and carry over; gives what belongs behind the switch."""
    schema, live = one.place.schema, qualified(one.place.schema, one.place.table)
    connection.execute(SQL("SET LOCAL search_path = {}").format(Identifier(schema)))
    if former is None:
        connection.execute(TABLES["vacuumed"].format(table=qualified(schema, one.relname)))
    else:
        stripped = connection.execute(BELONGINGS["stripped"], {"relid": one.relid}).fetchall()
        _all(connection, [Belonging("switch", "", statement) for (statement,) in stripped])
        _all(connection, [i for i in items if i.phase == "before"])
        # A version that is loaded again takes the place of the same version, which is then of no use.
        same = former.version == one.version
        name = fitted(one.place.table, f"__{former.relid}") if same else versioned(one.place.table, former.version)
        connection.execute(TABLES["rename"].format(table=live, name=Identifier(name)))
        _rename_own(connection, schema, former.relid, {}, former.version)
    connection.execute(TABLES["rename"].format(table=qualified(schema, one.relname), name=Identifier(one.place.table)))
    _rename_own(connection, schema, one.relid, one.names, None)
    drops = exchange(connection, one.version, items)
    _all(connection, [i for i in items if i.phase == "switch"])
    for drop in drops:
        connection.execute(drop)
    if former is not None and former.version == one.version:
        connection.execute(TABLES["drop"].format(table=qualified(schema, fitted(one.place.table, f"__{former.relid}"))))
        connection.execute(BOOKS["forget_table"], {"relid": former.relid})
    return [i for i in items if i.phase == "after"]


def _all(connection: AnyConnection, items: Sequence[Belonging]) -> None:
    """Run the statements of these in one message: each way to the server and back is time under locks."""
    if items:
        connection.execute(SQL(";\n").join(item.sql for item in items))


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
