"""Arithmetic that tells when its result is not the exact one, for generated fold code on int64 and float64.

Each returns ``(value, failed)``: failed is a bool for ``add``, ``sub``, ``mul``, ``absolute`` (the caller knows what an
overflow means) and a status of ``runner.kernels.status`` for the others, 0 where the value holds. The value beside a
failure is some number, never a trap. The integer ones are LLVM intrinsics, so that they vanish into the calling loop.

Numbers follow Python, not C: ``//`` and ``%`` floor, ints and floats compare exactly, ``round`` goes half to even.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from runner.kernels.options import KERNEL
from runner.kernels.status import OVERFLOW, RANGE, REFUSED, ZERO_DIVISION

__all__ = [
    "MAX",
    "MIN",
    "absolute",
    "add",
    "bits_and",
    "bits_or",
    "bits_xor",
    "ceiling",
    "compare_mixed",
    "divide",
    "divide_ints",
    "float_floordiv",
    "float_mod",
    "floor",
    "floordiv",
    "larger",
    "mod",
    "mul",
    "power",
    "root",
    "round_even",
    "shift_left",
    "shift_right",
    "smaller",
    "sub",
    "truncate",
    "whole",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Numba has no types; under these names its decorators keep those of the functions.
_njit: Callable[[_Function], _Function] = njit(**KERNEL)
_intrinsic: Callable[[Any], Callable[..., Any]] = intrinsic

MIN, MAX = -(2**63), 2**63 - 1
_EXACT_FLOAT = 2**53
_I64 = ir.IntType(64)
_F64 = ir.DoubleType()

Pair = types.Tuple((types.int64, types.boolean))
Status = types.Tuple((types.int64, types.int64))
FloatStatus = types.Tuple((types.float64, types.int64))


def _const(value: int) -> Any:
    return ir.Constant(_I64, value)


def _with_overflow(method: str) -> Callable[..., Any]:
    """(int64, int64) -> (value modulo 2**64, did it overflow)."""

    def checked(_context: Any, _a: Any, _b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            both = getattr(builder, method)(*args)
            value, overflow = builder.extract_value(both, 0), builder.extract_value(both, 1)
            return context.make_tuple(builder, signature.return_type, [value, overflow])

        return Pair(types.int64, types.int64), emit

    return checked


add = intrinsic(_with_overflow("sadd_with_overflow"))
sub = intrinsic(_with_overflow("ssub_with_overflow"))
mul = intrinsic(_with_overflow("smul_with_overflow"))


@_intrinsic
def absolute(_context: Any, _a: Any) -> Any:
    """int64 -> (absolute value, is it that of the lowest int64)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (a,) = args
        value = builder.select(builder.icmp_signed("<", a, _const(0)), builder.neg(a), a)
        return context.make_tuple(builder, signature.return_type, [value, builder.icmp_signed("==", a, _const(MIN))])

    return Pair(types.int64), emit


