"""Where two tables differ."""

from __future__ import annotations

import math

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from runner.jobs.proving.same_bytes import Difference, differences, same

ROWS = st.lists(
    st.tuples(st.text(max_size=3), st.one_of(st.none(), st.floats()), st.integers(-3, 3)),
    unique_by=lambda row: row[0],
    max_size=6,
)


def table(rows: list[tuple[str, float | None, int]]) -> pa.Table:
    ids, amounts, counts = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "amount": pa.array(amounts, pa.float64()),
            "count": pa.array(counts, pa.int64()),
            "_hash_hi": pa.array(range(len(rows)), pa.uint64()),
        }
    )


@given(ROWS, ROWS)
def test_differences_are_there_exactly_where_the_bytes_differ(
    ours: list[tuple[str, float | None, int]], theirs: list[tuple[str, float | None, int]]
) -> None:
    left, right = table(ours), table(theirs)
    assert same(left, right, ["id"]) == (not differences(left, right, ["id"]))


@given(ROWS)
def test_order_hashes_and_chunks_do_not_matter(rows: list[tuple[str, float | None, int]]) -> None:
    turned = pa.concat_tables([table(rows[:1])] + [table([row]) for row in reversed(rows[1:])])
    assert same(table(rows), turned, ["id"])
    assert differences(table(rows), turned, ["id"]) == ()


def test_a_difference_says_key_column_and_both_values() -> None:
    left = table([("a", 1.0, 1), ("b", math.nan, 2), ("c", 0.0, 3)])
    right = table([("a", 1.0, 2), ("b", math.nan, 2), ("d", 0.0, 3)])
    found = differences(left, right, ["id"])
    assert found == (
        Difference((("id", "'a'"),), (("count", "1", "2"),)),
        Difference((("id", "'c'"),), (("", "a row", "no row"),)),
        Difference((("id", "'d'"),), (("", "no row", "a row"),)),
    )
    assert str(found[0]) == "id='a': count: 1 against 2"
    assert len(differences(left, right, ["id"], limit=1)) == 1


def test_minus_zero_is_another_value() -> None:
    assert not same(table([("a", 0.0, 1)]), table([("a", -0.0, 1)]), ["id"])
    assert differences(table([("a", 0.0, 1)]), table([("a", -0.0, 1)]), ["id"])
