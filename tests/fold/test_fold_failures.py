"""What stops a kernel: room, refused values, failing handlers, missing values; the others still give results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from fold_cases import Saved, fold_all_plain, log_of, outcomes, plan_of, rows_of, with_absent
from fold_models import Line, Orders, Paid, Placed, Slugs

from runner import Event, Projection, on
from runner.batch import Batch
from runner.errors import LogError
from runner.fold import run
from runner.fold.merge import merge_rows
from runner.fold.run import fold_partition
from runner.kernels import status
from runner.testing.batches import MemoryLog, sent

if TYPE_CHECKING:
    from collections.abc import Iterable


class Counted(Event, type="counted"):
    """Numbers that overflow when added."""

    number: int
    word: str = ""


class Sums(Projection):
    """Adds up; fails beyond int64 and on division by zero."""

    total: int = 0
    inverse: int = 0

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """May overflow."""
        self.total += e.number
        self.inverse = 100 // e.number


class Count(Projection):
    """Cannot fail."""

    events: int = 0

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """Counts."""
        self.events += 1


class Upper(Projection):
    """What the kernel refuses beyond ASCII."""

    word: str = ""

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """Turns the case."""
        self.word = e.word.upper()


class Slow(Projection, compiled=False):
    """Never compiled."""

    words: int = 0

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """Does what no kernel does."""
        self.words += len({*e.word})


class PerWord(Projection, key=("aggregate_id", "word")):
    """Many child rows for one aggregate."""

    events: int = 0

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """Counts."""
        self.events += 1


class Totals(Projection, key=("word",)):
    """Merged rows whose merge may overflow, or makes texts."""

    total: int = 0
    texts: str = ""

    @on(Counted)
    def counted(self, e: Counted) -> None:
        """Adds up."""
        self.total += e.number
        self.texts = e.word

    def merge(self, other: Totals) -> None:
        """Adds up; the text grows."""
        self.total += other.total
        self.texts = self.texts + "-" + other.texts


CLASSES = (Sums, Count, Upper, Slow, PerWord)
LIMIT = 2**62


def counted(numbers: Iterable[int], words: Iterable[str] = (), aggregates: int = 3) -> MemoryLog:
    words = list(words)
    events = [
        Counted(number=n, word=words[i] if words else "w", aggregate_id=f"a-{i % aggregates}")
        for i, n in enumerate(numbers)
    ]
    return log_of(sent(events), (*CLASSES, Totals), cuts=(4, 9))


def test_a_failing_handler_is_named_with_its_lowest_position_and_the_others_give_rows() -> None:
    log = counted([1, 2, 3, 4, LIMIT, 6, 7, LIMIT, 9, 10, 0, 12])
    found = fold_partition(plan_of(log, *CLASSES), log.batches())
    assert sorted(found.projections) == ["count", "per_word", "slow", "upper"]
    (failure,) = found.failures
    # LIMIT at 5 and 8 are of one aggregate; the zero at 11 is behind.
    assert (failure.projection, failure.handler, failure.position) == ("sums", "counted", 8)
    assert (failure.aggregate_id, failure.event_type) == ("a-1", "counted")
    assert "OverflowError" in failure.reason
    plain = fold_all_plain((Count,), log)
    assert rows_of(plan_of(log, Count).definitions[0], found.projections["count"].rows) == plain.rows["count"]


def test_what_the_kernel_refuses_the_twin_folds_and_the_outcome_says_so() -> None:
    log = counted([1] * 6, ["a", "b", "straße", "d", "e", "f"])
    found = fold_partition(plan_of(log, *CLASSES), log.batches())
    assert not found.failures
    assert [name for name, o in found.projections.items() if o.by_twin] == ["upper", "slow"]
    assert found.projections["upper"].rows["word"].to_pylist().count("STRASSE") == 0
    assert sorted(found.projections["upper"].rows["word"].to_pylist()) == ["D", "E", "F"]
    (note,) = found.notes
    assert "upper" in note
    assert "position 3" in note
    assert all(o.folded == 6 for o in found.projections.values())


def test_only_uncompiled_projections_need_no_kernel() -> None:
    log = counted([1, 2, 3])
    plan = plan_of(log, Slow)
    assert plan.by_twin == ("slow",)
    found = fold_partition(plan, log.batches())
    assert (found.events, found.batches) == (3, 1)
    assert found.projections["slow"].folded == 3


def test_more_child_rows_than_room_start_over_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_rooms", {})
    log = counted([1] * 9000, [f"w{n % 4500}" for n in range(9000)], aggregates=1)
    plan = plan_of(log, PerWord)
    passes = 0

    def batches() -> Iterable[Batch]:
        nonlocal passes
        passes += 1
        return log.batches()()

    found = fold_partition(plan, batches)
    assert passes > 1
    assert found.events == 9000
    table = found.projections["per_word"].rows
    assert table.num_rows == 4500
    assert set(table["events"].to_pylist()) == {2}
    passes = 0
    fold_partition(plan, batches)
    assert passes == 1, "the room is remembered"


def test_texts_made_in_the_kernel_start_over_with_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_rooms", {})
    line = Line(sku="s" * 40, quantity=1, price=1)
    log = log_of(sent([Placed(lines=[line] * 4, aggregate_id=f"a-{n}") for n in range(800)]), (Slugs,))
    plan = plan_of(log, Slugs)
    (found,) = outcomes(plan, log)
    assert rows_of(plan.definitions[0], found.projections["slugs"].rows) == fold_all_plain((Slugs,), log).rows["slugs"]
    assert not found.notes


def test_an_update_starts_over_from_the_saved_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    log = counted([1] * 6, "abcabc", aggregates=1)
    plan = plan_of(log, PerWord, Count)
    saved = Saved(plan)
    saved.take(fold_partition(plan, log.batches()), first=True)
    monkeypatch.setattr(run, "_rooms", {})
    more = counted([1] * 6000, [f"{n % 3000}" for n in range(6000)], aggregates=1)
    saved.take(fold_partition(plan, more.batches(), saved), first=False)
    assert [row["events"] for row in saved.rows("count")] == [6006]
    assert len(saved.rows("per_word")) == 3003


def test_a_missing_value_is_named_where_it_first_is() -> None:
    events = [Paid(amount=n, aggregate_id=f"a-{n % 2}") for n in range(6)]
    log = log_of(with_absent(events, {2: ["amount"], 4: ["amount"]}), (Orders,))
    found = fold_partition(plan_of(log, Orders), log.batches())
    (failure,) = found.failures
    assert (failure.position, failure.aggregate_id, failure.event_type) == (3, "a-0", "order.paid")
    assert "amount" in failure.reason


def test_kernel_and_twin_must_agree_that_an_event_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    log = counted([1, LIMIT, 3, 4, LIMIT])
    plan = plan_of(log, Sums, Count)
    (twin,) = fold_partition(plan_of(log, Sums), log.batches()).failures
    one = fold_partition(plan_of(log, Count), log.batches()).projections["count"]
    monkeypatch.setattr(run, "fold_plain", lambda *a, **k: one)
    found = fold_partition(plan, log.batches())
    (failure,) = found.failures
    assert (failure.projection, failure.handler, failure.position) == ("sums", "counted", 5)
    assert (failure.aggregate_id, failure.event_type) == (twin.aggregate_id, twin.event_type)
    assert "the compiled fold stopped (overflow), and the plain one did not" in failure.reason
    # The projection beside it keeps its rows.
    assert found.projections["count"].rows.equals(one.rows)
    assert "sums" not in found.projections


def test_merge_fails_as_the_authors_merge_does() -> None:
    log = counted([LIMIT])
    plan = plan_of(log, Totals)
    table = fold_partition(plan, log.batches()).projections["totals"].rows
    with pytest.raises(OverflowError):
        merge_rows(plan, "totals", [table, table])


def test_merge_makes_texts_and_grows_for_them() -> None:
    log = counted([1] * 400, ["x" * 300] * 400)
    plan = plan_of(log, Totals)
    table = fold_partition(plan, log.batches()).projections["totals"].rows
    merged = merge_rows(plan, "totals", [table] * 40)
    assert merged["texts"].to_pylist() == ["-".join(["x" * 300] * 40)]
    assert merged["total"].to_pylist() == [16_000]
    assert merge_rows(plan, "totals", []).num_rows == 0


def test_uuids_in_another_spelling_are_the_same_and_no_uuid_goes_to_the_twin() -> None:
    from uuid import UUID

    import pyarrow as pa

    from runner.kernels.hash import encode_texts

    refs = [UUID(int=5), UUID(int=2**100), None]
    log = log_of(sent([Paid(amount=1, ref=r, aggregate_id=f"a-{n}") for n, r in enumerate(refs)]), (Orders,))
    plan = plan_of(log, Orders)
    plain = fold_partition(plan, log.batches()).projections["orders"].rows
    (batch,) = log.partitions[0]
    column = next(c for c in batch.payload if c.paths == (("refs", "main"),))
    array = batch.payload[column]
    spelled = array.dictionary.texts.to_pylist()
    other = pa.array([f"{{{t.upper()}}}" for t in spelled])
    _, dictionary = encode_texts(other)
    places = {t: i for i, t in enumerate(dictionary.texts.to_pylist())}
    codes = np.array([places[other[int(c)].as_py()] for c in array.values], np.int32)
    again = type(array)(**(array.__dict__ | {"values": codes, "dictionary": dictionary}))
    changed = Batch(**(batch.__dict__ | {"payload": {**batch.payload, column: again}}))
    assert fold_partition(plan, lambda: [changed]).projections["orders"].rows.equals(plain)


def test_a_type_that_the_plan_does_not_know_is_refused() -> None:
    plan = plan_of(log_of((), (Count,)), Count)
    with pytest.raises(LogError, match="plan"):
        fold_partition(plan, counted([1]).batches())


def test_statuses_stand_for_the_same_everywhere() -> None:
    # The loops are generated with these numbers in them.
    assert (status.OK, status.DELETED, status.GROW) == (0, 1, 2)
