"""The rejects file of a source: one JSON object a line (file, line, reason, text), never longer than the log's mark
says.

Its length stands in the mark that is committed with the events around the rejected lines, so a sync that died between
leaves lines that the next one cuts off and writes again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from runner.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.sources.port import BadLine

__all__ = ["Rejects"]


class Rejects:
    """Open for one sync. count and octets go into the mark."""

    def __init__(self, path: Path, count: int, octets: int) -> None:
        """count, octets: as the mark has them. A file that someone removed begins anew. Raises SourceError."""
        self.path, self.count = path, count
        try:
            size = path.stat().st_size if path.is_file() else 0
            self.octets = min(size, octets)
            if size > octets:
                os.truncate(path, octets)
        except OSError as error:
            raise self._error(error) from None
        self._unsaved = False

    def add(self, lines: Sequence[BadLine]) -> None:
        """Append; ``save`` makes it durable. Raises SourceError."""
        if not lines:
            return
        rows = [
            json.dumps({"file": b.file, "line": b.line, "reason": b.reason, "text": b.text}, ensure_ascii=False)
            for b in lines
        ]
        # A lone surrogate cannot be written as UTF-8; the escape says the same.
        data = "".join(f"{row}\n" for row in rows).encode("utf-8", "backslashreplace")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(data)
        except OSError as error:
            raise self._error(error) from None
        self.octets += len(data)
        self.count += len(lines)
        self._unsaved = True

    def save(self) -> None:
        """On disk before the mark that counts it is. Raises SourceError."""
        if not self._unsaved:
            return
        try:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._error(error) from None
        self._unsaved = False

    def _error(self, error: OSError) -> SourceError:
        return SourceError(f"rejected lines cannot be kept in {self.path}: {error.strerror}")
