"""Payload columns made from the raw payloads: a new or changed field never needs the source again."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pyarrow as pa

from runner.errors import FieldValueError, LogError
from runner.log.columns import column_digest, column_stream, concat_columns
from runner.log.container import ContainerWriter
from runner.log.manifest import Segment, StoredColumn
from runner.log.streams import EventRows, raw_texts, read_events
from runner.log.threads import in_order, threads_for
from runner.payload import BadValue, decode
from runner.stats import Listener, StageFinished, StageStarted
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.batch import PayloadArray
    from runner.log.store import Store
    from runner.log.writer import LogWriter
    from runner.values import PayloadColumn

__all__ = ["ensure_columns"]

DECODED_ROWS = 1 << 18
"""How many payloads are decoded at once: bounds the memory of a decoder, whatever a partition holds."""

PUBLISHED_EVENTS = 4_000_000
"""Finished columns are published when their segments have this many events, so that a crash loses little work."""


@dataclass(frozen=True)
class _Wanted:
    """A column that a segment lacks, its event type's code, and the name of its sidecar."""

    column: PayloadColumn
    code: int
    digest: str


def ensure_columns(writer: LogWriter, columns: tuple[PayloadColumn, ...], listener: Listener) -> int:
    """See ``LogWriter.ensure_columns``."""
    manifest = writer.manifest
    todo = {s.id: wanted for s in manifest.segments if (wanted := _lacking(s, columns, manifest.types))}
    if not todo:
        return 0
    started = time.perf_counter()
    events = sum(s.events for s in manifest.segments if s.id in todo)
    listener(StageStarted("columns", events))
    store = writer.store()
    files, unpublished = 0, 0
    segments = {s.id: s for s in manifest.segments}
    with _removing_files(writer) as written:
        for segment in manifest.segments:
            if segment.id not in todo:
                continue
            stored = _write_columns(writer, store, segment, todo[segment.id], manifest.types)
            written.extend(c.file.name for c in stored.values())
            segments[segment.id] = replace(segment, columns={**segment.columns, **stored})
            files += len(stored)
            unpublished += segment.events
            if unpublished >= PUBLISHED_EVENTS or segment.id == [*todo][-1]:
                reached("columns.1")
                writer.publish(replace(writer.manifest, segments=tuple(segments.values())))
                reached("columns.2")
                unpublished = 0
    listener(StageFinished("columns", time.perf_counter() - started, events))
    return files


@contextlib.contextmanager
def _removing_files(writer: LogWriter) -> Iterator[list[str]]:
    """What was written and is not in the manifest is removed when something fails."""
    written: list[str] = []
    try:
        yield written
    except BaseException:
        writer.discard(set(written))
        raise


def _lacking(segment: Segment, columns: tuple[PayloadColumn, ...], types: tuple[str, ...]) -> list[_Wanted]:
    found: dict[str, _Wanted] = {}
    for column in columns:
        code = types.index(column.event_type) if column.event_type in types else -1
        digest = column_digest(column)
        if code in segment.types and digest not in segment.columns:
            found[digest] = _Wanted(column, code, digest)
    return [*found.values()]


def _write_columns(
    writer: LogWriter, store: Store, segment: Segment, wanted: list[_Wanted], types: tuple[str, ...]
) -> dict[str, StoredColumn]:
    partitions = store.container(segment.events_file).partitions
    store.fetch((segment, file, p) for file in (segment.events_file, segment.raw_file) for p in partitions)

    def decode_partition(partition: int) -> list[tuple[int, pa.Buffer | None]]:
        return _decode(store, segment, partition, wanted, types)

    threads = threads_for(segment.largest_payload())
    with contextlib.ExitStack() as stack:
        names = [writer.new_column_name(segment, w.digest) for w in wanted]
        files = [stack.enter_context(ContainerWriter(writer.directory, name)) for name in names]
        for partition, streams in zip(partitions, in_order(decode_partition, partitions, threads), strict=True):
            for file, (rows, stream) in zip(files, streams, strict=True):
                if stream is not None:
                    file.add(partition, rows, stream)
        return {
            w.digest: StoredColumn(repr(w.column), w.column.event_type, f.finish())
            for w, f in zip(wanted, files, strict=True)
        }


def _decode(
    store: Store, segment: Segment, partition: int, wanted: list[_Wanted], types: tuple[str, ...]
) -> list[tuple[int, pa.Buffer | None]]:
    """(rows, stream) of each wanted column in one partition; no stream where it has no event of the type."""
    events_stream = store.stream(segment, segment.events_file, partition)
    raw_stream = store.stream(segment, segment.raw_file, partition)
    if events_stream is None or raw_stream is None:
        raise LogError(f"{store.container(segment.raw_file).where}: partition {partition} is missing")
    rows, texts = read_events(events_stream), raw_texts(raw_stream)
    done: dict[str, tuple[int, pa.Buffer | None]] = {w.digest: (0, None) for w in wanted}
    for code in sorted({w.code for w in wanted}):
        mine = np.flatnonzero(rows.header["type"] == code)
        if not len(mine):
            continue
        columns = [w for w in wanted if w.code == code]
        parts = [
            _decode_rows(texts, rows, mine[at : at + DECODED_ROWS], [w.column for w in columns], types[code])
            for at in range(0, len(mine), DECODED_ROWS)
        ]
        for w in columns:
            array = concat_columns([part[w.column] for part in parts])
            done[w.digest] = (len(mine), column_stream(array))
    return [done[w.digest] for w in wanted]


def _decode_rows(
    texts: pa.Array,
    rows: EventRows,
    mine: np.ndarray[tuple[int], np.dtype[np.intp]],
    columns: list[PayloadColumn],
    name: str,
) -> dict[PayloadColumn, PayloadArray]:
    try:
        return dict(decode(texts.take(pa.array(mine)), columns))
    except BadValue as e:
        _refuse(e, rows, int(mine[e.row]), name)


def _refuse(error: BadValue, rows: EventRows, row: int, event_type: str) -> NoReturn:
    position = int(rows.header["position"][row])
    aggregate = rows.aggregates.ids[int(rows.codes[row])].as_py()
    path = " or ".join(".".join(p) for p in error.column.paths)
    raise FieldValueError(
        f"position {position}, aggregate {aggregate!r}, {event_type}: {path}: {error.reason}",
        event_type=event_type,
        path=path,
        position=position,
        aggregate_id=aggregate,
        hint="declare the field as the events have it (another type, X | None, coerce=...)",
    ) from error
