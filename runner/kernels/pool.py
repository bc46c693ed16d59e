"""The string pool: every text that a partition's fold holds, once, under a number; equal texts have equal numbers.

Kernels see strings only as these numbers (*ids*, int64; 0 is the empty text). A ``Pool`` is plain arrays of fixed room:
a function that makes a new text answers ``GROW`` when there is none left, and whoever owns the arrays makes more room
between kernel calls (``runner/fold/texts.py``). Texts are UTF-8; indices and lengths count code points, as Python does.

Found again by the 128-bit hash of ``runner/kernels/siphash.py``, and then compared by bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.hints import apart
from runner.kernels.options import KERNEL
from runner.kernels.siphash import load_word, siphash128
from runner.kernels.status import GROW, OK, RANGE, REFUSED

__all__ = [
    "NO_BOUND",
    "Pool",
    "copy_texts",
    "empty_pool",
    "intern_texts",
    "rehash_pool",
    "text_concat",
    "text_contains",
    "text_ends",
    "text_index",
    "text_length",
    "text_less",
    "text_lower",
    "text_of_int",
    "text_slice",
    "text_starts",
    "text_upper",
]

NO_BOUND = -(2**63)
"""Stands for the None in ``text[a:]``: the lowest int64 is no index that a handler could mean."""


class Pool(NamedTuple):
    """data: uint8[bytes of room]; text i is data[starts[i]:starts[i + 1]].

    starts: int64[texts of room + 1]; hi, lo: uint64[texts of room]; slots: int32[power of two], ids by hash, -1 free;
    used: int64[1], how many texts there are.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    used: npt.NDArray[np.int64]


def empty_pool(texts: int, size: int) -> Pool:
    """A pool with room for ``texts`` texts and ``size`` bytes, in which only the empty text stands; to be rehashed."""
    slots = 1 << max(4, int(2 * texts - 1).bit_length())
    return Pool(
        np.empty(max(size, 64), np.uint8),
        np.zeros(texts + 1, np.int64),
        np.zeros(texts, np.uint64),
        np.zeros(texts, np.uint64),
        np.full(slots, -1, np.int32),
        np.zeros(1, np.int64),
    )


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _slot(hi: Any, slots: Any) -> Any:
    # The top bits: dictionaries are ascending by hash, so a whole dictionary walks through the table in rising order.
    bits = np.uint64(0)
    size = len(slots)
    while size > 1:
        size >>= 1
        bits += np.uint64(1)
    return np.int64(hi >> (np.uint64(64) - bits))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _same(a: Any, i: Any, b: Any, j: Any, length: Any) -> Any:
    whole = length & ~7
    k = 0
    while k < whole:
        if load_word(a, i + k) != load_word(b, j + k):
            return False
        k += 8
    while k < length:
        if a[i + k] != b[j + k]:
            return False
        k += 1
    return True


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _find(pool: Any, hi: Any, lo: Any, data: Any, start: Any, length: Any) -> Any:
    """(id or -1, the free slot where the search ended) of the text data[start:start + length]."""
    mask = len(pool.slots) - 1
    slot = _slot(hi, pool.slots)
    while True:
        text = np.int64(pool.slots[slot])
        if text < 0:
            return np.int64(-1), slot
        if pool.hi[text] == hi and pool.lo[text] == lo:
            first = pool.starts[text]
            if pool.starts[text + 1] - first == length and _same(pool.data, first, data, start, length):
                return text, slot
        slot = (slot + 1) & mask


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _room(pool: Any, size: Any) -> Any:
    """Whether one more text of ``size`` bytes fits."""
    count = pool.used[0]
    return count < len(pool.hi) and 2 * (count + 1) <= len(pool.slots) and pool.starts[count] + size <= len(pool.data)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _intern_tail(pool: Any, length: Any) -> Any:
    """The id of the text whose bytes were just written behind the last one; there must be room for it."""
    apart()
    count = pool.used[0]
    start = pool.starts[count]
    hi, lo = siphash128(pool.data, start, start + length)
    text, slot = _find(pool, hi, lo, pool.data, start, length)
    if text >= 0:
        return text
    pool.slots[slot] = np.int32(count)
    pool.hi[count] = hi
    pool.lo[count] = lo
    pool.starts[count + 1] = start + length
    pool.used[0] = count + 1
    return count


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def intern_texts(pool: Any, data: Any, offsets: Any, hi: Any, lo: Any, ids: Any, begin: Any) -> Any:
    """Give ids to the texts data[offsets[i]:offsets[i + 1]] with hashes hi[i], lo[i], from the ``begin``-th on.

    Returns how many have theirs: fewer than len(hi) where the room ended; then make room and call again from there.
    """
    for i in range(begin, len(hi)):
        start = offsets[i]
        length = offsets[i + 1] - start
        text, slot = _find(pool, hi[i], lo[i], data, start, length)
        if text < 0:
            if not _room(pool, length):
                return i
            text = pool.used[0]
            at = pool.starts[text]
            for k in range(length):
                pool.data[at + k] = data[start + k]
            pool.slots[slot] = np.int32(text)
            pool.hi[text] = hi[i]
            pool.lo[text] = lo[i]
            pool.starts[text + 1] = at + length
            pool.used[0] = text + 1
        ids[i] = text
    return len(hi)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def rehash_pool(pool: Any) -> None:
    """Enter every text into the emptied ``slots``; a pool without any text gets the empty one."""
    if pool.used[0] == 0:
        hi, lo = siphash128(pool.data, 0, 0)
        pool.hi[0] = hi
        pool.lo[0] = lo
        pool.starts[0] = 0
        pool.starts[1] = 0
        pool.used[0] = 1
    mask = len(pool.slots) - 1
    for text in range(pool.used[0]):
        slot = _slot(pool.hi[text], pool.slots)
        while pool.slots[slot] >= 0:
            slot = (slot + 1) & mask
        pool.slots[slot] = np.int32(text)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def copy_texts(pool: Any, ids: Any, offsets: Any, data: Any, begin: Any) -> None:
    """Write the texts ``ids`` from the ``begin``-th on end to end into ``data``; ``offsets`` must hold their places."""
    for i in range(begin, len(ids)):
        first = pool.starts[ids[i]]
        at = np.int64(offsets[i])
        for k in range(pool.starts[ids[i] + 1] - first):
            data[at + k] = pool.data[first + k]


