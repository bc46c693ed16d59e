"""One reading of one text file: compared with its mark, then cut into chunks that are parsed elsewhere."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xxhash

from runner.errors import SourceError
from runner.sources.arrange import arrange
from runner.sources.chunks import Chunk, Parsed, csv_header, csv_records, cut_chunk, json_records, too_long
from runner.sources.files import Part
from runner.sources.marks import HEAD, FileMark, changed, ends_digest, head_digest
from runner.sources.streams import TextStream, compression_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runner.config.model import SourceConfig

__all__ = ["CHUNK", "TextReading"]

CHUNK = 8 << 20
"""Bytes of text that are parsed at once."""


class TextReading:
    """A file from its mark on."""

    def __init__(self, source: SourceConfig, path: Path, known: FileMark, index: int) -> None:
        self._source, self._path, self._known, self._index = source, path, known, index
        self._error: SourceError | None = None
        self._compression = compression_of(path, source.compression)
        self._plain = self._compression == "none" and source.encoding == "utf-8"
        self._csv = source.csv if source.format == "csv" else None
        self._columns: tuple[str, ...] | None = None if self._csv is None or self._csv.header else self._csv.columns
        self._whole = not (self._plain and source.verify == "ends")
        # Of what is handed out, in order: chunks are digested when their mark is asked for.
        self._digest = xxhash.xxh3_128()
        self._head = b""
        self._end = replace(known, waiting=0)
        self._stream: TextStream | None = None
        self._waiting = 0

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def jobs(self) -> Iterator[Callable[[], Part]]:
        """The parsing of each chunk, in order.

        Raises SourceError where the file changed or ends badly, behind all chunks that could be read.
        """
        buffer = self._begin()
        stream = self._stream
        assert stream is not None
        offset, line = self._known.offset, self._known.lines + 1
        more = True
        while more:
            blocks, size = [buffer], len(buffer)
            # Twice what was left over: a line of many chunks is not looked through again for each of them.
            enough = max(CHUNK, 2 * size)
            while more and size < enough:
                block = self._read(stream)
                blocks.append(block)
                size += len(block)
                more = bool(block)
            buffer = b"".join(blocks)
            last = not more and self._source.final and self._error is None
            chunk, rest = cut_chunk(buffer, line, self._csv, last=last)
            too_long(str(self._path), line + chunk.lines, len(rest))
            if len(chunk.text):
                yield self._job(chunk, offset, stream.octets)
            offset, line, buffer = offset + chunk.size, line + chunk.lines, rest
        if self._error is not None:
            raise self._error
        self._waiting = len(buffer)

    def _read(self, stream: TextStream) -> bytes:
        try:
            return stream.read()
        except SourceError as error:
            self._error = error
            return b""

    def mark_at_end(self) -> FileMark:
        """Behind everything that was handed out."""
        return replace(self._end, waiting=self._waiting)

    # Comparing what was read ------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        """Opens the stream behind what is read already; what it has taken beyond that."""
        known = self._known
        if self._plain and self._path.stat().st_size < known.offset:
            raise changed(self._path, f"it is shorter than the {known.offset:,} bytes that were read of it")
        if self._csv is not None and self._csv.header and known.offset:
            self._columns = self._header()
        if known.digest.startswith("ends:") and self._plain:
            if ends_digest(self._path, known.offset) != known.digest:
                raise changed(self._path, "its beginning, or what stands before the mark, is not what was read")
            if not self._whole:
                with closing(TextStream(self._path, "none")) as stream:
                    self._take_head(stream.read()[: known.offset])
                self._stream = TextStream(self._path, "none", start=known.offset)
                return b""
        self._stream = TextStream(self._path, self._compression, self._source.encoding)
        left, block = known.offset, b""
        while left > 0:
            block = self._stream.read()
            if not block:
                raise changed(self._path, f"its text is shorter than the {known.offset:,} bytes that were read of it")
            self._digest.update(block[:left])
            self._take_head(block[:left])
            left -= len(block)
        if known.offset and known.digest.startswith("full:") and known.digest != self._full(self._digest):
            raise changed(self._path, f"its first {known.offset:,} bytes are not what was read")
        return block[left:] if left < 0 else b""

    def _take_head(self, text: bytes) -> None:
        if len(self._head) < HEAD:
            self._head = (self._head + text[:HEAD])[:HEAD]

    def _header(self) -> tuple[str, ...]:
        stream = TextStream(self._path, self._compression, self._source.encoding)
        try:
            head = b""
            while block := stream.read():
                head += block
                chunk, _ = cut_chunk(head, 1, self._csv)
                if columns := csv_header(chunk, self._source, str(self._path)):
                    return columns
        finally:
            stream.close()
        raise changed(self._path, "its header line is gone")

    @staticmethod
    def _full(digest: Any) -> str:
        return f"full:{digest.hexdigest()}"

    # Parsing ----------------------------------------------------------------------------------------------------------

    def _job(self, chunk: Chunk, offset: int, octets: int) -> Callable[[], Part]:
        skip = 0
        if self._csv is not None and self._columns is None:
            self._columns = csv_header(chunk, self._source, str(self._path)) or None
            skip = int((chunk.fields > 0).argmax()) + 1 if self._columns and chunk.fields is not None else 0
        columns = self._columns or ()

        def mark_at(stop: int | None, line: int) -> FileMark:
            size = chunk.size if stop is None else stop - offset
            lines = chunk.lines if stop is None else line - chunk.line
            self._digest.update(memoryview(chunk.text)[:size])
            self._take_head(chunk.text[: min(size, HEAD)])
            whole = self._whole or not self._plain
            digest = self._full(self._digest) if whole else ends_digest(self._path, offset + size)
            self._end = FileMark(
                self._known.path, offset + size, chunk.line - 1 + lines, digest, head=head_digest(self._head)
            )
            return self._end

        def job() -> Part:
            parsed = self._parsed(chunk, columns, skip)
            arranged = arrange(parsed.records, self._source, self._index)
            bad = tuple((start + offset, line, reason, text) for start, line, reason, text in parsed.bad)
            starts, lines = parsed.starts + offset, parsed.records.lines
            return Part(arranged, starts, lines, parsed.records.text, bad, mark_at, octets)

        return job

    def _parsed(self, chunk: Chunk, columns: tuple[str, ...], skip: int) -> Parsed:
        if self._csv is None:
            return json_records(chunk, self._source)
        return csv_records(chunk, self._source, columns, str(self._path), skip=skip)
