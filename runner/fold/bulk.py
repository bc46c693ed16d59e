"""The compiled functions that a fold calls between kernel calls, the same for every run.

Each is an entry point with an explicit signature around a function of ``runner.kernels``; what they do is said there.
Each is a module of its own, loaded when it is first called: loading all of them takes longer than a small catch-up.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from runner.fold.cache import compile_module, load_module

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SIGNATURE_NAMES", "Bulk", "bulk"]

SIGNATURE_NAMES = """
from numba import njit, types

from runner.kernels.options import KERNEL
from runner.kernels.dictmap import DictMap, map_entries, rehash_map
from runner.kernels.keymap import KeyMap, insert_keys, key_row, rehash_keys
from runner.kernels.pool import Pool, copy_texts, intern_texts, rehash_pool


def _array(element, dimensions=1, readonly=False):
    return types.Array(element, dimensions, "C", readonly=readonly)


ELEMENTS = (types.uint8, types.int16, types.int32, types.uint32, types.int64, types.uint64, types.float64)
U8, I16, I32, U32, I64, U64, F64 = (_array(t) for t in ELEMENTS)
U8R, I16R, I32R, U32R, I64R, U64R, F64R = (_array(t, readonly=True) for t in ELEMENTS)
WORDS, WORDS_R = _array(types.int64, 2), _array(types.int64, 2, True)
POOL = types.NamedTuple((U8, I64, U64, U64, I32, I64), Pool)
KEYS = types.NamedTuple((I32, WORDS, I64), KeyMap)
ROWS = types.NamedTuple((U64, U64, I32, I64), DictMap)
"""
"""Head of every generated module: short names of the array types."""

_ENTRIES = {
    "enter_aggregates": """
@njit((ROWS, U64R, U64R, I32), cache=True, **KERNEL)
def enter_aggregates(table, hi, lo, rows):
    return map_entries(table, hi, lo, rows)
""",
    "enter_rows_again": """
@njit((ROWS,), cache=True, **KERNEL)
def enter_rows_again(table):
    rehash_map(table)
""",
    "enter_texts": """
@njit((POOL, U8R, I64R, U64R, U64R, I64, types.int64), cache=True, **KERNEL)
def enter_texts(pool, data, offsets, hi, lo, ids, begin):
    return intern_texts(pool, data, offsets, hi, lo, ids, begin)
""",
    "enter_texts_again": """
@njit((POOL,), cache=True, **KERNEL)
def enter_texts_again(pool):
    rehash_pool(pool)
""",
    "gather_texts": """
@njit((POOL, I64R, I64R, U8), cache=True, **KERNEL)
def gather_texts(pool, ids, offsets, data):
    copy_texts(pool, ids, offsets, data, 0)
""",
    "enter_keys": """
@njit((KEYS, WORDS_R, I64), cache=True, **KERNEL)
def enter_keys(keys, words, rows):
    return insert_keys(keys, words, rows)
""",
    "split": """
from runner.kernels.columns import split_rows


@njit((WORDS_R, I64R, WORDS), cache=True, **KERNEL)
def split(rows, places, columns):
    split_rows(rows, places, columns)
""",
    "cut": """
from runner.kernels.runs import cut_runs


@njit((I16R, U32R, types.int64, types.int64, I64, WORDS, WORDS), cache=True, **KERNEL)
def cut(kinds, aggregate, step, entries, seen, runs, pieces):
    return cut_runs(kinds, aggregate, step, entries, seen, runs, pieces)
""",
    "enter_keys_again": """
@njit((KEYS,), cache=True, **KERNEL)
def enter_keys_again(keys):
    rehash_keys(keys)
""",
}


def _source(name: str) -> str:
    return (
        f'"""An entry point that every fold uses; made by runner/fold/bulk.py."""\n{SIGNATURE_NAMES}\n{_ENTRIES[name]}'
    )


class Bulk:
    """``cut``, ``split``, ``gather_texts``; ``enter_aggregates``, ``enter_texts``, ``enter_keys``, each ``*_again``."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _ENTRIES:
            raise AttributeError(name)
        function: Callable[..., Any] = getattr(load_module(_source(name)), name)
        setattr(self, name, function)
        return function

    def compile(self) -> None:
        """Compile what is not on the disk yet; loads nothing else."""
        for name in _ENTRIES:
            compile_module(_source(name))

    def load(self) -> None:
        """Load all of them into this process."""
        for name in _ENTRIES:
            getattr(self, name)


@cache
def bulk() -> Bulk:
    """The entry points of this process."""
    return Bulk()
