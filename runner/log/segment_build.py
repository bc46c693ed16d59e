"""From gathered events to a segment's two files: unify aggregates, put versions right, partition, order, encode.

An event's position is its place in the order of arrival; where an aggregate's events arrived in another order than
that of their versions, they share out their places by version. So the order of positions is always the order of
folding inside an aggregate, and a cut at a position never takes an event without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.errors import EventTwice, LogError
from runner.kernels.digest import digest_events
from runner.kernels.gather import gather_texts, large_texts
from runner.kernels.hash import unify_texts
from runner.kernels.order import NO_VERSION, last_versions, version_order, wavefront_order
from runner.log.arrival import NO_TIME
from runner.log.container import ContainerWriter
from runner.log.heads import SegmentHeads, last_known_versions
from runner.log.manifest import WHOLE, Segment
from runner.log.streams import Aggregates, Header, events_stream, raw_stream
from runner.log.threads import THREADS, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from runner.log.gather import Dictionary, Gathered

__all__ = ["PartitionRows", "build_segment", "write_segment"]


@dataclass(frozen=True)
class PartitionRows:
    """Events of one partition (or of all: WHOLE), in the order in which they are stored; payloads packed."""

    partition: int
    header: Header
    codes: npt.NDArray[np.int32]
    aggregates: Aggregates
    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def digest(self) -> int:
        a = self.aggregates
        return digest_events(self.header, self.codes, a.hi, a.lo, self.data, self.offsets)


@dataclass(frozen=True)
class _Encoded:
    partition: int
    rows: int
    aggregates: int
    payload_bytes: int
    recorded: int
    types: dict[int, int]
    sources: dict[int, int]
    digest: int
    events: pa.Buffer
    raw: pa.Buffer


def build_segment(
    gathered: Gathered,
    *,
    directory: Path,
    segment_id: str,
    first: int,
    source: tuple[int, str],
    heads: list[SegmentHeads],
    partitions: int,
    whole_below: int,
) -> Segment:
    """Write the gathered events of one source (code, name) as a segment from position ``first`` on; not yet chained.

    Fewer than ``whole_below`` events make one unpartitioned batch.

    Raises LogError where a version is not above its aggregate's last, or the disk refuses.
    """
    build = _Build(gathered, first, source, heads, partitions)
    span = (first, first + gathered.events - 1)
    whole = gathered.events < whole_below
    if whole:
        parts = [partial(build.rows, 0, partitions, WHOLE)]
    else:
        counts = np.sum([np.diff(lot.starts) for lot in gathered.lots], axis=0)
        parts = [partial(build.rows, p, p + 1, p) for p in np.flatnonzero(counts).tolist()]
    return write_segment(parts, directory, segment_id, span, tail=whole)


@dataclass(frozen=True)
class _Build:
    """What all partitions of a segment in the making share; ``rows`` may be called from several threads."""

    gathered: Gathered
    first: int
    source: tuple[int, str]
    heads: list[SegmentHeads]
    partitions: int

    def rows(self, low: int, high: int, partition: int) -> PartitionRows:
        """The events of the partitions low <= p < high, in the order in which they are stored."""
        spans = [slice(int(lot.starts[low]), int(lot.starts[high])) for lot in self.gathered.lots]
        codes, (ids, hi, lo, scope) = self._unify(low, high, spans)
        columns = {name: self._column(name, spans) for name in ("type", "version", "recorded_at", "place_0", "place_1")}
        known = last_known_versions(self.heads, hi, lo, self.partitions)
        order, bad = version_order(codes, columns["version"], known)
        if bad >= 0:
            head = int(known[codes[bad]])
            raise _bad_version(self.source[1], columns, bad, ids[int(codes[bad])].as_py(), head)
        arrived = self._column("arrival", spans)
        content = np.concatenate([np.arange(s.start, s.stop, dtype=np.int32) for s in spans])
        if order is not None:
            # The places stay in the order of arrival; who takes them changes.
            columns = {name: values[order] for name, values in columns.items()}
            codes, content = codes[order], content[order]
        last = last_versions(codes, columns["version"], len(hi))
        wave = wavefront_order(codes, columns["type"], len(hi))
        header = {
            "position": arrived[wave] + np.int64(self.first),
            "version": columns["version"][wave],
            "recorded_at": columns["recorded_at"][wave],
            "source_position_0": columns["place_0"][wave],
            "source_position_1": columns["place_1"][wave],
            "type": columns["type"][wave],
            "source": np.full(len(wave), self.source[0], np.int16),
        }
        packed = gather_texts(*self.gathered.payload, content[wave])
        return PartitionRows(partition, header, codes[wave], Aggregates(ids, hi, lo, scope, last), *packed)

    def _column(self, name: str, spans: list[slice]) -> npt.NDArray[Any]:
        values = self.gathered.column(name)
        return np.concatenate([values[s] for s in spans])

    def _unify(
        self, low: int, high: int, spans: list[slice]
    ) -> tuple[npt.NDArray[np.int32], tuple[pa.Array, npt.NDArray[np.uint64], npt.NDArray[np.uint64], Any]]:
        """(codes of the events, (ids, hi, lo, scope) of their distinct aggregates ascending by hash)."""
        bases: dict[int, int] = {}
        parts: list[tuple[Dictionary, slice]] = []
        codes, total = [], 0
        column = self.gathered.column("codes")
        for lot, span in zip(self.gathered.lots, spans, strict=True):
            d = lot.dictionary
            # Lots may share a dictionary; it is taken once.
            if id(d) not in bases:
                entries = slice(int(d.bounds[low]), int(d.bounds[high]))
                bases[id(d)] = total - entries.start
                total += entries.stop - entries.start
                parts.append((d, entries))
            codes.append(column[span] + np.int32(bases[id(d)]))
        ids = pa.concat_arrays([d.ids[entries] for d, entries in parts])
        hi, lo, scope = (np.concatenate([getattr(d, n)[e] for d, e in parts]) for n in ("hi", "lo", "scope"))
        places, firsts = unify_texts(ids, hi, lo)
        if (scope[firsts][places] != scope).any():
            raise LogError("two aggregates of different scopes have one 128-bit hash", hint="rename one at the source")
        whole = places[np.concatenate(codes)]
        used = np.zeros(len(firsts), np.bool_)
        used[whole] = True
        if not used.all():
            firsts = firsts[used]
            whole = (np.cumsum(used, dtype=np.int32) - np.int32(1))[whole]
        return whole, (ids.take(pa.array(firsts)), hi[firsts], lo[firsts], scope[firsts])


def write_segment(
    parts: Iterable[Callable[[], PartitionRows]],
    directory: Path,
    segment_id: str,
    span: tuple[int, int],
    *,
    tail: bool,
    threads: int = THREADS,
) -> Segment:
    """Write events given as functions that make one ``PartitionRows`` each, ascending by partition. Not yet chained."""
    done: list[_Encoded] = []
    with (
        ContainerWriter(directory, f"{segment_id}.events") as events,
        ContainerWriter(directory, f"{segment_id}.raw") as raw,
    ):
        for encoded in in_order(_encode, parts, threads):
            events.add(encoded.partition, encoded.rows, encoded.events)
            raw.add(encoded.partition, encoded.rows, encoded.raw)
            done.append(replace(encoded, events=None, raw=None))
        events_file, raw_file = events.finish(), raw.finish()
    recorded = max(e.recorded for e in done)
    return Segment(
        id=segment_id,
        first=span[0],
        last=span[1],
        tail=tail,
        aggregates=sum(e.aggregates for e in done),
        payload_bytes=sum(e.payload_bytes for e in done),
        recorded=None if recorded == NO_TIME else recorded,
        types=_sum(e.types for e in done),
        sources=_sum(e.sources for e in done),
        digest=f"{sum(e.digest for e in done) % 2**128:032x}",
        chain="",
        events_file=events_file,
        raw_file=raw_file,
    )


def _encode(make: Callable[[], PartitionRows]) -> _Encoded:
    part = make()
    texts = large_texts(part.data, part.offsets)
    return _Encoded(
        partition=part.partition,
        rows=len(part.codes),
        aggregates=len(part.aggregates),
        payload_bytes=len(part.data),
        recorded=int(part.header["recorded_at"].max()),
        types=_counts(part.header["type"]),
        sources=_counts(part.header["source"]),
        digest=part.digest(),
        events=events_stream(part.header, part.codes, part.aggregates),
        raw=raw_stream(texts),
    )


def _counts(codes: npt.NDArray[np.int16]) -> dict[int, int]:
    counts = np.bincount(codes)
    return {int(c): int(counts[c]) for c in np.flatnonzero(counts)}


def _sum(counts: Iterator[dict[int, int]]) -> dict[int, int]:
    total: dict[int, int] = {}
    for part in counts:
        for code, n in part.items():
            total[code] = total.get(code, 0) + n
    return dict(sorted(total.items()))


def _bad_version(source: str, columns: dict[str, npt.NDArray[Any]], row: int, aggregate: str, head: int) -> EventTwice:
    place = (int(columns["place_0"][row]), int(columns["place_1"][row]))
    version = int(columns["version"][row])
    if head != NO_VERSION and version <= head:
        reason = f"is not above the version {head} that the log has"
    else:
        reason = "is there twice"
    return EventTwice(
        source,
        place,
        f"version {version} of aggregate {aggregate!r} {reason}",
        hint="(aggregate, version) identifies an event; nothing of this sync was taken",
    )
