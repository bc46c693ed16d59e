"""How every function that may be part of a fold's kernel is compiled; one dictionary, since a callee compiled under
other options would keep them for whoever calls it next.

No reference counts and no allocation (a function that would need either does not compile), no exceptions (a division
minds its divisor), and no lock of the interpreter.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["INNER", "KERNEL"]

KERNEL: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
"""Options of ``numba.njit``."""

INNER: Final[dict[str, Any]] = KERNEL | {"no_cpython_wrapper": True}
"""Of functions that only compiled functions call: without the bridge from Python they compile in half the time."""
