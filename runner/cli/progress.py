"""Progress of long work on stderr, from the facts that jobs emit: bars on a terminal, sparse plain lines otherwise.

Also keeps what each stage took, for the summaries that commands print at their end.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from runner import stats
from runner.cli.output import count, rate, say, seconds, size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich.progress import Progress, TaskID

__all__ = ["StageTime", "Watch", "watching"]

LINE_EVERY_SECONDS = 1.0
LINE_EVERY_PART = 0.1
WIDE = 100
"""Columns of a terminal that has room for all figures beside a whole bar."""
REJECTED_SHOWN = 10
"""Rejected lines are shown so far; all of them are in the rejects file."""

_WORDS: dict[stats.Stage, str] = {
    "sync": "syncing",
    "columns": "columns",
    "scan": "scanning",
    "fold": "folding",
    "write": "writing",
    "merge": "merging",
    "prove": "proving",
    "compare": "comparing",
    "measure": "measuring",
    "publish": "publishing",
    "compact": "compacting",
    "load": "loading",
    "switch": "switching",
    "apply": "applying",
}


@dataclass
class StageTime:
    """What one stage took, from its start to its end as the user waits for it."""

    stage: stats.Stage
    events: int
    seconds: float


@dataclass
class _Running:
    """A stage under way. ``octets`` stand in for the amount of work where the number of events is not known."""

    stage: stats.Stage
    started: float
    total_events: int | None
    events: int = 0
    octets: int = 0
    total_octets: int | None = None
    depth: int = 1
    """A stage that begins inside one of its own name is a part of it."""

    @property
    def part(self) -> float | None:
        if self.total_events:
            return min(1.0, self.events / self.total_events)
        if self.total_octets:
            return min(1.0, self.octets / self.total_octets)
        return None

    @property
    def writes_last(self) -> bool:
        """A sync has read all of its source; what it read last is not written yet."""
        return self.stage == "sync" and self.part == 1.0

    def remaining(self, now: float) -> float | None:
        part = self.part
        return (now - self.started) * (1 - part) / part if part else None


class Watch:
    """A listener: shows what goes on and remembers the stages' times, rejected lines and worker seconds."""

    def __init__(self, display: _Display) -> None:
        self._display = display
        self._running: dict[stats.Stage, _Running] = {}
        self.stages: list[StageTime] = []
        self.rejected = 0
        self.by_twin: set[str] = set()
        self.rows: dict[str, int] = {}
        self.deleted: dict[str, int] = {}
        self.worker_seconds = {"scan": 0.0, "fold": 0.0, "write": 0.0}
        self.folded_events = 0
        self.partitions = 0

    def say(self, text: str) -> None:
        """A line for the person, above the bars where there are any."""
        self._display.note(text)

    def __call__(self, fact: stats.Fact) -> None:
        match fact:
            case stats.Noted(text):
                self._display.note(f"note: {text}")
            case stats.StageStarted(stage, total):
                self._started(stage, total)
            case stats.EventsRead():
                self._read(fact)
            case stats.PartitionFolded():
                self._folded(fact)
            case stats.Measured():
                self._measured(fact)
            case stats.RowsWritten(projection, rows, deleted):
                self.rows[projection] = self.rows.get(projection, 0) + rows
                self.deleted[projection] = self.deleted.get(projection, 0) + deleted
            case stats.LineRejected(_, file, line, reason):
                self.rejected += 1
                if self.rejected <= REJECTED_SHOWN:
                    self._display.note(f"rejected {file}:{line}: {reason}")
                elif self.rejected == REJECTED_SHOWN + 1:
                    self._display.note("rejected: more lines, which are counted and go to the rejects file")
            case stats.StageFinished(stage, elapsed, events):
                self._finished(stage, elapsed, events)
            case _:
                pass

    def _started(self, stage: stats.Stage, total: int | None) -> None:
        if stage in self._running:
            self._running[stage].depth += 1
            return
        self._running[stage] = running = _Running(stage, time.monotonic(), total)
        self._display.started(running)

    def _finished(self, stage: stats.Stage, elapsed: float, events: int) -> None:
        running = self._running.get(stage) or _Running(stage, time.monotonic() - elapsed, events or None)
        running.depth -= 1
        running.events = max(running.events, events)
        if running.depth > 0:
            return
        self._running.pop(stage, None)
        self.stages.append(StageTime(stage, running.events, elapsed))
        self._display.finished(running, elapsed)

    def _read(self, fact: stats.EventsRead) -> None:
        running = self._running.get("sync")
        if running is None:
            return
        running.events += fact.events
        running.octets, running.total_octets = fact.bytes_done, fact.bytes_total
        self._display.moved(running)

    def _measured(self, fact: stats.Measured) -> None:
        running = self._running.get("measure") or self._running.get("sync")
        if running is not None:
            running.events += fact.events
            self._display.moved(running)

    def _folded(self, fact: stats.PartitionFolded) -> None:
        self.partitions += 1
        self.folded_events += fact.events
        self.by_twin.update(fact.by_twin)
        for name, spent in (("scan", fact.scan_seconds), ("fold", fact.fold_seconds), ("write", fact.write_seconds)):
            self.worker_seconds[name] += spent
        running = self._running.get("fold")
        if running is not None:
            running.events += fact.events
            self._display.moved(running)


