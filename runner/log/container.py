"""Container files: Arrow IPC streams one behind the other, each at a 64-byte boundary, read by mapping the file.

A file begins with 64 bytes: the magic, the format and zeros. Where the streams are stands in the manifest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import xxhash

from runner.errors import LogDamaged, LogError
from runner.log.manifest import FORMAT, Chunk, SegmentFile

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["ALIGNMENT", "ContainerWriter", "MappedContainer", "disk_error"]

ALIGNMENT = 64
MAGIC = b"RUNNERLG"


def disk_error(path: Path, error: OSError) -> LogError:
    """A failed write as one clear line."""
    reason = error.strerror or str(error)
    hint = {28: "free some space and run it again; the log is as it was", 30: "the file system is read-only"}
    return LogError(
        f"{path}: cannot be written: {reason}",
        hint=hint.get(error.errno or 0, "nothing was published; the log is as it was"),
    )


class ContainerWriter:
    """Writes one container file; ``close`` syncs it to disk. Left by an exception, the file is removed."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name
        self._name = name
        self._chunks: list[Chunk] = []
        self._sha = hashlib.sha256()
        self._at = 0
        self.file: SegmentFile | None = None
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as e:
            raise disk_error(self.path, e) from e
        self._out: IO[bytes] = os.fdopen(handle, "wb", buffering=0)
        try:
            self._write(MAGIC + FORMAT.to_bytes(4, "little") + bytes(ALIGNMENT - len(MAGIC) - 4))
        except BaseException:
            self._discard()  # nobody has entered it yet, who would
            raise

    def add(self, partition: int, rows: int, stream: pa.Buffer) -> None:
        """Append one stream."""
        view = memoryview(stream)
        digest = xxhash.xxh3_128_hexdigest(view)
        self._chunks.append(Chunk(partition, self._at, len(view), rows, digest))
        self._write(view)
        self._write(bytes(-self._at % ALIGNMENT))

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._sha.update(view)
        try:
            while view:
                view = view[self._out.write(view) :]
        except OSError as e:
            raise disk_error(self.path, e) from e
        self._at += len(data)

    def finish(self) -> SegmentFile:
        """Sync the file to disk and say what it is."""
        try:
            os.fsync(self._out.fileno())
            self._out.close()
        except OSError as e:
            raise disk_error(self.path, e) from e
        self.file = SegmentFile(self._name, self._at, self._sha.hexdigest(), tuple(self._chunks))
        return self.file

    def __enter__(self) -> ContainerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is None:
            self._discard()

    def _discard(self) -> None:
        self._out.close()
        self.path.unlink(missing_ok=True)


class MappedContainer:
    """A container file mapped into memory. Safe for threads. The mapping lives as long as arrays made of it do."""

    def __init__(self, directory: Path, file: SegmentFile, *, verify: bool) -> None:
        self.path = directory / file.name
        self._file = file
        self._verify = verify
        self._chunks = {c.partition: c for c in file.chunks}
        self._good: set[int] = set()
        self._guard = threading.Lock()
        self._map: pa.Buffer | None = None

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self.path)

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(self._chunks)

    def chunk(self, partition: int) -> Chunk | None:
        """Where the partition's stream is; None where it has no events."""
        return self._chunks.get(partition)

    def stream(self, partition: int) -> pa.Buffer | None:
        """The partition's Arrow IPC stream, no copy; None where it has none.

        Raises LogDamaged, naming file and partition, where the bytes are not what was written.
        """
        chunk = self._chunks.get(partition)
        if chunk is None:
            return None
        part = self.mapped().slice(chunk.offset, chunk.length)
        if self._verify and partition not in self._good:
            if xxhash.xxh3_128_hexdigest(memoryview(part)) != chunk.digest:
                where = "the tail batch" if partition < 0 else f"partition {partition}"
                raise LogDamaged(f"{self.path}: {where} is not what was written", hint=_DAMAGED)
            self._good.add(partition)
        return part

    def mapped(self) -> pa.Buffer:
        """The whole file. Raises LogDamaged, LogError."""
        with self._guard:
            if self._map is None:
                self._map = self._open()
            return self._map

    def _open(self) -> pa.Buffer:
        # A mapped file that is shorter than expected kills the process on access: look at the size first.
        try:
            with self.path.open("rb") as f:
                size = os.fstat(f.fileno()).st_size
                if size != self._file.size:
                    raise LogDamaged(f"{self.path}: {size} bytes, {self._file.size} were written", hint=_DAMAGED)
                mapped = mmap.mmap(f.fileno(), size, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise LogDamaged(f"{self.path}: missing", hint=_DAMAGED) from None
        except OSError as e:
            raise LogError(f"{self.path}: cannot be mapped: {e.strerror}") from None
        mapped.madvise(mmap.MADV_WILLNEED if size < 1 << 20 else mmap.MADV_SEQUENTIAL)
        return pa.py_buffer(mapped)


_DAMAGED = "restore the file from a copy, or sync into a new log directory"
