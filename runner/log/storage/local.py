"""A log in a local directory: files that are mapped where they lie, readers that hold manifests by locks."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from runner.errors import LogDamaged, LogError
from runner.log.container import MappedContainer, disk_error
from runner.log.storage.local_lock import Fence, hold_manifest
from runner.log.storage.local_manifests import manifest_path, no_log, numbered_path, read_manifest
from runner.log.storage.local_publication import FilePublication, discard, finish_beginning, remove_garbage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runner.log.manifest import Manifest, SegmentFile
    from runner.log.storage.port import Container

__all__ = ["LocalStorage"]


class _Handle:
    """A hold of a manifest: an open file with a shared lock."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()


class LocalStorage:
    """See ``port.Storage``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return manifest_path(self.path).exists()

    def stamp(self) -> object:
        try:
            found = manifest_path(self.path).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def hold(self, number: int | None) -> tuple[Manifest, _Handle]:
        manifest, handle = hold_manifest(self.path, number)
        return manifest, _Handle(handle)

    def current(self) -> tuple[Manifest, str]:
        return read_manifest(manifest_path(self.path))

    def numbered(self, number: int) -> tuple[Manifest, str] | None:
        path = numbered_path(self.path, number)
        return read_manifest(path) if path.exists() else None

    def where(self, number: int) -> str:
        return str(numbered_path(self.path, number))

    def container(self, file: SegmentFile, *, verify: bool) -> MappedContainer:
        return MappedContainer(self.path / "segments", file, verify=verify)

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        """Nothing to do: mapping is all."""

    def sha256(self, file: SegmentFile) -> str:
        path = self.path / "segments" / file.name
        try:
            with path.open("rb") as f:
                return hashlib.file_digest(f, "sha256").hexdigest()
        except OSError as e:
            raise LogError(f"{path}: cannot be read: {e.strerror}") from None

    def writing(self, *, create: bool) -> _LocalWriting:
        log = self.path
        if not manifest_path(log).exists():
            missing = no_log(manifest_path(log))
            if not create or isinstance(missing, LogDamaged):
                raise missing
        try:
            for directory in (log, log / "segments", log / "manifests"):
                directory.mkdir(mode=0o700, parents=directory == log, exist_ok=True)
        except OSError as e:
            raise disk_error(log, e) from e
        return _LocalWriting(self)


class _LocalWriting:
    """See ``port.Writing``: files are written where they will stay."""

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._log = storage.path
        self.fence = Fence(self._log)
        self.directory = self._log / "segments"

    @property
    def path(self) -> Path:
        return self._log

    @property
    def number(self) -> int:
        return self.fence.number

    @property
    def tag(self) -> str:
        return f"{self.fence.number:04d}"

    def current(self) -> tuple[Manifest, str] | None:
        finish_beginning(self._log)
        return self._storage.current() if self._storage.exists() else None

    def claim(self, above: int) -> None:
        self.fence.claim(above)

    def check(self) -> None:
        self.fence.check()

    def container(self, file: SegmentFile, *, verify: bool) -> MappedContainer:
        return self._storage.container(file, verify=verify)

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        """Nothing to do."""

    def publication(self, manifest: Manifest, data: bytes) -> FilePublication:
        return FilePublication(self._log, manifest.number, data)

    def discard(self, names: set[str], current: Manifest) -> None:
        discard(self._log, names, current)

    def remove_garbage(self, current: Manifest) -> None:
        remove_garbage(self._log, current)

    def release(self) -> None:
        self.fence.release()
