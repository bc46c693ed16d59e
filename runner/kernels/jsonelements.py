"""The elements of JSON arrays that a scan has found, as spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from runner.kernels.jsonscan import ARRAY, ESCAPED, OBJECT, TEXT, Bytes, Int64s, Spans, literal_end
from runner.kernels.jsontokens import skip_space, string_end
from runner.kernels.loads import address_of, load_byte

__all__ = ["Elements", "scan_elements"]


@dataclass(frozen=True)
class Elements:
    """The elements of n arrays one after the other; those of array i are offsets[i]..offsets[i + 1] (int64[n + 1])."""

    offsets: Int64s
    spans: Spans


@njit  # type: ignore[untyped-decorator]  # numba has no types
def _element(data: Any, i: Any, end: Any, limit: Any) -> Any:
    # One value of a checked text: (kind, start and stop of its span, place behind it).
    c = load_byte(data, i)
    if c == 34:
        stop, escaped = string_end(data, i + 1, end, limit)
        return (ESCAPED if escaped else TEXT), i + 1, stop, stop + 1
    if c != 123 and c != 91:
        stop, kind = literal_end(data, i, end)
        return kind, i, stop, stop
    start = i
    depth = 0
    while True:
        c = load_byte(data, i)
        if c == 34:
            i, _ = string_end(data, i + 1, end, limit)
        elif c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            depth -= 1
            if depth == 0:
                return (OBJECT if c == 125 else ARRAY), start, i + 1, i + 1
        i += 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _walk(
    data: Any, limit: Any, kinds: Any, starts: Any, stops: Any, offsets: Any, fill: Any, out: Any, first: Any, last: Any
) -> Any:
    count = 0
    for row in range(len(kinds)):
        offsets[row] = count
        if kinds[row] != ARRAY:
            continue
        end = stops[row]
        i = skip_space(data, starts[row] + 1, end)
        while load_byte(data, i) != 93:
            kind, start, stop, i = _element(data, i, end, limit)
            if fill:
                out[count], first[count], last[count] = kind, start, stop
            count += 1
            i = skip_space(data, i, end)
            if load_byte(data, i) == 44:
                i = skip_space(data, i + 1, end)
    offsets[len(kinds)] = count
    return count


def scan_elements(data: Bytes, arrays: Spans) -> Elements:
    """The elements of arrays that ``scan_paths`` found; where a span is no ARRAY there are none."""
    offsets = np.empty(len(arrays) + 1, np.int64)
    none, nowhere = np.empty(0, np.uint8), np.empty(0, np.int64)
    place, limit = address_of(data), len(data) - 8
    count = _walk(place, limit, arrays.kinds, arrays.starts, arrays.stops, offsets, False, none, nowhere, nowhere)
    kinds, first, last = np.empty(count, np.uint8), np.empty(count, np.int64), np.empty(count, np.int64)
    _walk(place, limit, arrays.kinds, arrays.starts, arrays.stops, offsets, True, kinds, first, last)
    return Elements(offsets, Spans(kinds, first, last))
