"""A small project of orders and the command line in it: for the tests of whole commands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@dataclass
class Project:
    """A directory with events and the command line in it."""

    root: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command; its stdout."""
        got = app.run([*arguments, "--config", str(self.root / "runner.toml")])
        captured = self.capture.readouterr()
        assert got == code, captured.err
        self.err = captured.err
        return captured.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def append(self, *events: dict[str, Any]) -> None:
        with (self.root / "orders.ndjson").open("a") as file:
            file.writelines(json.dumps(e) + "\n" for e in events)


def order(number: int, version: int, kind: str, day: int, **data: object) -> dict[str, Any]:
    return {
        "stream": f"order-{number}",
        "version": version,
        "type": kind,
        "time": f"2026-01-{day:02d}T10:00:00Z",
        "data": data,
    }
