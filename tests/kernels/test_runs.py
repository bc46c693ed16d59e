"""Runs of types and their pieces, against loops that say what they are; rows of words against NumPy's columns."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.kernels.columns import split_rows
from runner.kernels.order import wavefront_order
from runner.kernels.runs import cut_runs, run_end

Run = tuple[int, int, int]


def plain_runs(kinds: list[int], aggregate: list[int], most: int) -> list[Run]:
    """(begin, end, place among its type) of the first runs, up to ``most`` or the first that does not ascend."""
    found: list[Run] = []
    for _, group in itertools.groupby(range(len(kinds)), key=lambda i: kinds[i]):
        places = list(group)
        mine = [aggregate[i] for i in places]
        if len(found) == most or mine != sorted(mine):
            break
        begin, end = places[0], places[-1] + 1
        found.append((begin, end, kinds[:begin].count(kinds[begin])))
    return found


def plain_pieces(runs: list[Run], aggregate: list[int], step: int, entries: int) -> list[Run]:
    found: list[Run] = []
    for low in range(0, entries, step):
        for begin, end, first in runs:
            mine = [i for i in range(begin, end) if low <= aggregate[i] < low + step]
            if mine:
                found.append((mine[0], mine[-1] + 1, first + mine[0] - begin))
    return found


EVENTS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 2])), max_size=300)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.integers(1, 12), st.integers(0, 40), st.booleans())
@example([(i % 10, 0) for i in range(200)], 3, 40, True)
def test_pieces_are_the_parts_of_the_first_runs(
    events: list[tuple[int, int]], step: int, most: int, wavefront: bool
) -> None:
    codes, types = (np.array([e[n] for e in events], t) for n, t in ((0, np.int32), (1, np.int16)))
    if wavefront:
        order = wavefront_order(codes, types, 10, thin=2)
        codes, types = codes[order], types[order]
    runs, pieces = np.empty((most, 3), np.int64), np.empty((most * -(-10 // step), 3), np.int64)
    made = cut_runs(types, codes.view(np.uint32), step, 10, np.zeros(3, np.int64), runs, pieces)
    expected = plain_pieces(plain_runs(types.tolist(), codes.tolist(), most), codes.tolist(), step, 10)
    assert [tuple(p) for p in pieces[:made].tolist()] == expected
    covered = sorted(i for begin, end, _ in pieces[:made].tolist() for i in range(begin, end))
    assert covered == list(range(len(covered))), "the pieces are the batch's first events, each once"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200)), min_size=1, max_size=8))
def test_a_run_ends_where_the_type_changes(parts: list[tuple[int, int]]) -> None:
    kinds = [kind for kind, n in parts for _ in range(n)]
    begin = len(kinds) // 2
    end = next((i for i in range(begin, len(kinds)) if kinds[i] != kinds[begin]), len(kinds))
    assert run_end(np.array(kinds, np.int16), begin) == end


def test_rows_are_split_into_columns() -> None:
    rows = np.arange(60, dtype=np.int64).reshape(12, 5)
    columns = np.empty((3, 12), np.int64)
    split_rows(rows, np.array([4, 0, 2]), columns)
    assert columns.tolist() == rows[:, [4, 0, 2]].T.tolist()
