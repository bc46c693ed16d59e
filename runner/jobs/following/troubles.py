"""What fails while a follower runs: whether time heals it, and when it is tried again.

Each source, the log and the read models are *places* that fail and go on by themselves. Where a place has answered
once, an unreachable server is waited for without an end; other errors of a server for five minutes; a log or a version
that another run holds until it lets go. What is wrong with the data, the configuration or the code is raised.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import (
    LogLocked,
    PostgresConflict,
    PostgresDenied,
    PostgresError,
    PostgresTimeout,
    PostgresUnavailable,
    ReadModelError,
    Superseded,
    VersionBusy,
)
from runner.stats import Noted, RoundFailed

if TYPE_CHECKING:
    from runner.errors import RunnerError
    from runner.stats import Listener

__all__ = ["READ_MODELS", "Troubles"]

READ_MODELS = "read models"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Before what failed is tried again, in seconds: doubled each time."""
GIVEN_UP = 300.0
"""After so many seconds an error of Postgres that time does not heal by itself is final."""
BUSY = 30.0
"""For so long a read model may be neither here nor there: another run switches it."""


@dataclass
class _Trouble:
    """Of one place. since: when it began, by ``time.monotonic``; again: when it is tried again."""

    since: float
    pause: float = FIRST_PAUSE
    again: float = 0.0
    said: str = ""


@dataclass
class Troubles:
    """Of all places. failures: how many there were in all."""

    tell: Listener
    failures: int = 0
    _now: dict[str, _Trouble] = field(default_factory=dict)
    _reached: set[str] = field(default_factory=set)
    _worked: set[str] = field(default_factory=set)

    def reached(self, place: str) -> None:
        """Its server answers: when it does not later, it is waited for."""
        self._reached.add(place)

    def well(self, place: str) -> None:
        """It works."""
        self._reached.add(place)
        self._worked.add(place)
        trouble = self._now.pop(place, None)
        if trouble is not None and trouble.said:
            self.tell(Noted(f"{place}: goes on after {time.monotonic() - trouble.since:.1f} s"))

    def failed(self, place: str, error: RunnerError) -> None:
        """Note when to try again. Raises ``error`` where it needs a person."""
        now = time.monotonic()
        trouble = self._now.setdefault(place, _Trouble(now))
        if not self._heals(place, error, now - trouble.since):
            raise error
        self.failures += 1
        trouble.again = now + trouble.pause
        trouble.pause = min(trouble.pause * 2, LONGEST_PAUSE)
        self.tell(RoundFailed(place, error.message, trouble.again - now))
        if error.message != trouble.said:
            trouble.said = error.message
            self.tell(Noted(f"{place}: {error.message}; tried again"))

    def again(self, place: str) -> float | None:
        """When it may be tried again, by ``time.monotonic``; None where nothing is wrong with it."""
        trouble = self._now.get(place)
        return None if trouble is None else trouble.again

    def soon(self, place: str) -> None:
        """There is a sign that it works: try it now."""
        if place in self._now:
            self._now[place].again = 0.0

    def _heals(self, place: str, error: RunnerError, spent: float) -> bool:
        if isinstance(error, LogLocked | VersionBusy):
            return True
        if isinstance(error, Superseded):
            return False
        if place == READ_MODELS and isinstance(error, ReadModelError):
            return place in self._worked and spent < BUSY
        if place not in self._reached:
            return False
        if isinstance(error, PostgresUnavailable | PostgresTimeout | PostgresConflict):
            return True
        return isinstance(error, PostgresError) and not isinstance(error, PostgresDenied) and spent < GIVEN_UP
