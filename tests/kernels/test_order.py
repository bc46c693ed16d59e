"""Partition, version and wavefront orders against sorted() with the key that defines them."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.kernels.order import NO_VERSION, last_versions, partition_order, version_order, wavefront_order


def plain_wavefront(codes: list[int], types: list[int], thin: int) -> list[int]:
    seen: Counter[int] = Counter()
    levels = []
    for c in codes:
        levels.append(seen[c])
        seen[c] += 1
    sizes = Counter(levels)
    wide = [i for i in range(len(codes)) if sizes[levels[i]] >= thin]
    tail = [i for i in range(len(codes)) if sizes[levels[i]] < thin]
    return sorted(wide, key=lambda i: (levels[i], types[i], codes[i])) + sorted(tail, key=lambda i: (codes[i], i))


events = st.lists(st.tuples(st.one_of(st.integers(0, 9), st.just(3)), st.sampled_from([0, 1, 2, 700])), max_size=120)


@given(events, st.sampled_from([0, 1, 2, 4, 16]))
@settings(max_examples=150, deadline=None)
def test_wavefront_is_the_sort_that_defines_it(events: list[tuple[int, int]], thin: int) -> None:
    codes, types = [c for c, _ in events], [t for _, t in events]
    order = wavefront_order(np.array(codes, np.int32), np.array(types, np.int16), 12, thin=thin)
    assert order.tolist() == plain_wavefront(codes, types, thin)


@given(events)
@settings(max_examples=50, deadline=None)
def test_wavefront_keeps_each_aggregates_order(events: list[tuple[int, int]]) -> None:
    codes = np.array([c for c, _ in events], np.int32)
    order = wavefront_order(codes, np.array([t for _, t in events], np.int16), 10)
    assert sorted(order.tolist()) == list(range(len(events)))
    for c in range(10):
        mine = [i for i in order.tolist() if codes[i] == c]
        assert mine == sorted(mine)


def test_giant_aggregate_with_many_types_makes_one_tail() -> None:
    # 300,000 levels times 30,001 types: a table of both would need 9 billion entries.
    n = 300_000
    codes = np.zeros(n, np.int32)
    codes[:200] = np.arange(200)
    types = (np.arange(n) % 30_001).astype(np.int16)
    order = wavefront_order(codes, types, 200)
    assert order.tolist() == plain_wavefront(codes.tolist(), types.tolist(), 16)


def test_many_levels_times_many_types_uses_separate_sorts() -> None:
    codes = np.tile(np.arange(20, dtype=np.int32), 300)
    types = (np.arange(6000) * 7 % 32_000).astype(np.int16)
    assert wavefront_order(codes, types, 20).tolist() == plain_wavefront(codes.tolist(), types.tolist(), 16)


@given(st.lists(st.integers(0, 19), max_size=100), st.lists(st.integers(0, 20), min_size=3, max_size=3))
@settings(max_examples=80, deadline=None)
def test_partitions_keep_order(codes: list[int], cuts: list[int]) -> None:
    bounds = np.array([0, *sorted(cuts), 20], np.int64)
    order, starts = partition_order(np.array(codes, np.int32), bounds)
    for p in range(4):
        expected = [i for i, c in enumerate(codes) if bounds[p] <= c < bounds[p + 1]]
        assert order[starts[p] : starts[p + 1]].tolist() == expected


def plain_versions(
    events: list[tuple[int, int | None]], heads: dict[int, int]
) -> tuple[list[int], list[tuple[int, int]], bool]:
    last = dict(heads)
    versions = []
    for c, v in events:
        versions.append(v if v is not None else last.get(c, 0) + 1)
        last[c] = max(last.get(c, versions[-1]), versions[-1])
    places = defaultdict(list)
    for i, (c, _) in enumerate(events):
        places[c].append(i)
    result: dict[int, tuple[int, int]] = {}
    good = True
    for c, spots in places.items():
        ordered = sorted(versions[i] for i in spots)
        good = good and len(set(ordered)) == len(ordered) and (c not in heads or ordered[0] > heads[c])
        result.update({spot: (c, v) for spot, v in zip(spots, ordered, strict=True)})
    return versions, [result[i] for i in range(len(events))], good


@given(
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 30))), max_size=40),
    st.dictionaries(st.integers(0, 5), st.integers(0, 9)),
)
@settings(max_examples=200, deadline=None)
def test_versions_put_right_inside_an_aggregate(events: list[tuple[int, int | None]], heads: dict[int, int]) -> None:
    codes = np.array([c for c, _ in events], np.int32)
    versions = np.array([NO_VERSION if v is None else v for _, v in events], np.int64)
    head = np.array([heads.get(c, NO_VERSION) for c in range(6)], np.int64)
    order, bad = version_order(codes, versions, head)
    filled, expected, good = plain_versions(events, heads)
    assert versions.tolist() == filled
    assert (bad < 0) == good
    if good:
        rows = range(len(events)) if order is None else order.tolist()
        assert [(int(codes[i]), int(versions[i])) for i in rows] == expected
    else:
        c = int(codes[bad])
        again = [v for k, v in zip(codes.tolist(), filled, strict=True) if k == c].count(filled[bad]) > 1
        assert again or filled[bad] <= heads[c]


def test_last_versions() -> None:
    heads = last_versions(np.array([0, 2, 0], np.int32), np.array([5, 1, 4], np.int64), 3)
    assert heads.tolist() == [5, NO_VERSION, 1]
