"""Decimals as scaled int64: fewer digits, exactly or by a rounding rule. And the bucket that a value falls in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from numba import njit

from runner.kernels.options import KERNEL
from runner.kernels.status import SCALE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["bucket_of", "exact_digits", "rounded_digits"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Numba has no types; under this name its decorator keeps those of the functions.
_njit: Callable[[_Function], _Function] = njit(**KERNEL)


@_njit
def exact_digits(value: int, unit: int) -> tuple[int, int]:
    """(value / unit, status) where nothing is lost, else SCALE. unit: 10**n, n in 1..18."""
    result = value // unit
    return result, 0 if result * unit == value else SCALE


@_njit
def rounded_digits(value: int, unit: int, rule: int) -> int:
    """value / unit by a rule of ``constants.ROUNDINGS``. unit: 10**n, n in 1..18, so that halves and the result fit."""
    floored = value // unit
    rest = value - floored * unit
    if rest == 0:
        return floored
    twice = 2 * rest - unit  # rest < unit <= 10**18, so it fits
    negative = value < 0
    if rule == 0:
        up = negative
    elif rule == 1:
        up = not negative
    elif rule == 2:
        up = False
    elif rule == 3:
        up = True
    elif twice != 0:
        up = twice > 0
    elif rule == 4:
        up = floored & 1 == 1
    elif rule == 5:
        up = not negative
    else:
        up = negative
    return floored + 1 if up else floored


@_njit
def bucket_of(edges: npt.NDArray[np.float64], value: float) -> int:
    """How many edges are below the value. edges: ascending, int64 for an int64 value, float64 for a float64 one."""
    low, high = 0, len(edges)
    while low < high:
        middle = (low + high) >> 1
        if edges[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low
