"""``password_command``: a program that prints a password, run without a shell and in bounded time.

Neither what it prints nor what it complains of is ever repeated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time

from runner.errors import ConfigError, PostgresDenied
from runner.secrets import keep_secret

__all__ = ["password_from_command"]

COMMAND_SECONDS = 15.0
"""How long a command may take."""
KEPT_SECONDS = 60.0
"""How long its answer serves further connections: parallel readers open many at once."""
LONGEST = 64 * 1024
"""Bytes of its answer that are looked at."""

_lock = threading.Lock()
_answers: dict[tuple[str, ...], tuple[float, str]] = {}


def password_from_command(where: str, command: tuple[str, ...], *, again: bool = False) -> str:
    """The first line that a command prints. Neither that nor its complaints are ever repeated.

    where: the table of the config, for errors. Raises ConfigError, PostgresDenied.
    """
    with _lock:
        known = _answers.get(command)
    if known is not None and not again and time.monotonic() - known[0] < KEPT_SECONDS:
        return known[1]
    answer = _asked(where, command)
    keep_secret(answer)
    with _lock:
        _answers[command] = (time.monotonic(), answer)
    return answer


def _asked(where: str, command: tuple[str, ...]) -> str:
    # Of the command only the program is named: an argument may be a token.
    named = f"{where} password_command: {os.path.basename(command[0])}"  # noqa: PTH119  # of text, maybe no path
    try:
        process = subprocess.Popen(  # noqa: S603  # the config's own program, a list, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{named} cannot be run: {error.strerror}") from None
    with process:
        try:
            out, _ = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise PostgresDenied(
                f"{named} gave no password within {COMMAND_SECONDS:.0f} s",
                hint="it may wait for a person: run it by hand once",
            ) from None
        finally:
            _end(process)
    if process.returncode:
        raise PostgresDenied(
            f"{named} ended with exit code {process.returncode}",
            hint="run it by hand to see what it says; here its output is kept",
        )
    line = out[:LONGEST].decode("utf-8", "replace").split("\n", 1)[0].rstrip("\r")
    if not line:
        raise PostgresDenied(f"{named} printed no password", hint="it prints it as its first line")
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    """The command and what it has started: its session is its own."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
