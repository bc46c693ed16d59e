"""What the compiler cannot see for itself, said to it; costs nothing at run time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["apart", "natural"]


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def natural(_context: Any, number: Any) -> Any:
    """The int64 itself, which the caller knows not to be negative: an index made of it needs no wrap-around test."""
    signature = types.int64(types.int64)

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        builder.assume(builder.icmp_signed(">=", args[0], ir.Constant(ir.IntType(64), 0)))
        return args[0]

    return signature if isinstance(number, types.Integer) else None, generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def apart(_context: Any) -> Any:
    """Whoever says this stays a function of its own: for rare or long work, which would only swell its callers."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate
