"""What a tail rule is to the reader of a live store: which rows are settled, who holds the rest, what to ask for again.

The reader's loop, whose order the proofs of the rules rest on::

    settled = tail.look(connection)                  # bounded; never waits for a writer
    the rows of tail.late_spans(settled)             # first of all
    tail.taken(columns, late=True)                   # what was handed out of them, before each commit
    tail.late_done()                                 # once all of them were
    the rows of tail.spans(after, settled)           # in snapshots taken after look() returned, any number of them
    tail.taken(columns, recorded)                    # what was handed out of them, in order, before each commit
    durability.note(), durability.wait()             # a Durability that was made before the first look
    log.commit(mark={"after": last, "tail": tail.mark()})    # where it fails: a new tail, from the log's mark

``after`` is the place of the last row that was handed out, never ``upto`` itself: after a crash a server may draw again
what nobody has committed, but never anything at or below a row that is on its disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt

from runner.postgres import SQL, Composable, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.postgres import AnyConnection

__all__ = ["Holder", "Known", "Relation", "Settled", "Span", "StorePlace", "Tail", "TailConfig", "Unread"]

StorePlace: TypeAlias = tuple[int, ...]
"""Of a row: (position,), where one column orders; (a, b) where two do; (epoch, transaction id, position) for "xid"."""

_NUMBERS = {
    "xid8": SQL("({}::text)::bigint"),
    "timestamptz": SQL("(extract(epoch FROM {}) * 1000000)::bigint"),
    "timestamp": SQL("(extract(epoch FROM {}) * 1000000)::bigint"),
}

_TIME_LITERALS = {"timestamptz": SQL("{}::timestamptz"), "timestamp": SQL("{}::timestamp")}

Known: TypeAlias = Callable[[int, int], npt.NDArray[np.int64]]
"""The positions from first to last, ends included, that the log has: for partitions that were attached with rows."""


@dataclass(frozen=True)
class TailConfig:
    """How the newest rows are known to be whole.

    rule: "xid", "gaps", "sessions", "serialised" or "time". grace: how old a gap must be to be passed by time.
    window: how long it is asked for again. patience: after how long an idle transaction without a lock on the
    table no longer holds the order of transaction ids. sequence: its name, where the column's default does not
    tell. reason: why the rule holds, where a preset knows.
    """

    rule: str
    grace: timedelta = timedelta(seconds=10)
    window: timedelta = timedelta(days=7)
    patience: timedelta = timedelta(seconds=5)
    sequence: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Relation:
    """The rows of a store and what orders them.

    where: for messages, ``[sources.bank]``. rows: what stands behind FROM, a table's quoted name or a query in
    parentheses; it is called ``alias`` there. table: (schema, name) of the table that the positions belong to; None
    where there is only a query. position: one column of ``rows``, or two. only: a condition that all rows of the source
    meet. types: of the position columns where they are no integers: "xid8", "timestamptz" or "timestamp", whose
    numbers are µs since 1970, "numeric".
    """

    where: str
    rows: Composable
    position: tuple[str, ...]
    table: tuple[str, str] | None = None
    only: Composable | None = None
    alias: str = "m"
    types: tuple[str, ...] = ()

    def column(self, index: int = 0) -> Identifier:
        """A column of the order, with the alias."""
        return Identifier(self.alias, self.position[index])

    def number(self, index: int = 0) -> Composable:
        """The column as a bigint."""
        way = _NUMBERS.get(self._type(index), SQL("({})::bigint"))
        return way.format(self.column(index))

    def value(self, number: int, index: int = 0) -> Composable:
        """A number as a value of the column's type, so that an index on the column serves."""
        kind = self._type(index)
        if kind in ("timestamptz", "timestamp"):
            moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=number)
            return _TIME_LITERALS[kind].format(
                Literal(moment.replace(tzinfo=None).isoformat() + "Z" * (kind == "timestamptz"))
            )
        return SQL("{}::xid8").format(Literal(str(number))) if kind == "xid8" else Literal(number)

    def finite(self) -> Composable:
        """A condition: no column of the order is infinite, which has no number."""
        times = [i for i in range(len(self.position)) if self._type(i) in ("timestamptz", "timestamp")]
        return SQL(" AND ").join(SQL("isfinite({})").format(self.column(i)) for i in times) if times else SQL("TRUE")

    @property
    def dense(self) -> bool:
        """Whether a position that is missing between two others is a gap: one column of integers."""
        return len(self.position) == 1 and self._type(0) not in ("timestamptz", "timestamp")

    def _type(self, index: int) -> str:
        return self.types[index] if index < len(self.types) else "int8"

    @property
    def named_rows(self) -> Composable:
        """What stands behind FROM, with the alias."""
        return SQL("{} AS {}").format(self.rows, Identifier(self.alias))

    @property
    def condition(self) -> Composable:
        """``only``, or TRUE."""
        return SQL("TRUE") if self.only is None else SQL("({})").format(self.only)

    @property
    def label(self) -> str:
        """The table in words."""
        return ".".join(self.table) if self.table else "the query"


@dataclass(frozen=True)
class Holder:
    """A session, or a prepared transaction (pid None), that keeps the watermark below the newest row."""

    pid: int | None
    application: str
    since: datetime | None
    what: str
    """In words: "idle in transaction", "prepared transaction 'order-7'"."""
    ends: str = ""
    """What would end it: "SELECT pg_terminate_backend(4711)", "ROLLBACK PREPARED 'order-7'"."""


