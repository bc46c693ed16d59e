"""Rows out of a server as fast as it may be asked: COPY over a few connections, each reading one cut of the order,
handed on in order and in bounded memory.

A cut is a range of the order's first column, wide enough for some hundred thousand rows; its width follows what the
cuts before it held. Where ``max_rows_per_second`` slows a cut down, the server's statement takes as long: then it is
narrower, so that ``statement_timeout`` does not end it. Each connection reads its cut in a read-only transaction of its
own: what is asked for is settled, so any snapshot shows it. Where no index serves the order there is one cut, which the
server sorts once.

Threads, not Ray: the server makes the rows, and what is done here is little and outside of the interpreter's lock. Two
million rows with jsonb, server and reader on the same two cores: 17.8 s over one connection, 9.4 s over two, 7.7 s over
four, of which this process computed 1.2 s; the same cuts as Ray tasks in two processes took 15.6 s, since each batch
goes through the object store to the log's one writer. More machines would wait for the same server.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from queue import Full, Queue
from typing import TYPE_CHECKING, Any

from runner.errors import PostgresConflict, PostgresTimeout, SourceError
from runner.postgres import translated
from runner.postgres.copy_out import copy_out
from runner.stats import Noted, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pyarrow as pa

    from runner.config.stores import Limits
    from runner.postgres import AnyConnection
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.tail import Span
    from runner.stats import Listener

__all__ = ["Extraction", "Throttle"]

ROWS = 200_000
"""Rows of a cut, about."""
FIRST_WIDTH, NARROWEST = 50_000, 1_000
"""Steps of the order's first column: of the first cut, and of any."""
WAITING = 4
"""Batches of one cut that wait for those before them."""
LAG_POLL = 1.0
TOLD_AGAIN = 60.0
"""Seconds after which it is said again that reading waits."""


