"""``runner status``: what there is and how far it is. It changes nothing but a catalog that a crash left behind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_table, print_text, seconds, size
from runner.cli.tables import add_tables, show_tables
from runner.cli.watermarks import seen_watermarks, show_watermarks
from runner.errors import LogDamaged, LogError, RunnerError

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.config import Config, LogPath

__all__ = ["command", "gathered"]


@session_command("status", exits=(6, 8))
@click.option("--offline", is_flag=True, help="Ask no event store for its watermark, nor Postgres for its tables.")
def command(session: Session, offline: bool) -> None:
    """Sources and their counts, the log, each read model's version, checkpoint, lag and fingerprint, runs that died.

    Of an event store in Postgres also its watermark: by which rule and how far its events are settled, how many are
    behind, who holds them back (pid, application, since when) and what would end that. Of read models that are tables
    in Postgres too, what is seen there.

    \b
    A projection is  same        the live read model was made by it: `runner update` goes on
                     changed     it was edited since: `runner rebuild NAME`
                     not built   it has no read model yet: `runner rebuild NAME`
                     gone        a read model whose projection runner.toml no longer names
                   unknown     the projections cannot be loaded; the reason is given
    """
    found = gathered(session.config, offline=offline)
    if session.as_json:
        emit_json(found)
        return
    _show_log(found)
    show_watermarks(found["watermarks"])
    _show_models(found)
    show_tables(found["read_models"])
    for job in found["unfinished_jobs"]:
        what = f"{job['what']} {', '.join(job['projections'])}".strip()
        again = (
            f"; `runner rebuild {' '.join(job['projections'])} --resume` does the rest"
            if job["what"] == "rebuild" and job["state"] != "running" and job["partitions_done"]
            else ""
        )
        print_text(f"job {job['id']} ({what}): {job['state']}{again}")
    for problem in found["problems"]:
        print_text(f"problem: {problem}")


def gathered(config: Config, *, offline: bool = False) -> dict[str, Any]:
    """All that is known, as plain data. offline: no event store is asked."""
    problems: list[str] = []
    log = _log(config, problems)
    marks = {source["name"]: source["mark"] for source in log["sources"]} if log else {}
    last = log["last_position"] if log else 0
    read_models = _read_models(config, last, problems)
    if not offline:
        add_tables(config, read_models, last, problems)
    return {
        "log": log,
        "watermarks": [] if offline else seen_watermarks(config, marks, problems),
        "read_models": read_models,
        "unfinished_jobs": _unfinished(config),
        "problems": problems,
    }


def _log(config: Config, problems: list[str]) -> dict[str, Any] | None:
    from runner.jobs.syncing.fraction import fraction_line, stated
    from runner.log import Log

    try:
        log = Log.open(config.log.path, verify=False)
    except LogError as error:
        if isinstance(error, LogDamaged) or _is_there(config.log.path):
            problems.append(str(error))
        return None
    with log:
        segments = log.manifest.segments
        return {
            "path": str(config.log.path),
            "events": log.events,
            "last_position": log.last_position,
            "types": log.counts,
            "partitions": log.partitions,
            "segments": len(segments),
            "bytes": sum(f.size for s in segments for f in s.files()),
            "columns": len({key for s in segments for key in s.columns}),
            "part": fraction_line(log.sources),
            "sources": [
                {
                    "name": s.name,
                    "events": s.events,
                    "rejected": s.mark.get("rejected", 0) if isinstance(s.mark, dict) else 0,
                    "last_source_position": s.last_source_position,
                    "aggregates": stated(s.identity) or "all",
                    "mark": s.mark,
                }
                for s in log.sources
            ],
            "not_synced": [name for name in config.sources if name not in {s.name for s in log.sources}],
        }


def _is_there(path: LogPath) -> bool:
    """Whether a log that cannot be opened is there, or cannot be seen at all."""
    from runner.log import Log

    try:
        return Log.exists(path)
    except LogError:
        return True


def _read_models(config: Config, last: int, problems: list[str]) -> list[dict[str, Any]]:
    from runner.config import load_definitions
    from runner.sinks.read_models import ReadModels

    definitions, loaded = {}, True
    try:
        definitions = {d.name: d for d in load_definitions(config)}
    except RunnerError as error:
        problems.append(str(error))
        loaded = False
    models = ReadModels(config.read_models.path, keep=config.read_models.keep)
    try:
        if models.repair():
            problems.append("catalog.duckdb was older than the read models, after a crash or a move; it was made again")
    except (RunnerError, OSError) as error:
        problems.append(f"catalog.duckdb is older than the read models and cannot be made again: {error}")
    found: list[dict[str, Any]] = []
    names = models.names()
    for name in names:
        live, *kept = models.versions(name)
        definition = definitions.get(name)
        updated = datetime.fromisoformat(live.updated)
        found.append(
            {
                "name": name,
                "version": live.number,
                "checkpoint": live.position,
                "lag": max(0, last - live.position),
                "projection": _projection_state(definition.fingerprint if definition else None, live.fingerprint)
                if loaded
                else "unknown",
                "fingerprint": live.fingerprint,
                "updated": live.updated,
                "age_seconds": (datetime.now(UTC) - updated).total_seconds(),
                "bytes": live.total_bytes,
                "deltas": len(live.deltas),
                "kept_versions": [v.number for v in kept],
            }
        )
    missing = [n for n in definitions if n not in names]
    found += [{"name": n, "version": None, "checkpoint": 0, "lag": last, "projection": "not built"} for n in missing]
    return found


def _projection_state(defined: str | None, live: str) -> str:
    if defined is None:
        return "gone"
    return "same" if defined == live else "changed"


def _unfinished(config: Config) -> list[dict[str, Any]]:
    """Runs that go on, and the latest run of a kind and its projections where that failed or died."""
    from runner.jobs.records.ledger import Ledger

    latest: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    with Ledger(config.state.path / "jobs.sqlite", read_only=True) as ledger:
        for job in ledger.jobs(limit=200):
            plain = {
                "id": job.id,
                "what": job.what,
                "projections": list(job.projections),
                "state": job.state,
                "partitions_done": job.partitions_done,
                "started": job.started,
                "error": job.error,
            }
            latest.setdefault((job.what, job.projections), plain)
    return [job for job in latest.values() if job["state"] != "succeeded"]


def _show_log(found: dict[str, Any]) -> None:
    log = found["log"]
    if log is None:
        print_text("no log yet: `runner sync` makes one")
        return
    print_text(
        f"log {log['path']}: {count(log['events'])} events of {len(log['types'])} types, {size(log['bytes'])} in "
        f"{log['segments']} segments, {log['partitions']} partitions, {log['columns']} payload columns"
    )
    if log["part"]:
        print_text(log["part"])
    rows = [
        (s["name"], count(s["events"]), count(s["rejected"]), ",".join(map(str, s["last_source_position"] or ())))
        for s in log["sources"]
    ]
    rows += [(name, "0", "0", "not synced yet") for name in log["not_synced"]]
    columns = ("source", "events", "rejected lines", "last source position")
    print_table("", columns, rows, numeric=frozenset({"events", "rejected lines"}))


def _show_models(found: dict[str, Any]) -> None:
    rows = [
        (
            m["name"],
            f"v{m['version']}" if m["version"] else "-",
            count(m["checkpoint"]),
            count(m["lag"]),
            m["projection"],
            f"{seconds(m['age_seconds'])} ago" if m["version"] else "-",
            size(m["bytes"]) if m["version"] else "-",
            ", ".join(f"v{v}" for v in m.get("kept_versions", ())) or "-",
        )
        for m in found["read_models"]
    ]
    if rows:
        columns = ("read model", "version", "checkpoint", "lag", "projection", "updated", "size", "kept")
        print_table("", columns, rows, numeric=frozenset({"checkpoint", "lag", "size"}))
    else:
        print_text("no projections: [project] modules in runner.toml names the modules that have them")
