"""Where the fields of a binary COPY stream lie: rows to places, arrays to the places of their elements.

A stream is a header, then rows (int16 number of fields; per field int32 length and that many bytes, -1: NULL), then
int16 -1. All integers are big-endian. What is found here are offsets into the buffer and lengths; nothing is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from runner.kernels.loads import address_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64s = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]
    Bytes = npt.NDArray[np.uint8]

__all__ = [
    "ARRAY_DIMENSIONS",
    "ARRAY_LENGTH",
    "ARRAY_TYPE",
    "BAD_COUNT",
    "BAD_LENGTH",
    "ENOUGH",
    "FINISHED",
    "UNFINISHED",
    "Elements",
    "Fields",
    "big_int16",
    "big_int32",
    "big_int64",
    "copy_bytes",
    "find_elements",
    "find_fields",
    "store_big_int32",
]

UNFINISHED: Final = 0
"""The buffer ends inside a row, or right behind one."""
ENOUGH: Final = 1
"""As many rows as were asked for."""
FINISHED: Final = 2
"""The stream's end was met."""
BAD_COUNT: Final = 3
"""A row has another number of fields."""
BAD_LENGTH: Final = 4
"""A field has a length below -1."""

ARRAY_LENGTH: Final = 5
"""An array's bytes are not as many as its elements say."""
ARRAY_DIMENSIONS: Final = 6
"""An array has more than one dimension."""
ARRAY_TYPE: Final = 7
"""An array's elements are of another type."""

_WORD = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()


def _big(bits: int) -> Any:
    """A load of a big-endian signed integer at any alignment, as an int64."""
    width = ir.IntType(bits)

    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def load(_context: Any, address: Any) -> Any:
        def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            word = builder.load(builder.inttoptr(args[0], width.as_pointer()))
            word.align = 1
            return builder.sext(builder.bswap(word), _WORD) if bits < 64 else builder.bswap(word)

        return types.int64(types.int64), generate

    return load


