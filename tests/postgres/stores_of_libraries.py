"""Sources over the restored stores, in projects of their own, and what is in their logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runner.config import load_config, load_definitions
from runner.jobs.rebuild import rebuild
from runner.jobs.sync import sync
from runner.log import Log
from runner.positions import START, PartitionId
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from pathlib import Path

    from runner.config import Config
    from runner.jobs.sync import SyncReport

__all__ = ["Project", "toml"]

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
