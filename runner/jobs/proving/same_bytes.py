"""Two tables that should hold the same rows: where they differ, in words. Equality is that of the canonical bytes.

Floats of merged keys, which ``merge_floats=True`` allows, depend in the last digits on the order of their sums: with
``near`` two floats are equal that differ by at most ``TOLERANCE`` of the larger one, or of 1 where both are smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.sinks.export import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["TOLERANCE", "Difference", "differences", "same"]

ABSENT = "no row"
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Difference:
    """One row that differs. key: values of the key columns; columns: (name, value here, value there), as text.

    A row that only one table has is a difference of the column "" between its presence and "no row".
    """

    key: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str, str], ...]

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key)
        columns = ", ".join(f"{name or 'row'}: {here} against {there}" for name, here, there in self.columns)
        return f"{key}: {columns}"


def same(here: pa.Table, there: pa.Table, key: Sequence[str], *, near: bool = False) -> bool:
    """Whether the rows are the same bytes, in whatever order; ``near``: but for the last digits of floats."""
    if here.num_rows != there.num_rows:
        return False
    if canonical(here, key) == canonical(there.select(here.schema.names), key):
        return True
    return near and not differences(here, there, key, limit=1, near=True)


def differences(
    here: pa.Table, there: pa.Table, key: Sequence[str], *, limit: int = 10, near: bool = False
) -> tuple[Difference, ...]:
    """The rows that differ, by key, at most ``limit``. Row by row in Python: call it where ``same`` says no."""
    names = [name for name in here.schema.names if name not in key and not name.startswith("_hash_")]
    ours, theirs = _by_key(here, key, names), _by_key(there, key, names)
    found: list[Difference] = []
    for at in sorted(set(ours) | set(theirs)):
        left, right = ours.get(at), theirs.get(at)
        columns: tuple[tuple[str, str, str], ...]
        if left is None or right is None:
            columns = (("", ABSENT if left is None else "a row", ABSENT if right is None else "a row"),)
        else:
            pairs = zip(names, left, right, strict=True)
            columns = tuple((n, repr(a), repr(b)) for n, a, b in pairs if not _equal(a, b, near=near))
        if not columns:
            continue
        found.append(Difference(tuple(zip(key, at, strict=True)), columns))
        if len(found) == limit:
            break
    return tuple(found)


def _by_key(table: pa.Table, key: Sequence[str], names: Sequence[str]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    keys = zip(*([repr(value) for value in table[name].to_pylist()] for name in key), strict=True)
    values = (
        zip(*(table[name].to_pylist() for name in names), strict=True) if names else (() for _ in range(table.num_rows))
    )
    return dict(zip(keys, values, strict=True))


def _equal(a: Any, b: Any, *, near: bool) -> bool:
    """By their texts, so that NaN equals NaN and -0.0 does not equal 0.0, as in the canonical bytes."""
    if near and isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b) or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if near and isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y, near=True) for x, y in zip(a, b, strict=True))
    return repr(a) == repr(b)
