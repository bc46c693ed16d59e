"""One writer per version of a read model, and one publisher at a time: locks that die with their process.

POSIX record locks, which a forked child does not inherit and the system releases when the process ends, and a table of
this process's own claims, since such a lock does not hold off its own process. A lock file is never opened by a process
that holds it: closing any descriptor of it would release the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.errors import ReadModelError, VersionBusy
from runner.sinks.durable import translated

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Lock", "publishing"]

_own: dict[tuple[int, str], str] = {}
"""(process, lock file) -> who holds it, of this process."""
_guard = threading.Lock()


class Lock:
    """A held lock file; a context manager. Made by ``Lock.take``."""

    def __init__(self, path: Path, key: tuple[int, str], descriptor: int) -> None:
        self.path = path
        self._key = key
        self._descriptor = descriptor

    @staticmethod
    def take(path: Path, what: str, holder: str = "", *, wait: float = 0.0) -> Lock:
        """Take the lock, or raise VersionBusy after ``wait`` seconds. ``what`` and ``holder`` are for the message."""
        until = time.monotonic() + wait
        while True:
            taken = _try(path, holder)
            if isinstance(taken, Lock):
                return taken
            if time.monotonic() >= until:
                raise VersionBusy(
                    f"{what} is being written by another run{f' ({taken})' if taken else ''}",
                    hint="wait until it has finished, see `runner jobs`",
                )
            time.sleep(0.01)

    def release(self) -> None:
        """Give the lock back; once is enough. Does nothing in a forked child."""
        with _guard:
            if self._descriptor < 0 or self._key[0] != os.getpid():
                return
            os.close(self._descriptor)
            self._descriptor = -1
            _own.pop(self._key, None)

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def publishing(root: Path, *, wait: float = 60.0) -> Lock:
    """The lock under which current.json and the catalog change; held for moments, so it is waited for, in seconds."""
    try:
        return Lock.take(root / "publish.lock", "current.json", wait=wait)
    except VersionBusy as error:
        raise ReadModelError(
            f"{root / 'publish.lock'} is held for {wait:g} seconds already",
            hint="another run hangs while it publishes; see `runner jobs`",
        ) from error


def _try(path: Path, holder: str) -> Lock | str:
    """The lock, or who has it."""
    key = (os.getpid(), str(path.resolve()))
    text = json.dumps(
        {
            "holder": holder,
            "pid": key[0],
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
    )
    with _guard:
        if key in _own:
            return _told(_own[key])
        with translated(path, "lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return _told(os.read(descriptor, 4096).decode("utf-8", "replace"))
            if not _same_file(descriptor, path):
                return ""  # removed with its version between open and lock: try anew
            with translated(path, "lock"):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, text.encode(), 0)
            lock = Lock(path, key, descriptor)
            _own[key] = text
            descriptor = -1
            return lock
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _told(text: str) -> str:
    try:
        data = json.loads(text)
        job = f"job {data['holder']}, " if data["holder"] else ""
        return f"{job}process {data['pid']} on {data['host']}, since {data['since']}"
    except (ValueError, KeyError, TypeError):
        return ""
