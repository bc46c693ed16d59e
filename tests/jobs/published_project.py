"""A project whose read models are tables in Postgres too, and those as a user reads them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from job_project import Project

from runner.config.connection import ConnectionSettings
from runner.config.postgres import PostgresReadModelsConfig, PublishConfig

if TYPE_CHECKING:
    from runner.config import Config

SCHEMA = "reads"


@dataclass(frozen=True)
class PublishedProject(Project):
    """env: the variable that holds the URL; url: the same, for reading."""

    env: str = ""
    url: str = ""
    publish: dict[str, PublishConfig] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        plain = super().config
        postgres = PostgresReadModelsConfig(
            ConnectionSettings("[read_models.postgres]", url_env=self.env),
            SCHEMA,
            lock_seconds=0.2,
            switch_seconds=20.0,
        )
        return replace(
            plain,
            read_models=replace(plain.read_models, postgres=postgres),
            publish=self.publish,
            sources=self.sources,
        )

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(text).fetchall()

    def do(self, text: str) -> None:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(text)

    def table(self, name: str) -> dict[Any, tuple[Any, ...]]:
        """The rows by key, as ``Project.rows`` gives those of the embedded read model."""
        live = self.models.live(name)
        assert live is not None
        keys = len(live.shape.full_key)
        rows = self.ask(f"SELECT {', '.join(live.shape.columns)} FROM {SCHEMA}.{name}")
        return {row[0] if keys == 1 else row[:keys]: row[keys:] for row in rows}

    def states(self) -> dict[str, tuple[int, int, int]]:
        """(version, revision, position) by read model, as its users read it."""
        found = self.ask("SELECT read_model, version, revision, position FROM projection_runner.read_models")
        return {name: (version, revision, position) for name, version, revision, position in found}
