"""Values that lie in a Parquet file as they lie in memory: some rows of a mapped file without reading all of them.

``rows.py`` writes columns of fixed width plain, uncompressed and with one page a row group. Such a page ends with its
values, one behind the other, where no value is null. Whatever is not exactly so (text, nulls, another writer's file) is
no ``MappedColumn``, and the caller lets Arrow read it; the values are those that Arrow would give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["MappedColumn", "mapped_column"]

Int64s = npt.NDArray[np.int64]

_WIDTHS = {"INT64": 8, "DOUBLE": 8, "INT32": 4, "BOOLEAN": 0}
"""By physical type: bytes of a value; 0 is one bit."""
_HEADER = 1024
"""Bytes that the head of a page may take, levels included."""


@dataclass(frozen=True)
class MappedColumn:
    """A column of one row group. octets: uint8, a view of the file; width: of a value in bytes, 0 for bits."""

    type: pa.DataType
    octets: npt.NDArray[np.uint8]
    width: int

    @property
    def values(self) -> npt.NDArray[Any]:
        """All values as unsigned integers of their width, a view; not for bits."""
        return self.octets.view(f"<u{self.width}")

    def take(self, rows: Int64s) -> pa.Array:
        """The values of these rows."""
        if self.width == 0:
            bits = (self.octets[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1
            return pa.array(bits.astype(np.bool_))
        return pa.Array.from_buffers(self.type, len(rows), [None, pa.py_buffer(self.values[rows])])


def mapped_column(
    data: npt.NDArray[np.uint8], group: pq.RowGroupMetaData, place: int, type_: pa.DataType
) -> MappedColumn | None:
    """The column at ``place`` of a row group of the file ``data``, as type_; None where Arrow has to read it."""
    column = group.column(place)
    width = _WIDTHS.get(column.physical_type)
    statistics = column.statistics
    if (
        width is None
        or not _fits(type_, width)
        or column.compression != "UNCOMPRESSED"
        or set(column.encodings) != {"PLAIN", "RLE"}
        or column.has_dictionary_page
        or statistics is None
        or not statistics.has_null_count
        or statistics.null_count
    ):
        return None
    begin = column.data_page_offset
    end = begin + column.total_compressed_size
    rows, size = group.num_rows, width * group.num_rows or -(-group.num_rows // 8)
    page = _page(bytes(data[begin : begin + 64]))
    if page is None or page[0] != rows or not size <= page[1] <= size + _HEADER:
        return None  # several pages
    if not begin < end - page[1] <= begin + _HEADER:
        return None
    return MappedColumn(type_, data[end - size : end], width)


def _fits(type_: pa.DataType, width: int) -> bool:
    if width == 0:
        return bool(pa.types.is_boolean(type_))
    plain = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_temporal(type_)
    return bool(plain) and type_.bit_width == 8 * width


def _page(head: bytes) -> tuple[int, int] | None:
    """(values, bytes behind the header) of the data page that begins here; None where it is none.

    A header is a Thrift struct in the compact protocol: a byte with the step to the next field's number and its type,
    then the value. Fields: 1 type of the page, 2 and 3 its sizes, 4 the checksum, 5 a struct whose first is the count.
    """
    found: dict[int, int] = {}
    at, number = 0, 0
    while at < len(head) and number < 5:
        step, kind = head[at] >> 4, head[at] & 15
        at, number = at + 1, number + step
        if step == 0 or kind not in (_INT32, _STRUCT):
            return None
        if kind == _STRUCT:
            break
        found[number], at = _varint(head, at)
    if number != 5 or found.get(1) != 0 or 3 not in found or head[at : at + 1] != bytes([0x10 | _INT32]):
        return None
    values, _ = _varint(head, at + 1)
    return values, found[3]


_INT32, _STRUCT = 5, 12


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(the zigzag number, where it ends)."""
    number, shift = 0, 0
    while at < len(data):
        octet = data[at]
        at += 1
        number |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            break
    return (number >> 1) ^ -(number & 1), at
