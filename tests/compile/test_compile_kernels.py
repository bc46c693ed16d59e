"""The functions that generated code calls, each against Python's own."""

from __future__ import annotations

import decimal
import math
import operator
from datetime import date
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from runner.kernels import checked
from runner.kernels.civil import day_of, days_of, month_of, year_of
from runner.kernels.constants import DATE_MAX, DATE_MIN, ROUNDINGS
from runner.kernels.options import KERNEL
from runner.kernels.scaled import bucket_of, exact_digits, rounded_digits
from runner.kernels.status import OK, RANGE, SCALE, ZERO_DIVISION

LOWEST, HIGHEST = -(2**63), 2**63 - 1
INTS = (
    st.integers(LOWEST, HIGHEST) | st.integers(-70, 70) | st.sampled_from([LOWEST, LOWEST + 1, HIGHEST, 2**53, 2**32])
)
EPOCH_DAY = date(1970, 1, 1).toordinal()

add, sub, mul, absolute = checked.add, checked.sub, checked.mul, checked.absolute
floordiv, mod, power = checked.floordiv, checked.mod, checked.power
shift_left, shift_right, compare_mixed = checked.shift_left, checked.shift_right, checked.compare_mixed
divide, float_mod, float_floordiv = checked.divide, checked.float_mod, checked.float_floordiv


@njit(**KERNEL)
def _ints(a: int, b: int) -> Any:
    return add(a, b), sub(a, b), mul(a, b), floordiv(a, b), mod(a, b), shift_left(a, b), shift_right(a, b), power(a, b)


@njit(**KERNEL)
def _mixed(i: int, x: float, y: float) -> Any:
    return compare_mixed(i, x), divide(x, y), float_mod(x, y), float_floordiv(x, y), absolute(i)


def _fitting(function: Any, a: int, b: int) -> int | None:
    """What Python gives, None where it fails or does not fit."""
    if function in (operator.pow, operator.lshift) and b > 64 and a not in (0, 1, -1):
        return 0 if a == 0 else None
    if function is operator.lshift and b > 64:
        return 0 if a == 0 else None
    if function is operator.pow and (b < 0 or abs(a) < 2):
        return None if b < 0 else (a ** (b % 2 + 2) if b else 1)
    try:
        result: int = function(a, b)
    except (ArithmeticError, ValueError):
        return None
    return result if LOWEST <= result <= HIGHEST else None


_NAMES = ("add", "sub", "mul", "floordiv", "mod", "lshift", "rshift", "pow")
_OPERATORS = tuple(getattr(operator, name) for name in _NAMES)


@settings(max_examples=200, deadline=None)
@given(a=INTS, b=INTS)
@example(a=LOWEST, b=-1)
@example(a=1, b=63)
@example(a=-1, b=63)
@example(a=0, b=HIGHEST)
@example(a=-(2**21), b=3)
def test_int_operations(a: int, b: int) -> None:
    for function, (value, failed) in zip(_OPERATORS, _ints(a, b), strict=True):
        wanted = _fitting(function, a, b)
        assert (wanted is None) == bool(failed), function
        if not failed:
            assert value == wanted, function


@settings(max_examples=200, deadline=None)
@given(i=INTS, x=st.floats(), y=st.floats())
@example(i=2**53 + 1, x=2.0**53, y=1.0)
@example(i=HIGHEST, x=2.0**63, y=-0.0)
def test_float_operations(i: int, x: float, y: float) -> None:
    order, (quotient, failed), rest, floored, (size, lowest) = _mixed(i, x, y)
    assert order == (2 if math.isnan(x) else (i > x) - (i < x))
    assert (failed == ZERO_DIVISION) == (y == 0)
    assert lowest or size == abs(i)
    if y != 0:
        for found, wanted in ((quotient, x / y), (rest, x % y), (floored, x // y)):
            # Equal to the sign of a zero; all NaN are one.
            assert found.hex() == wanted.hex()


@settings(max_examples=200, deadline=None)
@given(days=st.integers(DATE_MIN, DATE_MAX))
@example(days=DATE_MIN)
@example(days=DATE_MAX)
@example(days=-1)
def test_calendar(days: int) -> None:
    wanted = date.fromordinal(days + EPOCH_DAY)
    assert (year_of(days), month_of(days), day_of(days)) == (wanted.year, wanted.month, wanted.day)
    assert days_of(wanted.year, wanted.month, wanted.day) == (days, OK)


@settings(max_examples=200, deadline=None)
@given(
    year=st.sampled_from([0, 1, 1900, 2000, 2023, 2024, 9999, 10000]),
    month=st.integers(-1, 14),
    day=st.integers(-1, 33),
)
def test_dates_that_are_none(year: int, month: int, day: int) -> None:
    try:
        wanted = date(year, month, day).toordinal() - EPOCH_DAY, OK
    except ValueError:
        wanted = 0, RANGE
    assert days_of(year, month, day) == wanted


@settings(max_examples=200, deadline=None)
@given(value=INTS | st.integers(-500, 500).map(lambda n: n * 5), digits=st.sampled_from([1, 2, 18]))
def test_fewer_digits(value: int, digits: int) -> None:
    shifted = decimal.Decimal(value).scaleb(-digits, decimal.Context(prec=60))
    for rounding, rule in ROUNDINGS.items():
        assert rounded_digits(value, 10**digits, rule) == int(shifted.to_integral_value(rounding))
    result, code = exact_digits(value, 10**digits)
    assert code == (OK if shifted == int(shifted) else SCALE)
    assert code == SCALE or result == int(shifted)


@settings(max_examples=100, deadline=None)
@given(
    edges=st.lists(st.integers(-20, 20), min_size=1, max_size=6, unique=True).map(sorted), value=st.integers(-25, 25)
)
def test_bucket_of(edges: list[int], value: int) -> None:
    below = sum(e < value for e in edges)
    assert bucket_of(np.array(edges, np.int64), value) == below
    assert bucket_of(np.array(edges, np.float64), value + 0.0) == below
