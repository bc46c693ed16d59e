"""Waiting for others without making others wait; and why no reader finds anything old behind a switch.

A reader's snapshot may be older than the moment at which it looks the table's name up: in REPEATABLE READ, with an
imported snapshot, and in READ COMMITTED inside a STABLE function, in COPY and EXECUTE, which take theirs before they
ask for the table's lock. So it may find the new table by a snapshot from before the switch. It sees there what it is to
see, if that snapshot is not older than *the last writing* to the new table: the load, or what was caught up with since.

1. The last writing is committed before the first look. The table's row in ``projection_runner.tables`` is updated in
   its transaction or behind it, so that the row's xmin is at least as new; also when a materialised view is made again.
2. A snapshot that is taken after the first look sees it. One taken before is held by a transaction that the look finds:
   a backend shows its xmin before anybody can end behind that snapshot. Each that is found is waited for, and each
   that begins meanwhile with the xmin of one of these, whose snapshot it may have imported.
3. From there to the switch nobody writes to the new table, which is not live; nobody writes to the live one whose
   writing the new one lacks: its writers are held (``holding``), or are runs that wait for the read model's name.

Under ``hold`` writers wait for us, and would for ever if they were waited for. They are passed by, with those who wait
for them: in READ COMMITTED a statement that waits for a table's lock takes another snapshot when it has it. One that
is seen to keep its snapshot between two statements (REPEATABLE READ) would not find rows that came since, and change
none: then the hold is let go of. A writer that is in REPEATABLE READ and was never seen between two statements is
not told from others: applications that write inline do so in READ COMMITTED, or look at how many rows they changed.

A switch takes ACCESS EXCLUSIVE locks, and while it waits for one, every later reader queues behind it. So it looks
first: where a transaction that is older than the lock may be waited for holds one of the tables, it is not asked for at
all, only looked at again. Then all locks together are waited for at most ``SwitchTimeouts.lock`` seconds; where that
is not enough the transaction lets go of everything and tries again after a pause that grows.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout
from runner.postgres import named_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.holding import Held
    from runner.sinks.postgres.port import SwitchTimeouts

__all__ = ["READING", "RETRIED", "Deadline", "wait_for_long_holders", "wait_for_snapshots"]

WAITING = named_sql("runner.sinks.postgres", "waiting.sql")
RETRIED = ("55P03", "40P01", "57014")
"""A lock was not had in time; a deadlock was ended; the switch took too long under its locks."""
READING = ("AccessShareLock", "RowShareLock")
"""Locks beside which a foreign key can be added to the table that it refers to."""
LOOK = 0.02
LONGEST_PAUSE = 2.0
QUIETER = 10
_Transaction = tuple[int, str]
"""Of which process, and which of its own."""


@dataclass
class Deadline:
    """When a switch is given up, and the pauses between its attempts."""

    until: float
    pause: float

    @staticmethod
    def of(timeouts: SwitchTimeouts) -> Deadline:
        return Deadline(time.monotonic() + timeouts.total, timeouts.lock)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def rest(self) -> None:
        """Pause, each time longer, never the same for two runs."""
        pause = self.pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        time.sleep(max(0.0, min(pause, self.until - time.monotonic())))
        self.pause = min(self.pause * 1.5, LONGEST_PAUSE)


def wait_for_snapshots(
    connection: AnyConnection, relids: Sequence[int], deadline: Deadline, held: Held | None = None
) -> None:
    """Wait until no transaction is left in whose snapshot what was written last into these tables is not visible.

    Those that begin after the first look see it, unless they import a snapshot. A transaction that takes a new snapshot
    for each statement is let go when its snapshot is another one. held: of the writers, who are not waited for. Raises
    PostgresTimeout naming the session.
    """
    asked = {"relids": list(relids), "blockers": held is not None}
    old: dict[_Transaction, str] | None = None
    first: dict[_Transaction, str] = {}
    kept = set() if held is None else set(held.keeping)
    while True:
        rows = connection.execute(WAITING["snapshots"], asked).fetchall()
        now: dict[_Transaction, str] = {(row[0], row[1]): row[2] for row in rows}
        names = {(row[0], row[1]): row[3] or "no application_name" for row in rows}
        kept |= {(row[0], row[1]) for row in rows if row[4]}
        waiting = set() if held is None else _waiting_for(held.process, {row[0]: row[5] for row in rows})
        if late := [one for one in kept & now.keys() if one[0] in waiting]:
            raise _too_old(late[0], names, ", and waits for the lock of the live tables")
        now = {one: xmin for one, xmin in now.items() if one[0] not in waiting}
        if old is None:
            old = first = now
        else:
            handed_on = {first[one] for one in old if one in first}
            came = {one: xmin for one, xmin in now.items() if one not in old and xmin in handed_on}
            old = {one: xmin for one, xmin in old.items() if now.get(one) == xmin} | came
        if not old:
            return
        if deadline.over:
            raise _too_old(next(iter(old)), names)
        time.sleep(LOOK if held is None else LOOK / 4)


def _waiting_for(process: int, blockers: Mapping[int, Collection[int]]) -> set[int]:
    """Those of these processes that wait for this one, or for one that does."""
    found = {process}
    while more := {pid for pid, whom in blockers.items() if pid not in found and not found.isdisjoint(whom)}:
        found |= more
    return found


def _too_old(one: _Transaction, names: Mapping[_Transaction, str], more: str = "") -> PostgresTimeout:
    return PostgresTimeout(
        f"a transaction of process {one[0]} ({names[one]}) has a snapshot older than the last rows of the new table"
        f"{more}: after a switch it would see none of them",
        hint="let it end, or raise switch_timeout of [read_models.postgres]; then run it again",
    )


def wait_for_long_holders(
    connection: AnyConnection,
    relids: Sequence[int],
    keys: Sequence[int],
    timeouts: SwitchTimeouts,
    deadline: Deadline,
    held: Held | None = None,
    passed: Sequence[str] = (),
) -> None:
    """Wait until no transaction holds one of these relations, or names by their keys, that is older than a lock may be
    waited for. held: of the writers; its own locks do not count. passed: modes of locks that do not count.
    Raises PostgresTimeout naming it.
    """
    asked: dict[str, object] = {"relids": list(relids), "keys": list(keys), "passed": list(passed)}
    asked["held_by"] = held.process if held is not None else 0
    first: dict[tuple[int | None, str], float] = {}
    begun = time.monotonic()
    calm = min(timeouts.lock * QUIETER, (deadline.until - begun) / 4)
    while True:
        rows = connection.execute(WAITING["holders"], asked).fetchall()
        now = time.monotonic()
        first = {(r[0], r[1]): first.get((r[0], r[1]), now) for r in rows}
        # How old it is may not be ours to see; then it is as old as we know it.
        # For a while a quieter moment is looked for, in which the lock would be had at once.
        young = timeouts.lock / QUIETER if now - begun < calm else timeouts.lock
        old = [r for r in rows if (r[3] or 0.0) > young or now - first[r[0], r[1]] > young]
        unsure = any(r[3] is None for r in rows) and now - begun <= timeouts.lock
        if not old and not unsure:
            return
        if deadline.over:
            pid, _, name, _, table = (old or rows)[0]
            who = f"process {pid} ({name or 'no application_name'})" if pid else "a prepared transaction"
            raise PostgresTimeout(
                f"{who} holds {table} in a transaction that does not end",
                hint="let it end, or raise switch_timeout of [read_models.postgres]; then run it again",
            )
        time.sleep(LOOK)
