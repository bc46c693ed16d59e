"""Which event stores a database holds, told by the columns of its tables; nothing is read but the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.sources.postgres.presets import PRESETS
from runner.sources.postgres.store import STATEMENTS, fits, relations

if TYPE_CHECKING:
    from runner.postgres import AnyConnection
    from runner.sources.postgres.preset import Preset
    from runner.sources.postgres.store import Found

__all__ = ["Recognised", "recognise"]


@dataclass(frozen=True)
class Recognised:
    """A store. rows: as the server's statistics say, -1 where they do not. named: whether the table's name has to be
    said, since each application has its own, or several stores of a schema look alike.
    """

    preset: str
    title: str
    schema: str
    table: str
    rows: int
    named: bool
    note: str = ""

    def __str__(self) -> str:
        return f"{self.title} in {self.schema}.{self.table}"


def recognise(connection: AnyConnection) -> tuple[Recognised, ...]:
    """All stores that the role can see, by schema and table. Raises psycopg's errors; use it inside ``translated``."""
    found: list[Recognised] = []
    for preset in PRESETS.values():
        mine = [f for f in _tables(connection, preset) if _complete(connection, preset, f)]
        for one in mine:
            alike = sum(other.schema == one.schema for other in mine)
            found.append(
                Recognised(
                    preset.name,
                    preset.title,
                    one.schema,
                    one.name,
                    _rows(connection, one),
                    "*" in preset.main.name and (alike > 1 or len(mine) > 1),
                    preset.sensitive,
                )
            )
    return tuple(sorted(found, key=lambda r: (r.schema, r.table, r.preset)))


def _tables(connection: AnyConnection, preset: Preset) -> list[Found]:
    name = None if "*" in preset.main.name else preset.main.name
    seen = relations(connection, preset.main.columns, name)
    return [f for f in seen if f.kind in ("r", "p", "f", "m") and fits(preset.main, f)]


def _complete(connection: AnyConnection, preset: Preset, main: Found) -> bool:
    """Whether the other tables of the store are beside the main one."""
    return all(
        any(f.schema == main.schema and fits(shape, f) for f in relations(connection, shape.columns, shape.name))
        for shape in preset.others
    )


def _rows(connection: AnyConnection, found: Found) -> int:
    row = connection.execute(STATEMENTS["size"], {"oid": found.oid}).fetchone()
    return -1 if row is None or not row[3] else int(row[0])
