"""The log's events as an Arrow stream that DuckDB can scan as often as a query needs: log.events and log.headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from runner.log.streams import EventRows, raw_batches, read_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from runner.log import Log

__all__ = ["LogEvents"]

_NAMES = pa.dictionary(pa.int32(), pa.utf8())
_HEADER = [
    pa.field("position", pa.int64(), nullable=False),
    pa.field("source", _NAMES),
    pa.field("tenant", _NAMES),
    pa.field("aggregate_id", pa.utf8(), nullable=False),
    pa.field("version", pa.int64()),
    pa.field("type", _NAMES),
    pa.field("recorded_at", pa.timestamp("us", "UTC")),
]
ROWS = 1 << 17


class LogEvents:
    """All events of a log as a table of unordered rows; each call of the stream protocol begins a scan of its own.

    Columns: position, source, tenant, aggregate_id, version, type, recorded_at (null where the source gives none) and,
    with ``payloads``, the payload as JSON text. Without payloads nothing has to be decompressed.
    """

    def __init__(self, log: Log, *, payloads: bool) -> None:
        self._log = log
        self._payloads = payloads
        payload = [pa.field("payload", pa.large_utf8(), nullable=False)] if payloads else []
        self.schema = pa.schema([*_HEADER, *payload])

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def heads(self, most: int = 64) -> Iterator[pa.RecordBatch]:
        """The first batch of some partitions of each segment, about ``most`` in all: a sample."""
        spread = max(1, len(self._log.manifest.segments) * self._log.partitions // most)
        return self._batches(spread)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches of at most 131,072 rows (with payloads, as they were compressed)."""
        return self._batches(0)

    def _batches(self, spread: int) -> Iterator[pa.RecordBatch]:
        """All, or with ``spread`` only the first batch of every so many streams."""
        streams = 0
        manifest = self._log.manifest
        store = self._log.store()
        types = pa.array(manifest.types, pa.utf8())
        sources = pa.array([s.name for s in manifest.sources], pa.utf8())
        tenants = pa.array([tenant for _, tenant in manifest.scopes], pa.utf8())
        for segment in manifest.segments:
            for partition in store.container(segment.events_file).partitions:
                streams += 1
                if spread and streams % spread:
                    continue
                events = store.stream(segment, segment.events_file, partition)
                raw = store.stream(segment, segment.raw_file, partition) if self._payloads else None
                if events is None:
                    continue
                rows = read_events(events)
                start = 0
                for payload in raw_batches(raw) if raw is not None else _without(len(rows.codes)):
                    stop = start + (payload if isinstance(payload, int) else len(payload))
                    columns = _columns(rows, slice(start, stop), types, sources, tenants)
                    if not isinstance(payload, int):
                        columns.append(payload)
                    yield pa.record_batch(columns, schema=self.schema)
                    start = stop
                    if spread:
                        break


def _without(rows: int) -> Iterator[int]:
    for start in range(0, rows, ROWS):
        yield min(ROWS, rows - start)


def _columns(rows: EventRows, part: slice, types: pa.Array, sources: pa.Array, tenants: pa.Array) -> list[pa.Array]:
    header = {name: values[part] for name, values in rows.header.items()}
    codes = rows.codes[part]
    at = pa.array(header["recorded_at"], mask=header["recorded_at"] == np.iinfo(np.int64).min)
    return [
        pa.array(header["position"]),
        _coded(header["source"], sources),
        _coded(rows.aggregates.scope[codes], tenants),
        rows.aggregates.ids.take(pa.array(codes)),
        pa.array(header["version"]),
        _coded(header["type"], types),
        at.cast(pa.timestamp("us", "UTC")),
    ]


def _coded(codes: npt.NDArray[np.int16], names: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names)