class _Display:
    """Shows nothing; the base of those that do."""

    def started(self, running: _Running) -> None:
        """A stage began."""

    def moved(self, running: _Running) -> None:
        """Some of it is done."""

    def finished(self, running: _Running, elapsed: float) -> None:
        """All of it is done."""

    def note(self, text: str) -> None:
        """A line that stays."""
        say(text)


class _Lines(_Display):
    """Plain lines: at a stage's end, and in between when a tenth more is done, but never more than one a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_time = 0.0
        self._last_part = 0.0

    def started(self, running: _Running) -> None:
        self._last_time, self._last_part = running.started, 0.0

    def moved(self, running: _Running) -> None:
        now = time.monotonic()
        part = running.part
        far_enough = part is None or part - self._last_part >= LINE_EVERY_PART
        if running.writes_last and now - running.started >= LINE_EVERY_SECONDS and self._last_part < 1:
            self._last_time = 0.0  # said at once: the next line may be long in coming
            far_enough = True
        if now - self._last_time < LINE_EVERY_SECONDS or not far_enough:
            return
        self._last_time, self._last_part = now, part or 0.0
        left = running.remaining(now)
        pieces = [f"{count(running.events)} events", rate(running.events, now - running.started)]
        if part is not None:
            pieces.insert(0, f"{part:.0%}")
        if running.writes_last:
            pieces.append("writing the last segment")
        elif left is not None:
            pieces.append(f"{seconds(left)} left")
        self._write(f"{_WORDS[running.stage]}: {', '.join(pieces)}")

    def finished(self, running: _Running, elapsed: float) -> None:
        events = f"{count(running.events)} events, {rate(running.events, elapsed)}, " if running.events else ""
        self._write(f"{_WORDS[running.stage]}: {events}{seconds(elapsed)}")

    def note(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


class _Bars(_Display):
    """One bar a stage, with events/s and the time that is left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[stats.Stage, TaskID] = {}

    def started(self, running: _Running) -> None:
        self._tasks[running.stage] = self._progress.add_task(
            _WORDS[running.stage], total=None, part="", figures="", left=""
        )

    def moved(self, running: _Running) -> None:
        task = self._tasks.get(running.stage)
        if task is None:
            return
        now = time.monotonic()
        left = running.remaining(now)
        total, done = (
            (running.total_events, running.events) if running.total_events else (running.total_octets, running.octets)
        )
        figures = f"{count(running.events)} events  {rate(running.events, now - running.started)}"
        if not running.total_events and running.total_octets and self._progress.console.width >= WIDE:
            figures += f"  {size(running.octets)} of {size(running.total_octets)}"
        part = "" if running.part is None else f"{running.part:.0%}"
        remaining = f"{seconds(left)} left" if left is not None else ""
        if running.writes_last:
            remaining = "writing the last segment"
        self._progress.update(task, total=total, completed=done, part=part, figures=figures, left=remaining)

    def finished(self, running: _Running, elapsed: float) -> None:
        task = self._tasks.pop(running.stage, None)
        if task is None:
            return
        figures = f"{count(running.events)} events  {rate(running.events, elapsed)}" if running.events else ""
        self._progress.update(task, total=1, completed=1, part="done", figures=figures, left=seconds(elapsed))

    def note(self, text: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text(text))


def watching(*, quiet: bool = False, stream: TextIO | None = None) -> AbstractContextManager[Watch]:
    """A watch for the time of a ``with`` block, on stderr: bars on a terminal, else lines; nothing if ``quiet``."""
    from contextlib import contextmanager

    target = stream or sys.stderr

    @contextmanager
    def watch() -> Iterator[Watch]:
        if quiet:
            yield Watch(_Display())
        elif not target.isatty():
            yield Watch(_Lines(target))
        else:
            with _bars(target) as progress:
                yield Watch(_Bars(progress))

    return watch()


def _bars(target: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description:<11}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[part]:>4}", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        TextColumn("{task.fields[left]}", style="dim", markup=False),
        console=Console(file=target),
        refresh_per_second=8,
    )
