"""Locals, branches, loops, helpers, deletes: what runs, in which order, and which variable holds what afterwards."""

from __future__ import annotations

import math as maths
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import Event, Projection, Scale, on
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable


class Went(Event):
    n: int
    m: int
    x: float
    text: str
    maybe: int | None = None
    price: Annotated[Decimal, Scale(2)] = Decimal("0.00")


INTS = st.integers(-12, 12) | st.sampled_from([2**63 - 1, -(2**63), 2**62])
EVENTS = st.builds(
    Went,
    n=INTS, m=INTS, x=st.floats(allow_nan=False, width=16), text=st.sampled_from(["", "a", "EUR", "USD"]),
    maybe=st.none() | INTS, price=st.integers(-500, 500).map(lambda n: Decimal(n).scaleb(-2)),
)  # fmt: skip

LIMITS = (3, 5, 8)
FEES = frozenset({"EUR", "USD"})
CUT = date(2020, 1, 1)


def clamp(value: int, low: int = -5, high: int = 5) -> int:
    if value < low:
        return low
    if value > high:
        return high
    return value


def twice(value: int) -> int:
    """A helper of one line is written into its caller."""
    return value + value


def either(value: int | None, other: int) -> int:
    return other if value is None else value


def found(value: int) -> int | None:
    if value > 3:
        return value
    return None


def positive(value: int) -> None:
    assert value > -3, "must not be low"
    if value == 7:
        raise ValueError(f"never {value}")


def add_up(count: int) -> int:
    total = 0
    for i in range(count):
        if i > 40:
            break
        total += twice(i)
    return total


def raise_by(state: Flow, amount: int) -> int:
    state.n += amount
    return state.n


def of_event(e: Went, extra: int) -> int:
    if e.maybe is None:
        return e.n + extra
    return e.maybe


def text_for(e: Went) -> str:
    if e.n > 0:
        return e.text + "+"
    return "-"


def one_of(value: float, choices: tuple[float, ...]) -> int:
    if value in choices:
        return len(choices)
    return 0


