"""Passwords: those that a command gives, and what may never be written anywhere.

Every secret that this process has used is known here, so that the text of an error can be cleared of it, in whichever
form it stands there. Only in memory: nothing of it is pickled or written.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from urllib.parse import quote, quote_plus

from runner.errors import ConfigError, PostgresDenied

__all__ = ["HIDDEN", "clean", "forget_never", "password_from_command"]

HIDDEN = "***"
COMMAND_SECONDS = 15.0
"""How long a password command may take."""
KEPT_SECONDS = 60.0
"""How long its answer serves further connections: parallel readers open many at once."""
LONGEST = 64 * 1024
"""Bytes of a command's answer that are read."""

_lock = threading.Lock()
_secrets: set[str] = set()
_answers: dict[tuple[str, ...], tuple[float, str]] = {}
_USERINFO = re.compile(r"(?<=://)[^\s/@]*:[^\s@]*(?=@)")
_KEYWORD = re.compile(r"""\b((?:ssl)?password)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'&;,]+)""", re.IGNORECASE)


def forget_never(*secrets: str) -> None:
    """Note texts that no error may repeat."""
    with _lock:
        _secrets.update(secret for secret in secrets if secret)


def clean(text: str) -> str:
    """The text without any secret that this process knows, and without what looks like one."""
    with _lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        for form in _forms(secret):
            if len(form) >= 4:
                text = text.replace(form, HIDDEN)
            else:
                # A password of three letters would blank parts of words; standing alone it is one.
                text = re.sub(rf"(?<![\w]){re.escape(form)}(?![\w])", HIDDEN, text)
    text = _USERINFO.sub(HIDDEN, text)
    return _KEYWORD.sub(rf"\1\2{HIDDEN}", text)


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as URLs, SQL, libpq, Python and JSON write it."""
    backslashed = secret.replace("\\", "\\\\")
    forms = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        secret.replace("'", "''"),
        backslashed,
        backslashed.replace("'", "\\'"),
        backslashed.replace('"', '\\"'),
        secret.replace('"', '""'),
        repr(secret)[1:-1],
        secret.encode("unicode_escape").decode("ascii"),
    }
    return sorted((form for form in forms if form), key=len, reverse=True)


def password_from_command(where: str, command: tuple[str, ...], *, again: bool = False) -> str:
    """The first line that a command prints. Neither that nor its complaints are ever repeated.

    where: the table of the config, for errors. Raises ConfigError, PostgresDenied.
    """
    with _lock:
        known = _answers.get(command)
    if known is not None and not again and time.monotonic() - known[0] < KEPT_SECONDS:
        return known[1]
    answer = _asked(where, command)
    forget_never(answer)
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
