"""The watermark of each store of a source, as ``runner status`` shows it: which rule, how far, who holds it, what would
end that. It looks at the store as a sync would, and keeps nothing of it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import PostgresTimeout
from runner.postgres import SQL, Composable, Identifier, translated
from runner.sources.postgres.holding import waits
from runner.sources.postgres.marks import StoreMark, read_marks
from runner.sources.postgres.reader import PostgresReader
from runner.sources.postgres.reading import tail_config
from runner.sources.postgres.statement import ALIAS, Statement, plain_column
from runner.sources.postgres.tail.choose import tail_for

if TYPE_CHECKING:
    from datetime import datetime

    from runner.config.postgres import PostgresSourceConfig
    from runner.postgres import AnyConnection
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Holder, Settled, StorePlace, Tail

__all__ = ["COUNTED", "Watermark", "watermarks"]

COUNTED = 100_000
"""More rows behind the log than these are not counted."""
SECONDS = 5.0
"""What a statement of ``status`` may take."""


@dataclass(frozen=True)
class Watermark:
    """Of one store. after: the place of the last row in the log. upto: what is settled now; newest: the highest visible
    place. behind: rows that the log does not have, None where counting them took too long; ``more`` where there are
    more. oldest: when the first of them was recorded. wait: seconds after which time alone settles more. given_up:
    positions of gaps that are asked for no longer, because there were too many. held: events that wait for one of a
    lower version of their aggregate, each with that one's place (``order``).
    """

    source: str
    tenant: str
    rule: Literal["exact", "by time"]
    words: str
    after: StorePlace | None
    upto: StorePlace | None
    newest: StorePlace | None
    behind: int | None
    more: bool
    oldest: datetime | None
    holders: tuple[Holder, ...]
    wait: float | None
    open_gaps: int
    late_events: int
    late: tuple[tuple[int, int], ...]
    held: tuple[tuple[StorePlace, StorePlace], ...]


def watermarks(source: PostgresSourceConfig, mark: Any) -> tuple[Watermark, ...]:
    """Of all stores of a source, from the mark of the last sync. Raises ConfigError, SourceError, PostgresError."""
    reader = PostgresReader(source, mark)
    marks = read_marks(f"[sources.{source.name}]", mark)
    with reader.connect("status", statement_seconds=SECONDS) as connection:
        return tuple(
            _watermark(connection, store, marks.get(store.tenant, StoreMark())) for store in reader.stores(connection)
        )


def _watermark(connection: AnyConnection, store: Store, mark: StoreMark) -> Watermark:
    relation = Statement(store).tail_relation()
    tail = tail_for(tail_config(store), relation, mark.tail)
    settled = tail.look(connection)
    behind, oldest = _behind(connection, store, tail, mark, settled)
    return Watermark(
        source=store.source,
        tenant=store.tenant,
        rule=tail.rule,
        words=tail.words,
        after=mark.after,
        upto=settled.upto,
        newest=settled.newest,
        behind=None if behind is None else min(behind, COUNTED),
        more=behind is not None and behind > COUNTED,
        oldest=oldest,
        holders=settled.holders,
        wait=settled.wait,
        open_gaps=settled.open_gaps,
        late_events=settled.late_events,
        late=settled.late,
        held=waits(connection, Statement(store), store, tail, mark, settled),
    )


def _behind(
    connection: AnyConnection, store: Store, tail: Tail, mark: StoreMark, settled: Settled
) -> tuple[int | None, datetime | None]:
    """(visible rows behind the log, when the first of them was recorded), None where the server does not tell in
    time."""
    statement = Statement(store)
    parts = [SQL("({})").format(c) for c in (tail.unread(mark.after), *statement.only())]
    condition = SQL(" AND ").join(parts)
    count = SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {} LIMIT {}) AS found").format(
        statement.relation(), condition, COUNTED + 1
    )
    behind: int | None = None
    oldest: datetime | None = None
    with suppress(PostgresTimeout), translated(f"[sources.{store.source}]"):
        row = connection.execute(count).fetchone()
        behind = None if row is None else row[0]
        recorded = _recorded(store)
        if behind and recorded is not None:
            order = SQL(", ").join(Identifier(ALIAS, label) for label in store.position)
            query = SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1").format(
                recorded, statement.relation(), condition, order
            )
            row = connection.execute(query).fetchone()
            oldest = None if row is None else row[0]
    return behind, oldest


def _recorded(store: Store) -> Composable | None:
    """The time of a row, where a column of its own holds it."""
    label = "" if store.recorded_at is None else plain_column(store.recorded_at.field)
    kind = store.cells[label].type if label in store.cells else ""
    if kind not in ("timestamptz", "timestamp"):
        return None
    column = Identifier(ALIAS, label)
    moment = SQL("{} AT TIME ZONE 'UTC'").format(column) if kind == "timestamp" else column
    # An infinite time is no time of Python's.
    return SQL("CASE WHEN isfinite({}) THEN {} END").format(column, moment)
