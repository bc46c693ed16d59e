"""What all that writes to disk needs, and Python's library has not."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Disk", "disk_of", "sync_directory"]


class Disk(NamedTuple):
    """Bytes of a file system, and those of them that are free to this user."""

    size: int
    free: int


def disk_of(path: Path) -> Disk:
    """The file system that holds a path, or will hold it once it is made. Raises OSError."""
    path = path.absolute()
    usage = shutil.disk_usage(next(there for there in (path, *path.parents) if there.exists()))
    return Disk(usage.total, usage.free)


def sync_directory(directory: Path) -> None:
    """Make renames and new names in a directory last. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
