"""Readers of foreign events. ``open_source`` gives a reader of what a source has behind its mark, as ``port``
describes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.sources.port import BadLine, Piece, SourceReader, UnfinishedLine

if TYPE_CHECKING:
    from runner.config import SourceConfig

__all__ = ["BadLine", "Piece", "SourceReader", "UnfinishedLine", "open_source"]


def open_source(source: SourceConfig, mark: Any = None) -> SourceReader:
    """A reader that goes on from ``mark`` (None: from the beginning). Raises SourceError, SourceChanged."""
    from runner.sources.files import open_files  # the readers load Numba and Arrow

    return open_files(source, mark)
