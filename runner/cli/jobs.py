"""``runner jobs``: the ledger of runs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from runner.cli.exit_codes import described
from runner.cli.options import session_command, session_options
from runner.cli.output import count, emit_json, print_table, print_text, rate, seconds

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.jobs.records.ledger import Job, Ledger

__all__ = ["command"]


@click.group(name="jobs", invoke_without_command=True, epilog=described())
@session_options
def command(session: Session) -> None:
    """Runs and how they ended; without a subcommand: the list."""
    if click.get_current_context().invoked_subcommand is None:
        _list(session, limit=20, what="")


@session_command("list")
@click.option("--limit", default=20, show_default=True, help="How many, the latest first.")
@click.option("--what", default="", metavar="KIND", help="Only this kind: sync, rebuild, update, rollback ...")
def list_jobs(session: Session, limit: int, what: str) -> None:
    """The latest runs."""
    _list(session, limit=limit, what=what)


@session_command("show")
@click.argument("job_id")
def show(session: Session, job_id: str) -> None:
    """One run by its id, or an unambiguous beginning of it."""
    with _ledger(session) as ledger:
        job = ledger.get(job_id)
        partitions = ledger.partitions(job.id)
    if session.as_json:
        emit_json({**_plain(job), "partitions": {str(p): asdict(r) for p, r in sorted(partitions.items())}})
        return
    lines = {
        "job": job.id,
        "what": f"{job.what} {', '.join(job.projections)}".strip(),
        "state": job.state,
        "started": job.started,
        "took": _took(job),
        "process": f"{job.owner.pid} on {job.owner.host}",
        "up to position": count(job.cut) if job.cut else "",
        "versions": ", ".join(f"{n} v{v}" for n, v in job.versions.items()),
        "partitions done": count(job.partitions_done) if job.partitions_done else "",
        "resumes": job.resumes,
        "options": ", ".join(f"{k}={v}" for k, v in job.options.items() if v not in (None, "")),
        "counts": ", ".join(f"{k}={v}" for k, v in job.counts.items()),
        "error": job.error,
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        if value:
            print_text(f"{name:<{width}}  {value}")
    if job.stages:
        rows = [
            (stage, count(events) if events else "-", seconds(spent), rate(events, spent) if events else "-")
            for stage, (spent, events) in job.stages.items()
        ]
        print_table("", ("stage", "events", "time", "rate"), rows, numeric=frozenset({"events", "time", "rate"}))


command.add_command(list_jobs)
command.add_command(show)


def _list(session: Session, *, limit: int, what: str) -> None:
    with _ledger(session) as ledger:
        jobs = ledger.jobs(limit=limit, what=what)
    if session.as_json:
        emit_json({"jobs": [_plain(job) for job in jobs]})
        return
    if not jobs:
        print_text("no runs yet")
        return
    rows = [
        (job.id, job.what, ", ".join(job.projections), job.state, job.started[:19], _took(job), job.error[:60])
        for job in jobs
    ]
    print_table("", ("job", "what", "projections", "state", "started (UTC)", "took", "error"), rows)


def _ledger(session: Session) -> Ledger:
    from runner.jobs.records.ledger import Ledger

    return Ledger(session.config.state.path / "jobs.sqlite", read_only=True)


def _took(job: Job) -> str:
    end = datetime.fromisoformat(job.finished) if job.finished else datetime.now(UTC)
    return seconds((end - datetime.fromisoformat(job.started)).total_seconds()) if job.state != "died" else "-"


def _plain(job: Job) -> dict[str, object]:
    plain = asdict(job)
    plain["stages"] = {stage: {"seconds": spent, "events": events} for stage, (spent, events) in job.stages.items()}
    return plain
