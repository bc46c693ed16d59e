"""[[schedule]] and [scheduler] of runner.toml: what is run at which times.

An *entry* is one [[schedule]]; an *occurrence* of it is a time at which its cron expression or interval says so.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from runner.config.table import Table, nearest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AS_OF", "AsOf", "ScheduleConfig", "SchedulerConfig", "read_schedule", "read_scheduler"]

AsOf = Literal["", "occurrence", "start of hour", "start of day", "start of week", "start of month", "start of year"]
AS_OF: tuple[AsOf, ...] = get_args(AsOf)
STEPS = ("sync", "update", "rebuild", "compare", "verify", "prove", "compact", "audit")
_OURS = ("--config", "--env", "--json", "--debug", "--follow", "--resume", "--metrics-port", "--help", "-h")
"""Options that a step may not give: the scheduler gives them, or they make no run that ends by itself."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class ScheduleConfig:
    """One [[schedule]]: an entry. Times are in seconds."""

    name: str
    run: tuple[tuple[str, ...], ...]
    """The steps, in order: command lines of ``runner`` without it."""
    cron: str = ""
    """Five fields; "" where ``every`` counts."""
    every: float = 0.0
    """Occurrences are the multiples of it since 1970-01-01T00:00Z."""
    zone: str = "UTC"
    as_of: AsOf = ""
    """Up to which time rebuilds and updates fold, told from the occurrence; "" is all of the log."""
    jitter: float = 0.0
    missed: Literal["once", "skip"] = "once"
    grace: float = 60.0
    """With ``missed = "skip"``: an occurrence that could not begin so long after it was due is skipped."""
    retries: int = 0
    retry_pause: float = 60.0
    """Before the first retry; each further one waits twice as long."""
    retry_pause_most: float = 3_600.0
    limit: float = 0.0
    """A run that takes longer is ended; 0 is none."""


@dataclass(frozen=True)
class SchedulerConfig:
    """[scheduler]: the process that runs the entries. port: of /healthz and /metrics, 0 is none."""

    address: str = "127.0.0.1"
    port: int = 9465
    runs: int = 4
    """So many runs at once, of different entries."""
    stop_wait: float = 60.0
    """Seconds that a run has to end when it is asked to, before it is killed."""


def read_scheduler(table: Table) -> SchedulerConfig:
    """[scheduler]."""
    made = SchedulerConfig(
        table.text("address", "127.0.0.1"),
        table.number("port", 9465),
        table.number("runs", 4, 1),
        table.seconds("stop_wait", 60.0),
    )
    if made.port > 65_535:
        raise table.wrong("port", f"is {made.port}; the highest is 65535")
    table.done()
    return made


def read_schedule(file: Path, values: Any) -> tuple[ScheduleConfig, ...]:
    """The entries, in the order of the file."""
    if not isinstance(values, list):
        raise Table(file, "", {}).wrong("schedule", "takes tables", "write [[schedule]], with two brackets")
    made: dict[str, ScheduleConfig] = {}
    for number, value in enumerate(values, 1):
        table = Table(file, f"schedule {number}", value)
        name = table.required("name", "what the ledger, the metrics and `runner schedule` call it")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise table.wrong("name", f"is {name!r}", "letters, digits, and _ . - behind the first; at most 64")
        if name in made:
            raise table.wrong("name", f"is {name!r}, as another entry's")
        table.where = f"schedule.{name}"
        made[name] = _entry(name, table)
    return tuple(made.values())


def _entry(name: str, table: Table) -> ScheduleConfig:
    entry = ScheduleConfig(
        name=name,
        run=_steps(table),
        cron=table.text("cron"),
        every=table.seconds("every", 0.0),
        zone=table.text("zone", "UTC"),
        as_of=table.choice("as_of", "", AS_OF) if table.has("as_of") else "",
        jitter=table.seconds("jitter", 0.0),
        missed=table.choice("missed", "once", ("once", "skip")),
        grace=table.seconds("grace", 60.0),
        retries=table.number("retries", 0),
        retry_pause=table.seconds("retry_pause", 60.0),
        retry_pause_most=table.seconds("retry_pause_most", 3_600.0),
        limit=table.seconds("limit", 0.0),
    )
    _check_times(table, entry)
    if entry.as_of:
        _check_as_of(table, entry)
    table.done()
    return entry


def _steps(table: Table) -> tuple[tuple[str, ...], ...]:
    lines = table.texts("run")
    if not lines:
        raise table.wrong("run", "is missing", 'its steps: run = "update", or run = ["sync", "rebuild --all"]')
    steps = []
    for line in lines:
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            raise table.wrong("run", f"has {line!r}: {error}") from None
        if words[:1] == ("runner",):
            words = words[1:]
        if not words or words[0] not in STEPS:
            first = words[0] if words else ""
            raise table.wrong("run", f"has {line!r}: {first!r} is no step", nearest(first, STEPS))
        for word in words[1:]:
            if word.partition("=")[0] in _OURS:
                raise table.wrong("run", f"has {line!r}: {word} may not stand there")
        steps.append(words)
    return tuple(steps)


def _check_times(table: Table, entry: ScheduleConfig) -> None:
    if bool(entry.cron) == bool(entry.every):
        both = "cron and every" if entry.cron else "neither cron nor every"
        raise table.wrong("", f"has {both}", 'one of them: cron = "30 0 * * *", or every = "15min"')
    table.check_zone("zone", entry.zone)
    if entry.cron:
        _check_cron(table, entry.cron)
    elif entry.every < 1.0:
        raise table.wrong("every", f"is {entry.every:g} seconds", "the least is one second")
    elif entry.jitter >= entry.every:
        raise table.wrong("jitter", "is as long as every", "it is added to each time, so it must be shorter")


def _check_cron(table: Table, cron: str) -> None:
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    fields = '"minute hour day-of-month month day-of-week", such as "30 0 * * *"'
    if len(cron.split()) != 5:
        raise table.wrong("cron", f"is {cron!r}, which has {len(cron.split())} fields, not 5", fields)
    try:
        next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise table.wrong("cron", f"is {cron!r}: {str(error)[:1].lower()}{str(error)[1:]}", fields) from None
    except StopIteration:
        raise table.wrong("cron", f"is {cron!r}, which no time matches", fields) from None


def _check_as_of(table: Table, entry: ScheduleConfig) -> None:
    if not any(step[0] in ("rebuild", "update") for step in entry.run):
        raise table.wrong("as_of", "is of no use: no step rebuilds or updates", 'run = ["sync", "rebuild --all"]')
    if any(word.partition("=")[0] == "--to" for step in entry.run for word in step):
        raise table.wrong("as_of", "says up to where, and so does --to in run", "leave one of them out")
