"""The property that every ``merge`` must have: partial folds, split and put together in any way, give the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import given as drawn_from
from hypothesis import strategies as st

from runner.authoring.definition import ProjectionDefinition, definition_of
from runner.errors import FoldFailure
from runner.fold.plain import fold_plain
from runner.fold.plain_state import merge_plain
from runner.testing.batches import SentEvent, memory_log, sent
from runner.testing.folds import Rows, row_values
from runner.testing.strategies import histories

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from runner.authoring.projection import Projection

__all__ = ["check_merge"]


def check_merge(
    projection: type[Projection], events: st.SearchStrategy[list[Any]] | None = None, *, examples: int = 50
) -> None:
    """Raise AssertionError with the smallest history and split found for which merging gives other rows than one
    fold.

    events: histories; drawn from the projection's event classes where left out. Histories on which a handler or the
    merge fails are passed over (a sum may fit whole and not in parts).
    """
    definition = definition_of(projection)
    if definition.merge is None:
        raise ValueError(f"{projection.__name__} has no merge(self, other)")
    source = histories(projection) if events is None else events

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @drawn_from(st.data())
    def holds(data: st.DataObject) -> None:
        history = sent(data.draw(source, label="events"))
        owners = data.draw(st.lists(st.integers(0, 3), min_size=len(history), max_size=len(history)), label="parts")
        whole = _fold(definition, history)
        parts = [_fold(definition, [e for e, o in zip(history, owners, strict=True) if o == p]) for p in range(4)]
        assume(not isinstance(whole, FoldFailure))
        tables = [p for p in parts if not isinstance(p, FoldFailure)]
        assume(len(tables) == len(parts))
        order = data.draw(st.permutations(range(4)), label="merged in the order")
        pairs = data.draw(st.booleans(), label="merged in pairs")
        try:
            merged = _together(definition, [tables[i] for i in order], pairs=pairs)
        except OverflowError:
            assume(False)
            raise
        assert not isinstance(whole, FoldFailure)
        expected, found = _rows(definition, whole), _rows(definition, merged)
        assert found == expected, f"{definition.qualname}.merge: in one fold {expected}, merged from parts {found}"

    holds()


def _fold(definition: ProjectionDefinition, events: Sequence[SentEvent]) -> pa.Table | FoldFailure:
    log = memory_log(events, [definition])
    outcome = fold_plain(definition, log.batches(), log.names)
    return outcome if isinstance(outcome, FoldFailure) else outcome.rows


def _together(definition: ProjectionDefinition, tables: Sequence[pa.Table], *, pairs: bool) -> pa.Table:
    if not pairs:
        return merge_plain(definition, tables)
    middle = len(tables) // 2
    return merge_plain(definition, [merge_plain(definition, tables[:middle]), merge_plain(definition, tables[middle:])])


def _rows(definition: ProjectionDefinition, table: pa.Table) -> Rows:
    return row_values(definition, table)
