"""The small tail batches that a follower's commits leave, joined while it follows.

Each commit of a few events is a segment of its own. All of them together would be read and written again by
``runner compact``; a follower joins the last ones only: a segment takes part while those behind it have at least half
of its events. So an event is written again as often as the log's tail doubles, a few times in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.log import Limits, Log, LogWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config import Config
    from runner.log.manifest import Segment
    from runner.stats import Listener

__all__ = ["FEW", "MANY", "join_tails"]

FEW, MANY = 64, 512
"""So many small segments are joined when there is nothing else to do, so many in any case."""
LARGEST = 1_000_000
"""Events of a segment that is left as it is: joining it takes longer than readers should wait."""


def join_tails(config: Config, listener: Listener, *, least: int = FEW) -> int:
    """Join the log's last segments where at least so many are small; how many were joined. Raises LogLocked."""
    with Log.open(config.log.path) as log:
        after = _joined_after(log.manifest.segments, least)
    if after is None:
        return 0
    with LogWriter.open(config.log.path, create=False) as writer:
        return writer.compact(listener, limits=Limits(events=2 * LARGEST, after=after))


def _joined_after(segments: Sequence[Segment], least: int) -> int | None:
    """The position behind which segments are joined; None: none."""
    at, events = len(segments), 0
    while at > 0 and segments[at - 1].events <= min(LARGEST, max(4096, 2 * events)):
        at -= 1
        events += segments[at].events
    if len(segments) - at < least:
        return None
    return segments[at - 1].last if at else 0
