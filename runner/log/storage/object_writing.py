"""The one writer of a log on an object store.

Container files are written into a local directory (the spool), uploaded, and named by a manifest that is created under
the next number: an object of that key can be created once, so of two writers one publishes, and the other is told.
What makes one history is that alone; the lease only keeps two from working at once. A commit is

1. files written and synced, in the spool
2. files uploaded, under names that no other writer's files have
3. ``manifests/<number>.json`` created, if there is none
4. the highest number is looked for again: a number can be free only because it is long past and was removed

After that the spool's files become the cache's, so that this machine need not fetch what it wrote.

**Garbage.** The name of a file begins with the number of the manifest that names it first (``file_number``). Once that
number is taken by a manifest which does not name it, nobody can publish it any more. So a file is removed when its
number is taken and no manifest that is kept names it; a manifest is kept while it is one of the last or younger than
what readers are promised. A lost commit's files are never removed by who lost it: whether it is lost may not be known.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

from runner.errors import LogError, LogLocked
from runner.log.container import MappedContainer, disk_error
from runner.log.storage.lease import Lease
from runner.log.storage.objects import manifest_key, manifest_number, segment_key
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runner.config.object_store import ObjectStorePath
    from runner.log.manifest import Manifest, SegmentFile
    from runner.log.storage.objects import ObjectStorage
    from runner.log.storage.port import Container

__all__ = ["KEPT_MANIFESTS", "ObjectPublication", "ObjectWriting", "file_number"]

KEPT_MANIFESTS = 8
"""How many published manifests stay at least, the current one included."""

UPLOADS = 4
"""How many files are uploaded at once, each in parts at once where it is large."""


def file_number(name: str) -> int:
    """The number of the manifest that first names a file of this name; 0 where the name says none.

    ``<number>-<tag>-<serial>.events``, ``.raw``, ``.<column>.col`` of one commit;
    ``<segment>.<column>.<number>-<tag>-<serial>.col`` of a column that was added later.
    """
    parts = name.split(".")
    number = (parts[2] if len(parts) == 4 else parts[0]).split("-")[0]
    return int(number) if number.isdigit() else 0


class ObjectWriting:
    """See ``port.Writing``."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._lease = Lease(storage.client, storage.path.lease_seconds)
        reached("object.1")
        try:
            self.directory = self._spool()
        except BaseException:
            self._lease.release()
            raise

    @property
    def path(self) -> ObjectStorePath:
        return self._storage.path

    @property
    def number(self) -> int:
        return self._lease.number

    @property
    def tag(self) -> str:
        return f"{self._lease.number:04d}-{self._lease.token}"

    def current(self) -> tuple[Manifest, str] | None:
        number = self._storage.last_number()
        if not number:
            self._storage.client.prove_conditions()
        return self._storage.numbered(number) if number else None

    def claim(self, above: int) -> None:
        self._lease.claim(above)

    def check(self) -> None:
        self._lease.check()

    def container(self, file: SegmentFile, *, verify: bool) -> Container:
        if (self.directory / file.name).exists():
            written = MappedContainer(self.directory, file, verify=verify)
            written.mapped()  # at once: when it is published it goes elsewhere
            return written
        return self._storage.container(file, verify=verify)

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None:
        self._storage.fetch(wanted)

    def publication(self, manifest: Manifest, data: bytes) -> ObjectPublication:
        return ObjectPublication(self._storage, self._lease, self.directory, manifest, data)

    def discard(self, names: set[str], current: Manifest) -> None:
        for name in names - current.files():
            with contextlib.suppress(OSError):
                (self.directory / name).unlink(missing_ok=True)

    def remove_garbage(self, current: Manifest) -> None:
        kept = self.path.kept_seconds
        if time.time() - self._lease.collected < kept / 4:
            return
        # What cannot be removed stays for the next time.
        with contextlib.suppress(LogError):
            _collect(self._storage, current, time.time() - kept)
            self._lease.now_collected()

    def release(self) -> None:
        self._lease.release()
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.directory.with_name(f"{self.directory.name}.lock").unlink()
        os.close(self._lock)

    def _spool(self) -> Path:
        """A directory of this writer's own, locked while it lives; those of dead ones are removed."""
        spools = self._storage.local("spool")
        mine = spools / f"{os.getpid()}-{self._lease.token}"
        try:
            # The lock comes first: a directory without one is nobody's.
            self._lock = os.open(spools / f"{mine.name}.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine.mkdir(mode=0o700)
        except OSError as e:
            raise disk_error(mine, e) from e
        for lock in spools.glob("*.lock"):
            if lock.stem != mine.name:
                _remove_spool(lock)
        return mine


def _remove_spool(lock: Path) -> None:
    """Remove a spool whose writer died."""
    with contextlib.suppress(OSError):
        handle = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
        finally:
            os.close(handle)


class ObjectPublication:
    """See ``port.Publication``."""

    def __init__(self, storage: ObjectStorage, lease: Lease, spool: Path, manifest: Manifest, data: bytes) -> None:
        self._storage = storage
        self._lease = lease
        self._spool = spool
        self._manifest = manifest
        self._data = data
        self._names = sorted(manifest.files() & {p.name for p in spool.iterdir()})
        self.digest = hashlib.sha256(data).hexdigest()

    def write(self, published: str) -> None:
        """Upload what the manifest names and is only here. Of another writer tells the number, not ``published``."""
        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
            for _ in pool.map(self._upload, self._names):
                reached("object.2")
        reached("object.3")

    def _upload(self, name: str) -> None:
        self._storage.client.upload(self._spool / name, segment_key(name))

    def rename(self) -> None:
        number = self._manifest.number
        if not self._storage.client.create(manifest_key(number), self._data) or not self._is_history():
            raise LogLocked(
                f"{self._storage.path}: another writer has published manifest {number}",
                hint="nothing of this run was published; run it again",
            )
        self._lease.noted(number)
        reached("object.4")

    def _is_history(self) -> bool:
        """Whether what was published since, if anything, follows this manifest.

        Not so where the writer was paused for so long that its number was taken, and removed as old, meanwhile.
        """
        number = self._manifest.number
        later = [manifest_number(o.key) for o in self._storage.manifests(number + 1)]
        if not later:
            return True
        next_ = self._storage.numbered(number + 1)
        return next_ is not None and next_[0].previous == self.digest

    def settle(self) -> None:
        """Keep for this machine's readers what was written here."""
        for name in self._names:
            with contextlib.suppress(OSError):
                (self._spool / name).rename(self._storage.cache().directory / name)
        files = {f.name: f.size for s in self._manifest.segments for f in s.files()}
        self._storage.cache().make_room(sum(files[name] for name in self._names))


def _collect(storage: ObjectStorage, current: Manifest, since: float) -> None:
    """Remove manifests that are none of the last and were replaced before ``since``, and old files that no other one
    names. Raises LogError, also where a manifest that is kept cannot be read: then all files stay.
    """
    published = storage.manifests(0)
    if not published or manifest_number(published[-1].key) != current.number:
        return  # another writer is at it
    # A manifest was current until the next one was published: that is when its time begins.
    replaced = {a.key: b.modified for a, b in pairwise(published)}
    old = [
        o.key
        for o in published
        if manifest_number(o.key) <= current.number - KEPT_MANIFESTS and replaced.get(o.key, since) < since
    ]
    storage.client.delete(old)
    named = set(current.files())
    for number in (manifest_number(o.key) for o in published if o.key not in old):
        found = storage.numbered(number) if number != current.number else None
        if found is not None:
            named |= found[0].files()
    garbage = [
        o.key
        for o in storage.client.listed("segments/")
        if (name := o.key.removeprefix("segments/")) not in named
        and 0 < file_number(name) <= current.number
        and o.modified < since
    ]
    storage.client.delete(garbage)
