"""Names in Postgres: at most 63 bytes, versions of them, what no column may be called."""

from __future__ import annotations

import hashlib

__all__ = ["NAME_BYTES", "SYSTEM_COLUMNS", "fitted", "versioned"]

NAME_BYTES = 63
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_DIGEST = 8


def fitted(name: str, suffix: str) -> str:
    """``name + suffix`` where that fits; else the name is cut and told apart by a digest of the whole."""
    if len((name + suffix).encode()) <= NAME_BYTES:
        return name + suffix
    digest = "_" + hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    room = NAME_BYTES - len((digest + suffix).encode())
    return name.encode()[:room].decode("utf-8", "ignore") + digest + suffix


def versioned(name: str, version: int) -> str:
    """What a table, or an index of it, is called while another version has the name."""
    return fitted(name, f"__v{version}")
