"""What was fetched of an object store's container files, in a local directory: mapped from there as from a local log.

Each container has one sparse file here of its full size and under its own name, and what was fetched of it lies at its
own place. What is there is told by content alone: a stream is there where its bytes have the digest that the manifest
names. So there is nothing to keep in step: several processes write the same bytes to the same places, and after a crash
a half-written stream is one that is fetched again. A file that is too much is removed whole, the one used longest ago
first; who has mapped it keeps its memory.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import xxhash

from runner.errors import LogDamaged, LogError
from runner.log.container import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from runner.log.manifest import Chunk, SegmentFile

__all__ = ["Cache", "CachedContainer"]

REQUESTS = 16
"""How many ranges are fetched at once."""

RANGE_BYTES = 4 << 20
"""How much one request fetches at most."""


class Cache:
    """A directory of sparse container files. Safe for threads and for other processes that use it too."""

    def __init__(
        self, directory: Path, limit: int, fetch: Callable[[SegmentFile, int, int], bytes | memoryview]
    ) -> None:
        """limit: bytes that stay on the disk. fetch: (file, offset, length) -> its bytes; raises LogError."""
        self.directory = directory
        self._limit = limit
        self._fetch = fetch
        self._pool: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()
        self._fetched = limit  # looked through at the first time

    def fetch(self, wanted: Iterable[tuple[CachedContainer, Chunk]]) -> None:
        """Fetch these streams, several ranges at once. Raises LogError."""
        handles: dict[str, int] = {}
        pieces: list[tuple[CachedContainer, int, int, int]] = []
        try:
            for container, chunk in wanted:
                name, end = container.file.name, chunk.offset + chunk.length
                if name not in handles:
                    handles[name] = container.writable()
                starts = range(chunk.offset, end, RANGE_BYTES)
                pieces += [(container, handles[name], at, min(RANGE_BYTES, end - at)) for at in starts]
            if len(pieces) == 1:
                self._piece(*pieces[0])
            else:
                list(self._threads().map(lambda piece: self._piece(*piece), pieces))
        finally:
            for handle in handles.values():
                os.close(handle)
        self.make_room(sum(length for _, _, _, length in pieces))

    def _piece(self, container: CachedContainer, handle: int, at: int, length: int) -> None:
        data = memoryview(self._fetch(container.file, at, length))
        try:
            while data:
                written = os.pwrite(handle, data, at)
                data, at = data[written:], at + written
        except OSError as e:
            raise disk_error(container.path, e) from e

    def _threads(self) -> ThreadPoolExecutor:
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="fetch")
            return self._pool

    def make_room(self, fetched: int) -> None:
        """Remove what was used longest ago where more than the limit is there; looked at now and then only."""
        with self._guard:
            self._fetched += fetched
            if self._fetched < self._limit // 16:
                return
            self._fetched = 0
        files = []
        for entry in self.directory.iterdir():
            with contextlib.suppress(OSError):
                found = entry.stat()
                files.append((found.st_mtime_ns, found.st_blocks * 512, entry))
        left = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if left <= self._limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size


class CachedContainer:
    """A container file of which only what is asked for is here. See ``port.Container``."""

    def __init__(self, cache: Cache, file: SegmentFile, where: str) -> None:
        self.file = file
        self.where = where
        self.path = cache.directory / file.name
        self._cache = cache
        self._chunks = {c.partition: c for c in file.chunks}
        self._good: dict[int, pa.Buffer] = {}
        self._guard = threading.Lock()
        self._map: pa.Buffer | None = None
        self._inode: tuple[int, int] | None = None

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(self._chunks)

    def chunk(self, partition: int) -> Chunk | None:
        return self._chunks.get(partition)

    def stream(self, partition: int) -> pa.Buffer | None:
        chunk = self._chunks.get(partition)
        if chunk is None:
            return None
        found = self.there(partition)
        if found is None:
            self._cache.fetch([(self, chunk)])
            found = self.there(partition)
        if found is None:
            where = "the tail batch" if partition < 0 else f"partition {partition}"
            raise LogDamaged(f"{self.where}: {where} is not what was written", hint=DAMAGED)
        return found

    def there(self, partition: int) -> pa.Buffer | None:
        """The stream where it was fetched already, whoever did."""
        if partition in self._good:
            return self._good[partition]
        chunk = self._chunks[partition]
        part = self._mapped().slice(chunk.offset, chunk.length)
        # A stream begins with four bytes of ones: where nothing was fetched, only one page is looked at.
        if not any(memoryview(part)[:4]) or xxhash.xxh3_128_hexdigest(memoryview(part)) != chunk.digest:
            return None
        self._good[partition] = part
        return part

    def writable(self) -> int:
        """A handle of the file, made where it is not there, and the mapping that of this file."""
        with self._guard:
            handle = self._open()
            if self._identity(handle) != self._inode:
                self._map_file(handle)
            return handle

    def _mapped(self) -> pa.Buffer:
        with self._guard:
            if self._map is None:
                handle = self._open()
                try:
                    self._map_file(handle)
                finally:
                    os.close(handle)
            assert self._map is not None
            return self._map

    def _open(self) -> int:
        try:
            while True:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
                size = os.fstat(handle).st_size
                if size == 0:
                    os.ftruncate(handle, self.file.size)
                elif size != self.file.size:
                    # Of another log that had this name.
                    os.close(handle)
                    self.path.unlink(missing_ok=True)
                    continue
                os.utime(handle)
                return handle
        except OSError as e:
            raise disk_error(self.path, e) from e

    def _map_file(self, handle: int) -> None:
        try:
            mapped = mmap.mmap(handle, self.file.size, access=mmap.ACCESS_READ)
        except OSError as e:
            reason = e.strerror if e.errno != errno.ENOMEM else "too many files are mapped (vm.max_map_count)"
            raise LogError(f"{self.path}: cannot be mapped: {reason}") from None
        self._map, self._inode = pa.py_buffer(mapped), self._identity(handle)

    @staticmethod
    def _identity(handle: int) -> tuple[int, int]:
        found = os.fstat(handle)
        return found.st_dev, found.st_ino


DAMAGED = "restore the object from a copy, or sync into a new log"