# Reading --------------------------------------------------------------------------------------------------------------


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_length(pool: Any, text: Any) -> Any:
    """How many code points."""
    points = np.int64(0)
    for i in range(pool.starts[text], pool.starts[text + 1]):
        points += np.int64((pool.data[i] & np.uint8(0xC0)) != np.uint8(0x80))
    return points


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_less(pool: Any, a: Any, b: Any) -> Any:
    """a < b by code points, which is the order of the UTF-8 bytes."""
    if a == b:
        return False
    i, j = pool.starts[a], pool.starts[b]
    first = pool.starts[a + 1] - i
    second = pool.starts[b + 1] - j
    for k in range(min(first, second)):
        x, y = pool.data[i + k], pool.data[j + k]
        if x != y:
            return x < y
    return first < second


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_starts(pool: Any, text: Any, part: Any) -> Any:
    """``text.startswith(part)``."""
    i, j = pool.starts[text], pool.starts[part]
    length = pool.starts[part + 1] - j
    return pool.starts[text + 1] - i >= length and _same(pool.data, i, pool.data, j, length)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_ends(pool: Any, text: Any, part: Any) -> Any:
    """``text.endswith(part)``."""
    j = pool.starts[part]
    length = pool.starts[part + 1] - j
    i = pool.starts[text + 1] - length
    return i >= pool.starts[text] and _same(pool.data, i, pool.data, j, length)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_contains(pool: Any, text: Any, part: Any) -> Any:
    """``part in text``."""
    j = pool.starts[part]
    length = pool.starts[part + 1] - j
    i = pool.starts[text]
    last = pool.starts[text + 1] - length
    while i <= last:
        if _same(pool.data, i, pool.data, j, length):
            return True
        i += 1
    return False


