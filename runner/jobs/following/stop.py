"""How work that goes on for ever is asked to end, also where it waits."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["Stop"]


class Stop:
    """Asked to end: by a signal handler or another thread. Close it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.why = ""

    def set(self, why: str = "asked to end") -> None:
        """End when the round under way is done; safe in a signal handler."""
        self.why = self.why or why
        with suppress(BlockingIOError):
            os.write(self._write, b".")

    def is_set(self) -> bool:
        return bool(self.why)

    def fileno(self) -> int:
        return self._read

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
