"""The compiled fold against its twin: any history, in any partitions and cuts, one projection or several at once."""

from __future__ import annotations

import itertools
import pickle

import pyarrow as pa
import pytest
from fold_cases import TYPES, Saved, fold_all, fold_all_plain, histories, log_of, outcomes, plan_of
from fold_models import ALL, Daily, OrderLines, Orders, Slugs
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.fold import pieces
from runner.fold.run import fold_partition
from runner.testing.batches import SentEvent

EMPTY = log_of((), ALL)
PLAN = plan_of(EMPTY, *ALL)
CUTS = st.sets(st.integers(1, 40), max_size=4)


@settings(max_examples=60, deadline=None)
@given(events=histories(), cuts=CUTS, partitions=st.sampled_from([1, 2, 4]))
def test_any_cut_gives_the_rows_of_the_plain_fold(
    events: tuple[SentEvent, ...], cuts: set[int], partitions: int
) -> None:
    log = log_of(events, ALL, cuts=cuts, partitions=partitions)
    folded, plain = fold_all(PLAN, log), fold_all_plain(ALL, log_of(events, ALL))
    assert folded.rows == plain.rows
    assert folded.folded == plain.folded
    assert folded.passed_over == plain.passed_over
    assert folded.by_twin <= {"slugs"}, "only upper() of other than ASCII may need the twin"


@settings(max_examples=40, deadline=None)
@given(events=histories(60), cuts=CUTS, state_bytes=st.sampled_from([1, 2_000, 5_000]))
def test_blocks_of_aggregates_give_the_rows_of_the_stored_order(
    events: tuple[SentEvent, ...], cuts: set[int], state_bytes: int
) -> None:
    log = log_of(events, ALL, cuts=cuts)
    stored = fold_all(PLAN, log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "HELD", state_bytes)
        patch.setattr(pieces, "FEWEST", 0.01)
        blocks = [pieces.blocks_of(batch, len(TYPES), 4_000) for batch in log.batches()()]
        assert any(len(b) for b in blocks) or not any(len(batch.aggregates) > 2 for batch in log.batches()())
        folded = fold_all(PLAN, log)
    assert folded == stored


@pytest.mark.parametrize("cls", [OrderLines, Daily])
@settings(max_examples=10, deadline=None)
@given(events=histories(), cuts=CUTS)
def test_alone_each_gives_what_it_gives_beside_others(cls: type, events: tuple[SentEvent, ...], cuts: set[int]) -> None:
    log = log_of(events, ALL, cuts=cuts)
    alone = plan_of(log, cls)
    name = alone.definitions[0].name
    assert fold_all(alone, log).rows[name] == fold_all(PLAN, log).rows[name]


@settings(max_examples=40, deadline=None)
@given(events=histories(60), until=st.lists(st.integers(0, 60), min_size=1, max_size=4), cuts=CUTS)
def test_any_schedule_of_updates_gives_the_rows_of_a_rebuild(
    events: tuple[SentEvent, ...], until: list[int], cuts: set[int]
) -> None:
    stops = [0, *sorted(min(n, len(events)) for n in until), len(events)]
    saved = Saved(PLAN)
    for turn, (a, b) in enumerate(itertools.pairwise(stops)):
        log = log_of(events[a:b], ALL, cuts={c - a for c in cuts if a < c < b})
        saved.take(fold_partition(PLAN, log.batches(), None if turn == 0 else saved), first=turn == 0)
    whole = fold_all(PLAN, log_of(events, ALL))
    for name in whole.rows:
        assert saved.rows(name) == whole.rows[name]
    assert "daily" not in saved.asked


@settings(max_examples=15, deadline=None)
@given(events=histories())
def test_several_scopes_keep_equal_ids_apart(events: tuple[SentEvent, ...]) -> None:
    scoped = [SentEvent(**(e.__dict__ | {"scope": ("s", "t1" if e.position % 3 else "t2")})) for e in events]
    log = log_of(scoped, ALL, scopes=[("s", "t1"), ("s", "t2")], cuts={7})
    plan = plan_of(log, *ALL)
    folded = fold_all(plan, log)
    assert folded.rows == fold_all_plain(ALL, log).rows
    assert all(row["tenant"] in ("t1", "t2") for row in folded.rows["orders"])


def test_rows_ascend_by_the_hash_of_their_aggregate() -> None:
    from fold_models import Paid

    from runner.testing.batches import sent

    events = sent([Paid(amount=n, aggregate_id=f"a-{n * 7 % 50}") for n in range(120)])
    (found,) = outcomes(PLAN, log_of(events, ALL, cuts=(30, 60)))
    rows = found.projections["orders"].rows
    pairs = list(zip(rows["_hash_hi"].to_pylist(), rows["_hash_lo"].to_pylist(), strict=True))
    assert len(pairs) == 50
    assert pairs == sorted(pairs)


def test_an_empty_log_gives_empty_tables_of_the_same_schema() -> None:
    from fold_models import Paid

    from runner.testing.batches import sent

    empty = fold_partition(PLAN, EMPTY.batches())
    some = fold_partition(PLAN, log_of(sent([Paid(amount=1)]), ALL).batches())
    assert empty.events == 0
    for name, found in empty.projections.items():
        assert found.rows.num_rows == 0
        assert found.rows.schema == some.projections[name].rows.schema


def test_plans_are_data() -> None:
    again = pickle.loads(pickle.dumps(PLAN))
    assert (again.digest, again.columns, again.header, again.arguments) == (
        PLAN.digest,
        PLAN.columns,
        PLAN.header,
        PLAN.arguments,
    )
    assert [d.name for d in again.definitions] == [d.name for d in PLAN.definitions]
    # Type codes are no part of the kernel: a log that numbers its types otherwise uses the same one.
    other = log_of((), ALL).names.types
    assert plan_of(EMPTY, *ALL).source == PLAN.source
    assert other == TYPES


def test_states_of_earlier_partitions_do_not_shine_through() -> None:
    from fold_models import Cancelled, Paid

    from runner.testing.batches import sent

    plan = plan_of(EMPTY, Orders, OrderLines, Daily, Slugs)
    full = log_of(sent([Paid(amount=n, aggregate_id=f"f-{n}") for n in range(300)]), ALL)
    assert fold_partition(plan, full.batches()).projections["orders"].rows.num_rows == 300
    few = log_of(sent([Cancelled(hard=False, aggregate_id="one"), Cancelled(hard=True, aggregate_id="two")]), ALL)
    table = fold_partition(plan, few.batches()).projections["orders"].rows
    assert table.select(["aggregate_id", "total", "currency"]).equals(
        pa.table({"aggregate_id": ["one"], "total": table["total"], "currency": ["none"]})
    )
    assert table["total"].to_pylist() == [0]
