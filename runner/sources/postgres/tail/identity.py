"""Is it still the store that was read? Rows that were read can be gone: lost in an asynchronous failover, not in the
backup that was restored, dropped and made again.

A store is known by its server's system identifier and timeline, its database and table, the table's file, and since
when the server has run. The manifest holds these. When one has changed, nothing is wrong yet, but the log's tail is
compared with the store before anything is read: the last events of the log must be there, at their places, and no
others between them.

- They agree: reading goes on. Where the server, the database or the table is another one (a restored dump, a copy), its
  transaction ids begin anew, a new epoch (``Tail.new_life``). Rows of partitions that came since are no difference: the
  next look takes in those that were not read (``choose``). Rows of partitions that went are missing, and the error
  names these.
- They do not: the sync stops and names the positions. The log is not cut: read models were made of it, and which of the
  two is right only people can tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from runner.errors import PostgresDenied, SourceChanged
from runner.postgres import translated
from runner.sources.postgres.tail.facts import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.port import Relation

__all__ = ["COMPARED", "StoreIdentity", "check_tail", "comparable", "in_order"]

COMPARED = 1000
"""Events of the log's tail that are compared."""
_SHOWN = 5
_KEY = ("source_position_0", "source_position_1", "tenant", "aggregate_id")


@dataclass(frozen=True)
class StoreIdentity:
    """What a store is known by. system, timeline: "" and 0 where the role may not know. table: oid, 0 of a query. file:
    its number, 0 of a partitioned table. started: since when the server has run without a crash, seconds
    since 1970, as text.
    """

    system: str
    timeline: int
    database: int
    table: int
    file: int
    started: str

    @classmethod
    def read(cls, connection: AnyConnection, relation: Relation) -> StoreIdentity:
        """Raises PostgresError."""
        schema, table = relation.table or (None, None)
        named = {"schema": schema, "table": table}
        try:
            with translated(relation.where):
                system = connection.execute(STATEMENTS["system"]).fetchone()
        except PostgresDenied:
            # Some providers take the control functions away; the rest still tells a restart and another table.
            system = ("", 0)
        with translated(relation.where):
            row = connection.execute(STATEMENTS["identity"], named).fetchone()
        assert system is not None
        assert row is not None
        return cls(*system, *row)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> StoreIdentity:
        return cls(**body)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def changes(self, former: StoreIdentity) -> tuple[str, ...]:
        """What is not as it was, in words; () where all is."""
        names = {
            "system": "the server is another one (system identifier {0}, was {1})",
            "timeline": "the server was promoted or restored (timeline {0}, was {1})",
            "database": "the database was made anew",
            "table": "the table was made anew",
            "file": "the table was rewritten or emptied",
            "started": "the server was restarted",
        }
        now, was = self.to_json(), former.to_json()
        known = [key for key in names if key not in ("system", "timeline") or (now[key] and was[key])]
        return tuple(names[key].format(now[key], was[key]) for key in known if now[key] != was[key])

    def is_another(self, former: StoreIdentity) -> bool:
        """Whether it is a copy, whose transaction ids are counted anew."""
        return (
            (self.system != former.system and bool(self.system and former.system))
            or self.database != former.database
            or self.table != former.table
        )


def comparable(log: pa.Table, most: int = COMPARED) -> pa.Table:
    """The events of the log (``log.places``) from the place on at which the last ones begin that were handed out in the
    store's order: late ones too where they stand behind that place. epoch: a column of the log's, 0 where it is absent.
    """
    last = in_order(log)[-most:]
    if not len(last):
        return log.slice(0, 0)
    rank = _ranks(log)
    return log.filter(pa.array(rank >= rank[last[0]]))


def in_order(log: pa.Table) -> npt.NDArray[np.intp]:
    """The rows of events behind which no higher place was handed out before."""
    rank = _ranks(log)
    return np.flatnonzero(rank >= np.maximum.accumulate(rank)) if len(rank) else np.empty(0, np.intp)


def _ranks(log: pa.Table) -> npt.NDArray[np.int64]:
    """The rank of each event's place in the store: by epoch first, whose transaction ids are counted anew."""
    first, second = (log.column(name).to_numpy() for name in _KEY[:2])
    epoch = log.column("epoch").to_numpy() if "epoch" in log.column_names else np.zeros(len(first), np.int64)
    order = np.lexsort((second, first, epoch))
    # Events of one place, of several aggregates, are of one rank.
    moved = [np.diff(column[order]) != 0 for column in (first, second, epoch)]
    rank = np.zeros(len(order), np.int64)
    rank[order[1:]] = np.cumsum(moved[0] | moved[1] | moved[2])
    return rank


def check_tail(where: str, changes: tuple[str, ...], log: pa.Table, store: pa.Table) -> None:
    """Compare the log's last events with what the store has between the first and the last of their places.

    Both have source_position_0 and _1, tenant, aggregate_id, version, type. Raises SourceChanged, with the positions.
    """
    ours, theirs = _by_key(log), _by_key(store)
    gone = [key for key in ours if key not in theirs]
    other = [key for key, event in ours.items() if key in theirs and theirs[key] != event]
    more = [key for key in theirs if key not in ours]
    if not (gone or other or more):
        return
    found = []
    if gone:
        found.append(f"{len(gone):,} events of the log are not there ({_places(gone)})")
    if other:
        found.append(f"{len(other):,} are others ({_places(other)})")
    if more:
        found.append(f"{len(more):,} are there that the log passed ({_places(more)})")
    places = sorted(key[:2] for key in [*gone, *other, *more])
    before = [key[:2] for key in ours if key[:2] < places[0]]
    agree = f"; up to {_place(max(before))} both agree" if before else ""
    raise SourceChanged(
        f"{where}: the store is not what was read: {'; '.join(found)}{agree}. {_sentence(changes)}",
        hint="if the store is right, sync into a new log directory and rebuild; if the log is, restore the store",
    )


def _by_key(events: pa.Table) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    columns = [events.column(name).to_pylist() for name in (*_KEY, "version", "type")]
    # The log has its lowest number where a source has no version.
    absent = -(2**63)
    return {
        row[:4]: (None if row[4] is None or row[4] == absent else row[4], row[5]) for row in zip(*columns, strict=True)
    }


def _place(place: tuple[Any, ...]) -> str:
    return str(place[1]) if place[0] == 0 else f"({place[0]}, {place[1]})"


def _places(keys: list[tuple[Any, ...]]) -> str:
    places = sorted({key[:2] for key in keys})
    shown = ", ".join(map(_place, places[:_SHOWN]))
    more = f" ... {_place(places[-1])}" if len(places) > _SHOWN else ""
    return f"position{'s' if len(places) > 1 else ''} {shown}{more}"


def _sentence(changes: tuple[str, ...]) -> str:
    text = ", ".join(changes)
    return f"{text[:1].upper()}{text[1:]}"
