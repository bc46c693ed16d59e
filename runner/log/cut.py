"""Up to which place a fold goes: what ``--to`` asks for, turned into one position.

The rule for all kinds: look for the first event, by position, that lies behind the asked place; that event and
everything after it are left out. So a cut by time is one position too: an event behind it is left out even where it
was recorded earlier. Events without a recorded time never end a cut by time; events of other sources never end a cut
by source position. One number for a source is its first column (all of that file), or the line where it has one file
only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from runner.errors import ConfigError
from runner.log.arrival import NO_TIME
from runner.log.manifest import Manifest, Segment
from runner.log.streams import EventRows
from runner.positions import Cut, Position, SourcePosition

__all__ = ["cut_at", "left_out"]

AllRows = Callable[[Segment], Iterator[EventRows]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMS = "a position (1200), a time with its zone (2026-01-01T00:00:00Z) or a source position (orders:17, orders:2,17)"


def cut_at(manifest: Manifest, rows: AllRows, place: int | datetime | str | tuple[str, SourcePosition]) -> Cut:
    """The cut for a position, a time, a source position, or a text for one of them.

    Raises ConfigError for what is no place, and for one before the first event: a fold of nothing is nobody's wish.
    """
    if isinstance(place, str):
        found = _cut(manifest, rows, _parse(place, manifest))
        cut = Cut(found.position, place, found.recorded_at)
    else:
        cut = _cut(manifest, rows, place)
    if not cut.position and manifest.last_position:
        extent = f"the log has positions 1 to {manifest.last_position:,}"
        raise ConfigError(f"--to {cut.asked}: nothing of the log lies up to it", hint=extent)
    return cut


def left_out(manifest: Manifest, rows: AllRows, cut: Cut) -> int:
    """How many events a cut by time leaves out that were recorded up to the time: they came behind a later one."""
    assert cut.recorded_at is not None
    limit = (cut.recorded_at - _EPOCH) // timedelta(microseconds=1)
    found = 0
    for segment in manifest.segments:
        for each in rows(segment) if segment.last > cut.position else ():
            recorded = each.header["recorded_at"][each.header["position"] > cut.position]
            found += int(((recorded <= limit) & (recorded != NO_TIME)).sum())
    return found


def _cut(manifest: Manifest, rows: AllRows, place: int | datetime | tuple[str, SourcePosition]) -> Cut:
    if isinstance(place, datetime):
        return _at_time(manifest, rows, place)
    if isinstance(place, tuple):
        return _at_source_position(manifest, rows, *place)
    if place < 0:
        raise ConfigError(f"position {place} is before the first one, which is 1")
    return Cut(Position(min(place, manifest.last_position)), asked=str(place))


def _parse(text: str, manifest: Manifest) -> int | datetime | tuple[str, SourcePosition]:
    asked = text.strip()
    if asked.isascii() and asked.isdigit():
        return int(asked)
    source, _, columns = asked.rpartition(":")
    if manifest.source(source) is not None and re.fullmatch(r"-?\d+(,-?\d+)?", columns):
        return source, SourcePosition(tuple(int(c) for c in columns.split(",")))
    try:
        return datetime.fromisoformat(asked)
    except ValueError:
        pass
    if re.fullmatch(r"[^:]+:-?\d+(,-?\d+)?", asked):
        known = ", ".join(s.name for s in manifest.sources)
        raise ConfigError(f"--to {text}: the log has no source {source!r}", hint=f"it has {known}")
    raise ConfigError(f"--to {text}: not a place", hint=f"give {_FORMS}")


def _at_time(manifest: Manifest, rows: AllRows, time: datetime) -> Cut:
    if time.tzinfo is None:
        raise ConfigError(f"--to {time.isoformat()}: a time without a zone", hint="add Z, or an offset as +02:00")
    limit = (time - _EPOCH) // timedelta(microseconds=1)
    asked = time.isoformat()
    for segment in manifest.segments:
        if segment.recorded is None or segment.recorded <= limit:
            continue
        behind = (r.header["position"][r.header["recorded_at"] > limit] for r in rows(segment))
        first = min(int(p.min()) for p in behind if len(p))
        return Cut(Position(first - 1), asked, time.astimezone(UTC))
    return Cut(Position(manifest.last_position), asked, time.astimezone(UTC))


def _at_source_position(manifest: Manifest, rows: AllRows, source: str, place: SourcePosition) -> Cut:
    names = [s.name for s in manifest.sources]
    if source not in names:
        raise ConfigError(f"the log has no source {source!r}", hint=f"it has {', '.join(names) or 'none'}")
    code = names.index(source)
    last = manifest.sources[code].last_source_position
    only_lines = last is not None and last[0] == 0
    asked = f"{source}:{','.join(str(c) for c in place.columns)}"
    for segment in manifest.segments:
        if code not in segment.sources:
            continue
        first = segment.last + 1
        for r in rows(segment):
            p0, p1 = r.header["source_position_0"], r.header["source_position_1"]
            if len(place.columns) == 1:
                behind = (p1 if only_lines else p0) > place.columns[0]
            else:
                behind = (p0 > place.columns[0]) | ((p0 == place.columns[0]) & (p1 > place.columns[1]))
            found = r.header["position"][behind & (r.header["source"] == code)]
            first = min(first, int(found.min(initial=first)))
        if first <= segment.last:
            return Cut(Position(first - 1), asked)
    return Cut(Position(manifest.last_position), asked)
