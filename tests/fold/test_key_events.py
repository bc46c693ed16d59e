"""Which events touch a row of a merged key: folding those alone gives the row's steps in the fold of all."""

from __future__ import annotations

from datetime import date  # noqa: TC003  # annotations of key functions are looked up
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from fold_cases import histories, log_of
from fold_models import Cancelled, Line, Paid, Placed
from hypothesis import given, settings

from runner import Event, Projection, key, on
from runner.authoring.definition import definition_of
from runner.fold.key_events import KeyEvents
from runner.fold.plain import plain_steps
from runner.testing.batches import SentEvent, sent


class ByFields(Projection, key=("grade", "step", "day", "ref")):
    """Enums, a date, an Optional; some absent with a default."""

    amount: int = 0

    @on(Paid)
    def paid(self, e: Paid) -> None:
        self.amount += e.count

    def merge(self, other: ByFields) -> None:
        self.amount += other.amount


class ByMoney(Projection, key=("amount", "currency")):
    """An exact amount and a text."""

    payments: int = 0

    @on(Paid)
    def paid(self, e: Paid) -> None:
        self.payments += 1

    def merge(self, other: ByMoney) -> None:
        self.payments += other.payments


class ByLine(Projection, key=("sku", "type", "large")):
    """Elements, a header field, and a function of both."""

    lines: int = 0

    @key
    def large(e: Placed, line: Line) -> bool:  # noqa: N805  # a key function takes the event
        return line.quantity > 10 or e.customer == "ann"

    @on(Placed, each="lines")
    def placed(self, e: Placed, line: Line) -> None:
        self.lines += 1

    def merge(self, other: ByLine) -> None:
        self.lines += other.lines


class ByHeader(Projection, key=("aggregate_id", "month")):
    """Header fields, by two handlers of one event."""

    events: int = 0
    hard: int = 0

    @key
    def month(e: Event) -> date:  # noqa: N805  # a key function takes the event
        return e.recorded_at.date()

    @on(Event)
    def any(self, e: Event) -> None:
        self.events += 1

    @on(Cancelled)
    def cancelled(self, e: Cancelled) -> None:
        if e.hard:
            self.hard += 1

    def merge(self, other: ByHeader) -> None:
        self.events += other.events
        self.hard += other.hard


CLASSES = (ByFields, ByMoney, ByLine, ByHeader)


def is_value(wanted: object, value: object) -> bool:
    return value == wanted


@pytest.mark.parametrize("cls", CLASSES)
@settings(max_examples=25, deadline=None)
@given(events=histories())
def test_the_steps_of_each_key_are_those_of_the_whole_fold(cls: type, events: tuple[SentEvent, ...]) -> None:
    definition = definition_of(cls)
    log = log_of(events, CLASSES, cuts={9, 20})
    every = list(plain_steps(definition, log.batches(), log.names))
    keys = {tuple(step.key.values()) for step in every}
    for wanted in keys:
        of_key = KeyEvents(definition, log.names, [partial(is_value, value) for value in wanted])
        alone = list(plain_steps(definition, log.batches(), log.names, kept=of_key))
        assert [told(s) for s in alone if tuple(s.key.values()) == wanted] == [
            told(s) for s in every if tuple(s.key.values()) == wanted
        ]


def told(step: Any) -> tuple[Any, ...]:
    shown = ("position", "event_type", "handler", "element", "key", "before", "after", "changed", "failure")
    return tuple(getattr(step, name) for name in shown)


def test_events_of_other_keys_are_left_out() -> None:
    paid = [Paid(amount=Decimal(n % 7), currency="EUR" if n % 2 else "USD") for n in range(1000)]
    log = log_of(sent(paid), CLASSES)
    matches = [partial(is_value, Decimal("3.00")), partial(is_value, "EUR")]
    of_key = KeyEvents(definition_of(ByMoney), log.names, matches)
    assert sum(int(of_key(batch).sum()) for batch in log.batches()()) == sum(n % 7 == 3 and n % 2 for n in range(1000))


def test_an_event_whose_key_cannot_be_read_is_kept_and_told() -> None:
    paid = [Paid(amount=Decimal(n), currency="EUR") for n in range(5)]
    log = log_of(sent(paid, absent={2: ["amount"]}), CLASSES)
    matches = [partial(is_value, Decimal("1.00")), partial(is_value, "EUR")]
    of_key = KeyEvents(definition_of(ByMoney), log.names, matches)
    steps = list(plain_steps(definition_of(ByMoney), log.batches(), log.names, kept=of_key))
    assert [(s.position, s.failure) for s in steps] == [(2, ""), (3, "amount is absent")]
