"""Rows of words to columns in one pass: a column at a time would fetch every row again for each of them."""

from __future__ import annotations

from typing import Any

from numba import njit

from runner.kernels.options import KERNEL

__all__ = ["split_rows"]


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def split_rows(rows: Any, places: Any, columns: Any) -> None:
    """``columns[c] = rows[:, places[c]]``; rows int64[n, words], places int64[c], columns int64[c, n]."""
    for r in range(len(rows)):
        for c in range(len(places)):
            columns[c, r] = rows[r, places[c]]
