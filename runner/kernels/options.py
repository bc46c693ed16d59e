"""How every function that may be part of a fold's kernel is compiled; one dictionary, since a callee compiled under other
options would keep them for whoever calls it next.

No reference counts and no allocation (a function that would need either does not compile), no exceptions (a division
minds its divisor), and no lock of the interpreter.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["KERNEL"]

KERNEL: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Options of ``numba.njit``."""
