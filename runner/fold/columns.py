"""Between the kernel's arrays and Arrow columns, in bulk and both ways: values of one type, and whole state rows.

The Arrow types are those of ``runner/fold/rows.py``, which does the same for Python values, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.fold.bulk import bulk
from runner.fold.rows import arrow_type
from runner.fold.states import value_dtype
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.authoring.definition import ProjectionDefinition
    from runner.fold.texts import Texts

__all__ = ["arrow_column", "kernel_column", "read_states", "state_columns", "uuid_texts"]

Array = npt.NDArray[Any]
States = npt.NDArray[np.void]

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_DIGIT = np.zeros(256, np.uint8)
_DIGIT[_HEX] = np.arange(16)
_DASHES = (8, 13, 18, 23)
_DIGITS = np.array([i for i in range(36) if i not in _DASHES])


# Values of one type ---------------------------------------------------------------------------------------------------


def arrow_column(values: Array, valid: Array | None, type_: ValueType, texts: Texts) -> pa.Array:
    """An array of ``arrow_type(type_)`` of values[n] as the kernel holds them, null where valid[n] is 0.

    Contiguous values may become the array's own memory: states are used again by the next partition, so give copies.
    """
    missing = None if valid is None or valid.all() else valid == 0
    if type_.kind is Kind.STR:
        return _with_nulls(texts.take(values), missing)
    if type_.kind is Kind.UUID:
        return _uuids(values, missing, texts)
    if type_.kind is Kind.ENUM:
        members = pa.array(list(type_.members), arrow_type(type_))
        return members.take(pa.array(values, pa.int64(), mask=missing))
    if type_.kind is Kind.DECIMAL:
        return _decimals(values, missing, type_)
    held = np.packbits(values != 0, bitorder="little") if type_.kind is Kind.BOOL else np.ascontiguousarray(values)
    if type_.kind is Kind.DATE:
        held = held.astype(np.int32)
    plain = pa.Array.from_buffers(arrow_type(type_), len(values), [None, pa.py_buffer(held)])
    return _with_nulls(plain, missing)


def kernel_column(column: pa.Array, type_: ValueType, texts: Texts) -> tuple[Array, Array | None]:
    """The way back: (values[n], valid uint8[n] for an Optional type, else None). Nulls have the value 0."""
    valid = column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8) if type_.optional else None
    if type_.kind is Kind.STR:
        values: Array = texts.intern(column.cast(pa.utf8()) if pa.types.is_dictionary(column.type) else column)
    elif type_.kind is Kind.UUID:
        values = texts.intern(uuid_texts(column))
    elif type_.kind is Kind.ENUM:
        members = pa.array(list(type_.members), arrow_type(type_))
        values = pc.index_in(column, members).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    elif type_.kind is Kind.DECIMAL:
        values = _unscaled(column)
    elif type_.kind is Kind.BOOL:
        values = column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint8)
    elif type_.kind is Kind.FLOAT:
        values = column.fill_null(0.0).to_numpy(zero_copy_only=False)
    elif type_.kind is Kind.DATE:
        values = column.view(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        values = column.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return values, valid


def _with_nulls(column: pa.Array, missing: Array | None) -> pa.Array:
    if missing is None:
        return column
    bits = np.packbits(missing == 0, bitorder="little")
    buffers = column.buffers()
    return pa.Array.from_buffers(column.type, len(column), [pa.py_buffer(bits), *buffers[1:]])


def _decimals(values: Array, missing: Array | None, type_: ValueType) -> pa.Array:
    # decimal128 is 16 bytes, little end first: the int64 and its sign spread over the upper half.
    halves = np.empty((len(values), 2), np.int64)
    halves[:, 0] = values
    halves[:, 1] = values >> 63
    plain = pa.Array.from_buffers(arrow_type(type_), len(values), [None, pa.py_buffer(halves)])
    return _with_nulls(plain, missing)


def _unscaled(column: pa.Array) -> Array:
    halves = np.frombuffer(column.buffers()[1] or b"", np.int64)[2 * column.offset : 2 * (column.offset + len(column))]
    values = halves[::2].copy()
    if column.null_count:
        values[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return values


def _uuids(values: Array, missing: Array | None, texts: Texts) -> pa.Array:
    present = values if missing is None else values[~missing]
    found: Array = np.zeros((len(values), 16), np.uint8)
    letters = np.frombuffer(texts.take(present).buffers()[2] or b"", np.uint8)[: 36 * len(present)]
    digits = _DIGIT[letters.reshape(-1, 36)[:, _DIGITS]]
    packed = (digits[:, ::2] << 4) | digits[:, 1::2]
    if missing is None:
        found = packed
    else:
        found[~missing] = packed
    storage = pa.Array.from_buffers(pa.binary(16), len(values), [None, pa.py_buffer(np.ascontiguousarray(found))])
    return pa.ExtensionArray.from_storage(pa.uuid(), _with_nulls(storage, missing))


def uuid_texts(column: pa.Array) -> pa.Array:
    """UUIDs (arrow.uuid or 16 bytes each) as their canonical texts, utf8; nulls stay."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    n = len(storage)
    packed = np.frombuffer(storage.buffers()[1] or b"", np.uint8)[16 * storage.offset : 16 * (storage.offset + n)]
    digits = np.empty((n, 32), np.uint8)
    digits[:, ::2] = packed.reshape(n, 16) >> 4
    digits[:, 1::2] = packed.reshape(n, 16) & 15
    letters = np.full((n, 36), ord("-"), np.uint8)
    letters[:, _DIGITS] = _HEX[digits]
    offsets = np.arange(0, 36 * (n + 1), 36, dtype=np.int32)
    plain = pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters))
    return _with_nulls(plain, storage.is_null().to_numpy(zero_copy_only=False) if storage.null_count else None)


