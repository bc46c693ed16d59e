"""One reading of an event store in Postgres: what is settled, extracted, decoded and arranged, tenant by tenant.

The order of the steps is the tail's (``tail.port``). Each store of a source (one, or one a tenant) has its own
watermark and goes on by itself: what stops one is kept until the others are read, and raised then.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from runner.errors import PostgresError, RunnerError, SourceError
from runner.log.arrival import NO_TIME
from runner.postgres import connect, translated
from runner.sources.port import BadLine, Piece
from runner.sources.postgres.arrange import Arranger
from runner.sources.postgres.comparison import check_against_log
from runner.sources.postgres.extraction import Extraction
from runner.sources.postgres.marks import StoreMark, read_marks, written_marks
from runner.sources.postgres.payloads import Decoder
from runner.sources.postgres.statement import Statement
from runner.sources.postgres.store import described, indexed, resolve
from runner.sources.postgres.tail import TailConfig
from runner.sources.postgres.tail.choose import tail_for
from runner.sources.postgres.tail.durability import Durability
from runner.sources.postgres.tail.identity import StoreIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config.postgres import PostgresSourceConfig
    from runner.log import Log
    from runner.postgres import AnyConnection
    from runner.sources.port import UnfinishedLine
    from runner.sources.postgres.arrange import Arranged
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Known, Settled, Span, Tail

__all__ = ["PostgresReader", "TenantFailure", "open_postgres"]

AGAIN = 10_000
"""A look that gave so many rows is followed by another: more came meanwhile."""


@dataclass(frozen=True)
class TenantFailure:
    """What stopped one tenant, while the others went on."""

    tenant: str
    error: RunnerError


@dataclass
class _Reading:
    """One store while it is read. mark: behind what was handed out."""

    store: Store
    statement: Statement
    arranger: Arranger
    tail: Tail
    cuttable: bool
    mark: StoreMark
    settled: Settled | None = None
    left_out: dict[str, int] = field(default_factory=dict)


class PostgresReader:
    """A reader of one source."""

    def __init__(self, source: PostgresSourceConfig, mark: Any = None, log: Log | None = None) -> None:
        """log: as it stands at the mark; it is looked into where the store may not be the one that was read."""
        self._log = log
        self._source, self._where = source, f"[sources.{source.name}]"
        self._limits = source.store.limits
        self._marks = read_marks(self._where, mark)
        self._readings: list[_Reading] = []
        self._stack = ExitStack()
        self._durability: Durability | None = None
        self.failures: list[TenantFailure] = []

    # The port ---------------------------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        connection = self._opened("sync")
        self._durability = Durability(connection, self._where)
        extraction = Extraction(self._where, lambda: self._connect("sync"), self._limits)
        self._stack.callback(extraction.close)
        for store in self._stores(connection):
            try:
                reading = self._begun(connection, extraction, store)
                yield from self._read(connection, extraction, reading)
            except RunnerError as error:
                if not store.tenant or (isinstance(error, PostgresError) and connection.closed):
                    raise
                self.failures.append(TenantFailure(store.tenant, error))
        if self.failures:
            raise self._failed()

    def mark(self) -> Any:
        return written_marks(self._marks, {r.store.tenant: self._marked(r) for r in self._readings})

    def identity(self) -> Any:
        stores = {r.store.tenant: r.mark.identity for r in self._readings}
        former = {tenant: mark.identity for tenant, mark in self._marks.items()}
        return {"kind": "postgres", "preset": self._source.preset, "stores": {**former, **stores}}

    def settle(self) -> None:
        if self._durability is not None:
            self._durability.note()
            self._durability.wait()

    def place(self, first: int, second: int) -> str:
        tables = sorted({r.store.name for r in self._readings}) or ["the store"]
        two = any(len(r.store.position) > 1 for r in self._readings)
        return f"{', '.join(tables[:3])}: event at position {f'({first}, {second})' if two else second}"

    def unfinished(self) -> tuple[UnfinishedLine, ...]:
        return ()

    def close(self) -> None:
        self._stack.close()

    # One source -------------------------------------------------------------------------------------------------------

    def _connect(self, what: str) -> AnyConnection:
        seconds = self._limits.statement_seconds
        return connect(self._source.connection, f"{what} {self._source.name}", statement_timeout=seconds)

    def _opened(self, what: str) -> AnyConnection:
        connection = self._connect(what)
        self._stack.callback(connection.close)
        return connection

    def _stores(self, connection: AnyConnection) -> tuple[Store, ...]:
        with translated(self._where):
            return resolve(connection, self._source.name, self._source.store)

    def _begun(self, connection: AnyConnection, extraction: Extraction, store: Store) -> _Reading:
        mark = self._marks.get(store.tenant, StoreMark())
        mark = mark.of(described(store), self._where)
        statement = Statement(store)
        decoder = Decoder(self._where, store.config.encoding, store.config.decode)
        with translated(self._where):
            cuttable = indexed(connection, store)
        reading = _Reading(
            store,
            statement,
            Arranger(store, statement, decoder),
            tail_for(_tail_config(store), statement.tail_relation(), mark.tail, known=self._known(store)),
            cuttable,
            mark,
            left_out=dict(mark.left_out),
        )
        self._identify(connection, extraction, reading)
        self._readings.append(reading)
        return reading

    def _identify(self, connection: AnyConnection, extraction: Extraction, reading: _Reading) -> None:
        """Where it may be another store than was read, compare the log's tail with it. Raises SourceChanged."""
        now = StoreIdentity.read(connection, reading.statement.tail_relation())
        former = reading.mark.identity
        if former is not None:
            was = StoreIdentity.from_json(former)
            changes = now.changes(was)
            if changes and self._log is not None:
                check_against_log(self._log, reading.store, reading.statement, reading.arranger, extraction, changes)
            if now.is_another(was):
                with translated(self._where):
                    reading.tail.new_life(connection)
        reading.mark.identity = now.to_json()

    def _known(self, store: Store) -> Known | None:
        """The positions that the log has of a store, for partitions that are attached with rows."""
        log = self._log
        return None if log is None else lambda a, b: log.source_positions(store.source, store.tenant, a, b)

    def _marked(self, reading: _Reading) -> StoreMark:
        return replace(reading.mark, tail=reading.tail.mark(), left_out=dict(reading.left_out))

    def _failed(self) -> SourceError:
        first = self.failures[0]
        names = ", ".join(f.tenant for f in self.failures)
        return SourceError(
            f"{self._where}: {len(self.failures)} of {len(self._readings)} tenants stopped: {names}; the first: "
            f"{first.error.args[0]}",
            hint=first.error.hint,
        )

    # One store --------------------------------------------------------------------------------------------------------

    def _read(self, connection: AnyConnection, extraction: Extraction, reading: _Reading) -> Iterator[Piece]:
        for _ in itertools.count():
            with translated(self._where):
                settled = reading.settled = reading.tail.look(connection)
            rows = 0
            for span in reading.tail.late_spans(settled):
                for batch in extraction.batches(reading.statement, span, cuttable=False):
                    yield from self._pieces(reading, span, batch, late=True)
            for span in reading.tail.spans(reading.mark.after, settled):
                begun = self._with_low(connection, reading, span)
                for batch in extraction.batches(reading.statement, begun, cuttable=reading.cuttable):
                    rows += batch.num_rows
                    yield from self._pieces(reading, span, batch, late=False)
            if rows < AGAIN:
                return

    def _with_low(self, connection: AnyConnection, reading: _Reading, span: Span) -> Span:
        """A first reading has no lower bound; to be cut it needs one."""
        if span.low is not None or not reading.cuttable:
            return span
        with translated(self._where):
            row = connection.execute(reading.statement.least()).fetchone()
        return span if row is None else replace(span, low=int(row[0]) - 1)

    def _pieces(self, reading: _Reading, span: Span, batch: pa.RecordBatch, *, late: bool) -> Iterator[Piece]:
        arranged = reading.arranger.arrange(batch)
        if arranged.bad and self._source.on_bad_line == "stop":
            row, reason = arranged.bad[0]
            events = arranged.events.slice(0, int(np.searchsorted(arranged.rows, row)))
            if row and not late:
                self._taken(reading, span, batch.slice(0, row), replace(arranged, left_out={}))
            if len(events):
                yield Piece(events)
            raise SourceError(f"{self._row(reading, batch, row)}: {reason}", hint=self._cure(reading, reason))
        if not late:
            self._taken(reading, span, batch, arranged)
        bad = tuple(
            BadLine(reading.store.name, self._position(reading, batch, row), reason, _shown(batch, row))
            for row, reason in arranged.bad
        )
        yield Piece(arranged.events, bad)

    def _taken(self, reading: _Reading, span: Span, rows: pa.RecordBatch, arranged: Arranged) -> None:
        """All of these rows were handed out, or are no events: the mark stands behind them."""
        if not rows.num_rows:
            return
        recorded = np.full(rows.num_rows, NO_TIME, np.int64)
        mine = arranged.rows < rows.num_rows
        times = arranged.events.column("recorded_at").cast(pa.int64()).fill_null(NO_TIME)
        recorded[arranged.rows[mine]] = times.to_numpy(zero_copy_only=False)[mine]
        places = [rows.column(label).to_numpy(zero_copy_only=False) for label in reading.store.position]
        reading.mark.after = reading.tail.place(span.epoch, [int(column[-1]) for column in places])
        reading.tail.taken(places, recorded)
        for name, n in arranged.left_out.items():
            reading.left_out[name] = reading.left_out.get(name, 0) + n

    def _position(self, reading: _Reading, batch: pa.RecordBatch, row: int) -> int:
        value = batch.column(reading.store.position[-1])[row].as_py()
        return -1 if value is None else int(value)

    def _row(self, reading: _Reading, batch: pa.RecordBatch, row: int) -> str:
        values = [batch.column(label)[row].as_py() for label in reading.store.position]
        shown = str(values[0]) if len(values) == 1 else f"({', '.join(map(str, values))})"
        return f"{reading.store.name}: row at position {shown}"

    def _cure(self, reading: _Reading, reason: str) -> str:
        if reason.startswith("payload: neither JSON"):
            return f"see decode of {self._where} in runner.toml"
        return 'mend the row or the mapping, or set on_bad_line = "reject" to leave such rows out'


def _tail_config(store: Store) -> TailConfig:
    own = store.config.tail
    return TailConfig(
        store.tail, grace=timedelta(seconds=own.grace), window=timedelta(seconds=own.window), sequence=own.sequence
    )


def _shown(batch: pa.RecordBatch, row: int) -> str:
    """A row for people, in the rejects file."""
    values = {name: batch.column(name)[row].as_py() for name in batch.schema.names}
    return ", ".join(f"{name}={str(value)[:200]!r}" for name, value in values.items())


def open_postgres(source: PostgresSourceConfig, mark: Any, log: Log | None = None) -> PostgresReader:
    """Read on from a mark (None: from the beginning). Raises SourceError, ConfigError; connects when it is read."""
    return PostgresReader(source, mark, log)
