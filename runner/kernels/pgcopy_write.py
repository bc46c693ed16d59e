"""What binary COPY into a server needs beside the encoder: UUIDs from text, and the numbers of array element types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from runner.kernels.loads import address_of, load_byte, store_byte
from runner.kernels.pgcopy_fields import big_int32, store_big_int32

if TYPE_CHECKING:
    import numpy.typing as npt

    from runner.kernels.pgcopy_fields import Bytes, Int64s

__all__ = ["parse_uuids", "set_element_types"]

_NO_DIGIT: Final = 255
_VALUES: Final = np.full(256, _NO_DIGIT, np.uint8)
for _digit in range(16):
    _VALUES[ord(f"{_digit:x}")] = _VALUES[ord(f"{_digit:X}")] = _digit


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _uuids(data: Any, offsets: Any, valid: Any, values: Any, out: Any) -> Any:
    for i in range(len(valid)):
        if not valid[i]:
            for k in range(16):
                store_byte(out, 16 * i + k, 0)
            continue
        at = offsets[i]
        if offsets[i + 1] - at != 36:
            return i
        for k in range(16):
            if k == 4 or k == 6 or k == 8 or k == 10:
                if load_byte(data, at) != 45:
                    return i
                at += 1
            high, low = values[load_byte(data, at)], values[load_byte(data, at + 1)]
            if high == _NO_DIGIT or low == _NO_DIGIT:
                return i
            store_byte(out, 16 * i + k, 16 * np.int64(high) + np.int64(low))
            at += 2
    return -1


def parse_uuids(data: Bytes, offsets: Int64s, valid: npt.NDArray[np.bool_]) -> tuple[Bytes, int]:
    """UUIDs from canonical texts (36 characters, either case): (uint8[16 * n], the first that is none, or -1)."""
    out = np.empty(16 * len(valid), np.uint8)
    return out, int(_uuids(address_of(data), offsets, valid.view(np.uint8), _VALUES, address_of(out)))


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _set(data: Any, size: Any, oids: Any) -> Any:
    at = data
    end = data + size
    while at < end:
        at += 2
        for c in range(len(oids)):
            length = big_int32(at)
            at += 4
            if length > 0:
                if oids[c]:
                    store_big_int32(at + 8, oids[c])
                at += length
    return at - end


def set_element_types(data: Bytes, oids: Int64s) -> None:
    """Write the element types of arrays into rows of a binary COPY. oids: int64[columns], 0: no array, or leave it."""
    behind = _set(address_of(data), len(data), oids)
    assert behind == 0
