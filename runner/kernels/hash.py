"""The specified hash of identities and strings, SipHash-2-4 with 128-bit output, in bulk over Arrow string buffers.

Key: the bytes 00..0f. The 16 bytes of output are read as two little-endian uint64: the first 8 bytes are ``lo``, the
next 8 ``hi``. Published vectors (the reference implementation's ``vectors_sip128``) stand in the tests.

``siphash128`` may be called inside other kernels. ``encode_texts`` makes dictionaries ascending by (hi, lo).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from runner.batch import TextDictionary
from runner.errors import LogError
from runner.kernels.siphash import load_word, siphash128

__all__ = [
    "distinct_texts",
    "encode_texts",
    "hash_texts",
    "order_by_hash",
    "siphash128",
    "text_buffers",
    "unify_hashes",
    "unify_texts",
]

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]

_S8, _S29, _S32, _LOW = np.uint64(8), np.uint64(29), np.uint64(32), np.uint64(0xFFFFFFFF)
_MIX, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _hash_all(data: Any, offsets: Any, hi: Any, lo: Any) -> None:
    for i in range(len(hi)):
        hi[i], lo[i] = siphash128(data, offsets[i], offsets[i + 1])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _hash_behind(prefix: Any, data: Any, offsets: Any, scratch: Any, hi: Any, lo: Any) -> None:
    p = len(prefix)
    scratch[:p] = prefix
    for i in range(len(hi)):
        start = offsets[i]
        length = offsets[i + 1] - start
        for j in range(length):
            scratch[p + j] = data[start + j]
        hi[i], lo[i] = siphash128(scratch, 0, p + length)


def text_buffers(texts: pa.Array) -> tuple[Bytes, Int64s]:
    """(data uint8[...], offsets int64[n + 1]) of a utf8 or large_utf8 array: text i is data[offsets[i]:offsets[i + 1]].

    Entries that are null have some length, mostly 0. The data is a view of the array's buffer.
    """
    _, raw_offsets, raw_data = texts.buffers()
    n = len(texts)
    if n == 0 or raw_offsets is None:
        return np.zeros(8, np.uint8), np.zeros(n + 1, np.int64)
    wide = texts.type == pa.large_utf8() or texts.type == pa.large_binary()
    dtype: type[np.signedinteger[Any]] = np.int64 if wide else np.int32
    offsets = np.frombuffer(raw_offsets, dtype)[texts.offset : texts.offset + n + 1].astype(np.int64)
    if raw_data is None or raw_data.size == 0:
        return np.zeros(8, np.uint8), offsets
    return np.frombuffer(raw_data, np.uint8), offsets


def hash_texts(texts: pa.Array, prefix: bytes = b"") -> tuple[UInt64s, UInt64s]:
    """(hi, lo), uint64[n] each: the hash of ``prefix`` followed by each UTF-8 text. ``texts``: utf8 or large_utf8."""
    data, offsets = text_buffers(texts)
    hi, lo = np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint64)
    if prefix:
        longest = int(np.diff(offsets).max(initial=0))
        scratch = np.empty(len(prefix) + longest, np.uint8)
        _hash_behind(np.frombuffer(prefix, np.uint8), data, offsets, scratch, hi, lo)
    else:
        _hash_all(data, offsets, hi, lo)
    return hi, lo


# Order of hashes ------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _order(hi: Any, lo: Any, skip: Any, bits: Any, crowd: Any, order: Any) -> Any:
    # Hashes are uniform: one counting sort by ``bits`` bits behind the ``skip`` common ones leaves buckets of a few
    # entries for an insertion sort. False, and no order, where a bucket holds more than ``crowd``.
    n = len(hi)
    left, right = np.uint64(skip), np.uint64(64 - bits)
    place = np.zeros((1 << bits) + 1, np.int64)
    for i in range(n):
        place[np.int64((hi[i] << left) >> right) + 1] += 1
    for b in range(len(place) - 1):
        if place[b + 1] > crowd:
            return False
        place[b + 1] += place[b]
    for i in range(n):
        bucket = np.int64((hi[i] << left) >> right)
        order[place[bucket]] = i
        place[bucket] += 1
    start = 0
    for b in range(len(place) - 1):
        stop = place[b]
        for j in range(start + 1, stop):
            x = order[j]
            k = j
            while k > start and (hi[order[k - 1]] > hi[x] or (hi[order[k - 1]] == hi[x] and lo[order[k - 1]] > lo[x])):
                order[k] = order[k - 1]
                k -= 1
            order[k] = x
        start = stop
    return True


def order_by_hash(hi: UInt64s, lo: UInt64s) -> Int64s:
    """The stable order int64[n] that makes (hi, lo) ascend; fast for hashes, of which few are equal."""
    n = len(hi)
    order = np.empty(n, np.int64)
    if n == 0:
        return order
    # Hashes of one partition share their top bits: those tell nothing apart.
    spread: int = int(hi.min()) ^ int(hi.max())
    skip = min(64 - spread.bit_length(), 63)
    bits = min(max(1, (n // 2).bit_length()), 64 - skip)
    if _order(hi, lo, skip, bits, 64, order):
        return order
    return np.lexsort((lo, hi)).astype(np.int64, copy=False)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _number(hi: Any, lo: Any, order: Any, codes: Any, firsts: Any) -> Any:
    distinct = 0
    for k in range(len(order)):
        i = order[k]
        if k == 0 or hi[i] != hi[order[k - 1]] or lo[i] != lo[order[k - 1]]:
            firsts[distinct] = i
            distinct += 1
        codes[i] = distinct - 1
    return distinct


def unify_hashes(hi: UInt64s, lo: UInt64s) -> tuple[Int32s, Int64s]:
    """Number the distinct hashes in ascending order: (codes int32[n], firsts int64[distinct]).

    firsts[c] is the first index whose hash has code c, so hi[firsts] ascends.
    """
    order = order_by_hash(hi, lo)
    codes, firsts = np.empty(len(hi), np.int32), np.empty(len(hi), np.int64)
    distinct = _number(hi, lo, order, codes, firsts)
    return codes, firsts[:distinct].copy()


# Dictionaries ---------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _same(data: Any, a: Any, b: Any, length: Any) -> Any:
    i = 0
    while i + 8 <= length:
        if load_word(data, a + i) != load_word(data, b + i):
            return False
        i += 8
    while i < length:
        if data[a + i] != data[b + i]:
            return False
        i += 1
    return True


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _first_different(data: Any, offsets: Any, codes: Any, firsts: Any) -> Any:
    for i in range(len(codes)):
        j = firsts[codes[i]]
        length = offsets[i + 1] - offsets[i]
        if length != offsets[j + 1] - offsets[j] or not _same(data, offsets[i], offsets[j], length):
            return i
    return -1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _quick(data: Any, start: Any, stop: Any) -> Any:
    # Only finds equal texts again inside one call; what is stored is SipHash.
    length = stop - start
    h = np.uint64(length) * _MIX2
    i = start
    while i + 8 <= stop:
        h = (h ^ load_word(data, i)) * _MIX
        h ^= h >> _S29
        i += 8
    if i < stop:
        if length >= 8:
            word = load_word(data, stop - 8)
        else:
            word = np.uint64(0)
            while i < stop:
                word = (word << _S8) | np.uint64(data[i])
                i += 1
        h = (h ^ word) * _MIX
        h ^= h >> _S29
    return (h ^ (h >> _S32)) * _MIX2


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _distinct(data: Any, offsets: Any, valid: Any, codes: Any) -> Any:
    # Codes in the order of first appearance. A slot holds 32 bits of the quick hash and code + 1, or 0: one look at
    # the table and one at the text decide. Open addressing, grown at half full; ``spans`` has start and stop of texts.
    n = len(codes)
    mask = 4095
    slots = np.zeros(mask + 1, np.uint64)
    quick = np.empty(1024, np.uint64)
    firsts = np.empty(1024, np.int64)
    spans = np.empty((1024, 2), np.int64)
    count = 0
    has_nulls = len(valid) > 0
    for i in range(n):
        if has_nulls and not valid[i]:
            codes[i] = -1
            continue
        start, stop = offsets[i], offsets[i + 1]
        h = _quick(data, start, stop)
        slot = np.int64(h >> _S32) & mask
        code = np.int64(-1)
        while slots[slot] != 0:
            if (slots[slot] >> _S32) == (h & _LOW):
                code = np.int64(slots[slot] & _LOW) - 1
                there = spans[code, 0]
                if spans[code, 1] - there == stop - start and _same(data, start, there, stop - start):
                    break
                code = np.int64(-1)
            slot = (slot + 1) & mask
        if code >= 0:
            codes[i] = code
            continue
        if count == len(firsts):
            firsts = np.concatenate((firsts, np.empty(count, np.int64)))
            quick = np.concatenate((quick, np.empty(count, np.uint64)))
            spans = np.concatenate((spans, np.empty((count, 2), np.int64)))
        quick[count], firsts[count], spans[count, 0], spans[count, 1] = h, i, start, stop
        codes[i] = count
        count += 1
        slots[slot] = ((h & _LOW) << _S32) | np.uint64(count)
        if 2 * count > mask:
            mask = 4 * (mask + 1) - 1
            slots = np.zeros(mask + 1, np.uint64)
            for c in range(count):
                s = np.int64(quick[c] >> _S32) & mask
                while slots[s] != 0:
                    s = (s + 1) & mask
                slots[s] = ((quick[c] & _LOW) << _S32) | np.uint64(c + 1)
    return firsts[:count].copy()


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _renumber(codes: Any, places: Any) -> None:
    for i in range(len(codes)):
        codes[i] = places[codes[i]] if codes[i] >= 0 else 0


def distinct_texts(texts: pa.Array) -> tuple[Int32s, Int64s]:
    """Number the distinct texts by first appearance: (codes int32[n], firsts int64[distinct]); a null has code -1.

    ``texts``: utf8 or large_utf8. firsts[c] is the first index of the text with code c.
    """
    data, offsets = text_buffers(texts)
    valid = texts.is_valid().to_numpy(zero_copy_only=False) if texts.null_count else np.empty(0, np.bool_)
    codes = np.empty(len(texts), np.int32)
    return codes, _distinct(data, offsets, valid, codes)


def encode_texts(texts: pa.Array) -> tuple[Int32s, TextDictionary]:
    """(codes int32[n], dictionary of the distinct texts ascending by hash); a null entry has code 0.

    ``texts``: utf8, large_utf8, or a dictionary array of either; every distinct text is hashed once. The dictionary's
    texts are of the type of ``texts``.

    Raises LogError where two different texts have one hash.
    """
    if pa.types.is_dictionary(texts.type):
        return _encode_again(texts)
    codes, firsts = distinct_texts(texts)
    dictionary, places = _sorted_dictionary(texts.take(pa.array(firsts)))
    _renumber(codes, places)
    return codes, dictionary


def _encode_again(texts: pa.DictionaryArray) -> tuple[Int32s, TextDictionary]:
    # Only entries that occur are kept, each once: equal arrays give equal dictionaries, however they came encoded.
    indices = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=True)
    used = np.zeros(len(texts.dictionary) + 1, np.bool_)
    used[indices] = True
    kept = np.flatnonzero(used[:-1])
    inner, dictionary = encode_texts(texts.dictionary.take(pa.array(kept)))
    places = np.zeros(len(used), np.int32)
    places[kept] = inner
    _renumber(indices, places)
    return indices, dictionary


def _sorted_dictionary(distinct: pa.Array) -> tuple[TextDictionary, Int32s]:
    """The dictionary of texts that are all different, and where each of them went."""
    hi, lo = hash_texts(distinct)
    order = order_by_hash(hi, lo)
    hi, lo = hi[order], lo[order]
    same = np.flatnonzero((hi[1:] == hi[:-1]) & (lo[1:] == lo[:-1]))
    if len(same):
        raise _collision(distinct[int(order[same[0]])].as_py(), distinct[int(order[same[0] + 1])].as_py())
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return TextDictionary(distinct.take(pa.array(order)), hi, lo), places


def unify_texts(texts: pa.Array, hi: UInt64s, lo: UInt64s) -> tuple[Int32s, Int64s]:
    """``unify_hashes`` of texts whose hashes are known, comparing the bytes of equal hashes.

    Raises LogError where two different texts have one hash.
    """
    codes, firsts = unify_hashes(hi, lo)
    data, offsets = text_buffers(texts)
    bad = _first_different(data, offsets, codes, firsts)
    if bad >= 0:
        raise _collision(texts[int(firsts[codes[bad]])].as_py(), texts[int(bad)].as_py())
    return codes, firsts


def _collision(one: str, other: str) -> LogError:
    return LogError(
        f"two different texts have one 128-bit hash: {one!r} and {other!r}",
        hint="rename one of them at the source; the log tells texts apart by their hash",
    )
