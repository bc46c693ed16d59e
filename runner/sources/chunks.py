"""Text cut into chunks of whole lines or CSV records, and a chunk made into records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from runner.errors import LineError, SourceError
from runner.kernels.csvlines import LONE_RETURN, OPEN_QUOTE, cut_records
from runner.kernels.textspans import copy_spans
from runner.sources.records import JsonRecords, Records, TableRecords

if TYPE_CHECKING:
    from runner.config.model import CsvConfig, SourceConfig
    from runner.kernels.jsonscan import Bytes, Int64s

__all__ = ["Chunk", "Parsed", "csv_header", "csv_records", "cut_chunk", "json_records"]

_UNREADABLE = {
    OPEN_QUOTE: "the file ends inside a quoted field",
    LONE_RETURN: "the line holds a carriage return outside quotes",
}
LONGEST_LINE = 256 << 20
"""A line must fit into memory several times over."""


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file. text: with their line ends. line: of the first, from 1. lines: how many line ends.

    starts, stops: int64[n], the records; numbers: int64[n], the line of each; fields: of CSV, int64[n], how many each
    has (or a code of ``csvlines``). added: the text has so many bytes that the file has not, a last line
    end.
    """

    text: bytes
    line: int
    lines: int
    starts: Int64s
    stops: Int64s
    numbers: Int64s
    fields: Int64s | None = None
    added: int = 0

    @property
    def size(self) -> int:
        """How much of the file it is."""
        return len(self.text) - self.added

    @property
    def data(self) -> Bytes:
        return np.frombuffer(self.text, np.uint8)


@dataclass(frozen=True)
class Parsed:
    """A chunk's records; bad: those that are none, as (start in the text, line, reason, text)."""

    records: Records
    starts: Int64s
    bad: tuple[tuple[int, int, str, str], ...] = ()


def cut_chunk(buffer: bytes, line: int, csv: CsvConfig | None, *, last: bool = False) -> tuple[Chunk, bytes]:
    """The whole lines (records) at the beginning of ``buffer``, whose first is on ``line``, and what is left.

    last: the file ends here for good, so that what is left is a line too.
    """
    added = int(last and buffer[-1:] not in (b"", b"\n"))
    if added:
        buffer += b"\n"
    data = np.frombuffer(buffer, np.uint8)
    if csv is None:
        ends = np.flatnonzero(data == 10)
        size = int(ends[-1]) + 1 if len(ends) else 0
        starts = np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1))
        numbers = np.arange(line, line + len(ends), dtype=np.int64)
        return Chunk(buffer[:size], line, len(ends), starts, ends, numbers, added=added), buffer[size:]
    cut = cut_records(data, csv.delimiter, csv.quote, csv.escape)
    columns = [cut.starts, cut.stops, cut.lines + line, cut.fields]
    end, ends_before = cut.end, cut.ends
    if last and end < len(buffer):
        # An open quote: what is left cannot be read, but it is a line.
        left = (end, len(buffer) - 1, line + ends_before, OPEN_QUOTE)
        columns = [np.append(c, v) for c, v in zip(columns, left, strict=True)]
        end, ends_before = len(buffer), buffer.count(b"\n")
    chunk = Chunk(buffer[:end], line, ends_before, columns[0], columns[1], columns[2], columns[3], added)
    return chunk, buffer[end:]


def too_long(file: str, line: int, size: int) -> None:
    """Raises LineError where an unfinished line is beyond what is read."""
    if size > LONGEST_LINE:
        raise LineError(file, line, f"the line is longer than {LONGEST_LINE >> 20} MiB", hint="is the format right?")


def json_records(chunk: Chunk, source: SourceConfig) -> Parsed:
    """The records of NDJSON."""
    records = JsonRecords(source, chunk.data, chunk.starts, chunk.stops, chunk.numbers)
    return Parsed(records, chunk.starts[np.searchsorted(chunk.numbers, records.lines)])


