"""State rows as the kernel holds them: one aligned structured array per projection, its fields those of the state.

``f_<name>`` is the value (int64, float64 or uint8; strings and UUIDs as ids of the pool, enums as the member's index),
``v_<name>`` whether it is there (Optional), ``n_<name>`` how many a ``last(n)`` holds (oldest first). ``_alive`` is 1
for rows that stand in the read model.
"""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from runner.authoring.field_values import EPOCH, microseconds, scaled
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from runner.authoring.definition import ProjectionDefinition

__all__ = [
    "ALIVE",
    "StateRows",
    "default_row",
    "kernel_value",
    "put",
    "state_dtype",
    "state_fields",
    "taken",
    "value_dtype",
]

States = npt.NDArray[np.void]
StateColumn = tuple[str, str] | tuple[str, str, tuple[int]]

ALIVE = "_alive"
_TEMPLATE = 16 << 10
EPOCH_DAY = date(1970, 1, 1).toordinal()


def value_dtype(type_: ValueType) -> str:
    """How the kernel holds a value of this type: the name of a NumPy dtype."""
    return {Kind.FLOAT: "float64", Kind.BOOL: "uint8"}.get(type_.kind, "int64")


def state_fields(definition: ProjectionDefinition) -> list[StateColumn]:
    """The fields of a state row for ``numpy.dtype``; flags stand last, so that rows are as short as can be."""
    wide: list[StateColumn] = []
    flags: list[StateColumn] = []
    for f in definition.fields:
        value = f"f_{f.name}"
        if f.type.kind is Kind.LAST:
            assert f.type.element is not None
            element = value_dtype(f.type.element)
            (flags if element == "uint8" else wide).append((value, element, (f.type.capacity,)))
            wide.append((f"n_{f.name}", "int64"))
            if f.type.element.optional:
                flags.append((f"v_{f.name}", "uint8", (f.type.capacity,)))
        elif f.type.kind is Kind.BUCKETS:
            wide.append((value, "int64", (len(f.type.edges) + 1,)))
        else:
            dtype = value_dtype(f.type)
            (flags if dtype == "uint8" else wide).append((value, dtype))
            if f.type.optional:
                flags.append((f"v_{f.name}", "uint8"))
    return [*wide, *flags, (ALIVE, "uint8")]


def state_dtype(definition: ProjectionDefinition) -> np.dtype[Any]:
    """The row of a projection's state."""
    return np.dtype(state_fields(definition), align=True)


def default_row(definition: ProjectionDefinition, text_id: Callable[[str], int]) -> npt.NDArray[np.void]:
    """One row, void[1], of the defaults. text_id: the pool id of a text."""
    row = np.zeros(1, state_dtype(definition))
    for f in definition.fields:
        if f.type.kind in (Kind.LAST, Kind.BUCKETS):
            continue  # both begin empty
        if f.default is not None:
            row[f"f_{f.name}"] = kernel_value(f.default, f.type, text_id)
            if f.type.optional:
                row[f"v_{f.name}"] = 1
    return row


def kernel_value(value: Any, type_: ValueType, text_id: Callable[[str], int]) -> int | float:
    """A normalised Python value, not None, as the kernel holds it."""
    kind = type_.kind
    if kind in (Kind.STR, Kind.UUID):
        return text_id(str(value) if isinstance(value, UUID) else value)
    if kind is Kind.ENUM:
        return type_.members.index(value.value if isinstance(value, enum.Enum) else value)
    return _NUMBERS[kind](value, type_)


def _instant(value: datetime, _type: ValueType) -> int:
    return microseconds(value.astimezone(UTC) - EPOCH)


def _days(value: date, _type: ValueType) -> int:
    return value.toordinal() - EPOCH_DAY


def _duration(value: timedelta, _type: ValueType) -> int:
    return microseconds(value)


def _decimal(value: Decimal, type_: ValueType) -> int:
    return scaled(value, type_)


_NUMBERS: dict[Kind, Callable[[Any, ValueType], int | float]] = {
    Kind.INT: lambda v, _: int(v),
    Kind.FLOAT: lambda v, _: float(v),
    Kind.BOOL: lambda v, _: int(v),
    Kind.DATETIME: _instant,
    Kind.DATE: _days,
    Kind.TIMEDELTA: _duration,
    Kind.DECIMAL: _decimal,
}


class StateRows:
    """The states of one projection in one partition: they grow between kernel calls, and rows begin as the default.

    spare: an array of an earlier partition to use again; fresh memory would cost a page fault every 4 KiB.
    """

    def __init__(self, default: States, spare: States | None = None) -> None:
        self.default = default
        self.rows = np.empty(64, default.dtype) if spare is None else spare
        self.ready = 0

    def room(self, count: int) -> None:
        """Make room for ``count`` rows in all; those behind ``ready`` hold anything."""
        if count > len(self.rows):
            rows = np.empty(max(count, 2 * len(self.rows)), self.rows.dtype)
            _bytes(rows)[: self.ready] = _bytes(self.rows)[: self.ready]
            self.rows = rows

    def copied(self, count: int) -> States:
        """A copy of the first ``count`` rows, bytes between the fields included."""
        return _bytes(self.rows)[:count].copy().view(self.rows.dtype).reshape(count)

    def reserve(self, count: int) -> None:
        """Make room for ``count`` rows in all, with defaults in the new ones."""
        if count > self.ready:
            self.room(count)
            # As bytes: field by field the padding would be left to chance.
            _fill(_bytes(self.rows)[self.ready : count], _bytes(self.default))
            self.ready = count


def _bytes(rows: States) -> npt.NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def _fill(rows: npt.NDArray[np.uint8], row: npt.NDArray[np.uint8]) -> None:
    """``rows[:] = row``, for row uint8[1, size]: copies of more and more bytes, up to what the first cache holds."""
    size = row.shape[1]
    flat = rows.reshape(-1)
    if not row.any():
        flat[:] = 0
        return
    flat[:size] = row[0]
    done = min(size, len(flat))
    while done < len(flat):
        step = min(done, len(flat) - done, max(size, _TEMPLATE // size * size))
        flat[done : done + step] = flat[:step]
        done += step


def taken(states: States, rows: npt.NDArray[np.int64]) -> States:
    """A copy of these rows; as bytes, which numpy copies many times faster than structured values."""
    return np.take(_bytes(states), rows, axis=0).view(states.dtype).reshape(len(rows))


def put(states: States, rows: npt.NDArray[np.int64], values: States) -> None:
    """``states[rows] = values``, as bytes."""
    _bytes(states)[rows] = _bytes(values)
