"""Who may write, and which files readers still hold.

**One writer.** ``writer.lock`` is held with flock while a writer is open, and holds its fencing number. Where the
lock is lost without the writer noticing (the file was removed, a network file system forgot it), the next writer
takes a higher number; ``Fence.check`` fails then, and with it the old writer's next publication. Publishing also
takes its number of ``manifests/`` exclusively, so of two writers that both think they may, one fails.

**Readers** hold their manifest: a shared flock on it while the ``Log`` is open (``manifest.json`` and its numbered
file are one inode). The writer removes files that the current manifest does not name only when no manifest that
names them is held. A reader looks at the path again after it has its hold: if the manifest is still there, the
writer will see the hold.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from typing import TYPE_CHECKING

from runner.errors import LogError, LogLocked
from runner.log.container import disk_error
from runner.log.storage.local_manifests import manifest_path, no_log, numbered_path, parse_file

if TYPE_CHECKING:
    from pathlib import Path

    from runner.log.manifest import Manifest

__all__ = ["Fence", "hold_manifest", "is_held"]


class Fence:
    """The writer's lock and number. ``release`` lets the next writer in."""

    number = 0

    def __init__(self, log: Path) -> None:
        self._path = log / "writer.lock"
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise disk_error(self._path, e) from e
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(self._path)
            os.close(self._handle)
            raise LogLocked(f"{log}: another writer has it{owner}", hint="wait until it is done") from None

    def claim(self, above: int) -> None:
        """Take a number above ``above`` and above that of every earlier holder of this lock."""
        self.number = max(above, _number(self._path)) + 1
        claim = json.dumps({"fence": self.number, "pid": os.getpid(), "host": socket.gethostname()}).encode()
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, claim, 0)
            os.fsync(self._handle)
        except OSError as e:
            raise disk_error(self._path, e) from e

    def check(self) -> None:
        """Raise LogLocked where another writer has taken over."""
        if not _is_at(self._handle, self._path) or _number(self._path) != self.number:
            raise LogLocked(
                f"{self._path}: another writer has taken over{_owner(self._path)}",
                hint="nothing of this run was published; run it again",
            )

    def release(self) -> None:
        os.close(self._handle)


def _claim(path: Path) -> dict[str, object]:
    try:
        claim = json.loads(path.read_bytes() or b"{}")
    except (OSError, ValueError):
        return {}
    return claim if isinstance(claim, dict) else {}


def _number(path: Path) -> int:
    number = _claim(path).get("fence", 0)
    return number if isinstance(number, int) else 0


def _owner(path: Path) -> str:
    claim = _claim(path)
    return f" (process {claim['pid']} on {claim.get('host')})" if "pid" in claim else ""


def hold_manifest(log: Path, number: int | None) -> tuple[Manifest, int]:
    """(the current manifest, or the one numbered, and a handle that holds it until it is closed).

    Raises LogError as ``read_manifest`` does, and where the numbered manifest is not there any more.
    """
    path = manifest_path(log) if number is None else numbered_path(log, number)
    while True:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            if number is None:
                raise no_log(path) from None
            raise LogError(f"{log}: manifest {number} is not kept any more", hint="open the log anew") from None
        except OSError as e:
            raise LogError(f"{path}: cannot be read: {e.strerror}") from None
        try:
            # A file system without locks cannot have a writer either.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
            if _is_at(handle, path):
                return parse_file(os.pread(handle, os.fstat(handle).st_size, 0), path), handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Whether a reader holds this manifest."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
