"""Two relations in bulk: equal exactly where a plain comparison says so, and every cell in one group."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import ReadModelError
from runner.sinks.application.expressions import same_on_both
from runner.sinks.differences.find import comparing

if TYPE_CHECKING:
    from runner.sinks.differences.model import Found

TYPES = {
    "id": pa.string(),
    "number": pa.int64(),
    "ratio": pa.float64(),
    "name": pa.string(),
    "at": pa.timestamp("us", "UTC"),
    "price": pa.decimal128(19, 3),
    "ok": pa.bool_(),
    "list": pa.list_(pa.int64()),
}
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
VALUES = st.fixed_dictionaries(
    {
        "number": st.none() | INTS,
        "ratio": st.none() | st.floats(),
        "name": st.none() | st.text(max_size=3),
        "at": st.none() | st.integers(-(2**50), 2**50),
        "price": st.none() | st.decimals(-1000, 1000, places=3),
        "ok": st.none() | st.booleans(),
        "list": st.none() | st.lists(st.integers(-2, 2), max_size=3),
    }
)
TABLES = st.dictionaries(st.text(max_size=2), VALUES, max_size=5)


def table(rows: dict[str, dict[str, Any]]) -> pa.Table:
    columns = {"id": list(rows), **{n: [r[n] for r in rows.values()] for n in TYPES if n != "id"}}
    return pa.table({n: pa.array(columns[n], t) for n, t in TYPES.items()})


def found(here: pa.Table, there: pa.Table, *, near: bool = False) -> Found:
    columns = {n: same_on_both(n, t, None, near=near and n == "ratio") for n, t in TYPES.items()}
    with TemporaryDirectory() as directory, comparing(Path(directory), threads=1) as work:
        work.connection.register("ours", here)
        work.connection.register("theirs", there)
        fields = [c for n, c in columns.items() if n != "id"]
        return work.find("FROM ours", "FROM theirs", [columns["id"]], fields, samples=100)


def same(a: Any, b: Any) -> bool:
    """As canonical bytes have it: one NaN, and -0.0 is not 0.0."""
    return repr(a) == repr(b)


@settings(max_examples=12, deadline=None)
@given(TABLES, TABLES)
def test_a_cell_is_in_one_group_exactly_where_a_plain_comparison_differs(
    ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]
) -> None:
    theirs = {**theirs, **{k: {**v, **theirs.get(k, {})} for k, v in list(ours.items())[:3] if k not in theirs}}
    result = found(table(ours), table(theirs))
    rows = {(g.pattern, s.key[0]) for g in result.groups if not g.column for s in g.samples}
    assert {k for p, k in rows if p == "missing there"} <= ours.keys() - theirs.keys()
    cells = [(g.column, s.key[0]) for g in result.groups if g.column for s in g.samples]
    plain = {
        (name, k)
        for k in ours.keys() & theirs.keys()
        for name in TYPES
        if name != "id" and not same(ours[k][name], theirs[k][name])
    }
    assert sorted(cells) == sorted(plain)
    assert result.rows_here == len(ours)
    assert result.equal == len(ours.keys() & theirs.keys()) - len({k for _, k in plain})


def test_floats_of_merged_keys_may_differ_in_their_last_digits() -> None:
    row = {"number": 1, "ratio": 0.1 + 0.2, "name": "", "at": 0, "price": 0, "ok": True, "list": []}
    ours, theirs = table({"a": row}), table({"a": {**row, "ratio": 0.3}})
    (group,) = found(ours, theirs).groups
    assert (group.column, group.pattern) == ("ratio", "last digits of a float")
    assert found(ours, theirs, near=True).same
    assert not found(ours, table({"a": {**row, "ratio": 0.3001}}), near=True).same
    assert not found(table({"a": {**row, "ratio": 0.0}}), table({"a": {**row, "ratio": -0.0}})).same
    negative_nan = math.copysign(math.nan, -1)
    assert found(table({"a": {**row, "ratio": math.nan}}), table({"a": {**row, "ratio": negative_nan}})).same


def test_what_fails_in_the_database_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ReadModelError, match=r"the comparison failed: .*nowhere"), comparing(tmp_path) as work:
        work.find("FROM nowhere", "FROM nowhere", [same_on_both("id", pa.string(), None)], [])


def test_values_at_the_edges_of_their_types() -> None:
    row = {"number": -(2**63), "ratio": 1.7e308, "name": "", "at": -(2**60), "price": 0, "ok": True, "list": []}
    other = {**row, "number": 2**63 - 1, "ratio": -1.7e308, "at": 2**60}
    groups = found(table({"a": row, "b": other}), table({"a": other, "b": row})).groups
    assert {(g.column, sum(h.rows for h in groups if h.column == g.column)) for g in groups} == {
        ("number", 2),
        ("ratio", 2),
        ("at", 2),
    }
