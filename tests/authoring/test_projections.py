"""Projections called by hand, their definitions, keys, what they read, and their fingerprints."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

import pytest

from runner import Event, Projection, Record, Scale, buckets, definition_of, field, key, last, on
from runner.values import Kind


class Line(Record):
    sku: str
    quantity: int


class Deposited(Event):
    amount: int
    currency: str


class Closed(Event):
    reason: str = ""


class Ordered(Event, type="order.placed"):
    lines: list[Line]
    product_code: str = field("data.code", default="")
    unread: int = 0


class Accounts(Projection, indexes=("currency",)):
    balance: int = 0
    currency: str = ""
    rate: float = 0.0
    total: Annotated[Decimal, Scale(2, "ROUND_HALF_EVEN")] = Decimal(0)
    perhaps: int | None = None
    seen: list[str] = last(2)
    sizes: list[int] = buckets(0, 10)

    @on(Deposited)
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount
        self.currency = e.currency
        self.seen.append(e.currency)
        self.sizes.add(e.amount)

    @on(Closed)
    def closed(self, e: Closed) -> None:
        self.delete()
        self.balance = 99


class OrderLines(Projection, key=("aggregate_id", "sku")):
    quantity: int = 0

    @on(Ordered, each="lines")
    def placed(self, e: Ordered, line: Line) -> None:
        self.quantity += amount_of(line)

    @on(Ordered, key={"sku": "product_code"})
    def named(self, e: Ordered) -> None:
        self.quantity += 1


def amount_of(line: Line) -> int:
    return line.quantity


class Daily(Projection, key=("type", "day"), name="per_day"):
    count: int = 0

    @key
    def day(e) -> date:  # noqa: N805 - a key function takes the event
        return e.recorded_at.date()

    @on(Event)
    def counted(self, e: Event) -> None:
        self.count += 1

    def merge(self, other: Daily) -> None:
        self.count += other.count


def test_handlers_are_called_by_hand() -> None:
    a = Accounts()
    a.deposited(Deposited(amount=5, currency="EUR"))
    a.deposited(Deposited(amount=50, currency="USD"))
    a.deposited(Deposited(amount=0, currency="CHF"))
    assert (a.balance, a.currency) == (55, "CHF")
    assert list(a.seen) == ["USD", "CHF"]
    assert a.seen[-1] == "CHF"
    assert a.sizes == [1, 1, 1]
    assert "balance=55" in repr(a)


def test_delete_takes_effect_when_the_handler_returns() -> None:
    a = Accounts()
    a.deposited(Deposited(amount=5, currency="EUR"))
    a.closed(Closed())
    assert a == Accounts()
    a.deposited(Deposited(amount=1, currency="EUR"))
    assert a.balance == 1


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("balance", 2**63, OverflowError),
        ("balance", True, TypeError),
        ("balance", None, TypeError),
        ("rate", "1", TypeError),
        ("total", 0.5, TypeError),
        ("seen", ["a"], TypeError),
        ("nothing", 1, AttributeError),
    ],
)
def test_assignments_are_checked(name, value, error) -> None:
    with pytest.raises(error, match=name):
        setattr(Accounts(), name, value)


def test_assignments_are_normalised() -> None:
    a = Accounts(rate=2, total=Decimal("0.125"), perhaps=None)
    assert (a.rate, type(a.rate)) == (2.0, float)
    assert str(a.total) == "0.12"


def test_key_functions_are_called_by_hand() -> None:
    assert Daily.day(Event(recorded_at=datetime(2026, 3, 1, tzinfo=UTC))) == date(2026, 3, 1)


def test_keys() -> None:
    definition = definition_of(OrderLines)
    assert [(p.name, p.type.kind) for p in definition.key] == [("aggregate_id", Kind.STR), ("sku", Kind.STR)]
    placed, named = definition.handlers
    assert [(k.scope, k.name) for k in placed.key] == [("aggregate_id", "aggregate_id"), ("element", "sku")]
    assert [(k.scope, k.name) for k in named.key] == [("aggregate_id", "aggregate_id"), ("event", "product_code")]
    assert not definition.merged
    assert not definition.by_aggregate
    daily = definition_of(Daily)
    assert daily.merged
    assert [(k.scope, k.name) for k in daily.handlers[0].key] == [("header", "type"), ("function", "day")]
    assert daily.key[1].type.kind is Kind.DATE


def test_definitions_say_what_they_are() -> None:
    definition = definition_of(Accounts)
    assert (definition.name, definition.version, definition.compiled) == ("accounts", 1, True)
    assert definition.indexes == (("currency",),)
    assert definition.by_aggregate
    assert definition.file == __file__
    handler = definition.handlers[0]
    assert (handler.name, handler.file) == ("deposited", __file__)
    assert handler.source.node.name == "deposited"
    assert definition_of(Daily).name == "per_day"


def test_only_fields_that_are_read_are_columns() -> None:
    columns = definition_of(OrderLines).payload_columns(["order.placed", "other"])
    assert [(c.event_type, c.paths) for c in columns] == [
        ("order.placed", (("lines",),)),
        ("order.placed", (("data", "code"),)),
    ]
    assert definition_of(Daily).payload_columns(["order.placed"]) == ()
    assert definition_of(Daily).header_columns == {"type", "recorded_at"}


def test_definitions_pickle_as_their_class() -> None:
    definition = definition_of(OrderLines)
    assert pickle.loads(pickle.dumps(definition)) is definition


def test_handlers_of_a_base_class_are_inherited() -> None:
    class Richer(Accounts, name="richer"):
        extra: int = 0

        @on(Ordered)
        def ordered(self, e: Ordered) -> None:
            self.extra += e.unread

    definition = definition_of(Richer)
    assert [h.name for h in definition.handlers] == ["deposited", "closed", "ordered"]
    assert [f.name for f in definition.fields][-1] == "extra"


def test_importing_the_package_loads_none_of_the_heavy_ones() -> None:
    code = (
        "import sys, runner\n"
        "runner.Event, runner.Projection, runner.definition_of\n"
        "heavy = ('ray', 'numba', 'duckdb', 'psycopg', 'pyarrow', 'numpy', 'hypothesis')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Fingerprints ---------------------------------------------------------------------------------------------------------

BASE = """
RATE = 2

