"""One store read once: late rows first, then what its tail says is settled; the mark stands behind each piece.

The order of the steps is the tail's (``tail.port``).
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import SourceError
from runner.log.arrival import NO_TIME
from runner.postgres import translated
from runner.sources.port import BadLine, Piece
from runner.sources.postgres.arrange import Arranger, shown_row
from runner.sources.postgres.holding import Holding
from runner.sources.postgres.order import places_in
from runner.sources.postgres.payloads import Decoder
from runner.sources.postgres.same_store import SameStoreCheck
from runner.sources.postgres.statement import Statement
from runner.sources.postgres.store import described, indexed
from runner.sources.postgres.tail import Span, TailConfig
from runner.sources.postgres.tail.choose import tail_for
from runner.sources.postgres.tail.identity import StoreIdentity
from runner.sources.postgres.tenants import (
    TenantFailure,
    behind_stop,
    but_rows,
    of_tenant,
    tenant_label,
    tenant_name,
    tenants_of,
    without_stopped,
)
from runner.stats import WatermarkSeen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Any

    from runner.log import Log
    from runner.postgres import AnyConnection
    from runner.sources.port import Only
    from runner.sources.postgres.arrange import Arranged
    from runner.sources.postgres.extraction import Extraction
    from runner.sources.postgres.marks import StoreMark
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Settled, StorePlace

__all__ = ["StoreReading", "tail_config"]

NAMED = 20
"""Late events that are named."""
PAUSE = 0.01
AGAIN = 10_000
"""A look that gave so many rows is followed by another: more came meanwhile."""


@dataclass(frozen=True)
class _Batch:
    """Rows that came, and the events that they are."""

    span: Span
    rows: pa.RecordBatch
    arranged: Arranged


class StoreReading:
    """One store while it is read. mark: behind all pieces that were given. settled: the last look."""

    def __init__(
        self,
        store: Store,
        mark: StoreMark,
        connection: AnyConnection,
        extraction: Extraction,
        log: Log | None,
        only: Only | None = None,
    ) -> None:
        """Look the store up and see whether it is the one that was read. Raises SourceError, PostgresError."""
        self.store, self._where = store, f"[sources.{store.source}]"
        self._connection, self._extraction = connection, extraction
        self._statement = Statement(store)
        decoder = Decoder(self._where, store.config)
        self._arranger = Arranger(store, self._statement, decoder)
        self._mark = mark.of(described(store), self._where)
        self._left_out = dict(mark.left_out)
        self._stopped: dict[str, StorePlace | None] = dict(mark.stopped)
        with translated(self._where):
            self._cuttable = indexed(connection, store)
        known = None if log is None else lambda a, b: log.source_positions(store.source, store.tenant, a, b)
        relation = self._statement.tail_relation()
        self._tail = tail_for(tail_config(store), relation, self._mark.tail, known=known)
        self._holding = Holding(connection, self._statement, store, self._tail, mark, self._is_stopped)
        self._divisible = bool(tenant_label(store)) and store.config.on_bad_line == "stop"
        self.settled: Settled | None = None
        self.patient = True
        """Whether rows that time alone will settle soon are waited for."""
        self._late_events: list[str] = []
        self._late_places: set[tuple[int, ...]] = set()
        self.failures: list[TenantFailure] = []
        self._identify(log, only)

    @property
    def mark(self) -> StoreMark:
        return replace(
            self._mark,
            tail=self._tail.mark(),
            left_out=dict(self._left_out),
            stopped=dict(self._stopped),
            held=self._holding.places,
        )

    @property
    def rule(self) -> str:
        """How the newest rows are known to be whole, in a line."""
        return self._tail.words

    def watermark(self) -> WatermarkSeen | None:
        """As the last look found it; None where there was none."""
        settled = self.settled
        if settled is None:
            return None
        now = datetime.now(UTC)
        longest = min(settled.holders, key=lambda holder: holder.since or now, default=None)
        return WatermarkSeen(
            self.store.source,
            self.store.tenant,
            self._tail.rule,
            settled.behind,
            len(settled.holders),
            0.0 if longest is None or longest.since is None else (now - longest.since).total_seconds(),
            settled.open_gaps,
            settled.late_events,
            "" if longest is None or longest.pid is None else str(longest.pid),
            "" if longest is None else longest.application,
        )

    def notes(self) -> list[str]:
        """What was left out, who holds the rest back, which gaps are still asked for; () where nothing is odd."""
        tenant = f"{self.store.tenant}: " if self.store.tenant else ""
        found = [f"{tenant}left out: {n:,} {name}" for name, n in sorted(self._left_out.items())]
        settled = self.settled
        if settled is None:
            return found
        for holder in settled.holders:
            named = f" ({holder.application})" if holder.application else ""
            who = holder.what if holder.pid is None else f"pid {holder.pid}{named}: {holder.what}"
            since = f" since {holder.since:%Y-%m-%d %H:%M:%S} UTC" if holder.since else ""
            ends = f"; would end it: {holder.ends}" if holder.ends else ""
            found.append(f"{tenant}newer events wait for {who}{since}{ends}")
        if settled.wait:
            found.append(f"{tenant}newer events are passed by time: sync again in {settled.wait:.0f} s")
        for place, behind in self._holding.waits[:1]:
            count = len(self._holding.waits)
            events = "1 event waits" if count == 1 else f"{count:,} events wait"
            shown = f"that at {_shown(place)} for that at {_shown(behind)}"
            found.append(f"{tenant}{events} for a lower version of the aggregate that is not settled yet: {shown}")
        if settled.open_gaps:
            found.append(f"{tenant}{settled.open_gaps:,} positions were passed by time and are still asked for")
        if settled.late_events:
            found.append(f"{tenant}{settled.late_events:,} events came late so far and were taken in")
        found += [f"{tenant}taken in late: {event}" for event in self._late_events]
        return found

    def _identify(self, log: Log | None, only: Only | None) -> None:
        now = StoreIdentity.read(self._connection, self._statement.tail_relation())
        if self._mark.identity is not None:
            was = StoreIdentity.from_json(self._mark.identity)
            changes = now.changes(was)
            if changes and log is not None:
                same = SameStoreCheck(log, self.store, self._tail, self._mark, only)
                if not now.is_another(was):
                    changes = (*same.partitions(self._connection), *changes)
                same.check(self._statement, self._arranger, self._extraction, changes)
            if now.is_another(was):
                with translated(self._where):
                    self._tail.new_life(self._connection)
        self._mark = replace(self._mark, identity=now.to_json())

    # Reading ----------------------------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[Piece]:
        """All that is settled. Raises SourceError, PostgresError."""
        first, end = True, 0.0
        while True:
            with translated(self._where):
                settled = self.settled = self._tail.look(self._connection)
            if first and self._stopped:
                yield from self._stopped_tenants(settled)
            for span in self._holding.begin(settled):
                with closing(self._batches(span, cuttable=False)) as batches:
                    for batch in batches:
                        yield from self._again(batch)
            self._holding.begun()
            for span in self._tail.late_spans(settled):
                with closing(self._batches(span, cuttable=False)) as batches:
                    for batch in batches:
                        yield self._late(batch)
            self._tail.late_done()
            rows = 0
            for span in self._tail.spans(self._mark.after, settled):
                with closing(self._batches(self._with_ends(span), cuttable=self._cuttable)) as batches:
                    for batch in batches:
                        rows += batch.rows.num_rows
                        yield from self._next(batch)
            if (rest := self._holding.rest()) is not None:
                yield Piece(rest)
            first = False
            if rows >= AGAIN:
                continue
            if settled.wait is None or not self.patient or (end and time.monotonic() >= end):
                return
            # Once for as long as the first look said: what it saw is settled then.
            end = end or time.monotonic() + settled.wait + PAUSE
            time.sleep(min(settled.wait + PAUSE, max(0.0, end - time.monotonic())))

    def _batches(self, span: Span, *, cuttable: bool) -> Generator[_Batch, None, None]:
        """Close it: a connection is in use until its end."""
        with closing(self._extraction.batches(self._statement, span, cuttable=cuttable)) as found:
            for rows in found:
                yield _Batch(span, rows, self._arranger.arrange(rows))

    def _with_ends(self, span: Span) -> Span:
        """To be cut a span needs both ends, and a first reading has no lower one."""
        if not self._cuttable or (span.low is not None and span.high is not None):
            return span
        ends = []
        for last in (False, True):
            with translated(self._where):
                row = self._connection.execute(self._statement.end(span.condition, last=last)).fetchone()
            if row is None:
                return span
            ends.append(int(row[0]))
        return replace(span, low=ends[0] - 1, high=ends[1])

    def _again(self, batch: _Batch) -> Iterator[Piece]:
        """Rows that were held: the tail knows that they came, and the mark stands behind them."""
        if batch.arranged.bad:
            raise self._bad(batch)
        if self._stopped:
            tenants = tenants_of(self.store, batch.rows)
            stopped = pc.is_in(tenants, value_set=pa.array(list(self._stopped), tenants.type))
            self._holding.keep(batch.rows.filter(stopped))
        events = self._ordered(batch, batch.arranged)
        self._holding.came(batch.rows)
        yield Piece(events)

    def _next(self, batch: _Batch) -> Iterator[Piece]:
        arranged = batch.arranged
        if arranged.bad and self.store.config.on_bad_line == "stop" and not self._divisible:
            row = arranged.bad[0][0]
            events = arranged.events.slice(0, int(np.searchsorted(arranged.rows, row)))
            if row:
                events = self._ordered(batch, replace(arranged, events=events, rows=arranged.rows[: len(events)]), row)
                self._taken(batch, row)
                yield Piece(events)
            raise self._bad(batch)
        if self._divisible:
            arranged = self._not_stopped(batch)
        events = self._ordered(batch, arranged)
        self._taken(batch, batch.rows.num_rows)
        for name, n in batch.arranged.left_out.items():
            self._left_out[name] = self._left_out.get(name, 0) + n
        yield Piece(events, self._rejected(batch))

    def _ordered(self, batch: _Batch, arranged: Arranged, rows: int | None = None) -> pa.RecordBatch:
        return self._holding.in_order(batch.rows, arranged, batch.span, self._mark.after, rows)

    def _is_stopped(self, tenant: str) -> bool:
        return any(tenant_name(self.store, name) == tenant for name in self._stopped)

    def _late(self, batch: _Batch) -> Piece:
        if self._stopped:
            behind = behind_stop(self.store, self._tail, batch.rows, batch.span.epoch, self._stopped)
            batch = replace(batch, arranged=but_rows(batch.arranged, behind))
        if batch.arranged.bad and self.store.config.on_bad_line == "stop":
            raise self._bad(batch)
        # Asked before the tail knows that they came: they are among the rows that stand before others.
        events = self._ordered(batch, batch.arranged)
        self._tail.taken(places_in(self.store, batch.rows), late=True)
        self._name_late(batch.arranged.events)
        return Piece(events, self._rejected(batch))

    def _name_late(self, events: pa.RecordBatch) -> None:
        names = ("source_position_0", "source_position_1", "type", "aggregate_id")
        for first, second, kind, aggregate in zip(*(events.column(n).to_pylist() for n in names), strict=True):
            self._late_places.add((first, second))
            if len(self._late_events) < NAMED:
                at = f"({first}, {second})" if len(self.store.position) > 1 else str(second)
                self._late_events.append(f"{kind} of {aggregate!r} at position {at}")

    def came_late(self, first: int, second: int) -> bool:
        """Whether the event at a source position was handed out after higher ones, by this reading."""
        return (first, second) in self._late_places

    def _taken(self, batch: _Batch, rows: int) -> None:
        """The first of these rows were handed out, or are no events: the mark stands behind them."""
        recorded = np.full(batch.rows.num_rows, NO_TIME, np.int64)
        times = batch.arranged.events.column("recorded_at").cast(pa.int64()).fill_null(NO_TIME)
        recorded[batch.arranged.rows] = times.to_numpy(zero_copy_only=False)
        places = [column[:rows] for column in places_in(self.store, batch.rows)]
        columns = [int(column[-1]) for column in places]
        self._mark = replace(self._mark, after=self._tail.place(batch.span.epoch, columns))
        self._tail.taken(places, recorded[:rows])

    def _place(self, batch: _Batch, row: int) -> StorePlace:
        columns = [batch.rows.column(label)[row].as_py() for label in self.store.places]
        return self._tail.place(batch.span.epoch, columns)

    # Bad rows ---------------------------------------------------------------------------------------------------------

    def _bad(self, batch: _Batch, which: int = 0) -> SourceError:
        row, reason = batch.arranged.bad[which]
        values = [batch.rows.column(label)[row].as_py() for label in self.store.places]
        hint = 'mend the row or the mapping, or set on_bad_line = "reject" to leave such rows out'
        if reason.startswith("payload: neither JSON"):
            hint = f"see decode of {self._where} in runner.toml"
        return SourceError(f"{self.store.name}: row at position {_shown(values)}: {reason}", hint=hint)

    def _rejected(self, batch: _Batch) -> tuple[BadLine, ...]:
        if self.store.config.on_bad_line == "stop":
            return ()
        numbers = batch.rows.column(self.store.places[-1])
        return tuple(
            BadLine(self.store.name, int(numbers[row].as_py()), reason, shown_row(batch.rows, row))
            for row, reason in batch.arranged.bad
        )

    # Tenants of a column ----------------------------------------------------------------------------------------------

    def _not_stopped(self, batch: _Batch) -> Arranged:
        """What may be handed out, where bad rows stop their tenants only."""
        if not batch.arranged.bad and not self._stopped:
            return batch.arranged
        tenants = tenants_of(self.store, batch.rows)
        at = dict.fromkeys(self._stopped, 0)
        for which, (row, _) in enumerate(batch.arranged.bad):
            tenant = tenants[row].as_py()
            if tenant not in at:
                at[tenant] = row
                self._stopped[tenant] = self._place(batch, row - 1) if row else self._mark.after
                self.failures.append(TenantFailure(tenant_name(self.store, tenant), self._bad(batch, which)))
        return without_stopped(batch.arranged, tenants, at)

    def _stopped_tenants(self, settled: Settled) -> Iterator[Piece]:
        """Read on where tenants were stopped, as far as the others were read."""
        if self._mark.after is None:
            self._stopped.clear()
            return
        for tenant, place in list(self._stopped.items()):
            going_on = True
            # Late rows come by themselves, whoever's they are.
            for span in self._tail.between(place, self._mark.after, settled):
                if going_on:
                    with closing(self._batches(of_tenant(self.store, span, tenant), cuttable=False)) as batches:
                        for batch in batches:
                            yield from self._of_stopped(tenant, batch)
                            if batch.arranged.bad:
                                going_on = False
                                break
            if going_on:
                del self._stopped[tenant]

    def _of_stopped(self, tenant: str, batch: _Batch) -> Iterator[Piece]:
        """A stopped tenant's rows up to the next bad one."""
        bad = batch.arranged.bad
        end = bad[0][0] if bad else batch.rows.num_rows
        if end:
            self._stopped[tenant] = self._place(batch, end - 1)
            yield Piece(batch.arranged.events.slice(0, int(np.searchsorted(batch.arranged.rows, end))))
        if bad:
            self.failures.append(TenantFailure(tenant_name(self.store, tenant), self._bad(batch)))


def _shown(numbers: Sequence[Any]) -> str:
    """The columns of the order of a row, in words."""
    return str(numbers[0]) if len(numbers) == 1 else f"({', '.join(map(str, numbers))})"


def tail_config(store: Store) -> TailConfig:
    """The rule of the preset, or the config's, with the config's times."""
    own = store.config.tail
    return TailConfig(
        store.tail, grace=timedelta(seconds=own.grace), window=timedelta(seconds=own.window), sequence=own.sequence
    )
