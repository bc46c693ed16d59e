"""A source's reading: its stores (one, or one a tenant) one after the other over a few connections.

Each has its own watermark and goes on by itself: what stops one tenant is kept until the others are read, and raised
then.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError, TenantsStopped
from runner.postgres import connect, translated
from runner.sources.postgres.extraction import Extraction
from runner.sources.postgres.marks import StoreMark, read_marks, written_marks
from runner.sources.postgres.presets import PRESETS
from runner.sources.postgres.reading import StoreReading
from runner.sources.postgres.store import resolve
from runner.sources.postgres.tail.durability import Durability
from runner.sources.postgres.tenants import TenantFailure, divided
from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from runner.config.postgres import PostgresSourceConfig
    from runner.log import Log
    from runner.postgres import AnyConnection
    from runner.sources.port import Only, Piece, UnfinishedLine
    from runner.sources.postgres.store import Store
    from runner.stats import Listener, WatermarkSeen

__all__ = ["PostgresReader", "open_postgres"]


class PostgresReader:
    """A reader of one source. readings: of the stores that were begun."""

    def __init__(
        self,
        source: PostgresSourceConfig,
        mark: Any = None,
        log: Log | None = None,
        only: Only | None = None,
        tell: Listener = ignore,
    ) -> None:
        """log: as it stands at the mark; it is looked into where the store may not be the one that was read. only: what
        it takes of the events. tell: is told when reading waits.
        """
        self._log, self._only, self._tell = log, only, tell
        self._source, self._where = source, f"[sources.{source.name}]"
        self._limits = source.store.limits
        self._marks = read_marks(self._where, mark)
        self._stack = ExitStack()
        self._connection: AnyConnection | None = None
        self._pieces: Generator[Piece, None, None] | None = None
        self._durability: Durability | None = None
        self.patient = True
        """Whether rows that time alone will settle soon are waited for; a follower comes again anyway."""
        self.readings: list[StoreReading] = []
        self.failures: list[TenantFailure] = []
        self._lasting: list[TenantFailure] = []
        """Of tenants that this reader does not read."""

    # The port ---------------------------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        # Kept, so that close() ends what it does with connections before they are closed.
        self._pieces = self._all_pieces()
        return self._pieces

    def _all_pieces(self) -> Generator[Piece, None, None]:
        """Read on, over the connections and from the places of the last time where there was one: for followers.

        Stores that came since (a new tenant) are found by a new reader only.
        """
        if self._connection is None:
            yield from self._first_pieces()
        else:
            # Those that are read again say again what stops them.
            self.failures = list(self._lasting)
            yield from self._more_pieces(self._connection)
        if self.failures:
            raise self._failed()

    def _more_pieces(self, connection: AnyConnection) -> Iterator[Piece]:
        for reading in self.readings:
            try:
                reading.failures.clear()
                yield from reading.pieces()
                self.failures += reading.failures
            except RunnerError as error:
                if not reading.store.tenant or connection.closed:
                    raise
                self.failures.append(TenantFailure(reading.store.tenant, error))

    def _first_pieces(self) -> Iterator[Piece]:
        connection = self._connection = self._stack.enter_context(self.connect("sync"))
        self._durability = Durability(connection, self._where)
        extraction = Extraction(self._where, lambda: self.connect("sync"), self._limits, self._tell)
        self._stack.callback(extraction.close)
        stores = self.stores(connection)
        self._lasting = list(self.failures)
        for store in stores:
            begun = len(self.readings)
            try:
                mark = self._marks.get(store.tenant, StoreMark())
                reading = StoreReading(store, mark, connection, extraction, self._log, self._only)
                reading.patient = self.patient
                self.readings.append(reading)
                yield from reading.pieces()
                self.failures += reading.failures
            except RunnerError as error:
                # A connection that broke is not one tenant's matter.
                if not store.tenant or connection.closed:
                    raise
                self.failures.append(TenantFailure(store.tenant, error))
                if len(self.readings) == begun:
                    self._lasting.append(self.failures[-1])

    def mark(self) -> Any:
        return written_marks(self._marks, {r.store.tenant: r.mark for r in self.readings})

    def identity(self) -> Any:
        stores = {tenant: mark.identity for tenant, mark in self._marks.items()}
        stores |= {r.store.tenant: r.mark.identity for r in self.readings}
        return {"kind": "postgres", "preset": self._source.preset, "stores": stores}

    def settle(self) -> None:
        if self._durability is not None:
            self._durability.note()
            self._durability.wait()

    def place(self, first: int, second: int) -> str:
        tables = sorted({r.store.name for r in self.readings}) or ["the store"]
        two = any(len(r.store.position) > 1 for r in self.readings)
        event = "late event" if self._came_late(first, second) else "event"
        return f"{', '.join(tables[:3])}: {event} at position {f'({first}, {second})' if two else second}"

    def cure(self, first: int, second: int) -> str:
        if not self._came_late(first, second):
            return ""
        return (
            "its position was passed by time, and the log has later versions of the aggregate, behind which it cannot "
            "stand: sync into a new log directory, where it comes in its order, and rebuild"
        )

    def _came_late(self, first: int, second: int) -> bool:
        return any(reading.came_late(first, second) for reading in self.readings)

    def notes(self) -> tuple[str, ...]:
        return tuple(line for reading in self.readings for line in reading.notes())

    def watermarks(self) -> tuple[WatermarkSeen, ...]:
        return tuple(seen for reading in self.readings if (seen := reading.watermark()) is not None)

    def unfinished(self) -> tuple[UnfinishedLine, ...]:
        return ()

    def close(self) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._stack.close()

    # One source -------------------------------------------------------------------------------------------------------

    def connect(self, what: str, *, statement_seconds: float | None = None) -> AnyConnection:
        """A read-only connection within the source's limits. Raises ConfigError, PostgresError."""
        seconds = self._limits.statement_seconds if statement_seconds is None else statement_seconds
        return connect(self._source.connection, f"{what} {self._source.name}", statement_timeout=seconds)

    def stores(self, connection: AnyConnection) -> list[Store]:
        """The stores that there are. A tenant whose store cannot be read as it was declared is a failure of its own.

        Raises ConfigError, SourceError, PostgresError.
        """
        with translated(self._where):
            found, failed = resolve(connection, self._source.name, self._source.store)
            self.failures += [TenantFailure(tenant, error) for tenant, error in failed.items()]
            return [one for store in found for one in divided(connection, store)]

    def channels(self) -> tuple[str, ...]:
        """On which channels appends are notified, once ``pieces`` was begun; () where nobody does."""
        found: list[str] = []
        for reading in self.readings:
            store = reading.store
            known = PRESETS.get(store.preset)
            if store.config.channels:
                found += store.config.channels
            elif known is not None and store.relation is not None:
                schema, table = store.relation.schema, store.relation.name
                found += [c.format(schema=schema, name=table.replace(".", "_")) for c in known.channels]
        return tuple(dict.fromkeys(found))

    def _failed(self) -> TenantsStopped:
        first = self.failures[0]
        names = ", ".join(f.tenant or "the one without a name" for f in self.failures[:20])
        more = f" and {len(self.failures) - 20} more" if len(self.failures) > 20 else ""
        count = f"{len(self.failures)} tenant{'s' if len(self.failures) > 1 else ''}"
        return TenantsStopped(
            f"{self._where}: {count} stopped, the others were read: {names}{more}; {first.tenant}: "
            f"{first.error.args[0]}",
            hint=first.error.hint,
        )


def open_postgres(
    source: PostgresSourceConfig,
    mark: Any,
    log: Log | None = None,
    only: Only | None = None,
    tell: Listener = ignore,
) -> PostgresReader:
    """Read on from a mark (None: from the beginning). Raises SourceError, ConfigError; connects when it is read."""
    return PostgresReader(source, mark, log, only, tell)
