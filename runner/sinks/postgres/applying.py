"""Catch-up: changed and deleted rows and the checkpoint, in one transaction. Steps apply.1 to apply.3.

Which rows is said by the delta files behind the table's revision. A compaction may have merged them: into another
delta, which then tells more than is needed and nothing false, for it holds each key's newest row; or into base files,
and then all rows are copied to a temporary table and what is equal is taken out of it by the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import ReadModelError
from runner.positions import Position
from runner.postgres import SQL, Identifier, qualified
from runner.postgres.types import FLOAT4, FLOAT8
from runner.sinks.newest import newest_of
from runner.sinks.postgres.bookkeeping import BOOKS, checkpoint
from runner.sinks.postgres.carrying import TABLES
from runner.sinks.postgres.loading import copied
from runner.sinks.rows import read_files
from runner.sinks.saved import partition_rows
from runner.sinks.shape import DELETED, Version
from runner.steps import reached

if TYPE_CHECKING:
    from runner.postgres import AnyConnection, Composable, Composed
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace

__all__ = ["Change", "apply_in", "changes_since"]

CHANGED, GONE, ALL = "projection_runner_changed", "projection_runner_gone", "projection_runner_all"


@dataclass(frozen=True)
class Change:
    """What a table lacks: changed rows, and keys of rows that are gone; with all of the version's columns."""

    rows: pa.Table
    deleted: pa.Table


def changes_since(version: Version, revision: int, position: Position) -> Change | None:
    """What a table at this revision and position lacks; None where only all rows can tell."""
    since = _same_rows(version, revision, position)
    if any(f.revision > since for f in version.bases):
        return None
    empty = version.shape.schema.empty_table()
    files = [f for f in version.deltas if f.revision > since]
    if not files:
        return Change(empty, empty)
    rows = pa.concat_tables([read_files(version, [f]) for f in files])
    rows = newest_of(rows, version.shape.full_key)
    columns = version.shape.schema.names
    return Change(rows.filter(pc.invert(rows[DELETED])).select(columns), rows.filter(rows[DELETED]).select(columns))


def _same_rows(version: Version, revision: int, position: Position) -> int:
    """The last revision whose rows are those of ``revision``: compactions change no rows and move no checkpoint."""
    last = revision
    for number in range(revision + 1, version.revision + 1):
        try:
            at = version if number == version.revision else Version.read(version.directory, number)
        except ReadModelError:
            break
        if at.position != position:
            break
        last = number
    return last


def apply_in(
    connection: AnyConnection, version: Version, place: TablePlace, layout: Layout, relid: int, table: Identifier
) -> bool:
    """Bring one table to the version's revision, in the caller's transaction; whether there was anything to do."""
    where = f"read model {version.name!r}, table {place.words}"
    # First the table, as a switch does: with the lock the name cannot become another table's.
    connection.execute(TABLES["lock_rows"].format(table=table))
    row = connection.execute(BOOKS["lock_row"], {"relid": relid}).fetchone()
    if row is None or connection.execute(TABLES["is"], {"table": table.as_string(), "relid": relid}).fetchone() != (
        True,
    ):
        raise ReadModelError(f"{where}: another table took its place just now", hint="run the update again")
    number, revision, position, fingerprint, log_id = row
    if (number, fingerprint, log_id) != (version.number, version.fingerprint, version.shape.log_id):
        raise ReadModelError(
            f"{where}: version {number} is live, not version {version.number} of this projection and log",
            hint=f"`runner rebuild {version.name}`",
        )
    if (revision, position) == (version.revision, int(version.position)):
        return False
    if revision > version.revision or position > version.position:
        raise ReadModelError(
            f"{where} is at revision {revision}, position {position}; it is not to be set back to revision "
            f"{version.revision}, position {version.position}",
            hint=f"`runner rebuild {version.name}`",
        )
    # Rows that a policy hides would be passed over silently; so it is an error.
    connection.execute("SET LOCAL row_security = off")
    change = changes_since(version, revision, Position(position))
    if change is None:
        _apply_whole(connection, version, place, layout, table, where)
    else:
        _apply_changed(connection, change, place, layout, table, where)
    connection.execute(BOOKS["checkpoint"], {"relid": relid, **checkpoint(version)})
    return True


