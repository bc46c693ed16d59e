"""``runner inspect``: what is in a source or in the log."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import count, emit_json, print_table, print_text, say
from runner.cli.progress import watching
from runner.errors import ConfigError, SourceError
from runner.stats import EventsRead, StageFinished, StageStarted

if TYPE_CHECKING:
    from runner.cli.options import Session

__all__ = ["command"]

FIELDS_SHOWN = 30


@session_command("inspect", exits=(5, 6))
@click.argument("source", required=False)
@click.option("--log", "of_log", is_flag=True, help="Look at the log instead of the sources.")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Read so many events of a source at most.")
@click.option("--fields/--no-fields", default=True, help="Whether to look into payloads.")
def command(session: Session, source: str | None, of_log: bool, limit: int | None, fields: bool) -> int:
    """Event types and counts, fields with the Python types that fit them, skew of aggregates, time range.

    Of the SOURCE (or of all sources of runner.toml), read as runner.toml says, without keeping anything: this shows
    whether the mapping is right before a sync. With --log of what was synced.
    """
    results = {"log": _log(session, fields=fields)} if of_log else _sources(session, source, limit, fields=fields)
    if session.as_json:
        emit_json(results)
    else:
        for name, result in results.items():
            _show(name, result)
    return SourceError.exit_code if any(result.get("problem") for result in results.values()) else 0


def _log(session: Session, *, fields: bool) -> dict[str, Any]:
    from runner.cli.inspection import Inspection
    from runner.cli.log_events import LogEvents
    from runner.jobs.syncing.fraction import fraction_line
    from runner.log import Log

    found = Inspection()
    with Log.open(session.config.log.path) as log, watching() as watch:
        part = fraction_line(log.sources)
        watch(StageStarted("scan", log.events))
        for batch in LogEvents(log, payloads=False).batches():
            found.add(batch)
        if fields:
            for batch in LogEvents(log, payloads=True).heads():
                found.sample(batch.column("type").dictionary_decode(), batch.column("payload"))
        watch(StageFinished("scan", 0.0, log.events))
    return {**found.result(), "part": part}


def _sources(session: Session, name: str | None, limit: int | None, *, fields: bool) -> dict[str, dict[str, Any]]:
    known = session.config.sources
    if name is not None and name not in known:
        raise ConfigError(f"no source is called {name}", hint=f"runner.toml has {', '.join(known) or 'none'}")
    if not known:
        raise ConfigError(f"{session.config.file} names no sources", hint="`runner init` writes one")
    return {n: _source(session, n, limit, fields=fields) for n in ([name] if name else known)}


def _source(session: Session, name: str, limit: int | None, *, fields: bool) -> dict[str, Any]:
    from runner.cli.inspection import Inspection
    from runner.sources import open_source

    found = Inspection(texts_only=session.config.sources[name].format == "csv")
    bad: list[dict[str, Any]] = []
    reader = open_source(session.config.sources[name])
    problem = ""
    with watching() as watch:
        watch(StageStarted("sync"))
        try:
            for piece in reader.pieces():
                events = piece.events
                if limit is not None:
                    events = events.slice(0, max(0, limit - found.events))
                found.add(events if fields else events.drop_columns(["payload"]))
                bad += [{"file": b.file, "line": b.line, "reason": b.reason} for b in piece.rejected]
                watch(EventsRead(name, piece.events.num_rows, 1, piece.octets_done, piece.octets_total))
                if limit is not None and found.events >= limit:
                    break
        except SourceError as error:
            # What was read before is worth showing; the error too.
            problem = str(error)
            say(f"error: {problem}")
        watch(StageFinished("sync", 0.0, found.events))
    unfinished: list[str] = []
    with suppress(SourceError):
        unfinished = [f"{u.file}:{u.line}" for u in reader.unfinished()]
    return {**found.result(), "bad_lines": bad, "unfinished_lines": unfinished, "problem": problem}


def _show(name: str, result: dict[str, Any]) -> None:
    times = (
        f", {_time(result['first_recorded_at'])} to {_time(result['last_recorded_at'])}"
        if result["first_recorded_at"]
        else ""
    )
    print_text(f"{name}: {count(result['events'])} events{times}")
    if result.get("part"):
        print_text(f"  {result['part']}")
    if result["without_time"]:
        print_text(f"  {count(result['without_time'])} events without a recorded time")
    for line in result.get("bad_lines", ())[:10]:
        print_text(f"  bad line {line['file']}:{line['line']}: {line['reason']}")
    for place in result.get("unfinished_lines", ()):
        print_text(f"  {place}: no line end yet")
    rows: list[tuple[str, ...]] = [
        (type_, count(n), f"{n / result['events']:.1%}") for type_, n in result["types"].items()
    ]
    print_table("", ("type", "events", "share"), rows, numeric=frozenset({"events", "share"}))
    aggregates = result["aggregates"]
    percentiles = ", ".join(f"{p} {count(n)}" for p, n in aggregates["percentiles"].items())
    print_text(
        f"{count(aggregates['count'])} aggregates; events of one: mean {aggregates['mean']:.1f}, {percentiles}, "
        f"max {count(aggregates['max'])}"
    )
    rows = [
        (a["aggregate_id"], a["tenant"] or "-", count(a["events"]), f"{a['share']:.2%}")
        for a in aggregates["largest"][:5]
    ]
    print_table("", ("largest aggregates", "tenant", "events", "share"), rows, numeric=frozenset({"events", "share"}))
    for type_, found in result["fields"].items():
        rows = [
            (f["path"], f["type"] or f"({f['note']})", f"{f['present']:.0%}", str(f["example"])[:50])
            for f in found[:FIELDS_SHOWN]
        ]
        print_table(type_, ("field", "fits", "present", "for example"), rows, numeric=frozenset({"present"}))
        if len(found) > FIELDS_SHOWN:
            print_text(f"  {len(found) - FIELDS_SHOWN} more fields: --json shows all")


def _time(value: Any) -> str:
    return str(value.isoformat(sep=" ", timespec="seconds")).replace("+00:00", "Z")
