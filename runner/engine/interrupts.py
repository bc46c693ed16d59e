"""Ctrl-C while something must be ended in order: held back, then raised."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["held_interrupts"]


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Inside, SIGINT is noted only; on leaving, a noted one raises KeyboardInterrupt. Elsewhere than in the main thread
    it changes nothing, since signals arrive there only. For work that ends by itself within seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
    if noted and callable(before):
        before(noted[0], None)
