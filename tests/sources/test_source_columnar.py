"""Parquet and Arrow files: columns as fields and as JSON payloads, rows as lines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import fields, read, read_all, source

from runner.errors import LineError, SourceChanged, SourceError
from runner.sources import columnar
from runner.sources.jsontext import json_objects, readable

TYPED = pa.table(
    {
        "id": pa.array([7, 8, 9], pa.int32()),
        "type": pa.array(["a", "b", "a"]).dictionary_encode(),
        "at": pa.array([datetime(2026, 1, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("ms", "Europe/Amsterdam")),
        "repo": pa.array([{"name": "r", "stars": 1}, {"name": None, "stars": 2}, None]),
        "amount": pa.array([Decimal("1.50"), None, Decimal("-0.05")], pa.decimal128(10, 2)),
        "ratio": pa.array([0.1, 1e300, -0.0]),
        "flag": pa.array([True, False, None]),
        "day": pa.array([date(2026, 1, 2)] * 3),
        "tags": pa.array([["x", 'q"'], [], None]),
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.utf8(), pa.int64())),
        "long": pa.array(["é\\\n\x01", "", None], pa.large_utf8()),
    }
)
BODY = """
files = "events.*"
aggregate_id = "id"
type = "type"
recorded_at = "at"
"""


def written(folder, table, kind):
    file = folder / f"events.{'parquet' if kind == 'parquet' else 'arrow'}"
    if kind == "parquet":
        pq.write_table(table, file, row_group_size=2)
    elif kind == "arrow":
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    else:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return file


def body(kind, more=""):
    return BODY + f'format = "{"parquet" if kind == "parquet" else "arrow"}"\n{more}'


KINDS = pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])


@KINDS
def test_columns_of_every_type(tmp_path, kind):
    written(tmp_path, TYPED, kind)
    found = read_all(source(tmp_path, body(kind, 'version = "repo.stars"\n'.replace("version", "# version"))))
    assert fields(found, "aggregate_id", "type", "recorded_at", "source_position_1") == [
        (str(k), t, datetime(2026, 1, 1, 1, tzinfo=UTC), n) for k, t, n in ((7, "a", 1), (8, "b", 2), (9, "a", 3))
    ]
    exact = [json.loads(row["payload"], parse_float=str) for row in found.rows]
    assert exact[0] == {
        "id": 7,
        "type": "a",
        "at": "2026-01-01T01:00:00.000000Z",
        "repo": {"name": "r", "stars": 1},
        "amount": "1.50",
        "ratio": "0.1",
        "flag": True,
        "day": "2026-01-02",
        "tags": ["x", 'q"'],
        "map": {"k": 1},
        "long": "é\\\n\x01",
    }
    assert exact[1]["ratio"] in ("1e+300", "1e300")
    assert (exact[1]["amount"], exact[1]["repo"], exact[1]["tags"], exact[1]["map"]) == (
        None,
        {"name": None, "stars": 2},
        [],
        {},
    )
    assert (exact[2]["repo"], exact[2]["amount"], exact[2]["tags"], exact[2]["long"]) == (None, "-0.05", None, None)


@KINDS
def test_paths_into_structs_payload_columns_and_bad_rows(tmp_path, kind):
    written(tmp_path, TYPED, kind)
    more = 'version = "repo.stars"\npayload = {columns = ["flag"]}\non_bad_line = "reject"\n'
    found = read_all(source(tmp_path, body(kind, more)))
    assert fields(found, "version", "payload") == [(1, '{"flag":true}'), (2, '{"flag":false}')]
    assert [(b.line, b.reason) for b in found.rejected] == [(3, "version: there is no repo.stars, repo is empty")]
    assert json.loads(found.rejected[0].text)["id"] == 9
    struct = read(source(tmp_path, body(kind, 'payload = {path = "repo", optional = true}\n')))
    assert [row["payload"] for row in struct.rows] == ['{"name":"r","stars":1}', '{"name":null,"stars":2}', "{}"]
    stop = read(source(tmp_path, body(kind, 'version = "repo.stars"\n')))
    assert isinstance(stop.error, LineError)
    assert (stop.ids, stop.error.line, stop.mark["files"][0]["offset"]) == (["7", "8"], 3, 2)
    missing = read(source(tmp_path, body(kind, 'version = "repo.forks"\n')))
    assert "column repo of" in str(missing.error)


@KINDS
def test_reading_goes_on_from_a_row(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(columnar, "ROWS", 3)
    rows = pa.table(
        {"id": pa.array(range(20)), "type": ["t"] * 20, "at": [datetime(2026, 1, 1, tzinfo=UTC)] * 20, "v": range(20)}
    )
    late = rows.set_column(3, "v", pa.array([*range(11), -1, *range(12, 20)]))
    written(tmp_path, late, kind)
    config = source(tmp_path, body(kind, 'version = "v"\n'))
    found = read(config)
    assert found.ids == [str(k) for k in range(11)]
    # The same file again: it stops at the same place, without reading a row twice.
    assert read(config, found.mark).rows == []
    # Such a file cannot be mended behind its mark.
    file = written(tmp_path, rows, kind)
    assert isinstance(read(config, found.mark).error, SourceChanged)
    whole = read_all(config)
    assert whole.places == [(0, k + 1) for k in range(20)]
    assert read_all(config, whole.mark).rows == []
    file.write_bytes(file.read_bytes()[:-30])
    assert isinstance(read(config, whole.mark).error, SourceChanged)
    cut = read(config)
    assert type(cut.error) is SourceError
    assert str(file) in str(cut.error)


def test_what_json_cannot_say_is_named(tmp_path):
    for column in (pa.array([1.0, float("nan")]), pa.array([b"\xff", b""]), pa.array([[float("inf")], []])):
        with pytest.raises(SourceError, match="column c"):
            json_objects([("c", column)], "source s")
    naive = TYPED.set_column(2, "at", pa.array([datetime(2026, 1, 1)] * 3))  # noqa: DTZ001  # a column without a zone
    written(tmp_path, naive, "parquet")
    assert "no time zone" in str(read(source(tmp_path, body("parquet"))).error)
    zoned = body("parquet").replace('"at"', '{path = "at", zone = "Asia/Tokyo"}')
    assert read_all(source(tmp_path, zoned)).rows[0]["recorded_at"] == datetime(2025, 12, 31, 15, tzinfo=UTC)


leaf = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=4)),
    st.tuples(
        st.just(pa.float64()),
        st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=4),
    ),
    st.tuples(
        st.just(pa.float32()),
        st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=4),
    ),
    st.tuples(
        st.just(pa.utf8()), st.lists(st.one_of(st.none(), st.text('aé"\\\n\x00\x1f/\x7f😀', max_size=4)), max_size=4)
    ),
    st.tuples(st.just(pa.bool_()), st.lists(st.one_of(st.none(), st.booleans()), max_size=4)),
)


@st.composite
def nested(draw):
    kind, values = draw(leaf)
    for _ in range(draw(st.integers(0, 2))):
        if draw(st.booleans()):
            kind, values = pa.list_(kind), draw(st.lists(st.one_of(st.none(), st.just(values)), max_size=3))
        else:
            kind, values = pa.struct([('k"', kind)]), [None if draw(st.booleans()) else {'k"': v} for v in values]
    return pa.array(values, kind)


@given(column=nested(), cut=st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_columns_as_json_against_python(column, cut):
    column = column[cut:]
    found = [json.loads(text)["c"] for text in json_objects([("c", column)], "x").to_pylist()]
    assert found == column.to_pylist()
    if len(column) and pa.types.is_float32(column.type):
        assert [np.float32(v) if v is not None else None for v in found] == column.to_pylist()


@given(times=st.lists(st.none() | st.integers(-(2**56), 2**58), max_size=20), zone=st.sampled_from([None, "UTC"]))
@settings(max_examples=60, deadline=None)
def test_times_are_written_as_strftime_writes_them(times, zone):
    column = pa.array(times, pa.timestamp("us"))
    wanted = [t and t + ("Z" if zone else "") for t in pc.strftime(column, format="%Y-%m-%dT%H:%M:%S").to_pylist()]
    assert readable(column.cast(pa.timestamp("us", zone))).to_pylist() == wanted


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(("before", "after"), [("full", "full"), ("ends", "full"), ("full", "ends")])
def test_a_copy_of_a_file_that_was_read_is_refused(tmp_path, kind, before, after):
    file = written(tmp_path, TYPED, kind)
    found = read_all(source(tmp_path, body(kind, f'verify = "{before}"\n')))
    (tmp_path / "events.copy").write_bytes(file.read_bytes())
    again = read(source(tmp_path, body(kind, f'verify = "{after}"\n')), found.mark)
    assert isinstance(again.error, SourceChanged)
    assert "events.copy holds the events of" in str(again.error)
    allowed = read_all(source(tmp_path, body(kind, 'copied_files = "allow"\n')), found.mark)
    assert len(allowed.rows) == TYPED.num_rows