def _division(quotient: bool) -> Callable[..., Any]:
    """(int64, int64) -> floored quotient or remainder, with OVERFLOW for MIN // -1 and ZERO_DIVISION."""

    def divided(_context: Any, _a: Any, _b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, b = args
            zero = builder.icmp_signed("==", b, _const(0))
            minus = builder.icmp_signed("==", b, _const(-1))
            # The processor traps on both; the remainder by -1 is 0, as it is by 1.
            safe = builder.select(builder.or_(zero, minus), _const(1), b)
            rest = builder.srem(a, safe)
            signs_differ = builder.icmp_signed("<", builder.xor(rest, safe), _const(0))
            floored = builder.and_(builder.icmp_signed("!=", rest, _const(0)), signs_differ)
            status = builder.select(zero, _const(ZERO_DIVISION), _const(0))
            if quotient:
                value = builder.sub(builder.sdiv(a, safe), builder.zext(floored, _I64))
                value = builder.select(minus, builder.neg(a), value)
                lowest = builder.and_(minus, builder.icmp_signed("==", a, _const(MIN)))
                status = builder.select(lowest, _const(OVERFLOW), status)
            else:
                value = builder.add(rest, builder.select(floored, safe, _const(0)))
            return context.make_tuple(builder, signature.return_type, [value, status])

        return Status(types.int64, types.int64), emit

    return divided


floordiv = intrinsic(_division(quotient=True))
mod = intrinsic(_division(quotient=False))


def _shift(left: bool) -> Callable[..., Any]:
    """(int64, count) -> shifted; a negative count is RANGE, lost bits are OVERFLOW."""

    def shifted(_context: Any, _a: Any, _b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, n = args
            far = builder.icmp_signed(">", n, _const(63))
            count = builder.select(far, _const(63), builder.and_(n, _const(63)))
            status = builder.select(builder.icmp_signed("<", n, _const(0)), _const(RANGE), _const(0))
            if left:
                value = builder.shl(a, count)
                lost = builder.icmp_signed("!=", builder.ashr(value, count), a)
                lost = builder.or_(lost, builder.and_(far, builder.icmp_signed("!=", a, _const(0))))
                nonnegative = builder.icmp_signed("==", status, _const(0))
                status = builder.select(builder.and_(lost, nonnegative), _const(OVERFLOW), status)
            else:
                value = builder.ashr(a, count)
            return context.make_tuple(builder, signature.return_type, [value, status])

        return Status(types.int64, types.int64), emit

    return shifted


shift_left = intrinsic(_shift(left=True))
shift_right = intrinsic(_shift(left=False))


def _bitwise(method: str) -> Callable[..., Any]:
    """(int64, int64) -> int64. Numba's own operators would do, but type slower."""

    def bits(_context: Any, _a: Any, _b: Any) -> Any:
        def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return getattr(builder, method)(*args)

        return types.int64(types.int64, types.int64), emit

    return bits


bits_and = intrinsic(_bitwise("and_"))
bits_or = intrinsic(_bitwise("or_"))
bits_xor = intrinsic(_bitwise("xor"))


def _choice(sign: str) -> Callable[..., Any]:
    """(a, b) -> b where ``b sign a``, else a: what Python's min and max do, also with NaN and the two zeros."""

    def chosen(_context: Any, a: Any, _b: Any) -> Any:
        kind = types.float64 if isinstance(a, types.Float) else types.int64

        def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            first, second = args
            compare = builder.fcmp_ordered if kind is types.float64 else builder.icmp_signed
            return builder.select(compare(sign, second, first), second, first)

        return kind(kind, kind), emit

    return chosen


smaller = intrinsic(_choice("<"))
larger = intrinsic(_choice(">"))


@_intrinsic
def divide(_context: Any, _a: Any, _b: Any) -> Any:
    """(float64, float64) -> (a / b, status)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        zero = builder.fcmp_ordered("==", b, ir.Constant(_F64, 0.0))
        value = builder.fdiv(a, builder.select(zero, ir.Constant(_F64, 1.0), b))
        status = builder.select(zero, _const(ZERO_DIVISION), _const(0))
        return context.make_tuple(builder, signature.return_type, [value, status])

    return FloatStatus(types.float64, types.float64), emit


@_intrinsic
def divide_ints(_context: Any, _a: Any, _b: Any) -> Any:
    """(int64, int64) -> (a / b as float64, status): exact where both are floats exactly, else REFUSED."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        zero = builder.icmp_signed("==", b, _const(0))
        wide = None
        for x in (a, b):
            # One unsigned comparison for -2**53 <= x <= 2**53.
            moved = builder.add(x, _const(_EXACT_FLOAT))
            outside = builder.icmp_unsigned(">", moved, _const(2 * _EXACT_FLOAT))
            wide = outside if wide is None else builder.or_(wide, outside)
        safe = builder.select(zero, _const(1), b)
        value = builder.fdiv(builder.sitofp(a, _F64), builder.sitofp(safe, _F64))
        status = builder.select(wide, _const(REFUSED), _const(0))
        status = builder.select(zero, _const(ZERO_DIVISION), status)
        return context.make_tuple(builder, signature.return_type, [value, status])

    return FloatStatus(types.int64, types.int64), emit


def _to_int(rounding: str) -> Callable[..., Any]:
    """float64 -> (int64, status): NaN is RANGE, what does not fit is OVERFLOW."""

    def converted(_context: Any, _x: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (x,) = args
            if rounding:
                function = builder.module.declare_intrinsic(f"llvm.{rounding}", [_F64])
                x = builder.call(function, [x])
            low = builder.fcmp_ordered(">=", x, ir.Constant(_F64, -(2.0**63)))
            high = builder.fcmp_ordered("<", x, ir.Constant(_F64, 2.0**63))
            fits = builder.and_(low, high)
            value = builder.fptosi(builder.select(fits, x, ir.Constant(_F64, 0.0)), _I64)
            nan = builder.fcmp_unordered("uno", x, x)
            failed = builder.select(nan, _const(RANGE), _const(OVERFLOW))
            return context.make_tuple(builder, signature.return_type, [value, builder.select(fits, _const(0), failed)])

        return Status(types.float64), emit

    return converted


truncate = intrinsic(_to_int(""))
floor = intrinsic(_to_int("floor"))
ceiling = intrinsic(_to_int("ceil"))
# rint rounds half to even in the default rounding mode, which nothing here changes.
round_even = intrinsic(_to_int("rint"))


@_intrinsic
def root(_context: Any, _x: Any) -> Any:
    """float64 -> (square root, status): RANGE for a negative one."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        negative = builder.fcmp_ordered("<", x, ir.Constant(_F64, 0.0))
        safe = builder.select(negative, ir.Constant(_F64, 0.0), x)
        value = builder.call(builder.module.declare_intrinsic("llvm.sqrt", [_F64]), [safe])
        status = builder.select(negative, _const(RANGE), _const(0))
        return context.make_tuple(builder, signature.return_type, [value, status])

    return FloatStatus(types.float64), emit


@_intrinsic
def whole(_context: Any, value: Any) -> Any:
    """bool or uint8 -> int64, 0 or 1."""
    kind = types.uint8 if isinstance(value, types.Integer) else types.boolean

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        (x,) = args
        bit = builder.icmp_unsigned("!=", x, ir.Constant(x.type, 0))
        return builder.zext(bit, _I64)

    return types.int64(kind), emit


assert cgutils.intp_t == _I64, "generated code counts in 64 bits"


@_njit
def power(base: int, exponent: int) -> tuple[int, int]:
    """base ** exponent; a negative exponent, which gives a float in Python, is REFUSED."""
    if exponent < 0:
        return 0, REFUSED
    result = 1
    while True:
        if exponent & 1:
            product = mul(result, base)
            if product[1]:
                return 0, OVERFLOW
            result = product[0]
        exponent >>= 1
        if exponent == 0:
            return result, 0
        # What is left multiplies by this square or more, so its overflow is the result's.
        square = mul(base, base)
        if square[1]:
            return 0, OVERFLOW
        base = square[0]


@_njit
def compare_mixed(i: int, x: float) -> int:
    """An int64 against a float64, exactly: -1, 0 or 1, and 2 against NaN."""
    if x != x:
        return 2
    if x >= 9223372036854775808.0:
        return -1
    if x < -9223372036854775808.0:
        return 1
    low = truncate(x)[0]
    if i != low:
        return -1 if i < low else 1
    # Equal up to the fraction, which only floats below 2**53 have: the conversion back is exact.
    fraction = x - float(low)
    if fraction == 0.0:
        return 0
    return -1 if fraction > 0.0 else 1


@_njit
def float_mod(a: float, b: float) -> float:
    """a % b for b other than zero, as Python computes it."""
    rest: float = _remainder(a, b)
    if rest != 0.0:
        if (b < 0.0) != (rest < 0.0):
            rest += b
        return rest
    return math.copysign(0.0, b)


@_njit
def float_floordiv(a: float, b: float) -> float:
    """a // b for b other than zero, as Python computes it."""
    rest = _remainder(a, b)
    quotient = (a - rest) / b
    if rest != 0.0 and (b < 0.0) != (rest < 0.0):
        quotient -= 1.0
    if quotient == 0.0:
        return math.copysign(0.0, a / b)
    floored: float = _floor_float(quotient)
    if quotient - floored > 0.5:
        floored += 1.0
    return floored


@_intrinsic
def _floor_float(_context: Any, _x: Any) -> Any:
    """float64 -> float64; numba's math.floor gives an int64."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.floor", [_F64]), list(args))

    return types.float64(types.float64), emit


@_intrinsic
def _remainder(_context: Any, _a: Any, _b: Any) -> Any:
    """(float64, float64) -> C's fmod."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.frem(*args)

    return types.float64(types.float64, types.float64), emit
