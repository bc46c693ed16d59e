"""The job ledger: every run, its state, the results of its finished partitions and its timings, in SQLite.

A local file (write-ahead log), readable while runs go on, written by several processes at once. What a run writes here
survives its death: a resumed rebuild takes over the partitions that are recorded, after comparing their files. A run
whose process is gone is shown as "died". Passwords in connection strings are masked before they are stored.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import JobError
from runner.jobs.records.owner import Owner
from runner.jobs.records.sqlite_file import SqliteFile
from runner.positions import START, Position
from runner.secrets import cleared
from runner.sinks.shape import FileInfo
from runner.statements import statements
from runner.stats import StageFinished

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from runner.stats import Fact, Listener

__all__ = ["Job", "Ledger", "NewJob", "PartitionRecord", "State"]

State = Literal["running", "succeeded", "failed", "interrupted", "died"]
SQL = statements("runner.jobs.records", "ledger.sql")
MIGRATIONS = statements("runner.jobs.records", "ledger_schema.sql")
KEPT = 1000
"""So many runs stay in the ledger."""
_IN_URL = re.compile(r"(\w+://[^\s:/@]*:)[^\s@/]+(?=@)")
_SECRET = re.compile(r"password|passwd|pwd|token|secret|api_?key", re.IGNORECASE)
_NAMED = re.compile(rf"""((?:{_SECRET.pattern})["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)""", re.IGNORECASE)


@dataclass(frozen=True)
class NewJob:
    """A run as it starts. What decides its results (all but ``options``) must be equal for it to be resumed."""

    what: str
    """"sync", "rebuild", "update", "rollback", ..."""
    projections: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    log_id: str = ""
    cut: Position = START
    """Up to which position it folds."""
    plan_digest: str = ""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Which version of each read model it claimed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """As asked for: engine, workers, ``--to``; plain JSON values, for reports."""

    def differs_from(self, other: NewJob) -> tuple[str, ...]:
        """Why ``other`` cannot go on with this job's partitions, in words; empty: it can."""
        reasons = []
        if tuple(sorted(self.projections)) != tuple(sorted(other.projections)):
            reasons.append(f"it was of {', '.join(self.projections)}")
        changed = [n for n in self.projections if self.fingerprints.get(n) != other.fingerprints.get(n)]
        if changed:
            reasons.append(f"changed since: {', '.join(changed)}")
        if self.log_id != other.log_id:
            reasons.append(f"it read log {self.log_id}, this is {other.log_id}")
        if self.cut != other.cut:
            reasons.append(f"it folded up to position {self.cut}, this run up to {other.cut}")
        if self.plan_digest != other.plan_digest:
            reasons.append("the runner or the log's types changed, and with them the compiled fold")
        return tuple(reasons)


@dataclass(frozen=True)
class PartitionRecord:
    """A finished partition. files: per projection what was written (none: no rows). The rest is for reports."""

    partition: int
    files: Mapping[str, tuple[FileInfo, ...]]
    events: int = 0
    batches: int = 0
    folded: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """"scan", "fold", "write"."""
    by_twin: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> PartitionRecord:
        data = json.loads(text)
        data["files"] = {n: tuple(FileInfo.from_json(f) for f in files) for n, files in data["files"].items()}
        return PartitionRecord(**{**data, "by_twin": tuple(data["by_twin"]), "notes": tuple(data["notes"])})


@dataclass(frozen=True)
class Job(NewJob):
    """A run as the ledger knows it. ``projections`` are sorted."""

    id: str = ""
    state: State = "running"
    started: str = ""
    """ISO 8601, UTC."""
    finished: str = ""
    owner: Owner = field(default_factory=lambda: Owner("", 0, ""))
    partitions_done: int = 0
    stages: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Per stage: seconds, events."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    resumes: str = ""
    """The job whose partitions it took over."""


class Ledger(SqliteFile):
    """The ledger in one file; a context manager. May be shared by threads."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        """Open it, or make it; ``read_only`` needs no write access, and an absent file is an empty ledger."""
        super().__init__(
            path,
            "the job ledger",
            SQL,
            MIGRATIONS,
            damaged="move it away: read models do not depend on it, only `--resume` does",
            read_only=read_only,
        )

    # Writing

    def begin(self, job: NewJob, *, resumes: str = "") -> str:
        """Record a run of this process and give its id. With ``resumes`` that job's partitions are taken over."""
        now = datetime.now(UTC)
        owner = Owner.here()
        row = {
            "id": f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            "what": job.what,
            "projections": _names(job.projections),
            "started": now.isoformat(),
            "host": owner.host,
            "pid": owner.pid,
            "process": owner.process,
            "log_id": job.log_id,
            "cut": int(job.cut),
            "plan_digest": job.plan_digest,
            "fingerprints": json.dumps(dict(job.fingerprints)),
            "versions": json.dumps(dict(job.versions)),
            "options": json.dumps(_without_secrets(dict(job.options)), default=str),
            "resumes": resumes,
        }
        with self.transaction() as connection:
            connection.execute(SQL["begin"], row)
            if resumes:
                connection.execute(SQL["take_over"], {"id": row["id"], "resumes": resumes})
        return str(row["id"])

    def claimed(self, job_id: str, versions: Mapping[str, int]) -> None:
        """Note which versions of the read models the run writes."""
        self.write("claimed", id=job_id, versions=json.dumps(dict(versions)))

    def partition_done(self, job_id: str, record: PartitionRecord) -> None:
        """Record a finished partition; its files are on the disk."""
        now = datetime.now(UTC).isoformat()
        self.write("partition_done", id=job_id, partition=record.partition, record=record.to_json(), recorded=now)

    def forget_partition(self, job_id: str, partition: int) -> None:
        """Take back a partition whose files are not as they were recorded."""
        self.write("forget_partition", id=job_id, partition=partition)

    def stage_done(self, job_id: str, stage: str, seconds: float, events: int = 0) -> None:
        """Add to a stage's timing."""
        self.write("stage_done", id=job_id, stage=stage, seconds=float(seconds), events=int(events))

    def listener(self, job_id: str) -> Listener:
        """A listener that records the timings of a run's stages."""

        def heard(fact: Fact) -> None:
            if isinstance(fact, StageFinished):
                self.stage_done(job_id, fact.stage, fact.seconds, fact.events)

        return heard

    def progress(self, job_id: str, counts: Mapping[str, Any]) -> None:
        """What a run that lasts has done so far; plain JSON values."""
        self.write("progress", id=job_id, counts=json.dumps(dict(counts), default=str))

    def finish(
        self,
        job_id: str,
        outcome: Literal["succeeded", "failed", "interrupted"],
        *,
        error: str = "",
        counts: Mapping[str, Any] | None = None,
    ) -> None:
        """Record how it ended. counts: plain JSON values, for reports."""
        now = datetime.now(UTC).isoformat()
        told = json.dumps(dict(counts or {}), default=str)
        self.write("finish", id=job_id, state=outcome, finished=now, error=_masked(error), counts=told)

    def trim(self, keep: int = KEPT) -> int:
        """Forget all but the latest ``keep`` runs and those that go on; how many went. Each run does it as it ends."""
        with self.transaction() as connection:
            return connection.execute(SQL["remove_older"], {"keep": keep}).rowcount

    # Reading

    def get(self, job_id: str) -> Job:
        """A run by its id or an unambiguous beginning of it; JobError where there is none."""
        found = [str(r["id"]) for r in self.rows("find", prefix=job_id)] if job_id else []
        if job_id in found:
            found = [job_id]
        if len(found) != 1:
            several = f"{len(found)} jobs begin with {job_id!r}" if found else f"there is no job {job_id!r}"
            raise JobError(several, hint="see `runner jobs`")
        return self._job(self.rows("job", id=found[0])[0])

    def jobs(self, *, limit: int = 50, what: str = "") -> tuple[Job, ...]:
        """The latest runs, the latest first."""
        return tuple(self._job(row) for row in self.rows("jobs", limit=limit, what=what))

    def partitions(self, job_id: str) -> dict[int, PartitionRecord]:
        """The finished partitions of a run."""
        rows = self.rows("partitions", id=job_id)
        return {int(r["partition"]): PartitionRecord.from_json(r["record"]) for r in rows}

    def last_unfinished(self, what: str, projections: tuple[str, ...]) -> Job | None:
        """The last run of any of these projections that left finished partitions; None where a later one succeeded
        or goes on. It may be of others too: only a run of the same ones can go on with it.

        One without any, refused as its version was busy, has nothing to go on with and is passed over. One whose
        process cannot be seen from here counts as unfinished: the claim on the version keeps two runs apart. Whether a
        new run may go on with it says ``Job.differs_from``.
        """
        rows = self.rows("last", what=what, projections=_names(projections))
        if not rows:
            return None
        job = self._job(rows[0])
        goes_on = job.state == "running" and job.owner.life() == "alive"
        return None if goes_on or job.state == "succeeded" else job

    def _job(self, row: sqlite3.Row) -> Job:
        owner = Owner(row["host"], row["pid"], row["process"])
        state: State = row["state"]
        if state == "running" and owner.life() == "dead":
            state = "died"
        return Job(
            what=row["what"],
            projections=tuple(json.loads(row["projections"])),
            fingerprints=json.loads(row["fingerprints"]),
            log_id=row["log_id"],
            cut=Position(row["cut"]),
            plan_digest=row["plan_digest"],
            versions=json.loads(row["versions"]),
            options=json.loads(row["options"]),
            id=row["id"],
            state=state,
            started=row["started"],
            finished=row["finished"] or "",
            owner=owner,
            partitions_done=row["partitions_done"],
            stages={r["stage"]: (r["seconds"], r["events"]) for r in self.rows("stages", id=row["id"])},
            counts=json.loads(row["counts"]),
            error=row["error"],
            resumes=row["resumes"],
        )


def _names(projections: tuple[str, ...]) -> str:
    """One form for the same set of names."""
    return json.dumps(sorted(projections), ensure_ascii=False)


def _masked(text: str) -> str:
    return _NAMED.sub(r"\1***", _IN_URL.sub(r"\1***", cleared(text)))


def _without_secrets(value: object) -> object:
    if isinstance(value, dict):
        return {k: "***" if _SECRET.search(str(k)) else _without_secrets(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(v) for v in value]
    return _masked(value) if isinstance(value, str) else value
