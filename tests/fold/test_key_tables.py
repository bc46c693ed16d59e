"""Row numbers of aggregates and keys against a dict: any order of batches, growth on the way, equal words apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.batch import AggregateDictionary
from runner.fold.tables import AggregateRows, KeyRows
from runner.kernels.hash import encode_texts
from runner.kernels.keymap import empty_keys, key_row

# Few names, so that dictionaries overlap; some hashes that share one word, which only the other tells apart.
NAMES = st.lists(st.integers(0, 300).map(str), max_size=120)


def dictionary(names: list[str]) -> AggregateDictionary:
    _, found = encode_texts(pa.array(names, pa.utf8()))
    lengths = np.array([len(t) for t in found.texts.to_pylist()], np.int16)
    return AggregateDictionary(found.texts, found.hi, found.lo, lengths)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(NAMES, max_size=6))
def test_every_aggregate_keeps_its_row(batches: list[list[str]]) -> None:
    table = AggregateRows()
    known: dict[str, int] = {}
    for names in batches:
        entries = dictionary(names)
        rows = table.enter(entries).tolist()
        for name, row in zip(entries.texts.to_pylist(), rows, strict=True):
            assert known.setdefault(name, row) == row
    assert sorted(known.values()) == list(range(len(known))) == list(range(len(table)))
    texts, scopes = table.identities()
    assert {t: i for i, t in enumerate(texts.to_pylist())} == known
    assert scopes.tolist() == [len(t) for t in texts.to_pylist()]
    if known:
        everything = dictionary(list(known))
        assert table.find(everything.hi, everything.lo).tolist() == [known[t] for t in everything.texts.to_pylist()]


def test_only_the_used_entries_get_rows() -> None:
    table = AggregateRows()
    entries = dictionary([str(n) for n in range(10)])
    rows = table.enter(entries, np.array([2, 5]))
    assert rows[[2, 5]].tolist() == [0, 1]
    assert len(table) == 2


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=16, unique=True))
def test_both_words_of_a_hash_count(pairs: list[tuple[int, int]]) -> None:
    pairs = sorted(pairs)
    table = AggregateRows()
    for part in (pairs[::2], pairs[1::2], pairs):
        hi = np.array([p[0] for p in part], np.uint64) << np.uint64(62)
        rows = table.find(hi, np.array([p[1] for p in part], np.uint64))
        assert len(set(rows.tolist())) == len(part)
    assert len(table) == len(pairs)


@settings(max_examples=60, deadline=None)
@given(keys=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0, 1, -(2**63), 2**63 - 1, 2**32])), max_size=200))
def test_keys_get_rows_as_they_come(keys: list[tuple[int, int]]) -> None:
    table = KeyRows(2, 16)
    known: dict[tuple[int, int], int] = {}
    for key in keys:
        table.reserve(1)
        row, new = key_row(table.keys, key)
        assert new == (key not in known)
        assert known.setdefault(key, row) == row
    assert table.words.tolist() == [list(k) for k in known]
    if keys:
        assert table.enter(np.array(keys, np.int64)).tolist() == [known[k] for k in keys]


def test_a_full_map_refuses_a_new_key_and_finds_the_old_ones() -> None:
    keys = empty_keys(16, 1)
    for n in range(16):
        assert key_row(keys, (n,)) == (n, True)
    assert key_row(keys, (99,)) == (-1, False)
    assert [key_row(keys, (n,)) for n in range(16)] == [(n, False) for n in range(16)]
    assert len(keys.slots) * 6 // 10 >= 16


def test_keys_that_share_words_are_told_apart_where_their_slots_meet() -> None:
    """Child rows of one aggregate, in a map so full that neighbours are compared all the time."""
    wanted = [(7, n, 0) for n in range(400)] + [(n, 7, 1) for n in range(400)] + [(7, 7, n) for n in range(2, 400)]
    one_by_one, at_once = KeyRows(3, 2_000), KeyRows(3, 2_000)
    assert [key_row(one_by_one.keys, key) for key in wanted] == [(n, True) for n in range(len(wanted))]
    assert [key_row(one_by_one.keys, key) for key in wanted] == [(n, False) for n in range(len(wanted))]
    assert at_once.enter(np.array(wanted, np.int64)).tolist() == list(range(len(wanted)))
    assert at_once.enter(np.array(wanted[::-1], np.int64)).tolist() == list(range(len(wanted)))[::-1]