# Whole states ---------------------------------------------------------------------------------------------------------


def state_columns(definition: ProjectionDefinition, states: States, texts: Texts) -> dict[str, pa.Array]:
    """The columns of the state fields, by name, of these state rows; nothing of them is a view of the states."""
    columns = {}
    split = _split(states)
    for f in definition.fields:
        name = f"f_{f.name}"
        values = split[name] if name in split else np.array(states[name])
        if f.type.kind is Kind.LAST:
            assert f.type.element is not None
            counts = states[f"n_{f.name}"]
            held = np.arange(f.type.capacity) < counts[:, None]
            valid = states[f"v_{f.name}"][held] if f.type.element.optional else None
            offsets = np.zeros(len(states) + 1, np.int32)
            np.cumsum(counts, out=offsets[1:])
            inner = arrow_column(values[held], valid, f.type.element, texts)
            columns[f.name] = pa.ListArray.from_arrays(pa.array(offsets), inner)
        elif f.type.kind is Kind.BUCKETS:
            width = len(f.type.edges) + 1
            offsets = np.arange(0, width * (len(states) + 1), width, dtype=np.int32)
            columns[f.name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.array(values).reshape(-1)))
        else:
            valid = states[f"v_{f.name}"] if f.type.optional else None
            columns[f.name] = arrow_column(values, valid, f.type, texts)
    return columns


def _split(states: States) -> dict[str, Array]:
    """The fields of eight bytes, by name, each an array of its own: one pass over the rows for all of them."""
    fields: Mapping[str, Any] = states.dtype.fields or {}
    found = {
        name: (dtype, at // 8) for name, (dtype, at, *_) in fields.items() if dtype.shape == () and dtype.itemsize == 8
    }
    if not found:
        return {}
    words = states.view(np.int64).reshape(len(states), states.dtype.itemsize // 8)
    places = np.array([place for _, place in found.values()], np.int64)
    columns = np.empty((len(places), len(states)), np.int64)
    bulk().split(words, places, columns)
    return {name: column.view(dtype) for column, (name, (dtype, _)) in zip(columns, found.items(), strict=True)}


def read_states(definition: ProjectionDefinition, table: pa.Table, texts: Texts, states: States) -> None:
    """Fill state rows, one for each row of the table, from its columns."""
    for f in definition.fields:
        column = table.column(f.name)
        column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if f.type.kind is Kind.LAST:
            assert f.type.element is not None
            counts = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
            held = np.arange(f.type.capacity) < counts[:, None]
            values, valid = kernel_column(column.flatten(), f.type.element, texts)
            states[f"n_{f.name}"] = counts
            wide = np.zeros(held.shape, value_dtype(f.type.element))
            wide[held] = values
            states[f"f_{f.name}"] = wide
            if valid is not None:
                flags = np.zeros(held.shape, np.uint8)
                flags[held] = valid
                states[f"v_{f.name}"] = flags
        elif f.type.kind is Kind.BUCKETS:
            states[f"f_{f.name}"] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(states), -1)
        else:
            values, valid = kernel_column(column, f.type, texts)
            states[f"f_{f.name}"] = values
            if valid is not None:
                states[f"v_{f.name}"] = valid
