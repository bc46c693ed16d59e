"""How a manifest becomes the current one, and how files that no manifest names are removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from runner.errors import LogDamaged, LogFormatError, LogLocked
from runner.log.container import disk_error
from runner.log.lock import is_held
from runner.log.manifest import Manifest, manifest_path, numbered_path, read_manifest, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEPT_MANIFESTS", "Publication", "discard", "remove_garbage"]

KEPT_MANIFESTS = 16
"""How many published manifests stay in ``manifests/``, the current one included: a history for ``audit``."""


class Publication:
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


def remove_garbage(log: Path, current: Manifest) -> None:
    """Remove what crashed or fenced writers left, old manifests, and files of segments that were compacted away.

    Files stay that the current manifest names, or one that a reader holds. What cannot be removed stays for the next
    time.
    """
    kept = current.files()
    with contextlib.suppress(OSError):
        (log / "manifest.json.new").unlink(missing_ok=True)
        _join_names(log, current.number)
        for path in sorted((log / "manifests").glob("*.json")):
            number = int(path.stem) if path.stem.isdigit() else -1
            if number == current.number:
                continue
            if number < current.number and is_held(path):
                with contextlib.suppress(LogDamaged, LogFormatError):
                    kept |= read_manifest(path)[0].files()
            elif number > current.number or number <= current.number - KEPT_MANIFESTS:
                path.unlink(missing_ok=True)
        for path in (log / "segments").iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)


def discard(log: Path, names: set[str], current: Manifest) -> None:
    """Remove files of ``segments/`` that were written and not published; what cannot be removed now is garbage."""
    for name in names - current.files():
        with contextlib.suppress(OSError):
            (log / "segments" / name).unlink(missing_ok=True)


def _join_names(log: Path, number: int) -> None:
    # A copied log has two files instead of one with two names: holds on one would not be seen at the other.
    numbered, current = numbered_path(log, number), manifest_path(log)
    if not numbered.exists() or not numbered.samefile(current):
        spare = numbered.with_suffix(".new")
        spare.unlink(missing_ok=True)
        os.link(current, spare)
        spare.rename(numbered)
