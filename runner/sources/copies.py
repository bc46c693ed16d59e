"""Whether a file that is new to a source holds what was read of another already: a copy, packed or not, or a backup.

Its events would be doubled, for an event is known by its file and line. Compared are texts, decompressed:

- of each file that was read, the mark keeps a digest of its first 4 KiB; only where the new file begins alike is more
  of it read: up to the end of what was read, whose digest the mark has too;
- a new file that is shorter than what was read, an old backup say, is compared with that file itself, block by block
  up to the first difference.

Parquet and Arrow files are compared by their bytes as a whole. Files of one CSV header line, and empty ones, are no
copies.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import xxhash

from runner.errors import SourceChanged, SourceError
from runner.sources.marks import END, HEAD, FileMark, head_digest
from runner.sources.streams import TextStream, compression_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.config.model import SourceConfig

__all__ = ["Copies", "copied"]


def copied(source: SourceConfig, path: Path, known: FileMark) -> SourceChanged:
    """The error of a file that holds another's events."""
    return SourceChanged(
        f"source {source.name}: {path} holds the events of {source.root / known.path} that were read already; "
        "they would be doubled",
        hint="take it out of files; where these are other events that only begin alike, "
        'set copied_files = "allow" in [sources.' + source.name + "]",
    )


class Copies:
    """Looks for a new text file's beginning among the files of a mark. The heads of files are read once."""

    def __init__(self, source: SourceConfig) -> None:
        self._source = source
        self._heads: dict[str, bytes] = {}

    def find(self, path: Path, files: Sequence[FileMark]) -> FileMark | None:
        """The file of the mark whose events ``path`` begins with, or that begins with all of ``path``."""
        read = [file for file in files if file.offset and self._has_records(file)]
        if not read:
            return None
        head = self._head(path)
        if not self._holds_records(head):
            return None
        by_length = {n: head_digest(head[:n]) for n in {min(f.offset, HEAD) for f in read} if n <= len(head)}
        alike = [f for f in read if not f.head or by_length.get(min(f.offset, HEAD)) == f.head]
        size = 0
        if alike:
            found, size = self._begins_with(path, sorted(alike, key=lambda f: f.offset))
            if found is not None:
                return found
        if len(head) < HEAD:
            # Shorter than the heads that digests were kept of.
            size = len(head)
            alike = [f for f in read if f.offset > size and self._head_of(f).startswith(head)]
        return next((f for f in alike if f.offset > size and self._is_beginning(path, f)), None)

    def _has_records(self, file: FileMark) -> bool:
        return file.lines > int(self._source.format == "csv" and self._source.csv.header)

    def _holds_records(self, head: bytes) -> bool:
        """Not only a header line."""
        if self._source.format == "csv" and self._source.csv.header:
            head = head.lstrip(b"\r\n").partition(b"\n")[2]
        return bool(head.strip())

    def _begins_with(self, path: Path, marks: list[FileMark]) -> tuple[FileMark | None, int]:
        """The first of the marks (ascending by offset) that the text goes up to and fits; how much text was read."""
        digest, at, left = xxhash.xxh3_128(), 0, list(marks)
        ends = {id(f): xxhash.xxh3_128() for f in marks if f.digest.startswith("ends:")}
        tails = {key: bytearray() for key in ends}
        for block in self._blocks(path):
            stop = at + len(block)
            for file in left:
                if id(file) in ends:
                    # As ends_digest: the first 64 KiB, then the last.
                    ends[id(file)].update(block[: max(0, min(END, file.offset) - at)])
                    tails[id(file)] += block[max(0, file.offset - END - at) : max(0, file.offset - at)]
            while left and left[0].offset <= stop:
                file = left.pop(0)
                digest.update(block[len(block) - (stop - at) : len(block) - (stop - file.offset)])
                at = file.offset
                if id(file) in ends:
                    ends[id(file)].update(tails[id(file)])
                    fits = file.digest == f"ends:{ends[id(file)].hexdigest()}"
                else:
                    fits = file.digest == f"full:{digest.hexdigest()}"
                if fits:
                    return file, stop
            digest.update(block[len(block) - (stop - at) :])
            at = stop
            if not left:
                break
        return None, at

    def _is_beginning(self, path: Path, known: FileMark) -> bool:
        """All of a new file's text stands at the beginning of a file that was read."""
        other = self._source.root / known.path
        if not other.is_file():
            return False
        theirs, ahead = self._blocks(other), b""
        for block in self._blocks(path):
            while len(ahead) < len(block):
                more = next(theirs, b"")
                if not more or not (ahead + more).startswith(block[: len(ahead) + len(more)]):
                    return False
                ahead += more
            if not ahead.startswith(block):
                return False
            ahead = ahead[len(block) :]
        return True

    def _head_of(self, file: FileMark) -> bytes:
        if file.path not in self._heads:
            path = self._source.root / file.path
            self._heads[file.path] = self._head(path) if path.is_file() else b""
        return self._heads[file.path]

    def _head(self, path: Path) -> bytes:
        head = b""
        for block in self._blocks(path):
            head += block
            if len(head) >= HEAD:
                break
        return head[:HEAD]

    def _blocks(self, path: Path) -> Iterator[bytes]:
        """A file's text; of a damaged one what can be read, since reading it says what is wrong with it."""
        try:
            compression = compression_of(path, self._source.compression)
            with closing(TextStream(path, compression, self._source.encoding)) as stream:
                while block := stream.read():
                    yield block
        except SourceError:
            return
