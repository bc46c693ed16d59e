"""Checking a whole log against itself: chains, digests, order, density. Reads everything; a scan checks only what it
maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.errors import LogDamaged, LogError
from runner.kernels.digest import digest_events
from runner.kernels.hash import hash_texts, text_buffers
from runner.kernels.order import NO_VERSION, last_versions, wavefront_order
from runner.log.arrival import SEPARATOR
from runner.log.heads import SegmentHeads, last_known_versions
from runner.log.identity import partitions_of
from runner.log.manifest import WHOLE, Segment, chain_of
from runner.log.streams import Aggregates, EventRows, raw_texts, read_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.log.reader import Log
    from runner.log.store import Store

__all__ = ["AuditReport", "audit"]


@dataclass(frozen=True)
class AuditReport:
    """What was checked and every difference found, one line each; ``ok`` where there is none."""

    segments: int
    events: int
    bytes: int
    manifests: int
    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.findings


def audit(log: Log) -> AuditReport:
    """Check every byte of the log: manifest chain, SHA-256 chain, digests, identities, order, versions, positions."""
    findings: list[str] = []
    manifests = _check_manifests(log, findings)
    store = log.store()
    before, next_position, size = "", 1, 0
    heads: list[SegmentHeads] = []
    for segment in log.manifest.segments:
        if segment.first != next_position:
            findings.append(f"{segment.id}: begins at position {segment.first}, {next_position} was due")
        if segment.chain != chain_of(before, segment):
            findings.append(f"{segment.id}: its place in the SHA-256 chain is wrong")
        before, next_position = segment.chain, segment.last + 1
        size += sum(f.size for f in segment.files())
        found = list(_check_files(log, segment))
        if not found:
            try:
                found += _check_events(log, store, segment, heads)
            except LogError as e:
                found.append(str(e))
        if not found:
            # Later segments are compared with what holds: a dictionary out of order cannot be searched.
            heads.append(SegmentHeads(store.container(segment.events_file)))
        findings += found
    return AuditReport(len(log.manifest.segments), log.events, size, manifests, tuple(findings))


def _check_manifests(log: Log, findings: list[str]) -> int:
    """Follow the chain of manifests back as far as they are kept; returns how many were followed."""
    try:
        manifest, _ = log.storage.current()
    except LogError as e:
        findings.append(str(e))
        return 0
    followed = 1
    while True:
        try:
            found = log.storage.numbered(manifest.number - 1)
        except LogError as e:
            findings.append(str(e))
            return followed
        if found is None:
            return followed
        older, digest = found
        if digest != manifest.previous:
            findings.append(
                f"{log.storage.where(manifest.number - 1)}: is not the manifest that number {manifest.number} followed"
            )
        manifest, followed = older, followed + 1


def _check_files(log: Log, segment: Segment) -> Iterator[str]:
    for file in segment.files():
        try:
            digest = log.storage.sha256(file)
        except LogError as e:
            yield str(e)
            continue
        if digest != file.sha256:
            where = log.storage.container(file, verify=False).where
            yield f"{where}: is not what was written (SHA-256 differs)"


def _check_events(log: Log, store: Store, segment: Segment, heads: list[SegmentHeads]) -> Iterator[str]:
    seen = np.zeros(segment.events, np.bool_)
    digest = 0
    events = store.container(segment.events_file)
    for partition in events.partitions:
        where = f"{segment.id}, " + ("tail batch" if partition == WHOLE else f"partition {partition}")
        stream, raw = events.stream(partition), store.container(segment.raw_file).stream(partition)
        if stream is None or raw is None:
            raise LogDamaged(f"{where}: events or payloads are missing")
        rows = read_events(stream)
        position = rows.header["position"] - segment.first
        if len(position) and (position.min() < 0 or position.max() >= segment.events):
            yield f"{where}: positions outside {segment.first}..{segment.last}"
            continue
        seen[position] = True
        data, offsets = text_buffers(raw_texts(raw))
        a = rows.aggregates
        digest += digest_events(rows.header, rows.codes, a.hi, a.lo, data, offsets)
        yield from (f"{where}: {line}" for line in _check_batch(log, rows, partition))
        yield from (f"{where}: {line}" for line in _check_versions(log, rows, heads))
    if not seen.all():
        yield f"{segment.id}: position {segment.first + int(np.argmin(seen))} is missing"
    if f"{digest % 2**128:032x}" != segment.digest:
        yield f"{segment.id}: the digest of its events differs"


def _check_batch(log: Log, rows: EventRows, partition: int) -> Iterator[str]:
    a, codes, header = rows.aggregates, rows.codes, rows.header
    hi, lo = _hashes(log, a)
    if not (np.array_equal(hi, a.hi) and np.array_equal(lo, a.lo)):
        yield "a hash is not the one of its aggregate"
    if not _ascends(a):
        yield "the dictionary does not ascend"
    if partition != WHOLE and not np.all(partitions_of(a.hi, log.partitions) == partition):
        yield "an aggregate of another partition"
    # The order of positions is each aggregate's order; from it the stored order must come out again.
    by_position = np.argsort(header["position"], kind="stable")
    wave = wavefront_order(codes[by_position], header["type"][by_position], len(a))
    if not np.array_equal(by_position[wave], np.arange(len(codes))):
        yield "events are not in wavefront order"


def _hashes(log: Log, a: Aggregates) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    hi, lo = np.zeros(len(a), np.uint64), np.zeros(len(a), np.uint64)
    for code in np.unique(a.scope).tolist():
        mine = np.flatnonzero(a.scope == code)
        prefix = "".join(part + SEPARATOR for part in log.scopes[code]).encode()
        hi[mine], lo[mine] = hash_texts(a.ids.take(pa.array(mine)), prefix)
    return hi, lo


def _check_versions(log: Log, rows: EventRows, heads: list[SegmentHeads]) -> Iterator[str]:
    """heads: of the sound segments before; mapped, so that nothing is kept in memory for an aggregate."""
    a, version = rows.aggregates, rows.header["version"]
    by_aggregate = np.lexsort((rows.header["position"], rows.codes))
    same = np.diff(rows.codes[by_aggregate]) == 0
    if np.any(same & (np.diff(version[by_aggregate]) <= 0)):
        yield "versions of an aggregate do not ascend"
    last = last_versions(rows.codes, version, len(a))
    if not np.array_equal(last, a.last_version):
        yield "a dictionary entry's last version is not its events'"
    if not len(by_aggregate) or not _ascends(a):
        return
    firsts = by_aggregate[np.concatenate(([True], ~same))]
    lowest = np.zeros(len(a), np.int64)
    lowest[rows.codes[firsts]] = version[firsts]
    before = last_known_versions(heads, a.hi, a.lo, log.partitions)
    for i in np.flatnonzero((before != NO_VERSION) & (before >= lowest)).tolist():
        yield f"version {lowest[i]} of an aggregate comes behind version {before[i]}"


def _ascends(a: Aggregates) -> bool:
    return bool(np.all((a.hi[1:] > a.hi[:-1]) | ((a.hi[1:] == a.hi[:-1]) & (a.lo[1:] > a.lo[:-1]))))
