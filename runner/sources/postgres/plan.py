"""What a sync of a store would read, and how long it would take: from the server's statistics and a few rows.

The number of rows is the planner's estimate, so nothing large is counted; bytes and speed are those of a sample of the
first rows that would be read. All of it is read-only, and each statement ends by itself after ten seconds.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from runner.errors import PostgresTimeout
from runner.kernels.hash import text_buffers
from runner.postgres import SQL, Identifier, Literal, translated
from runner.postgres.copy_out import copy_out
from runner.sources.postgres.arrange import Arranger
from runner.sources.postgres.marks import StoreMark, read_marks
from runner.sources.postgres.payloads import Decoder
from runner.sources.postgres.reader import PostgresReader
from runner.sources.postgres.statement import ALIAS, Statement
from runner.sources.postgres.store import indexed

if TYPE_CHECKING:
    from typing import Any

    import pyarrow as pa

    from runner.config.postgres import PostgresSourceConfig
    from runner.postgres import AnyConnection, Composable
    from runner.sources.postgres.store import Store

__all__ = ["StoreEstimate", "estimate"]

SAMPLE = 5_000
COUNTED = 10_000
"""So few rows are counted, rather than estimated."""
SECONDS = 10.0
HEADER_OCTETS = 48
"""Of an event in the log, beside its payload."""


@dataclass(frozen=True)
class StoreEstimate:
    """Of one store. rows: that are to be read, ``counted`` where they are few. octets: as they come from the server.
    disk: in the log. seconds: over the source's connections and within its limits; None where a sample took too long.
    indexed: whether ranges can be read without reading all.
    """

    tenant: str
    table: str
    rows: int
    counted: bool
    octets: int | None
    disk: int | None
    seconds: float | None
    indexed: bool
    rule: str


def estimate(source: PostgresSourceConfig, mark: Any) -> tuple[StoreEstimate, ...]:
    """Of all stores of a source, from the mark of the last sync. Raises ConfigError, SourceError, PostgresError."""
    reader = PostgresReader(source, mark)
    marks = read_marks(f"[sources.{source.name}]", mark)
    with reader.connect("plan", statement_seconds=SECONDS) as connection:
        return tuple(
            _Estimate(connection, store, marks.get(store.tenant, StoreMark())).made()
            for store in reader.stores(connection)
        )


class _Estimate:
    """Of one store."""

    def __init__(self, connection: AnyConnection, store: Store, mark: StoreMark) -> None:
        self._connection, self._store = connection, store
        self._where = f"[sources.{store.source}]"
        self._statement = Statement(store)
        self._condition = self._behind(mark)

    def made(self) -> StoreEstimate:
        store = self._store
        with translated(self._where):
            rows, counted = self._rows()
            by_index = indexed(self._connection, store)
        octets = disk = seconds = None
        if rows:
            with suppress(PostgresTimeout):
                octets, disk, seconds = self._sample(rows, by_index)
        else:
            octets, disk, seconds = 0, 0, 0.0
        return StoreEstimate(store.tenant, store.name, rows, counted, octets, disk, seconds, by_index, store.tail)

    def _behind(self, mark: StoreMark) -> Composable:
        relation, after = self._statement.tail_relation(), mark.after
        if after is None:
            return relation.condition
        labels = self._store.position
        if len(after) > len(labels):
            # Transaction ids begin anew in a restored store; positions go on.
            labels, after = labels[-1:], after[-1:]
        columns = SQL(", ").join(Identifier(ALIAS, label) for label in labels)
        place = SQL(", ").join(self._statement.value(*pair) for pair in zip(labels, after, strict=True))
        return SQL("{} AND ({}) > ({})").format(relation.condition, columns, place)

    def _rows(self) -> tuple[int, bool]:
        rows = self._statement.tail_relation().named_rows
        asked = SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {}").format(rows, self._condition)
        (found,) = self._connection.execute(asked).fetchone() or ([],)
        guess = int(found[0]["Plan"]["Plan Rows"])
        if guess > 10 * COUNTED:
            return guess, False
        few = SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) AS few").format(
            rows, self._condition, Literal(COUNTED + 1)
        )
        (counted,) = self._connection.execute(few).fetchone() or (0,)
        return (int(counted), True) if counted <= COUNTED else (max(guess, int(counted)), False)

    def _sample(self, rows: int, by_index: bool) -> tuple[int, int, float]:
        """(octets, disk, seconds) of all rows."""
        store, limits = self._store, self._store.config.limits
        query = SQL("{} LIMIT {}").format(
            self._statement.rows(self._condition, self._order() if by_index else None), Literal(SAMPLE)
        )
        begun = time.perf_counter()
        copied: Any = copy_out(self._connection, query, self._statement.columns, where=self._where)
        with closing(copied) as batches:
            taken: list[pa.RecordBatch] = list(batches)
        copying = time.perf_counter() - begun
        n = sum(batch.num_rows for batch in taken)
        if not n:
            return 0, 0, 0.0
        arranger = Arranger(store, self._statement, Decoder(self._where, store.config))
        begun = time.perf_counter()
        events = [arranger.arrange(batch).events for batch in taken]
        arranging = time.perf_counter() - begun
        kept, packed = 0, 0
        for each in events:
            data, offsets = text_buffers(each.column("payload"))
            kept += each.num_rows
            packed += len(zstandard.ZstdCompressor(level=1).compress(data[offsets[0] : offsets[-1]].tobytes()))
        connections = limits.connections if by_index else 1
        seconds = (copying / connections + arranging) / n * rows
        if limits.rows_per_second:
            seconds = max(seconds, rows / limits.rows_per_second)
        octets = sum(batch.nbytes for batch in taken) / n * rows
        return int(octets), int((packed + HEADER_OCTETS * kept) / n * rows), seconds

    def _order(self) -> Composable:
        return SQL(", ").join(Identifier(ALIAS, label) for label in self._store.position)
