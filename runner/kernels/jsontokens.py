"""The tokens of JSON: where a string, a number, white space ends, and what an escaped string says. Functions for other
kernels.

``data`` is the address of the bytes, ``end`` the text's end, ``limit`` the last place from which eight bytes may be
loaded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from runner.kernels.loads import load_byte, load_word, low_zeros, store_byte

__all__ = ["digits_end", "key_equals", "number_end", "skip_space", "string_end", "unescape"]

_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_NONE = np.uint64(0)


@njit(forceinline=True)  # type: ignore[untyped-decorator]  # numba has no types
def skip_space(data: Any, i: Any, end: Any) -> Any:
    """The place of the first byte from i that is not JSON's white space, or end."""
    while i < end:
        c = load_byte(data, i)
        if c > 32 or (c != 32 and c != 10 and c != 13 and c != 9):
            break
        i += 1
    return i


@njit  # type: ignore[untyped-decorator]  # numba has no types
def string_end(data: Any, i: Any, end: Any, limit: Any) -> Any:
    """From behind the opening quote: (place of the closing quote, or -1 where it is no string; whether there are
    backslashes).
    """
    escaped = False
    while i < end:
        if i <= limit:
            w = load_word(data, i)
            q = w ^ _QUOTES
            b = w ^ _BACKSLASHES
            # The usual trick: zero bytes of q and b, bytes of w below the space. The lowest hit is a true one.
            hits = (((q - _ONES) & ~q) | ((b - _ONES) & ~b) | ((w - _SPACES) & ~w)) & _TOPS
            if hits == _NONE:
                i += 8
                continue
            i += low_zeros(hits) >> 3
            if i >= end:
                break
        c = load_byte(data, i)
        if c == 34:
            return i, escaped
        if c < 32:
            break
        if c != 92:
            i += 1
            continue
        escaped = True
        if i + 1 >= end:
            break
        e = load_byte(data, i + 1)
        if e == 117:
            if i + 6 > end:
                break
            for k in range(i + 2, i + 6):
                h = load_byte(data, k)
                if not (48 <= h <= 57 or 65 <= h <= 70 or 97 <= h <= 102):
                    return -1, escaped
            i += 6
        elif e == 34 or e == 92 or e == 47 or e == 98 or e == 102 or e == 110 or e == 114 or e == 116:
            i += 2
        else:
            break
    return -1, escaped


@njit(forceinline=True)  # type: ignore[untyped-decorator]  # numba has no types
def digits_end(data: Any, i: Any, end: Any) -> Any:
    """The place of the first byte from i that is no digit, or end."""
    while i < end and 48 <= load_byte(data, i) <= 57:
        i += 1
    return i


@njit  # type: ignore[untyped-decorator]  # numba has no types
def number_end(data: Any, i: Any, end: Any) -> Any:
    """(place behind the number that starts at i, or -1; whether it has neither fraction nor exponent)"""
    plain = True
    if load_byte(data, i) == 45:
        i += 1
    first = i
    i = digits_end(data, i, end)
    if i == first or (i > first + 1 and load_byte(data, first) == 48):
        return -1, plain
    if i < end and load_byte(data, i) == 46:
        plain = False
        first = i + 1
        i = digits_end(data, first, end)
        if i == first:
            return -1, plain
    if i < end and (load_byte(data, i) | 32) == 101:
        plain = False
        i += 1
        if i < end and (load_byte(data, i) == 43 or load_byte(data, i) == 45):
            i += 1
        first = i
        i = digits_end(data, first, end)
        if i == first:
            return -1, plain
    return i, plain


@njit  # type: ignore[untyped-decorator]  # numba has no types
def key_equals(data: Any, i: Any, keys: Any, k: Any, length: Any) -> Any:
    """Whether two places hold the same ``length`` bytes."""
    for j in range(length):  # noqa: SIM110  # kernels have no generators
        if load_byte(data, i + j) != load_byte(keys, k + j):
            return False
    return True


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _hex(data: Any, i: Any) -> Any:
    value = 0
    for k in range(i, i + 4):
        c = load_byte(data, k)
        value = value * 16 + (c - 48 if c <= 57 else (c | 32) - 87)
    return value


@njit  # type: ignore[untyped-decorator]  # numba has no types
def unescape(data: Any, i: Any, stop: Any, out: Any, o: Any) -> Any:
    """What a checked string says, written to ``out`` from o on (never longer): the place behind it, or -1 at a lone
    surrogate.
    """
    while i < stop:
        c = load_byte(data, i)
        if c != 92:
            store_byte(out, o, c)
            i += 1
            o += 1
            continue
        e = load_byte(data, i + 1)
        i += 2
        if e != 117:
            if e == 98:
                e = 8
            elif e == 102:
                e = 12
            elif e == 110:
                e = 10
            elif e == 114:
                e = 13
            elif e == 116:
                e = 9
            store_byte(out, o, e)
            o += 1
            continue
        point = _hex(data, i)
        i += 4
        if 0xDC00 <= point <= 0xDFFF:
            return -1
        if 0xD800 <= point <= 0xDBFF:
            if i + 6 > stop or load_byte(data, i) != 92 or load_byte(data, i + 1) != 117:
                return -1
            low = _hex(data, i + 2)
            if not 0xDC00 <= low <= 0xDFFF:
                return -1
            point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
            i += 6
        if point < 0x80:
            store_byte(out, o, point)
            o += 1
            continue
        if point < 0x800:
            store_byte(out, o, 0xC0 | (point >> 6))
            o += 1
        else:
            if point < 0x10000:
                store_byte(out, o, 0xE0 | (point >> 12))
                o += 1
            else:
                store_byte(out, o, 0xF0 | (point >> 18))
                store_byte(out, o + 1, 0x80 | ((point >> 12) & 63))
                o += 2
            store_byte(out, o, 0x80 | ((point >> 6) & 63))
            o += 1
        store_byte(out, o, 0x80 | (point & 63))
        o += 1
    return o
