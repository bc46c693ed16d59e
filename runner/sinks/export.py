"""The canonical bytes of a read model: two are equal when these bytes are, however they were folded, cut and stored.

An Arrow IPC stream of one batch without metadata: rows sorted by key, hash columns left out, plain columns (no
dictionaries; texts and lists with 64-bit offsets, extension types as their storage), every NaN the same NaN, nothing
under a null, no validity bits where there is no null. -0.0 and 0.0 are different values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.sinks.shape import HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["canonical"]


def canonical(table: pa.Table, key: Sequence[str] | None = None) -> bytes:
    """The bytes. key: the columns to sort by, whose values are unique together.

    Without a key all sortable columns are it, from the left: the same order, since a read model's key columns come
    first.
    """
    names = [n for n in table.schema.names if n not in HASH]
    columns = [_one_chunk(table[n]) for n in names]
    if key is None:
        key = [n for n, c in zip(names, columns, strict=True) if not pa.types.is_nested(c.type)]
    if key and table.num_rows > 1:
        by = pa.table([columns[names.index(n)] for n in key], names=[str(i) for i in range(len(key))])
        order = pc.sort_indices(by, [(n, "ascending") for n in by.schema.names])
        columns = [c.take(order) for c in columns]
    plain = [_plain(c) for c in columns]
    schema = pa.schema([pa.field(n, c.type) for n, c in zip(names, plain, strict=True)])
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, schema) as writer:
        writer.write_batch(pa.record_batch(plain, schema=schema))
    return bytes(out.getvalue())


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """One plain array: dictionaries decoded, 64-bit offsets (no column is too long for them), extensions as storage."""
    kind = _large(column.type)
    chunks = [_storage(c) for c in column.chunks]
    return pa.concat_arrays([c.cast(kind) for c in chunks]) if chunks else pa.array([], kind)


def _storage(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.DictionaryArray):
        return _storage(array.dictionary_decode())
    if isinstance(array, pa.ExtensionArray):
        return _storage(array.storage)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        inner = _storage(array.values)
        if inner.type != array.type.value_type:
            kind = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
            wide = array.offsets  # respects a slice's start
            mask = array.is_null() if array.null_count else None
            return kind.from_arrays(_rebuilt(wide), inner, mask=mask)
    return array


def _rebuilt(offsets: pa.Array) -> pa.Array:
    """The same offsets as an array of its own: from_arrays refuses a slice together with a mask."""
    return pa.array(offsets.to_numpy(zero_copy_only=False), offsets.type)


def _large(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _large(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _large(kind.storage_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_large(kind.value_type))
    return kind


def _plain(array: pa.Array) -> pa.Array:
    """The same values with one possible content of every buffer."""
    count, kind = len(array), array.type
    valid = _valid(array)
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    nulls = 0 if valid is None else count - int(valid.sum())
    if pa.types.is_large_list(kind):
        lengths = pc.fill_null(array.value_lengths(), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        inner = _plain(array.flatten())
        element = pa.large_list(pa.field("element", inner.type))
        return pa.Array.from_buffers(element, count, [bitmap, pa.py_buffer(offsets)], nulls, children=[inner])
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        filled = array if valid is None else array.fill_null(b"" if pa.types.is_large_binary(kind) else "")
        buffers = filled.buffers()
        offsets = (
            np.frombuffer(buffers[1], np.int64)[filled.offset : filled.offset + count + 1]
            if count
            else np.zeros(1, int)
        )
        data = buffers[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0])) if buffers[2] else pa.py_buffer(b"")
        return pa.Array.from_buffers(kind, count, [bitmap, pa.py_buffer(offsets - offsets[0]), data], nulls)
    if pa.types.is_boolean(kind):
        bits = array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_)
        return pa.Array.from_buffers(kind, count, [bitmap, pa.py_buffer(np.packbits(bits, bitorder="little"))], nulls)
    return pa.Array.from_buffers(kind, count, [bitmap, pa.py_buffer(_fixed(array, valid))], nulls)


def _valid(array: pa.Array) -> npt.NDArray[np.bool_] | None:
    if array.null_count == 0:
        return None
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _fixed(array: pa.Array, valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8]:
    """The bytes of a fixed-width column, zero under nulls."""
    width = array.type.bit_width // 8
    if len(array) == 0:
        return np.zeros(0, np.uint8)
    raw = np.frombuffer(array.buffers()[1], np.uint8)
    values = raw[array.offset * width : (array.offset + len(array)) * width].reshape(len(array), width).copy()
    if pa.types.is_floating(array.type):
        numbers = values.view(array.type.to_pandas_dtype()).reshape(-1)
        numbers[np.isnan(numbers)] = np.nan
    if valid is not None:
        values[~valid] = 0
    return values.reshape(-1)
