"""The compiled functions that a fold calls between kernel calls, the same for every run: one module, loaded once.

Each is an entry point with an explicit signature around a function of ``runner.kernels``; what they do is said there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from runner.fold.cache import load_module

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["SIGNATURE_NAMES", "bulk"]

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

_SOURCE = (
    '"""Entry points that every fold uses; made by runner/fold/bulk.py."""\n'
    + SIGNATURE_NAMES
    + """

@njit((ROWS, U64R, U64R, I32), cache=True, **KERNEL)
def enter_aggregates(table, hi, lo, rows):
    return map_entries(table, hi, lo, rows)


@njit((ROWS,), cache=True, **KERNEL)
def enter_rows_again(table):
    rehash_map(table)


@njit((POOL, U8R, I64R, U64R, U64R, I64, types.int64), cache=True, **KERNEL)
def enter_texts(pool, data, offsets, hi, lo, ids, begin):
    return intern_texts(pool, data, offsets, hi, lo, ids, begin)


@njit((POOL,), cache=True, **KERNEL)
def enter_texts_again(pool):
    rehash_pool(pool)


@njit((POOL, I64R, I64R, U8), cache=True, **KERNEL)
def gather_texts(pool, ids, offsets, data):
    copy_texts(pool, ids, offsets, data, 0)


@njit((KEYS, WORDS_R, I64), cache=True, **KERNEL)
def enter_keys(keys, words, rows):
    return insert_keys(keys, words, rows)


@njit((KEYS,), cache=True, **KERNEL)
def enter_keys_again(keys):
    rehash_keys(keys)
"""
)


@cache
def bulk() -> ModuleType:
    """The module: ``enter_aggregates``, ``enter_texts``, ``gather_texts``, ``enter_keys`` and their ``*_again``."""
    return load_module(_SOURCE)
