"""Columns taken out of a mapped Parquet file against Arrow's reader: the same values, or none at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sinks import rows as rows_module
from runner.sinks.mapped import MappedColumn, mapped_column

TYPES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.integers(-(2**40), 2**40),
    pa.duration("us"): st.integers(-(2**40), 2**40),
    pa.date32(): st.integers(-(2**20), 2**20),
}
OTHERS = {
    pa.string(): st.text(max_size=4),
    pa.decimal128(19, 2): st.just(Decimal("1.25")),
    pa.list_(pa.int64()): st.just([1, 2]),
}


def column_of(file: pa.Buffer, group: int, type_: pa.DataType) -> MappedColumn | None:
    return mapped_column(
        np.frombuffer(file, np.uint8), pq.read_metadata(pa.BufferReader(file)).row_group(group), 0, type_
    )


def drawn(data: st.DataObject, type_: pa.DataType, values: st.SearchStrategy[Any], **size: int) -> pa.Table:
    return pa.table({"c": pa.array(data.draw(st.lists(values, **size)), type_)})


@pytest.mark.parametrize("type_", TYPES, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 7, 64]))
def test_rows_of_our_files_are_those_that_arrow_reads(type_: pa.DataType, data: st.DataObject, size: int) -> None:
    table = drawn(data, type_, TYPES[type_], min_size=1, max_size=70)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "ROW_GROUP", size)
        file = rows_module._parquet(table)
    read = pq.ParquetFile(pa.BufferReader(file))
    for group in range(read.num_row_groups):
        column = column_of(file, group, type_)
        expected = read.read_row_group(group)["c"].combine_chunks()
        assert column is not None
        wanted = data.draw(st.lists(st.integers(0, len(expected) - 1)))
        assert column.take(np.array(wanted, np.int64)).equals(expected.take(pa.array(wanted, pa.int64())))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), type_=st.sampled_from([*TYPES, *OTHERS]), rows=st.sampled_from([3, 100]), packed=st.booleans())
def test_any_other_file_gives_the_same_values_or_no_column(
    data: st.DataObject, type_: pa.DataType, rows: int, packed: bool
) -> None:
    values = (TYPES | OTHERS)[type_]
    table = drawn(data, type_, values if data.draw(st.booleans()) else values | st.none(), min_size=1, max_size=20)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="lz4" if packed else "none",
        use_dictionary=data.draw(st.booleans()),
        max_rows_per_page=rows,
        write_batch_size=2,
        data_page_version=data.draw(st.sampled_from(["1.0", "2.0"])),
        write_statistics=data.draw(st.booleans()),
        write_page_checksum=data.draw(st.booleans()),
    )
    column = column_of(sink.getvalue(), 0, type_)
    if column is not None:
        assert not packed
        assert table["c"].null_count == 0
        assert type_ in TYPES
        assert column.take(np.arange(len(table))).equals(
            pq.read_table(pa.BufferReader(sink.getvalue()))["c"].combine_chunks()
        )