def helper(e):
    return e.amount * RATE

class X(Projection):
    n: int = 0

    @on(Paid)
    def a(self, e):
        self.n += helper(e)
"""

SAME = {
    "comments": ("        self.n", "        # why\n        self.n"),
    "a docstring": ("        self.n", '        """Adds."""\n        self.n'),
    "annotations": ("def a(self, e)", "def a(self, e: Paid) -> None"),
    "spacing": ("e.amount * RATE", "(e.amount   *   RATE)"),
    "another class before": ("class X", "class Other(Event):\n    a: int\n\nclass X"),
    "indexes": ("class X(Projection)", "class X(Projection, indexes=('n',))"),
    "the handler's name": ("def a(self", "def added(self"),
    "a constant that is not used": ("RATE = 2", "RATE = 2\nOTHER = 3"),
}
OTHER = {
    "a constant": ("RATE = 2", "RATE = 3"),
    "a constant's type": ("RATE = 2", "RATE = 2.0"),
    "the helper": ("e.amount * RATE", "e.amount * RATE + 1"),
    "the handler": ("+= helper", "-= helper"),
    "a default": ("n: int = 0", "n: int = 1"),
    "a field": ("n: int = 0", "n: int = 0\n    m: int = 0"),
    "the key": ("class X(Projection)", "class X(Projection, key=('aggregate_id', 'currency'))"),
    "the version": ("class X(Projection)", "class X(Projection, version=2)"),
    "compiled": ("class X(Projection)", "class X(Projection, compiled=False)"),
    "the event's type": ("class X", "class Paid(Event, type='paid'):\n    amount: int\n\nclass X"),
    "the event's path": ("class X", "class Paid(Event):\n    amount: int = field('b')\n\nclass X"),
    "the event's default": ("class X", "class Paid(Event):\n    amount: int = 1\n\nclass X"),
}


def test_a_comprehension_variable_hides_a_constant_inside_of_the_comprehension_only(author) -> None:
    text = BASE.replace("+= helper(e)", "+= sum([RATE for RATE in (1, 2)]) + RATE")
    assert _print(author(text)) != _print(author(text.replace("RATE = 2", "RATE = 3")))


def _changed(old: str, new: str) -> str:
    changed = BASE.replace(old, new)
    assert changed != BASE
    return changed


@pytest.mark.parametrize("case", SAME)
def test_what_does_not_decide_the_output_is_not_in_the_fingerprint(case, author) -> None:
    assert _print(author(_changed(*SAME[case]))) == _print(author(BASE))


@pytest.mark.parametrize("case", OTHER)
def test_what_decides_the_output_is_in_the_fingerprint(case, author) -> None:
    assert _print(author(_changed(*OTHER[case]))) != _print(author(BASE))


def _print(module) -> str:
    found: str = definition_of(module.X).fingerprint
    assert len(found) == 64
    return found


def test_fingerprints_are_equal_in_every_process() -> None:
    code = (
        "from projections.ledger import Accounts\n"
        "from runner import definition_of\n"
        "print(definition_of(Accounts).fingerprint)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    assert len({r.stdout for r in runs}) == 1
