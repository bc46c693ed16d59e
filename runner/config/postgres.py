"""The tables of runner.toml that are about Postgres: event stores, read models in a database, tables, comparisons.

Where a server is and its secret are read by ``places``, what of a store is read by ``stores``; ``[env.NAME]`` is laid
over the rest by ``overlay`` before anything is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.config.comparison import CompareConfig, identifier, proposed_variable, read_compare
from runner.config.hand_over import HandOverConfig, read_hand_over
from runner.config.places import CONNECTION_SETTINGS, read_connection
from runner.config.stores import STORE_SETTINGS, StoreConfig, read_store

if TYPE_CHECKING:
    from pathlib import Path

    from runner.config.connection import ConnectionSettings
    from runner.config.table import Table

__all__ = [
    "CompareConfig",
    "HandOverConfig",
    "PostgresReadModelsConfig",
    "PostgresSourceConfig",
    "PublishConfig",
    "read_compare",
    "read_postgres_read_models",
    "read_postgres_source",
    "read_publish",
]


@dataclass(frozen=True)
class PostgresSourceConfig:
    """[sources.NAME] with a ``preset``: an event store, and where it is.

    namespace: stands for the name in identities.
    """

    name: str
    connection: ConnectionSettings
    store: StoreConfig
    namespace: str | None = None
    format: Literal["postgres"] = "postgres"

    @property
    def preset(self) -> str:
        return self.store.preset

    @property
    def on_bad_line(self) -> Literal["stop", "reject"]:
        return self.store.on_bad_line


@dataclass(frozen=True)
class PostgresReadModelsConfig:
    """[read_models.postgres]: the database and schema of the tables that read models are published to.

    connections: how many load at the same time. lock_seconds: how long a switch waits for its locks before it lets
    others pass and tries again; switch_seconds: after how long it gives up.
    """

    connection: ConnectionSettings
    schema: str = "public"
    connections: int = 2
    lock_seconds: float = 0.2
    switch_seconds: float = 60.0


@dataclass(frozen=True)
class PublishConfig:
    """[publish.NAME]: how one read model comes into its table. table: "" is the read model's name.

    writer: how the application writes the table beside the runner; "" is what applications of the store do. inline:
    with the event; store-then-project: after it; asynchronous: the runner alone does, or a projector with a checkpoint.
    hand_over: how the application is told where to go on.
    per_tenant_schema: a table in the schema of each tenant, which is called as the tenant is, in the place of one for
    all.
    """

    name: str
    table: str = ""
    publish: Literal["switch", "in-place"] = "switch"
    writer: Literal["", "asynchronous", "inline", "store-then-project"] = ""
    hand_over: HandOverConfig | None = None
    per_tenant_schema: bool = False


def read_postgres_source(name: str, table: Table, root: Path) -> PostgresSourceConfig:
    """Check one store's table. Raises ConfigError."""
    if not name or "\x1f" in name:
        raise table.wrong("", "has no usable name")
    if table.has("files"):
        raise table.wrong("files", "and preset are both set", "files are read by their own keys, a store by its preset")
    connection = read_connection(table, root, proposed_variable(name))
    table.only(*STORE_SETTINGS, *CONNECTION_SETTINGS)
    namespace = table.text("namespace") if table.has("namespace") else None
    if namespace is not None and "\x1f" in namespace:
        raise table.wrong("namespace", "holds the unit separator (U+001F)")
    made = PostgresSourceConfig(name, connection, read_store(table, root), namespace)
    table.done()
    return made


def read_postgres_read_models(table: Table, root: Path) -> PostgresReadModelsConfig:
    """Check [read_models.postgres]. Raises ConfigError."""
    made = PostgresReadModelsConfig(
        connection=read_connection(table, root, "READS_URL"),
        schema=identifier(table, "schema", "public"),
        connections=table.number("max_connections", 2, 1),
        lock_seconds=table.seconds("lock_timeout", 0.2),
        switch_seconds=table.seconds("switch_timeout", 60.0),
    )
    table.done()
    return made


def read_publish(name: str, table: Table) -> PublishConfig:
    """Check one [publish.NAME]. Raises ConfigError."""
    made = PublishConfig(
        name,
        identifier(table, "table", ""),
        table.choice("publish", "switch", ("switch", "in-place")),
        writer=table.choice("writer", "", ("", "asynchronous", "inline", "store-then-project")),
        hand_over=read_hand_over(table),
        per_tenant_schema=table.flag("per_tenant_schema"),
    )
    table.done()
    return made
