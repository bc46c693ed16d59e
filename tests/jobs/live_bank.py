"""A bank whose events are written into a table of Postgres, synced from there, with read models as tables beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from job_project import BEGIN, Sent
from published_project import SCHEMA, PublishedProject

from runner.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from runner.config import Config

STORE = f"""
CREATE SCHEMA {SCHEMA};
CREATE TABLE events (
    id bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL, type text NOT NULL, data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), UNIQUE (stream, version)
)
"""
TOML = """
[project]
modules = ["bank_of_jobs"]
[log]
path = "log"
partitions = 4
[read_models]
path = "read_models"
[state]
path = "state"
[engine]
name = "threads"
workers = 2
[sources.bank]
preset = "custom"
url_env = "{env}"
table = "events"
position = "id"
aggregate_id = "stream"
version = "version"
type = "type"
payload = "data"
recorded_at = "at"
tail = "gaps"
[read_models.postgres]
url_env = "{env}"
schema = "reads"
lock_timeout = "200 ms"
switch_timeout = "20 s"
{more}
"""


@dataclass(frozen=True)
class LiveBank(PublishedProject):
    """more: further lines of runner.toml."""

    more: str = ""

    @staticmethod
    def made(root: Path, env: str, url: str, more: str = "") -> LiveBank:
        """With an empty store."""
        bank = LiveBank(root, env=env, url=url, more=more)
        (root / "runner.toml").write_text(TOML.format(env=env, more=more))
        bank.do(STORE)
        return bank

    @property
    def config(self) -> Config:
        return load_config(self.root / "runner.toml")

    def inline(self, name: str) -> None:
        """From now on the application writes this read model itself, in the transactions of its events."""
        with (self.root / "runner.toml").open("a") as file:
            file.write(f'[publish.{name}]\nwriter = "inline"\n')

    def write(self, events: list[Sent], connection: psycopg.Connection[Any] | None = None) -> None:
        """Append these to the store, in a transaction of their own unless a connection is given."""
        if connection is None:
            with psycopg.connect(self.url) as own:
                self.write(events, own)
            return
        for event in events:
            connection.execute(
                "INSERT INTO events (stream, version, type, data, at) SELECT %(stream)s, coalesce((SELECT max(version) "
                "FROM events WHERE stream = %(stream)s), 0) + 1, %(type)s, %(data)s, %(at)s",
                {
                    "stream": event.aggregate,
                    "type": event.type,
                    "data": json.dumps(event.payload),
                    "at": BEGIN + timedelta(seconds=1),
                },
            )

    def stored(self) -> list[Sent]:
        """What the store has, in order."""
        return [Sent(*row) for row in self.ask("SELECT stream, type, data FROM events ORDER BY id")]
