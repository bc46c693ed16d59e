"""The log's tail beside the store, where the store may not be the one that was read (``tail.identity``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from runner.postgres import SQL, Identifier
from runner.sources.postgres.statement import ALIAS
from runner.sources.postgres.tail import Span
from runner.sources.postgres.tail.identity import COMPARED, check_tail, comparable

if TYPE_CHECKING:
    from runner.log import Log
    from runner.sources.postgres.arrange import Arranger
    from runner.sources.postgres.extraction import Extraction
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Tail

__all__ = ["check_against_log"]

_COLUMNS = ("source_position_0", "source_position_1", "tenant", "aggregate_id", "version", "type")


def check_against_log(
    log: Log,
    store: Store,
    statement: Statement,
    arranger: Arranger,
    extraction: Extraction,
    tail: Tail,
    changes: tuple[str, ...],
) -> None:
    """Compare the last events that the log has of a store with what the store has at their places.

    Raises SourceChanged with the positions where they differ.
    """
    ours = comparable(_tail(log, store))
    if not ours.num_rows:
        return
    places = sorted(zip(*(ours.column(name).to_pylist() for name in _COLUMNS[:2]), strict=True))
    columns = [Identifier(ALIAS, label) for label in store.position]
    bounds = [
        SQL("({}) {} ({})").format(
            SQL(", ").join(columns),
            SQL(sign),
            SQL(", ").join(
                statement.value(label, number)
                for label, number in zip(store.position, place[2 - len(columns) :], strict=True)
            ),
        )
        for sign, place in ((">=", places[0]), ("<=", places[-1]))
    ]
    span = Span(0, SQL(" AND ").join(bounds), SQL(", ").join(columns))
    found = []
    for rows in extraction.batches(statement, span, cuttable=False):
        # What was passed knowingly is not in the log yet, and will be asked for.
        passed = tail.passed([rows.column(name).to_numpy(zero_copy_only=False) for name in store.places])
        found.append(arranger.arrange(rows.filter(pa.array(~passed))).events.select(_COLUMNS))
    theirs = pa.Table.from_pylist([row for events in found for row in events.to_pylist()], schema=_SCHEMA)
    check_tail(f"[sources.{store.source}]", changes, ours, theirs)


_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in _COLUMNS[:2]),
        pa.field("tenant", pa.utf8()),
        pa.field("aggregate_id", pa.utf8()),
        pa.field("version", pa.int64()),
        pa.field("type", pa.utf8()),
    ]
)


def _tail(log: Log, store: Store) -> pa.Table:
    """The store's last events in the log, at least as many as are compared where there are so many."""
    last, reach = int(log.last_position), 10 * COMPARED
    while True:
        since = max(0, last - reach)
        found = log.places(store.source, since)
        if store.tenant:
            found = found.filter(pc.equal(found.column("tenant"), store.tenant))
        if since == 0 or found.num_rows >= COMPARED:
            return found
        reach *= 10
