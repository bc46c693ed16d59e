"""Records in bulk: JSON lines with their spans, or the columns of a table. What ``arrange`` makes events of.

A field's value comes as (bytes, spans); null and absent are one here, since a record without an id has none either way.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import SourceError
from runner.kernels.hash import text_buffers
from runner.kernels.jsonscan import ABSENT, ESCAPED, NULL, OBJECT, TEXT, Bytes, Int64s, Spans, path_trie, scan_paths
from runner.kernels.textspans import copy_spans, copy_texts, utf8_array
from runner.payload.decode import first_present
from runner.payload.scalars import Unfit
from runner.sources.jsontext import json_objects, readable
from runner.sources.plain import PlainEvent, parse_line, plain_event, plain_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config.model import SourceConfig
    from runner.values import Path

__all__ = ["JsonRecords", "Records", "TableRecords"]

Flags = npt.NDArray[np.bool_]


class Records(Protocol):
    """n records of one file."""

    lines: Int64s
    """int64[n], the line (or row) of each, from 1."""

    def __len__(self) -> int: ...

    @property
    def doubtful(self) -> Flags:
        """bool[n]: those that the twin must look at, whatever their fields say."""

    def field(self, paths: Sequence[Path]) -> tuple[Bytes, Spans]:
        """The first present of some paths, in every record."""

    def payload(self) -> tuple[pa.Array, Flags]:
        """The payloads, large_utf8[n], and for which records the twin must be asked."""

    def plain(self, row: int) -> tuple[PlainEvent, str | None]:
        """One record by the twin: the event, and its payload (None: the one that ``payload`` gives). Raises Unfit."""

    def text(self, row: int) -> str:
        """The record as it stands in the file, for people."""


class JsonRecords:
    """JSON lines: data[starts[i]:stops[i]] on line lines[i]. Empty lines are no records."""

    def __init__(self, source: SourceConfig, data: Bytes, starts: Int64s, stops: Int64s, lines: Int64s) -> None:
        self._source, self._data = source, data
        mapped = [m for m in (source.tenant, source.aggregate_id, source.type, source.version, source.position) if m]
        if source.recorded_at is not None:
            mapped.append(source.recorded_at.field)
        paths = {path: None for mapping in mapped for part in mapping.parts for path in part.paths}
        wanted: list[Path] = list(dict.fromkeys([(), *paths, *source.payload.paths]))
        found, good = scan_paths(data, starts, stops, path_trie(wanted))
        good &= found[0].kinds == OBJECT
        if not _is_utf8(data):
            for row in range(len(starts)):
                good[row] = good[row] and _is_utf8(data[starts[row] : stops[row]])
        empty = [int(r) for r in np.flatnonzero(~good) if not data[starts[r] : stops[r]].tobytes().strip(b" \t\r\n")]
        self._starts, self._stops, self.lines = starts, stops, lines
        if empty:
            kept = np.delete(np.arange(len(starts)), empty)
            found, good = [spans.take(kept) for spans in found], good[kept]
            self._starts, self._stops, self.lines = starts[kept], stops[kept], lines[kept]
        self.doubtful: Flags = ~good
        for spans in found:
            spans.kinds[self.doubtful] = ABSENT
        self._spans = dict(zip(wanted, found, strict=True))

    def __len__(self) -> int:
        return len(self.lines)

    def field(self, paths: Sequence[Path]) -> tuple[Bytes, Spans]:
        return self._data, first_present([_without_nulls(self._spans[path]) for path in paths])

    def payload(self) -> tuple[pa.Array, Flags]:
        paths = self._source.payload.paths
        spans = first_present([self._spans[p] for p in paths]) if paths else self._spans[()]
        starts, stops, data = spans.starts, spans.stops, self._data
        doubtful = self.doubtful | (spans.kinds != OBJECT)
        texts = (spans.kinds == TEXT) | (spans.kinds == ESCAPED)
        if texts.any():
            # JSON inside strings: unescaped, scanned again, and laid behind the lines.
            inner, _ = copy_texts(data, Spans(np.where(texts, spans.kinds, ABSENT).astype(np.uint8), starts, stops))
            more, offsets = text_buffers(inner.cast(pa.large_utf8()))
            (whole,), good = scan_paths(more, offsets[:-1], offsets[1:], path_trie([()]))
            objects = texts & good & (whole.kinds == OBJECT)
            data = np.concatenate((data, more))
            starts = np.where(objects, whole.starts + len(self._data), starts)
            stops = np.where(objects, whole.stops + len(self._data), stops)
            doubtful &= ~objects
        if doubtful.any():
            starts, stops = np.where(doubtful, 0, starts), np.where(doubtful, 0, stops)
        return utf8_array(*copy_spans(data, starts, stops), large=True), doubtful

    def _line(self, row: int) -> bytes:
        return self._data[self._starts[row] : self._stops[row]].tobytes()

    def plain(self, row: int) -> tuple[PlainEvent, str | None]:
        line = self._line(row)
        return plain_event(parse_line(line, self._source.encoding), self._source), plain_payload(line, self._source)

    def text(self, row: int) -> str:
        return self._line(row).decode("utf-8", "replace").strip("\r\n")


def _without_nulls(spans: Spans) -> Spans:
    nulls = spans.kinds == NULL
    return Spans(np.where(nulls, np.uint8(ABSENT), spans.kinds), spans.starts, spans.stops) if nulls.any() else spans


def _is_utf8(data: Bytes) -> bool:
    whole = pa.Array.from_buffers(
        pa.large_utf8(), 1, [None, pa.py_buffer(np.array([0, len(data)])), pa.py_buffer(data)]
    )
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class TableRecords:
    """The rows of a table; columns may be structs, whose fields are reached by paths."""

    def __init__(self, source: SourceConfig, table: pa.RecordBatch, lines: Int64s, file: str) -> None:
        self._source, self._table, self._file = source, table, file
        self.lines = lines
        self._doubtful = np.zeros(table.num_rows, np.bool_)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def doubtful(self) -> Flags:
        return self._doubtful

    def _column(self, path: Path) -> pa.Array:
        names = self._table.schema.names
        if ".".join(path) in names:
            return self._table.column(names.index(".".join(path)))
        if path[0] not in names:
            raise SourceError(
                f"source {self._source.name}: {self._file} has no column {path[0]}",
                hint=_near(path[0], names, "its columns are"),
            )
        column = self._table.column(names.index(path[0]))
        for key in path[1:]:
            if not pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
                fields = [column.type.field(k).name for k in range(column.type.num_fields)]
                raise SourceError(
                    f"source {self._source.name}: column {path[0]} of {self._file} has no {'.'.join(path)}",
                    hint=_near(key, fields, "there is"),
                )
            column = pc.struct_field(column, [key])
        return column

    def _texts(self, paths: Sequence[Path]) -> pa.Array:
        columns = [readable(self._column(path)) for path in paths]
        return columns[0] if len(columns) == 1 else pc.coalesce(*(c.cast(pa.large_utf8()) for c in columns))

    def field(self, paths: Sequence[Path]) -> tuple[Bytes, Spans]:
        texts = self._texts(paths)
        data, offsets = text_buffers(texts)
        there = texts.is_valid().to_numpy(zero_copy_only=False)
        return data, Spans(np.where(there, TEXT, ABSENT).astype(np.uint8), offsets[:-1], offsets[1:])

    def payload(self) -> tuple[pa.Array, Flags]:
        wanted = self._source.payload
        if not wanted.paths:
            names = wanted.columns or tuple(self._table.schema.names)
            objects = json_objects([(name, self._column((name,))) for name in names], f"source {self._source.name}")
            return objects, np.zeros(len(self), np.bool_)
        columns = [self._column(path) for path in wanted.paths]
        if all(pa.types.is_struct(c.type) for c in columns):
            made = [
                pc.if_else(c.is_valid(), json_objects(_members(c), f"source {self._source.name}"), pa.scalar(None))
                for c in columns
            ]
            texts = made[0] if len(made) == 1 else pc.coalesce(*made)
        else:
            texts = self._texts(wanted.paths)
        texts = pc.fill_null(texts.cast(pa.large_utf8()), "{}")
        data, offsets = text_buffers(texts)
        (whole,), good = scan_paths(data, offsets[:-1], offsets[1:], path_trie([()]))
        return texts, ~good | (whole.kinds != OBJECT)

    def plain(self, row: int) -> tuple[PlainEvent, str | None]:
        record: dict[str, Any] = {}
        for name, column in zip(self._table.schema.names, self._table.columns, strict=True):
            record[name] = _plain_cell(column[row : row + 1])
        event = plain_event(record, self._source, table=True)
        texts, doubtful = self.payload_of(row)
        if doubtful:
            raise Unfit(f"payload: {texts[:60]} is not a JSON object")
        return event, None

    def payload_of(self, row: int) -> tuple[str, bool]:
        """One row's payload, and whether it is none."""
        one = TableRecords(self._source, self._table.slice(row, 1), self.lines[row : row + 1], self._file)
        texts, doubtful = one.payload()
        return texts[0].as_py(), bool(doubtful[0])

    def text(self, row: int) -> str:
        cells = [(n, self._table.column(k)[row : row + 1]) for k, n in enumerate(self._table.schema.names)]
        return str(json_objects(cells, f"source {self._source.name}")[0].as_py())


def _near(name: str, names: Sequence[str], what: str) -> str:
    there = f"{what} {', '.join(names)}" if names else ""
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"did you mean {close[0]}? {there}" if close else there


def _members(struct: pa.StructArray) -> list[tuple[str, pa.Array]]:
    return [(struct.type.field(k).name, struct.field(k)) for k in range(struct.type.num_fields)]


def _plain_cell(cell: pa.Array) -> Any:
    if pa.types.is_struct(cell.type):
        return {name: _plain_cell(inner) for name, inner in _members(cell)} if cell[0].is_valid else None
    if pa.types.is_nested(cell.type):
        # No field is read from lists and maps; ``field`` has refused the mapping otherwise.
        return []
    return readable(cell)[0].as_py()
