"""One reading of one Parquet or Arrow file: rows in batches. Such a file is written once; it never grows behind its
mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import xxhash

from runner.errors import SourceError
from runner.sources.arrange import arrange
from runner.sources.files import Part
from runner.sources.marks import FileMark, changed
from runner.sources.records import TableRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runner.config.model import SourceConfig

__all__ = ["ColumnarReading"]

ROWS = 65_536


class ColumnarReading:
    """A file from its mark on. Offsets and lines of its marks are rows; the digest is of the whole file's bytes."""

    def __init__(self, source: SourceConfig, path: Path, known: FileMark, index: int) -> None:
        self._source, self._path, self._known, self._index = source, path, known, index
        self._digest = _file_digest(path, source.verify == "ends")
        self._rows = known.offset
        if known.offset and known.digest != self._digest:
            other = _file_digest(path, known.digest.startswith("ends:"))
            if other != known.digest:
                raise changed(path, "its bytes are not what they were, and such files never grow")

    def close(self) -> None:
        """Files are open only while ``jobs`` runs."""

    def copy_of(self, files: Sequence[FileMark]) -> FileMark | None:
        """The one of these marks whose file held the same bytes."""
        for file in files:
            size = file.stat[0] if file.stat is not None else None
            if file.offset and size == self._path.stat().st_size:
                ends = file.digest.startswith("ends:")
                own = self._digest if self._digest.startswith("ends:") == ends else _file_digest(self._path, ends)
                if own == file.digest:
                    return file
        return None

    def mark_at_end(self) -> FileMark:
        return self._mark(self._rows)

    def _mark(self, rows: int) -> FileMark:
        return FileMark(self._known.path, rows, rows, self._digest)

    def jobs(self) -> Iterator[Callable[[], Part]]:
        """The arranging of each batch, in order, behind the rows that are read. Raises SourceError."""
        at = 0
        try:
            for batch in _batches(self._path, self._source.format):
                for start in range(0, batch.num_rows, ROWS):
                    rows = batch.slice(start, ROWS)
                    first, at = at, at + rows.num_rows
                    if at > self._known.offset:
                        skip = max(0, self._known.offset - first)
                        yield self._job(rows.slice(skip), first + skip)
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceError(f"{self._path} is not a whole {self._source.format} file: {text}") from None
        self._rows = max(self._rows, at)

    def _job(self, rows: pa.RecordBatch, first: int) -> Callable[[], Part]:
        def mark_at(stop: int | None, line: int) -> FileMark:
            return self._mark(first + rows.num_rows if stop is None else stop)

        def job() -> Part:
            starts = np.arange(first, first + rows.num_rows, dtype=np.int64)
            records = TableRecords(self._source, rows, starts + 1, str(self._path))
            return Part(arrange(records, self._source, self._index), starts, starts + 1, records.text, (), mark_at, 0)

        return job


def _batches(path: Path, kind: str) -> Iterator[Any]:
    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS)
        return
    with pa.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(file)
            for k in range(reader.num_record_batches):
                yield reader.get_batch(k)
        else:
            file.seek(0)
            yield from pa.ipc.open_stream(file)


def _file_digest(path: Path, ends: bool) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        if ends:
            size = path.stat().st_size
            for start in (0, max(0, size - (64 << 10))):
                file.seek(start)
                digest.update(file.read(64 << 10))
            return f"ends:{size}:{digest.hexdigest()}"
        while block := file.read(1 << 20):
            digest.update(block)
    return f"full:{digest.hexdigest()}"
