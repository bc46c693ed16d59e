"""A log on an object store, for its readers.

::

    manifests/<number>.json      created once, never replaced; the highest number is the current one
    segments/<name>              container files; a name is never used twice
    writer.json                  the writer's lease

There is no pointer that could go back: the current manifest is found by listing, from the number on that the lease
tells. Readers hold nothing. Their manifest and its files stay for a stated time after a newer one was published, and a
reader that takes longer, through a compaction, is told so in one line.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from runner.errors import LogDamaged, LogError
from runner.log.manifest import Manifest, parse_manifest
from runner.log.storage.cache import Cache, CachedContainer
from runner.log.storage.client import ObjectClient, Stored
from runner.log.storage.lease import known_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runner.config.object_store import ObjectStorePath
    from runner.log.manifest import Chunk, SegmentFile
    from runner.log.storage.object_writing import ObjectWriting
    from runner.log.storage.port import Container

__all__ = ["ObjectStorage", "manifest_key", "manifest_number", "segment_key"]

STAMP_SECONDS = 0.5
"""For how long ``stamp`` repeats what it saw: who waits for a manifest asks many times a second."""


def manifest_key(number: int) -> str:
    return f"manifests/{number:010d}.json"


def manifest_number(key: str) -> int:
    """0 where the key is none of a manifest."""
    stem = key.removeprefix("manifests/").removesuffix(".json")
    return int(stem) if stem.isdigit() and key == manifest_key(int(stem)) else 0


def segment_key(name: str) -> str:
    return f"segments/{name}"


class _NoHold:
    """Readers of an object store hold nothing: files stay for a time."""

    def close(self) -> None:
        pass


class ObjectStorage:
    """See ``port.Storage``."""

    def __init__(self, path: ObjectStorePath) -> None:
        """Raises LogError where credentials are missing."""
        self.path = path
        self.client = ObjectClient(path)
        name = hashlib.sha256(path.url.encode()).hexdigest()[:16]
        self._local = path.cache / name
        self._cache: Cache | None = None
        self._known = 0
        self._stamp: tuple[float, int] | None = None

    # Manifests --------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return self.last_number() > 0

    def stamp(self) -> object:
        if self._stamp is None or time.monotonic() - self._stamp[0] > STAMP_SECONDS:
            try:
                self._stamp = (time.monotonic(), self.last_number())
            except LogError:
                return None
        return self._stamp[1] or None

    def last_number(self) -> int:
        """Of the current manifest; 0 where there is no log."""
        from_ = self._known or known_number(self.client)
        found = self.manifests(from_) or (self.manifests(0) if from_ else [])
        self._known = max((manifest_number(o.key) for o in found), default=0)
        return self._known

    def manifests(self, from_: int) -> list[Stored]:
        """Those that are there, numbered ``from_`` or higher."""
        after = manifest_key(from_ - 1) if from_ > 1 else ""
        return [o for o in self.client.listed("manifests/", after) if manifest_number(o.key)]

    def hold(self, number: int | None) -> tuple[Manifest, _NoHold]:
        if number is None:
            return self.current()[0], _NoHold()
        found = self.numbered(number)
        if found is None:
            raise LogError(f"{self.path}: manifest {number} is not kept any more", hint="open the log anew")
        return found[0], _NoHold()

    def current(self) -> tuple[Manifest, str]:
        number = self.last_number()
        if not number:
            raise self.no_log()
        found = self.numbered(number)
        if found is None:
            raise LogDamaged(f"{self.where(number)}: was listed, and is not there", hint=_RESTORE)
        return found

    def no_log(self) -> LogError:
        """Why there is no manifest: LogDamaged where a log's files are there that need one."""
        if self.client.listed("segments/"):
            return LogDamaged(
                f"{self.path}: the manifests are missing, but the log's other files are there", hint=_RESTORE
            )
        return LogError(f"no log at {self.path}", hint="`runner sync` makes one")

    def numbered(self, number: int) -> tuple[Manifest, str] | None:
        raw = self.client.get(manifest_key(number))
        if raw is None:
            return None
        return parse_manifest(raw, self.where(number), _RESTORE), hashlib.sha256(raw).hexdigest()

    def where(self, number: int) -> str:
        return self.client.where(manifest_key(number))

    # Container files --------------------------------------------------------------------------------------------------

    def local(self, name: str) -> Path:
        """A directory of this log's below the cache, made where it is not there."""
        made = self._local / name
        try:
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise LogError(
                f"{made}: cannot be made: {e.strerror}", hint="[log] cache names a local directory that may be written"
            ) from None
        return made

    def cache(self) -> Cache:
        if self._cache is None:
            self._cache = Cache(self.local("segments"), self.path.cache_bytes, self._range)
        return self._cache

    def container(self, file: SegmentFile, *, verify: bool) -> CachedContainer:
        """Always verified: by its digest a stream is known to be in the cache."""
        return CachedContainer(self.cache(), file, self.client.where(segment_key(file.name)))

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        missing: dict[tuple[str, int], tuple[CachedContainer, Chunk]] = {}
        for container, partition in wanted:
            chunk = container.chunk(partition)
            # A tail batch is wanted for every partition.
            if not isinstance(container, CachedContainer) or chunk is None or (container.where, partition) in missing:
                continue
            if container.there(partition) is None:
                missing[container.where, partition] = container, chunk
        if missing:
            self.cache().fetch(missing.values())

    def _range(self, file: SegmentFile, start: int, length: int) -> bytes | memoryview:
        try:
            return self.client.get_range(segment_key(file.name), start, length)
        except FileNotFoundError:
            raise self._gone(file) from None

    def _gone(self, file: SegmentFile) -> LogError:
        where = self.client.where(segment_key(file.name))
        if file.name in self.current()[0].files():
            return LogDamaged(f"{where}: missing", hint="restore the object from a copy, or sync into a new log")
        return LogError(
            f"{where}: is gone: the log was compacted, and its former files stay {self.path.kept_seconds / 3600:g} h",
            hint="run it again; [log] kept says for how long readers may take",
        )

    def sha256(self, file: SegmentFile) -> str:
        digest = hashlib.sha256()
        try:
            for part in self.client.stream(segment_key(file.name)):
                digest.update(part)
        except FileNotFoundError:
            raise self._gone(file) from None
        return digest.hexdigest()

    # Writing ----------------------------------------------------------------------------------------------------------

    def writing(self, *, create: bool) -> ObjectWriting:
        from runner.log.storage.object_writing import ObjectWriting  # a reader needs none of it

        if not self.exists():
            missing = self.no_log()
            if not create or isinstance(missing, LogDamaged):
                raise missing
        return ObjectWriting(self)


_RESTORE = "restore the newest good manifest from a copy, or sync into a new log"
