"""SipHash-2-4-128 against published vectors and its plain twin; dictionaries against sorted sets."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import LogError
from runner.kernels.hash import encode_texts, hash_texts, order_by_hash, siphash128, text_buffers, unify_texts

MASK = (1 << 64) - 1

# vectors_sip128 of the reference implementation: output for the messages b"", 00, 00 01, ..., under the key 00..0f.
PUBLISHED = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    2: "8177228da4a45dc7fca38bdef60affe4",
    3: "9c70b60c5267a94e5f33b6b02985ed51",
    4: "f88164c12d9c8faf7d0f6e7c7bcd5579",
    5: "1368875980776f8854527a07690e9627",
    6: "14eeca338b208613485ea0308fd7a15e",
    7: "a1f1ebbed8dbc153c0b84aa61ff08239",
    8: "3b62a9ba6258f5610f83e264f31497b4",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    63: "5150d1772f50834a503e069a973fbd7c",
}


def plain_siphash128(message: bytes) -> tuple[int, int]:
    """The algorithm as its paper has it, one step a line."""
    k0, k1 = (int.from_bytes(bytes(range(a, a + 8)), "little") for a in (0, 8))
    v = [0x736F6D6570736575 ^ k0, 0x646F72616E646F6D ^ k1 ^ 0xEE, 0x6C7967656E657261 ^ k0, 0x7465646279746573 ^ k1]

    def rotl(x: int, b: int) -> int:
        return ((x << b) | (x >> (64 - b))) & MASK

    def sip_round() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[1] = rotl(v[1], 13) ^ v[0]
        v[0] = rotl(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = rotl(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = rotl(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = rotl(v[1], 17) ^ v[2]
        v[2] = rotl(v[2], 32)

    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        sip_round()
        sip_round()
        v[0] ^= word
    v[2] ^= 0xEE
    for _ in range(4):
        sip_round()
    lo = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    for _ in range(4):
        sip_round()
    return v[0] ^ v[1] ^ v[2] ^ v[3], lo


def fast(message: bytes) -> tuple[int, int]:
    data = np.frombuffer(b"xyz" + message + b"12345", np.uint8)
    hi, lo = siphash128(data, 3, 3 + len(message))
    return int(hi), int(lo)


@pytest.mark.parametrize("length", PUBLISHED)
def test_published_vectors(length: int) -> None:
    hi, lo = fast(bytes(range(length)))
    assert (lo.to_bytes(8, "little") + hi.to_bytes(8, "little")).hex() == PUBLISHED[length]


@given(st.binary(max_size=70))
@settings(max_examples=150, deadline=None)
def test_kernel_is_the_plain_algorithm(message: bytes) -> None:
    assert fast(message) == plain_siphash128(message)


@given(st.lists(st.text(max_size=40), max_size=30), st.text(max_size=20), st.booleans(), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_bulk_hash_with_prefix_and_slices(texts: list[str], prefix: str, wide: bool, skip: int) -> None:
    array = pa.array(texts, pa.large_utf8() if wide else pa.utf8()).slice(min(skip, len(texts)))
    hi, lo = hash_texts(array, prefix.encode())
    expected = [plain_siphash128((prefix + t).encode()) for t in array.to_pylist()]
    assert list(zip(hi.tolist(), lo.tolist(), strict=True)) == expected


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["EUR", "USD", ""])), max_size=60),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_encoding_is_the_sorted_set(texts: list[str | None], as_dictionary: bool) -> None:
    array = pa.array(texts, pa.utf8())
    codes, dictionary = encode_texts(array.dictionary_encode() if as_dictionary else array)
    hashes = {t: plain_siphash128(t.encode()) for t in set(texts) if t is not None}
    assert dictionary.texts.to_pylist() == sorted(hashes, key=hashes.__getitem__)
    assert list(zip(dictionary.hi.tolist(), dictionary.lo.tolist(), strict=True)) == sorted(hashes.values())
    decoded = [dictionary.texts[c].as_py() if t is not None else c for t, c in zip(texts, codes.tolist(), strict=True)]
    assert decoded == [t if t is not None else 0 for t in texts]


def test_encoding_many_distinct_texts_grows_its_table() -> None:
    texts = [f"account-{k % 7001}" for k in range(20_000)]
    codes, dictionary = encode_texts(pa.array(texts))
    assert len(dictionary) == 7001
    assert dictionary.texts.take(pa.array(codes)).to_pylist() == texts


def test_dictionary_with_unused_and_repeated_entries_gives_the_same_encoding() -> None:
    odd = pa.DictionaryArray.from_arrays(pa.array([3, 1, None, 3, 0], pa.int8()), pa.array(["a", "b", "unused", "a"]))
    codes, dictionary = encode_texts(odd)
    plain_codes, plain = encode_texts(pa.array(["a", "b", None, "a", "a"]))
    assert codes.tolist() == plain_codes.tolist()
    assert dictionary.texts.to_pylist() == plain.texts.to_pylist()


@given(
    st.lists(st.integers(0, MASK), max_size=200),
    st.integers(1, 63),
    st.sampled_from([0, 1, 2, 200]),
)
@settings(max_examples=80, deadline=None)
def test_order_by_hash_is_a_stable_sort(his: list[int], common: int, spread: int) -> None:
    hi = (np.array(his, np.uint64) >> np.uint64(common)) | (np.uint64(1) << np.uint64(63))
    hi = hi[np.arange(len(hi)) % spread] if spread and len(hi) >= spread else hi
    lo = hi * np.uint64(3) % np.uint64(4)
    assert order_by_hash(hi, lo).tolist() == np.lexsort((lo, hi)).tolist()


def test_one_hash_of_two_texts_is_refused() -> None:
    same = np.array([5, 5], np.uint64)
    with pytest.raises(LogError, match=r"one 128-bit hash: 'a' and 'b'"):
        unify_texts(pa.array(["a", "b"]), same, same)


def test_unify_known_hashes() -> None:
    texts = pa.array(["b", "a", "b", "c", "a"])
    hi, lo = hash_texts(texts)
    codes, firsts = unify_texts(texts, hi, lo)
    assert texts.take(pa.array(firsts[codes])).to_pylist() == texts.to_pylist()
    assert sorted(firsts.tolist()) == [0, 1, 3]
    assert hi[firsts].tolist() == sorted(set(hi.tolist()))


def test_buffers_of_empty_arrays() -> None:
    data, offsets = text_buffers(pa.array([], pa.utf8()))
    assert offsets.tolist() == [0]
    assert data.dtype == np.uint8
    hi, _ = hash_texts(pa.array(["", ""]))
    assert hi[0] == plain_siphash128(b"")[0]
