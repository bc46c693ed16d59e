"""Some events of a store, from its beginning and from places further in, for ``init`` to learn their fields from.

They come as a sync would take them: through the preset's mapping and the decoding of payloads. Nothing large is read:
where no index serves the order, the first rows that the server finds are all.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.errors import SourceError
from runner.log.arrival import ARRIVAL_SCHEMA
from runner.postgres import SQL, Identifier, Literal, connect, translated
from runner.postgres.copy_out import copy_out
from runner.sources.postgres.arrange import Arranger
from runner.sources.postgres.payloads import Decoder
from runner.sources.postgres.reader import PostgresReader
from runner.sources.postgres.recognition import recognise
from runner.sources.postgres.statement import ALIAS, Statement
from runner.sources.postgres.store import indexed

if TYPE_CHECKING:
    from runner.config.connection import ConnectionSettings
    from runner.config.postgres import PostgresSourceConfig
    from runner.postgres import AnyConnection, Composable, Composed
    from runner.sources.postgres.recognition import Recognised
    from runner.sources.postgres.store import Store

__all__ = ["StoreSample", "sample_store", "stores_at", "tag_prefixes"]

FIRST = 10_000
PLACES, EACH = 40, 250
"""Further in: so many places, so many rows at each."""
STORES = 20
"""So many tenants are looked at."""
SECONDS = 30.0
SCHEMA = pa.schema([(name, ARRIVAL_SCHEMA.field(name).type) for name in ("type", "recorded_at", "payload")])
TAGS = 5_000


@dataclass(frozen=True)
class StoreSample:
    """events: of ``SCHEMA``. whole: all rows of the store are in it. bad: rows that no sync takes."""

    events: pa.Table
    whole: bool
    bad: int


def stores_at(settings: ConnectionSettings) -> tuple[Recognised, ...]:
    """The known event stores of a database. Raises ConfigError, PostgresError."""
    with connect(settings, "init", statement_timeout=SECONDS) as connection, translated(settings.where):
        return recognise(connection)


def tag_prefixes(settings: ConnectionSettings, schema: str, table: str) -> tuple[str, ...]:
    """What the tags of a store's events begin with, up to and with the first dash or colon; the most frequent first.

    Raises PostgresError.
    """
    query = SQL("SELECT unnest(tags) FROM (SELECT tags FROM {} LIMIT {}) AS few").format(
        Identifier(schema, table), Literal(TAGS)
    )
    with connect(settings, "init", statement_timeout=SECONDS) as connection, translated(settings.where):
        tags = [str(tag) for (tag,) in connection.execute(query).fetchall()]
    found = Counter(m.group() for tag in tags if (m := re.match(r"[^-:]*[-:]", tag)))
    return tuple(prefix for prefix, _ in found.most_common(8))


def sample_store(source: PostgresSourceConfig) -> StoreSample:
    """Look at some events. Raises ConfigError, PostgresError; SourceError where none can be taken, with the reason."""
    reader = PostgresReader(source)
    with closing(reader.connect("init", statement_seconds=SECONDS)) as connection:
        stores = reader.stores(connection)
        if reader.failures:
            raise reader.failures[0].error
        taken = [_Sampling(connection, store).taken() for store in stores[:STORES]]
    return StoreSample(
        pa.concat_tables([one.events for one in taken]),
        all(one.whole for one in taken) and len(stores) <= STORES,
        sum(one.bad for one in taken),
    )


class _Sampling:
    """Of one store."""

    def __init__(self, connection: AnyConnection, store: Store) -> None:
        self._connection, self._store = connection, store
        self._where = f"[sources.{store.source}]"
        self._statement = Statement(store)
        decoder = Decoder(self._where, store.config)
        self._arranger = Arranger(store, self._statement, decoder)
        self._events: list[pa.RecordBatch] = []
        self._bad = 0
        self._first_bad = ""

    def taken(self) -> StoreSample:
        relation = self._statement.tail_relation()
        with translated(self._where):
            in_order = indexed(self._connection, self._store)
        order = SQL(", ").join(Identifier(ALIAS, label) for label in self._store.position) if in_order else None
        rows = self._read(relation.condition, order, FIRST)
        whole = rows < FIRST
        if not whole and order is not None:
            self._further_in(relation.condition, order)
        if self._bad and not self._events:
            raise SourceError(self._first_bad, hint=self._cure())
        return StoreSample(pa.Table.from_batches(self._events, SCHEMA), whole, self._bad)

    def _further_in(self, condition: Composable, order: Composable) -> None:
        first = self._store.position[0]
        column = Identifier(ALIAS, first)
        first_row, last_of_first, last_row = (
            self._number(self._statement.end(condition, last=last, skipped=skipped))
            for last, skipped in ((False, 0), (False, FIRST - 1), (True, 0))
        )
        step = (last_row - first_row) / PLACES
        # The last place is the end itself: rare types tend to come late.
        places = [*(first_row + int(step * place) for place in range(1, PLACES - 1)), last_row - EACH]
        # Each place ends where the next begins, and all are behind the first rows: so no row is read twice.
        starts = sorted({max(place, last_of_first) for place in places})
        for start, end in zip(starts, [*starts[1:], last_row], strict=True):
            low, high = (self._statement.value(first, value) for value in (start, end))
            here = SQL("{} AND {} > {} AND {} <= {}").format(condition, column, low, column, high)
            self._read(here, order, EACH)

    def _number(self, query: Composed) -> int:
        """The one number that a query gives; 0 where it gives none."""
        with translated(self._where):
            row = self._connection.execute(query).fetchone()
        return int(row[0]) if row is not None else 0

    def _read(self, condition: Composable, order: Composable | None, most: int) -> int:
        query = SQL("{} LIMIT {}").format(self._statement.rows(condition, order), Literal(most))
        copied: Any = copy_out(self._connection, query, self._statement.columns, where=self._where)
        rows = 0
        with closing(copied) as batches:
            for batch in batches:
                rows += batch.num_rows
                arranged = self._arranger.arrange(batch)
                if arranged.events.num_rows:
                    self._events.append(arranged.events.select(SCHEMA.names).cast(SCHEMA))
                self._bad += len(arranged.bad)
                if arranged.bad and not self._first_bad:
                    self._first_bad = f"{self._store.name}: no event of it can be read: {arranged.bad[0][1]}"
        return rows

    def _cure(self) -> str:
        return "write such a function beside runner.toml and run init again with --decode module:function"
