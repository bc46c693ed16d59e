"""The digest of events against MurmurHash3 in plain Python; looking up versions and moving texts against lists."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.kernels.digest import digest_events
from runner.kernels.gather import find_versions, gather_texts, large_texts
from runner.kernels.hash import text_buffers
from runner.kernels.order import NO_VERSION

MASK = (1 << 64) - 1
int64s = st.integers(-(2**63), 2**63 - 1)
int16s = st.integers(0, 2**15 - 1)
words = st.integers(0, MASK)


def plain_murmur3(message: bytes) -> int:
    """MurmurHash3_x64_128, seed 0: h1 as the low word, h2 as the high one."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def rotl(x: int, r: int) -> int:
        return ((x << r) | (x >> (64 - r))) & MASK

    def mix(k: int) -> int:
        k = (k ^ (k >> 33)) * 0xFF51AFD7ED558CCD & MASK
        k = (k ^ (k >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
        return k ^ (k >> 33)

    def one(k: int) -> int:
        return rotl(k * c1 & MASK, 31) * c2 & MASK

    def two(k: int) -> int:
        return rotl(k * c2 & MASK, 33) * c1 & MASK

    h1 = h2 = 0
    whole = len(message) // 16 * 16
    for at in range(0, whole, 16):
        k1, k2 = struct.unpack_from("<QQ", message, at)
        h1 = (rotl(h1 ^ one(k1), 27) + h2) * 5 + 0x52DCE729 & MASK
        h2 = (rotl(h2 ^ two(k2), 31) + h1) * 5 + 0x38495AB5 & MASK
    rest = message[whole:]
    h2 ^= two(int.from_bytes(rest[8:], "little"))
    h1 ^= one(int.from_bytes(rest[:8], "little"))
    h1, h2 = h1 ^ len(message), h2 ^ len(message)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    h1, h2 = mix(h1), mix(h2)
    h1 = (h1 + h2) & MASK
    return (h2 + h1 & MASK) << 64 | h1


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "00000000000000000000000000000000"),
        (b"The quick brown fox jumps over the lazy dog", "6c1b07bc7bbc4be347939ac4a93c437a"),
        (b"hello", "029bbd41b3a7d8cb191dae486a901e5b"),
    ],
)
def test_the_twin_is_the_published_function(message: bytes, digest: str) -> None:
    value = plain_murmur3(message)
    # Published digests are written h1, h2, each as a big-endian number or as bytes; these are bytes.
    assert digest in {f"{value & MASK:016x}{value >> 64:016x}", struct.pack("<QQ", value & MASK, value >> 64).hex()}


@given(
    st.lists(
        st.tuples(int64s, int64s, int64s, int64s, int64s, int16s, int16s, st.integers(0, 2), st.binary(max_size=50)),
        max_size=12,
    ),
    st.lists(words, min_size=3, max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_digest_is_the_sum_of_plain_ones(events: list[tuple[int, ...]], his: list[int]) -> None:
    names = ("position", "version", "recorded_at", "source_position_0", "source_position_1", "type", "source")
    header = {name: np.array([e[k] for e in events], np.int16 if k > 4 else np.int64) for k, name in enumerate(names)}
    hi, lo = np.array(his, np.uint64), np.array([h ^ 7 for h in his], np.uint64)
    payloads = [bytes(e[8]) for e in events]
    data = np.frombuffer(b"".join(payloads) + b"\xff" * 16, np.uint8)
    offsets = np.cumsum([0, *map(len, payloads)]).astype(np.int64)
    codes = np.array([e[7] for e in events], np.int32)
    expected = 0
    for e, payload in zip(events, payloads, strict=True):
        packed = struct.pack("<qqqqqQQhh4x", *e[:5], his[e[7]], his[e[7]] ^ 7, e[5], e[6])
        expected += plain_murmur3(packed + payload)
    assert digest_events(header, codes, hi, lo, data, offsets) == expected % 2**128


@given(
    st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 6)), st.integers(0, 9), max_size=40),
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_find_versions(table: dict[tuple[int, int], int], keys: set[tuple[int, int]], data: st.DataObject) -> None:
    ordered, known = sorted(keys), sorted(table)
    wanted = sorted(data.draw(st.sets(st.integers(0, len(ordered) - 1)))) if ordered else []

    def column(pairs: list[tuple[int, int]], k: int) -> np.ndarray:
        return np.array([p[k] for p in pairs], np.uint64)

    out = np.full(len(ordered), NO_VERSION, np.int64)
    versions = np.array([table[k] for k in known], np.int64)
    left = find_versions(
        column(ordered, 0),
        column(ordered, 1),
        np.array(wanted, np.int64),
        (column(known, 0), column(known, 1), versions),
        out,
    )
    assert left.tolist() == [c for c in wanted if ordered[c] not in table]
    assert out.tolist() == [table.get(k, NO_VERSION) if c in wanted else NO_VERSION for c, k in enumerate(ordered)]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.data(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_gather_texts(texts: list[str], data: st.DataObject, skip: int) -> None:
    array = pa.array(texts, pa.large_utf8())[min(skip, len(texts) - 1) :]
    rows = data.draw(st.lists(st.integers(0, len(array) - 1), max_size=20))
    packed = gather_texts(*text_buffers(array), np.array(rows, np.int32))
    assert large_texts(*packed).to_pylist() == [array[r].as_py() for r in rows]
