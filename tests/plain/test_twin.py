"""The twin alone: counts, failures with the author's line, values that no field allows, saved rows, merged rows,
steps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import nasty_projections as nasty
import numpy as np
import pytest

from runner import Event, Projection, definition_of, on
from runner.errors import FoldFailure
from runner.fold.plain import LogNames, fold_plain, plain_steps
from runner.fold.plain_state import merge_plain
from runner.fold.rows import key_schema, row_schema
from runner.testing.batches import MemoryLog, memory_log, payload_array
from runner.testing.folds import row_values


def fold(projection, events, **options):
    definition = definition_of(projection)
    log = memory_log(events, [definition])
    return fold_plain(definition, log.batches(), log.names, **options)


def rows(projection, events):
    outcome = fold(projection, events)
    assert not isinstance(outcome, FoldFailure), outcome
    return row_values(definition_of(projection), outcome.rows)


def test_events_without_a_handler_are_passed_over_and_counted() -> None:
    outcome = fold(nasty.Stock, [nasty.Moved(amount=1), nasty.Ordered(lines=[]), nasty.Removed()])
    assert (outcome.folded, outcome.passed_over, outcome.by_twin) == (2, 1, True)


def test_positions_that_interleave_between_batches_are_folded_in_order() -> None:
    definition = definition_of(nasty.Stock)
    moves = [nasty.Moved(amount=n, place=str(n), aggregate_id="a", position=n) for n in range(1, 7)]
    names = LogNames(("stock.moved",))
    odd, even = memory_log(moves[0::2], [definition]), memory_log(moves[1::2], [definition])
    both = (*odd.partitions[0], *even.partitions[0])
    outcome = fold_plain(definition, lambda: iter(both), names)
    assert not isinstance(outcome, FoldFailure)
    assert outcome.rows.column("place").to_pylist() == ["6"]
    assert [s.position for s in plain_steps(definition, lambda: iter(both), names)] == [1, 2, 3, 4, 5, 6]


def test_a_failure_names_the_lowest_position_and_the_authors_line() -> None:
    events = [
        nasty.Moved(amount=2, aggregate_id="a"),
        nasty.Moved(amount=-1, kind="out", aggregate_id="b"),
        nasty.Moved(amount=1, place="forbidden", aggregate_id="a"),
    ]
    found = fold(nasty.Strict, events, partition=5)
    assert isinstance(found, FoldFailure)
    assert (found.projection, found.handler, found.position, found.aggregate_id) == ("strict", "moved", 2, "b")
    assert (found.event_type, found.partition) == ("stock.moved", 5)
    line = definition_of(nasty.Strict).handlers[0].source.line + 3
    assert found.reason == f"ValueError: negative ({nasty.__file__}:{line})"


def test_intermediate_results_must_fit_int64() -> None:
    moves = [nasty.Moved(amount=1)] * 40
    found = fold(nasty.Strict, [*moves, nasty.Moved(amount=2**40)])
    assert isinstance(found, FoldFailure)
    assert found.position == 40  # 3 ** 40 does not fit, though a third of it would be stored
    assert "12157665459056928801 does not fit int64" in found.reason


def test_null_and_absent_are_told_apart() -> None:
    definition = definition_of(nasty.Stock)
    log = memory_log([nasty.Moved(amount=1, place="x"), nasty.Moved(amount=2, place="y")], [definition])
    place = next(c for c in log.partitions[0][0].payload if c.paths == (("place",),))
    absent = _with(log, place, replace(payload_array(["x", None], place.type), absent=np.array([0, 1], np.uint8)))
    outcome = fold_plain(definition, absent.batches(), log.names)
    assert not isinstance(outcome, FoldFailure)
    assert outcome.rows.column("place").to_pylist() == ["home"]
    null = _with(log, place, payload_array(["x", None], place.type))
    failed = fold_plain(definition, null.batches(), log.names)
    assert isinstance(failed, FoldFailure)
    assert (failed.position, failed.reason) == (2, "place is null")


def _with(log: MemoryLog, column, array) -> MemoryLog:
    batch = log.partitions[0][0]
    return replace(log, partitions=((replace(batch, payload={**batch.payload, column: array}),),))


def test_a_value_that_the_type_does_not_have_fails_only_where_it_is_read() -> None:
    class Careful(Projection):
        n: int = 0
        colour: nasty.Colour = nasty.Colour.RED

        @on(nasty.Moved)
        def moved(self, e: nasty.Moved) -> None:
            self.n += e.amount
            if e.amount > 1:
                self.colour = e.colour

    definition = definition_of(Careful)
    log = memory_log([nasty.Moved(amount=1), nasty.Moved(amount=1)], [definition])
    colour = next(c for c in log.partitions[0][0].payload if c.paths == (("colour",),))
    unknown = _with(log, colour, payload_array(["green", "blue"], replace(colour.type, members=("green", "blue"))))
    outcome = fold_plain(definition, unknown.batches(), log.names)
    assert not isinstance(outcome, FoldFailure)
    assert outcome.rows.column("n").to_pylist() == [2]

    log = memory_log([nasty.Moved(amount=1), nasty.Moved(amount=2)], [definition])
    unknown = _with(log, colour, payload_array(["red", "green"], replace(colour.type, members=("green", "red"))))
    failed = fold_plain(definition, unknown.batches(), log.names)
    assert isinstance(failed, FoldFailure)
    assert failed.position == 2
    assert "colour: 'green' is no one of 'red', 'blue'" in failed.reason


def test_an_update_gives_changed_and_deleted_rows_only() -> None:
    definition = definition_of(nasty.Lines)
    line = nasty.Line
    first = memory_log(
        [
            nasty.Ordered(aggregate_id="a", lines=[line(sku="x", quantity=1), line(sku="y", quantity=1)]),
            nasty.Ordered(aggregate_id="b", lines=[line(sku="x", quantity=1)]),
            nasty.Ordered(aggregate_id="c", lines=[line(sku="x", quantity=1)]),
        ],
        [definition],
    )
    before = fold_plain(definition, first.batches(), first.names)
    assert not isinstance(before, FoldFailure)
    asked: list[int] = []

    def saved(projection, hi, lo):
        asked.append(len(hi))
        assert projection == "lines"
        assert (np.diff(hi.astype(object)) >= 0).all()
        import pyarrow.compute as pc

        return before.rows.filter(pc.is_in(before.rows.column("_hash_hi"), value_set=_array(hi)))

    second = memory_log(
        [
            nasty.Ordered(aggregate_id="a", position=4, lines=[line(sku="x", quantity=3), line(sku="z", quantity=2)]),
            nasty.Ordered(aggregate_id="b", position=5, lines=[line(sku="x", quantity=0, price=0)]),
        ],
        [definition],
    )
    after = fold_plain(definition, second.batches(), second.names, saved=saved)
    assert not isinstance(after, FoldFailure)
    assert asked == [2]
    assert [(r["aggregate_id"], r["sku"]) for r in after.rows.to_pylist()] == [("a", "z")]  # b's row is as it was
    assert after.deleted is not None
    assert [(r["aggregate_id"], r["sku"]) for r in after.deleted.to_pylist()] == [("a", "x")]
    assert after.deleted.schema == key_schema(definition)


def _array(hi):
    import pyarrow as pa

    return pa.array(hi)


def test_a_row_that_is_deleted_and_made_again_is_not_deleted() -> None:
    line = nasty.Line
    found = rows(
        nasty.Lines,
        [nasty.Ordered(lines=[line(sku="x", quantity=2), line(sku="x", quantity=3), line(sku="x", quantity=1)])],
    )
    assert [r["quantity"] for r in found.values()] == [1]


def test_scopes_are_identities_of_their_own() -> None:
    events = [nasty.Moved(amount=n, source=s, tenant="t") for n, s in ((1, "one"), (2, "two"), (4, "one"))]
    definition = definition_of(nasty.Stock)
    log = memory_log(events, [definition])
    outcome = fold_plain(definition, log.batches(), log.names)
    assert not isinstance(outcome, FoldFailure)
    assert outcome.rows.schema == row_schema(definition, ("source", "tenant"))
    found = {(r["source"], r["aggregate_id"]): r["amount"] for r in outcome.rows.to_pylist()}
    assert found == {("one", "a-1"): 5, ("two", "a-1"): 2}


def test_only_wanted_aggregates_are_folded() -> None:
    events = [nasty.Moved(amount=1, aggregate_id=a) for a in ("a", "b", "a", "c")]
    outcome = fold(nasty.Stock, events, wanted=lambda d: np.array([t == "a" for t in d.texts.to_pylist()], np.bool_))
    assert outcome.rows.column("aggregate_id").to_pylist() == ["a"]
    assert (outcome.folded, outcome.passed_over) == (2, 0)


def test_partial_rows_are_merged() -> None:
    definition = definition_of(nasty.Customers)
    line = nasty.Line(sku="x", quantity=1)
    tables = []
    for customer, lines in (("A", [line]), (None, []), ("A", [line, line])):
        log = memory_log([nasty.Ordered(customer=customer, lines=lines)], [definition])
        outcome = fold_plain(definition, log.batches(), log.names)
        assert not isinstance(outcome, FoldFailure)
        tables.append(outcome.rows)
    merged = row_values(definition, merge_plain(definition, tables))
    assert merged == {
        ("A", date(2026, 1, 1)): {
            "customer": "A", "day": date(2026, 1, 1),
            "orders": 2, "value": Decimal("4.50"), "lines": 3, "sizes": [0, 1, 1, 0],
        },
        (None, date(2026, 1, 1)): {
            "customer": None, "day": date(2026, 1, 1),
            "orders": 1, "value": Decimal("0.00"), "lines": 0, "sizes": [1, 0, 0, 0],
        },
    }  # fmt: skip
    assert merge_plain(definition, []).schema == row_schema(definition)


def test_steps_show_what_each_event_changed() -> None:
    definition = definition_of(nasty.Stock)
    events = [nasty.Moved(amount=1, place="x"), nasty.Moved(amount=0, place="x"), nasty.Removed()]
    log = memory_log(events, [definition])
    steps = list(plain_steps(definition, log.batches(), log.names))
    assert [(s.position, s.handler, s.event_type) for s in steps] == [
        (1, "moved", "stock.moved"),
        (2, "moved", "stock.moved"),
        (3, "gone", "Removed"),
    ]
    assert steps[0].before is None
    assert steps[0].changed == ("amount", "high", "place", "colour", "moves_in")
    assert steps[1].before == steps[0].after
    assert steps[1].changed == ("moves_in",)
    assert steps[2].after is None
    assert steps[2].key == {"aggregate_id": "a-1"}


def test_steps_end_at_the_failure() -> None:
    definition = definition_of(nasty.Strict)
    log = memory_log([nasty.Moved(amount=1, place=p) for p in ("a", "forbidden", "c")], [definition])
    steps = list(plain_steps(definition, log.batches(), log.names))
    assert [s.failure.partition(" (")[0] for s in steps] == ["", "AssertionError: no such place"]


def test_an_event_class_may_leave_recorded_at_unread_where_the_source_gives_none() -> None:
    class Timed(Projection):
        at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

        @on(Event)
        def seen(self, e: Event) -> None:
            self.at = e.recorded_at

    definition = definition_of(Timed)
    log = memory_log([nasty.Removed()], [definition])
    batch = replace(log.partitions[0][0], recorded_at=np.array([-(2**63)]))
    failed = fold_plain(definition, lambda: iter([batch]), log.names)
    assert isinstance(failed, FoldFailure)
    assert "the source gives no recorded_at" in failed.reason


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("9223372036854775807 + e.amount", "OverflowError"),
        ("-e.amount - 9223372036854775807 - 1", "OverflowError"),
        ("-(-9223372036854775807 - e.amount)", "OverflowError"),
        ("(-9223372036854775807 - e.amount) // -1", "OverflowError"),
        ("e.amount << 70", "OverflowError"),
        ("e.amount << -1", "ValueError"),
        ("2 ** 10 ** 9", "OverflowError"),
        ("pow(3, 41)", "OverflowError"),
        ("int(1e30)", "OverflowError"),
        ("int(float('nan'))", "ValueError"),
        ("e.amount // 0", "ZeroDivisionError"),
        ("sum((9223372036854775807, 1, -5))", "OverflowError"),
        ("abs(-9223372036854775807 - e.amount)", "OverflowError"),
        ("99999999999999999999 * 0", "OverflowError"),
        ("helper(e.amount)", "OverflowError"),
        ("-9223372036854775808 + e.amount - e.amount", ""),
        ("1 << 62", ""),
        ("e.amount ** 2 // 1", ""),
    ],
)
def test_arithmetic_is_checked_in_handlers_and_helpers(expression, reason, author) -> None:
    module = author(f"""
        def helper(x):
            y = 9223372036854775807
            y += x
            return y - x

        class X(Projection, compiled=False):
            n: int = 0

            @on(Paid)
            def paid(self, e):
                self.n = {expression}
        """)
    found = fold(module.X, [module.Paid(amount=1)])
    if reason:
        assert isinstance(found, FoldFailure)
        assert found.reason.startswith(reason)
        assert module.__file__ in found.reason
    else:
        assert not isinstance(found, FoldFailure)


def test_checking_changes_nothing_else(author) -> None:
    module = author("""
        LIMIT = 3

        def outer(x, factor=2, *, plus=LIMIT):
            def inner(y):
                return y * factor
            return inner(x) + plus

        class X(Projection, compiled=False):
            n: int = 0
            text: str = ""

            @staticmethod
            def double(x):
                return x * 2

            def own(self, x, by=1):
                self.n += x * by

            @on(Paid)
            def paid(self, e):
                parts = ["a"]
                same = parts
                parts += ["b"]
                counts = {"k": 1}
                counts["k"] += e.amount
                counts["k"] **= 2
                self.text = "-".join(same) + "%d" % counts["k"] + "x" * 2
                self.own(outer(e.amount, plus=1), by=self.double(2))
                self.own(outer(e.amount))
        """)
    by_hand = module.X()
    by_hand.paid(module.Paid(amount=5))
    found = fold(module.X, [module.Paid(amount=5)]).rows.to_pylist()[0]
    assert (by_hand.n, by_hand.text) == (57, "a-b36xx")
    assert (found["n"], found["text"]) == (by_hand.n, by_hand.text)


def test_a_comprehension_variable_hides_a_helper_inside_of_the_comprehension_only(author) -> None:
    module = author("""
        def one(x):
            return x + 1

        class X(Projection, compiled=False):
            n: int = 0

            @on(Paid)
            def paid(self, e):
                self.n = sum([one for one in (1, 2)]) + one(9223372036854775806 + e.amount)
        """)
    found = fold(module.X, [module.Paid(amount=1)])
    assert isinstance(found, FoldFailure)
    assert "does not fit int64" in found.reason
    assert fold(module.X, [module.Paid(amount=-(2**62))]).rows.to_pylist()[0]["n"] == 2**62 + 2
