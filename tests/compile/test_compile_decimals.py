"""Decimals: scaled int64 in the kernel, exact, rounded by the field's rule, or stopped."""

from __future__ import annotations

import decimal
import math
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import Event, Projection, Scale, on
from runner.authoring.field_types import ROUNDINGS as FIELD_ROUNDINGS
from runner.kernels import status
from runner.kernels.constants import ROUNDINGS as KERNEL_ROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Callable

LOWEST, HIGHEST = -(2**63), 2**63 - 1
SCALED = st.sampled_from([0, 1, -1, 5, -5, 15, 25, 49, 50, 51, 12345, HIGHEST, LOWEST]) | st.integers(LOWEST, HIGHEST)
SMALL = st.integers(-(10**9), 10**9)
RATE = Decimal("0.175")


class Priced(Event):
    a: Annotated[Decimal, Scale(2)]
    b: Annotated[Decimal, Scale(4)]
    n: int
    maybe: Annotated[Decimal, Scale(1)] | None = None


class Sums(Projection):
    fine: Annotated[Decimal, Scale(6)] = Decimal(0)
    two: Annotated[Decimal, Scale(2)] = Decimal("1.00")
    n: int = 0
    x: float = 0.0
    flag: bool = False
    maybe: Annotated[Decimal, Scale(0)] | None = None

    @on(Priced)
    def added(self, e: Priced) -> None:
        self.fine = e.a + e.b - e.n

    @on(Priced)
    def multiplied(self, e: Priced) -> None:
        self.fine = e.a * e.b + RATE * e.n

    @on(Priced)
    def exactly_two_digits(self, e: Priced) -> None:
        self.two = e.b

    @on(Priced)
    def signs(self, e: Priced) -> None:
        self.two = -abs(e.a) + e.n

    @on(Priced)
    def compared(self, e: Priced) -> None:
        self.n = (e.a < e.b) + 2 * (e.a <= e.n) + 4 * (e.a == e.b) + 8 * (e.n != e.b) + 16 * (e.a > Decimal("0.5"))
        self.flag = bool(e.a) and e.a in (Decimal("0.1"), 5, Decimal("-0.050"))

    @on(Priced)
    def extremes(self, e: Priced) -> None:
        self.fine = max(e.a, e.b, e.n) - min(e.b, Decimal(0), e.a)

    @on(Priced)
    def converted(self, e: Priced) -> None:
        self.n = int(e.a)
        self.n = round(e.b) + math.floor(e.a) - math.ceil(e.b)
        self.two = Decimal(e.n)

    @on(Priced)
    def as_float(self, e: Priced) -> None:
        self.x = float(e.b)

    @on(Priced)
    def quantized(self, e: Priced) -> None:
        self.two = e.b.quantize(Decimal("0.01"), ROUND_HALF_UP)
        self.fine = e.b.quantize(Decimal("0.1"), rounding=ROUND_CEILING) + e.a.quantize(Decimal("0.001"))

    @on(Priced)
    def optional(self, e: Priced) -> None:
        self.maybe = e.maybe
        self.flag = e.maybe == e.a or e.maybe is None

    @on(Priced)
    def widened(self, e: Priced) -> None:
        total = Decimal(0)
        for _ in range(3):
            total = total + e.b
        self.fine = total


@settings(max_examples=120, deadline=None)
@given(a=SMALL | SCALED, b=SMALL | SCALED, n=SMALL | SCALED, maybe=st.none() | SMALL)
@example(a=50, b=5000, n=0, maybe=5)
@example(a=LOWEST, b=LOWEST, n=LOWEST, maybe=None)
@example(a=10, b=-500, n=5, maybe=10)
def test_decimals_equal_python_or_stop(both: Callable[..., Any], a: int, b: int, n: int, maybe: int | None) -> None:
    values = Decimal(a).scaleb(-2), Decimal(b).scaleb(-4), None if maybe is None else Decimal(maybe).scaleb(-1)
    found = both(Sums).apart(Priced(a=values[0], b=values[1], n=n, maybe=values[2]))
    if max(abs(a), abs(b), abs(n)) <= 10**5:
        # Small amounts never need the twin.
        assert status.REFUSED not in found.values()
    assert found["exactly_two_digits"] == (status.OK if b % 100 == 0 else status.SCALE)


class Rounded(Projection):
    up: Annotated[Decimal, Scale(1, "ROUND_UP")] = Decimal(0)
    down: Annotated[Decimal, Scale(1, "ROUND_DOWN")] = Decimal(0)
    floor: Annotated[Decimal, Scale(1, "ROUND_FLOOR")] = Decimal(0)
    ceiling: Annotated[Decimal, Scale(1, "ROUND_CEILING")] = Decimal(0)
    half_up: Annotated[Decimal, Scale(2, "ROUND_HALF_UP")] = Decimal(0)
    half_down: Annotated[Decimal, Scale(2, "ROUND_HALF_DOWN")] = Decimal(0)
    half_even: Annotated[Decimal, Scale(2, "ROUND_HALF_EVEN")] = Decimal(0)

    @on(Priced)
    def stored(self, e: Priced) -> None:
        self.up = self.down = self.floor = self.ceiling = e.b
        self.half_up = self.half_down = self.half_even = e.b


@settings(max_examples=120, deadline=None)
@given(b=st.integers(-300, 300).map(lambda n: n * 25) | SCALED)
def test_every_rounding_rule(both: Callable[..., Any], b: int) -> None:
    both(Rounded).state(Priced(a=Decimal(0), b=Decimal(b).scaleb(-4), n=0))


def test_every_rounding_rule_of_fields_has_a_number() -> None:
    assert set(KERNEL_ROUNDINGS) == set(FIELD_ROUNDINGS)


@pytest.mark.parametrize("text", ["0.00", "92233720368547758.07", "-92233720368547758.08"])
def test_a_field_holds_what_fits_and_no_more(both: Callable[..., Any], text: str) -> None:
    value = Decimal(text)
    state = both(Sums).fold(Priced(a=value, b=Decimal(0), n=0))
    assert state.status in (status.OK, status.REFUSED, status.OVERFLOW)
    with decimal.localcontext() as context:
        context.prec = 40
        assert both(Sums).apart(Priced(a=value, b=Decimal(0), n=0))["compared"] in (status.OK, status.REFUSED)
