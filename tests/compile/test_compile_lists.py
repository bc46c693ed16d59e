"""Lists of events, last and buckets fields, elements, keys and merges."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import Event, Projection, Record, Scale, buckets, key, last, on
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable

INT64 = st.integers(-(2**63), 2**63 - 1)


class Grade(enum.Enum):
    A = "a"
    B = "b"


class Line(Record):
    sku: str
    quantity: int
    price: Annotated[Decimal, Scale(2)]
    grade: Grade = Grade.A
    note: str | None = None


class Ordered(Event):
    lines: list[Line]
    tags: list[str]
    amounts: list[int]
    n: int
    x: float
    flag: bool = False


LINES = st.lists(
    st.builds(
        Line,
        sku=st.sampled_from(["a", "b", "ü"]),
        quantity=st.integers(-3, 9) | INT64,
        price=st.integers(-500, 500).map(lambda n: Decimal(n).scaleb(-2)),
        grade=st.sampled_from(Grade),
        note=st.none() | st.text(max_size=2),
    ),
    max_size=4,
)
ORDERS = st.builds(
    Ordered,
    lines=LINES,
    tags=st.lists(st.sampled_from(["x", "", "late"]), max_size=3),
    amounts=st.lists(st.integers(-3, 9) | INT64, max_size=4),
    n=st.integers(-5, 5) | INT64,
    x=st.floats(),
    flag=st.booleans(),
)


def value_of(line: Line) -> Decimal:
    if line.quantity > 5:
        return Decimal("0.01")
    return line.price * line.quantity


class Orders(Projection):
    n: int = 0
    m: int = 0
    text: str = ""
    total: Annotated[Decimal, Scale(2)] = Decimal(0)
    flag: bool = False
    grade: Grade | None = None
    seen: list[str] = last(3)
    notes: list[str | None] = last(2)
    ones: list[int] = last(1)
    marks: list[bool] = last(3)
    sizes: list[int] = buckets(-2, 0.5, 4)

    @on(Ordered)
    def records(self, e: Ordered) -> None:
        for line in e.lines:
            if line.grade is Grade.B:
                continue
            self.total += line.price
            self.n += line.quantity
            self.text = line.sku
            self.grade = line.grade
            self.flag = line.note is None or line.note == self.text

    @on(Ordered)
    def scalars(self, e: Ordered) -> None:
        for amount in e.amounts:
            self.n += amount
        for i, tag in enumerate(e.tags):
            if tag == "late":
                self.m = i
                break
        self.flag = "late" in e.tags and e.n not in e.amounts

    @on(Ordered)
    def lengths_and_items(self, e: Ordered) -> None:
        self.n = len(e.lines) * 100 + len(e.tags)
        self.flag = not e.lines
        if e.tags:
            self.text = e.tags[0] + e.tags[-1]
        self.m = e.amounts[e.n]

    @on(Ordered)
    def sums(self, e: Ordered) -> None:
        self.n = sum(e.amounts)

    @on(Ordered)
    def element_kept(self, e: Ordered) -> None:
        if e.lines:
            best = e.lines[0]
            for line in e.lines:
                if line.price > best.price:
                    best = line
            self.total = best.price
            self.total = self.total + value_of(best)

    @on(Ordered)
    def states(self, e: Ordered) -> None:
        for tag in e.tags:
            self.seen.append(tag + "!")
        for line in e.lines:
            self.notes.append(line.note)
        self.ones.append(e.n)
        self.marks.append(e.flag)
        self.marks.append(not e.flag)
        self.flag = "late!" in self.seen and self.marks[0]
        for i, s in enumerate(self.seen):
            self.text = self.text + s
            self.n += i
        for note in self.notes:
            if note is None:
                self.n += 100
        self.m = len(self.seen) + len(self.notes) + self.ones[0]
        if self.seen:
            self.text = self.seen[-1]

    @on(Ordered)
    def counted(self, e: Ordered) -> None:
        self.sizes.add(e.n)
        for amount in e.amounts:
            self.sizes.add(amount)
        self.n = sum(self.sizes) * 10 + self.sizes[1] + self.sizes[-1] + len(self.sizes)
        for c in self.sizes:
            self.m += c

    @on(Ordered)
    def counted_floats(self, e: Ordered) -> None:
        self.sizes.add(e.x)


@settings(max_examples=120, deadline=None)
@given(event=ORDERS)
def test_lists_equal_python_or_stop(both: Callable[..., Any], event: Ordered) -> None:
    # Only a product of Decimals may need more than 64 bits on the way.
    assert all(c != status.REFUSED or name == "element_kept" for name, c in both(Orders).apart(event).items())


@settings(max_examples=40, deadline=None)
@given(events=st.lists(ORDERS, min_size=2, max_size=6))
def test_state_lists_over_several_events(both: Callable[..., Any], events: list[Ordered]) -> None:
    both(Recent).fold(*events)


class Recent(Projection):
    seen: list[str] = last(3)
    sizes: list[int] = buckets(0, 10)
    far: list[int] = buckets(-(2**53), -0.25, 2**53)

    @on(Ordered)
    def taken(self, e: Ordered) -> None:
        for tag in e.tags:
            self.seen.append(tag)
        self.sizes.add(e.n)
        self.far.add(e.n)
        self.far.add(float(e.n))


class ByLine(Projection, key=("aggregate_id", "sku", "grade")):
    n: int = 0
    text: str = ""
    whole: int = 0

    @on(Ordered, each="lines")
    def line(self, e: Ordered, line: Line) -> None:
        self.n += line.quantity
        self.text = f"{line.sku}{len(e.lines)}"
        self.whole = e.n


class ByTag(Projection):
    text: str = ""
    length: int = 0

    @on(Ordered, each="tags")
    def tagged(self, e: Ordered, tag: str) -> None:
        self.text += tag
        self.length += len(tag) + len(e.tags)


@settings(max_examples=60, deadline=None)
@given(event=ORDERS)
def test_each_element(both: Callable[..., Any], event: Ordered) -> None:
    both(ByLine).fold(event)
    both(ByTag).fold(event)


class Sent(Event):
    at: datetime
    flag: bool
    amount: Annotated[Decimal, Scale(2)]
    maybe: str | None = None
    who: UUID = UUID(int=1)


def month_of(at: datetime) -> date:
    return at.date().replace(day=1)


class Daily(Projection, key=("type", "month", "flag", "maybe", "late", "amount")):
    count: int = 0
    sizes: list[int] = buckets(1, 2)
    first: str | None = None

    @key
    def month(e: Sent) -> date:  # noqa: N805  # a key function has no self
        return month_of(e.at)

    @key
    def late(e: Sent) -> int | None:  # noqa: N805  # a key function has no self
        if e.at.hour < 3:
            return None
        limit = 12
        return e.at.hour // limit

    @on(Sent)
    def sent(self, e: Sent) -> None:
        self.count += 1
        self.sizes.add(self.count)
        self.first = e.maybe

    def merge(self, other: Daily) -> None:
        self.count += other.count
        self.sizes.merge(other.sizes)
        if self.first is None:
            self.first = other.first


@pytest.mark.parametrize(("hour", "maybe"), [(1, None), (5, "x"), (23, "")])
def test_key_words(both: Callable[..., Any], hour: int, maybe: str | None) -> None:
    daily = both(Daily)
    event = Sent(at=datetime(1969, 12, 31, hour, tzinfo=UTC), flag=True, amount=Decimal("1.20"), maybe=maybe)
    folded = daily.fold(event)
    function = daily.compiled.handlers[0].key
    code, *words = folded.call_key(function, event)
    text, valid = (folded.text_id(maybe), 1) if maybe is not None else (0, 0)
    late = [1, hour // 12] if hour >= 3 else [0, 0]
    assert code == status.OK
    assert words == [folded.text_id("Sent"), -31, 1, valid, text, *late, 120]


def test_key_of_the_element(both: Callable[..., Any]) -> None:
    by_line = both(ByLine)
    lines = [Line(sku="a", quantity=1, price=1), Line(sku="b", quantity=2, price=1, grade=Grade.B)]
    folded = by_line.fold()
    event = Ordered(lines=lines, tags=[], amounts=[], n=0, x=0.0)
    found = [folded.call_key(by_line.compiled.handlers[0].key, event, k) for k in (0, 1)]
    assert found == [(0, folded.text_id("a"), 0), (0, folded.text_id("b"), 1)]


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(0, 2**61), min_size=2, max_size=2), texts=st.lists(st.none() | st.text(max_size=2)))
def test_merge(both: Callable[..., Any], counts: list[int], texts: list[str | None]) -> None:
    daily = both(Daily)
    one, other = daily.fold(), daily.fold()
    for folded, count, text in zip((one, other), counts, [*texts, None, None], strict=False):
        folded.set(count=count, sizes=[count, 1, 2], first=text)
    code = daily.module[daily.compiled.merge.name](one.rows[0], other.moved(one).rows[0], one.texts.pool)
    daily.plain.merge(one.state, other.state)
    assert code == status.OK
    assert np.array_equal(one.row()["sizes"], list(one.state.sizes))
    assert (one.row()["count"], one.row()["first"]) == (one.state.count, one.state.first)


def test_merge_that_overflows_stops(both: Callable[..., Any]) -> None:
    daily = both(Daily)
    one, other = daily.fold(), daily.fold()
    one.set(count=2**63 - 1, sizes=[0, 0, 0], first=None)
    other.set(count=1, sizes=[0, 0, 0], first=None)
    assert daily.module[daily.compiled.merge.name](one.rows[0], other.rows[0], one.texts.pool) == status.OVERFLOW
