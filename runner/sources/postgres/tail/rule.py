"""What each rule answers to the tail around it (``choose``), and the answers that rules share whose rows stand in the
order of their columns alone, without epochs and without transactions that are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from runner.postgres import SQL, Composable
from runner.postgres import Literal as Value
from runner.sources.postgres.tail.facts import STATEMENTS
from runner.sources.postgres.tail.port import Settled, Span, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import numpy.typing as npt

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts
    from runner.sources.postgres.tail.port import Relation, StorePlace, TailConfig

    Columns = Sequence[npt.NDArray[np.int64]]

__all__ = ["Rule"]

_BEHIND = 10_000
"""Positions that one condition lists."""


class Rule(ABC):
    """name: as runner.toml says it. passes_gaps: what it hands out may have gaps that were passed by time alone."""

    name: ClassVar[str]
    kind: ClassVar[Literal["exact", "by time"]] = "exact"
    passes_gaps: ClassVar[bool] = False

    def __init__(
        self, relation: Relation, config: TailConfig, state: Mapping[str, Any], clock: Callable[[], datetime]
    ) -> None:
        self._relation, self._config, self._clock = relation, config, clock

    @property
    @abstractmethod
    def words(self) -> str:
        """The rule in one line."""

    @classmethod
    def relation_of(cls, relation: Relation) -> Relation:
        """The relation as the rule reads it. Raises ConfigError where its rows are not ordered as the rule needs."""
        return relation

    @classmethod
    def state_behind(cls, last: int | None) -> dict[str, Any]:
        """The state to begin with, where another rule has handed out what stands up to ``last``."""
        return {}

    @classmethod
    def unread_in(cls, state: Mapping[str, Any]) -> Unread:
        """What a state knows to be still to come."""
        return Unread()

    # Looking ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        """What is settled. Raises SourceError where the rule cannot hold for this table."""

    def unseen(self, connection: AnyConnection, facts: Facts) -> str:
        """Why the writers cannot be seen from here, so that only time can tell; "" where they can. Raises SourceError
        where time would not do either.
        """
        return "the rows come by logical replication, without their writers" if facts.subscribed else ""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """A JSON value: what must outlive the process."""

    @abstractmethod
    def forget(self) -> None:
        """The store is another one: notes mean nothing."""

    # What is to be read, as ``Tail`` says ----------------------------------------------------------------------------

    def spans(self, after: StorePlace | None, settled: Settled) -> tuple[Span, ...]:
        upto = settled.upto
        if upto is None or (after is not None and after >= upto):
            return ()
        columns = [self._relation.column(i) for i in range(len(self._relation.position))]
        order = SQL(", ").join(columns)
        bounds = [self._compared("<=", upto)]
        if after is not None:
            bounds.append(self._compared(">", after))
        low = None if after is None else after[0] - (len(columns) > 1)
        return (Span(0, SQL(" AND ").join(bounds), order, low, upto[0]),)

    def late_spans(self, settled: Settled) -> tuple[Span, ...]:
        column = self._relation.column()
        long = [(a, b) for a, b in settled.late if b - a >= _BEHIND]
        short = [p for a, b in settled.late if b - a < _BEHIND for p in range(a, b + 1)]
        conditions = [SQL("{} BETWEEN {} AND {}").format(column, Value(a), Value(b)) for a, b in long]
        for i in range(0, len(short), _BEHIND):
            chosen = SQL(", ").join(Value(p) for p in short[i : i + _BEHIND])
            conditions.append(SQL("{} IN ({})").format(column, chosen))
        return tuple(Span(0, condition, column) for condition in conditions)

    def between(self, after: StorePlace | None, upto: StorePlace, without: Sequence[int]) -> tuple[Span, ...]:
        """without: transactions whose rows are left out."""
        return self.spans(after, Settled(upto, None))

    def unread(self, after: StorePlace | None) -> Composable:
        return SQL("TRUE") if after is None else self._compared(">", after)

    def coming(self, epoch: int, after: StorePlace | None) -> Composable:
        """A condition: visible rows of an epoch behind a place, settled or not."""
        return self.unread(after)

    def _run(self, connection: AnyConnection, after: int, newest: int, limit: int) -> list[int]:
        """The first visible positions above one place, up to another."""
        r = self._relation
        query = STATEMENTS["run"].format(
            number=r.number(),
            position=r.column(),
            rows=r.named_rows,
            condition=r.condition,
            after=Value(after),
            newest=Value(newest),
            limit=Value(limit),
        )
        return [position for (position,) in connection.execute(query).fetchall()]

    def _compared(self, operator: Literal["<=", ">"], place: StorePlace) -> Composable:
        r = self._relation
        columns = SQL(", ").join(r.column(i) for i in range(len(place)))
        values = SQL(", ").join(r.value(number, i) for i, number in enumerate(place))
        signs = {"<=": SQL("({}) <= ({})"), ">": SQL("({}) > ({})")}
        return signs[operator].format(columns, values)

    # Places -----------------------------------------------------------------------------------------------------------

    def place(self, epoch: int, columns: Sequence[int]) -> StorePlace:
        return tuple(int(c) for c in columns)

    def epochs(self, columns: Columns) -> npt.NDArray[np.int64]:
        return np.zeros(len(columns[0]), np.int64)

    def passed(self, columns: Columns) -> npt.NDArray[np.bool_]:
        """Which of some places the rule itself has passed by, and asks for later."""
        return np.zeros(len(columns[0]), np.bool_)

    # What was handed out ----------------------------------------------------------------------------------------------

    def taken(self, columns: Columns, *, late: bool) -> None:  # noqa: B027  # most keep nothing of it
        """Of ``spans``, or, ``late``, of ``late_spans``; at least one row."""

    def late_done(self) -> None:  # noqa: B027  # most keep nothing of it
        """All rows of ``late_spans``."""
