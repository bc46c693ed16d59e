"""The rule "gaps", exact: positions from an ascending sequence with CACHE 1, drawn inside the transaction that inserts.

What is relied on
-----------------
1. *Order.* ``nextval`` of an ascending sequence without CYCLE and with CACHE 1 gives each value once, a higher one
   later.
2. *Fence.* ``nextval`` takes ROW EXCLUSIVE on the sequence before it draws, and the lock belongs to the top
   transaction: a rollback to a savepoint keeps it, PREPARE TRANSACTION hands it over, a restart of the server brings it
   back for prepared transactions. It ends with the transaction. It is the same whether the row goes to the table, to a
   partition of it named directly, or to a table that becomes a partition later. (An INSERT takes the same lock on its
   table. That one would do where the INSERT itself draws, but a rollback to a savepoint lets go of it, each UPDATE
   holds it too, and a position drawn a statement earlier is not covered by it.)
3. *Visible before free.* A transaction that commits becomes visible to new snapshots first and lets go of its locks
   then.
4. ``pg_locks`` lists a lock that is held from before the statement began until after it ended.

The steps of a look, and why in this order
------------------------------------------
A. Read the highest visible position v. It was drawn before, so by (1) every position below it had been drawn before.
B. After that, list who holds the fence: the set H. Take a position p <= v, and its writer W, who by (2) held the fence
   since before p was drawn, so since before A. Either W is in H, by (4), or W had ended before B was over.
C. When, at a later look, none of H is among those who hold the fence, every writer of a position <= v has ended. By (3)
   what they committed is visible to every snapshot taken from now on; what is missing there will be missing for ever.

So v is settled when all of H are gone. H may be empty at once: then C is B, and one look is enough. The reader takes
its snapshot after ``look`` returned, so after C. B before A would be wrong: a writer who draws p after B, while another
draws v > p and commits, is not in H. A snapshot from before C would be wrong: it may miss what a writer committed
since.

Between the settled bound and v, positions that are visible without a gap are settled as they are: what is visible stays
so. The walk goes on over gaps whose noted writers are all gone, and stops at the first that one of them may still fill.
Thus a gap holds back no longer than the longest writer that was alive when it was first seen, as the notes keep H of
that time.

Nobody is waited for, and nothing is locked.

Who sits idle
-------------
A session that holds the fence and idles in its transaction has drawn something once, but nothing since. When it is seen
in the same pause (same ``state_change``) both before the sequence's last value f was read and at step B, it has drawn
nothing above f: of the gaps up to v it holds those up to f only. So it never holds back gaps that came after it fell
idle.

When notes are void
-------------------
A restart of the server voids all notes, also one after a crash of a single session, which keeps the postmaster's start
time but not the statistics' (``facts``): virtual transactions begin anew, and those who wrote are dead, except prepared
transactions, which hold the fence again and so are in the H of the first new note: each of them counts as a possible
writer of every gap. And what was seen but not yet flushed may have been lost, its positions drawn again. Positions at
or below a row that is on the disk are never drawn again, which is why upto is never above the highest visible row, and
why nothing is published before it is durable (``durability``).

Copies
------
In a table whose highest position was never drawn from its sequence (a copy, filled by other means) no lock tells of the
writers. ``choose`` takes the rule by time there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.errors import ConfigError, SourceError
from runner.postgres import Literal as Value
from runner.sources.postgres.tail.facts import STATEMENTS, newest
from runner.sources.postgres.tail.notes import PREPARED, Note, Notes, Sight
from runner.sources.postgres.tail.port import Holder, Settled
from runner.sources.postgres.tail.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts, Sequence
    from runner.sources.postgres.tail.port import Relation, TailConfig

__all__ = ["FenceRule", "sight"]

WINDOWS = (64, 1024, 16_384, 65_536, 65_536)
"""Rows asked for, one window after the other, in search of the first gap that is held: what bounds a look."""


class FenceRule(Rule):
    """``look`` is the proof in code; ``state`` is what must outlive the process."""

    name = "gaps"
    words = (
        "exact: a gap is settled when no transaction that had drawn from the sequence when it was first seen is left"
    )

    def __init__(
        self, relation: Relation, config: TailConfig, state: Mapping[str, Any], clock: Callable[[], datetime]
    ) -> None:
        super().__init__(relation, config, state, clock)
        self._pauses: dict[str, tuple[str, int]] = {}
        self._begin(state)

    @classmethod
    def relation_of(cls, relation: Relation) -> Relation:
        if len(relation.position) != 1:
            raise ConfigError(
                f'{relation.where}: tail = "{cls.name}" needs one column that a sequence fills, and two order the rows',
                hint='set tail = "xid" where one of them is the writing transaction, else "serialised" or "time"',
            )
        return relation

    @classmethod
    def state_behind(cls, last: int | None) -> dict[str, Any]:
        return {"upto": last}

    def _begin(self, state: Mapping[str, Any]) -> None:
        self._upto: int | None = state.get("upto")
        self._started: str = state.get("started", "")
        self._notes = Notes.from_json(state.get("notes", []))
        self._pauses.clear()

    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        """Steps A, B, C. Raises SourceError where the sequence does not order the rows."""
        sequence = self._sequence(facts)
        self._void(facts)
        seen = self._newest(connection)  # A
        present = self._present(connection, sequence)  # B
        base = self._notes.settle(present)  # C, for the notes of former looks
        floors = self._floors(connection, sequence, present)
        if seen is not None:
            self._notes.add(seen, self._clock(), present, floors)
            now = self._notes.settle(present)  # C, where nobody was there
            base = now if now is not None else base
        if base is not None:
            self._upto = max(base, base if self._upto is None else self._upto)
        stop = self._walk(connection, sequence, seen)
        holders = self._holders(present, stop)
        place = None if self._upto is None else (self._upto,)
        return Settled(place, None if seen is None else (seen,), holders, words=self.words)

    def unseen(self, connection: AnyConnection, facts: Facts) -> str:
        if facts.standby:
            return "the server is a standby, which does not show the locks of the writers"
        copied = "the newest position was not drawn from the column's sequence: the table is a copy"
        return super().unseen(connection, facts) or (copied if self._copied(connection, facts) else "")

    def state(self) -> dict[str, Any]:
        return {"upto": self._upto, "started": self._started, "notes": self._notes.to_json()}

    def forget(self) -> None:
        """All notes: the store is another one."""
        self._begin({"upto": self._upto})

    # The steps --------------------------------------------------------------------------------------------------------

    def _void(self, facts: Facts) -> None:
        if self._started != facts.started:
            self._begin({"upto": self._upto})
        self._started = facts.started

    def _copied(self, connection: AnyConnection, facts: Facts) -> bool:
        """Whether the positions are not drawn from the sequence, so that no lock tells of their writers."""
        sequence, r = self._sequence(facts), self._relation
        query = STATEMENTS["copied"].format(
            position=r.column(),
            rows=r.named_rows,
            condition=r.condition,
            sequence=Value(sequence.oid),
            least=Value(sequence.least),
        )
        row = connection.execute(query).fetchone()
        return row is not None and row[0]

    def _newest(self, connection: AnyConnection) -> int | None:
        place = newest(connection, self._relation)
        return None if place is None else place[0]

    def _present(self, connection: AnyConnection, sequence: Sequence) -> dict[str, Sight]:
        rows = connection.execute(STATEMENTS["writers"], {"sequence": sequence.oid}).fetchall()
        return {row[0]: sight(*row) for row in rows}

    def _floors(self, connection: AnyConnection, sequence: Sequence, present: Mapping[str, Sight]) -> Mapping[str, int]:
        """Of those who are in the same pause as at a former look: what had been drawn by then."""
        paused = {key: sight.pause for key, sight in present.items() if sight.pause}
        known = {key: was for key, was in self._pauses.items() if paused.get(key) == was[0]}
        self._pauses = known
        floors = {key: floor for key, (_, floor) in known.items()}
        if len(known) < len(paused):
            # After they were seen idle, so whatever they had drawn is in it.
            row = connection.execute(STATEMENTS["last_value"], {"sequence": sequence.oid}).fetchone()
            if row is not None and row[0] is not None:
                self._pauses = {key: known.get(key, (pause, row[0])) for key, pause in paused.items()}
        return floors

    def _walk(
        self, connection: AnyConnection, sequence: Sequence, newest: int | None
    ) -> tuple[int, Note | None] | None:
        """Move ``upto`` over what is visible and over settled gaps; the position that stopped it, with its note."""
        if newest is None:
            return None
        at = sequence.least - 1 if self._upto is None else self._upto
        for limit in WINDOWS:
            if at >= newest:
                return None
            found = self._run(connection, at, newest, limit)
            for position in found:
                if position > at + 1 and (stop := self._notes.held(at + 1, position - 1)) is not None:
                    self._reach(stop[0] - 1, sequence)
                    return stop
                at = position
            self._reach(at, sequence)
            if len(found) < limit:
                break
        return None

    def _reach(self, at: int, sequence: Sequence) -> None:
        if at >= sequence.least:
            self._upto = at if self._upto is None else max(self._upto, at)

    def _holders(self, present: Mapping[str, Sight], stop: tuple[int, Note | None] | None) -> tuple[Holder, ...]:
        if stop is None:
            return ()
        position, note = stop
        keys = present if note is None else [k for k, f in note.keys.items() if f is None or f >= position]
        return tuple(present[key].holder for key in keys if key in present)

    def _sequence(self, facts: Facts) -> Sequence:
        """The one sequence, checked. Raises SourceError."""
        where, label = self._relation.where, self._relation.label
        other = 'set tail = "time" where positions come from elsewhere'
        if len(facts.sequences) != 1:
            names = ", ".join(s.name for s in facts.sequences)
            what = (
                f"draws from several sequences ({names})" if names else "draws from no sequence that its default names"
            )
            raise SourceError(
                f"{where}: {self._relation.position[-1]} of {label} {what}, so gaps cannot be fenced",
                hint=f"name the one that orders the rows in tail.sequence, or {other}",
            )
        found = facts.sequences[0]
        if found.increment < 1 or found.cycles:
            raise SourceError(
                f"{where}: the sequence {found.name} {'cycles' if found.cycles else 'descends'}: no fence for its gaps",
                hint='set tail = "time"',
            )
        self._check_cache(found)
        return found

    def _check_cache(self, sequence: Sequence) -> None:
        if sequence.cache > 1:
            raise SourceError(
                f"{self._relation.where}: the sequence {sequence.name} has CACHE {sequence.cache}: sessions keep "
                "blocks of positions and may use them hours later",
                hint=f"run ALTER SEQUENCE {sequence.name} CACHE 1 (at once effective for all sessions), or set "
                'tail = "sessions", which waits until each session that was there has ended, or tail = "time"',
            )


def sight(
    key: str,
    pid: int | None,
    application: str | None,
    since: datetime | None,
    state: str | None,
    pause: str | None,
    gid: str | None,
) -> Sight:
    if pid is None:
        quoted = "'" + (gid or "").replace("'", "''") + "'"
        what = f"prepared transaction {quoted}" if gid else "a prepared transaction"
        ends = (
            f"COMMIT PREPARED {quoted} or ROLLBACK PREPARED {quoted}" if gid else "COMMIT PREPARED or ROLLBACK PREPARED"
        )
        # The names that such transactions have by themselves, as after a restart; before it they keep their session's.
        return Sight(key, Holder(None, application or "", since, what, ends), heir=key.startswith(PREPARED))
    # Without pg_read_all_stats another role's state is not shown.
    what = state or "a transaction (its state is shown to members of pg_read_all_stats)"
    return Sight(key, Holder(pid, application or "", since, what, f"SELECT pg_terminate_backend({pid})"), pause or "")