def csv_header(chunk: Chunk, source: SourceConfig, file: str) -> tuple[str, ...]:
    """The column names in the first record. Raises LineError."""
    row = next((k for k in range(len(chunk.starts)) if chunk.stops[k] > chunk.starts[k]), None)
    if row is None:
        return ()
    text = chunk.text[chunk.starts[row] : chunk.stops[row]] + b"\n"
    try:
        cells = _read(text, [f"f{k}" for k in range(_fields(chunk, row))], source.csv)
        names = tuple(str(column[0].as_py() or "") for column in cells.columns)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise LineError(file, int(chunk.numbers[row]), f"the header line cannot be read: {error}") from None
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise LineError(file, int(chunk.numbers[row]), f"the header line names column {twice!r} twice")
    return names


def _fields(chunk: Chunk, row: int) -> int:
    assert chunk.fields is not None
    return int(chunk.fields[row])


def csv_records(chunk: Chunk, source: SourceConfig, columns: tuple[str, ...], file: str, *, skip: int = 0) -> Parsed:
    """The records of CSV. skip: so many records (the header line and empty lines before it) are passed over."""
    assert chunk.fields is not None
    bad: list[tuple[int, int, str, str]] = []
    whole = (chunk.fields == len(columns)) & (chunk.fields > 0)
    kept = whole & (np.arange(len(whole)) >= skip)
    for row in np.flatnonzero(~whole & (chunk.fields != 0) & (np.arange(len(whole)) >= skip)):
        count = int(chunk.fields[row])
        reason = f"the line has {count} fields, the columns are {len(columns)}"
        bad.append(_bad(chunk, int(row), _UNREADABLE.get(count, reason)))
    try:
        chunk.text.decode()
    except UnicodeDecodeError:
        for row in np.flatnonzero(kept):
            try:
                chunk.text[chunk.starts[row] : chunk.stops[row]].decode()
            except UnicodeDecodeError as error:
                reason = f"byte {error.start + 1} of the line is not text in {source.encoding}"
                bad.append(_bad(chunk, int(row), reason))
                kept[row] = False
    rows = np.flatnonzero(kept)
    text = chunk.text
    if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        text = text[chunk.starts[rows[0]] : chunk.stops[rows[-1]]] + b"\n"
    else:
        # Each with the line end behind it, so that they stand one behind the other again.
        _, copied = copy_spans(chunk.data, chunk.starts[rows], chunk.stops[rows] + 1)
        text = copied[: int((chunk.stops[rows] + 1 - chunk.starts[rows]).sum())].tobytes()
    try:
        table = _read(text, columns, source.csv)
    except pa.ArrowInvalid as error:
        last = chunk.line + chunk.lines
        raise SourceError(f"{file}: lines {chunk.line} to {last} are not CSV as declared: {error}") from None
    if table.num_rows != len(rows):
        raise SourceError(
            f"{file}: lines {chunk.line} to {chunk.line + chunk.lines} hold {len(rows)} records by their line ends, "
            f"but {table.num_rows} by their fields",
            hint="see quote and escape in [sources.NAME.csv]",
        )
    records = TableRecords(source, table, chunk.numbers[rows], file)
    return Parsed(records, chunk.starts[rows], tuple(sorted(bad)))


def _bad(chunk: Chunk, row: int, reason: str) -> tuple[int, int, str, str]:
    start = int(chunk.starts[row])
    text = chunk.text[start : chunk.stops[row]].decode("utf-8", "replace")
    return start, int(chunk.numbers[row]), reason, text


def _read(text: bytes, columns: tuple[str, ...] | list[str], csv: CsvConfig) -> pa.RecordBatch:
    if not text:
        return pa.RecordBatch.from_pylist([], schema=pa.schema([(name, pa.utf8()) for name in columns]))
    table = pacsv.read_csv(
        pa.BufferReader(text),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(columns)),
        parse_options=pacsv.ParseOptions(
            delimiter=csv.delimiter,
            quote_char=csv.quote or False,
            double_quote=bool(csv.quote),
            escape_char=csv.escape or False,
            newlines_in_values=True,
            ignore_empty_lines=False,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.utf8()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return table.combine_chunks().to_batches()[0]
