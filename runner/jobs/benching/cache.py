"""Emptying the page cache of what a fold reads, so that the next one reads it from the disk.

``posix_fadvise(DONTNEED)`` drops clean pages that nobody has mapped, and needs no rights beyond those of a reader.
Whether it did is looked up with ``mincore``: a file system in memory, another process that maps the log, or a kernel
that does not tell leave pages where they were, and then there is no cold run.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from dataclasses import dataclass

import numpy as np

__all__ = ["Extents", "emptied"]


@dataclass(frozen=True)
class Extents:
    """Parts of files: (path, ((offset, length), ...))."""

    files: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]

    @property
    def octets(self) -> int:
        """Bytes in all of them."""
        return sum(length for _, spans in self.files for _, length in spans)


def emptied(extents: Extents) -> float:
    """Drop their pages from this machine's cache; the part of them that is in memory still, 1.0 where nobody can tell.

    Runs on every machine of an engine. Raises OSError where a file is gone.
    """
    if not sys.platform.startswith("linux"):
        return 1.0
    pages = there = 0
    for path, spans in extents.files:
        handle = os.open(path, os.O_RDONLY)
        try:
            for offset, length in spans:
                # Whole pages: one that is covered in part stays.
                first, end = offset // mmap.PAGESIZE, -(-(offset + length) // mmap.PAGESIZE)
                pages_long = (end - first) * mmap.PAGESIZE
                os.posix_fadvise(handle, first * mmap.PAGESIZE, pages_long, os.POSIX_FADV_DONTNEED)
            resident = _resident(handle)
            for offset, length in spans:
                part = resident[offset // mmap.PAGESIZE : (offset + length - 1) // mmap.PAGESIZE + 1]
                pages += len(part)
                there += int(np.count_nonzero(part & 1))
        finally:
            os.close(handle)
    return there / pages if pages else 0.0


def _resident(handle: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """uint8[pages of the file]: 1 where the page is in memory; all 1 where the system does not say."""
    size = os.fstat(handle).st_size
    found = np.ones(-(-size // mmap.PAGESIZE), np.uint8)
    if not size:
        return found
    with mmap.mmap(handle, size, access=mmap.ACCESS_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(view.ctypes.data)
        told = libc.mincore(address, ctypes.c_size_t(size), ctypes.c_void_p(found.ctypes.data))
        del view  # a mapping that is looked at cannot be closed
    if told != 0:
        found[:] = 1
    return found
