"""Read models published to Postgres, for tests: rows as Python values, versions in files, tables read back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.config.connection import ConnectionSettings
from runner.config.postgres import PostgresReadModelsConfig, PublishConfig
from runner.positions import Position
from runner.postgres import SQL, Identifier, connect
from runner.postgres.copy_out import CopyColumn, copy_out
from runner.postgres.types import pg_type_of
from runner.sinks.postgres.tables import PostgresTables
from runner.sinks.read_models import ReadModels
from runner.sinks.rows import write_rows
from runner.testing.read_model_rows import Rows, keys_for, partitioned, rows_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.sinks.read_models import Built
    from runner.sinks.shape import Shape, Version


def settings_of(env: str) -> ConnectionSettings:
    return ConnectionSettings("[read_models.postgres]", url_env=env)


@dataclass
class Published:
    """Embedded read models and their tables."""

    root: Path
    env: str
    schema: str = "reads"
    connections: int = 2
    publish: dict[str, PublishConfig] = field(default_factory=dict)
    lock: float = 0.2
    total: float = 30.0

    def __post_init__(self) -> None:
        self.models = ReadModels(self.root)

    @property
    def config(self) -> PostgresReadModelsConfig:
        return PostgresReadModelsConfig(
            settings_of(self.env), self.schema, self.connections, lock_seconds=self.lock, switch_seconds=self.total
        )

    @property
    def tables(self) -> PostgresTables:
        return PostgresTables(self.config, self.publish)

    @contextlib.contextmanager
    def built(self, shape: Shape, rows: Rows, position: int = 1, job: str = "j1") -> Iterator[Built]:
        """A version whose files are written, not published."""
        with self.models.begin_rebuild(shape, job_id=job) as claim:
            parts = partitioned(shape, rows_for(shape, rows))
            yield claim.built(Position(position), [write_rows(claim.target, p, part) for p, part in parts.items()])

    def rebuild(self, shape: Shape, rows: Rows, position: int = 1) -> Version:
        """Written, loaded, switched, published."""
        with self.built(shape, rows, position) as built:
            self.tables.check([shape])
            self.tables.switch([self.tables.load(built.version)])
            return self.models.publish_rebuild([built])[0]

    @contextlib.contextmanager
    def delta(self, shape: Shape, rows: Rows, gone: list[tuple[Any, ...]], position: int) -> Iterator[Built]:
        changed, deleted = (partitioned(shape, t) for t in (rows_for(shape, rows), keys_for(shape, gone)))
        with self.models.begin_update(shape, job_id="j2") as claim:
            files = [write_rows(claim.target, p, changed[p], deleted[p]) for p in changed]
            yield claim.built(Position(position), files)

    def update(self, shape: Shape, rows: Rows, gone: list[tuple[Any, ...]] | None = None, position: int = 2) -> Version:
        with self.delta(shape, rows, gone or [], position) as built:
            self.tables.apply([built.version])
            return self.models.publish_update([built])[0]

    def rows(self, shape: Shape, table: str = "", schema: str = "") -> pa.Table:
        """The table as users see it, with the shape's columns."""
        names = list(shape.columns)
        columns = tuple(
            CopyColumn(n, pg_type_of(shape.schema.field(n).type), shape.schema.field(n).type) for n in names
        )
        query = SQL("SELECT {} FROM {}").format(
            SQL(", ").join(Identifier(n) for n in names), Identifier(schema or self.schema, table or shape.name)
        )
        with connect(settings_of(self.env), "test") as connection:
            batches = list(copy_out(connection, query, columns))
        schema_ = pa.schema([pa.field(c.name, shape.schema.field(c.name).type) for c in columns])
        return pa.Table.from_batches(batches, batches[0].schema).cast(schema_) if batches else schema_.empty_table()


def with_schema(database: Database, *schemas: str) -> None:
    for name in schemas or ("reads",):
        with database.connect() as connection:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
