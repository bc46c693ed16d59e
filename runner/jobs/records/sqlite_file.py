"""A small database of the runner's own in a local file: opened or made, migrated, its errors in the runner's words.

Write-ahead log, readable while others write, written by several processes at once. SQL is named text; each migration
leads from one schema version (PRAGMA user_version) to the next.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from runner.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

__all__ = ["SqliteFile"]


class SqliteFile:
    """One such file; a context manager. May be shared by threads."""

    def __init__(
        self,
        path: Path | str,
        what: str,
        sql: Mapping[str, str],
        migrations: Mapping[str, str],
        *,
        damaged: str,
        read_only: bool = False,
    ) -> None:
        """Open it, or make it; ``read_only`` needs no write access, and an absent file is an empty one.

        what: how errors call it; damaged: their hint where it is no database. Raises JobError.
        """
        self.path = Path(path)
        self._what, self._sql, self._migrations, self._damaged = what, sql, migrations, damaged
        self._lock = threading.RLock()
        with self._translated():
            self._connection = self._opened_for_reading() if read_only else self._opened()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def rows(self, statement: str, **values: Any) -> list[sqlite3.Row]:
        """What a named statement finds."""
        with self._lock, self._translated():
            return self._connection.execute(self._sql[statement], values).fetchall()

    def write(self, statement: str, **values: Any) -> int:
        """Do a named statement in a transaction of its own; the id of the row that it inserted."""
        with self.transaction() as connection:
            return connection.execute(self._sql[statement], values).lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes; given up where the block raises."""
        with self._lock, self._translated(), _immediate(self._connection) as connection:
            yield connection

    def _opened(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = _connected(self.path.resolve().as_uri())
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a lost last line is work done again
            connection.execute("PRAGMA foreign_keys = ON")
            with _immediate(connection):
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened_for_reading(self) -> sqlite3.Connection:
        if not self.path.exists():
            connection = _connected("file::memory:")
            self._migrate(connection)
            return connection
        connection = _connected(f"{self.path.resolve().as_uri()}?mode=ro")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError:
            # A read-only directory has no room for the write-ahead log's index; without writers nothing changes.
            connection.close()
            connection = _connected(f"{self.path.resolve().as_uri()}?immutable=1")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != len(self._migrations):
            connection.close()
            made = "a newer" if version > len(self._migrations) else "an older"
            raise JobError(
                f"{self._what} {self.path} was made by {made} runner", hint="open it once with write access, or upgrade"
            )
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        schema = len(self._migrations)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > schema:
            raise JobError(
                f"{self._what} {self.path} was made by a newer runner", hint="upgrade, or use another state directory"
            )
        for number in range(version + 1, schema + 1):
            for statement in self._migrations[f"migration_{number}"].split(";"):
                connection.execute(statement)
        if version < schema:
            connection.execute(f"PRAGMA user_version = {schema:d}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "not a database" in text or "malformed" in text:
                hint = self._damaged
            elif "locked" in text:
                hint = "another process holds it; try again"
            else:
                hint = "the state directory must be writable and have room; choose another with `state` in runner.toml"
            raise JobError(f"{self._what} {self.path} cannot be used: {text}", hint=hint) from error
        except OSError as error:
            raise JobError(
                f"{self._what} {self.path} cannot be made: {error.strerror or error}",
                hint="the state directory must be writable; choose another with `state` in runner.toml",
            ) from error


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
