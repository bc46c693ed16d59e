"""Open gaps: positions that were passed by time, asked for again for a stated window, so that a late row is not lost.

A gap is found in what was handed out, never in another reading: only then are the rows that it brings later new ones.
It is opened when a row behind it is handed out. Of the rows that a source's first look finds there may be years: a gap
among them whose row behind was recorded longer ago than the window is not opened, for the positions in it were drawn
before that row. Of later rows the time says nothing: it is the application's, which may date events back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

__all__ = ["NO_TIME", "OpenGaps", "positions_of", "ranges_of"]

Int64s = npt.NDArray[np.int64]

MOST = 100_000
"""Ranges that are kept; beyond, the ones passed first are no longer asked for, and counted as given up."""
_US = 1_000_000
NO_TIME = np.iinfo(np.int64).min
"""The recorded time of a row that has none, or whose time says nothing."""


class OpenGaps:
    """Ranges of positions with the time when they were passed (seconds since 1970), ascending, disjoint.

    given_up: positions that are asked for no longer because there were too many ranges.
    """

    def __init__(self, body: Mapping[str, Any] | None = None) -> None:
        body = body or {}
        groups = body.get("ranges", [])
        self.given_up: int = body.get("given_up", 0)
        self.first: Int64s = np.array([a for _, flat in groups for a in flat[::2]], np.int64)
        self.last: Int64s = np.array([b for _, flat in groups for b in flat[1::2]], np.int64)
        self.seen: Int64s = np.array([t for t, flat in groups for _ in flat[::2]], np.int64)
        self._keep(np.argsort(self.first, kind="stable"))

    def __len__(self) -> int:
        return len(self.first)

    @property
    def positions(self) -> int:
        """How many positions are open."""
        return int((self.last - self.first + 1).sum())

    def __iter__(self) -> Iterator[tuple[int, int, datetime]]:
        for a, b, t in zip(self.first.tolist(), self.last.tolist(), self.seen.tolist(), strict=True):
            yield a, b, datetime.fromtimestamp(t, UTC)

    def pass_over(
        self, before: int, positions: Int64s, recorded: Int64s | None, now: datetime, window: timedelta
    ) -> None:
        """Open the gaps in ``positions``, ascending, handed out after the position ``before``.

        recorded: µs, of the rows at the positions; NO_TIME, or None for all of them, where it is not to tell.
        """
        former = np.concatenate(([before], positions[:-1]))
        gap = positions > former + 1
        if recorded is not None:
            oldest = round((now - window).timestamp() * _US)
            gap &= (recorded == NO_TIME) | (recorded >= oldest)
        if not gap.any():
            return
        self.first = np.concatenate((self.first, former[gap] + 1))
        self.last = np.concatenate((self.last, positions[gap] - 1))
        self.seen = np.concatenate((self.seen, np.full(int(gap.sum()), int(now.timestamp()), np.int64)))
        self._keep(np.argsort(self.first, kind="stable"))
        if len(self) > MOST:
            newest = np.sort(np.argsort(self.seen, kind="stable")[len(self) - MOST :])
            before_it = self.positions
            self._keep(newest)
            self.given_up += before_it - self.positions

    def expire(self, now: datetime, window: timedelta) -> None:
        """Close the gaps that were passed longer ago than the window."""
        alive = self.seen >= int((now - window).timestamp())
        if not alive.all():
            self._keep(np.flatnonzero(alive))

    def take(self, positions: Int64s) -> None:
        """Positions that have turned up, ascending, all of them in gaps: they are open no longer."""
        at = np.searchsorted(self.first, positions, side="right") - 1
        pieces: list[tuple[int, int, int]] = []
        for i in np.unique(at).tolist():
            low, seen = int(self.first[i]), int(self.seen[i])
            for position in positions[at == i].tolist():
                if position > low:
                    pieces.append((low, position - 1, seen))
                low = position + 1
            if low <= self.last[i]:
                pieces.append((low, int(self.last[i]), seen))
        left = np.ones(len(self), np.bool_)
        left[at] = False
        self._keep(np.flatnonzero(left))
        if pieces:
            more = np.array(pieces, np.int64)
            self.first = np.concatenate((self.first, more[:, 0]))
            self.last = np.concatenate((self.last, more[:, 1]))
            self.seen = np.concatenate((self.seen, more[:, 2]))
            self._keep(np.argsort(self.first, kind="stable"))

    def hold(self, positions: Int64s) -> npt.NDArray[np.bool_]:
        """Which positions are open."""
        if not len(self):
            return np.zeros(len(positions), np.bool_)
        at = np.searchsorted(self.first, positions, side="right") - 1
        return (at >= 0) & (positions <= self.last[np.maximum(at, 0)])

    def _keep(self, rows: npt.NDArray[np.intp]) -> None:
        self.first, self.last, self.seen = self.first[rows], self.last[rows], self.seen[rows]

    def to_json(self) -> dict[str, Any]:
        groups = []
        for t in np.unique(self.seen).tolist():
            mine = self.seen == t
            groups.append([t, np.stack((self.first[mine], self.last[mine]), axis=1).ravel().tolist()])
        return {"ranges": groups, "given_up": self.given_up}


def ranges_of(positions: Int64s) -> tuple[tuple[int, int], ...]:
    """Ascending positions as the fewest ranges, ends included."""
    if not len(positions):
        return ()
    cut = np.flatnonzero(np.diff(positions) != 1)
    first = positions[np.concatenate(([0], cut + 1))]
    last = positions[np.concatenate((cut, [len(positions) - 1]))]
    return tuple(zip(first.tolist(), last.tolist(), strict=True))


def positions_of(ranges: Sequence[Sequence[int]]) -> Int64s:
    """All positions of ranges, ends included."""
    return np.concatenate([np.empty(0, np.int64), *(np.arange(a, b + 1, dtype=np.int64) for a, b in ranges)])
