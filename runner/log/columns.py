"""Payload columns as Arrow streams and back, and moving their rows: what sidecars, cuts and compaction need.

One ``PayloadArray`` is one struct column: ``values``, and ``valid`` and ``absent`` (uint8) where the array has them.
Texts are a dictionary of structs (text, hi, lo); a list holds its element's struct, or a struct of its record's fields.
Reading makes views of the mapped stream.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.batch import PayloadArray, TextDictionary
from runner.kernels.hash import unify_texts
from runner.log.streams import flat, write_stream
from runner.values import Kind, PayloadColumn, RecordField, ValueType

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["column_digest", "column_stream", "concat_columns", "read_column", "read_stored", "take_column"]

Rows = npt.NDArray[np.integer[Any]]


@lru_cache(maxsize=4096)
def column_digest(column: PayloadColumn) -> str:
    """The name of a column's sidecars: 24 hex digits of the SHA-256 of its ``repr``."""
    return hashlib.sha256(repr(column).encode()).hexdigest()[:24]


def column_stream(array: PayloadArray) -> pa.Buffer:
    """The array as an Arrow IPC stream of one batch."""
    batch = pa.record_batch([_struct(array)], names=["column"])
    return write_stream(batch.schema, [batch])


def read_column(stream: pa.Buffer, value_type: ValueType) -> PayloadArray:
    """The array in a stream; no copy."""
    with pa.ipc.open_stream(stream) as reader:
        return _array(reader.read_next_batch().column(0), value_type)


def read_stored(stream: pa.Buffer) -> PayloadArray:
    """The array in a stream whose column is not at hand: its type says how it is stored, not what it means."""
    with pa.ipc.open_stream(stream) as reader:
        struct = reader.read_next_batch().column(0)
    return _array(struct, _stored_type(struct.type))


def _stored_type(struct: pa.StructType) -> ValueType:
    kind = struct.field("values").type
    if not pa.types.is_list(kind):
        return ValueType(Kind.STR if pa.types.is_dictionary(kind) else Kind.INT)
    item = kind.value_type
    names = [f.name for f in item]
    # A scalar's node has values that are no struct; a record may have a field of that name, which is one.
    if "values" in names and not pa.types.is_struct(item.field("values").type):
        return ValueType(Kind.LIST, element=_stored_type(item))
    fields = tuple(RecordField(name, _stored_type(item.field(name).type), ()) for name in names)
    return ValueType(Kind.LIST, element=ValueType(Kind.RECORD, fields=fields))


def _struct(array: PayloadArray) -> pa.StructArray:
    fields: dict[str, pa.Array] = {"values": _values(array)}
    if array.valid is not None:
        fields["valid"] = pa.array(array.valid)
    if array.absent is not None:
        fields["absent"] = pa.array(array.absent)
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def _values(array: PayloadArray) -> pa.Array:
    if array.type.kind == Kind.LIST:
        offsets = pa.array(np.ascontiguousarray(array.values, np.int32))
        if array.element is not None:
            return pa.ListArray.from_arrays(offsets, _struct(array.element))
        parts = {name: _struct(part) for name, part in array.fields.items()}
        return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(list(parts.values()), list(parts)))
    if array.dictionary is None:
        return pa.array(np.ascontiguousarray(array.values))
    d = array.dictionary
    entries = pa.StructArray.from_arrays([d.texts, pa.array(d.hi), pa.array(d.lo)], ["text", "hi", "lo"])
    codes = pa.array(np.ascontiguousarray(array.values, np.int32))
    return pa.DictionaryArray.from_arrays(codes, entries, safe=False)


def _array(struct: pa.StructArray, value_type: ValueType) -> PayloadArray:
    names = {f.name for f in struct.type}
    stored = struct.field("values")
    array = PayloadArray(
        type=value_type,
        values=np.empty(0, np.int64),
        valid=flat(struct.field("valid")) if "valid" in names else None,
        absent=flat(struct.field("absent")) if "absent" in names else None,
    )
    if value_type.kind == Kind.LIST:
        assert value_type.element is not None
        n = len(stored)
        offsets = np.frombuffer(stored.buffers()[1], np.int32, n + 1, 4 * stored.offset) if n else np.zeros(1, np.int32)
        if value_type.element.kind == Kind.RECORD:
            types = {f.name: f.type for f in value_type.element.fields}
            parts = {f.name: _array(stored.values.field(f.name), types[f.name]) for f in stored.values.type}
            return replace(array, values=offsets, fields=parts)
        return replace(array, values=offsets, element=_array(stored.values, value_type.element))
    if pa.types.is_dictionary(stored.type):
        entries = stored.dictionary
        dictionary = TextDictionary(entries.field("text"), flat(entries.field("hi")), flat(entries.field("lo")))
        return replace(array, values=flat(stored.indices), dictionary=dictionary)
    return replace(array, values=flat(stored))


