"""Rows of a query as Arrow batches, by binary COPY: at the speed at which the server makes them.

A thread reads (``copy_reading``), the caller's thread decodes a buffer (``copy_columns``) when it asks for the next
batch; both let go of the interpreter's lock while they work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from runner.errors import CopyError
from runner.kernels.pgcopy_fields import BAD_COUNT, BAD_LENGTH, ENOUGH, FINISHED, find_fields
from runner.postgres.copy_columns import CopyColumn, decode
from runner.postgres.copy_reading import SPARE, Filled, Reading
from runner.postgres.errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from psycopg import Connection

__all__ = ["CopyColumn", "copy_out"]

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = len(_SIGNATURE) + 8

OCTETS = 4 << 20
ROWS = 1 << 16


def _never() -> None:
    pass


def copy_out(
    connection: Connection[Any],
    query: sql.Composable,
    columns: tuple[CopyColumn, ...],
    *,
    rows: int = ROWS,
    octets: int = OCTETS,
    cancelled: Callable[[], None] = _never,
    where: str = "COPY",
) -> Iterator[pa.RecordBatch]:
    """The rows of a query, in its order, as batches of at most ``rows`` rows and about ``octets`` bytes (or one row).

    The query runs in the connection's transaction and snapshot; until the last batch, or until the generator is
    closed, the connection does nothing else. Closed early, the query is cancelled, which fails an open transaction.
    columns: as many as the query has, in its order. cancelled: called again and again while waiting; may raise.
    where: begins messages. Memory: four times ``octets``. Raises CopyError for a value that cannot be taken,
    PostgresError for the server's errors.
    """
    if rows < 1 or octets < 1:
        raise ValueError("rows and octets have to be positive")
    if connection.info.parameter_status("client_encoding") != "UTF8":
        raise CopyError(where, "", 0, "the connection's client_encoding is not UTF8")
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)
    stream = _Stream(columns, rows, where)
    with translated(where), Reading(connection, statement, octets=octets, rows=rows) as reading:
        while (filled := reading.take(cancelled)) is not None:
            batches = list(stream.batches(filled))
            # What is decoded has memory of its own: the thread can go on while the caller works.
            reading.give_back(filled)
            yield from batches
    stream.check_end()


class _Stream:
    """Buffers to batches. A row that a buffer ends in goes on in the next; servers begin each message with a row, but
    the protocol does not promise it.
    """

    def __init__(self, columns: tuple[CopyColumn, ...], rows: int, where: str) -> None:
        self._columns, self._rows, self._where = columns, rows, where
        self._rest = np.empty(0, np.uint8)
        self._begun = self._finished = False
        self._taken = 0

    def batches(self, filled: Filled) -> Iterator[pa.RecordBatch]:
        data, size = filled.buffer, filled.used
        if len(self._rest):
            data = np.concatenate([self._rest, data[:size], np.zeros(SPARE, np.uint8)])
            size += len(self._rest)
        at = 0
        if not self._begun:
            at = self._header(bytes(data[: min(size, _HEADER)]))
            if at > size or not at:
                self._rest = data[:size].copy()
                return
            self._begun = True
        while not self._finished and at < size:
            fields = find_fields(data, at, size, len(self._columns), self._rows)
            if len(fields):
                yield decode(data, fields, self._columns, self._taken + 1, self._where)
                self._taken += len(fields)
            at = fields.stop
            if fields.status in (BAD_COUNT, BAD_LENGTH):
                what = (
                    f"{fields.found} fields where {len(self._columns)} were asked for"
                    if fields.status == BAD_COUNT
                    else f"a field of {fields.found} bytes"
                )
                raise CopyError(
                    self._where,
                    "",
                    self._taken + 1,
                    what,
                    hint="the stream is damaged, or the query's columns are others",
                )
            self._finished = fields.status == FINISHED
            if fields.status != ENOUGH:
                break
        if self._finished and at < size:
            raise CopyError(self._where, "", self._taken, "bytes stand behind the stream's end")
        self._rest = data[at:size].copy()

    def _header(self, head: bytes) -> int:
        """Where the rows begin; 0: the header is not whole yet."""
        if not _SIGNATURE.startswith(head[: len(_SIGNATURE)]):
            raise CopyError(self._where, "", 0, "this is no binary COPY stream")
        if len(head) < _HEADER:
            return 0
        if int.from_bytes(head[11:15], "big") & 0xFFFF0000:
            raise CopyError(self._where, "", 0, "the stream has a form that is not known here")
        return _HEADER + int.from_bytes(head[15:19], "big")

    def check_end(self) -> None:
        if not self._finished:
            raise CopyError(self._where, "", self._taken, "the stream ends before its end is said")