# Making ---------------------------------------------------------------------------------------------------------------


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _intern_part(pool: Any, start: Any, stop: Any) -> Any:
    # (status, id) of bytes that stand in the pool already.
    if stop <= start:
        return OK, np.int64(0)
    if not _room(pool, stop - start):
        return GROW, np.int64(0)
    at = pool.starts[pool.used[0]]
    for k in range(stop - start):
        pool.data[at + k] = pool.data[start + k]
    return OK, _intern_tail(pool, stop - start)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _byte_of(pool: Any, text: Any, point: Any) -> Any:
    # Where the ``point``-th code point begins; at the text's end where it has no more.
    i, stop = pool.starts[text], pool.starts[text + 1]
    left = point
    while i < stop:
        if (pool.data[i] & np.uint8(0xC0)) != np.uint8(0x80):
            if left == 0:
                return i
            left -= 1
        i += 1
    return stop


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_slice(pool: Any, text: Any, start: Any, stop: Any) -> Any:
    """(status, id) of ``text[start:stop]``, bounds as in Python; ``NO_BOUND`` where one is left out."""
    length = text_length(pool, text)
    first = np.int64(0) if start == NO_BOUND else np.int64(start)
    behind = length if stop == NO_BOUND else np.int64(stop)
    if first < 0:
        first = max(first + length, np.int64(0))
    if behind < 0:
        behind = max(behind + length, np.int64(0))
    behind = min(behind, length)
    if first >= behind:
        return OK, np.int64(0)
    if first == 0 and behind == length:
        return OK, np.int64(text)
    return _intern_part(pool, _byte_of(pool, text, first), _byte_of(pool, text, behind))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_index(pool: Any, text: Any, index: Any) -> Any:
    """(status, id) of ``text[index]``; ``RANGE`` where Python raises IndexError."""
    length = text_length(pool, text)
    at = np.int64(index)
    if at < 0:
        at += length
    if at < 0 or at >= length:
        return RANGE, np.int64(0)
    return _intern_part(pool, _byte_of(pool, text, at), _byte_of(pool, text, at + 1))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_concat(pool: Any, a: Any, b: Any) -> Any:
    """(status, id) of ``a + b``."""
    if a == 0:
        return OK, np.int64(b)
    if b == 0:
        return OK, np.int64(a)
    i, j = pool.starts[a], pool.starts[b]
    first = pool.starts[a + 1] - i
    second = pool.starts[b + 1] - j
    if not _room(pool, first + second):
        return GROW, np.int64(0)
    at = pool.starts[pool.used[0]]
    for k in range(first):
        pool.data[at + k] = pool.data[i + k]
    for k in range(second):
        pool.data[at + first + k] = pool.data[j + k]
    return OK, _intern_tail(pool, first + second)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def _turn(pool: Any, text: Any, low: Any, high: Any) -> Any:
    # ASCII letters between low and high change their case. Beyond ASCII the rules are Unicode's: the twin's.
    start = pool.starts[text]
    length = pool.starts[text + 1] - start
    changes = False
    for k in range(length):
        byte = pool.data[start + k]
        if byte >= np.uint8(0x80):
            return REFUSED, np.int64(0)
        changes = changes or (byte >= low and byte <= high)
    if not changes:
        return OK, np.int64(text)
    if not _room(pool, length):
        return GROW, np.int64(0)
    at = pool.starts[pool.used[0]]
    for k in range(length):
        byte = pool.data[start + k]
        if byte >= low and byte <= high:
            byte ^= np.uint8(0x20)
        pool.data[at + k] = byte
    return OK, _intern_tail(pool, length)


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_lower(pool: Any, text: Any) -> Any:
    """(status, id) of ``text.lower()``; ``REFUSED`` where the text is not ASCII."""
    return _turn(pool, text, np.uint8(0x41), np.uint8(0x5A))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_upper(pool: Any, text: Any) -> Any:
    """(status, id) of ``text.upper()``; ``REFUSED`` where the text is not ASCII."""
    return _turn(pool, text, np.uint8(0x61), np.uint8(0x7A))


@njit(**KERNEL)  # type: ignore[untyped-decorator]  # numba has no types
def text_of_int(pool: Any, value: Any) -> Any:
    """(status, id) of ``str(value)``."""
    # As uint64 the lowest int64 has its size, too.
    size = np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)
    digits = 1
    rest = size // np.uint64(10)
    while rest > np.uint64(0):
        digits += 1
        rest //= np.uint64(10)
    length = digits + (1 if value < 0 else 0)
    if not _room(pool, length):
        return GROW, np.int64(0)
    at = pool.starts[pool.used[0]]
    if value < 0:
        pool.data[at] = np.uint8(0x2D)
    k = length - 1
    rest = size
    for _ in range(digits):
        pool.data[at + k] = np.uint8(np.uint64(0x30) + rest % np.uint64(10))
        rest //= np.uint64(10)
        k -= 1
    return OK, _intern_tail(pool, length)