@dataclass(frozen=True)
class Settled:
    """What one look found.

    upto: rows at or below it are complete for ever, in every snapshot taken after ``look`` returned, but for
    ``without``; None: nothing is settled yet. newest: the highest visible place; None where there is none, or where
    finding it would read the whole table. holders: who keeps upto below newest. late: ranges, ends included, of the
    first column of the order (positions, or transaction ids), that hold rows not handed out before and only such: to
    be read now, whole. without: transactions left out of the range, which come in ``late`` once they have ended;
    ``spans`` sees to it. open_gaps: positions that were passed by time and are still asked for. late_events: of all
    time. wait: seconds after which time alone settles more; None where it does not. words: the rule that this look
    went by.
    """

    upto: StorePlace | None
    newest: StorePlace | None
    holders: tuple[Holder, ...] = ()
    late: tuple[tuple[int, int], ...] = ()
    without: tuple[int, ...] = ()
    open_gaps: int = 0
    late_events: int = 0
    wait: float | None = None
    words: str = ""

    @property
    def behind(self) -> int | None:
        """How many positions the newest row is ahead of upto; None where that cannot be told."""
        if self.newest is None or len(self.newest) != 1:
            return 0 if self.upto is not None and self.newest is not None and self.upto >= self.newest else None
        return max(0, self.newest[0] - (0 if self.upto is None else self.upto[0]))


@dataclass(frozen=True)
class Span:
    """Rows to read, in SQL over the columns of ``Relation.rows``. condition: of their places alone, not
    ``Relation.only``. order: what stands behind ORDER BY.

    low, high: bounds of the first column of the order, by which the span may be cut for several connections:
    low < x <= high; None where there is none.
    """

    epoch: int
    condition: Composable
    order: Composable
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True)
class Unread:
    """What a tail's mark knows to be still to come.

    ends: the highest position of each former life of the store, ascending; empty where the rule knows no epochs.
    transactions: that were passed and whose rows come once they have ended. gaps, late: the first positions of the
    ranges that were passed by time, and of late rows that were found and not handed out yet. by_epoch: whether a
    place begins with its epoch.
    """

    ends: tuple[int, ...] = ()
    transactions: tuple[int, ...] = ()
    gaps: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    by_epoch: bool = False

    def epoch(self, position: int) -> int:
        """Of a position."""
        return bisect_left(self.ends, position)


class Tail(Protocol):
    """A rule at work on one source, or on one tenant of it. It lives as long as its process; ``mark`` outlives it."""

    @property
    def rule(self) -> OneOf["exact", "by time"]: ...

    @property
    def words(self) -> str:
        """The rule in one line."""

    def look(self, connection: AnyConnection) -> Settled:
        """Bounded: never waits for a writer. The connection is in autocommit.

        Raises SourceError where the rule cannot hold for this table (SourceChanged: rows appeared below the
        watermark), PostgresError.
        """

    def spans(self, after: StorePlace | None, settled: Settled) -> Sequence[Span]:
        """The rows of a look that lie behind ``after``, in order; () where there are none."""

    def late_spans(self, settled: Settled) -> Sequence[Span]:
        """The rows of ``settled.late``."""

    def place(self, epoch: int, columns: Sequence[int]) -> StorePlace:
        """The place of a row of a span, from its columns of the order."""

    def taken(
        self,
        columns: Sequence[npt.NDArray[np.int64]],
        recorded: npt.NDArray[np.int64] | None = None,
        *,
        late: bool = False,
    ) -> None:
        """Say what was handed out of ``spans``, or, ``late``, of ``late_spans``: the columns of the order, ascending,
        and the recorded times in µs (the minimum int64: none).
        """

    def late_done(self) -> None:
        """Say that all rows of ``late_spans`` were handed out: those that did not come are there no more."""

    def unread(self, after: StorePlace | None) -> Composable:
        """A condition: visible rows behind a place, settled or not."""

    def coming(self, epoch: int, after: StorePlace | None, settled: Settled) -> Composable:
        """A condition: visible rows of an epoch behind a place, settled or not, and the look's late ones."""

    def between(self, after: StorePlace | None, upto: StorePlace, settled: Settled | None = None) -> Sequence[Span]:
        """The rows behind one place up to another, which is included. settled: but for those that a look gives, or
        will give, as late ones; None: whatever is visible.
        """

    def epochs(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        """The epoch of each of some places; 0 where the rule knows none."""

    def passed(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
        """Which of some places were passed by knowingly: rows there will be asked for later."""

    def attached(self, connection: AnyConnection) -> tuple[npt.NDArray[np.int64], ...]:
        """The columns of the order of rows at or below what was handed out, in partitions that came since the mark.

        The next look asks for those of them that the log does not have. Raises PostgresError.
        """

    def detached(self, connection: AnyConnection) -> tuple[str, ...]:
        """In words: the partitions that the mark knows and that are no part of the table now. Raises PostgresError."""

    def new_life(self, connection: AnyConnection) -> None:
        """Say that the store was restored or copied (``identity``): transaction ids begin anew, notes mean nothing."""

    def mark(self) -> Any:
        """A JSON value for the manifest: what must be known next time, of all that was handed out so far."""