class Throttle:
    """A token bucket of rows, shared by all connections of a source: a second's worth may come at once."""

    def __init__(self, rows_per_second: int) -> None:
        self._rate, self._left, self._seen = rows_per_second, float(rows_per_second), time.monotonic()
        self._lock = threading.Lock()

    def take(self, rows: int, stop: threading.Event) -> None:
        """Wait until so many rows may have been read."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._left = min(self._left + (now - self._seen) * self._rate, float(self._rate)) - rows
            self._seen = now
            owed = -self._left / self._rate
        if owed > 0:
            stop.wait(owed)


@dataclass
class _Cut:
    """One range and what was read of it so far. None ends the queue, an exception too."""

    low: int | None
    high: int | None
    queue: Queue[Any] = field(default_factory=lambda: Queue(WAITING))
    rows: int = 0


class Extraction:
    """Reads spans. connect: gives a fresh connection. where: begins messages. tell: is told when reading waits, in the
    thread that reads. Its connections are kept for the next.
    """

    def __init__(
        self, where: str, connect: Callable[[], AnyConnection], limits: Limits, tell: Listener = ignore
    ) -> None:
        self._where, self._connect, self._limits, self._tell = where, connect, limits, tell
        self._told: float | None = None
        self._throttle = Throttle(limits.rows_per_second)
        self._free: list[AnyConnection] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._density = 0.0
        """Rows for each step of the order's first column, as the last cut had them."""

    def batches(self, statement: Statement, span: Span, *, cuttable: bool) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a span in order. cuttable: an index serves the order, so that ranges of it are cheap.

        Raises PostgresError.
        """
        self._stop.clear()
        cuts = self._cuts(span, cuttable)
        first, second = next(cuts), next(cuts, None)
        if second is None or self._limits.connections == 1:
            for cut in chain([first] if second is None else [first, second], cuts):
                with closing(self._read(statement, span, cut, self._say)) as rows:
                    for batch in rows:
                        cut.rows += batch.num_rows
                        yield batch
                self._learn(cut)
            return
        yield from self._together(statement, span, chain([first, second], cuts))

    def _together(
        self, statement: Statement, span: Span, cuts: Iterator[_Cut]
    ) -> Generator[pa.RecordBatch, None, None]:
        waiting: deque[_Cut] = deque()
        pool = ThreadPoolExecutor(self._limits.connections, thread_name_prefix="extraction")
        try:
            while True:
                # One more than are read at the same time, so that no connection waits for the caller.
                while len(waiting) <= self._limits.connections and (cut := next(cuts, None)) is not None:
                    waiting.append(cut)
                    pool.submit(self._fill, statement, span, cut)
                if not waiting:
                    return
                cut = waiting[0]
                while (found := cut.queue.get()) is not None:
                    if isinstance(found, BaseException):
                        raise found
                    if isinstance(found, Noted):
                        self._say(found)
                        continue
                    cut.rows += found.num_rows
                    yield found
                waiting.popleft()
                self._learn(cut)
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._stop.set()
        while self._free:
            self._free.pop().close()

    # Cuts -------------------------------------------------------------------------------------------------------------

    def _cuts(self, span: Span, cuttable: bool) -> Iterator[_Cut]:
        low, high = span.low, span.high
        if not cuttable or low is None or high is None or low >= high:
            # The span's own condition is enough.
            yield _Cut(None, None)
            return
        most = self._most()
        width = min(FIRST_WIDTH, most)
        while low < high:
            # What was read meanwhile says how wide the next ones may be.
            if self._density:
                width = max(min(NARROWEST, most), min(int(most / self._density), width * 8))
            stop = min(high, low + width)
            yield _Cut(low, stop)
            low = stop

    def _most(self) -> int:
        """Rows of a cut: at their rate they take a quarter of a statement's time at most."""
        limits = self._limits
        if not (limits.rows_per_second and limits.statement_seconds):
            return ROWS
        slow = limits.rows_per_second * limits.statement_seconds / 4 / limits.connections
        return max(1, min(ROWS, int(slow)))

    def _learn(self, cut: _Cut) -> None:
        if cut.low is not None and cut.high is not None and cut.high > cut.low:
            self._density = max(cut.rows, 1) / (cut.high - cut.low)

    # One cut ----------------------------------------------------------------------------------------------------------

    def _fill(self, statement: Statement, span: Span, cut: _Cut) -> None:
        """In a thread: what is read goes into the cut's queue, None behind the last, an error where there is one."""
        try:
            for batch in self._read(statement, span, cut, lambda noted: self._put(cut, noted)):
                self._put(cut, batch)
        except BaseException as error:  # handed to the thread that reads
            self._put(cut, error)
        else:
            self._put(cut, None)

    def _put(self, cut: _Cut, what: Any) -> None:
        while not self._stop.is_set():
            try:
                cut.queue.put(what, timeout=0.1)
            except Full:
                continue
            return

    def _read(
        self, statement: Statement, span: Span, cut: _Cut, say: Callable[[Noted], None]
    ) -> Generator[pa.RecordBatch, None, None]:
        query = statement.rows(span.condition, span.order, (cut.low, cut.high))
        attempts = 3
        while True:
            connection = self._taken()
            given = False
            try:
                self._wait_for_replicas(connection, say)
                copied: Any = copy_out(connection, query, statement.columns, cancelled=self._look_up, where=self._where)
                # Left early it is ended before the connection is closed, which its thread uses.
                with closing(copied) as rows:
                    for batch in rows:
                        given = True
                        self._throttle.take(batch.num_rows, self._stop)
                        yield batch
            except PostgresConflict:
                # A standby ended it for its own replay. Where nothing was handed on it can be asked again.
                connection.close()
                attempts -= 1
                if given or not attempts:
                    raise
            except _Stopped:
                connection.close()
                return
            except BaseException:
                connection.close()
                raise
            else:
                with self._lock:
                    self._free.append(connection)
                return

    def _look_up(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _wait_for_replicas(self, connection: AnyConnection, say: Callable[[Noted], None]) -> None:
        """What the limit protects is worth more than the sync, for a while. Raises PostgresTimeout then, _Stopped."""
        limit, longest = self._limits.replica_lag_seconds, self._limits.replica_wait_seconds
        begun, said = time.monotonic(), -TOLD_AGAIN
        while limit and (lag := replica_lag(connection, self._where)) > limit:
            now = time.monotonic()
            behind = f"{self._where}: reading waits for a standby that is {lag:.0f} s behind"
            if now - begun >= longest:
                raise PostgresTimeout(
                    f"{behind} since {longest:g} s, longer than max_replica_wait (max_replica_lag is {limit:g} s)",
                    hint="see pg_stat_replication of its primary; or raise max_replica_lag or max_replica_wait of "
                    f"{self._where}",
                )
            if now - said >= TOLD_AGAIN:
                said = now
                say(Noted(f"{behind} (max_replica_lag is {limit:g} s)"))
            self._stop.wait(min(LAG_POLL, max(0.0, begun + longest - now)))
            self._look_up()

    def _say(self, noted: Noted) -> None:
        """Once for all connections that wait."""
        now = time.monotonic()
        if self._told is None or now - self._told >= TOLD_AGAIN / 2:
            self._told = now
            self._tell(noted)

    def _taken(self) -> AnyConnection:
        with self._lock:
            while self._free:
                connection = self._free.pop()
                if not connection.closed:
                    return connection
        return self._connect()


class _Stopped(Exception):
    """Nobody reads on."""


def replica_lag(connection: AnyConnection, where: str) -> float:
    """Seconds by which a standby is behind, or the slowest standby that the server tells of."""
    from runner.sources.postgres.store import STATEMENTS

    with translated(where):
        row = connection.execute(STATEMENTS["replica_lag"]).fetchone()
    if row is None:
        raise SourceError(f"{where}: the server says nothing of its replicas")
    return float(row[0] or 0.0)
