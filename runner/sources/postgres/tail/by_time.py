"""The rule "time": nothing tells who may still fill a gap, so it is passed after a stated time, and asked for again.

This is the rule where positions are drawn outside the transaction that inserts (Marten's rich mode reserves them on
another connection, Hibernate hands out blocks for an hour), and where the writers cannot be seen: on a standby, in the
table of a logical subscriber, in a copied table.

A. Read the highest visible position v, and note it with the time t by the runner's clock.
B. Once ``grace`` has gone by since t, everything up to v counts as settled. Below that, what is visible without a gap
   is taken at once: a row that is visible stays so.

That is no proof, and ``status`` says "by time". So every gap that was passed, as the rows handed out show it, stays in
the mark as an open gap (``gaps``) for a window of 7 days; each look asks the table for the positions of all open gaps
at once. A row that turns up there is handed out at the log's end, counted and named, and its aggregate is folded on
with it.

Late rows and versions. The log takes an event behind all of its aggregate's events, so its version must be above
theirs. Marten checks a stream's version against the stream's row, which stays locked until the commit, Axon and spatie
have a unique index and count on from what they have read: the next version is written by one who has seen the one
before committed. So a late row's version is above those that the log has, whatever its position. Where a store draws
versions before it inserts, a late row may come below: the log refuses it, and the error names event and aggregate.

Where two columns order the rows, gaps cannot be told: then only the grace protects.

Where a timestamptz orders them, a row whose time is ahead of the server's clock is no v until that time has come: it
would put all rows that are written before behind the watermark. (Of a timestamp without a zone nothing tells that.)
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runner.postgres import SQL
from runner.sources.postgres.tail.facts import newest
from runner.sources.postgres.tail.port import Holder, Settled
from runner.sources.postgres.tail.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts
    from runner.sources.postgres.tail.port import Relation, StorePlace, TailConfig

__all__ = ["TimeRule"]

WINDOWS = (64, 1024, 16_384, 65_536, 65_536)
NOTES = 256
_AHEAD = Holder(
    None, "", None, "a row whose time is ahead of the server's clock", "time: it is read when that time has come"
)


class TimeRule(Rule):
    """The watermark by time. Open gaps are kept by ``choose``, for they outlive a change of the rule."""

    name = "time"
    kind = "by time"
    passes_gaps = True

    def __init__(
        self, relation: Relation, config: TailConfig, state: Mapping[str, Any], clock: Callable[[], datetime]
    ) -> None:
        super().__init__(relation, config, state, clock)
        upto = state.get("upto")
        self._upto: StorePlace | None = None if upto is None else tuple(upto)
        self._notes: deque[tuple[StorePlace, datetime]] = deque(
            (tuple(place), datetime.fromisoformat(seen)) for place, seen in state.get("notes", [])
        )
        self._past = relation
        """The rows that may be settled."""
        self._timed = relation.types[:1] == ("timestamptz",)
        if self._timed:
            past = SQL("{} AND {} <= clock_timestamp()").format(relation.condition, relation.column())
            self._past = replace(relation, only=past)

    @property
    def words(self) -> str:
        grace, days = self._config.grace.total_seconds(), self._config.window / timedelta(days=1)
        return f"by time: a gap is passed after {grace:g} s and asked for again for {days:.3g} days"

    @classmethod
    def state_behind(cls, last: int | None) -> dict[str, Any]:
        return {"upto": None if last is None else (last,)}

    def unseen(self, connection: AnyConnection, facts: Facts) -> str:
        """It asks for no writers."""
        return ""

    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        seen = newest(connection, self._past)
        last = newest(connection, self._relation) if self._timed else seen
        ahead = () if last == seen else (_AHEAD,)
        now = self._clock()
        if seen is not None and (not self._notes or seen > self._notes[-1][0]):
            self._notes.append((seen, now))
            if len(self._notes) > NOTES:
                # The later of two notes holds longer, never shorter.
                self._notes = deque([*list(self._notes)[1:-1:2], self._notes[-1]])
        while self._notes and now - self._notes[0][1] >= self._config.grace:
            self._reach(self._notes.popleft()[0])
        if seen is not None and self._relation.dense:
            self._walk(connection, seen[0])
        behind = seen is not None and (self._upto is None or self._upto < seen)
        if not behind or not self._notes:
            return Settled(self._upto, last, ahead, words=self.words)
        left = max(0.0, (self._config.grace - (now - self._notes[0][1])).total_seconds())
        place = "the first row" if self._upto is None else f"a gap after position {self._upto[-1]}"
        holder = Holder(None, "", self._notes[0][1], place, f"time: it is passed in {left:.1f} s")
        return Settled(self._upto, last, (holder, *ahead), wait=left, words=self.words)

    def state(self) -> dict[str, Any]:
        return {
            "upto": self._upto,
            "notes": [[place, seen.isoformat()] for place, seen in self._notes],
        }

    def forget(self) -> None:
        self._notes.clear()

    def _walk(self, connection: AnyConnection, newest: int) -> None:
        at = 0 if self._upto is None else self._upto[0]
        for limit in WINDOWS:
            if at >= newest:
                break
            found = self._run(connection, at, newest, limit)
            reached = next((i for i, position in enumerate(found) if position != at + 1 + i), len(found))
            at += reached
            if reached < limit:
                break
        if at:
            self._reach((at,))

    def _reach(self, place: StorePlace) -> None:
        self._upto = place if self._upto is None else max(self._upto, place)
