"""Runs of equal type codes: what wavefront order makes long, and a fold walks through one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from runner.kernels.options import KERNEL

__all__ = ["run_end"]


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def run_end(kinds: Any, begin: Any) -> Any:
    """The first index behind ``begin`` at which the int16 array has another value than there; its length at most."""
    end = len(kinds)
    kind = kinds[begin]
    i = begin + 1
    # Outside wavefront order runs are of a few events; only behind those it pays to look at many at once.
    near = min(end, begin + 8)
    while i < near:
        if kinds[i] != kind:
            return i
        i += 1
    # Blocks without an exit inside: the compiler makes a few vector instructions of each.
    while i + 64 <= end:
        other = np.int16(0)
        for k in range(64):
            other |= kinds[i + k] ^ kind
        if other != 0:
            break
        i += 64
    while i < end and kinds[i] == kind:
        i += 1
    return i
