"""The two kinds of Arrow IPC stream that hold a partition's events in a container: header columns, and raw payloads.

Header stream, one batch: ``aggregate`` is a dictionary of structs (id, hi, lo, scope, last_version), ascending by
(hi, lo); the other columns are flat and without nulls in their values, so they are read as views of the mapped file.
recorded_at has a validity bitmap for other readers of the file; its values hold the minimum int64 where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.log.arrival import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Aggregates",
    "EventRows",
    "Header",
    "events_stream",
    "flat",
    "raw_batches",
    "raw_stream",
    "raw_texts",
    "read_aggregates",
    "read_events",
    "write_stream",
]

Header = dict[str, npt.NDArray[Any]]
"""position, version, recorded_at, source_position_0, source_position_1: int64[n]; type, source: int16[n]."""

HEADER_COLUMNS = ("position", "version", "recorded_at", "source_position_0", "source_position_1", "type", "source")
RAW_ROWS = 1 << 16
RAW_BYTES = 8 << 20


@dataclass(frozen=True)
class Aggregates:
    """A batch's dictionary: ids utf8; hi, lo uint64; scope int16; last_version int64: the highest in this batch."""

    ids: pa.Array
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    scope: npt.NDArray[np.int16]
    last_version: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hi)

    def slice(self, start: int, stop: int) -> Aggregates:
        part = slice(start, stop)
        return Aggregates(self.ids[part], self.hi[part], self.lo[part], self.scope[part], self.last_version[part])


@dataclass(frozen=True)
class EventRows:
    """The header of n events: views of the mapped stream. codes: int32[n] into ``aggregates``."""

    header: Header
    codes: npt.NDArray[np.int32]
    aggregates: Aggregates


def events_stream(header: Header, codes: npt.NDArray[np.int32], aggregates: Aggregates) -> pa.Buffer:
    """One batch of events as an IPC stream."""
    a = aggregates
    entries = pa.StructArray.from_arrays(
        [_exact(a.ids), pa.array(a.hi), pa.array(a.lo), pa.array(a.scope), pa.array(a.last_version)],
        ["id", "hi", "lo", "scope", "last_version"],
    )
    columns: dict[str, pa.Array] = {
        "aggregate": pa.DictionaryArray.from_arrays(pa.array(codes), entries, safe=False),
        **{name: pa.array(header[name]) for name in HEADER_COLUMNS},
        "recorded_at": _timestamps(header["recorded_at"]),
    }
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    return write_stream(batch.schema, [batch])


def _timestamps(values: npt.NDArray[np.int64]) -> pa.Array:
    known = values != NO_TIME
    bits = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(
        pa.timestamp("us", "UTC"), len(values), [bits, pa.py_buffer(np.ascontiguousarray(values))]
    )


def read_events(stream: pa.Buffer) -> EventRows:
    """The header stream's columns, no copy."""
    batch = _only_batch(stream)
    aggregate = batch.column("aggregate")
    header = {name: flat(batch.column(name)) for name in HEADER_COLUMNS}
    return EventRows(header, flat(aggregate.indices), _aggregates(aggregate.dictionary))


def read_aggregates(stream: pa.Buffer) -> Aggregates:
    """Only the dictionary of a header stream."""
    return _aggregates(_only_batch(stream).column("aggregate").dictionary)


def _aggregates(entries: pa.StructArray) -> Aggregates:
    fields = {name: entries.field(name) for name in ("id", "hi", "lo", "scope", "last_version")}
    rest = (flat(fields[name]) for name in ("hi", "lo", "scope", "last_version"))
    return Aggregates(fields["id"], *rest)


def flat(array: pa.Array) -> npt.NDArray[Any]:
    """The values of a fixed-width array as a view, whatever its validity says."""
    dtype = _DTYPES[array.type.id]  # the type's name would take longer than all else here
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


_STORED = (*(pa.from_numpy_dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)), pa.float64())
_DTYPES = {type_.id: np.dtype(type_.to_pandas_dtype()) for type_ in _STORED} | {
    pa.timestamp("us", "UTC").id: np.dtype(np.int64)
}
"""By the id of an Arrow type, how its values lie in memory."""


def _exact(texts: pa.Array) -> pa.Array:
    # Arrow writes a slice that begins at entry 0 with all the text behind it.
    wide = texts.type == pa.large_utf8()
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return texts
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)[texts.offset : texts.offset + len(texts) + 1]
    first, last = int(ends[0]), int(ends[-1])
    if first == 0 and last == data.size and texts.offset == 0:
        return texts
    return pa.Array.from_buffers(
        texts.type, len(texts), [None, pa.py_buffer(ends - first), data.slice(first, last - first)]
    )


def _only_batch(stream: pa.Buffer) -> pa.RecordBatch:
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_next_batch()


def write_stream(schema: pa.Schema, batches: list[pa.RecordBatch], *, compressed: bool = False) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    codec = pa.Codec("zstd", compression_level=1) if compressed else None
    with pa.ipc.new_stream(
        sink, schema, options=pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


_RAW = pa.schema([pa.field("payload", pa.large_utf8(), nullable=False)])


def raw_stream(texts: pa.Array) -> pa.Buffer:
    """Raw payloads as a compressed IPC stream of batches small enough to be read one at a time."""
    rows = max(1, min(RAW_ROWS, int(len(texts) * RAW_BYTES / max(texts.nbytes, 1))))
    batches = [pa.record_batch([_exact(texts[at : at + rows])], schema=_RAW) for at in range(0, len(texts), rows)]
    return write_stream(_RAW, batches, compressed=True)


def raw_batches(stream: pa.Buffer) -> Iterator[pa.Array]:
    """The raw payloads of a stream, large_utf8 arrays in row order, decompressed one after the other."""
    with pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            yield batch.column(0)


def raw_texts(stream: pa.Buffer) -> pa.Array:
    """All raw payloads of a stream as one large_utf8 array."""
    parts = list(raw_batches(stream))
    return pa.concat_arrays(parts) if len(parts) != 1 else parts[0]
