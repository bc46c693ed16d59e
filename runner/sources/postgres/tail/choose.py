"""The rule at work: the one that the config asks for where the table allows it, by time where its writers cannot be
seen.

Whatever the rule, two things are kept here, for they outlive it: the open gaps of what was passed by time, and which
partitions are known. A partition that is attached with rows in it brings rows whose positions were settled long ago, by
no writer that any rule could see; those that the log does not have are late rows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from runner.errors import ConfigError, SourceChanged, SourceError
from runner.postgres import SQL, Composable, Identifier, TransactionStatus, translated
from runner.postgres import Literal as Value
from runner.sources.postgres.tail.by_time import TimeRule
from runner.sources.postgres.tail.facts import STATEMENTS, Facts, facts_of
from runner.sources.postgres.tail.fence import FenceRule
from runner.sources.postgres.tail.gaps import NO_TIME, OpenGaps, positions_of, ranges_of
from runner.sources.postgres.tail.port import Relation, Settled, Span, TailConfig, Unread
from runner.sources.postgres.tail.serialised import SerialisedRule
from runner.sources.postgres.tail.sessions import SessionsRule
from runner.sources.postgres.tail.transactions import TransactionRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.port import Known, StorePlace, Tail
    from runner.sources.postgres.tail.rule import Rule

__all__ = ["ChosenTail", "tail_for", "unread_of", "utc_now"]

_RULES: Mapping[str, type[Rule]] = {
    rule.name: rule for rule in (TransactionRule, FenceRule, SessionsRule, SerialisedRule, TimeRule)
}


def utc_now() -> datetime:
    return datetime.now(UTC)


def tail_for(
    rule: TailConfig,
    relation: Relation,
    mark: Any,
    clock: Callable[[], datetime] | None = None,
    known: Known | None = None,
) -> Tail:
    """The tail of one source, or of one tenant of it, from the mark of the last commit (None: there is none).

    known: the positions that the log has, for partitions that are attached with rows. After a commit that failed make a
    new one, from the mark that the log has. Raises ConfigError for a rule that the order of the rows does not allow.
    """
    if rule.rule not in _RULES:
        raise ConfigError(
            f"{relation.where}: no tail rule is called {rule.rule!r}", hint=f"there is {', '.join(_RULES)}"
        )
    relation = _RULES[rule.rule].relation_of(relation)
    return ChosenTail(rule, relation, mark, clock or utc_now, known)


def unread_of(mark: Any) -> Unread:
    """What a tail's mark knows to be still to come."""
    mark = mark or {}
    rule = _RULES.get(mark.get("rule", ""))
    found = Unread() if rule is None else rule.unread_in(mark.get("state") or {})
    gaps, owed = OpenGaps(mark.get("gaps")).first.tolist(), mark.get("owed", ())
    return replace(found, gaps=tuple(gaps), late=tuple(first for first, _ in owed))