class Flow(Projection):
    n: int = 1
    m: int = 0
    x: float = 0.0
    text: str = ""
    flag: bool = False
    maybe: int | None = None
    total: Annotated[Decimal, Scale(3)] = Decimal(0)

    def own(self, amount: int) -> int:
        self.m += amount
        return self.m * 2

    @staticmethod
    def fixed(amount: int) -> int:
        return amount - 1

    @on(Went)
    def branches(self, e: Went) -> None:
        if e.n > 3 and e.m > 3:
            a = 1
        elif e.n < -3 or not e.text:
            a = 2
            self.flag = True
        else:
            a = 3
            if e.text in FEES:
                a = 4
        self.n = a if e.m else -a

    @on(Went)
    def short_circuit(self, e: Went) -> None:
        self.flag = (e.n != 0 and 10 // e.n > 1) or (e.m != 0 and e.n // e.m == 1)
        self.n = 5 // e.n if e.n else 0
        if e.maybe is not None and e.maybe + 1 > e.n:
            self.m = e.maybe

    @on(Went)
    def chained(self, e: Went) -> None:
        self.flag = -3 < e.n <= e.m < 10 // (e.m or 3)
        self.m = (0 <= e.n < e.x) + 2 * (e.n == e.m != 3) + 4 * (1 < 2 < e.n)

    @on(Went)
    def loop_variable(self, e: Went) -> None:
        i = -1
        for i in range(e.n % 5):  # noqa: B007
            pass
        self.n = i
        for j in range(2, -8, -3):
            i = j
            if j < e.m:
                continue
            i = i * 2
        self.m = i

    @on(Went)
    def ranges(self, e: Went) -> None:
        k = 0
        for i in range(e.n, e.m):
            k += i
            if k > 50 or k < -50:
                break
        self.n = k

    @on(Went)
    def stepped(self, e: Went) -> None:
        k = 0
        for i in range(e.n, 10, e.m):
            k += 1
            self.m = i
            if k > 20:
                break
        self.n = k

    @on(Went)
    def nested(self, e: Went) -> None:
        for limit in range(len(LIMITS)):
            for i in range(4):
                if i * limit == e.n:
                    break
                if i == e.m:
                    return
                self.n += i
            self.m += 1

    @on(Went)
    def helpers(self, e: Went) -> None:
        self.n = clamp(e.n) + clamp(e.m, high=9) + clamp(low=-1, value=e.n)
        self.m = twice(twice(e.n)) + either(e.maybe, e.m) + Flow.fixed(e.m)

    @on(Went)
    def helpers_that_loop(self, e: Went) -> None:
        self.n = add_up(e.n) + self.fixed(3)

    @on(Went)
    def helpers_with_none(self, e: Went) -> None:
        self.maybe = found(e.n)
        other = found(e.m)
        if other is not None:
            self.m = other

    @on(Went)
    def helpers_that_fail(self, e: Went) -> None:
        positive(e.n)
        self.n = e.n

    @on(Went)
    def helpers_of_the_state(self, e: Went) -> None:
        self.m = self.n + raise_by(self, e.n) * 2 + self.n
        self.n = self.m + self.own(3) + self.own(4) + self.m

    @on(Went)
    def helpers_of_the_event(self, e: Went) -> None:
        self.n = of_event(e, 5)
        self.text = text_for(e)

    @on(Went)
    def helpers_of_tuples(self, e: Went) -> None:
        self.n = one_of(e.n, (1, 2)) + one_of(e.n, (1.0, 2.0)) * 10 + one_of(e.n, LIMITS) * 100
        self.m = one_of(e.n, (True, 2)) * 7

    @on(Went)
    def none_first(self, e: Went) -> None:
        best = None
        for i in range(3):
            if best is None or i * e.n > best:
                best = i * e.n
        self.maybe = best
        self.n = best

    @on(Went)
    def several(self, e: Went) -> None:
        a, b = e.n, e.m
        a, b = b, a
        c = d = a
        self.n, self.m = d, b
        self.n += c
        a += 1
        a -= b
        self.m = a

    @on(Went)
    def grown_scale(self, e: Went) -> None:
        t = Decimal(0)
        if e.n > 0:
            t = e.price
        elif e.n < -5:
            t = t - Decimal("0.125")
        self.total = t

    @on(Went)
    def deleted(self, e: Went) -> None:
        self.n = e.n
        if e.n > 2:
            self.delete()
            self.m = 10 // e.m

    @on(Went)
    def left_early(self, e: Went) -> None:
        if e.n > 3:
            return
        assert e.m != 4
        if e.m == 5:
            raise RuntimeError("five")
        self.n = maths.floor(e.x) if e.x < 100.0 else 100
        self.flag = date(2021, 1, 1) > CUT

    @on(Went)
    def one_of_operands(self, e: Went) -> None:
        self.n = e.maybe or e.n or 7
        self.text = e.text or "none"
        self.maybe = e.maybe and e.maybe + 1
        self.total = e.price or Decimal("0.125")
        self.m = 5 // (e.m or e.n)

    @on(Went)
    def truths(self, e: Went) -> None:
        if e.n and e.text and (e.x or e.price) and not (e.maybe or e.m):
            self.n = 2
        self.flag = not e.maybe


@settings(max_examples=150, deadline=None)
@given(event=EVENTS)
@example(event=Went(n=0, m=0, x=0.0, text=""))
@example(event=Went(n=-(2**63), m=2**63 - 1, x=0.5, text="EUR", maybe=0))
@example(event=Went(n=2**63 - 1, m=-(2**63), x=0.5, text="a", maybe=0))
@example(event=Went(n=-12, m=1, x=7.0, text="a", maybe=0))
def test_flow_equals_python_or_stops(both: Callable[..., Any], event: Went) -> None:
    codes = both(Flow).apart(event)
    if abs(event.n) < 100 and abs(event.m) < 100:
        assert status.REFUSED not in codes.values()
    assert (codes["deleted"] == status.DELETED) == (event.n > 2 and event.m != 0)


def test_state_survives_a_deleting_handler_until_it_returns(both: Callable[..., Any]) -> None:
    codes = both(Flow).apart(Went(n=3, m=0, x=0.0, text=""))
    assert codes["deleted"] == status.ZERO_DIVISION
    assert codes["helpers_that_fail"] == status.OK
    assert both(Flow).apart(Went(n=7, m=0, x=0.0, text=""))["helpers_that_fail"] == status.RAISED
