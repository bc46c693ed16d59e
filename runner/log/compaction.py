"""Merging segments: fewer, larger batches, tail batches into partitions; no result changes.

Partition by partition, so memory holds a few partitions at a time. Levels are computed anew: the merged segment's
streams are the ones that one sync of all its events would have written. Columns are carried over by moving their
rows. The digest of what is written is compared with the sum of the old ones before anything is published.

Readers that have the old manifest open keep its files; they are removed when nobody holds them any more.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.errors import LogDamaged
from runner.kernels.gather import gather_texts
from runner.kernels.hash import text_buffers, unify_texts
from runner.kernels.order import last_versions, wavefront_order
from runner.log.columns import column_stream, concat_columns, read_stored, take_column
from runner.log.container import ContainerWriter
from runner.log.identity import partitions_of
from runner.log.segment_build import PartitionRows, write_segment
from runner.log.streams import HEADER_COLUMNS, Aggregates, EventRows, raw_texts
from runner.log.threads import in_order, threads_for
from runner.stats import Listener, StageFinished, StageStarted
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.batch import PayloadArray
    from runner.log.manifest import Segment, StoredColumn
    from runner.log.store import Store
    from runner.log.writer import LogWriter

__all__ = ["Limits", "compact"]


KEPT_TAIL_BYTES = 1 << 20
"""Payloads of smaller tail batches stay decompressed while all partitions take theirs."""


@dataclass(frozen=True)
class Limits:
    """How large one merged segment may get; bounds the memory of compaction and of readers of raw payloads."""

    events: int = 256_000_000
    partition_payload_bytes: int = 96 << 20
    """Of the largest partition; where one aggregate has most events, segments stay smaller."""
    after: int = 0
    """Segments up to this position stay as they are."""


def compact(writer: LogWriter, listener: Listener, limits: Limits) -> int:
    """See ``LogWriter.compact``."""
    groups = [
        g for g in _groups(writer.manifest.segments, limits, writer.manifest.partitions) if len(g) > 1 or g[0].tail
    ]
    if not groups:
        return 0
    started = time.perf_counter()
    events = sum(s.events for g in groups for s in g)
    listener(StageStarted("compact", events))
    store = writer.store()
    merged: dict[str, Segment] = {}
    try:
        for group in groups:
            segment = _Merge(writer, store, group, writer.new_segment_id()).write()
            merged[group[0].id] = segment
            _compare(segment, group)
        reached("compact.1")
        gone = {s.id for g in groups for s in g}
        kept = (merged.get(s.id, s) for s in writer.manifest.segments if s.id in merged or s.id not in gone)
        writer.publish(replace(writer.manifest, segments=tuple(kept)))
    except BaseException:
        writer.discard({f.name for s in merged.values() for f in s.files()})
        raise
    reached("compact.2")
    writer.remove_garbage()
    reached("compact.3")
    listener(StageFinished("compact", time.perf_counter() - started, events))
    return sum(len(g) for g in groups)


def _compare(segment: Segment, group: list[Segment]) -> None:
    if int(segment.digest, 16) != sum(int(s.digest, 16) for s in group) % 2**128:
        names = ", ".join(s.id for s in group)
        raise LogDamaged(f"segments {names} do not hold the events that were written", hint="`runner audit` says more")


def _groups(segments: tuple[Segment, ...], limits: Limits, partitions: int) -> list[list[Segment]]:
    """Neighbours that may become one segment."""
    groups: list[list[Segment]] = []
    for segment in segments:
        if segment.last <= limits.after:
            continue
        last = groups[-1] if groups else []
        events = sum(s.events for s in last) + segment.events
        size = int(_payloads([*last, segment], partitions).max())
        if last and events <= limits.events and size <= limits.partition_payload_bytes:
            last.append(segment)
        else:
            groups.append([segment])
    return groups


def _payloads(segments: list[Segment], partitions: int) -> npt.NDArray[np.int64]:
    """About how many bytes of payload each partition has, int64[P]: as its share of the events says."""
    total = np.zeros(partitions, np.int64)
    for segment in segments:
        for chunk in segment.events_file.chunks:
            size = segment.payload_bytes * chunk.rows // segment.events
            if segment.tail:
                total += size // partitions
            else:
                total[chunk.partition] += size
    return total


@dataclass(frozen=True)
class _Part:
    """One old segment's share of a partition. kept: indices of its rows in the stored stream."""

    segment: Segment
    rows: EventRows
    kept: npt.NDArray[np.intp]


