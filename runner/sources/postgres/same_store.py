"""The log's tail beside the store, where the store may not be the one that was read (``tail.identity``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.postgres import translated
from runner.sources.postgres.order import places_in
from runner.sources.postgres.tail.identity import COMPARED, check_tail, comparable, in_order
from runner.sources.postgres.tenants import behind_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy.typing as npt

    from runner.log import Log
    from runner.postgres import AnyConnection
    from runner.sources.postgres.arrange import Arranger
    from runner.sources.postgres.extraction import Extraction
    from runner.sources.postgres.marks import StoreMark
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.sources.postgres.tail import Span, StorePlace, Tail

__all__ = ["SameStoreCheck"]

_COLUMNS = ("source_position_0", "source_position_1", "tenant", "aggregate_id", "version", "type")
_KEY = _COLUMNS[:4]
_OWED = "owed"
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in _COLUMNS[:2]),
        *(pa.field(name, pa.utf8()) for name in _COLUMNS[2:4]),
        pa.field("version", pa.int64()),
        pa.field("type", pa.utf8()),
    ]
)


class SameStoreCheck:
    """Whether a store is the one that was read, by what the log has of it.

    only: what the log takes of arriving events (``sync --aggregates``).
    """

    def __init__(
        self,
        log: Log,
        store: Store,
        tail: Tail,
        mark: StoreMark,
        only: Callable[[pa.RecordBatch], pa.RecordBatch] | None,
    ) -> None:
        self._attached: set[tuple[int, ...]] = set()
        self._log, self._store, self._tail, self._mark, self._only = log, store, tail, mark, only
        self._held = set(mark.held)

    def partitions(self, connection: AnyConnection) -> tuple[str, ...]:
        """Of the same table: which partitions went, in words. Rows of those that came are to come yet.

        Raises PostgresError.
        """
        with translated(f"[sources.{self._store.source}]"):
            columns = self._tail.attached(connection)
            self._attached = set(zip(*(column.tolist() for column in columns), strict=True))
            return self._tail.detached(connection)

    def check(self, statement: Statement, arranger: Arranger, extraction: Extraction, changes: tuple[str, ...]) -> None:
        """Compare the last events that the log has of the store with what the store has at their places.

        Raises SourceChanged with the positions where they differ.
        """
        ours = self._last_of_log()
        if not ours.num_rows:
            return
        first, last = self._ends(ours)
        # Behind the place before the first one: its own is compared too.
        spans = self._tail.between((*first[:-1], first[-1] - 1), last)
        known = set(zip(*(ours.column(name).to_pylist() for name in _KEY), strict=True))
        found: list[dict[str, Any]] = []
        for span in spans:
            for rows in extraction.batches(statement, span, cuttable=False):
                events = self._events(arranger, rows, span).to_pylist()
                # What is to come yet may be in the log already, where a commit came before the rest of it.
                found += [e for e in events if not e.pop(_OWED) or tuple(e[name] for name in _KEY) in known]
        theirs = pa.Table.from_pylist(found, schema=_SCHEMA)
        if self._store.version is None:
            # The log has numbers of its own then.
            ours, theirs = (
                events.set_column(4, "version", pa.nulls(len(events), pa.int64()))
                for events in (ours.select(_COLUMNS), theirs)
            )
        check_tail(f"[sources.{self._store.source}]", changes, ours, theirs)

    def _events(self, arranger: Arranger, rows: pa.RecordBatch, span: Span) -> pa.RecordBatch:
        """What the log would take of these rows, each with whether it is to come yet."""
        arranged = arranger.arrange(rows)
        owed = pa.array(self._owed(rows, span.epoch)[arranged.rows])
        events = arranged.events.append_column(_OWED, owed)
        return (events if self._only is None else self._only(events)).select([*_COLUMNS, _OWED])

    def _owed(self, rows: pa.RecordBatch, epoch: int) -> npt.NDArray[np.bool_]:
        """Rows that were passed knowingly: the log need not have them, and they will be asked for."""
        columns = places_in(self._store, rows)
        owed = self._tail.passed(columns)
        if known := self._held | self._attached:
            places = zip(*(column.tolist() for column in columns), strict=True)
            owed = owed | np.array([place in known for place in places], np.bool_)
        if self._mark.stopped:
            owed = owed | behind_stop(self._store, self._tail, rows, epoch, self._mark.stopped)
        return owed

    # The log's --------------------------------------------------------------------------------------------------------

    def _last_of_log(self) -> pa.Table:
        """The store's last events in the log, with their epochs: as many as are compared where there are so many."""
        last, reach = int(self._log.last_position), 10 * COMPARED
        while True:
            since = max(0, last - reach)
            found = self._log.places(self._store.source, since)
            if self._store.tenant:
                found = found.filter(pc.equal(found.column("tenant"), self._store.tenant))
            found = found.append_column("epoch", pa.array(self._tail.epochs(self._columns(found))))
            # The first may be a late one: what stands in order behind it is what tells.
            if since == 0 or len(in_order(found)) > COMPARED:
                return comparable(found)
            reach *= 10

    def _columns(self, log: pa.Table) -> Sequence[npt.NDArray[np.int64]]:
        names = _COLUMNS[2 - len(self._store.position) : 2]
        return [log.column(name).to_numpy() for name in names]

    def _ends(self, log: pa.Table) -> tuple[StorePlace, StorePlace]:
        """The lowest and the highest place."""
        columns = self._columns(log)
        epochs = log.column("epoch").to_numpy()
        order = np.lexsort((*columns[::-1], epochs))
        low, high = (
            self._tail.place(int(epochs[row]), [int(column[row]) for column in columns]) for row in order[[0, -1]]
        )
        return low, high
