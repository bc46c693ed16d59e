"""The clock that the scheduler goes by, in one place, so that a test can move it."""

from __future__ import annotations

import select
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Clock", "Waited", "WallClock"]


class Waited(Protocol):
    """Something that wakes who waits for it."""

    def fileno(self) -> int: ...


class Clock(Protocol):
    """Time of day, which may be set or jump, and time that only passes."""

    def now(self) -> datetime:
        """UTC."""

    def passing(self) -> float:
        """Seconds, of no origin; never goes back."""

    def wait(self, for_any: Sequence[Waited], seconds: float) -> None:
        """Until one of them is readable, so long at most."""


class WallClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def passing(self) -> float:
        return time.monotonic()

    def wait(self, for_any: Sequence[Waited], seconds: float) -> None:
        select.select(for_any, [], [], max(0.0, seconds))
