"""What ``runner status`` says of the watermark of live stores: how far they are settled, who holds the rest, what would
end that. Each store is asked now; one that does not answer is a problem among others.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runner.cli.output import count, print_text, seconds
from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.config import Config, PostgresSourceConfig
    from runner.sources.postgres.watermark import Watermark

__all__ = ["seen_watermarks", "show_watermarks"]

_HOLDERS = 10
"""Of one store, that are shown; all are in the JSON."""


def seen_watermarks(config: Config, marks: dict[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    """Of each store in Postgres, as plain data. marks: by source, as the log has them."""
    found: list[dict[str, Any]] = []
    for source in config.sources.values():
        if source.format != "postgres":
            continue
        try:
            found += [_plain(seen) for seen in _asked(source, marks.get(source.name))]
        except RunnerError as error:
            problems.append(str(error))
    return found


def _asked(source: PostgresSourceConfig, mark: Any) -> tuple[Watermark, ...]:
    from runner.sources.postgres.watermark import watermarks

    return watermarks(source, mark.get("reader") if isinstance(mark, dict) else None)


def _plain(seen: Watermark) -> dict[str, Any]:
    now = datetime.now(UTC)
    plain = asdict(seen)
    plain["lag_seconds"] = None if seen.oldest is None else max(0.0, (now - seen.oldest).total_seconds())
    if seen.behind == 0:
        plain["lag_seconds"] = 0.0
    plain["oldest"] = None if seen.oldest is None else seen.oldest.isoformat()
    for holder, shown in zip(seen.holders, plain["holders"], strict=True):
        shown["since"] = None if holder.since is None else holder.since.isoformat()
        shown["seconds"] = None if holder.since is None else (now - holder.since).total_seconds()
    return plain


def show_watermarks(found: list[dict[str, Any]]) -> None:
    """A few lines a store."""
    for seen in found:
        name = f"{seen['source']} ({seen['tenant']})" if seen["tenant"] else seen["source"]
        print_text(f"watermark of {name}: {seen['words']}")
        print_text(f"  {_how_far(seen)}")
        for holder in seen["holders"][:_HOLDERS]:
            print_text(f"  held by {_holder(holder)}")
        if len(seen["holders"]) > _HOLDERS:
            print_text(f"  and by {count(len(seen['holders']) - _HOLDERS)} more")
        if seen["open_gaps"]:
            print_text(f"  {count(seen['open_gaps'])} positions were passed by time and are still asked for")
        if seen["late"]:
            ranges = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in seen["late"][:5])
            print_text(f"  came late, to be taken in by the next sync: {ranges}")
        if seen["held"]:
            events = "1 event waits" if len(seen["held"]) == 1 else f"{count(len(seen['held']))} events wait"
            first, behind = (_place(place) for place in seen["held"][0])
            shown = f"that at {first} for that at {behind}"
            print_text(f"  {events} for a lower version of the aggregate that is not settled yet: {shown}")
        if seen["late_events"]:
            print_text(f"  {count(seen['late_events'])} events came late so far")


def _how_far(seen: dict[str, Any]) -> str:
    places = [f"in the log up to {_place(seen['after'])}", f"settled up to {_place(seen['upto'])}"]
    if seen["newest"] is not None:
        places.append(f"newest {_place(seen['newest'])}")
    if seen["behind"] is None:
        behind = "how many events are behind could not be counted in time"
    elif seen["behind"] == 0:
        behind = "nothing is behind"
    else:
        more = "more than " if seen["more"] else ""
        events = "event" if seen["behind"] == 1 else "events"
        behind = f"{more}{count(seen['behind'])} {events} behind"
        if seen["lag_seconds"] is not None:
            behind += f", the oldest recorded {seconds(seen['lag_seconds'])} ago"
    return f"{', '.join(places)}; {behind}"


def _place(place: Any) -> str:
    if place is None:
        return "nothing"
    # The highest int64 ends a whole transaction.
    numbers = [n for n in place if n < 2**63 - 1]
    return str(numbers[0]) if len(numbers) == 1 else f"({', '.join(map(str, numbers))})"


def _holder(holder: dict[str, Any]) -> str:
    who = holder["what"] if holder["pid"] is None else f"pid {holder['pid']}"
    if holder["pid"] is not None:
        named = f" ({holder['application']})" if holder["application"] else ""
        who = f"{who}{named}, {holder['what']}"
    since = "" if holder["seconds"] is None else f", for {seconds(max(0.0, holder['seconds']))}"
    ends = f"; would end it: {holder['ends']}" if holder["ends"] else ""
    return f"{who}{since}{ends}"
