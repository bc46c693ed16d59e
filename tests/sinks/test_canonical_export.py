"""The canonical bytes: equal for equal rows however they are held, different for different ones."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sinks.export import canonical

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "part": pa.int64(),
        "f": pa.float64(),
        "b": pa.bool_(),
        "d": pa.decimal128(19, 2),
        "at": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "took": pa.duration("us"),
        "u": pa.uuid(),
        "texts": pa.list_(pa.string()),
        "numbers": pa.list_(pa.int64()),
        "_hash_hi": pa.uint64(),
    }.items()
)
NAN = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\x7f")[0]
"""Not the NaN that Python makes."""


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


ROW = st.fixed_dictionaries(
    {
        "f": _maybe(st.sampled_from([0.0, -0.0, 1.5, math.nan, NAN, math.inf])),
        "b": _maybe(st.booleans()),
        "d": _maybe(st.sampled_from([Decimal("0.00"), Decimal("-12.34")])),
        "at": _maybe(st.just(datetime(2024, 1, 1, tzinfo=UTC))),
        "day": _maybe(st.just(date(2024, 1, 1))),
        "took": _maybe(st.just(timedelta(seconds=1))),
        "u": _maybe(st.just(UUID(int=7))),
        "texts": _maybe(st.lists(_maybe(st.sampled_from(["", "é"])), max_size=3)),
        "numbers": _maybe(st.lists(_maybe(st.integers(-3, 3)), max_size=3)),
        "_hash_hi": st.integers(0, 9),
    }
)
ROWS = st.dictionaries(st.tuples(st.sampled_from(["", "a", "b", None]), _maybe(st.integers(0, 9))), ROW, max_size=9)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def _told(rows: list[dict[str, Any]]) -> list[str]:
    """What must decide equality, in plain words: NaN is NaN, -0.0 is not 0.0; hashes do not count."""
    plain = [{k: v for k, v in row.items() if k != "_hash_hi"} for row in rows]
    return sorted(repr({k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}) for row in plain)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, data=st.data())
def test_equal_rows_give_equal_bytes_however_they_are_held(
    rows: dict[tuple[Any, ...], dict[str, Any]], data: st.DataObject
) -> None:
    records = [{"id": k[0], "part": k[1], **row} for k, row in rows.items()]
    expected = canonical(_table(records))
    mixed = data.draw(st.permutations(records))
    cut = data.draw(st.integers(0, len(mixed)))
    # Chunks that are slices of something larger, texts in dictionaries, other hashes.
    around = _table([*mixed[:cut], *records, *mixed[cut:]])
    held = pa.concat_tables([around.slice(cut + len(records)), around.slice(0, cut)])
    held = held.set_column(0, "id", held["id"].dictionary_encode())
    held = held.set_column(
        SCHEMA.get_field_index("texts"), "texts", held["texts"].cast(pa.large_list(pa.large_string()))
    )
    assert canonical(held) == expected
    assert canonical(held.drop_columns(["_hash_hi"]), ["id", "part"]) == expected
    back = pa.ipc.open_stream(expected).read_all()
    back.validate(full=True)
    storage = SCHEMA.set(SCHEMA.get_field_index("u"), pa.field("u", pa.uuid()))
    back = back.cast(pa.schema([storage.field(n) for n in back.schema.names]))
    assert _told(back.to_pylist()) == _told([{k: r[k] for k in back.schema.names} for r in records])


@settings(max_examples=60, deadline=None)
@given(one=ROWS, other=ROWS)
def test_different_rows_give_different_bytes(one: Any, other: Any) -> None:
    a, b = ([{"id": k[0], "part": k[1], **row} for k, row in rows.items()] for rows in (one, other))
    assert (canonical(_table(a)) == canonical(_table(b))) == (_told(a) == _told(b))


def test_what_stands_under_a_null_does_not_count() -> None:
    valid = pa.py_buffer(np.packbits([1, 0, 1], bitorder="little"))
    numbers, texts = [], []
    for under, text in ((2, b""), (99, b"zz")):
        buffer = pa.py_buffer(np.array([1, under, 3], np.int64))
        numbers.append(pa.Array.from_buffers(pa.int64(), 3, [valid, buffer]))
        offsets = pa.py_buffer(np.array([0, 1, 1 + len(text), 2 + len(text)], np.int32))
        texts.append(pa.Array.from_buffers(pa.string(), 3, [valid, offsets, pa.py_buffer(b"a" + text + b"b")]))
    one, two = numbers
    assert one.equals(two)
    assert canonical(pa.table({"x": one, "t": texts[0]})) == canonical(pa.table({"x": two, "t": texts[1]}))


@pytest.mark.parametrize("key", [["id"], None])
def test_rows_are_sorted_by_key_and_bytes_hold_no_metadata(key: list[str] | None) -> None:
    table = pa.table({"id": ["b", None, "a"], "n": [1, 2, 3]}).replace_schema_metadata({"made": "today"})
    back = pa.ipc.open_stream(canonical(table, key)).read_all()
    assert back["id"].to_pylist() == ["a", "b", None]
    assert back.schema.metadata is None
