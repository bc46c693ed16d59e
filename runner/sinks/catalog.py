"""catalog.duckdb: one view per read model over exactly the Parquet files of its live version, and the checkpoints.

The file is made anew for every switch and renamed over the old one: DuckDB refuses a writer while a reader holds its
file, and who has it open keeps seeing the old views, whose files stay for the grace period. DuckDB keeps one instance
per path and process: a second ``duckdb.connect`` on the same path in a process that still has the old one open sees the
old views too. ``connect`` below does not: it makes the views of current.json in a database of its own in memory.

Tables: ``runner.checkpoints`` (one row per read model) and ``runner.catalog`` (generation, root). Durations are
INTERVALs, which Parquet does not know. Names are quoted; SQL does not tell their case apart.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from runner.errors import ReadModelError
from runner.files import sync_directory
from runner.sinks.claims import publishing
from runner.sinks.current import Current
from runner.sinks.durable import has_leftovers, remove_leftovers, temporary_beside, translated
from runner.statements import statements

if TYPE_CHECKING:
    from runner.sinks.shape import Version

__all__ = ["build", "connect", "is_current", "put", "quoted", "relation", "repair"]

SQL = statements("runner.sinks", "catalog.sql")
NAME = "catalog.duckdb"
_looked_at: dict[Path, tuple[tuple[int, int, int], int]] = {}
"""Catalogs that this process has opened or made: (inode, time of change, size) -> generation. To look costs 0.1 s."""


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def connect(root: Path | str) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection to what is live now; it goes on seeing that, one consistent state, until it is closed.

    Safe while read models are published, also in this process. It is a database in memory: temporary tables and
    settings of the caller's are its own. ReadModelError where a live version's files are missing.
    """
    root = Path(root).resolve()
    before = -1
    while True:
        current = Current.read(root)
        connection = duckdb.connect(":memory:")
        try:
            _fill(connection, current, current.live_versions())
        except (duckdb.Error, ReadModelError) as error:
            connection.close()
            # Published and swept in between, perhaps: only an unchanged current.json makes it an error.
            if current.generation == before:
                if isinstance(error, ReadModelError):
                    raise
                raise ReadModelError(
                    f"the read models in {root} cannot be opened: {error}", hint="rebuild them"
                ) from error
            before = current.generation
        else:
            return connection


def build(current: Current, versions: tuple[Version, ...]) -> Path:
    """Make the catalog of this state in a temporary file beside the real one, and give its path."""
    temporary = temporary_beside(current.root / NAME)
    with translated(temporary):
        try:
            with closing(duckdb.connect(str(temporary))) as connection:
                _fill(connection, current, versions)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        except duckdb.Error as error:
            _remove(temporary)
            raise ReadModelError(
                f"cannot make {current.root / NAME}: {error}", hint="what is live is untouched; run again"
            ) from error
        except BaseException:
            _remove(temporary)
            raise
    return temporary


def put(current: Current, temporary: Path) -> None:
    """Rename a built catalog into place."""
    with translated(current.root / NAME):
        path = current.root / NAME
        temporary.replace(path)
        sync_directory(current.root)
        _looked_at[path] = (_identity(path), current.generation)


def is_current(current: Current) -> bool:
    """Whether the catalog is of this generation and this place: a crash between two renames or a moved directory."""
    path = current.root / NAME
    if not path.is_file():
        return current.generation == 0
    try:
        identity = _identity(path)
    except OSError:
        return False
    if _looked_at.get(path) == (identity, current.generation):
        return True
    try:
        # Attached to a database of its own: an open instance of this process would show what it saw when it opened.
        with closing(duckdb.connect(":memory:")) as connection:
            connection.execute(f"ATTACH {_literal(str(path))} AS old (READ_ONLY)")
            found = connection.execute(SQL["read_generation"]).fetchone()
    except duckdb.Error:
        return False
    if found != (current.generation, str(current.root)):
        return False
    _looked_at[path] = (identity, current.generation)
    return True


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def repair(root: Path) -> bool:
    """Make the catalog again if it is not what current.json says; whether it had to be.

    Also removes what a run that was killed before its switch left of the catalog it was making.
    """
    if is_current(Current.read(root)):
        if has_leftovers(root):
            # One who publishes just now has such a file too, and sweeps himself: nobody waits for him here.
            with suppress(ReadModelError, OSError), publishing(root, wait=0.0):
                remove_leftovers(root)
        return False
    with publishing(root):
        current = Current.read(root)
        if is_current(current):
            return False
        remove_leftovers(root)
        put(current, build(current, current.live_versions()))
    return True


def _fill(connection: duckdb.DuckDBPyConnection, current: Current, versions: tuple[Version, ...]) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("BEGIN")
    connection.execute(SQL["checkpoints"])
    for v in versions:
        counts = (sum(f.rows for f in v.bases), sum(f.rows for f in v.deltas), v.total_bytes)
        made = (v.number, v.revision, int(v.position), v.fingerprint, v.shape.log_id, v.job_id, v.created, v.updated)
        connection.execute(SQL["checkpoint"], [v.name, *made, *counts])
        connection.execute(_view(v))
    connection.execute(SQL["generation"], [current.generation, str(current.root)])
    connection.execute("COMMIT")


def _view(version: Version) -> str:
    shape = version.shape
    columns = ", ".join(_column(shape.schema.field(n)) for n in shape.columns)
    base = _paths(version, [version.template.name, *(f.name for f in version.bases)])
    if not version.deltas:
        return SQL["view"].format(view=quoted(shape.name), columns=columns, base=base)
    key = [quoted(n) for n in shape.full_key]
    return SQL["view_with_deltas"].format(
        view=quoted(shape.name),
        columns=columns,
        base=base,
        deltas=_paths(version, [f.name for f in version.deltas]),
        partition=f"PARTITION BY {', '.join(key)}" if key else "",
        same_key=" AND ".join(f"delta.{k} IS NOT DISTINCT FROM base.{k}" for k in key) or "true",
    )


def relation(version: Version) -> str:
    """The rows of a version as a query of DuckDB, columns as users see them."""
    _, _, query = _view(version).partition(" AS\n")
    return query.rstrip().rstrip(";")


def _column(field: pa.Field) -> str:
    name = quoted(field.name)
    if pa.types.is_duration(field.type):
        return f"to_microseconds({name}) AS {name}"
    if pa.types.is_list(field.type) and pa.types.is_duration(field.type.value_type):
        return f"list_transform({name}, lambda us: to_microseconds(us)) AS {name}"
    return name


def _paths(version: Version, names: list[str]) -> str:
    # DuckDB takes paths for patterns; a bracket around a special character makes it stand for itself.
    plain = "".join(f"[{c}]" if c in "*[" else c for c in str(version.directory))
    return ", ".join(_literal(f"{plain}/{name}") for name in names)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _remove(temporary: Path) -> None:
    for path in (temporary, temporary.with_name(temporary.name + ".wal")):
        with suppress(OSError):
            path.unlink(missing_ok=True)