big_int16, big_int32, big_int64 = _big(16), _big(32), _big(64)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def store_big_int32(_context: Any, address: Any, value: Any) -> Any:
    """Write the low 32 bits of an int64, big-endian, at any alignment."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        width = ir.IntType(32)
        swapped = builder.bswap(builder.trunc(args[1], width))
        builder.store(swapped, builder.inttoptr(args[0], width.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def copy_bytes(_context: Any, address: Any, to: Any, size: Any) -> Any:
    """memcpy of ``size`` bytes."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.memcpy", [_POINTER, _POINTER, _WORD])
        pointers = [builder.inttoptr(args[1], _POINTER), builder.inttoptr(args[0], _POINTER)]
        builder.call(function, [*pointers, args[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@dataclass(frozen=True)
class Fields:
    """n rows. offsets: int64[columns, n], from the buffer's begin; lengths: int32[columns, n], -1: NULL.

    stop: behind the last of these rows (and behind the stream's end, where status is FINISHED). status: UNFINISHED,
    ENOUGH, FINISHED; or BAD_COUNT, BAD_LENGTH of row n, where ``found`` is the number or length that stands there.
    """

    offsets: Int64s
    lengths: Int32s
    stop: int
    status: int
    found: int

    def __len__(self) -> int:
        return int(self.offsets.shape[1])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _find(data: Any, at: Any, size: Any, columns: Any, offsets: Any, lengths: Any, state: Any) -> Any:
    most = offsets.shape[1]
    row = 0
    status = ENOUGH
    while row < most:
        begin = at
        if at + 2 > size:
            status = UNFINISHED
            break
        count = big_int16(data + at)
        at += 2
        if count == -1:
            begin = at
            status = FINISHED
        elif count != columns:
            state[1] = count
            status = BAD_COUNT
        if status != ENOUGH:
            at = begin
            break
        for c in range(columns):
            if at + 4 > size:
                status = UNFINISHED
                break
            length = big_int32(data + at)
            at += 4
            if length < -1:
                state[1] = length
                status = BAD_LENGTH
                break
            offsets[c, row] = at
            lengths[c, row] = length
            if length > 0:
                at += length
                if at > size:
                    status = UNFINISHED
                    break
        if status != ENOUGH:
            at = begin
            break
        row += 1
    state[0] = at
    state[2] = row
    return status


def find_fields(data: Bytes, start: int, stop: int, columns: int, rows: int) -> Fields:
    """The fields of the whole rows, ``rows`` at most, that stand in ``data`` from ``start`` to before ``stop``."""
    # A row without values still has its count and its lengths.
    most = min(rows, (stop - start) // (2 + 4 * columns) + 1)
    offsets, lengths = np.empty((columns, most), np.int64), np.empty((columns, most), np.int32)
    state = np.zeros(3, np.int64)
    status = _find(address_of(data), start, stop, columns, offsets, lengths, state)
    n = int(state[2])
    if n < most:
        # A view: pages that were never written to cost nothing.
        offsets, lengths = offsets[:, :n], lengths[:, :n]
    if status == ENOUGH and n < rows:
        status = UNFINISHED
    return Fields(offsets, lengths, int(state[0]), int(status), int(state[1]))


@dataclass(frozen=True)
class Elements:
    """ends: int64[n + 1], array i has the elements ends[i] to before ends[i + 1]. offsets, lengths: of the elements.

    bad: the first array that cannot be taken, or -1; reason: ARRAY_LENGTH, ARRAY_DIMENSIONS, ARRAY_TYPE; found: how
    many dimensions, or which type.
    """

    ends: Int64s
    offsets: Int64s
    lengths: Int32s
    bad: int
    reason: int
    found: int


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _count(data: Any, offsets: Any, lengths: Any, kind: Any, ends: Any, state: Any) -> Any:
    ends[0] = 0
    for i in range(len(offsets)):
        ends[i + 1] = ends[i]
        if lengths[i] < 0:
            continue
        if lengths[i] < 12:
            state[0] = ARRAY_LENGTH
            return i
        at = data + offsets[i]
        dimensions = big_int32(at)
        if dimensions == 0:
            continue
        if dimensions != 1:
            state[0], state[1] = ARRAY_DIMENSIONS, dimensions
            return i
        if big_int32(at + 8) != kind:
            state[0], state[1] = ARRAY_TYPE, big_int32(at + 8)
            return i
        # Each element has at least its length.
        if lengths[i] < 20 or big_int32(at + 12) < 0 or big_int32(at + 12) > (lengths[i] - 20) // 4:
            state[0] = ARRAY_LENGTH
            return i
        ends[i + 1] += big_int32(at + 12)
    return -1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _elements(data: Any, offsets: Any, lengths: Any, ends: Any, places: Any, sizes: Any) -> Any:
    for i in range(len(offsets)):
        if ends[i + 1] == ends[i]:
            continue
        at = offsets[i] + 20
        stop = offsets[i] + lengths[i]
        for k in range(ends[i], ends[i + 1]):
            if at + 4 > stop:
                return i
            size = big_int32(data + at)
            at += 4
            if size < -1:
                return i
            places[k] = at
            sizes[k] = size
            if size > 0:
                at += size
        if at != stop:
            return i
    return -1


def find_elements(data: Bytes, offsets: Int64s, lengths: Int32s, kind: int) -> Elements:
    """The elements of the arrays at these places, whose elements are of the type with the number ``kind``."""
    ends, state = np.empty(len(offsets) + 1, np.int64), np.zeros(2, np.int64)
    bad = int(_count(address_of(data), offsets, lengths, kind, ends, state))
    if bad >= 0:
        return Elements(ends, offsets[:0], lengths[:0], bad, int(state[0]), int(state[1]))
    places, sizes = np.empty(int(ends[-1]), np.int64), np.empty(int(ends[-1]), np.int32)
    bad = int(_elements(address_of(data), offsets, lengths, ends, places, sizes))
    return Elements(ends, places, sizes, bad, ARRAY_LENGTH if bad >= 0 else 0, 0)
