"""What became of each entry's occurrences, and the positions that are pinned: in SQLite, beside the job ledger.

A run's line is written before its process is started, and is that process's then. So of one that died with its
scheduler the line says "running", while its process is gone and nobody holds the entry's lock: ``died`` is what it is
then. A process that its scheduler had no time to write down finds that in its line, and gives up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from runner.errors import JobError
from runner.jobs.records.owner import Owner
from runner.jobs.records.sqlite_file import SqliteFile
from runner.jobs.scheduling.plan import EntryState, Unfinished
from runner.positions import Position
from runner.secrets import cleared
from runner.statements import statements

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from runner.config import Config, ScheduleConfig
    from runner.jobs.scheduling.plan import RunEnd

__all__ = ["EntryRun", "Pin", "ScheduleState", "directory_of", "made_directory"]

KEPT = 1_000
"""So many lines of an entry stay. Pins stay all: they are what the same bytes again rest on."""
_FAILED = frozenset({"failed", "timed out", "died"})
_UNFINISHED = _FAILED | {"stopped"}


@dataclass(frozen=True)
class EntryRun:
    """A run of an entry. failures: runs of the occurrence that failed, with this one."""

    id: int
    entry: str
    occurrence: datetime
    made_by: Literal["clock", "hand"]
    state: str
    failures: int
    started: datetime
    ended: datetime | None
    exit_code: int
    error: str
    owner: Owner


@dataclass(frozen=True)
class Pin:
    """To which position of which log an occurrence folds, and the time that this was told from."""

    as_of: datetime
    log_id: str
    position: Position


def directory_of(config: Config) -> Path:
    """Where the scheduler keeps what it knows, its locks, and what runs wrote."""
    return config.state.path / "schedule"


def made_directory(config: Config, *below: str) -> Path:
    """A directory there, made for its owner only as all above it in the state directory. Raises JobError."""
    directory = config.state.path
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("schedule", *below):
            directory /= name
            directory.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise JobError(
            f"{directory} cannot be made: {error.strerror}", hint="[state] path names another place"
        ) from None
    return directory


class ScheduleState(SqliteFile):
    """The file of one project. ``now`` is always the caller's clock."""

    def __init__(self, config: Config, *, read_only: bool = False) -> None:
        sql = statements("runner.jobs.scheduling", "state.sql")
        migrations = statements("runner.jobs.scheduling", "state_schema.sql")
        if not read_only:
            made_directory(config)
        super().__init__(
            directory_of(config) / "schedule.sqlite",
            "the scheduler's state",
            sql,
            migrations,
            damaged="move it away: each entry begins anew, and what was pinned is cut by time again",
            read_only=read_only,
        )

    # What the clock's plan rests on

    def seen(self, entry: ScheduleConfig, now: datetime) -> None:
        """Let an entry that is new, or has other times than before, begin now: nothing before is missed."""
        times = f"{entry.cron or f'every {entry.every:g} s'} {entry.zone}"
        known = self.rows("times", entry=entry.name)
        if not known or known[0]["times"] != times:
            self._insert(entry.name, now, now, state="seen", times=times)

    def of(self, entry: str, now: datetime) -> EntryState:
        """What became of it, as of a time; ``running`` is for the caller to say, who knows the locks."""
        handled = self.rows("handled", entry=entry, now=_text(now))
        latest = self.rows("latest", entry=entry)
        unfinished = None
        if latest and latest[0]["state"] in _UNFINISHED:
            last = _run(latest[0])
            assert last.ended is not None
            how: RunEnd = latest[0]["state"]
            unfinished = Unfinished(last.occurrence, how, last.failures, last.ended, last.exit_code)
        return EntryState(_time(handled[0]["occurrence"]) if handled else now, False, unfinished)

    def missed(self, entry: str, last: datetime, count: int, now: datetime) -> None:
        """Occurrences up to ``last`` are not run."""
        self._insert(entry, last, now, state="missed", missed=count)

    # Runs

    def begin(
        self,
        entry: str,
        occurrence: datetime,
        now: datetime,
        *,
        by: Literal["clock", "hand"] = "clock",
        failures: int = 0,
        missed: int = 0,
    ) -> int:
        """Write down a run that is about to be started by this process; its id."""
        run = self._insert(entry, occurrence, now, by=by, state="running", failures=failures, missed=missed)
        self.write("trim", entry=entry, keep=KEPT)
        return run

    def own(self, run: int, owner: Owner) -> bool:
        """Note whose a run is now: the process that does it; False where it was given up meanwhile."""
        self.write("own", id=run, host=owner.host, pid=owner.pid, process=owner.process)
        return self.run(run).state == "running"

    def end(self, run: int, how: RunEnd, now: datetime, *, exit_code: int = 0, error: str = "") -> None:
        """Write down how it ended; again, where somebody knows better."""
        before = self.run(run)
        failures = before.failures - (before.state in _FAILED) + (how in _FAILED)
        self.write(
            "end",
            id=run,
            state=how,
            failures=failures,
            ended=_text(now),
            exit_code=exit_code,
            error=cleared(error),
        )

    def run(self, run: int) -> EntryRun:
        return _run(self.rows("run", id=run)[0])

    def runs(self, entry: str, limit: int) -> tuple[EntryRun, ...]:
        """The latest runs of an entry, the latest first."""
        return tuple(map(_run, self.rows("runs", entry=entry, limit=limit)))

    def running(self) -> tuple[EntryRun, ...]:
        """All whose end nobody wrote down."""
        return tuple(map(_run, self.rows("running")))

    def last_success(self, entry: str) -> EntryRun | None:
        found = self.rows("success", entry=entry)
        return _run(found[0]) if found else None

    def missed_count(self, entry: str) -> int:
        """Occurrences that were not run, of those that are remembered."""
        return int(self.rows("missed", entry=entry)[0]["missed"])

    # Pins

    def pin(self, entry: str, occurrence: datetime) -> Pin | None:
        found = self.rows("pin", entry=entry, occurrence=_text(occurrence))
        if not found:
            return None
        return Pin(_time(found[0]["as_of"]), found[0]["log_id"], Position(found[0]["position"]))

    def set_pin(self, entry: str, occurrence: datetime, pin: Pin) -> None:
        self.write(
            "set_pin",
            entry=entry,
            occurrence=_text(occurrence),
            as_of=_text(pin.as_of),
            log_id=pin.log_id,
            position=int(pin.position),
        )

    def _insert(
        self,
        entry: str,
        occurrence: datetime,
        now: datetime,
        *,
        state: str,
        by: str = "clock",
        failures: int = 0,
        missed: int = 0,
        times: str = "",
    ) -> int:
        owner = Owner.here()
        return self.write(
            "begin",
            entry=entry,
            occurrence=_text(occurrence),
            made_by=by,
            state=state,
            failures=failures,
            missed=missed,
            started=_text(now),
            ended="" if state == "running" else _text(now),
            times=times,
            host=owner.host,
            pid=owner.pid,
            process=owner.process,
        )


def _run(row: sqlite3.Row) -> EntryRun:
    return EntryRun(
        row["id"],
        row["entry"],
        _time(row["occurrence"]),
        row["made_by"],
        row["state"],
        row["failures"],
        _time(row["started"]),
        _time(row["ended"]) if row["ended"] else None,
        row["exit_code"],
        row["error"],
        Owner(row["host"], row["pid"], row["process"]),
    )


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
