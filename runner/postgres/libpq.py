"""The functions of the libpq that psycopg has loaded, by their addresses, for compiled code to call.

psycopg gives one row of a COPY a call, under the interpreter's lock. Compiled code can take rows from the same
connection without either, if it calls the very library that made the connection: another copy of libpq in the same
process would read the connection's memory by another layout.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from psycopg import pq

__all__ = ["copy_functions"]


@cache
def copy_functions() -> tuple[int, int, int, int] | None:
    """The addresses of PQgetCopyData, PQconsumeInput, PQfreemem, and of poll.

    None where they cannot be had: psycopg in pure Python, whose library it keeps to itself, or no POSIX system. Rows
    are then read by psycopg itself, with the same result at a fifth of the speed.
    """
    module = sys.modules.get(pq.PGconn.__module__)
    file = getattr(module, "__file__", None)
    if file is None or file.endswith(".py") or sys.platform == "win32":
        return None
    try:
        # Looking a name up in an extension module looks through the libraries that it was linked with, too.
        library, system = ctypes.CDLL(file), ctypes.CDLL(None)
        if library.PQlibVersion() != pq.version():
            return None
        found = (library.PQgetCopyData, library.PQconsumeInput, library.PQfreemem, system.poll)
    except (OSError, AttributeError):
        return None
    get, consume, free, poll = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
    return (get, consume, free, poll) if get and consume and free and poll else None
