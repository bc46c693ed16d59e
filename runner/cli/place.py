"""The place that ``--to`` names, looked at before a run: one beyond the log is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from runner.cli.output import count, say

if TYPE_CHECKING:
    from runner.cli.options import Session
    from runner.log import Log
    from runner.positions import Cut

__all__ = ["checked_place"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def checked_place(session: Session, to: str | None) -> str | None:
    """``to`` as it is; warns where it is behind the log. Raises ConfigError as ``Log.cut_at``."""
    if to is None:
        return None
    from runner.log import Log

    with Log.open(session.config.log.path) as log:
        cut = log.cut_at(to)
        if _beyond(log, cut, to):
            say(f"warning: --to {to} is beyond the log, which ends at position {count(log.last_position)}: all of it")
    return to


def _beyond(log: Log, cut: Cut, to: str) -> bool:
    if cut.position < log.last_position:
        return False
    asked = to.strip()
    if asked.isdigit():
        return int(asked) > log.last_position
    if cut.recorded_at is not None:
        latest = max((s.recorded for s in log.manifest.segments if s.recorded is not None), default=None)
        # Compared as the log has it: in microseconds since 1970.
        return latest is None or cut.recorded_at > _EPOCH + timedelta(microseconds=latest)
    source, _, columns = asked.rpartition(":")
    known = log.manifest.source(source)
    last = known.last_source_position if known is not None else None
    place = tuple(int(c) for c in columns.split(","))
    if last is None:
        return True
    if len(place) == 1:
        # One number is the line where the source has one file only, else the file (``runner/log/cut.py``).
        return place[0] > (last[1] if last[0] == 0 else last[0])
    return place > tuple(last)
