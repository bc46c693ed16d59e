"""Rows and progress of the application's table in one snapshot, the rows by binary COPY into a Parquet file.

One transaction, REPEATABLE READ and read-only: what the progress says and what the rows are belong together, however
busy the application is. Memory is bounded by a batch.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from runner.errors import CopyError, PostgresError
from runner.postgres import SQL, Identifier, translated
from runner.postgres.copy_out import copy_out
from runner.sinks.application.expressions import selected
from runner.sinks.application.table import described, wanted_columns
from runner.sinks.differences.domains import literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config.comparison import CompareConfig
    from runner.postgres import AnyConnection, Composable, Composed
    from runner.sinks.application.expressions import Selected
    from runner.sinks.application.table import ForeignTable
    from runner.sinks.shape import Shape

__all__ = ["Foreign", "copied", "foreign", "in_one_snapshot", "rows_of_file"]


@dataclass(frozen=True)
class Foreign:
    """The application's table as a read model is compared with it."""

    config: CompareConfig
    table: ForeignTable
    columns: tuple[Selected, ...]

    @property
    def key(self) -> tuple[Selected, ...]:
        return tuple(c for c in self.columns if c.wanted.is_key)

    @property
    def fields(self) -> tuple[Selected, ...]:
        return tuple(c for c in self.columns if not c.wanted.is_key)

    @property
    def query(self) -> Composed:
        """Its rows, each column called by its number."""
        return self.query_of(None)

    def query_of(self, joined: Composable | None) -> Composed:
        """The same, of the rows t that a join leaves."""
        columns = [SQL("{} AS {}").format(c.sql, Identifier(c.copied.name)) for c in self.columns]
        made = SQL("SELECT {} FROM {} AS t").format(
            SQL(", ").join(columns), Identifier(self.table.schema, self.table.name)
        )
        if joined is not None:
            made = SQL("{} JOIN {}").format(made, joined)
        if self.config.filter:
            # On a line of its own, so that a comment at its end ends with it.
            made = SQL("{} WHERE ({}\n)").format(made, SQL(self.config.filter))
        return made


def foreign(
    connection: AnyConnection, config: CompareConfig, definition: ProjectionDefinition, shape: Shape
) -> Foreign:
    """Look at the table and settle the mapping; nothing is read. Raises ConfigError, ReadModelError, PostgresError."""
    where = f"[compare.{config.name}]"
    table = described(connection, config)
    wanted = wanted_columns(config, table, definition, shape)
    near = definition.merged and definition.merge_floats
    columns = tuple(
        selected(w, shape.schema.field(w.name).type, i, where, near=near and not w.is_key) for i, w in enumerate(wanted)
    )
    return Foreign(config, table, columns)


@contextmanager
def in_one_snapshot(connection: AnyConnection, where: str) -> Iterator[None]:
    """A read-only transaction in which everything is of one moment. The connection is in autocommit."""
    with translated(where):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not connection.broken and not connection.closed:
            with translated(where):
                connection.rollback()


def copied(connection: AnyConnection, table: Foreign, file: Path, joined: Composable | None = None) -> str:
    """Write the rows into a Parquet file, in the connection's transaction; the relation for DuckDB.

    joined: what the table's rows t are joined with, to be fewer.
    Raises CopyError naming a value that cannot be taken, PostgresError.
    """
    where = f"[compare.{table.config.name}] {table.table}"
    columns = tuple(c.copied for c in table.columns)
    schema = pa.schema([c.field for c in columns])
    try:
        with pq.ParquetWriter(file, schema, compression="lz4", use_dictionary=False) as writer:
            for batch in copy_out(connection, table.query_of(joined), columns, where=where):
                writer.write_batch(batch)
    except PostgresError as error:
        raise _named(error, table) from None
    return rows_of_file(file)


def rows_of_file(file: Path) -> str:
    """A Parquet file as a relation of DuckDB, which takes paths for patterns: a bracket lets a character be itself."""
    plain = "".join(f"[{c}]" if c in "*?[" else c for c in str(file))
    return f"FROM read_parquet({literal(plain)})"


def _named(error: PostgresError, table: Foreign) -> PostgresError:
    """The same error with the column's name in the place of its number."""
    column = getattr(error, "column", "")
    if isinstance(error, CopyError) and column.isdigit():
        name = table.columns[int(column)].wanted.name
        hint = (
            f'columns.{name} = {{ ..., infinite = "null" }} takes it for no value' if "infinit" in error.reason else ""
        )
        return CopyError(
            f"[compare.{table.config.name}] {table.table}", name, error.row, error.reason, hint=hint or error.hint
        )
    return error
