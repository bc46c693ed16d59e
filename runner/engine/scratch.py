"""A run's own directory under the temporary one. Of a run that was killed it stays, and the next run removes it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Scratch"]

YOUNG_SECONDS = 60.0
"""A directory may lie there so long before its run has locked it."""


class Scratch:
    """``path`` lives until ``remove``, or until a later run finds that its process is gone: a lock goes with that."""

    def __init__(self, prefix: str, parent: str) -> None:
        _sweep(prefix, Path(parent))
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._handle = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Doing it again does nothing."""
        if self._handle >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._handle)
            self._handle = -1


def _sweep(prefix: str, parent: Path) -> None:
    for path in parent.glob(f"{prefix}*"):
        # What is another user's, or went away meanwhile, is none of ours.
        with suppress(OSError):
            about = path.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < YOUNG_SECONDS:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