class ChosenTail:
    """A ``Tail``."""

    def __init__(
        self,
        config: TailConfig,
        relation: Relation,
        mark: Mapping[str, Any] | None,
        clock: Callable[[], datetime],
        known: Known | None,
    ) -> None:
        self._config, self._relation, self._clock, self._known = config, relation, clock, known
        mark = mark or {}
        self._last: int | None = mark.get("last")
        """The highest value of the first column that was handed out."""
        self._old: int | None = mark.get("old", None if self._last is None else -1)
        """The newest position of the first look: up to there rows may be older than the window. -1: of none."""
        self._family: set[int] | None = set(mark["family"]) if "family" in mark else None
        self._gaps = OpenGaps(mark.get("gaps"))
        self._late: int = mark.get("late", 0)
        self._owed = positions_of(mark.get("owed", []))
        """Late positions that a look gave and that were not handed out yet."""
        self._reason = ""
        self._name: str = mark.get("rule", config.rule)
        if self._name != config.rule and self._name != "time":
            self._name = config.rule
            mark = {}
        self._rule = self._make(self._name, mark.get("state", {}))

    def _make(self, name: str, state: Mapping[str, Any]) -> Rule:
        return _RULES[name](self._relation, self._config, state, self._clock)

    @property
    def rule(self) -> Literal["exact", "by time"]:
        return self._rule.kind

    @property
    def words(self) -> str:
        return f"{self._rule.words} ({self._reason})" if self._reason else self._rule.words

    @property
    def gaps(self) -> OpenGaps:
        """What was passed by time and is asked for again."""
        return self._gaps

    # Looking ----------------------------------------------------------------------------------------------------------

    def look(self, connection: AnyConnection) -> Settled:
        if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
            # One snapshot for all steps would make each of them see the first one's moment.
            raise SourceError(f"{self._relation.where}: looking at the tail needs a connection in autocommit")
        with translated(self._relation.where):
            facts = self._facts(connection)
            self._choose(connection, facts)
            self._owe(self._attached(connection, facts))
            # Only now: a partition whose rows were neither owed nor known is new to the next look too.
            self._family = set(facts.family)
            found = self._rule.look(connection, facts)
            if self._old is None:
                self._old = -1 if found.newest is None else found.newest[0]
            self._owe(self._asked_again(connection))
            return replace(
                found,
                late=(*ranges_of(self._owed), *found.late),
                open_gaps=self._gaps.positions,
                late_events=self._late,
                words=self.words,
            )

    def _owe(self, late: npt.NDArray[np.int64]) -> None:
        self._late += len(np.setdiff1d(late, self._owed))
        self._owed = np.union1d(self._owed, late)

    def _choose(self, connection: AnyConnection, facts: Facts) -> None:
        """By time where the writers cannot be seen from here; the rule asked for again once they can."""
        asked = self._rule if self._name == self._config.rule else self._make(self._config.rule, {})
        self._reason = asked.unseen(connection, facts)
        name = "time" if self._reason else self._config.rule
        if name != self._name:
            self._rule = self._make(name, _RULES[name].state_behind(self._last))
            self._name = name

    def _asked_again(self, connection: AnyConnection) -> npt.NDArray[np.int64]:
        """The positions of open gaps that are visible by now."""
        if not len(self._gaps):
            return np.empty(0, np.int64)
        self._gaps.expire(self._clock(), self._config.window)
        r = self._relation
        query = STATEMENTS["asked_again"].format(
            number=r.number(),
            position=r.column(),
            rows=r.named_rows,
            condition=r.condition,
            first=Value(self._gaps.first.tolist()),
            last=Value(self._gaps.last.tolist()),
        )
        rows = connection.execute(query).fetchall() if len(self._gaps) else []
        found = np.array([p for (p,) in rows], np.int64)
        if len(found):
            self._gaps.take(found)
        return found

    # Partitions that come later ---------------------------------------------------------------------------------------

    def attached(self, connection: AnyConnection) -> tuple[npt.NDArray[np.int64], ...]:
        parts = [self._below(connection, partition) for partition, _ in self._new(connection, self._facts(connection))]
        empty = [np.empty(0, np.int64)] * len(self._relation.position)
        return tuple(np.concatenate(columns) for columns in zip(empty, *parts, strict=True))

    def detached(self, connection: AnyConnection) -> tuple[str, ...]:
        gone = sorted((self._family or set()) - set(self._facts(connection).family))
        names = {oid: connection.execute(STATEMENTS["partition"], {"oid": oid}).fetchone() for oid in gone}
        return tuple(
            "a partition was dropped" if row is None else f"the partition {row[0]}.{row[1]} was detached"
            for row in names.values()
        )

    def _facts(self, connection: AnyConnection) -> Facts:
        return facts_of(connection, self._relation, self._config.sequence)

    def _new(self, connection: AnyConnection, facts: Facts) -> Iterator[tuple[Composable, str]]:
        """The partitions that are new here, once rows were handed out: as SQL and in words."""
        new = sorted(set(facts.family) - self._family) if self._family is not None else []
        for oid in new if self._last is not None else ():
            row = connection.execute(STATEMENTS["partition"], {"oid": oid}).fetchone()
            if row is not None and not row[2]:
                yield Identifier(row[0], row[1]), f"{row[0]}.{row[1]}"

    def _attached(self, connection: AnyConnection, facts: Facts) -> npt.NDArray[np.int64]:
        """Rows at or below what was handed out, in partitions that are new here, that the log does not have."""
        found = [np.empty(0, np.int64)]
        found += [self._missed(self._below(connection, new), name) for new, name in self._new(connection, facts)]
        return np.unique(np.concatenate(found))

    def _below(self, connection: AnyConnection, partition: Composable) -> list[npt.NDArray[np.int64]]:
        """The columns of the order of a partition's rows at or below what was handed out."""
        r = self._relation
        assert self._last is not None
        query = STATEMENTS["below"].format(
            numbers=SQL(", ").join(r.number(i) for i in range(len(r.position))),
            first=r.column(),
            partition=partition,
            alias=Identifier(r.alias),
            condition=r.condition,
            upto=r.value(self._last),
        )
        rows = connection.execute(query).fetchall()
        return [np.array([row[i] for row in rows], np.int64) for i in range(len(r.position))]

    def _missed(self, there: list[npt.NDArray[np.int64]], name: str) -> npt.NDArray[np.int64]:
        """Of a new partition's rows: the positions that the log does not have and that are not asked for anyway."""
        r = self._relation
        rest = np.unique(there[-1][~self.passed(there)])
        if self._known is not None and len(rest):
            rest = np.setdiff1d(rest, self._known(int(rest[0]), int(rest[-1])), assume_unique=True)
        if len(rest) and (self._known is None or not r.dense):
            raise SourceChanged(
                f"{r.where}: the partition {name} was attached with {len(rest):,} rows at or below the watermark, "
                f"{r.position[-1]} {rest[0]} to {rest[-1]}, which were not read",
                hint="sync into a new log directory to take them in, or detach the partition",
            )
        return rest

    # What is to be read -----------------------------------------------------------------------------------------------

    def spans(self, after: StorePlace | None, settled: Settled) -> Sequence[Span]:
        return self._rule.spans(after, settled)

    def late_spans(self, settled: Settled) -> Sequence[Span]:
        return self._rule.late_spans(settled)

    def unread(self, after: StorePlace | None) -> Composable:
        return self._rule.unread(after)

    def coming(self, epoch: int, after: StorePlace | None, settled: Settled) -> Composable:
        late = [span.condition for span in self.late_spans(settled) if span.epoch == epoch]
        return SQL(" OR ").join([SQL("({})").format(each) for each in (self._rule.coming(epoch, after), *late)])

    def between(self, after: StorePlace | None, upto: StorePlace, settled: Settled | None = None) -> Sequence[Span]:
        spans = self._rule.between(after, upto, () if settled is None else settled.without)
        late = () if settled is None else self.late_spans(settled)
        if not late:
            return spans
        rest = [SQL("NOT ({})").format(span.condition) for span in late]
        return tuple(replace(s, condition=SQL(" AND ").join([s.condition, *rest])) for s in spans)

    def place(self, epoch: int, columns: Sequence[int]) -> StorePlace:
        return self._rule.place(epoch, columns)

    def epochs(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        return self._rule.epochs(columns)

    def passed(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
        """Which of some places were passed by knowingly: rows there are asked for later."""
        passed = self._rule.passed(columns)
        if self._relation.dense:
            passed = passed | self._gaps.hold(columns[-1]) | np.isin(columns[-1], self._owed)
        return passed

    # What is kept -----------------------------------------------------------------------------------------------------

    def taken(
        self,
        columns: Sequence[npt.NDArray[np.int64]],
        recorded: npt.NDArray[np.int64] | None = None,
        *,
        late: bool = False,
    ) -> None:
        if not len(columns[0]):
            return
        self._rule.taken(columns, late=late)
        if late:
            self._owed = np.setdiff1d(self._owed, columns[0])
            return
        if self._rule.passes_gaps and self._relation.dense:
            before = -1 if self._last is None else self._last
            if recorded is not None:
                # Later rows were drawn since, whatever time their writers gave them.
                recorded = np.where(columns[0] > (-1 if self._old is None else self._old), NO_TIME, recorded)
            self._gaps.pass_over(before, columns[0], recorded, self._clock(), self._config.window)
        last = int(columns[0][-1])
        self._last = last if self._last is None else max(self._last, last)

    def late_done(self) -> None:
        self._owed = self._owed[:0]
        self._rule.late_done()

    def new_life(self, connection: AnyConnection) -> None:
        self._rule.forget()
        self._family = None

    def mark(self) -> dict[str, Any]:
        return {
            "rule": self._name,
            "last": self._last,
            "old": self._old,
            "family": sorted(self._family or ()),
            "gaps": self._gaps.to_json(),
            "late": self._late,
            "owed": [list(r) for r in ranges_of(self._owed)],
            "state": self._rule.state(),
        }
