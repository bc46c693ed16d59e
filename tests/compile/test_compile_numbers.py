"""Ints, floats and bools: compiled equals plain to the bit, or a status stops it. Also the traps of a bare compile."""

from __future__ import annotations

import math
from math import ceil, floor
from math import trunc as truncated
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import Event, Projection, on
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable

LOWEST, HIGHEST = -(2**63), 2**63 - 1
EDGES = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    -7,
    10,
    63,
    64,
    2**31,
    2**32,
    3037000500,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    HIGHEST,
    LOWEST,
    LOWEST + 1,
]
INTS = st.sampled_from(EDGES) | st.integers(LOWEST, HIGHEST) | st.integers(-100, 100)
FLOATS = st.floats() | st.sampled_from(
    [0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 2.0**53, 2.0**63, -(2.0**63), 1e30, math.nan, math.inf, -math.inf]
)
LIMIT = 2**53


class Pair(Event):
    a: int
    b: int


class Mixed(Event):
    i: int
    x: float
    y: float
    p: bool
    q: bool


class Ints(Projection):
    n: int = 0
    x: float = 0.0
    flag: bool = False

    @on(Pair)
    def plus(self, e: Pair) -> None:
        self.n = e.a + e.b

    @on(Pair)
    def minus(self, e: Pair) -> None:
        self.n = e.a - e.b

    @on(Pair)
    def times(self, e: Pair) -> None:
        self.n = e.a * e.b

    @on(Pair)
    def floor_divided(self, e: Pair) -> None:
        self.n = e.a // e.b

    @on(Pair)
    def rest(self, e: Pair) -> None:
        self.n = e.a % e.b

    @on(Pair)
    def divided(self, e: Pair) -> None:
        self.x = e.a / e.b

    @on(Pair)
    def power(self, e: Pair) -> None:
        if -70 < e.b < 70:
            self.n = e.a**e.b

    @on(Pair)
    def left(self, e: Pair) -> None:
        if e.b < 200:
            self.n = e.a << e.b

    @on(Pair)
    def right(self, e: Pair) -> None:
        self.n = e.a >> e.b

    @on(Pair)
    def signs(self, e: Pair) -> None:
        self.n = -e.a
        self.n = abs(e.b)

    @on(Pair)
    def bits(self, e: Pair) -> None:
        self.n = (e.a & e.b) ^ (e.a | ~e.b)
        self.flag = e.a < e.b or e.a == e.b

    @on(Pair)
    def extremes(self, e: Pair) -> None:
        self.n = max(min(e.a, e.b, 5), -3)

    @on(Pair)
    def scaled_down(self, e: Pair) -> None:
        self.n = e.a * e.b // 1000

    @on(Pair)
    def augmented(self, e: Pair) -> None:
        self.n += e.a
        self.n -= e.b
        self.n *= 3
        self.n //= 2
        self.n %= 1000


@settings(max_examples=150, deadline=None)
@given(a=INTS, b=INTS)
@example(a=LOWEST, b=-1)
@example(a=LOWEST, b=LOWEST)
@example(a=2, b=-1)
@example(a=-2, b=63)
@example(a=0, b=0)
def test_int_operations_equal_python_or_stop(both: Callable[..., Any], a: int, b: int) -> None:
    found = both(Ints).apart(Pair(a=a, b=b))
    # What fits is never refused, but for the division of ints that are no floats exactly.
    assert all(code != status.REFUSED or name in ("divided", "power") for name, code in found.items())
    assert (found["divided"] == status.REFUSED) == ((abs(a) > LIMIT or abs(b) > LIMIT) and b != 0)


