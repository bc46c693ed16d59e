"""Writing that survives a crash: whole files under their final name or not at all, and one error for a full disk.

A file appears by rename from a name beginning with a dot, after its bytes are on the disk: none is taken half-written.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import xxhash

from runner.errors import ReadModelError
from runner.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "digest_of",
    "footer_of",
    "has_leftovers",
    "remove_leftovers",
    "temporary_beside",
    "translated",
    "write_whole",
]

TEMPORARY = ".tmp"


def digest_of(data: bytes | memoryview) -> str:
    """The xxh3-128 of bytes (anything with a buffer), as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def footer_of(data: bytes | memoryview) -> str:
    """The digest of a Parquet file's footer: metadata, its length and the closing mark. "" where there is none."""
    length = int.from_bytes(data[-8:-4], "little") + 8
    return digest_of(data[-length:]) if 8 < length <= len(data) else ""


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that no other writer has."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}")


def has_leftovers(directory: Path) -> bool:
    """Whether there are temporary files: of a killed writer, or of one at work."""
    return next(directory.glob(f".*{TEMPORARY}"), None) is not None


def remove_leftovers(directory: Path) -> None:
    """Remove temporary files that a killed writer left. Only for the one who holds the directory's claim."""
    for path in directory.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


@contextmanager
def translated(path: Path, doing: str = "write") -> Iterator[None]:
    """OSError into a ReadModelError that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "what is live is untouched; try again when the cause is gone"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "make room there and run again; what is live is untouched"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            hint = "the directory must be writable for the runner; what is live is untouched"
        raise ReadModelError(f"cannot {doing} {path}: {reason}", hint=hint) from error


def write_whole(path: Path, data: bytes | memoryview, *, sync_name: bool = True) -> None:
    """Put a file with these bytes in place, replacing one that is there; on the disk when this returns.

    Without ``sync_name`` its bytes are, its name only with the next file that is written there with it: one sync of
    the directory then does for many files.
    """
    temporary = temporary_beside(path)
    with translated(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
            if sync_name:
                sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
