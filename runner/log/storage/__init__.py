"""Where a log lies: ``port.py`` is the contract, ``local.py`` a directory, ``objects.py`` an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.config.object_store import ObjectStorePath, is_object_store
from runner.log.storage.local import LocalStorage
from runner.log.storage.port import Container, Hold, Storage, Writing

if TYPE_CHECKING:
    import os

__all__ = ["Container", "Hold", "Storage", "Writing", "storage_of"]


def storage_of(path: str | os.PathLike[str] | ObjectStorePath) -> Storage:
    """Where the log at this path lies: a directory, or an object store's URL (``s3://bucket/prefix``).

    Raises LogError where an object store's settings are lacking.
    """
    if isinstance(path, str) and is_object_store(path):
        path = ObjectStorePath.of(path)
    if isinstance(path, ObjectStorePath):
        from runner.log.storage.objects import ObjectStorage  # loads the client only where it is needed

        return ObjectStorage(path)
    return LocalStorage(Path(path))
