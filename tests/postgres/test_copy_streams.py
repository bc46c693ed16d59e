"""Binary COPY streams without a server: cut anywhere, damaged anywhere, put together by hand from the format's text."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import CopyError
from runner.postgres import types
from runner.postgres.copy_columns import CopyColumn
from runner.postgres.copy_out import _Stream
from runner.postgres.copy_reading import SPARE, Filled

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
END = struct.pack(">h", -1)
COLUMNS = (
    CopyColumn("number", types.INT4),
    CopyColumn("text", types.TEXT),
    CopyColumn("list", types.TEXT.array()),
)
Row = tuple[int | None, str | None, list[str | None] | None]


def _field(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def _array(values: Sequence[str | None]) -> bytes:
    head = struct.pack(">iiiii", 1, int(None in values), types.TEXT.oid, len(values), 1)
    return head + b"".join(_field(None if v is None else v.encode()) for v in values)


def _row(row: Row) -> bytes:
    number, text, texts = row
    return (
        struct.pack(">h", 3)
        + _field(None if number is None else struct.pack(">i", number))
        + _field(None if text is None else text.encode())
        + _field(None if texts is None else _array(texts))
    )


def _stream(rows: Sequence[Row]) -> bytes:
    return HEADER + b"".join(map(_row, rows)) + END


def _decoded(pieces: Sequence[bytes], rows: int = 1000) -> list[Row]:
    stream = _Stream(COLUMNS, rows, "bank")
    found: list[Row] = []
    for piece in pieces:
        # What stands behind the used bytes is of an earlier use.
        buffer = np.full(len(piece) + SPARE, 0xEE, np.uint8)
        buffer[: len(piece)] = np.frombuffer(piece, np.uint8)
        for batch in stream.batches(Filled(buffer, len(piece))):
            batch.validate(full=True)
            assert 0 < batch.num_rows <= rows
            found += [tuple(row.values()) for row in batch.to_pylist()]
    stream.check_end()
    return found


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | TEXTS,
        st.none() | st.lists(st.none() | TEXTS, max_size=3),
    ),
    max_size=8,
)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 400), max_size=12), most=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_cut_anywhere_the_rows_are_the_same(rows: list[Row], cuts: list[int], most: int) -> None:
    whole = _stream(rows)
    places = sorted({0, len(whole), *(c for c in cuts if c < len(whole))})
    assert _decoded([whole[a:b] for a, b in itertools.pairwise(places)], most) == rows


ROW: Row = (7, "seven", ["a", None, ""])


def test_a_stream_that_ends_early_anywhere() -> None:
    whole = _stream([ROW, ROW])
    for stop in range(len(whole)):
        with pytest.raises(CopyError, match=r"bank: .*the stream ends before its end is said"):
            _decoded([whole[:stop]])


def test_bytes_behind_the_end() -> None:
    with pytest.raises(CopyError, match="bytes stand behind the stream's end"):
        _decoded([_stream([ROW]) + b"\0"])


def test_another_header() -> None:
    for wrong in (b"HTTP/1.1 400 Bad Request", HEADER[:5] + b"X" + HEADER[6:]):
        with pytest.raises(CopyError, match="this is no binary COPY stream"):
            _decoded([wrong])
    with pytest.raises(CopyError, match="a form that is not known"):
        _decoded([HEADER[:11] + struct.pack(">ii", 1 << 16, 0) + END])
    # What the header's extension holds is passed over, as the format says.
    assert _decoded([HEADER[:15] + struct.pack(">i", 3) + b"xyz" + _row(ROW) + END]) == [ROW]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (struct.pack(">h", 2), "row 2: 2 fields where 3 were asked for"),
        (struct.pack(">h", -2), "row 2: -2 fields where 3 were asked for"),
        (struct.pack(">hi", 3, -2), "row 2: a field of -2 bytes"),
        (
            struct.pack(">h", 3) + _field(b"12345") + 2 * _field(None) + END,
            "number, row 2: 5 bytes are no integer",
        ),
    ],
)
def test_damaged_rows_are_named(bad: bytes, reason: str) -> None:
    with pytest.raises(CopyError, match=f"bank: .*{reason}"):
        _decoded([HEADER + _row(ROW) + bad])


@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_one_wrong_byte_is_an_error_or_another_value(place: int, value: int) -> None:
    """Nothing outside the stream is read, whatever the lengths say."""
    whole = bytearray(_stream([ROW, ROW, (None, None, None)]))
    whole[place % len(whole)] = value
    try:
        rows = _decoded([bytes(whole)])
    except (CopyError, UnicodeDecodeError, pa.ArrowInvalid):
        # The last two: texts that are no UTF-8, which no server sends.
        return
    assert len(rows) <= 3
    assert all(0xEE not in (text or "").encode("latin1", "replace") for _, text, _ in rows)
