"""Texts copied out of spans: strings unescaped, UUIDs in canonical form, each as an Arrow array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import njit

from runner.kernels.fieldstatus import ABSENT, FOUND, NULL, UNDECIDED
from runner.kernels.jsontokens import unescape
from runner.kernels.loads import address_of, load_byte, load_word, store_byte, store_word

if TYPE_CHECKING:
    from runner.kernels.jsonscan import Bytes, Int64s, Spans
    from runner.kernels.textnumbers import Statuses

__all__ = ["copy_spans", "copy_texts", "copy_uuids", "utf8_array"]

_TEXT, _ESCAPED = 6, 7


def utf8_array(offsets: Int64s, data: Bytes, valid: Any = None, *, large: bool = False) -> pa.Array:
    """A utf8 array (large_utf8 where it must or is asked to be) of texts data[offsets[i]:offsets[i + 1]]; no copy of
    the data.

    valid: bool[n], or None where nothing is null. The bytes must be UTF-8.
    """
    n = len(offsets) - 1
    mask, nulls = None, 0
    if valid is not None and not valid.all():
        mask, nulls = pa.py_buffer(np.packbits(valid, bitorder="little")), int(n - valid.sum())
    if large or int(offsets[-1]) >= 2**31:
        return pa.Array.from_buffers(pa.large_utf8(), n, [mask, pa.py_buffer(offsets), pa.py_buffer(data)], nulls)
    return pa.Array.from_buffers(
        pa.utf8(), n, [mask, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)], nulls
    )


@njit(forceinline=True)  # type: ignore[untyped-decorator]  # numba has no types
def _copy(data: Any, start: Any, stop: Any, limit: Any, out: Any, o: Any) -> Any:
    # The output has eight bytes to spare, so whole words are written and the surplus is overwritten by the next text.
    while start < stop:
        if start <= limit:
            store_word(out, o, load_word(data, start))
            step = min(8, stop - start)
            o += step
            start += step
        else:
            store_byte(out, o, load_byte(data, start))
            o += 1
            start += 1
    return o


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _texts(data: Any, limit: Any, kinds: Any, starts: Any, stops: Any, out: Any, offsets: Any, statuses: Any) -> None:
    o = 0
    for row in range(len(kinds)):
        offsets[row] = o
        kind = kinds[row]
        status = UNDECIDED
        if kind == _TEXT:
            status = FOUND
            o = _copy(data, starts[row], stops[row], limit, out, o)
        elif kind == _ESCAPED:
            behind = unescape(data, starts[row], stops[row], out, o)
            status = FOUND if behind >= 0 else UNDECIDED
            o = max(o, behind)
        elif kind == 0:
            status = ABSENT
        elif kind == 1:
            status = NULL
        statuses[row] = status
    offsets[len(kinds)] = o


def copy_texts(data: Bytes, spans: Spans, *, large: bool = False) -> tuple[pa.Array, Statuses]:
    """What the strings say, a utf8 array of n (null where there is none), and what became of each."""
    out = np.empty(int((spans.stops - spans.starts)[spans.kinds >= _TEXT].sum()) + 8, np.uint8)
    offsets, statuses = np.empty(len(spans) + 1, np.int64), np.empty(len(spans), np.uint8)
    place = address_of(out)
    _texts(address_of(data), len(data) - 8, spans.kinds, spans.starts, spans.stops, place, offsets, statuses)
    return utf8_array(offsets, out, statuses == FOUND, large=large), statuses


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _spans(data: Any, limit: Any, starts: Any, stops: Any, out: Any, offsets: Any) -> None:
    o = 0
    for row in range(len(starts)):
        offsets[row] = o
        o = _copy(data, starts[row], stops[row], limit, out, o)
    offsets[len(starts)] = o


def copy_spans(data: Bytes, starts: Int64s, stops: Int64s) -> tuple[Int64s, Bytes]:
    """(offsets int64[n + 1], bytes) of the spans as they are written, one after the other."""
    offsets = np.empty(len(starts) + 1, np.int64)
    out = np.empty(int((stops - starts).sum()) + 8, np.uint8)
    _spans(address_of(data), len(data) - 8, starts, stops, address_of(out), offsets)
    return offsets, out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _uuids(data: Any, kinds: Any, starts: Any, stops: Any, out: Any, offsets: Any, statuses: Any) -> None:
    o = 0
    for row in range(len(kinds)):
        offsets[row] = o
        kind = kinds[row]
        if kind != _TEXT:
            statuses[row] = ABSENT if kind == 0 else (NULL if kind == 1 else UNDECIDED)
            continue
        i, length = starts[row], stops[row] - starts[row]
        status = FOUND if length == 36 or length == 32 else UNDECIDED
        place = o
        if status == FOUND:
            for k in range(36):
                if k == 8 or k == 13 or k == 18 or k == 23:
                    store_byte(out, place, 45)
                    if length == 36:
                        if load_byte(data, i) != 45:
                            status = UNDECIDED
                        i += 1
                else:
                    c = load_byte(data, i)
                    if 65 <= c <= 70:
                        c += 32
                    if not (48 <= c <= 57 or 97 <= c <= 102):
                        status = UNDECIDED
                    store_byte(out, place, c)
                    i += 1
                place += 1
        statuses[row] = status
        if status == FOUND:
            o = place
    offsets[len(kinds)] = o


def copy_uuids(data: Bytes, spans: Spans) -> tuple[pa.Array, Statuses]:
    """UUIDs as lower-case text with hyphens, a utf8 array of n (null where there is none), and what became of each.

    Read are 36 characters with hyphens in their places and 32 hex digits, of either case.
    """
    out = np.empty(36 * len(spans) + 8, np.uint8)
    offsets, statuses = np.empty(len(spans) + 1, np.int64), np.empty(len(spans), np.uint8)
    _uuids(address_of(data), spans.kinds, spans.starts, spans.stops, address_of(out), offsets, statuses)
    return utf8_array(offsets, out, statuses == FOUND), statuses
