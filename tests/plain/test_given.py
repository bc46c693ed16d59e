"""The helpers for authors: what they accept, and what they say when something differs."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import nasty_projections as nasty
import pytest

from runner import Projection, on
from runner.testing import check_merge, given
from runner.testing.batches import sent
from runner.testing.strategies import histories

LINE = nasty.Line


def test_a_state_is_expected() -> None:
    (
        given(nasty.Moved(amount=5), nasty.Moved(amount=2, kind="out"))
        .expect(nasty.Stock(amount=3, high=5, place="home", colour="blue", moves_in=1))
        .expect_none(nasty.Devices)
    )


def test_one_of_several_rows_is_expected_by_its_key() -> None:
    history = given(nasty.Ordered(lines=[LINE(sku="x", quantity=1), LINE(sku="y", quantity=2)]))
    history.expect(nasty.Lines(quantity=2, value=Decimal("1.50")), sku="y")
    with pytest.raises(AssertionError, match="expected one row of lines"):
        history.expect(nasty.Lines(quantity=2))


def test_rows_are_expected_with_defaults_filled_in() -> None:
    history = given(nasty.Removed(aggregate_id="a"), nasty.Removed(aggregate_id="b"), nasty.Removed(aggregate_id="b"))
    history.expect_rows(nasty.Stock, [{"aggregate_id": "a", "removed": 1}, {"aggregate_id": "b", "removed": 2}])
    with pytest.raises(AssertionError, match=r"\+.*'removed': 1"):
        history.expect_rows(nasty.Stock, [{"aggregate_id": "a"}, {"aggregate_id": "b", "removed": 2}])


def test_merged_rows_are_expected() -> None:
    given(nasty.Ordered(lines=[]), nasty.Ordered(lines=[], aggregate_id="z", customer="A")).expect_rows(
        nasty.Customers,
        [
            {"customer": None, "day": date(2026, 1, 1), "orders": 1, "sizes": [1, 0, 0, 0]},
            {"customer": "A", "day": date(2026, 1, 1), "orders": 1, "sizes": [1, 0, 0, 0]},
        ],
    )


def test_a_failure_is_expected() -> None:
    history = given(nasty.Moved(amount=1), nasty.Moved(amount=1, place="forbidden"))
    history.expect_failure(nasty.Strict, position=2, handler="moved", reason="no such place")
    with pytest.raises(AssertionError, match="failed at position 2: AssertionError: no such place"):
        history.expect(nasty.Strict())
    with pytest.raises(AssertionError, match="expected a failure at 1"):
        history.expect_failure(nasty.Strict, position=1)


def test_absent_fields() -> None:
    given(nasty.Moved(amount=1, place="x"), absent={0: ["place"]}).expect(
        nasty.Stock(amount=1, high=1, place="home", colour="blue", moves_in=1)
    )


def test_idempotence_in_one_word() -> None:
    class Placed(Projection):
        place: str = ""
        seen: int = 0

        @on(nasty.Moved)
        def moved(self, e: nasty.Moved) -> None:
            self.place = e.place
            if e.amount > self.seen:
                self.seen = e.amount

    given(nasty.Moved(amount=3)).number_of_times(3).expect(Placed(place="home", seen=3))
    with pytest.raises(AssertionError, match="moves_in"):
        given(nasty.Moved(amount=0)).number_of_times(2).expect(
            nasty.Stock(high=0, place="home", colour="blue", moves_in=1)
        )


def test_headers_are_filled_in() -> None:
    events = sent(
        [nasty.Removed(), nasty.Removed(aggregate_id="b"), nasty.Removed(position=7, version=9), nasty.Removed()]
    )
    assert [(e.aggregate_id, e.version, e.position) for e in events] == [
        ("a-1", 1, 1), ("b", 1, 2), ("a-1", 9, 7), ("a-1", 10, 8),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="position 1 comes after 2"):
        sent([nasty.Removed(position=2), nasty.Removed(position=1)])


def test_a_right_merge_holds() -> None:
    check_merge(nasty.Customers, histories(nasty.Ordered, max_size=8), examples=25)


def test_a_wrong_merge_is_found() -> None:
    class Most(Projection, key="place"):
        most: int = 0

        @on(nasty.Moved)
        def moved(self, e: nasty.Moved) -> None:
            self.most = max(self.most, e.amount)

        def merge(self, other: Most) -> None:
            self.most = other.most

    with pytest.raises(AssertionError, match=r"Most.merge: in one fold"):
        check_merge(Most)


RARE = 77777


@pytest.mark.parametrize("by", ["literal", "constant", "text"])
def test_a_merge_that_is_wrong_for_one_value_is_found(by) -> None:
    class Rare(Projection, key="kind"):
        seen: int = 0

        if by == "text":

            @on(nasty.Moved)
            def moved(self, e: nasty.Moved) -> None:
                self.seen += e.place == "an unlikely place"

        elif by == "constant":

            @on(nasty.Moved)
            def moved(self, e: nasty.Moved) -> None:
                self.seen += e.amount == RARE

        else:

            @on(nasty.Moved)
            def moved(self, e: nasty.Moved) -> None:
                self.seen += e.amount == 77777

        def merge(self, other: Rare) -> None:
            self.seen = max(self.seen, other.seen)

    with pytest.raises(AssertionError, match=r"Rare.merge: in one fold"):
        check_merge(Rare, examples=200)


def test_only_projections_with_merge_are_checked() -> None:
    with pytest.raises(ValueError, match="has no merge"):
        check_merge(nasty.Stock)
