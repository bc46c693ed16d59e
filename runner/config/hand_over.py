"""Part of [publish.NAME]: how an application's projection is told from which event on it goes on.

::

    [publish.orders]
    publish = "in-place"
    hand_over_sql = "UPDATE shop.progress SET position = :checkpoint WHERE projection = 'orders'"

    [publish.orders.hand_over]          # or a store's own table of progress
    preset = "marten"
    name = "Orders:All"
    locks = [4444]                      # advisory locks of its daemon; what the preset knows is looked at anyway
    sessions = ["shop-daemon*"]         # application names of its sessions
    watch = "2s"                        # how long the row of progress must stand still
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.config.comparison import PROGRESS_PRESETS, identifier

if TYPE_CHECKING:
    from typing import Any

    from runner.config.table import Table

__all__ = ["HandOverConfig", "read_hand_over"]


@dataclass(frozen=True)
class HandOverConfig:
    """sql: the author's own statement; preset and name: a ready one. schema and table: where the preset's table is, if
    not where the library puts it. source: whose position ``:checkpoint`` is; "": the only source.
    """

    sql: str = ""
    preset: str = ""
    name: str = ""
    schema: str = ""
    table: str = ""
    source: str = ""
    locks: tuple[int, ...] = ()
    sessions: tuple[str, ...] = ()
    watch_seconds: float = 2.0


def read_hand_over(table: Table) -> HandOverConfig | None:
    """The keys of [publish.NAME] about it; None where nothing is said. Raises ConfigError."""
    sql = table.text("hand_over_sql").strip().rstrip(";").strip()
    if not table.has("hand_over"):
        return HandOverConfig(sql=_bound(table, sql)) if sql else None
    inner = table.table("hand_over")
    inner.only("preset", "name", "schema", "table", "source", "locks", "sessions", "watch")
    made = HandOverConfig(
        sql=_bound(table, sql) if sql else "",
        preset=inner.choice("preset", "", ("", *PROGRESS_PRESETS)),
        name=inner.text("name"),
        schema=identifier(inner, "schema", ""),
        table=identifier(inner, "table", ""),
        source=inner.text("source"),
        locks=_locks(inner),
        sessions=inner.texts("sessions"),
        watch_seconds=inner.seconds("watch", 2.0),
    )
    if bool(made.sql) == bool(made.preset):
        raise inner.wrong("preset", "and hand_over_sql are both set" if sql else "is missing", "write one of them")
    if made.preset and not made.name:
        raise inner.wrong("name", "is missing", 'write the projection\'s name in the store, "Orders:All" say')
    inner.done()
    return made


def _bound(table: Table, sql: str) -> str:
    if ":checkpoint" not in sql:
        raise table.wrong("hand_over_sql", "has no :checkpoint", "it stands where the position goes, without quotes")
    return sql


def _locks(table: Table) -> tuple[int, ...]:
    found: Any = table.take("locks", [])
    if isinstance(found, int):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(v, int) and not isinstance(v, bool) for v in found):
        raise table.wrong("locks", f"takes numbers of advisory locks, not {found!r}")
    return tuple(found)
