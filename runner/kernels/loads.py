"""Loads and stores at addresses, for kernels that scan bytes; they check no bounds, the caller does.

An array that is handed from one compiled function to another is counted on the way (a scanner spent seven eighths of
its time on that), and its indices are tested for being negative; an address is a number. Who passes
``address_of(array)`` keeps the array alive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["address_of", "load_byte", "load_int", "load_word", "low_zeros", "store_byte", "store_int", "store_word"]

_WORD = ir.IntType(64)


def address_of(array: npt.NDArray[Any]) -> np.int64:
    """Where a contiguous array's first element lies."""
    assert array.flags.c_contiguous
    return np.int64(array.ctypes.data)


def _place(builder: Any, address: Any, index: Any, bits: int) -> Any:
    pointer = builder.inttoptr(address, ir.IntType(bits).as_pointer())
    return builder.gep(pointer, [index])


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def load_byte(_context: Any, address: Any, index: Any) -> Any:
    """The byte ``index`` behind ``address``, as an int64."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.zext(builder.load(_place(builder, args[0], args[1], 8)), _WORD)

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def load_int(_context: Any, address: Any, index: Any) -> Any:
    """Entry ``index`` of the int64 array at ``address``."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.load(_place(builder, args[0], args[1], 64))

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def load_word(_context: Any, address: Any, index: Any) -> Any:
    """Eight bytes, at any alignment, from the byte ``index`` behind ``address``, as a little-endian uint64."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        place = builder.bitcast(_place(builder, args[0], args[1], 8), _WORD.as_pointer())
        word = builder.load(place)
        word.align = 1
        return word

    return types.uint64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def store_byte(_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Write the low eight bits of ``value`` to the byte ``index`` behind ``address``."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[2], ir.IntType(8)), _place(builder, args[0], args[1], 8))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def store_int(_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Write entry ``index`` of the int64 array at ``address``."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        builder.store(args[2], _place(builder, args[0], args[1], 64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def store_word(_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a uint64 as eight little-endian bytes, at any alignment, from the byte ``index`` behind ``address``."""

    def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        place = builder.bitcast(_place(builder, args[0], args[1], 8), _WORD.as_pointer())
        builder.store(args[2], place).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def low_zeros(_context: Any, word: Any) -> Any:
    """How many zero bits stand below the lowest one of a uint64 that is not 0, as an int64."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate
