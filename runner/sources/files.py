"""Event files as a source: NDJSON and CSV read as text in chunks, Parquet and Arrow in batches, one file after the
other.

Chunks are parsed by threads while the next are read; what comes out is in order. Everything that decides how far the
source is read (marks, digests, bad lines, the check of positions) happens in order too, when a piece is handed out.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from runner.errors import LineError, SourceError
from runner.sources.copies import Copies, copied
from runner.sources.marks import FileMark, SourceMark, listed_files, matching_files, read_mark, relative, stat_of
from runner.sources.port import BadLine, Piece, UnfinishedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runner.config.model import SourceConfig
    from runner.sources.arrange import Arranged
    from runner.stats import WatermarkSeen

__all__ = ["FileReader", "Part", "open_files"]

MAPPED = frozenset({"tenant", "aggregate_id", "version", "type", "recorded_at", "position", "payload"})
"""Settings of a source that say where in a record something is; reasons that are about one begin with it."""

THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Part:
    """Some records of a file, arranged, and where the file is read up to behind them.

    starts: int64[n], where each record begins, as an offset of the file's mark. lines: int64[n]. bad: as BadLine has
    it, each with its start. mark_at: the file's mark behind everything before an offset and line; behind all without
    them.
    """

    arranged: Arranged
    starts: Any
    lines: Any
    texts: Callable[[int], str]
    bad: tuple[tuple[int, int, str, str], ...]
    mark_at: Callable[[int | None, int], FileMark]
    octets: int


class FileReader:
    """One reading of a source of files."""

    def __init__(self, source: SourceConfig, mark: SourceMark) -> None:
        self._source = source
        self._mark = mark
        self._paths = listed_files(source, mark)
        named = matching_files(source)
        self._first = not any(file.lines for file in mark.files)
        """No record of the source was read yet."""
        self._copies = Copies(source)
        self._unnamed = [file.path for file, path in zip(mark.files, self._paths, strict=False) if path not in named]
        self._waiting: list[UnfinishedLine] = []
        self._sizes: dict[Path, int] = {}
        self._done = 0

    def mark(self) -> Any:
        return self._mark.to_json()

    def identity(self) -> Any:
        return {"kind": "files", "format": self._source.format, "files": list(self._source.files)}

    def close(self) -> None:
        """Files are open only while they are read."""

    def settle(self) -> None:
        """What was read of a file stays: its mark's digest is compared before more is read."""

    def place(self, first: int, second: int) -> str:
        file = self._source.root / self._mark.files[first].path
        return f"{file}:{second}" if self._source.position is None else f"{file}: event at position {second}"

    def cure(self, first: int, second: int) -> str:
        return ""

    def watermarks(self) -> tuple[WatermarkSeen, ...]:
        return ()

    def notes(self) -> tuple[str, ...]:
        there = [path for path in self._unnamed if (self._source.root / path).is_file()]
        if not there:
            return ()
        more = f" and {len(there) - 1:,} more are" if len(there) > 1 else " is"
        return (f"{there[0]}{more} no longer named by files, but read before: read on as long as there",)

    def unfinished(self) -> tuple[UnfinishedLine, ...]:
        return tuple(self._waiting)

    def pieces(self) -> Iterator[Piece]:
        self._sizes = {path: stat_of(path)[0] if path.is_file() else 0 for path in self._paths}
        with ThreadPoolExecutor(THREADS, thread_name_prefix="parse") as pool:
            for index, path in enumerate(self._paths):
                if path.is_file():
                    yield from self._file(index, path, pool)
                self._done += self._sizes[path]

    # One file ---------------------------------------------------------------------------------------------------------

    def _file(self, index: int, path: Path, pool: ThreadPoolExecutor) -> Iterator[Piece]:
        files = self._mark.files
        known = files[index] if index < len(files) else FileMark(relative(self._source, path))
        stat = stat_of(path)
        if index < len(files) and known.stat == stat and not (known.waiting and self._source.final):
            if known.waiting:
                self._waiting.append(UnfinishedLine(known.path, known.lines + 1, known.waiting))
            return
        checked = index >= len(files) and self._source.copied_files == "stop"
        if checked and kind_of(self._source) == "text":
            self._check_copy(path, self._copies.find(path, files))
        reading = self._reading(path, known, index)
        if checked and kind_of(self._source) == "columnar":
            self._check_copy(path, reading.copy_of(files))
        waiting: deque[Future[Part]] = deque()
        error: SourceError | None = None
        jobs = reading.jobs()
        try:
            while True:
                try:
                    job = next(jobs, None)
                except SourceError as raised:
                    error = raised
                    break
                if job is None:
                    break
                waiting.append(pool.submit(job))
                while len(waiting) > THREADS:
                    yield from self._handed_out(waiting.popleft().result(), index, path)
            while waiting:
                yield from self._handed_out(waiting.popleft().result(), index, path)
        finally:
            reading.close()
            for future in waiting:
                future.cancel()
        # Everything that could be read is handed out before a damaged end is complained of.
        if error is not None:
            raise error
        end = replace(reading.mark_at_end(), stat=stat)
        if end.waiting:
            self._waiting.append(UnfinishedLine(end.path, end.lines + 1, end.waiting))
        self._set(index, end)

    def _check_copy(self, path: Path, known: FileMark | None) -> None:
        if known is not None:
            raise copied(self._source, path, known)

    def _reading(self, path: Path, known: FileMark, index: int) -> Any:
        from runner.sources.columnar import ColumnarReading
        from runner.sources.text import TextReading

        kind = TextReading if kind_of(self._source) == "text" else ColumnarReading
        return kind(self._source, path, known, index)

    def _set(self, index: int, file: FileMark, last: int | None = None) -> None:
        files = list(self._mark.files)
        files[index : index + 1] = [file]
        self._mark = replace(self._mark, files=tuple(files), last=self._mark.last if last is None else last)

    def _handed_out(self, part: Part, index: int, path: Path) -> Iterator[Piece]:
        arranged, bad = part.arranged, list(part.bad)
        for row, reason in arranged.bad:
            bad.append((int(part.starts[row]), int(part.lines[row]), reason, ""))
        events = arranged.events
        starts, lines = part.starts[arranged.rows], part.lines[arranged.rows]
        if self._source.position_ascending:
            events, starts, descending, last = self._ascending(events, starts, lines)
            bad += descending
        else:
            last = None
        texts = {int(start): row for row, start in enumerate(part.starts)} if bad else {}
        bad = [
            (at, line, why, text or (part.texts(texts[at]) if at in texts else ""))
            for at, line, why, text in sorted(bad)
        ]
        if bad and self._source.on_bad_line == "stop":
            at, line, reason, _ = bad[0]
            good = events.slice(0, int(np.searchsorted(starts, at)))
            if self._source.position_ascending and len(good):
                last = int(good.column("source_position_1")[-1].as_py())
            self._set(index, part.mark_at(at, line), last if len(good) else None)
            if len(good):
                yield self._piece(good, (), part.octets)
            raise LineError(str(path), line, reason, hint=self._cure(reason, first=self._first and not len(good)))
        self._first = self._first and not len(events) and not bad
        self._set(index, part.mark_at(None, 0), last)
        rejected = tuple(BadLine(str(path), line, reason, text) for _, line, reason, text in bad)
        yield self._piece(events, rejected, part.octets)

    def _cure(self, reason: str, first: bool) -> str:
        """What to do about a bad line: where not even the first record has a mapped field, the mapping is wrong."""
        field = reason.partition(":")[0]
        if first and field in MAPPED:
            return f"no record fitted so far: look at {field} of [sources.{self._source.name}] in runner.toml"
        return 'mend the line, or set on_bad_line = "reject" to leave such lines out'

    def _piece(self, events: pa.RecordBatch, rejected: tuple[BadLine, ...], octets: int) -> Piece:
        return Piece(events, rejected, self._done + octets, sum(self._sizes.values()))

    def _ascending(
        self, events: pa.RecordBatch, starts: Any, lines: Any
    ) -> tuple[pa.RecordBatch, Any, Any, int | None]:
        """Events whose position is above all before it; the others are bad lines."""
        places = events.column("source_position_1").to_numpy()
        if not len(places):
            return events, starts, [], None
        floor = -(2**63) if self._mark.last is None else self._mark.last
        highest = np.maximum.accumulate(np.concatenate(([floor], places)))
        good = places > highest[:-1]
        bad = [
            (int(starts[k]), int(lines[k]), f"position {places[k]} does not lie above {highest[k]} before it", "")
            for k in np.flatnonzero(~good)
        ]
        return (events.filter(pa.array(good)) if bad else events), starts[good], bad, int(highest[-1])


def open_files(source: SourceConfig, mark: Any) -> FileReader:
    """Read on from a mark (None: from the beginning). Raises SourceError, SourceChanged."""
    return FileReader(source, read_mark(source, mark))


def kind_of(source: SourceConfig) -> Literal["text", "columnar"]:
    """How files of the source's format are read."""
    return "text" if source.format in ("ndjson", "csv") else "columnar"


def damaged(path: Path, error: Exception) -> SourceError:
    """The error of a file that a library cannot read."""
    return SourceError(f"{path} cannot be read: {error}")
