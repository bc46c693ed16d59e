"""Rows of read models as Arrow tables: their schema, and the way between Python states and columns, both ways.

Columns, in order: identity (``source``, ``tenant``, where the log has more than one scope), key, state fields, and
for keys that begin with aggregate_id ``_hash_hi`` and ``_hash_lo`` (uint64, of the aggregate's identity).

| field type | Arrow | in DuckDB over Parquet |
|---|---|---|
| int, float, bool, str | int64, double, bool, string | BIGINT, DOUBLE, BOOLEAN, VARCHAR |
| datetime | timestamp[us, UTC] | TIMESTAMP WITH TIME ZONE |
| date | date32 | DATE |
| timedelta | duration[us] | BIGINT, microseconds: Parquet has no type for it |
| UUID | arrow.uuid, the extension type | UUID |
| Decimal, scale s | decimal128(19, s): exactly what an int64 scaled by 10**s can hold | DECIMAL(19, s) |
| Enum, Literal | string or int64: the stored values | VARCHAR or BIGINT |
| last(n) | list of the element's type, oldest first | LIST |
| buckets(...) | list<int64>: the counters | BIGINT[] |

pyarrow cannot sort extension types: sort by ``column.storage`` (the 16 bytes, whose order is the UUID's).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from runner.authoring.bounded import Buckets, LastValues
from runner.authoring.field_values import EPOCH, check_for
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runner.authoring.definition import ProjectionDefinition, StateField

__all__ = [
    "HASH_COLUMNS",
    "Row",
    "arrow_type",
    "key_schema",
    "keys_table",
    "row_schema",
    "rows_table",
    "saved_rows",
    "to_array",
    "to_values",
]

HASH_COLUMNS = ("_hash_hi", "_hash_lo")

_SIMPLE = {
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.STR: pa.string(),
    Kind.DATETIME: pa.timestamp("us", "UTC"),
    Kind.DATE: pa.date32(),
    Kind.TIMEDELTA: pa.duration("us"),
    Kind.UUID: pa.uuid(),
}


@dataclass
class Row:
    """One row in Python. identity and key: values of those columns; state: an instance of the projection class."""

    identity: tuple[str, ...]
    key: tuple[Any, ...]
    state: Any
    hi: int = 0
    lo: int = 0


def arrow_type(type_: ValueType) -> pa.DataType:
    """The Arrow type of a column."""
    if type_.kind is Kind.DECIMAL:
        return pa.decimal128(19, type_.scale)
    if type_.kind is Kind.ENUM:
        return pa.int64() if isinstance(type_.members[0], int) else pa.string()
    if type_.kind is Kind.BUCKETS:
        return pa.list_(pa.int64())
    if type_.kind is Kind.LAST:
        assert type_.element is not None
        return pa.list_(arrow_type(type_.element))
    return _SIMPLE[type_.kind]


def key_schema(definition: ProjectionDefinition, identity: Sequence[str] = ()) -> pa.Schema:
    """The columns that name a row: identity (those that are not in the key), key, hashes. The schema of ``deleted``."""
    fields = [pa.field(name, pa.string()) for name in _identity(definition, identity)]
    fields += [pa.field(part.name, arrow_type(part.type)) for part in definition.key]
    return pa.schema(fields + _hashes(definition))


def row_schema(definition: ProjectionDefinition, identity: Sequence[str] = ()) -> pa.Schema:
    """The schema of a projection's rows. identity: ("source", "tenant") where the log has more than one scope, else
    ().
    """
    fields = list(key_schema(definition, identity))
    at = len(fields) - len(_hashes(definition))
    return pa.schema(fields[:at] + [pa.field(f.name, arrow_type(f.type)) for f in definition.fields] + fields[at:])


def _identity(definition: ProjectionDefinition, identity: Sequence[str]) -> tuple[str, ...]:
    if definition.merged:
        return ()
    return tuple(name for name in identity if all(part.name != name for part in definition.key))


def _hashes(definition: ProjectionDefinition) -> list[pa.Field]:
    return [] if definition.merged else [pa.field(name, pa.uint64()) for name in HASH_COLUMNS]


def rows_table(definition: ProjectionDefinition, rows: Sequence[Row], identity: Sequence[str] = ()) -> pa.Table:
    """The rows as a table of ``row_schema``. ``Row.identity`` holds one value per name in identity."""
    names = [part.name for part in definition.key] + [f.name for f in definition.fields]
    columns = _key_columns(definition, rows, identity)
    for f in definition.fields:
        columns[f.name] = to_array([row.state.__dict__[f.name] for row in rows], f.type)
    assert all(name in columns for name in names)
    schema = row_schema(definition, identity)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def keys_table(definition: ProjectionDefinition, rows: Sequence[Row], identity: Sequence[str] = ()) -> pa.Table:
    """The keys of the rows as a table of ``key_schema``."""
    schema = key_schema(definition, identity)
    columns = _key_columns(definition, rows, identity)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _key_columns(definition: ProjectionDefinition, rows: Sequence[Row], identity: Sequence[str]) -> dict[str, pa.Array]:
    columns = {}
    for i, name in enumerate(() if definition.merged else identity):
        columns[name] = pa.array([row.identity[i] for row in rows], pa.string())
    for i, part in enumerate(definition.key):
        columns[part.name] = to_array([row.key[i] for row in rows], part.type)
    columns["_hash_hi"] = pa.array(np.array([row.hi for row in rows], np.uint64))
    columns["_hash_lo"] = pa.array(np.array([row.lo for row in rows], np.uint64))
    return columns


def to_array(values: Iterable[Any], type_: ValueType) -> pa.Array:
    """Python values of a field as an Arrow array of ``arrow_type``."""
    stored = _STORED.get(type_.kind)
    if type_.kind is Kind.LAST:
        assert type_.element is not None
        return _lists([list(v) for v in values], type_.element)
    if type_.kind is Kind.BUCKETS:
        return pa.array([list(v) for v in values], pa.list_(pa.int64()))
    if stored is None:
        return pa.array(list(values), arrow_type(type_))
    return pa.array([None if v is None else stored(v) for v in values], arrow_type(type_))


def _lists(values: list[list[Any]], element: ValueType) -> pa.Array:
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(v) for v in values], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), to_array([v for inner in values for v in inner], element))


_STORED: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.ENUM: lambda v: v.value if isinstance(v, enum.Enum) else v,
    Kind.UUID: lambda v: v.bytes,
}


def to_values(column: pa.ChunkedArray | pa.Array, type_: ValueType, enums: Mapping[str, type[enum.Enum]]) -> list[Any]:
    """A column back as Python values: Enum members, UTC datetimes; lists for LAST and BUCKETS."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunk at all
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if type_.kind is Kind.LAST:
        assert type_.element is not None
        flat = to_values(column.flatten(), type_.element, enums)
        ends = np.concatenate(([0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False)))).astype(int)
        return [flat[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    if type_.kind in (Kind.DATETIME, Kind.TIMEDELTA):
        micros = [None if v is None else timedelta(microseconds=v) for v in column.cast(pa.int64()).to_pylist()]
        return micros if type_.kind is Kind.TIMEDELTA else [None if v is None else EPOCH + v for v in micros]
    if type_.kind is Kind.UUID:
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        return [None if v is None else UUID(bytes=v) for v in storage.to_pylist()]
    values: list[Any] = column.to_pylist()
    if type_.kind is Kind.ENUM and type_.enum:
        members = {m.value: m for m in enums[type_.enum]}
        return [None if v is None else members[v] for v in values]
    return values


def saved_rows(definition: ProjectionDefinition, table: pa.Table, identity: Sequence[str] = ()) -> list[Row]:
    """The rows of a table of ``row_schema`` back as Python states."""
    count = table.num_rows
    identity = () if definition.merged else identity
    names = [(table.column(n).to_pylist() if n in table.column_names else [""] * count) for n in identity]
    keys = [to_values(table.column(p.name), p.type, p.enums) for p in definition.key]
    states = [_state_values(f, table.column(f.name)) for f in definition.fields]
    field_names = [f.name for f in definition.fields]
    hashes = [[0] * count, [0] * count] if definition.merged else [table.column(n).to_pylist() for n in HASH_COLUMNS]
    rows = []
    for i in range(count):
        state = object.__new__(definition.cls)
        state.__dict__.update(zip(field_names, [column[i] for column in states], strict=True))
        rows.append(Row(tuple(n[i] for n in names), tuple(k[i] for k in keys), state, hashes[0][i], hashes[1][i]))
    return rows


def _state_values(f: StateField, column: pa.ChunkedArray) -> list[Any]:
    values = to_values(column, f.type, f.enums)
    if f.type.kind is Kind.LAST:
        assert f.type.element is not None
        check = check_for(f.type.element, f"a value of {f.name}", f.enums)
        return [LastValues(f.type.capacity, check, v) for v in values]
    if f.type.kind is Kind.BUCKETS:
        return [Buckets(f.type.edges, v) for v in values]
    return values
