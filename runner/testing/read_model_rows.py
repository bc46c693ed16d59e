"""Rows and shapes that the read-model conformance suite writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from runner.sinks.shape import HASH, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Rows",
    "child_shape",
    "every_type_shape",
    "keyed_shape",
    "keys_for",
    "merged_shape",
    "partitioned",
    "rows_for",
]

PARTITIONS = 4

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
"""Key values to field values."""


def _shape(name: str, columns: Mapping[str, pa.DataType], key: tuple[str, ...], **more: Any) -> Shape:
    merged = bool(more.get("merged"))
    hashes = {} if merged else dict.fromkeys(HASH, pa.uint64())
    schema = pa.schema([pa.field(n, t) for n, t in {**columns, **hashes}.items()])
    return Shape(name, "f" * 64, schema, key, partitions=PARTITIONS, log_id="log-1", **more)


def keyed_shape(name: str = "accounts") -> Shape:
    """One row per aggregate."""
    columns = {"aggregate_id": pa.string(), "balance": pa.int64(), "note": pa.string()}
    return _shape(name, columns, ("aggregate_id",))


def child_shape(name: str = "order_lines") -> Shape:
    """Several rows per aggregate, an optional key part, and identity columns."""
    columns = {
        "source": pa.string(),
        "tenant": pa.string(),
        "aggregate_id": pa.string(),
        "sku": pa.string(),
        "n": pa.int64(),
    }
    return _shape(name, columns, ("aggregate_id", "sku"), identity=("source", "tenant"))


def merged_shape(name: str = "per_day") -> Shape:
    """Any key."""
    columns = {"type": pa.string(), "day": pa.date32(), "count": pa.int64()}
    return _shape(name, columns, ("type", "day"), merged=True)


def every_type_shape(name: str = 'Every "Type"') -> Shape:
    """A column of each type, with names that need quoting."""
    columns = {
        "aggregate_id": pa.string(),
        "whole": pa.int64(),
        "Float's": pa.float64(),
        "select": pa.bool_(),
        "Text here": pa.string(),
        "at": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "took": pa.duration("us"),
        "uuid": pa.uuid(),
        "price": pa.decimal128(19, 2),
        "last": pa.list_(pa.string()),
        "counters": pa.list_(pa.int64()),
    }
    return _shape(name, columns, ("aggregate_id",))


def rows_for(shape: Shape, rows: Rows) -> pa.Table:
    """A table of the shape's schema; the hash is made of identity and aggregate_id."""
    names = (*shape.full_key, *shape.fields)
    at = None if shape.merged else shape.full_key.index("aggregate_id")
    records = []
    for key, values in rows.items():
        record = dict(zip(names, (*key, *values), strict=True))
        if at is not None:
            word = xxhash.xxh3_128_intdigest("\x1f".join(map(str, key[: at + 1])).encode())
            record[HASH[0]], record[HASH[1]] = word >> 64, word & (2**64 - 1)
        records.append(record)
    return pa.Table.from_pylist(records, shape.schema)


def keys_for(shape: Shape, keys: list[tuple[Any, ...]]) -> pa.Table:
    """A table of keys (and hashes), as deletions are written."""
    rows = rows_for(shape, {k: (None,) * len(shape.fields) for k in keys})
    return rows.select([*shape.full_key, *(n for n in HASH if n in rows.schema.names)])


def partitioned(shape: Shape, table: pa.Table) -> dict[int, pa.Table]:
    """The rows by partition; all in partition 0 where keys are merged."""
    if shape.merged:
        return {0: table}
    place = table[HASH[0]].to_numpy() >> np.uint64(65 - PARTITIONS.bit_length())
    return {p: table.filter(pa.array(place == p)) for p in range(PARTITIONS)}
