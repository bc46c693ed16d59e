"""The manifest: the one file that says what the log holds. As data and as JSON; ``storage/`` publishes it.

Two chains of SHA-256: each manifest names the digest of the one before it, and each segment's ``chain`` covers the
chain of the segment before it and its own files' digests, so a segment cannot be exchanged, left out or put
elsewhere without changing all that follow. Compaction begins the chain anew from the first segment it merged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from runner.errors import LogDamaged, LogFormatError

__all__ = [
    "FORMAT",
    "WHOLE",
    "Chunk",
    "Manifest",
    "Segment",
    "SegmentFile",
    "Source",
    "StoredColumn",
    "chain_of",
    "chained",
    "parse_manifest",
]

FORMAT = 1
"""The version of the log's format on disk. A log of another version is refused."""

WHOLE = -1
"""The partition of a chunk that holds events of all partitions: the unpartitioned tail batch of a small commit."""


@dataclass(frozen=True)
class Chunk:
    """One Arrow IPC stream inside a container: bytes offset..offset+length, digest xxh3-128 (hex)."""

    partition: int
    offset: int
    length: int
    rows: int
    digest: str


@dataclass(frozen=True)
class SegmentFile:
    """A container file. ``name`` is relative to ``segments/``; size in bytes; sha256 of all its bytes (hex)."""

    name: str
    size: int
    sha256: str
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class StoredColumn:
    """A payload column's sidecar: which column it is (``repr``, for people), of which event type, and its file."""

    column: str
    event_type: str
    file: SegmentFile


@dataclass(frozen=True)
class Segment:
    """Events first..last (positions, dense), in two containers and any number of sidecars.

    digest: the sum of the events' digests (hex, ``kernels/digest.py``), the same however events are cut into segments.
    types: events per type code. recorded: the highest recorded_at in µs, None where no event has one.
    payload_bytes: uncompressed.
    """

    id: str
    first: int
    last: int
    tail: bool
    aggregates: int
    payload_bytes: int
    recorded: int | None
    types: dict[int, int]
    sources: dict[int, int]
    digest: str
    chain: str
    events_file: SegmentFile
    raw_file: SegmentFile
    columns: dict[str, StoredColumn] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return self.last - self.first + 1

    def largest_payload(self) -> int:
        """Bytes of payload of its largest partition, as its share of the events says."""
        most = max((c.rows for c in self.events_file.chunks), default=0)
        return self.payload_bytes * most // max(self.events, 1)

    def files(self) -> list[SegmentFile]:
        return [self.events_file, self.raw_file, *(c.file for c in self.columns.values())]


@dataclass(frozen=True)
class Source:
    """What the log knows of a source. ``mark`` and ``identity`` are the source's own, opaque here."""

    name: str
    namespace: str
    mark: Any = None
    identity: Any = None
    events: int = 0
    last_source_position: tuple[int, int] | None = None


@dataclass(frozen=True)
class Manifest:
    """All of the log at one moment. Scopes are (source namespace, tenant) pairs; codes are indices, append-only."""

    log_id: str
    number: int
    partitions: int
    previous: str = ""
    fence: int = 0
    types: tuple[str, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()
    sources: tuple[Source, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def last_position(self) -> int:
        return self.segments[-1].last if self.segments else 0

    def source(self, name: str) -> Source | None:
        return next((s for s in self.sources if s.name == name), None)

    def files(self) -> set[str]:
        """Names of all files in ``segments/`` that belong to it."""
        return {f.name for s in self.segments for f in s.files()}

    def to_bytes(self) -> bytes:
        """One JSON object; its first member is the SHA-256 of the object without it."""
        body = {
            "format": FORMAT,
            **vars(self),
            "sources": [vars(s) for s in self.sources],
            "segments": [_segment_body(s) for s in self.segments],
        }
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return _CHECKSUM % hashlib.sha256(text).hexdigest().encode() + text[1:]


_CHECKSUM = b'{"checksum":"%s",'


def _checked(raw: bytes) -> bool:
    """Whether the bytes are what ``to_bytes`` made."""
    rest = raw[len(_CHECKSUM % (b"0" * 64)) :]
    return raw.startswith(_CHECKSUM % hashlib.sha256(b"{" + rest).hexdigest().encode())


def _segment_body(segment: Segment) -> dict[str, Any]:
    columns = {k: {**vars(c), "file": _file_body(c.file)} for k, c in segment.columns.items()}
    files = {"events_file": _file_body(segment.events_file), "raw_file": _file_body(segment.raw_file)}
    return {**vars(segment), **files, "columns": columns}


def _file_body(file: SegmentFile) -> dict[str, Any]:
    # Chunks are most of a manifest: lists instead of objects keep it small.
    return {**vars(file), "chunks": [[c.partition, c.offset, c.length, c.rows, c.digest] for c in file.chunks]}


def chain_of(before: str, segment: Segment) -> str:
    """The chain value of a segment behind one whose chain is ``before`` ("" for the first)."""
    parts = (before, segment.id, segment.first, segment.last, segment.digest)
    digests = (segment.events_file.sha256, segment.raw_file.sha256)
    return hashlib.sha256(json.dumps([*parts, *digests]).encode()).hexdigest()


def chained(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments with their chain values made anew."""
    out: list[Segment] = []
    for segment in segments:
        out.append(replace(segment, chain=chain_of(out[-1].chain if out else "", segment)))
    return tuple(out)


def parse_manifest(raw: bytes, where: str, restore: str) -> Manifest:
    """The manifest in these bytes. where, restore: its name and what to do, for errors.

    Raises LogDamaged and LogFormatError.
    """
    try:
        body = json.loads(raw)
        version = body["format"]
    except (ValueError, TypeError, KeyError):
        raise LogDamaged(f"{where}: not a manifest", hint=restore) from None
    if version != FORMAT:
        raise LogFormatError(
            f"{where}: the log has format {version}, this runner reads format {FORMAT}",
            hint="use the release that wrote it, or sync into a new log directory",
        )
    try:
        manifest = _manifest(body) if _checked(raw) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        manifest = None
    if manifest is None:
        raise LogDamaged(f"{where}: its checksum is wrong", hint=restore)
    return manifest


def _manifest(body: dict[str, Any]) -> Manifest:
    return Manifest(
        log_id=body["log_id"],
        number=body["number"],
        partitions=body["partitions"],
        previous=body["previous"],
        fence=body["fence"],
        types=tuple(body["types"]),
        scopes=tuple((s, t) for s, t in body["scopes"]),
        sources=tuple(_source(s) for s in body["sources"]),
        segments=tuple(_segment(s) for s in body["segments"]),
    )


def _source(body: dict[str, Any]) -> Source:
    last = body["last_source_position"]
    return Source(**{**body, "last_source_position": None if last is None else (last[0], last[1])})


def _segment(body: dict[str, Any]) -> Segment:
    return Segment(
        **{
            **body,
            "types": {int(k): v for k, v in body["types"].items()},
            "sources": {int(k): v for k, v in body["sources"].items()},
            "events_file": _file(body["events_file"]),
            "raw_file": _file(body["raw_file"]),
            "columns": {
                k: StoredColumn(v["column"], v["event_type"], _file(v["file"])) for k, v in body["columns"].items()
            },
        }
    )


def _file(body: dict[str, Any]) -> SegmentFile:
    return SegmentFile(body["name"], body["size"], body["sha256"], tuple(Chunk(*c) for c in body["chunks"]))
