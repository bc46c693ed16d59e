"""Payloads as the log takes them, texts of JSON objects, out of what stores keep: JSON, compressed JSON, or whatever a
hook of the author's decodes.

Texts and bytes are looked at in bulk. Inflating is one call in C for each payload that is compressed, a hook one call
each. What is neither is named with what is needed: an encrypted payload begins with anything.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.config.definitions import import_beside
from runner.errors import ConfigError
from runner.kernels.hash import text_buffers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from runner.config.stores import StoreConfig

__all__ = ["Decoded", "Decoder"]

_SPACE = np.zeros(256, np.bool_)
_SPACE[[9, 10, 13, 32]] = True
_OPEN = ord("{")
LARGEST = 1 << 30
"""A payload that inflates to more is refused: it is damaged, or made to fill the memory."""


@dataclass(frozen=True)
class Decoded:
    """n texts, large_utf8 without nulls ("" where there is a reason), and the reasons of rows that are no JSON text."""

    texts: pa.Array
    reasons: dict[int, str]


class Decoder:
    """Turns cells of one column into texts. The encoding "auto" takes JSON and inflates what begins like zlib or
    gzip.
    """

    def __init__(self, where: str, config: StoreConfig) -> None:
        self._where, self._encoding = where, config.encoding
        hook = config.decode
        self._hook: Callable[[str, bytes], Any] | None = _loaded(where, hook, config.root) if hook else None

    def decode(self, column: pa.Array, types: Callable[[], pa.Array]) -> Decoded:
        """The texts of a column of text or bytes; null is "" without a reason. types: of the events, for a hook."""
        if self._hook is not None:
            return self._hooked(column, types())
        if pa.types.is_large_binary(column.type) or pa.types.is_binary(column.type):
            return self._octets(column.cast(pa.large_binary()))
        return Decoded(pc.fill_null(column.cast(pa.large_utf8()), ""), {})

    # Bytes ------------------------------------------------------------------------------------------------------------

    def _octets(self, column: pa.Array) -> Decoded:
        reasons: dict[int, str] = {}
        filled = pc.fill_null(column, b"")
        plain = np.ones(len(filled), np.bool_)
        if self._encoding == "auto":
            plain = _first_octets(filled) == _OPEN
            plain |= ~column.is_valid().to_numpy(zero_copy_only=False)
        elif self._encoding in ("zlib", "gzip"):
            plain = ~column.is_valid().to_numpy(zero_copy_only=False)
        if not plain.all():
            filled = self._inflated(filled, plain, reasons)
        return Decoded(*_as_text(filled, reasons))

    def _inflated(self, column: pa.Array, plain: npt.NDArray[np.bool_], reasons: dict[int, str]) -> pa.Array:
        out = column.to_pylist()
        for row in map(int, np.flatnonzero(~plain)):
            octets = out[row]
            try:
                out[row] = _inflate(octets, self._encoding)
            except (zlib.error, EOFError, OSError, ValueError) as error:
                out[row] = b""
                reasons[row] = _unknown(octets, str(error), self._encoding)
        return pa.array(out, pa.large_binary())

    # Hooks ------------------------------------------------------------------------------------------------------------

    def _hooked(self, column: pa.Array, types: pa.Array) -> Decoded:
        assert self._hook is not None
        reasons: dict[int, str] = {}
        out: list[Any] = []
        text = not (pa.types.is_large_binary(column.type) or pa.types.is_binary(column.type))
        for row, (value, type_) in enumerate(zip(column.to_pylist(), types.to_pylist(), strict=True)):
            if value is None:
                out.append(b"")
                continue
            try:
                out.append(_json_of(self._hook(type_ or "", value.encode() if text else value)))
            except Exception as error:  # the author's code may fail in any way; the event is named
                out.append(b"")
                said = str(error).splitlines()[0] if str(error) else ""
                reasons[row] = f"payload: decode failed: {type(error).__name__}{': ' if said else ''}{said}"
        return Decoded(*_as_text(pa.array(out, pa.large_binary()), reasons))


def _loaded(where: str, hook: str, root: Path) -> Callable[[str, bytes], Any]:
    module, _, name = hook.partition(":")
    try:
        found = getattr(import_beside(root, module), name, None)
    except Exception as error:  # whatever the author's module does
        raise ConfigError(
            f"{where}: decode = {hook!r}: {module} cannot be imported: {type(error).__name__}: {error}",
            hint="modules beside runner.toml and installed ones are found",
        ) from None
    if not callable(found):
        raise ConfigError(f"{where}: decode = {hook!r}: {module} has no function {name}")
    return found  # type: ignore[no-any-return]  # what it returns is looked at


def _json_of(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    raise TypeError(f"it gave {type(value).__name__}, not a dict, or JSON as text or bytes")


def _inflate(octets: bytes, encoding: str) -> bytes:
    if encoding == "gzip" or (encoding == "auto" and octets[:2] == b"\x1f\x8b"):
        return gzip.decompress(octets)
    if encoding == "zlib" or octets[:1] == b"\x78":
        inflater = zlib.decompressobj()
        out = inflater.decompress(octets, LARGEST)
        if not inflater.eof:
            raise ValueError("its compressed data does not end")
        return out
    if octets.lstrip(b" \t\r\n")[:1] in (b"{", b"[", b'"', b"n", b"t", b"f") and _is_json(octets):
        return octets
    raise ValueError("unknown")


def _is_json(octets: bytes) -> bool:
    try:
        json.loads(octets)
    except ValueError:
        return octets.lstrip(b" \t\r\n")[:1] == b"{"
    return True


def _unknown(octets: bytes, error: str, encoding: str) -> str:
    first = octets[:4].hex(" ")
    if encoding in ("zlib", "gzip"):
        return f"payload: {error or 'it cannot be inflated'} (it begins with {first})"
    return (
        f"payload: neither JSON nor zlib (it begins with {first}, {len(octets)} bytes): where it is encrypted or in "
        'another format, decode = "module:function" names a function of yours that turns it into JSON'
    )


def _first_octets(column: pa.Array) -> npt.NDArray[np.uint8]:
    """The first byte of each that is no white space; 0 of those without one."""
    data, offsets = text_buffers(column.view(pa.large_utf8()))
    starts, stops = offsets[:-1], offsets[1:]
    there = starts < stops
    first = np.zeros(len(starts), np.uint8)
    first[there] = data[starts[there]]
    for row in np.flatnonzero(_SPACE[first]):
        text = data[starts[row] : stops[row]].tobytes().lstrip(b" \t\r\n")
        first[row] = text[0] if text else 0
    return first


def _as_text(column: pa.Array, reasons: dict[int, str]) -> tuple[pa.Array, dict[int, str]]:
    """Bytes as text; rows that are not UTF-8 become "" with a reason."""
    texts = column.view(pa.large_utf8())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        out = column.to_pylist()
        for row, octets in enumerate(out):
            try:
                octets.decode()
            except UnicodeDecodeError as error:
                out[row] = b""
                reasons[row] = f"payload: byte {error.start + 1} of it is no text in UTF-8"
        texts = pa.array(out, pa.large_binary()).view(pa.large_utf8())
    return texts, reasons