class _Merge:
    """One group of segments on its way to be one."""

    def __init__(self, writer: LogWriter, store: Store, group: list[Segment], segment_id: str) -> None:
        self._partitions = writer.manifest.partitions
        self._store = store
        self._directory = writer.directory
        self._group = group
        self._id = segment_id
        self._types = writer.manifest.types
        self._tail_texts: dict[str, pa.Array] = {}
        self._threads = threads_for(int(_payloads(group, self._partitions).max()))

    def write(self) -> Segment:
        self._store.fetch((s, f, p) for s in self._group for f in s.files() for p in range(self._partitions))
        filled = [p for p in range(self._partitions) if self._has(p)]
        span = (self._group[0].first, self._group[-1].last)
        rows: list[Callable[[], PartitionRows]] = [partial(self._rows, p) for p in filled]
        segment = write_segment(rows, self._directory, self._id, span, tail=False, threads=self._threads)
        try:
            columns = self._columns(self._carried(), filled)
        except BaseException:
            for file in segment.files():
                (self._directory / file.name).unlink(missing_ok=True)
            raise
        return replace(segment, columns=columns)

    def _has(self, partition: int) -> bool:
        return any(len(part.kept) for part in self._parts(partition))

    def _parts(self, partition: int) -> list[_Part]:
        parts = []
        for segment in self._group:
            rows = self._store.rows(segment, partition)
            if rows is None:
                continue
            if segment.tail:
                mine = partitions_of(rows.aggregates.hi, self._partitions) == partition
                kept = np.flatnonzero(mine[rows.codes])
            else:
                kept = np.arange(len(rows.codes))
            if len(kept):
                parts.append(_Part(segment, rows, kept))
        return parts

    def _order(self, parts: list[_Part]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Aggregates]:
        """(wavefront order of the parts' rows one behind the other, their codes, the dictionary)."""
        used = [np.unique(p.rows.codes[p.kept]) if p.segment.tail else np.arange(len(p.rows.aggregates)) for p in parts]
        ids = pa.concat_arrays([p.rows.aggregates.ids.take(pa.array(u)) for p, u in zip(parts, used, strict=True)])
        hi, lo, scope = (
            np.concatenate([getattr(p.rows.aggregates, name)[u] for p, u in zip(parts, used, strict=True)])
            for name in ("hi", "lo", "scope")
        )
        places, firsts = unify_texts(ids, hi, lo)
        codes, at = [], 0
        for part, entries in zip(parts, used, strict=True):
            table = np.zeros(len(part.rows.aggregates), np.int32)
            table[entries] = places[at : at + len(entries)]
            codes.append(table[part.rows.codes[part.kept]])
            at += len(entries)
        whole = np.concatenate(codes)
        types = np.concatenate([p.rows.header["type"][p.kept] for p in parts])
        versions = np.concatenate([p.rows.header["version"][p.kept] for p in parts])
        last = last_versions(whole, versions, len(firsts))
        aggregates = Aggregates(ids.take(pa.array(firsts)), hi[firsts], lo[firsts], scope[firsts], last)
        return wavefront_order(whole, types, len(firsts)), whole, aggregates

    def _rows(self, partition: int) -> PartitionRows:
        parts = self._parts(partition)
        order, codes, aggregates = self._order(parts)
        header = {n: np.concatenate([p.rows.header[n][p.kept] for p in parts])[order] for n in HEADER_COLUMNS}
        texts = pa.concat_arrays([self._texts(p, partition) for p in parts])
        return PartitionRows(partition, header, codes[order], aggregates, *gather_texts(*text_buffers(texts), order))

    def _texts(self, part: _Part, partition: int) -> pa.Array:
        if part.segment.id in self._tail_texts:
            return self._tail_texts[part.segment.id].take(pa.array(part.kept))
        stream = self._store.stream(part.segment, part.segment.raw_file, partition)
        if stream is None:
            raise LogDamaged(f"{self._store.container(part.segment.raw_file).where}: partition {partition} is missing")
        texts = raw_texts(stream)
        if part.segment.tail:
            if part.segment.payload_bytes < KEPT_TAIL_BYTES:
                self._tail_texts[part.segment.id] = texts
            return texts.take(pa.array(part.kept))
        return texts

    # Columns ----------------------------------------------------------------------------------------------------------

    def _carried(self) -> dict[str, StoredColumn]:
        """Columns that every segment with events of their type has; others are made again when they are asked for."""
        found = {digest: stored for s in self._group for digest, stored in s.columns.items()}
        return {d: c for d, c in found.items() if all(d in s.columns for s in self._group if self._code(c) in s.types)}

    def _code(self, column: StoredColumn) -> int:
        return self._types.index(column.event_type)

    def _columns(self, carried: dict[str, StoredColumn], filled: list[int]) -> dict[str, StoredColumn]:
        with contextlib.ExitStack() as stack:
            files = {
                digest: stack.enter_context(ContainerWriter(self._directory, f"{self._id}.{digest}.col"))
                for digest in carried
            }
            move = partial(self._move_columns, carried)
            for partition, streams in zip(filled, in_order(move, filled, self._threads), strict=True):
                for digest, rows, stream in streams:
                    files[digest].add(partition, rows, stream)
            return {digest: replace(carried[digest], file=file.finish()) for digest, file in files.items()}

    def _move_columns(self, carried: dict[str, StoredColumn], partition: int) -> list[tuple[str, int, pa.Buffer]]:
        parts = self._parts(partition)
        order, _, _ = self._order(parts)
        types = np.concatenate([p.rows.header["type"][p.kept] for p in parts])
        streams = []
        for digest, column in carried.items():
            mine = types == self._code(column)
            if mine.any():
                # Entry k of a column is the k-th event of its type.
                places = np.cumsum(mine) - 1
                rows = places[order[mine[order]]]
                arrays = [self._column(p, partition, digest, self._code(column)) for p in parts]
                whole = concat_columns([a for a in arrays if a is not None])
                streams.append((digest, len(rows), column_stream(take_column(whole, rows))))
        return streams

    def _column(self, part: _Part, partition: int, digest: str, code: int) -> PayloadArray | None:
        stored = part.segment.columns.get(digest)
        stream = self._store.stream(part.segment, stored.file, partition) if stored else None
        if stream is None:
            return None
        array = read_stored(stream)
        if not part.segment.tail:
            return array
        types = part.rows.header["type"]
        keep = np.zeros(len(types), np.bool_)
        keep[part.kept] = True
        return take_column(array, np.flatnonzero(keep[types == code]))
