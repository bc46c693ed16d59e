"""From gathered events to a segment's two files: unify aggregates, put versions right, partition, order, encode.

An event's position is its place in the order of arrival; where an aggregate's events arrived in another order than
that of their versions, they share out their places by version. So the order of positions is always the order of
folding inside an aggregate, and a cut at a position never takes an event without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.errors import LogError
from runner.kernels.digest import digest_events
from runner.kernels.gather import gather_texts, large_texts
from runner.kernels.hash import unify_texts
from runner.kernels.order import NO_VERSION, last_versions, partition_order, version_order, wavefront_order
from runner.log.arrival import NO_TIME
from runner.log.container import ContainerWriter
from runner.log.heads import SegmentHeads, last_known_versions, partition_bounds
from runner.log.manifest import WHOLE, Segment
from runner.log.streams import Aggregates, Header, events_stream, raw_stream
from runner.log.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from runner.log.gather import Gathered

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
    folder: Path,
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
    code, name = source
    texts, hi, lo, scope, codes = _unify(gathered)
    known = last_known_versions(heads, hi, lo, partitions)
    versions = gathered.column("version")
    order, bad = version_order(codes, versions, known)
    if bad >= 0:
        raise _bad_version(gathered, name, texts, codes, versions, known, bad)
    columns: dict[str, npt.NDArray[Any]] = {
        "codes": codes,
        "type": gathered.types,
        "version": versions,
        "recorded_at": gathered.column("recorded_at"),
        "source_position_0": gathered.column("place_0"),
        "source_position_1": gathered.column("place_1"),
    }
    if order is not None:
        columns = {k: v[order] for k, v in columns.items()}
    codes = columns.pop("codes")
    aggregates = Aggregates(texts, hi, lo, scope, last_versions(codes, columns["version"], len(hi)))

    whole = gathered.events < whole_below
    bounds = np.array([0, len(hi)], np.int64) if whole else partition_bounds(hi, partitions)
    rows, starts = partition_order(codes, bounds)
    data, offsets = gathered.payload

    def partition(p: int) -> PartitionRows:
        mine = rows[starts[p] : starts[p + 1]]
        local = codes[mine] - np.int32(bounds[p])
        wave = wavefront_order(local, columns["type"][mine], int(bounds[p + 1] - bounds[p]))
        mine = mine[wave]
        header = {k: v[mine] for k, v in columns.items()}
        header["position"] = mine.astype(np.int64) + first
        header["source"] = np.full(len(mine), code, np.int16)
        packed = gather_texts(data, offsets, mine if order is None else order[mine])
        part = aggregates.slice(int(bounds[p]), int(bounds[p + 1]))
        return PartitionRows(WHOLE if whole else p, header, local[wave], part, *packed)

    filled = np.flatnonzero(np.diff(starts)).tolist()
    span = (first, first + gathered.events - 1)
    return write_segment((lambda p=p: partition(p) for p in filled), folder, segment_id, span, tail=whole)


def write_segment(parts: Iterable[Any], folder: Path, segment_id: str, span: tuple[int, int], *, tail: bool) -> Segment:
    """Write events given as functions that make one ``PartitionRows`` each, ascending by partition. Not yet chained."""
    done: list[_Encoded] = []
    with (
        ContainerWriter(folder, f"{segment_id}.events") as events,
        ContainerWriter(folder, f"{segment_id}.raw") as raw,
    ):
        for encoded in in_order(_encode, parts):
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


def _encode(make: Any) -> _Encoded:
    part: PartitionRows = make()
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


def _unify(gathered: Gathered) -> tuple[pa.Array, Any, Any, Any, npt.NDArray[np.int32]]:
    """(ids, hi, lo, scope of the distinct aggregates ascending by hash, codes of the events)."""
    dictionaries = gathered.dictionaries
    texts = pa.concat_arrays([d.ids for d in dictionaries])
    hi, lo, scope = (np.concatenate([getattr(d, name) for d in dictionaries]) for name in ("hi", "lo", "scope"))
    places, firsts = unify_texts(texts, hi, lo)
    scopes = scope[firsts]
    if (scopes[places] != scope).any():
        raise LogError("two aggregates of different scopes have one 128-bit hash", hint="rename one at the source")
    return texts.take(pa.array(firsts)), hi[firsts], lo[firsts], scopes, places[gathered.codes]


def _bad_version(
    gathered: Gathered, source: str, texts: pa.Array, codes: Any, versions: Any, known: Any, row: int
) -> LogError:
    place = f"({gathered.column('place_0')[row]}, {gathered.column('place_1')[row]})"
    aggregate, version = texts[int(codes[row])].as_py(), int(versions[row])
    head = int(known[codes[row]])
    if head != NO_VERSION and version <= head:
        reason = f"is not above the version {head} that the log has"
    else:
        reason = "is there twice"
    return LogError(
        f"source {source}: event at {place}: version {version} of aggregate {aggregate!r} {reason}",
        hint="(aggregate, version) identifies an event; nothing of this sync was taken",
    )
