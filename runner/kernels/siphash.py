"""SipHash-2-4 with 128-bit output under the key 00..0f, as functions to be called inside other kernels.

The 16 bytes of output are read as two little-endian uint64: the first 8 bytes are ``lo``, the next 8 ``hi``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["load_word", "siphash128", "store_word"]

_K0 = 0x0706050403020100
_K1 = 0x0F0E0D0C0B0A0908
_V0 = np.uint64(0x736F6D6570736575 ^ _K0)
_V1 = np.uint64(0x646F72616E646F6D ^ _K1 ^ 0xEE)
_V2 = np.uint64(0x6C7967656E657261 ^ _K0)
_V3 = np.uint64(0x7465646279746573 ^ _K1)
_EE = np.uint64(0xEE)
_DD = np.uint64(0xDD)
_S8 = np.uint64(8)
_S13, _S51 = np.uint64(13), np.uint64(51)
_S16, _S48 = np.uint64(16), np.uint64(48)
_S17, _S47 = np.uint64(17), np.uint64(47)
_S21, _S43 = np.uint64(21), np.uint64(43)
_S32 = np.uint64(32)
_S56 = np.uint64(56)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def load_word(_context: Any, data: Any, index: Any) -> Any:
    """Eight bytes of ``data`` from ``index`` as a little-endian uint64, at any alignment; the caller minds the end."""
    signature = types.uint64(data, types.intp)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place)
        word.align = 1
        return word

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def store_word(_context: Any, data: Any, index: Any, word: Any) -> Any:
    """The eight bytes of a uint64, little-endian, into ``data`` from ``index``; the caller minds the end."""
    signature = types.void(data, types.intp, types.uint64)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        stored = builder.store(args[2], place)
        stored.align = 1
        return context.get_dummy_value()

    return signature, generate


@njit(inline="always")  # type: ignore[untyped-decorator]  # numba has no types
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 += v1
    v1 = ((v1 << _S13) | (v1 >> _S51)) ^ v0
    v0 = (v0 << _S32) | (v0 >> _S32)
    v2 += v3
    v3 = ((v3 << _S16) | (v3 >> _S48)) ^ v2
    v0 += v3
    v3 = ((v3 << _S21) | (v3 >> _S43)) ^ v0
    v2 += v1
    v1 = ((v1 << _S17) | (v1 >> _S47)) ^ v2
    v2 = (v2 << _S32) | (v2 >> _S32)
    return v0, v1, v2, v3


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def siphash128(data: Any, start: Any, stop: Any) -> Any:
    """(hi, lo) of the bytes data[start:stop]; data: uint8 array, contiguous."""
    v0, v1, v2, v3 = _V0, _V1, _V2, _V3
    length = stop - start
    whole = start + (length & ~7)
    i = start
    while i < whole:
        word = load_word(data, i)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        i += 8
    last = np.uint64(length) << _S56
    rest = length & 7
    if rest:
        if length >= 8:
            last |= load_word(data, stop - 8) >> np.uint64(64 - 8 * rest)
        else:
            shift = np.uint64(0)
            while i < stop:
                last |= np.uint64(data[i]) << shift
                shift += _S8
                i += 1
    v3 ^= last
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= last
    v2 ^= _EE
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    lo = v0 ^ v1 ^ v2 ^ v3
    v1 ^= _DD
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3, lo
