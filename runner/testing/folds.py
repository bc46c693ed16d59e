"""One history folded in every way that must give the same rows: twin and compiled, cut, partitioned, updated.

``fold_rows`` is one way; ``all_ways`` goes through a list of them. Rows come back in Python, sorted by key.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.errors import FoldFailure
from runner.fold.merge import merge_rows
from runner.fold.plain import fold_plain
from runner.fold.plain_state import merge_plain
from runner.fold.plan import FoldPlan, plan_fold
from runner.fold.rows import Row, row_schema, rows_table, saved_rows
from runner.fold.run import fold_partition
from runner.positions import PartitionId
from runner.testing.batches import MemoryLog, SentEvent, memory_log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from runner.authoring.definition import ProjectionDefinition
    from runner.fold.outcome import ProjectionOutcome

__all__ = ["Way", "all_ways", "fold_rows", "row_values"]

Rows = dict[tuple[Any, ...], dict[str, Any]]
"""By identity and key columns: all columns but the hashes."""


@dataclass(frozen=True)
class Way:
    """How a history is folded.

    compiled: by the kernel, else by the twin. partitions: a power of two. cuts: after how many events a new segment
    begins. updates: after how many events a catch-up follows; the first part is the rebuild.
    """

    compiled: bool = False
    partitions: int = 1
    cuts: tuple[int, ...] = ()
    updates: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = ["compiled" if self.compiled else "plain"]
        parts += [f"{self.partitions} partitions"] if self.partitions > 1 else []
        parts += [f"cut at {list(self.cuts)}"] if self.cuts else []
        parts += [f"updated after {list(self.updates)}"] if self.updates else []
        return ", ".join(parts)


def all_ways(events: int, *, compiled: bool = True) -> Iterator[Way]:
    """The ways worth trying for so many events: each of plain and compiled, whole, in pieces, in parts, with
    updates.
    """
    half, pieces = events // 2, tuple(range(1, events))[:20]
    for how in (False, True) if compiled else (False,):
        yield Way(how)
        if events > 1:
            yield Way(how, cuts=pieces)
            yield Way(how, partitions=4, cuts=(half,))
            yield Way(how, updates=(half,))
            yield Way(how, partitions=2, updates=pieces)


def fold_rows(definition: ProjectionDefinition, events: Sequence[SentEvent], way: Way = Way()) -> Rows | FoldFailure:
    """The rows of the read model after the events, or the failure of the lowest position.

    Raises CompileError for a handler that cannot be compiled.
    """
    types = tuple(dict.fromkeys(e.type for e in events))
    scopes = tuple(dict.fromkeys(e.scope for e in events)) or (("", ""),)
    plan = plan_fold([definition], types, scopes=scopes) if way.compiled else None
    identity = ("source", "tenant") if len(scopes) > 1 and not definition.merged else ()
    model = _Model(definition, identity)
    edges = [0, *sorted({u for u in way.updates if 0 < u < len(events)}), len(events)]
    for n, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = events[start:stop]
        log = memory_log(
            part,
            [definition],
            cuts=tuple(c - start for c in way.cuts),
            partitions=way.partitions,
            types=types,
            scopes=scopes,
        )
        outcomes = [_outcome(definition, plan, log, p, model if n else None) for p in range(way.partitions)]
        failures = [o for o in outcomes if isinstance(o, FoldFailure)]
        if failures:
            return min(failures, key=lambda f: f.position)
        model.take([o for o in outcomes if not isinstance(o, FoldFailure)], plan)
    return row_values(definition, model.table(), identity)


def _outcome(
    definition: ProjectionDefinition, plan: FoldPlan | None, log: MemoryLog, partition: int, model: _Model | None
) -> ProjectionOutcome | FoldFailure:
    saved = None if model is None else model.saved
    if plan is None:
        return fold_plain(definition, log.batches(partition), log.names, partition=partition, saved=saved)
    whole = fold_partition(plan, log.batches(partition), saved, PartitionId(partition))
    return whole.failures[0] if whole.failures else whole.projections[definition.name]


class _Model:
    """A read model in memory: rows by key, the tables' bytes kept as they came."""

    def __init__(self, definition: ProjectionDefinition, identity: tuple[str, ...]) -> None:
        self.definition, self.identity = definition, identity
        self.rows: dict[tuple[Any, ...], Row] = {}

    def table(self) -> pa.Table:
        if not self.rows:
            return row_schema(self.definition, self.identity).empty_table()
        return rows_table(self.definition, list(self.rows.values()), self.identity)

    def saved(
        self,
        projection: str,
        hi: npt.NDArray[np.uint64],
        lo: npt.NDArray[np.uint64],
        columns: Collection[str] | None = None,
    ) -> pa.Table:
        """The ``SavedRows`` of an update."""
        assert projection == self.definition.name
        asked = set(zip(hi.tolist(), lo.tolist(), strict=True))
        found = [row for row in self.rows.values() if (row.hi, row.lo) in asked]
        if not found:
            return row_schema(self.definition, self.identity).empty_table()
        return rows_table(self.definition, found, self.identity)

    def take(self, outcomes: Sequence[ProjectionOutcome], plan: FoldPlan | None) -> None:
        """Rows of the partitions put in; partial ones merged with what is there."""
        tables = [o.rows for o in outcomes]
        if self.definition.merged:
            before = [self.table(), *tables]
            merged = (
                merge_plain(self.definition, before, self.identity)
                if plan is None
                else merge_rows(plan, self.definition.name, before)
            )
            self.rows = {}
            tables = [merged]
        for outcome in outcomes:
            if outcome.deleted is not None:
                for key in _keys(self.definition, outcome.deleted, self.identity):
                    del self.rows[key]
        for table in tables:
            for row in saved_rows(self.definition, table, self.identity):
                self.rows[*row.identity, *row.key] = row


def _keys(definition: ProjectionDefinition, table: pa.Table, identity: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    empty = row_schema(definition, identity)
    columns = {
        name: table.column(name) if name in table.column_names else pa.nulls(table.num_rows, empty.field(name).type)
        for name in empty.names
    }
    for f in definition.fields:  # states do not matter here; their defaults stand in
        columns[f.name] = rows_table(
            definition,
            [Row(("",) * len(identity), (None,) * len(definition.key), definition.cls())] * table.num_rows,
            identity,
        ).column(f.name)
    for row in saved_rows(definition, pa.table(columns, schema=empty), identity):
        yield (*row.identity, *row.key)


def row_values(definition: ProjectionDefinition, table: pa.Table, identity: Sequence[str] = ()) -> Rows:
    """A table's rows as dictionaries of Python values, by identity and key."""
    found: Rows = {}
    for row in saved_rows(definition, table, identity):
        key = (*row.identity, *row.key)
        assert key not in found, f"two rows of {definition.name} have the key {key}"
        values = dict(zip((*identity, *(p.name for p in definition.key)), key, strict=True))
        values |= {f.name: plain_value(row.state.__dict__[f.name]) for f in definition.fields}
        found[key] = values
    return found


def plain_value(value: Any) -> Any:
    """A state value that compares as its bytes do: lists for bounded collections, NaN equal to itself, -0.0 not 0.0."""
    if isinstance(value, float) and (value != value or value == 0.0):
        return f"float {value}"
    if hasattr(value, "append") or hasattr(value, "add"):
        return [plain_value(v) for v in value]
    return value
