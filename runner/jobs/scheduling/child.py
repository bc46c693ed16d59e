"""A run as a process: started, watched, asked to end as Ctrl-C does, killed with all that it started.

A process of its own, since then a time limit ends it whatever it does, its memory is given back, one that is killed by
the system takes nobody with it, and each run reads the projections as they are. It costs a second; runs take minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from runner.errors import JobError
from runner.jobs.scheduling.state import directory_of, made_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config import Config

__all__ = ["Child", "Process", "adopted", "output_of", "started"]

KEPT = 20
"""So many files of an entry's output stay."""


class Process(Protocol):
    """What the scheduler needs of a run's process."""

    pid: int

    def fileno(self) -> int:
        """Readable when it ended."""

    def ended(self) -> bool: ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and of one that somebody else started."""

    def ask(self) -> None:
        """Ask it to end, as Ctrl-C does."""

    def kill(self) -> None:
        """End it and all that it started; it may take a moment, or for ever where a disk hangs."""

    def close(self) -> None: ...


class Child:
    """A process, also one that a former scheduler started. Close it."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._popen = popen
        self._handle = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._handle

    def ended(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is not None
        try:
            signal.pidfd_send_signal(self._handle, 0)
        except ProcessLookupError:
            return True
        with suppress(psutil.Error):
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)
        return True

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll() if self._popen is not None else None

    def ask(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGINT)

    def kill(self) -> None:
        below = []
        with suppress(psutil.Error):
            below = psutil.Process(self.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        for process in below:
            with suppress(psutil.Error):
                process.kill()

    def close(self) -> None:
        os.close(self._handle)


def started(config: Config, entry: str, run_id: int, *, to_file: bool) -> Child:
    """Start the process of a run. to_file: what it says goes to ``output_of`` instead of here. Raises JobError."""
    # Where modules of the working directory do not count here (started by the command `runner`), they do not there.
    path = [] if "" in sys.path or str(Path.cwd()) in sys.path else ["-P"]
    line = [sys.executable, *path, "-m", "runner", "schedule", "carry-out", str(run_id), "--config", str(config.file)]
    line += ["--env", config.env] if config.env else []
    try:
        if not to_file:
            return _started(line, None)
        file = output_of(config, entry, run_id)
        made_directory(config, "output", entry)
        with file.open("wb") as stream:
            child = _started(line, stream.fileno())
    except OSError as error:
        raise JobError(f"the run of {entry} cannot be started: {error.strerror}") from error
    _tidied(file.parent)
    return child


def _started(line: Sequence[str], output: int | None) -> Child:
    # In a session of its own: a Ctrl-C at the terminal is the scheduler's, who asks its runs in order.
    popen = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    return Child(popen.pid, popen)


def adopted(pid: int) -> Child | None:
    """The process of a run that another scheduler started; None where it is gone."""
    try:
        return Child(pid)
    except ProcessLookupError:
        return None


def output_of(config: Config, entry: str, run_id: int) -> Path:
    """The file with what a run said."""
    return directory_of(config) / "output" / entry / f"{run_id:08}.txt"


def _tidied(directory: Path) -> None:
    for old in sorted(directory.glob("*.txt"))[:-KEPT]:
        old.unlink(missing_ok=True)
