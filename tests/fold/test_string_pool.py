"""The string pool against Python's own strings: every function, on any text; interning, growth, and a full pool."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.fold.texts import Texts
from runner.kernels import pool as kernels
from runner.kernels.status import GROW, OK, RANGE, REFUSED

TEXT = st.text(st.sampled_from("abAB z0é\u0301€𐍈\x00ß"), max_size=12) | st.text(max_size=8)
BOUND = st.none() | st.integers(-15, 15)


def one(texts: Texts, text: str) -> int:
    return int(texts.intern(pa.array([text], pa.utf8()))[0])


def text_of(texts: Texts, answer: tuple[int, int]) -> str:
    code, text = answer
    assert code == OK
    return str(texts.take([text])[0].as_py())


@pytest.fixture(scope="module")
def roomy() -> Texts:
    return Texts(["", "constant"], texts=200_000, size=4_000_000)


@settings(max_examples=150, deadline=None)
@given(a=TEXT, b=TEXT, start=BOUND, stop=BOUND)
def test_functions_do_what_strings_do(roomy: Texts, a: str, b: str, start: int | None, stop: int | None) -> None:
    pool, x, y = roomy.pool, one(roomy, a), one(roomy, b)
    assert kernels.text_length(pool, x) == len(a)
    assert bool(kernels.text_less(pool, x, y)) == (a < b)
    assert bool(kernels.text_starts(pool, x, y)) == a.startswith(b)
    assert bool(kernels.text_ends(pool, x, y)) == a.endswith(b)
    assert bool(kernels.text_contains(pool, x, y)) == (b in a)
    assert text_of(roomy, kernels.text_concat(pool, x, y)) == a + b
    bounds = [kernels.NO_BOUND if v is None else v for v in (start, stop)]
    assert text_of(roomy, kernels.text_slice(pool, x, *bounds)) == a[start:stop]
    if start is not None:
        answer = kernels.text_index(pool, x, start)
        if -len(a) <= start < len(a):
            assert text_of(roomy, answer) == a[start]
        else:
            assert answer[0] == RANGE


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_case_is_turned_in_ascii_and_refused_beyond(roomy: Texts, text: str) -> None:
    text_id = one(roomy, text)
    for function, turned in ((kernels.text_lower, text.lower()), (kernels.text_upper, text.upper())):
        answer = function(roomy.pool, text_id)
        if text.isascii():
            assert text_of(roomy, answer) == turned
        else:
            assert answer[0] == REFUSED


@settings(max_examples=60, deadline=None)
@given(value=st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_written_as_python_writes_them(roomy: Texts, value: int) -> None:
    assert text_of(roomy, kernels.text_of_int(roomy.pool, value)) == str(value)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, max_size=60), again=st.lists(TEXT, max_size=60))
def test_equal_texts_have_equal_ids_however_they_come(texts: list[str], again: list[str]) -> None:
    pool = Texts(["", "x"], texts=2, size=64)
    ids = dict(zip(texts, pool.intern(pa.array(texts, pa.utf8())).tolist(), strict=True))
    more = pool.intern(pa.array(again, pa.utf8())).tolist()
    for text, text_id in zip(again, more, strict=True):
        assert ids.setdefault(text, text_id) == text_id
    assert len(set(ids.values())) == len(ids)
    assert pool.take(list(ids.values())).to_pylist() == list(ids)
    assert one(pool, "") == 0
    assert one(pool, "x") == 1


def test_made_text_is_the_same_as_a_read_one() -> None:
    pool = Texts(["", "ab", "c"])
    joined = kernels.text_concat(pool.pool, 1, 2)
    assert joined == (OK, one(pool, "abc"))
    assert kernels.text_slice(pool.pool, joined[1], 0, 2) == (OK, 1)
    assert kernels.text_slice(pool.pool, joined[1], 2, 2) == (OK, 0)


@pytest.mark.parametrize("short", ["texts", "bytes"])
def test_a_full_pool_says_so_and_goes_on_with_more_room(short: str) -> None:
    pool = Texts(["", "ab", "c"], texts=4 if short == "texts" else 100, size=64)
    made, last = [], 1
    while True:
        code, text = kernels.text_concat(pool.pool, last, 2)
        if code == GROW:
            break
        made.append(text)
        last = text
    known = pool.take(made).to_pylist()
    assert known == ["ab" + "c" * (n + 1) for n in range(len(made))]
    pool.reserve(10, 1000)
    assert kernels.text_concat(pool.pool, last, 2)[0] == OK
    assert pool.take(made).to_pylist() == known


def test_texts_with_one_hash_are_told_apart_by_their_bytes() -> None:
    import numpy as np

    pool = Texts([""])
    same = np.array([7, 7, 7], np.uint64)
    ids = pool.intern_hashed(pa.array(["left", "right", "left"]), same, same)
    assert ids[0] == ids[2] != ids[1]
