"""Two tables that should hold the same rows: where they differ, in words. Equality is that of the canonical bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.sinks.export import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["Difference", "differences", "same"]

ABSENT = "no row"


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


def same(here: pa.Table, there: pa.Table, key: Sequence[str]) -> bool:
    """Whether the rows are the same bytes, in whatever order."""
    return here.num_rows == there.num_rows and canonical(here, key) == canonical(there.select(here.schema.names), key)


def differences(here: pa.Table, there: pa.Table, key: Sequence[str], *, limit: int = 10) -> tuple[Difference, ...]:
    """The rows that differ, by key, at most ``limit``. Row by row in Python: call it where ``same`` says no."""
    names = [name for name in here.schema.names if name not in key and not name.startswith("_hash_")]
    ours, theirs = _by_key(here, key, names), _by_key(there, key, names)
    found: list[Difference] = []
    for at in sorted(set(ours) | set(theirs)):
        left, right = ours.get(at), theirs.get(at)
        if left == right:
            continue
        columns: tuple[tuple[str, str, str], ...]
        if left is None or right is None:
            columns = (("", ABSENT if left is None else "a row", ABSENT if right is None else "a row"),)
        else:
            columns = tuple((n, a, b) for n, a, b in zip(names, left, right, strict=True) if a != b)
        found.append(Difference(tuple(zip(key, at, strict=True)), columns))
        if len(found) == limit:
            break
    return tuple(found)


def _by_key(table: pa.Table, key: Sequence[str], names: Sequence[str]) -> dict[tuple[str, ...], tuple[str, ...]]:
    keys = zip(*(_texts(table[name]) for name in key), strict=True)
    values = (
        zip(*(_texts(table[name]) for name in names), strict=True) if names else (() for _ in range(table.num_rows))
    )
    return dict(zip(keys, values, strict=True))


def _texts(column: pa.ChunkedArray) -> list[str]:
    """As text, so that NaN equals NaN and -0.0 does not equal 0.0, as in the canonical bytes."""
    values: list[Any] = column.to_pylist()
    return [repr(value) for value in values]
