"""Live tables that nobody else writes for a moment, while readers go on: how inline writers are caught up with."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import PostgresError, PostgresTimeout, PostgresUnavailable
from runner.postgres import qualified, translated
from runner.sinks.postgres.bookkeeping import opened
from runner.sinks.postgres.switching import SWITCHING
from runner.sinks.postgres.waiting import WAITING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from runner.config.postgres import PostgresReadModelsConfig
    from runner.postgres import AnyConnection
    from runner.sinks.postgres.port import TablePlace

__all__ = ["Held", "held"]


@dataclass
class Held:
    """Live tables that nobody else writes for now. until: when the server lets go, by ``time.monotonic``.

    keeping: (process, transaction) of those that kept a snapshot between two statements when the lock was had.
    """

    connection: AnyConnection
    until: float
    keeping: frozenset[tuple[int, str]] = frozenset()

    @property
    def process(self) -> int:
        """The server's, of the lock."""
        return self.connection.info.backend_pid

    def keeps_waiting(self, pids: Collection[int]) -> bool:
        """Whether one of these processes waits for this lock."""
        with translated("the lock of the live tables"):
            row = self.connection.execute(SWITCHING["kept_waiting"], {"pids": list(pids)}).fetchone()
        return row is not None and bool(row[0])


@contextmanager
def held(config: PostgresReadModelsConfig, places: Sequence[TablePlace], seconds: float) -> Iterator[Held]:
    """Hold these tables against writers. Whoever commits the connection keeps what was done in it."""
    where = f"the lock of {', '.join(p.words for p in places)}"
    until = time.monotonic() + seconds
    with closing(opened(config, "hold")) as connection, translated(where):
        connection.autocommit = False
        bound = str(round(seconds * 1000))
        connection.execute(SWITCHING["bounds"], {"lock": bound, "work": bound})
        for place in sorted(places):
            connection.execute(SWITCHING["hold_table"].format(table=qualified(place.schema, place.table)))
        keeping = frozenset(connection.execute(WAITING["keeping"]).fetchall())
        try:
            yield Held(connection, until, keeping)
        except PostgresUnavailable:
            # How the server ended it may have been lost with the connection.
            if not connection.closed or time.monotonic() < until:
                raise
            raise PostgresTimeout(f"{where} was not wanted for more than {seconds:g} s", sqlstate="25P03") from None
        finally:
            # Where the server has ended it already, why the block is left says more.
            with suppress(PostgresError), translated(where):
                if not connection.closed:
                    connection.rollback()
