"""The rule "xid", exact: each row holds the id of the transaction that wrote it (``xid8``), and rows are ordered and
paged by (epoch, transaction id, position).

What is settled
---------------
A snapshot says which transaction ids were running (``pg_snapshot_xip``) and from which on none had ended
(``pg_snapshot_xmax``). A transaction below xmax that was not running then has ended: what it committed is visible to
this snapshot and all later ones, and it writes nothing more. So with b the lowest id that was running, or xmax, all
rows of transactions below b are settled. (That is ``transaction_id < pg_snapshot_xmin``.) Prepared transactions are
running in this sense, also after a restart. Positions order rows inside a transaction only: a lower position may come
with a higher id, which is why paging by position alone loses rows.

Who is passed
-------------
xmin is held back by every transaction of the server that has an id, whatever it writes. Of those that were running:

- one of another database writes nothing here, and a prepared one that holds no lock on the table or its partitions
  never will, for it can only commit or roll back: they are no bound at all;
- one that after some seconds (``patience``) still holds no lock on the table has written no row so far, but may yet.
  The watermark passes it, its id is kept in the mark as *pending*, and its rows are left out of every range
  (``without``). Once it has ended, its rows are asked for by its id (``late``). Each row is thus read once, either way:
  a row's id alone decides. An aggregate's versions stay in order: where a store checks versions, the row after a
  pending one's was committed after it, and is handed out in the same look at the earliest, behind it; the one before
  it is visible when the look sees it, and where that one is handed out later, the late one is held (``order``).

So neither an idle session nor a leader that holds an advisory lock in an open transaction holds the watermark for ever.

Epochs
------
A restored dump brings ids of another life: they may be at or above this server's next one, where the rule would see
nothing, and later coincide with ids given out here. A visible row's transaction has ended, so an id at or above xmax
*of the same snapshot* is not of this life. At the first look (and when ``identity`` says that the store is another one)
G, the highest position of such rows and of those in the log, ends the epoch: rows up to G are of the former life and
settled, for the restored sequence goes on above G; rows above it are of this life. An epoch is told by position alone,
so every row is in exactly one, and inside each the order is (transaction id, position).

After a crash a server gives out again ids whose transactions left nothing on its disk. So the place to go on from is
always that of a row that was read and is durable, never a bound.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.errors import ConfigError, SourceError
from runner.postgres import SQL, Composable
from runner.postgres import Literal as Value
from runner.sources.postgres.tail.facts import STATEMENTS
from runner.sources.postgres.tail.port import Holder, Settled, Span, Unread
from runner.sources.postgres.tail.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts
    from runner.sources.postgres.tail.port import Relation, StorePlace, TailConfig

__all__ = ["TransactionRule"]

HIGHEST = 2**63 - 1
LOW_BITS = 2**32 - 1
"""``backend_xid`` is a transaction id without its epoch of 2^32."""


class TransactionRule(Rule):
    """``look`` is the proof in code; ``state`` is what must outlive the process."""

    name = "xid"
    words = "exact: rows of transactions below the lowest running one (pg_snapshot_xmin), ordered by transaction id"

    def __init__(
        self, relation: Relation, config: TailConfig, state: Mapping[str, Any], clock: Callable[[], datetime]
    ) -> None:
        super().__init__(relation, config, state, clock)
        self._ends: list[int] = list(state.get("epochs", []))
        """The highest position of each former epoch."""
        self._looked = bool(state.get("looked", False))
        self._pending: set[int] = set(state.get("pending", []))
        self._seen = {int(x): datetime.fromisoformat(t) for x, t in state.get("seen", {}).items()}
        self._passed: int = state.get("passed", 0)
        """The highest transaction id that was handed out in this epoch."""
        self._highest: int | None = state.get("highest")
        """The highest position that was handed out."""
        self._owed: list[int] = list(state.get("owed", []))
        """Transactions that were passed and have ended, whose rows were not handed out yet."""
        self._owed_after: tuple[int, int] | None = tuple(state["owed_after"]) if state.get("owed_after") else None
        self._leaving_out: tuple[int, ...] = ()
        self._indexed: bool | None = None

    @classmethod
    def relation_of(cls, relation: Relation) -> Relation:
        if len(relation.position) != 2:
            raise ConfigError(f"{relation.where}: tail = \"xid\" orders by the transaction's column and the position's")
        return relation if relation.types else replace(relation, types=("xid8", "int8"))

    @classmethod
    def unread_in(cls, state: Mapping[str, Any]) -> Unread:
        ids = (*state.get("pending", ()), *state.get("owed", ()))
        return Unread(ends=tuple(state.get("epochs", ())), transactions=ids, by_epoch=True)

    @property
    def epoch(self) -> int:
        return len(self._ends)

    def unseen(self, connection: AnyConnection, facts: Facts) -> str:
        if facts.subscribed:
            raise SourceError(
                f"{self._relation.where}: {self._relation.label} is filled by logical replication, not in the "
                "order of the publisher's transaction ids",
                hint='read from the publisher, or set tail = "time" and position to the position\'s column alone',
            )
        return ""

    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        """One snapshot, then who runs what was running in it."""
        if not self._looked:
            self._begin_epoch(connection)
        row = connection.execute(STATEMENTS["snapshot"]).fetchone()
        assert row is not None
        lowest, above, running = row
        if facts.standby:
            # A standby's snapshot lists no running transactions; its xmin is right.
            above = lowest
        self._owed = sorted({*self._owed, *self._ended(above, set(running))})
        sights = self._running(connection, facts) if running else {}
        blocking: list[tuple[int, Holder | None]] = []
        wait: float | None = None
        now = self._clock()
        self._seen = {x: t for x, t in self._seen.items() if x in running}
        for x in sorted(running):
            sight = sights.get(x & LOW_BITS)
            if sight is None:
                # Ended since, or not to be seen by this role: the next look knows.
                blocking.append((x, None))
                continue
            holder, here, locked = sight
            if not here or (holder.pid is None and not locked):
                continue
            if x in self._pending:
                continue
            since = self._seen.setdefault(x, now)
            left = (self._config.patience - (now - since)).total_seconds()
            if not locked and left <= 0 and holder.pid is not None:
                self._pending.add(x)
                continue
            if not locked and holder.pid is not None:
                wait = left if wait is None else min(wait, left)
            blocking.append((x, holder))
        bound = min([above, *(x for x, _ in blocking)]) - 1
        without = tuple(sorted(x for x in self._pending if x <= bound))
        self._leaving_out = (*without, *self._owed)
        newest = self._newest(connection, facts)
        behind = newest is None or newest[0] < self.epoch or newest[1] > bound
        return Settled(
            (self.epoch, bound, HIGHEST),
            newest,
            tuple(h for _, h in blocking if h is not None) if behind else (),
            tuple((x, x) for x in self._owed),
            without,
            wait=wait if behind and blocking else None,
            words=self.words,
        )

    def state(self) -> dict[str, Any]:
        return {
            "epochs": self._ends,
            "looked": self._looked,
            "pending": sorted(self._pending),
            "owed": self._owed,
            "owed_after": self._owed_after,
            "seen": {str(x): t.isoformat() for x, t in self._seen.items()},
            "passed": self._passed,
            "highest": self._highest,
        }

    def forget(self) -> None:
        """The store is another one: its ids begin anew."""
        self._looked = False

    def late_done(self) -> None:
        # They stay left out of this look's spans: their rows have been handed out.
        self._owed, self._owed_after = [], None

    def passed(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
        """Rows of this epoch's transactions that were passed and whose rows are still to come."""
        now: npt.NDArray[np.bool_] = self.epochs(columns) == self.epoch
        return now & np.isin(columns[0], np.array([*self._pending, *self._owed], np.int64))

    def taken(self, columns: Sequence[npt.NDArray[np.int64]], *, late: bool) -> None:
        ids, positions = columns
        highest = int(positions.max())
        self._highest = highest if self._highest is None else max(self._highest, highest)
        if late:
            self._owed_after = (int(ids[-1]), int(positions[-1]))
            self._owed = [x for x in self._owed if x >= self._owed_after[0]]
            return
        if not self._ends or highest > self._ends[-1]:
            self._passed = max(self._passed, int(ids[-1]))

    # What a look asks -------------------------------------------------------------------------------------------------

    def _begin_epoch(self, connection: AnyConnection) -> None:
        r = self._relation
        query = STATEMENTS["other_life"].format(
            first_number=r.number(0), second_number=r.number(1), rows=r.named_rows, condition=r.condition
        )
        row = connection.execute(query).fetchone()
        found = None if row is None else row[0]
        known = self._highest if self._highest is not None else found
        if found is not None or self._highest is not None:
            end = max(x for x in (found, known) if x is not None)
            if not self._ends or end > self._ends[-1]:
                self._ends.append(end)
                self._passed = 0
        self._pending.clear()
        self._owed, self._owed_after = [], None
        self._seen.clear()
        self._looked = True

    def _ended(self, above: int, running: set[int]) -> list[int]:
        """Pending transactions that have ended and were passed; the others come by the way."""
        ended = [x for x in sorted(self._pending) if x < above and x not in running]
        self._pending.difference_update(ended)
        return [x for x in ended if x <= self._passed]

    def _running(self, connection: AnyConnection, facts: Facts) -> dict[int, tuple[Holder, bool, bool]]:
        """Transaction id without epoch -> (who, in this database, holding a writer's lock on the table)."""
        rows = connection.execute(STATEMENTS["running"], {"family": list(facts.family)}).fetchall()
        return {row[0]: (_holder(row[0], *row[1:6]), row[6], row[7] or not facts.family) for row in rows}

    def _newest(self, connection: AnyConnection, facts: Facts) -> StorePlace | None:
        """The highest visible place, where an index finds it."""
        r = self._relation
        if self._indexed is None:
            row = connection.execute(
                STATEMENTS["has_index"], {"column": r.position[0], "family": list(facts.family)}
            ).fetchone()
            self._indexed = bool(facts.family) and row is not None and row[0]
        if not self._indexed:
            return None
        for epoch in range(self.epoch, max(self.epoch - 2, -1), -1):
            query = STATEMENTS["newest_of_epoch"].format(
                first_number=r.number(0),
                second_number=r.number(1),
                first=r.column(0),
                second=r.column(1),
                rows=r.named_rows,
                condition=SQL("{} AND {}").format(r.condition, self._epoch_condition(epoch)),
            )
            row = connection.execute(query).fetchone()
            if row is not None:
                return (epoch, *row)
        return None

    # What is to be read -----------------------------------------------------------------------------------------------

    def _epoch_condition(self, epoch: int) -> Composable:
        position = self._relation.column(1)
        parts: list[Composable] = []
        if epoch > 0:
            parts.append(SQL("{} > {}").format(position, Value(self._ends[epoch - 1])))
        if epoch < self.epoch:
            parts.append(SQL("{} <= {}").format(position, Value(self._ends[epoch])))
        return SQL(" AND ").join(parts) if parts else SQL("TRUE")

    def spans(self, after: StorePlace | None, settled: Settled) -> tuple[Span, ...]:
        """The rest of the epoch of ``after``, and the epochs behind it."""
        epoch, x, position = after or (0, -1, -1)
        if settled.upto is None:
            return ()
        return tuple(
            self._span(e, (x, position) if e == epoch and after is not None else None, settled.upto[1])
            for e in range(epoch, self.epoch + 1)
        )

    def between(self, after: StorePlace | None, upto: StorePlace, without: Sequence[int]) -> tuple[Span, ...]:
        """The rows behind one place up to another, but those of some transactions of this epoch."""
        r = self._relation
        first, second = r.column(0), r.column(1)
        epoch, x, position = after or (0, -1, -1)
        spans = []
        for e in range(epoch, upto[0] + 1):
            parts = self._behind(e, (x, position) if e == epoch and after is not None else None)
            if e == upto[0]:
                values = r.value(upto[1], 0), r.value(upto[2], 1)
                parts.append(SQL("({}, {}) <= ({}, {})").format(first, second, *values))
            if e == self.epoch and without:
                ids = SQL(", ").join(r.value(each) for each in without)
                parts.append(SQL("{} NOT IN ({})").format(first, ids))
            spans.append(Span(e, SQL(" AND ").join(parts), SQL("{}, {}").format(first, second)))
        return tuple(spans)

    def epochs(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        """By position alone."""
        return np.searchsorted(np.array(self._ends, np.int64), columns[-1], side="left")

    def unread(self, after: StorePlace | None) -> Composable:
        if after is None:
            return SQL("TRUE")
        epoch, x, position = after
        parts = [
            self._behind(e, (x, position) if e == epoch else None) for e in range(epoch, max(self.epoch, epoch) + 1)
        ]
        return SQL(" OR ").join([SQL("({})").format(SQL(" AND ").join(p)) for p in parts])

    def coming(self, epoch: int, after: StorePlace | None) -> Composable:
        """Visible rows of an epoch behind a place, settled or not."""
        if after is not None and after[0] > epoch:
            return SQL("FALSE")
        same = after is not None and after[0] == epoch
        return SQL(" AND ").join(self._behind(epoch, (after[1], after[2]) if same and after is not None else None))

    def _behind(self, epoch: int, after: tuple[int, int] | None) -> list[Composable]:
        r = self._relation
        parts = [self._epoch_condition(epoch)]
        if after is not None:
            values = r.value(after[0], 0), r.value(after[1], 1)
            parts.append(SQL("({}, {}) > ({}, {})").format(r.column(0), r.column(1), *values))
        return parts

    def _span(self, epoch: int, after: tuple[int, int] | None, bound: int) -> Span:
        r = self._relation
        first, second = r.column(0), r.column(1)
        parts = self._behind(epoch, after)
        low = None if after is None else after[0] - 1
        high = None
        if epoch == self.epoch:
            high = bound
            parts.append(SQL("{} <= {}").format(first, self._relation.value(bound)))
            if self._leaving_out:
                ids = SQL(", ").join(self._relation.value(x) for x in self._leaving_out)
                parts.append(SQL("{} NOT IN ({})").format(first, ids))
        return Span(epoch, SQL(" AND ").join(parts), SQL("{}, {}").format(first, second), low, high)

    def late_spans(self, settled: Settled) -> tuple[Span, ...]:
        """Transactions that were pending and have ended, by their ids."""
        if not settled.late:
            return ()
        first, second = self._relation.column(0), self._relation.column(1)
        ids = SQL(", ").join(self._relation.value(x) for x, _ in settled.late)
        condition = SQL("{} AND {} IN ({})").format(self._epoch_condition(self.epoch), first, ids)
        if self._owed_after is not None:
            last = SQL(", ").join(self._relation.value(n, i) for i, n in enumerate(self._owed_after))
            condition = SQL("{} AND ({}, {}) > ({})").format(condition, first, second, last)
        return (Span(self.epoch, condition, SQL("{}, {}").format(first, second)),)

    def place(self, epoch: int, columns: Sequence[int]) -> StorePlace:
        return (epoch, int(columns[0]), int(columns[1]))


def _holder(
    xid: int, pid: int | None, application: str | None, since: datetime | None, state: str | None, gid: str | None
) -> Holder:
    if pid is None:
        quoted = "'" + (gid or "").replace("'", "''") + "'"
        ends = f"COMMIT PREPARED {quoted} or ROLLBACK PREPARED {quoted}"
        return Holder(None, "", since, f"prepared transaction {quoted}", ends)
    what = f"transaction {xid}, {state or 'its state is shown to members of pg_read_all_stats'}"
    return Holder(pid, application or "", since, what, f"SELECT pg_terminate_backend({pid})")