def _apply_changed(
    connection: AnyConnection, change: Change, place: TablePlace, layout: Layout, table: Identifier, where: str
) -> None:
    rows, deleted = (layout.rows_for(t, place) for t in (change.rows, change.deleted))
    if deleted.num_rows and layout.key:
        gone = _temporary(connection, GONE, layout, deleted.select(list(layout.key)), where)
        connection.execute(TABLES["delete"].format(table=table, gone=gone, same_key=_same_key(layout)))
        connection.execute(TABLES["drop"].format(table=gone))
    elif deleted.num_rows:
        connection.execute(SQL("DELETE FROM {}").format(table))
    if rows.num_rows:
        changed = _temporary(connection, CHANGED, layout, rows, where)
        reached("apply.1")
        _upsert(connection, changed, layout, table)
        connection.execute(TABLES["drop"].format(table=changed))


def _apply_whole(
    connection: AnyConnection, version: Version, place: TablePlace, layout: Layout, table: Identifier, where: str
) -> None:
    empty = layout.rows_for(version.shape.schema.empty_table(), place)
    every = _temporary(connection, ALL, layout, empty, where)
    for partition in version.partitions:
        copied(connection, every, layout.rows_for(partition_rows(version, partition), place), layout, where)
    connection.execute(TABLES["analyze"].format(table=every))
    reached("apply.1")
    connection.execute(TABLES["delete_others"].format(table=table, all=every, same_key=_same_key(layout)))
    same: list[Composable] = [_same_field(layout, name) for name in layout.fields]
    connection.execute(
        TABLES["keep_different"].format(
            table=table,
            all=every,
            same_key=_same_key(layout),
            same_fields=SQL(" AND ").join(same or [SQL("true")]),
        )
    )
    _upsert(connection, every, layout, table)
    connection.execute(TABLES["drop"].format(table=every))


def _temporary(connection: AnyConnection, name: str, layout: Layout, rows: pa.Table, where: str) -> Identifier:
    table = qualified("pg_temp", name)
    columns = layout.definition(only=tuple(rows.schema.names))
    connection.execute(TABLES["create_temporary"].format(table=table, columns=columns))
    copied(connection, table, rows, layout, where)
    return table


def _upsert(connection: AnyConnection, changed: Identifier, layout: Layout, table: Identifier) -> None:
    fields = [SQL("{0} = excluded.{0}").format(Identifier(name)) for name in layout.fields]
    connection.execute(
        TABLES["upsert" if fields else "insert_missing"].format(
            table=table,
            changed=changed,
            columns=layout.names(layout.columns),
            key=layout.names(layout.key) if layout.key else SQL("(true)"),
            set=SQL(", ").join(fields),
        )
    )


def _same_key(layout: Layout) -> Composed:
    """t's row and g's row have the same key; None is a value of its own."""
    parts: list[Composable] = [
        SQL("t.{0} = g.{0}" if name in layout.required else "t.{0} IS NOT DISTINCT FROM g.{0}").format(Identifier(name))
        for name in layout.key
    ]
    return SQL(" AND ").join(parts or [SQL("true")])


def _same_field(layout: Layout, name: str) -> Composed:
    kind = layout.types[name]
    # To the server 0.0 is -0.0; as text they are two.
    floats = (kind.element or kind) in (FLOAT4, FLOAT8)
    return SQL("t.{0}::text IS NOT DISTINCT FROM g.{0}::text" if floats else "t.{0} IS NOT DISTINCT FROM g.{0}").format(
        Identifier(name)
    )
