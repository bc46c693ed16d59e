"""The text of a file as one stream of bytes: decompressed, in UTF-8, without a byte order mark.

gzip and zstd files may be several streams one behind the other. A compressed file that ends inside one is an error,
raised behind everything that could be read.
"""

from __future__ import annotations

import codecs
import zlib
from typing import IO, TYPE_CHECKING, Any, Literal

import zstandard

from runner.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TextStream", "compression_of"]

BLOCK = 1 << 20
COMPRESSED_BLOCK = 1 << 16
"""Smaller, since event logs shrink to a fiftieth, and the block is inflated whole."""

_BOM = b"\xef\xbb\xbf"
# 16 bytes of skippable-frame numbers also begin a zstd file.
_SKIPPABLE = {bytes([0x50 + k, 0x2A, 0x4D, 0x18]) for k in range(16)}

Compression = Literal["none", "gzip", "zstd"]


def compression_of(path: Path, declared: str = "auto") -> Compression:
    """How a file is compressed, by its first bytes unless it is declared. Raises SourceError."""
    if declared != "auto":
        return declared  # type: ignore[return-value]  # the config has checked it
    with _opened(path) as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if head == b"\x28\xb5\x2f\xfd" or head in _SKIPPABLE else "none"


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


class TextStream:
    """Bytes of UTF-8 in blocks of about a megabyte. ``octets`` counts those taken from the file itself.

    Bytes that are no text in ``encoding`` come out as bytes that are no UTF-8, so that their line can be named.
    """

    def __init__(self, path: Path, compression: Compression, encoding: str = "utf-8", start: int = 0) -> None:
        """start: where in the text to begin; only of plain UTF-8, where that is a place in the file."""
        self.path, self.compression = path, compression
        self.octets = 0
        self._file = _opened(path)
        self._inflater: Any = None
        self._between = True
        self._ended = False
        self._decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._first = True
        self._error: SourceError | None = None
        if start:
            assert compression == "none"
            assert encoding == "utf-8"
            head = self._file.read(3)
            self._file.seek(start + (3 if head == _BOM else 0))
            self._first = False

    def close(self) -> None:
        self._file.close()

    def read(self) -> bytes:
        """The next block, b"" at the end. Raises SourceError where the file is damaged or cut off, behind all good
        blocks.
        """
        while not self._ended:
            block = self._text(self._inflated())
            if self._first and block:
                # A first block is never cut inside the mark, but in files that are shorter than it.
                block, self._first = block.removeprefix(_BOM), False
            if block:
                return block
        if self._error is not None:
            raise self._error
        return b""

    def _raw(self) -> bytes:
        try:
            block = self._file.read(BLOCK if self.compression == "none" else COMPRESSED_BLOCK)
        except OSError as error:
            self._error, self._ended = SourceError(f"{self.path} cannot be read: {error.strerror}"), True
            return b""
        self.octets += len(block)
        return block

    def _text(self, block: bytes) -> bytes:
        if self._decoder is None:
            return block
        try:
            text = self._decoder.decode(block, self._ended and self._error is None)
        except UnicodeError as error:
            self._error = SourceError(f"{self.path} is not text in its encoding: {error}", hint="see encoding")
            self._ended = True
            return b""
        return text.encode("utf-8", "surrogatepass")

    def _inflated(self) -> bytes:
        block = self._raw()
        if not block:
            self._ended = True
            if self._inflater is not None and self._error is None:
                self._error = SourceError(
                    f"{self.path} is cut off: its {self.compression} stream does not end",
                    hint="complete lines before the cut are kept; sync again when the file is whole",
                )
            return b""
        if self.compression == "none":
            return block
        out = []
        try:
            while block:
                if self._inflater is None:
                    if self.compression == "gzip" and not self._between_streams(block):
                        break
                    self._inflater = self._new_inflater()
                out.append(self._inflater.decompress(block))
                if not self._inflater.eof:
                    break
                block = self._inflater.unused_data
                self._inflater = None
        except (zlib.error, zstandard.ZstdError) as error:
            self._ended = True
            self._error = SourceError(
                f"{self.path} is damaged: {error}", hint="complete lines before the damage are kept"
            )
        return b"".join(out)

    @staticmethod
    def _between_streams(block: bytes) -> bool:
        # gzip files may be padded with zeros.
        return bool(block.strip(b"\0"))

    def _new_inflater(self) -> Any:
        if self.compression == "gzip":
            return zlib.decompressobj(wbits=31)
        return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
