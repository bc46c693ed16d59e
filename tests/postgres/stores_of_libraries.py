"""Sources over the restored stores, in projects of their own, and what is in their logs."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.config import load_config, load_definitions
from runner.config.postgres import read_postgres_source
from runner.config.table import Table
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.syncing.sync import sync
from runner.log import Log
from runner.positions import START, PartitionId
from runner.sinks.read_models import ReadModels
from runner.sources import open_source

if TYPE_CHECKING:
    from fixtures_postgres import Database

    from runner.config import Config, PostgresSourceConfig
    from runner.jobs.syncing.sync import SyncReport

__all__ = ["Project", "read", "store", "toml"]

TOML = """
[project]
modules = [{modules}]
[log]
partitions = 8
[engine]
name = "threads"
workers = 2
"""


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class Project:
    """A project of one source, or of some, in a folder."""

    def __init__(self, folder: Path, module: str = "", log: str = "", **sources: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = TOML.format(modules=f'"{module}"' if module else "").replace("[engine]", f"{log}\n[engine]")
        for name, keys in sources.items():
            text += f"[sources.{json.dumps(name)}]\n" + "".join(f"{key} = {toml(v)}\n" for key, v in keys.items())
        self.folder = folder
        (folder / "runner.toml").write_text(text, encoding="utf-8")

    @property
    def config(self) -> Config:
        return load_config(self.folder / "runner.toml")

    def sync(self) -> SyncReport:
        return sync(self.config)

    def rebuild(self) -> None:
        rebuild(self.config, prove=20)

    def events(self) -> list[dict[str, Any]]:
        """All events of the log in the order of positions."""
        log = Log.open(self.config.log.path)
        found = [
            {
                "position": int(e.position),
                "aggregate_id": e.aggregate_id,
                "version": e.version,
                "type": e.type,
                "recorded_at": e.recorded_at,
                "payload": json.loads(e.payload),
                "text": e.payload,
            }
            for partition in range(log.manifest.partitions)
            for e in log.raw(PartitionId(partition), START, log.last_position)
        ]
        return sorted(found, key=lambda e: e["position"])

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        """A read model's rows by aggregate."""
        definition = next(d for d in load_definitions(self.config) if d.name == name)
        table = ReadModels(self.config.read_models.path).table(definition.name)
        return {row["aggregate_id"]: row for row in table.to_pylist()}

    def mark(self, source: str = "store") -> Any:
        found = Log.open(self.config.log.path).manifest.source(source)
        return None if found is None else found.mark["reader"]


def store(database: Database, name: str = "store", **keys: Any) -> PostgresSourceConfig:
    """A source over a database, of the keys that runner.toml would have."""
    table = Table(Path("runner.toml"), f"sources.{name}", {**keys, "url_env": database.env})
    return read_postgres_source(name, table, Path())


def read(database: Database, mark: Any = None, name: str = "store", **keys: Any) -> tuple[list[dict[str, Any]], Any]:
    """(the events of one reading, the mark behind them)."""
    with closing(open_source(store(database, name, **keys), mark)) as reader:
        events = [e for piece in reader.pieces() for e in piece.events.to_pylist()]
        return events, json.loads(json.dumps(reader.mark()))
