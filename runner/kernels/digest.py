"""A digest of events that does not depend on how they are cut into segments or ordered: a sum of hashes.

The digest of one event is MurmurHash3_x64_128 (seed 0) of 64 bytes of header and the raw payload behind them::

    struct.pack("<qqqqqQQhh4x", position, version, recorded_at, source_position_0, source_position_1,
                hi, lo, type, source) + payload

and a set of events has the sum of theirs modulo 2**128. It finds damage and mistakes, not forgery: that is what the
SHA-256 chain is for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from runner.kernels.siphash import load_word

__all__ = ["digest_events"]

_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_N1, _N2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
_F1, _F2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_S27, _S31, _S33, _S37 = np.uint64(27), np.uint64(31), np.uint64(33), np.uint64(37)
_FIVE, _S8, _S16, _ONE = np.uint64(5), np.uint64(8), np.uint64(16), np.uint64(1)


@njit(inline="always")  # type: ignore[untyped-decorator]  # numba has no types
def _block(h1: Any, h2: Any, k1: Any, k2: Any) -> Any:
    k1 *= _C1
    k1 = ((k1 << _S31) | (k1 >> _S33)) * _C2
    h1 ^= k1
    h1 = (((h1 << _S27) | (h1 >> _S37)) + h2) * _FIVE + _N1
    k2 *= _C2
    k2 = ((k2 << _S33) | (k2 >> _S31)) * _C1
    h2 ^= k2
    h2 = (((h2 << _S31) | (h2 >> _S33)) + h1) * _FIVE + _N2
    return h1, h2


@njit(inline="always")  # type: ignore[untyped-decorator]  # numba has no types
def _mix(k: Any) -> Any:
    k = (k ^ (k >> _S33)) * _F1
    k = (k ^ (k >> _S33)) * _F2
    return k ^ (k >> _S33)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _payload(h1: Any, h2: Any, data: Any, start: Any, stop: Any) -> Any:
    i = start
    while i + 16 <= stop:
        h1, h2 = _block(h1, h2, load_word(data, i), load_word(data, i + 8))
        i += 16
    k1, k2 = np.uint64(0), np.uint64(0)
    if stop - i > 8:
        k1 = load_word(data, i)
        for j in range(i + 8, stop):
            k2 |= np.uint64(data[j]) << (_S8 * np.uint64(j - i - 8))
        k2 *= _C2
        h2 ^= ((k2 << _S33) | (k2 >> _S31)) * _C1
    else:
        for j in range(i, stop):
            k1 |= np.uint64(data[j]) << (_S8 * np.uint64(j - i))
    if stop > i:
        k1 *= _C1
        h1 ^= ((k1 << _S31) | (k1 >> _S33)) * _C2
    length = np.uint64(stop - start + 64)
    h1 ^= length
    h2 ^= length
    h1 += h2
    h2 += h1
    h1, h2 = _mix(h1), _mix(h2)
    h1 += h2
    return h1, h1 + h2


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]  # numba has no types
def _digest(
    position: Any,
    version: Any,
    recorded_at: Any,
    place0: Any,
    place1: Any,
    codes: Any,
    hi: Any,
    lo: Any,
    types: Any,
    source: Any,
    data: Any,
    offsets: Any,
) -> Any:
    high, low = np.uint64(0), np.uint64(0)
    for i in range(len(position)):
        c = codes[i]
        h1, h2 = np.uint64(0), np.uint64(0)
        h1, h2 = _block(h1, h2, np.uint64(position[i]), np.uint64(version[i]))
        h1, h2 = _block(h1, h2, np.uint64(recorded_at[i]), np.uint64(place0[i]))
        h1, h2 = _block(h1, h2, np.uint64(place1[i]), hi[c])
        small = np.uint64(np.uint16(types[i])) | (np.uint64(np.uint16(source[i])) << _S16)
        h1, h2 = _block(h1, h2, lo[c], small)
        h1, h2 = _payload(h1, h2, data, offsets[i], offsets[i + 1])
        # The first 8 bytes of the hash are h1, read here as the low word.
        low += h1
        high += h2 + (_ONE if low < h1 else np.uint64(0))
    return high, low


def digest_events(
    header: dict[str, npt.NDArray[Any]],
    codes: npt.NDArray[np.int32],
    hi: npt.NDArray[np.uint64],
    lo: npt.NDArray[np.uint64],
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
) -> int:
    """The sum modulo 2**128 of the digests of n events.

    header: position, version, recorded_at, source_position_0, source_position_1 (int64[n]), type, source (int16[n]);
    codes: int32[n] into hi and lo; payload i is data[offsets[i]:offsets[i + 1]].
    """
    high, low = _digest(
        header["position"],
        header["version"],
        header["recorded_at"],
        header["source_position_0"],
        header["source_position_1"],
        codes,
        hi,
        lo,
        header["type"],
        header["source"],
        data,
        offsets,
    )
    return (int(high) << 64) | int(low)
