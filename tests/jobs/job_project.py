"""A project in a directory: a log written event by event, and its read models as bytes and as plain Python."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.config import Config, LogConfig, ProjectConfig, ReadModelsConfig, StateConfig
from runner.log import ARRIVAL_SCHEMA, Log, LogWriter, Room
from runner.sinks.export import canonical
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from pathlib import Path

    from runner.config import LogPath

ALL = ("accounts", "items", "totals", "trail")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TINY = Room(events=16, payload_bytes=1 << 20, whole_below=0)
"""Many small partitioned segments."""


@dataclass(frozen=True)
class Sent:
    """One event. position decides its time: a second after the one before."""

    aggregate: str
    type: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Project:
    root: Path
    modules: tuple[str, ...] = ("bank_of_jobs",)
    log_path: LogPath | None = None
    """In the place of a directory of the project's."""

    @property
    def config(self) -> Config:
        return Config(
            file=self.root / "runner.toml",
            root=self.root,
            log=LogConfig(self.log_path or self.root / "log"),
            state=StateConfig(self.root / "state"),
            read_models=ReadModelsConfig(self.root / "read_models"),
            project=ProjectConfig(self.modules),
        )

    @property
    def models(self) -> ReadModels:
        return ReadModels(self.root / "read_models")

    def log(self) -> Log:
        return Log.open(self.config.log.path)

    def append(
        self,
        events: list[Sent],
        *,
        partitions: int = 4,
        room: Room | None = None,
        source: str = "bank",
        tenant: str = "",
    ) -> None:
        """One commit."""
        with LogWriter.open(self.config.log.path, partitions=partitions, room=room) as writer:
            first = writer.last_position + 1
            columns = [
                [tenant] * len(events),
                [e.aggregate for e in events],
                [None] * len(events),
                [e.type for e in events],
                [BEGIN + timedelta(seconds=first + i) for i in range(len(events))],
                [0] * len(events),
                [first + i for i in range(len(events))],
                [json.dumps(e.payload) for e in events],
            ]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, ARRIVAL_SCHEMA, strict=True)]
            writer.append(source, pa.record_batch(arrays, schema=ARRIVAL_SCHEMA))
            writer.commit(source, {"events": int(first) + len(events)})

    def bytes(self, *names: str) -> dict[str, bytes]:
        """The canonical bytes of the live read models."""
        return {name: canonical(self.models.table(name)) for name in names or ALL}

    def rows(self, name: str) -> dict[Any, tuple[Any, ...]]:
        """The live rows by key (a tuple where it has several columns)."""
        live = self.models.live(name)
        assert live is not None
        keys = len(live.shape.full_key)
        table = self.models.table(name)
        rows = zip(*(table[c].to_pylist() for c in table.schema.names), strict=True)
        return {row[0] if keys == 1 else row[:keys]: row[keys:] for row in rows}


def history(seed: int, events: int = 200, accounts: int = 20) -> list[Sent]:
    """Random events of all types, one of which no projection knows."""
    draw = random.Random(seed)
    made: list[Sent] = []
    for _ in range(events):
        aggregate = f"a-{draw.randrange(accounts)}"
        kind = draw.choices(["opened", "moved", "bought", "closed", "unknown"], [2, 10, 5, 1, 2])[0]
        payload: dict[str, Any] = {}
        if kind == "opened":
            payload = {"owner": draw.choice(["ann", "böb", "cé", ""])}
        elif kind == "moved":
            payload = {"amount": draw.randrange(-50, 100)}
            if draw.random() < 0.5:
                payload["note"] = draw.choice([None, "x", "yy"])
        elif kind == "bought":
            lines = range(draw.randrange(3))
            payload = {"lines": [{"sku": f"s{draw.randrange(4)}", "quantity": draw.randrange(-2, 3)} for _ in lines]}
        made.append(Sent(aggregate, kind, payload))
    return made


def expected(events: list[Sent]) -> dict[str, dict[Any, tuple[Any, ...]]]:
    """The read models by an independent computation: a loop over dicts that knows nothing of the runner."""
    accounts: dict[str, list[Any]] = {}
    items: dict[tuple[str, str], int] = {}
    totals: dict[str, list[int]] = {}
    trail: dict[str, list[int]] = {}
    for e in events:
        total = totals.setdefault(e.type, [0, -1000])
        total[0] += 1
        if e.type in ("opened", "moved"):
            row = accounts.setdefault(e.aggregate, ["", 0, 0, None])
        if e.type == "opened":
            row[0] = e.payload["owner"]
        elif e.type == "moved":
            amount = e.payload["amount"]
            row[1] += amount
            row[2] += 1
            row[3] = row[3] if e.payload.get("note") is None else e.payload["note"]
            total[0] += 1
            total[1] = max(total[1], amount)
            trail[e.aggregate] = [*trail.get(e.aggregate, []), amount][-3:]
        elif e.type == "closed":
            accounts.pop(e.aggregate, None)
        elif e.type == "bought":
            for line in e.payload["lines"]:
                key = (e.aggregate, line["sku"])
                items[key] = items.get(key, 0) + line["quantity"]
                if items[key] == 0:
                    del items[key]
    return {
        "accounts": {key: tuple(row) for key, row in accounts.items()},
        "items": {key: (quantity,) for key, quantity in items.items()},
        "totals": {key: tuple(row) for key, row in totals.items()},
        "trail": {key: (amounts,) for key, amounts in trail.items()},
    }