class Floats(Projection):
    n: int = 0
    x: float = 0.0
    y: float = 0.0
    flag: bool = False
    other: bool = False

    @on(Mixed)
    def arithmetic(self, e: Mixed) -> None:
        self.x = e.x + e.y * e.x - e.i
        self.y = -e.x + abs(e.y) - e.p

    @on(Mixed)
    def divided(self, e: Mixed) -> None:
        self.x = e.x / e.y

    @on(Mixed)
    def floor_divided(self, e: Mixed) -> None:
        self.x = e.x // e.y

    @on(Mixed)
    def rest(self, e: Mixed) -> None:
        self.x = e.x % e.y

    @on(Mixed)
    def to_int(self, e: Mixed) -> None:
        self.n = int(e.x)

    @on(Mixed)
    def rounded(self, e: Mixed) -> None:
        self.n = round(e.x)

    @on(Mixed)
    def floored(self, e: Mixed) -> None:
        self.n = math.floor(e.x)

    @on(Mixed)
    def lifted(self, e: Mixed) -> None:
        self.n = math.ceil(e.x) - math.trunc(e.y)

    @on(Mixed)
    def compared_whole(self, e: Mixed) -> None:
        # Too large a result fails though it is not kept, by whichever name the function is called.
        self.flag = floor(e.x) > 0 or ceil(e.x) < 0 or truncated(e.y) > 0

    @on(Mixed)
    def root(self, e: Mixed) -> None:
        self.x = math.sqrt(e.x)
        self.y = math.sqrt(abs(e.i // 2))

    @on(Mixed)
    def extremes(self, e: Mixed) -> None:
        self.x = min(e.x, e.y)
        self.y = max(e.x, e.y, 0.0)

    @on(Mixed)
    def from_int(self, e: Mixed) -> None:
        self.x = e.i
        self.y = float(e.i) + float(e.p) + e.q

    @on(Mixed)
    def ordered(self, e: Mixed) -> None:
        self.n = (
            (e.x < e.y) + 2 * (e.x <= e.y) + 4 * (e.x > e.y) + 8 * (e.x >= e.y) + 16 * (e.x == e.y) + 32 * (e.x != e.y)
        )
        self.flag = bool(e.x)

    @on(Mixed)
    def mixed_order(self, e: Mixed) -> None:
        self.n = (
            (e.i < e.x) + 2 * (e.i <= e.x) + 4 * (e.i > e.x) + 8 * (e.i >= e.x) + 16 * (e.i == e.x) + 32 * (e.i != e.x)
        )
        self.n += 64 * (e.x < e.i) + 128 * (e.x >= e.i) + 256 * (e.x > 3) + 512 * (e.x > 9007199254740993)

    @on(Mixed)
    def kinds(self, e: Mixed) -> None:
        self.flag = math.isnan(e.x) or math.isinf(e.y)
        self.other = math.isfinite(e.x)

    @on(Mixed)
    def bools(self, e: Mixed) -> None:
        self.flag = (e.p and not e.q) or (e.p | e.q) ^ e.p
        self.other = e.p is True or e.q == False  # noqa: E712
        self.n = e.p + e.q * 3 + int(e.p) - abs(e.q) + (-e.p) + (e.p < e.q)


@settings(max_examples=150, deadline=None)
@given(i=INTS, x=FLOATS, y=FLOATS, p=st.booleans(), q=st.booleans())
@example(i=2**53 + 1, x=2.0**53, y=0.0, p=True, q=False)
@example(i=HIGHEST, x=2.0**63, y=-0.0, p=True, q=True)
@example(i=0, x=-0.0, y=0.0, p=False, q=False)
@example(i=0, x=0.5, y=-math.inf, p=False, q=False)
def test_float_operations_equal_python_or_stop(
    both: Callable[..., Any], i: int, x: float, y: float, p: bool, q: bool
) -> None:
    assert status.REFUSED not in both(Floats).apart(Mixed(i=i, x=x, y=y, p=p, q=q)).values()


def large() -> int:
    return 1 << 40


SHIFT = 70
POWER = -1


class Traps(Projection):
    n: int = 0
    small: bool = False

    @on(Pair)
    def product_over_int64(self, e: Pair) -> None:
        self.n = e.a * e.b // e.b

    @on(Pair)
    def lowest_by_minus_one(self, e: Pair) -> None:
        self.n = e.a // e.b

    @on(Pair)
    def int_of_1e30(self, e: Pair) -> None:
        self.n = int(e.b * 1e30)

    @on(Pair)
    def one_shifted_by_70(self, e: Pair) -> None:
        self.n = e.b << SHIFT

    @on(Pair)
    def negative_power(self, e: Pair) -> None:
        self.n = int(abs(e.b) + e.b ** (POWER * e.b))

    @on(Pair)
    def large_int_against_float(self, e: Pair) -> None:
        self.small = e.a + 1 < 9223372036854775808.0
        self.small = self.small and e.a + 1 != float(e.a + 1)

    @on(Pair)
    def helper_of_large_ints(self, e: Pair) -> None:
        self.n = large() * large()


TRAPS = {
    "product_over_int64": (3037000500, 3037000500, status.OVERFLOW),
    "lowest_by_minus_one": (LOWEST, -1, status.OVERFLOW),
    "int_of_1e30": (1, 1, status.OVERFLOW),
    "one_shifted_by_70": (1, 1, status.OVERFLOW),
    "negative_power": (2, 2, status.REFUSED),
    "large_int_against_float": (HIGHEST - 1, 1, status.OK),
    "helper_of_large_ints": (1, 1, status.OVERFLOW),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_of_a_bare_compile(both: Callable[..., Any], trap: str) -> None:
    a, b, code = TRAPS[trap]
    assert both(Traps).apart(Pair(a=a, b=b))[trap] == code


class Extreme(Projection):
    n: int = -9223372036854775808
    x: float = 0.0

    @on(Pair)
    def constants(self, e: Pair) -> None:
        if e.a > 0:
            self.n = -9223372036854775808
            self.n += 9223372036854775807
            self.n += 60 * 60 * 24 - True
        elif e.a == 0:
            self.n = 2**62 + (2**62 - 1)
        self.x = 1e308 * 10 - float("inf") if e.b else -0.0


@pytest.mark.parametrize("a", [0, 1, -1])
@pytest.mark.parametrize("b", [0, 1])
def test_constants_keep_64_bits(both: Callable[..., Any], a: int, b: int) -> None:
    both(Extreme).state(Pair(a=a, b=b))
