"""Removing what nobody needs any more: versions beyond those kept, and files that a compaction replaced.

Each is first *retired*, with the time, in the same current.json that stops naming it; after the grace period, in which
readers that opened the catalog earlier still use it, the next commit removes it.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner.errors import VersionBusy
from runner.sinks.claims import Lock

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from runner.sinks.current import Current

__all__ = ["lock_file", "swept"]


def lock_file(directory: Path) -> Path:
    """The lock of a version: beside its directory, so that a cleared directory keeps its lock."""
    return directory.with_name(directory.name + ".lock")


def swept(current: Current, grace: timedelta) -> Current:
    """Remove what was retired longer than ``grace`` ago; ``current`` without those entries. Under the publish lock.

    A crash between the removal and the write of current.json repeats the removal, which finds nothing.
    """
    now = datetime.now(UTC)
    kept = []
    for entry in current.retired:
        due = datetime.fromisoformat(entry.at) + grace <= now
        if not (due and _removed(current.root / entry.path)):
            kept.append(entry)
    return replace(current, retired=tuple(kept))


def _removed(path: Path) -> bool:
    """Remove a file, or a version's directory unless a run still writes there."""
    if not path.is_dir():
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return not path.exists()
    try:
        with Lock.take(lock_file(path), str(path)):
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                return False
            lock_file(path).unlink(missing_ok=True)
    except VersionBusy:
        return False
    return True
