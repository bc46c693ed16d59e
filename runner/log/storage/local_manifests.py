"""The manifests of a log in a local directory: where they are, and what it means where there is none."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from runner.errors import LogDamaged, LogError
from runner.log.manifest import Manifest, parse_manifest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["manifest_path", "no_log", "numbered_path", "parse_file", "read_manifest"]

_RESTORE = "copy the newest good file of manifests/ over it, or sync into a new log directory"


def manifest_path(log: Path) -> Path:
    return log / "manifest.json"


def numbered_path(log: Path, number: int) -> Path:
    return log / "manifests" / f"{number:010d}.json"


def no_log(path: Path) -> LogError:
    """Why there is no manifest at this path: LogDamaged where files of a log are there that need one."""
    log = path.parent
    # Looked at again after the files: another process may have begun the log meanwhile.
    if _needs_manifest(log) and not path.exists():
        return LogDamaged(
            f"{path}: missing, but the log's other files are there",
            hint="copy the newest good file of manifests/ to it, or sync into a new log directory",
        )
    return LogError(f"no log at {log}", hint="`runner sync` makes one")


def _needs_manifest(log: Path) -> bool:
    """A new log's first manifest is empty and numbered 1, and segments are written only after it is published.

    So where a log was begun and the beginning died, there is nothing else.
    """
    manifests = {p.name for p in log.glob("manifests/*.json")} - {numbered_path(log, 1).name}
    return bool(manifests) or any(log.glob("segments/*"))


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """(the manifest in the file, SHA-256 of the file's bytes).

    Raises LogError where there is none, LogDamaged where it is not what was written, LogFormatError for another format.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise no_log(path) from None
    except OSError as e:
        raise LogError(f"{path}: cannot be read: {e.strerror}") from None
    return parse_file(raw, path), hashlib.sha256(raw).hexdigest()


def parse_file(raw: bytes, path: Path) -> Manifest:
    """The manifest in these bytes of a file. Raises LogDamaged and LogFormatError."""
    return parse_manifest(raw, str(path), _RESTORE)
