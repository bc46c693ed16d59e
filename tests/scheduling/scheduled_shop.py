"""A small project with a schedule, and the processes of ``runner schedule`` in it."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from runner.config import load_config

if TYPE_CHECKING:
    import signal
    from pathlib import Path

    from runner.config import Config

PROJECTIONS = """
from runner import Event, Projection, on

class Paid(Event, type="paid"):
    amount: int

class Totals(Projection):
    total: int = 0

    @on(Paid)
    def paid(self, e):
        self.total += e.amount
"""
TOML = """
[project]
modules = ["shop_of_schedule"]
[log]
partitions = 2
[engine]
name = "threads"
workers = 1
[sources.shop]
files = "events.ndjson"
aggregate_id = "id"
type = "type"
recorded_at = "at"
payload = "data"
[scheduler]
port = 0
stop_wait = "20s"
"""
SECONDS = 60.0
"""So long a process is waited for at most."""


class Shop:
    """Its directory; processes that it started are ended by ``close``."""

    def __init__(self, root: Path, schedule: str) -> None:
        self.root = root
        (root / "shop_of_schedule.py").write_text(PROJECTIONS)
        (root / "runner.toml").write_text(TOML + schedule)
        (root / "events.ndjson").write_text("")
        self._processes: list[subprocess.Popen[str]] = []

    @property
    def config(self) -> Config:
        return load_config(self.root / "runner.toml")

    def append(self, *events: tuple[str, str, int]) -> None:
        """(aggregate, recorded at, amount)"""
        with (self.root / "events.ndjson").open("a") as file:
            for name, at, amount in events:
                file.write(json.dumps({"id": name, "type": "paid", "at": at, "data": {"amount": amount}}) + "\n")

    def start(self, *words: str) -> Scheduling:
        line = [sys.executable, "-m", "runner", "schedule", *words]
        process = subprocess.Popen(
            line,
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return Scheduling(process)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stderr is not None
            process.stderr.close()


class Scheduling:
    """A scheduler under way, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        try:
            for line in self.process.stderr:
                self._lines.put(line)
        except ValueError:
            pass  # closed meanwhile
        self._lines.put("")

    def until(self, words: str) -> str:
        """The next line with these words in it."""
        while True:
            line = self._lines.get(timeout=SECONDS)
            self.said.append(line)
            assert line, f"it ended without {words!r}: {''.join(self.said)}"
            if words in line:
                return line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(SECONDS)