def take_column(array: PayloadArray, rows: Rows) -> PayloadArray:
    """The entries ``rows`` of an array, copied. Dictionaries keep their order and hold what is used."""
    valid = None if array.valid is None else array.valid[rows]
    absent = None if array.absent is None else array.absent[rows]
    taken = replace(array, valid=valid, absent=absent)
    if array.type.kind == Kind.LIST:
        stored = _int32s(array)
        lengths = np.diff(stored)[rows]
        offsets = np.zeros(len(rows) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        children = np.repeat(stored[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1], dtype=np.int32)
        element = None if array.element is None else take_column(array.element, children)
        fields = {name: take_column(part, children) for name, part in array.fields.items()}
        return replace(taken, values=offsets, element=element, fields=fields)
    values = array.values[rows]
    if array.dictionary is None:
        return replace(taken, values=values)
    return _with_used(replace(taken, values=values), array.dictionary)


def _int32s(array: PayloadArray) -> npt.NDArray[np.int32]:
    # Offsets of lists and codes of texts are int32, which the type of ``values`` does not say.
    return array.values.astype(np.int32, copy=False)


def _with_used(array: PayloadArray, dictionary: TextDictionary) -> PayloadArray:
    used = np.zeros(len(dictionary), np.bool_)
    used[array.values if array.valid is None else array.values[array.valid != 0]] = True
    kept = np.flatnonzero(used)
    places = np.zeros(max(len(dictionary), 1), np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    return replace(
        array,
        values=places[array.values],
        dictionary=TextDictionary(dictionary.texts.take(pa.array(kept)), dictionary.hi[kept], dictionary.lo[kept]),
    )


def concat_columns(arrays: Sequence[PayloadArray]) -> PayloadArray:
    """The arrays one behind the other, dictionaries unified; all of one type, at least one."""
    if len(arrays) == 1:
        return arrays[0]
    first = arrays[0]
    whole = replace(
        first, valid=_flags([a.valid for a in arrays], arrays, 1), absent=_flags([a.absent for a in arrays], arrays, 0)
    )
    if first.type.kind == Kind.LIST:
        starts = np.cumsum([0, *(int(_int32s(a)[-1]) for a in arrays)])
        offsets = [_int32s(a)[:-1] + np.int32(s) for a, s in zip(arrays, starts[:-1], strict=True)]
        values = np.concatenate([*offsets, [starts[-1]]]).astype(np.int32)
        element = (
            None if first.element is None else concat_columns([a.element for a in arrays if a.element is not None])
        )
        fields = {name: concat_columns([a.fields[name] for a in arrays]) for name in first.fields}
        return replace(whole, values=values, element=element, fields=fields)
    if first.dictionary is None:
        return replace(whole, values=np.concatenate([a.values for a in arrays]))
    dictionaries = [a.dictionary for a in arrays if a.dictionary is not None]
    texts = pa.concat_arrays([d.texts for d in dictionaries])
    hi, lo = (np.concatenate([getattr(d, word) for d in dictionaries]) for word in ("hi", "lo"))
    places, firsts = unify_texts(texts, hi, lo)
    starts = np.cumsum([0, *(len(d) for d in dictionaries)])
    # An empty dictionary's codes are all 0 and mean nothing.
    codes = [
        places[_int32s(a) + np.int32(s)] if len(d) else np.zeros(len(a.values), np.int32)
        for a, d, s in zip(arrays, dictionaries, starts[:-1], strict=True)
    ]
    merged = TextDictionary(texts.take(pa.array(firsts)), hi[firsts], lo[firsts])
    values = np.concatenate(codes)
    if whole.valid is not None:
        values[whole.valid == 0] = 0
    return replace(whole, values=values, dictionary=merged)


def _flags(flags: list[Any], arrays: Sequence[PayloadArray], missing: int) -> npt.NDArray[np.uint8] | None:
    if all(f is None for f in flags):
        return None
    full = [np.full(len(a), missing, np.uint8) if f is None else f for f, a in zip(flags, arrays, strict=True)]
    return np.concatenate(full)
