"""Readers of foreign events. ``open_source`` gives a reader of what a source has behind its mark, as ``port``
describes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.sources.port import BadLine, Piece, SourceReader, UnfinishedLine
from runner.stats import ignore

if TYPE_CHECKING:
    from runner.config import PostgresSourceConfig, SourceConfig
    from runner.log import Log
    from runner.sources.port import Only
    from runner.stats import Listener

__all__ = ["BadLine", "Piece", "SourceReader", "UnfinishedLine", "open_source"]


def open_source(
    source: SourceConfig | PostgresSourceConfig,
    mark: Any = None,
    log: Log | None = None,
    only: Only | None = None,
    tell: Listener = ignore,
) -> SourceReader:
    """A reader that goes on from ``mark`` (None: from the beginning). log: as it stands at that mark, for sources that
    compare its tail with what they have. only: what the log takes of their events, None: all. tell: is told when
    reading waits. Raises SourceError, SourceChanged.
    """
    # The readers load Numba and Arrow, and psycopg only where it is needed.
    if source.format == "postgres":
        from runner.sources.postgres.reader import open_postgres

        return open_postgres(source, mark, log, only, tell)
    from runner.sources.files import open_files

    return open_files(source, mark)
