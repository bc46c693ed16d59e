"""How a command that goes on for ever is asked to end: by signals, once in order and once more at once."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from runner.jobs.following.stop import Stop

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals(
    stop: Stop,
    again: Callable[[signal.Signals], None],
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[None]:
    """The first of these signals asks ``stop`` to end; each one after it calls ``again``."""

    def asked(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            again(signal.Signals(number))
        stop.set("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    former = {number: signal.signal(number, asked) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
