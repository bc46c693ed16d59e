"""Random histories of the shared models, and folds made comparable: plain, compiled, in any cut."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fold_models import Cancelled, Grade, Line, Paid, Placed, Step, Touched
from hypothesis import strategies as st

from runner.authoring.definition import ProjectionDefinition, definition_of
from runner.fold.merge import merge_rows
from runner.fold.outcome import PartitionOutcome, ProjectionOutcome
from runner.fold.plain import fold_plain
from runner.fold.plain_state import merge_plain
from runner.fold.plan import FoldPlan, plan_fold
from runner.fold.run import fold_partition
from runner.positions import PartitionId
from runner.testing.batches import MemoryLog, SentEvent, memory_log, sent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from runner import Event

TYPES = ("order.placed", "order.imported", "order.paid", "order.cancelled", "order.touched", "unknown")
Rows = list[dict[str, Any]]

AGGREGATES = st.sampled_from(["a-1", "b-2", "ç-3", "d-4"])
SKUS = st.sampled_from(["x", "yy", "", "straße", "z€"])
MONEY = st.integers(-(10**6), 10**6).map(lambda n: Decimal(n).scaleb(-2))
MOMENT = st.integers(-(10**10), 10**10).map(lambda s: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
RECORDED = st.integers(0, 4 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))

LINE = st.builds(
    Line, sku=SKUS, quantity=st.integers(-9, 120), price=MONEY, note=st.none() | st.sampled_from(["n", "m", ""])
)
HEADER = {"aggregate_id": AGGREGATES, "recorded_at": RECORDED}
PLACED = st.builds(
    Placed,
    type=st.sampled_from(["order.placed", "order.imported"]),
    lines=st.lists(LINE, max_size=4),
    weights=st.lists(st.sampled_from([0.25, -1.5, 3.0]), max_size=2),
    customer=st.none() | st.sampled_from(["ann", "bob"]),
    **HEADER,
)
PAID = st.builds(
    Paid,
    amount=MONEY,
    count=st.integers(-(10**9), 10**9),
    rate=st.floats(allow_nan=False, width=32),
    fine=st.booleans(),
    at=st.none() | MOMENT,
    day=st.dates(date(1900, 1, 1)),
    took=st.timedeltas(timedelta(days=-9), timedelta(days=9)),
    ref=st.none() | st.uuids(),
    grade=st.sampled_from(Grade),
    step=st.none() | st.sampled_from(Step),
    currency=st.sampled_from(["EUR", "USD", ""]),
    **HEADER,
)
CANCELLED = st.builds(Cancelled, hard=st.booleans(), **HEADER)
TOUCHED = st.builds(Touched, type=st.sampled_from(["order.touched", "unknown"]), **HEADER)
OPTIONAL_FIELDS = ("count", "rate", "fine", "at", "day", "took", "ref", "grade", "step", "currency")


@st.composite
def histories(draw: st.DrawFn, longest: int = 40) -> tuple[SentEvent, ...]:
    """Events of all types in position order, some without the fields that have defaults."""
    events = draw(st.lists(st.one_of(PLACED, PAID, PAID, CANCELLED, TOUCHED), max_size=longest))
    absent = {
        i: draw(st.sets(st.sampled_from(OPTIONAL_FIELDS), max_size=3))
        for i, e in enumerate(events)
        if isinstance(e, Paid) and draw(st.booleans())
    }
    return with_absent(events, absent)


def with_absent(events: Sequence[Event], absent: dict[int, Iterable[str]]) -> tuple[SentEvent, ...]:
    """Events whose payloads lack these fields."""
    return sent(list(events), absent=absent)


def rows_of(definition: ProjectionDefinition, table: pa.Table) -> Rows:
    """The rows in one order, by key."""
    names = [f"{p.name}" for p in definition.key]
    # Extension types have no order of their own; as text every key has one.
    names = ["source", "tenant", *names]
    return sorted(table.to_pylist(), key=lambda row: repr([row.get(n) for n in names]))


@dataclass(frozen=True)
class Folded:
    """A log folded whole, by projection: rows in one order, and events that had a handler."""

    rows: dict[str, Rows]
    folded: dict[str, int]
    passed_over: dict[str, int]
    by_twin: frozenset[str]


def plan_of(log: MemoryLog, *classes: type) -> FoldPlan:
    """The plan of these projections over a log in memory."""
    return plan_fold([definition_of(c) for c in classes], log.names.types, scopes=log.names.scopes)


def outcomes(plan: FoldPlan, log: MemoryLog) -> list[PartitionOutcome]:
    """Every partition folded from the first event; none may fail."""
    found = [fold_partition(plan, log.batches(p), partition=PartitionId(p)) for p in range(len(log.partitions))]
    assert not any(o.failures for o in found), [o.failures for o in found]
    return found


def fold_all(plan: FoldPlan, log: MemoryLog) -> Folded:
    """What the runtime makes of a log."""
    parts = outcomes(plan, log)
    assert sum(o.events for o in parts) == len(log.events)
    done = {d.name: [o.projections[d.name] for o in parts] for d in plan.definitions}
    rows = {}
    for d in plan.definitions:
        tables = [o.rows for o in done[d.name]]
        rows[d.name] = rows_of(d, merge_rows(plan, d.name, tables) if d.merged else pa.concat_tables(tables))
    return _folded(rows, done)


def fold_all_plain(classes: Iterable[type], log: MemoryLog) -> Folded:
    """What the twin makes of a log."""
    rows, done = {}, {}
    for d in map(definition_of, classes):
        found = [fold_plain(d, log.batches(p), log.names) for p in range(len(log.partitions))]
        assert all(isinstance(o, ProjectionOutcome) for o in found), found
        done[d.name] = [o for o in found if isinstance(o, ProjectionOutcome)]
        tables = [o.rows for o in done[d.name]]
        rows[d.name] = rows_of(d, merge_plain(d, tables, log.names.identity) if d.merged else pa.concat_tables(tables))
    return _folded(rows, done)


def _folded(rows: dict[str, Rows], done: dict[str, list[ProjectionOutcome]]) -> Folded:
    return Folded(
        rows,
        {name: sum(o.folded for o in found) for name, found in done.items()},
        {name: sum(o.passed_over for o in found) for name, found in done.items()},
        frozenset(name for name, found in done.items() if any(o.by_twin for o in found)),
    )


class Saved:
    """A read model in memory, continued by updates; it is a ``SavedRows``."""

    def __init__(self, plan: FoldPlan) -> None:
        self.plan = plan
        self.tables: dict[str, pa.Table] = {}
        self.asked: list[str] = []

    def __call__(
        self,
        projection: str,
        hi: npt.NDArray[np.uint64],
        lo: npt.NDArray[np.uint64],
        columns: Collection[str] | None = None,
    ) -> pa.Table:
        pairs = list(zip(hi.tolist(), lo.tolist(), strict=True))
        assert pairs == sorted(set(pairs)), "hashes are distinct and ascend"
        self.asked.append(projection)
        table = self.tables[projection]
        wanted = set(pairs)
        own = zip(table.column("_hash_hi").to_pylist(), table.column("_hash_lo").to_pylist(), strict=True)
        rows = table.filter(pa.array([pair in wanted for pair in own], pa.bool_()))
        return (
            rows if columns is None else rows.select([n for n in rows.column_names if n in columns or n[:5] == "_hash"])
        )

    def take(self, outcome: PartitionOutcome, *, first: bool) -> None:
        """Put a rebuild's or an update's rows in."""
        assert not outcome.failures, outcome.failures
        for name, found in outcome.projections.items():
            d = self.plan.definition(name)
            if first:
                assert found.deleted is None
                self.tables[name] = found.rows
                continue
            assert found.deleted is not None
            if d.merged:
                assert found.deleted.num_rows == 0
                self.tables[name] = merge_rows(self.plan, name, [self.tables[name], found.rows])
                continue
            names = [c for c in found.deleted.column_names if not c.startswith("_")]
            kept = {repr([row[c] for c in names]): row for row in self.tables[name].to_pylist()}
            for row in found.rows.to_pylist():
                assert kept.get(repr([row[c] for c in names])) != row, "only rows that differ come back"
                kept[repr([row[c] for c in names])] = row
            for row in found.deleted.to_pylist():
                del kept[repr([row[c] for c in names])]
            self.tables[name] = pa.Table.from_pylist(list(kept.values()), schema=found.rows.schema)

    def rows(self, name: str) -> Rows:
        """The rows in one order."""
        return rows_of(self.plan.definition(name), self.tables[name])


def log_of(events: Sequence[SentEvent], classes: Iterable[type], **how: Any) -> MemoryLog:
    """A log in memory whose type codes do not depend on the events."""
    return memory_log(events, [definition_of(c) for c in classes], types=TYPES, **how)
