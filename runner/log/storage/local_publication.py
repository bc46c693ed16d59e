"""How a manifest becomes the current one of a local directory, and how files that no manifest names are removed.

``manifest.json`` is replaced by rename; every published manifest also stays a while as ``manifests/<number>.json``, a
hard link of the same bytes, so that readers can hold it (``local_lock.py``) and ``audit`` can follow the chain back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from runner.errors import LogDamaged, LogError, LogFormatError, LogLocked
from runner.files import sync_directory
from runner.log.container import disk_error
from runner.log.storage.local_lock import is_held
from runner.log.storage.local_manifests import manifest_path, no_log, numbered_path, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from runner.log.manifest import Manifest

__all__ = ["KEPT_MANIFESTS", "FilePublication", "discard", "finish_beginning", "remove_garbage"]

KEPT_MANIFESTS = 16
"""How many published manifests stay in ``manifests/``, the current one included: a history for ``audit``."""


class FilePublication:
    """One manifest on its way: ``write``, ``rename``, ``settle``."""

    def __init__(self, log: Path, number: int, data: bytes) -> None:
        self._log = log
        self._number = number
        self._data = data
        self._new = log / "manifest.json.new"
        self.digest = hashlib.sha256(data).hexdigest()

    def write(self, published: str) -> None:
        """Put it beside the current one, whose SHA-256 is ``published`` ("": there is none), and take its number.

        Raises LogLocked where the current manifest is another or the number is taken.
        """
        current = manifest_path(self._log)
        there = hashlib.sha256(current.read_bytes()).hexdigest() if current.exists() else ""
        if there != published:
            raise self._overtaken()
        try:
            sync_directory(self._log / "segments")
            with self._new.open("wb") as f:
                os.fchmod(f.fileno(), 0o600)
                f.write(self._data)
                f.flush()
                os.fsync(f.fileno())
            os.link(self._new, numbered_path(self._log, self._number))
        except FileExistsError:
            raise self._overtaken() from None
        except OSError as e:
            self._new.unlink(missing_ok=True)
            raise disk_error(self._new, e) from e

    def rename(self) -> None:
        """Make it the current one."""
        try:
            self._new.rename(manifest_path(self._log))
        except OSError as e:
            raise disk_error(manifest_path(self._log), e) from e

    def settle(self) -> None:
        """Make the rename durable."""
        try:
            sync_directory(self._log / "manifests")
            sync_directory(self._log)
        except OSError as e:
            raise disk_error(self._log, e) from e

    def _overtaken(self) -> LogLocked:
        return LogLocked(
            f"{self._log}: another writer has published manifest {self._number}",
            hint="nothing of this run was published; run it again",
        )


def finish_beginning(log: Path) -> None:
    """Publish the first manifest of a new log whose writer died between taking its number and publishing it.

    For the writer with the lock. Raises LogDamaged where files of the log are there that need another manifest.
    """
    current, first = manifest_path(log), numbered_path(log, 1)
    if current.exists():
        return
    missing = no_log(current)
    if isinstance(missing, LogDamaged):
        raise missing
    if not first.exists():
        return
    if read_manifest(first)[0].segments:
        raise LogDamaged(f"{log}: the segments are missing", hint="sync into a new log directory")
    try:
        os.link(first, current)
        sync_directory(log)
    except OSError as e:
        raise disk_error(current, e) from e


def remove_garbage(log: Path, current: Manifest) -> None:
    """Remove what crashed or fenced writers left, old manifests, and files of segments that were compacted away.

    Files stay that the current manifest names, or one that a reader holds. What cannot be removed stays for the next
    time.
    """
    kept = current.files()
    with contextlib.suppress(OSError):
        (log / "manifest.json.new").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _join_names(log, current.number)
    readers_known = True
    for path in sorted((log / "manifests").glob("*.json")):
        number = int(path.stem) if path.stem.isdigit() else -1
        if number == current.number:
            continue
        try:
            held = number < current.number and is_held(path)
            if held:
                with contextlib.suppress(LogDamaged, LogFormatError):
                    kept |= read_manifest(path)[0].files()
        except (OSError, LogError):
            readers_known = False
            continue
        if not held and (number > current.number or number <= current.number - KEPT_MANIFESTS):
            _remove(path)
    if readers_known:
        with contextlib.suppress(OSError):
            for path in sorted((log / "segments").iterdir()):
                if path.name not in kept:
                    _remove(path)


def discard(log: Path, names: set[str], current: Manifest) -> None:
    """Remove files of ``segments/`` that were written and not published; what cannot be removed now is garbage."""
    for name in names - current.files():
        _remove(log / "segments" / name)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _join_names(log: Path, number: int) -> None:
    # A copied log has two files instead of one with two names: holds on one would not be seen at the other.
    numbered, current = numbered_path(log, number), manifest_path(log)
    if not numbered.exists() or not numbered.samefile(current):
        spare = numbered.with_suffix(".new")
        spare.unlink(missing_ok=True)
        os.link(current, spare)
        spare.rename(numbered)
