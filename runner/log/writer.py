"""The log's one writer: append, commit, and the publication of manifests that all changes of a log go through.

``append`` gathers and writes segment files, ``commit`` publishes them with the source's mark in one manifest. Whatever
fails before the manifest is renamed leaves the last manifest: an error in ``append`` or ``commit`` drops everything
since the last commit, and a crash leaves files that no manifest names, which the next writer removes.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.errors import LogError
from runner.log.arrival import SEPARATOR, take_in
from runner.log.compaction import Limits, compact
from runner.log.gather import Gathered, Registries
from runner.log.heads import SegmentHeads
from runner.log.manifest import Manifest, Segment, Source, chained
from runner.log.segment_build import build_segment
from runner.log.sidecars import ensure_columns
from runner.log.storage import Writing, storage_of
from runner.log.store import Store
from runner.positions import Position
from runner.stats import Listener, ignore
from runner.steps import reached

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    import pyarrow as pa

    from runner.config.object_store import LogPath, ObjectStorePath
    from runner.values import PayloadColumn

__all__ = ["LogWriter", "Room"]


@dataclass(frozen=True)
class Room:
    """How much is gathered in memory before a segment is written, and below which size a commit is not partitioned."""

    events: int = 2_000_000
    payload_bytes: int = 128 << 20
    whole_below: int = 4096


class LogWriter:
    """Open with ``LogWriter.open``; use as a context manager or ``close`` it. Not for several threads."""

    def __init__(self, writing: Writing, manifest: Manifest, published: str, room: Room) -> None:
        self.manifest = manifest
        self._writing = writing
        self._named = 0
        self._published = published
        self._room = room
        self._gathered: Gathered | None = None
        self._pending: list[Segment] = []
        self._source: Source | None = None
        self._place: tuple[int, int] | None = None
        self._heads: dict[str, SegmentHeads] = {}
        self._registries = Registries(list(manifest.types), list(manifest.scopes))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | ObjectStorePath,
        partitions: int = 64,
        create: bool = True,
        room: Room | None = None,
    ) -> LogWriter:
        """Open the log for writing, made if it is not there; ``partitions`` (a power of two) counts for a new one only.

        Removes what earlier writers left unpublished. Raises LogError (no log, cannot be written), LogLocked (another
        writer), LogDamaged, LogFormatError.
        """
        if partitions < 1 or partitions > 1 << 15 or partitions & (partitions - 1):
            raise LogError(f"{partitions} partitions: a power of two from 1 to 32768 is needed")
        writing = storage_of(path).writing(create=create)
        try:
            manifest, published = writing.current() or (Manifest(uuid.uuid4().hex, 0, partitions), "")
            writing.claim(manifest.fence)
            writer = cls(writing, manifest, published, room or Room())
            if not published:
                writer.publish(manifest)
            writing.remove_garbage(writer.manifest)
        except BaseException:
            writing.release()
            raise
        return writer

    # Reading what is there --------------------------------------------------------------------------------------------

    def mark(self, source: str) -> Any:
        """By which the source goes on: what the last commit of it stored, or None."""
        known = self.manifest.source(source)
        return known.mark if known else None

    @property
    def last_position(self) -> Position:
        """Of the last published event."""
        return Position(self.manifest.last_position)

    # Appending --------------------------------------------------------------------------------------------------------

    def append(self, source: str, events: pa.RecordBatch, *, namespace: str | None = None) -> int:
        """Take arriving events (``arrival.ARRIVAL_SCHEMA``) of a source; they are published by ``commit``.

        ``namespace`` stands for the source's name in identities. Between two commits all events are of one source.
        Returns how many events wait for the commit. Raises LogError; then nothing since the last commit is kept.
        """
        with self._dropping_on_error():
            self._begin(source, namespace)
            arrival = take_in(source, events)
            at = 0
            while at < len(arrival):
                if self._gathered is None:
                    self._gathered = Gathered(self._room.events, self._room.payload_bytes, self.manifest.partitions)
                room = self._gathered.room_for(arrival, at)
                if room == 0:
                    self._write_segment()
                    continue
                self._gathered.add(arrival.slice(at, at + room), self._registries, self._of().namespace)
                at += room
            if len(arrival):
                self._place = (int(arrival.place_0[-1]), int(arrival.place_1[-1]))
        return self._waiting()

    def commit(self, source: str, mark: Any, *, identity: Any = None, namespace: str | None = None) -> Position:
        """Publish all appended events of the source and its mark in one manifest; returns the log's last position.

        ``mark`` and ``identity`` are JSON values (identity None: as before). Nothing new: nothing is published.
        Raises LogError, also LogLocked where another writer has taken over; then nothing since the last commit is kept.
        """
        with self._dropping_on_error():
            self._begin(source, namespace)
            if self._gathered is not None and self._gathered.events:
                self._write_segment()
            now = self._of()
            new = sum(s.events for s in self._pending)
            entry = replace(
                now,
                mark=mark,
                identity=now.identity if identity is None else identity,
                events=now.events + new,
                last_source_position=self._place or now.last_source_position,
            )
            if entry != self.manifest.source(source) or new:
                reached("sync.1")
                rest = tuple(s for s in self.manifest.sources if s.name != source)
                place = self._source_code(source)
                self._publish(
                    replace(
                        self.manifest,
                        types=tuple(self._registries.types),
                        scopes=tuple(self._registries.scopes),
                        sources=(*rest[:place], entry, *rest[place:]),
                        segments=(*self.manifest.segments, *self._pending),
                    ),
                    "sync.2",
                )
                reached("sync.3")
        self._forget()
        return self.last_position

    def _begin(self, source: str, namespace: str | None) -> None:
        if self._source is not None and self._source.name != source:
            raise LogError(
                f"events of source {self._source.name} wait for their commit; commit them before those of {source}"
            )
        known = self._source or self.manifest.source(source)
        if known is not None and namespace is not None and namespace != known.namespace:
            raise LogError(
                f"source {source} was synced with the namespace {known.namespace!r}, now it has {namespace!r}",
                hint="its aggregates would become others; sync into a new log directory",
            )
        if known is None:
            for text in (source, namespace or ""):
                if SEPARATOR in text:
                    raise LogError(f"source {source!r}: names may not hold the unit separator (U+001F)")
            known = Source(source, source if namespace is None else namespace)
        self._source = known

    def _of(self) -> Source:
        assert self._source is not None
        return self._source

    def _source_code(self, name: str) -> int:
        names = [s.name for s in self.manifest.sources]
        return names.index(name) if name in names else len(names)

    def _waiting(self) -> int:
        return sum(s.events for s in self._pending) + (self._gathered.events if self._gathered else 0)

    def _write_segment(self) -> None:
        assert self._gathered is not None
        published = list(self.manifest.segments)
        before = [*published, *self._pending]
        segment = build_segment(
            self._gathered,
            directory=self.directory,
            segment_id=self.new_segment_id(),
            first=before[-1].last + 1 if before else 1,
            source=(self._source_code(self._of().name), self._of().name),
            heads=[self._heads_of(s) for s in before],
            partitions=self.manifest.partitions,
            whole_below=self._room.whole_below,
        )
        self._pending.append(segment)
        self._gathered.clear()

    def _heads_of(self, segment: Segment) -> SegmentHeads:
        if segment.id not in self._heads:
            self._heads[segment.id] = SegmentHeads(self._writing.container(segment.events_file, verify=True))
        return self._heads[segment.id]

    def new_segment_id(self) -> str:
        """A name that no other segment had: the manifest that will publish it, the writer's tag, a number.

        No two are alike, also where what had the first was dropped: it may be published without our knowing it.
        """
        self._named += 1
        return f"{self.manifest.number + 1:08d}-{self._writing.tag}-{self._named - 1:04d}"

    def new_column_name(self, segment: Segment, digest: str) -> str:
        """The name of a sidecar's file: of its segment, its column, and as above."""
        return f"{segment.id}.{digest}.{self.new_segment_id()}.col"

    @contextlib.contextmanager
    def _dropping_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Forget everything since the last commit."""
        self.discard({f.name for segment in self._pending for f in segment.files()})
        self._registries = Registries(list(self.manifest.types), list(self.manifest.scopes))
        self._forget()

    def _forget(self) -> None:
        self._pending = []
        self._source = self._place = None
        self._gathered = None
        known = {s.id for s in self.manifest.segments}
        self._heads = {k: v for k, v in self._heads.items() if k in known}

    # Changing what is there -------------------------------------------------------------------------------------------

    def ensure_columns(self, columns: Iterable[PayloadColumn], listener: Listener = ignore) -> int:
        """Write the sidecars of payload columns that are missing, from the raw payloads; returns how many files.

        Segment by segment and partition by partition, in bounded memory. Raises FieldValueError for a value that
        does not fit, with the lowest such position of a segment; columns of segments before it stay.
        """
        return ensure_columns(self, tuple(columns), listener)

    def compact(self, listener: Listener = ignore, *, limits: Limits | None = None) -> int:
        """Merge segments into fewer, larger ones, tail batches into partitions; returns how many were merged.

        No result changes, and positions, digest and columns stay. Open readers keep the segments they have.
        """
        return compact(self, listener, limits or Limits())

    @property
    def path(self) -> LogPath:
        """By which the log is opened again."""
        return self._writing.path

    @property
    def directory(self) -> Path:
        """Where container files are written before a manifest names them."""
        return self._writing.directory

    def store(self) -> Store:
        """The log's files, also those that are only written, opened anew."""
        return Store(self._writing, verify=True)

    def discard(self, names: set[str]) -> None:
        """Remove files that were written and not published."""
        self._writing.discard(names, self.manifest)

    def remove_garbage(self) -> None:
        """Remove what nobody needs any more, as far as that is known."""
        self._writing.remove_garbage(self.manifest)

    def publish(self, manifest: Manifest, *, step: str = "") -> None:
        """Make ``manifest`` the log's current one, as the next number; ``step`` is reached before it is renamed.

        Raises LogLocked where another writer has taken over, LogError where the disk refuses; then nothing is
        published.
        """
        if self._waiting():
            raise LogError("events wait for their commit; commit or drop them first")
        self._publish(manifest, step)

    def _publish(self, manifest: Manifest, step: str) -> None:
        new = replace(
            manifest,
            number=self.manifest.number + 1,
            previous=self._published,
            fence=self._writing.number,
            segments=chained(manifest.segments),
        )
        publication = self._writing.publication(new, new.to_bytes())
        self._writing.check()
        publication.write(self._published)
        if step:
            reached(step)
        self._writing.check()
        publication.rename()
        # From here on readers see it, whatever comes.
        self.manifest, self._published = new, publication.digest
        publication.settle()

    def close(self) -> None:
        """Drop what was not committed and let the next writer in."""
        self.drop()
        self._writing.release()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
