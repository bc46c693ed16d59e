"""Arrow batches into a table, by binary COPY, in the caller's transaction.

``pgpq`` encodes (some ten million rows a second on one core). What it leaves to others is done here, in bulk: columns
are brought to the type that the table has, without loss or with an error that names column and row; U+0000, which no
text of Postgres can hold, is looked for; and arrays get the number of their element type, which pgpq takes from
Arrow's type alone (timestamptz, uuid and varchar look like timestamp, bytea and text there).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pgpq
import psycopg
import pyarrow as pa
from pgpq.encoders import LargeListEncoderBuilder, LargeStringEncoderBuilder, ListEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql

from runner.errors import CopyError
from runner.kernels.pgcopy_write import set_element_types
from runner.postgres import types
from runner.postgres.copy_conform import conform, encoded_type
from runner.postgres.errors import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from runner.postgres.types import PgType

__all__ = ["copy_in"]

_OCTETS = 1 << 20
"""About how much is encoded at once: the server works on one piece while the next is made."""


def copy_in(
    connection: Connection[Any],
    table: sql.Identifier,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    types: Mapping[str, PgType],
    *,
    where: str = "COPY",
) -> int:
    """Copy batches of this schema into a table, whose columns have the schema's names; returns how many rows.

    types: each column's type in the table. Takes what ``types.pg_type_of`` says, and beyond that: integers into wider
    and narrower ones that hold the value; text into json, jsonb, varchar and uuid (canonical form); decimals into a
    numeric of another scale that holds them exactly; times of other units; dictionaries; lists of all these.
    where: begins messages. Raises CopyError naming column and row of a value that cannot be copied, PostgresError for
    the server's errors; then the caller's transaction has failed. TypeError: no such column can be copied at all.
    """
    missing = [name for name in schema.names if name not in types]
    if missing or not schema.names:
        raise TypeError(f"no type is given for the columns {', '.join(missing) or '(there are none)'}")
    encoder = _Encoder(schema, types, where)
    names = sql.SQL(", ").join(sql.Identifier(name) for name in schema.names)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table, names)
    try:
        with connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                copy.write(encoder.head())
                for batch in batches:
                    for piece in encoder.pieces(batch):
                        copy.write(piece)
                copy.write(encoder.tail())
            return cursor.rowcount
    except psycopg.Error as error:
        # The outermost context says which line and column it was.
        context = (error.diag.context or "").splitlines()
        raise error_of(error, ": ".join([where, *context[-1:]])) from None


class _Encoder:
    """Batches of one schema to the bytes of one stream."""

    def __init__(self, schema: pa.Schema, types: Mapping[str, PgType], where: str) -> None:
        self._types = [types[name] for name in schema.names]
        self._schema, self._where, self._rows = schema, where, 0
        fields = [
            pa.field(f.name, encoded_type(f.name, f.type, kind)) for f, kind in zip(schema, self._types, strict=True)
        ]
        self._encoded = pa.schema(fields)
        builders = {f.name: _builder(f, kind) for f, kind in zip(fields, self._types, strict=True)}
        self._encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(self._encoded, builders)
        self._elements = np.array([0 if kind.element is None else kind.element.oid for kind in self._types], np.int64)

    def head(self) -> bytes:
        return self._encoder.write_header()

    def tail(self) -> bytes | memoryview:
        """What the encoder still holds back, and the stream's end."""
        return self._with_element_types(self._encoder.finish(), behind=2)

    def pieces(self, batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
        """The rows of a batch, about ``_OCTETS`` at a time; pgpq may hold some back for the next piece."""
        if not batch.schema.equals(self._schema):
            raise CopyError(self._where, "", self._rows, f"a batch has the schema {batch.schema}, not {self._schema}")
        step = max(1, batch.num_rows * _OCTETS // max(1, batch.nbytes))
        for at in range(0, batch.num_rows, step):
            yield self._piece(batch.slice(at, step))

    def _piece(self, rows: pa.RecordBatch) -> bytes | memoryview:
        columns = [
            conform(column, kind, field.type, (self._where, field.name, self._rows + 1))
            for column, kind, field in zip(rows.columns, self._types, self._encoded, strict=True)
        ]
        data = self._encoder.write_batch(pa.record_batch(columns, schema=self._encoded))
        self._rows += rows.num_rows
        return self._with_element_types(data)

    def _with_element_types(self, data: bytes, behind: int = 0) -> bytes | memoryview:
        """Whole rows, and ``behind`` bytes behind them, with the numbers of the arrays' element types put right."""
        if not self._elements.any():
            return data
        changed = np.frombuffer(data, np.uint8).copy()
        set_element_types(changed[: len(changed) - behind], self._elements)
        return changed.data


def _builder(field: pa.Field, kind: PgType) -> Any:
    """pgpq's encoder of a column."""
    if kind == types.JSONB:
        return LargeStringEncoderBuilder.new_with_output(field, Jsonb())
    if kind.element is not None:
        lists = LargeListEncoderBuilder if pa.types.is_large_list(field.type) else ListEncoderBuilder
        return lists.new_with_inner(field, _builder(field.type.value_field, kind.element))
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)
