"""What a workload's rows are, as data, and from it what each rival that takes queries is asked: SQL, or Polars' terms.

``table_of`` and ``digest`` bring every rival's rows into one form, in which equal rows have equal digests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["Count", "Largest", "Last", "Latest", "Query", "Seen", "Total", "digest", "polars_frame", "sql", "table_of"]


@dataclass(frozen=True)
class Total:
    """The sum of a column over events of the types ``plus`` less that over ``minus``."""

    column: str
    plus: range
    minus: range = range(0)


@dataclass(frozen=True)
class Count:
    """How many events of these types; where: (text column, value), only those."""

    types: range
    where: tuple[str, str] | None = None


@dataclass(frozen=True)
class Largest:
    """The largest value of a column over these types, at least 0."""

    column: str
    types: range


@dataclass(frozen=True)
class Latest:
    """The time of the last event of these types, µs since 1970; 0 where there is none."""

    types: range


@dataclass(frozen=True)
class Last:
    """A text column's value in the last event of any type."""

    column: str


@dataclass(frozen=True)
class Seen:
    """Whether there was an event of these types."""

    types: range


Field = Total | Count | Largest | Latest | Last | Seen


@dataclass(frozen=True)
class Query:
    """One projection's rows: one for each account with an event of the types ``handled`` of ``of`` types in all."""

    of: int
    handled: range
    fields: Mapping[str, Field]


def sql(query: Query, events: str = "events") -> str:
    """As one GROUP BY in DuckDB's SQL over (account, type, at, n, ...), n rising with the position."""
    fields = ",\n    ".join(f"{_sql(field, query)} AS {name}" for name, field in query.fields.items())
    where = "" if len(query.handled) == query.of else f" WHERE {_among(query.handled, query.of)}"
    return f"SELECT account,\n    {fields}\nFROM {events}{where} GROUP BY account"


def _among(types: range, of: int) -> str:
    if len(types) == 1:
        return f"type = {types.start}"
    parts = ([f"type >= {types.start}"] if types.start else []) + ([f"type < {types.stop}"] if types.stop < of else [])
    return " AND ".join(parts) or "true"


def _every(types: range, query: Query) -> bool:
    """Whether all events that are asked for are of these types."""
    return types.start <= query.handled.start and types.stop >= query.handled.stop


def _sql(field: Field, query: Query) -> str:
    match field:
        case Total(column, plus, minus):
            if _every(plus, query):
                return f"CAST(sum({column}) AS BIGINT)"
            less = f" WHEN {_among(minus, query.of)} THEN -{column}" if minus else ""
            return f"CAST(sum(CASE WHEN {_among(plus, query.of)} THEN {column}{less} ELSE 0 END) AS BIGINT)"
        case Count(types, where):
            terms = ([] if _every(types, query) else [_among(types, query.of)]) + (
                [] if where is None else [f"{where[0]} = '{where[1]}'"]
            )
            return f"count(*) FILTER ({' AND '.join(terms)})" if terms else "count(*)"
        case Largest(column, types):
            if _every(types, query):
                return f"max({column})"
            return f"max(CASE WHEN {_among(types, query.of)} THEN {column} ELSE 0 END)"
        case Latest(types):
            return (
                'max("at")'
                if _every(types, query)
                else f'max(CASE WHEN {_among(types, query.of)} THEN "at" ELSE 0 END)'
            )
        case Last(column):
            return f"arg_max({column}, n)"
        case Seen(types):
            return f"bool_or({_among(types, query.of)})"


def polars_frame(query: Query, events: Any) -> Any:
    """The same as a lazy frame over a lazy frame of the events in their order."""
    if len(query.handled) < query.of:
        events = events.filter(_polars_among(query.handled, query.of))
    return events.group_by("account").agg(*(_polars(field, query).alias(name) for name, field in query.fields.items()))


def _polars_among(types: range, of: int) -> Any:
    import polars as pl

    kind = pl.col("type")
    if len(types) == 1:
        return kind == types.start
    if types.start == 0:
        return kind < types.stop
    return kind >= types.start if types.stop >= of else (kind >= types.start) & (kind < types.stop)


def _polars(field: Field, query: Query) -> Any:
    import polars as pl

    def among(types: range) -> Any:
        return _polars_among(types, query.of)

    match field:
        case Total(column, plus, minus):
            amount = pl.col(column)
            if _every(plus, query):
                return amount.sum()
            term = pl.when(among(plus)).then(amount)
            return (term.when(among(minus)).then(-amount) if minus else term).otherwise(0).sum()
        case Count(types, where):
            if where is not None:
                named = pl.col(where[0]) == where[1]
                return (named if _every(types, query) else named & among(types)).sum()
            return pl.len() if _every(types, query) else among(types).sum()
        case Largest(column, types):
            amount = pl.col(column)
            return (amount if _every(types, query) else pl.when(among(types)).then(amount).otherwise(0)).max()
        case Latest(types):
            at = pl.col("at")
            return (at if _every(types, query) else pl.when(among(types)).then(at).otherwise(0)).max()
        case Last(column):
            return pl.col(column).last()
        case Seen(types):
            return among(types).any()


def table_of(table: pa.Table, query: Query) -> pa.Table:
    """A rival's rows as account int64 and the query's fields as int64 or large_utf8, ascending by account.

    account: numbers, or texts that end in them after ``acc-``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    account = table["account"]
    if not pa.types.is_integer(account.type):
        account = pc.cast(pc.utf8_slice_codeunits(account.cast(pa.string()), 4), pa.int64())
    columns = {"account": account}
    for name in query.fields:
        column = table[name]
        texts = isinstance(query.fields[name], Last)
        columns[name] = column.cast(pa.large_string() if texts else pa.int64())
    plain = pa.table(columns).combine_chunks()
    return plain.take(pa.array(np.argsort(plain["account"].to_numpy(), kind="stable")))


def digest(tables: Mapping[str, pa.Table]) -> str:
    """Of tables that ``table_of`` made, by the names of their queries."""
    hashed = hashlib.sha256()
    for name in sorted(tables):
        for column in tables[name].column_names:
            hashed.update(f"{name}.{column}".encode())
            hashed.update(_octets(tables[name][column].combine_chunks()))
        hashed.update(str(tables[name].num_rows).encode())
    return hashed.hexdigest()


def _octets(array: Any) -> bytes:
    import pyarrow as pa

    chunk = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
    if not len(chunk):
        return b""
    if pa.types.is_int64(chunk.type):
        return bytes(chunk.to_numpy(zero_copy_only=False).tobytes())
    _, offsets, data = chunk.buffers()
    bounds = np.frombuffer(offsets, np.int64)[: len(chunk) + 1]
    return bytes(bounds.tobytes()) + bytes(data[int(bounds[0]) : int(bounds[-1])])
