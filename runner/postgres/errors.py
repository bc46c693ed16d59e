"""The one boundary where psycopg's errors become the runner's, cleared of secrets.

Everything that talks to a server does so inside ``translated``; no psycopg exception leaves ``runner.postgres`` and the
sources and sinks that use it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from runner.errors import (
    PostgresConflict,
    PostgresDenied,
    PostgresError,
    PostgresTimeout,
    PostgresUnavailable,
)
from runner.secrets import cleared

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["error_of", "redacted", "translated"]

LONGEST = 600
"""Characters of a server's message that are passed on."""

_DOCTOR = "`runner doctor` shows what the role may do and the GRANTs that it needs"
_HINTS = {
    "28P01": "the password is wrong for this role",
    "28000": "the server's pg_hba.conf lets this role in only in another way",
    "3D000": "there is no such database on this server",
    "42501": _DOCTOR,
    "53300": "the server has no free connection; lower max_connections of the source, or wait",
    "57014": "raise statement_timeout of this place in runner.toml, or read at a quieter time",
    "55P03": "another session holds the lock; the command can be run again",
    "25006": "the server is a standby, or the session is read-only",
    "53100": "the server's disk is full",
}
_KINDS: tuple[tuple[tuple[str, ...], type[PostgresError]], ...] = (
    (("28", "42501"), PostgresDenied),
    (("57014", "55P03", "25P03", "25P04"), PostgresTimeout),
    (("40",), PostgresConflict),
    (("08", "53300", "57P01", "57P02", "57P03", "57P05"), PostgresUnavailable),
)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Run something against a server; ``where`` begins the message: ``[sources.bank]``, ``read model orders``.

    Raises PostgresError and its kinds in the place of psycopg's errors.
    """
    try:
        yield
    except psycopg.Error as error:
        # "from None": the driver's own words may hold what ours leave out, and --debug would show them.
        raise error_of(error, where) from None


def error_of(error: psycopg.Error, where: str) -> PostgresError:
    """The runner's error for one of psycopg's."""
    state = error.sqlstate or ""
    kind = next((kind for starts, kind in _KINDS if state.startswith(starts)), PostgresError)
    connection_lost = isinstance(error, psycopg.OperationalError) and not state
    if connection_lost:
        kind = _lost(error)
    said = redacted(_message(error))
    hint = redacted(error.diag.message_hint or "") or _HINTS.get(state, "")
    if connection_lost and kind is PostgresUnavailable:
        hint = hint or "is the server up, and reachable from here? `runner doctor` tries every place of runner.toml"
    return kind(f"{where}: {said}", hint=hint, sqlstate=state)


def redacted(text: str) -> str:
    """One line, cleared of secrets, not endless."""
    line = " ".join(cleared(text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _lost(error: psycopg.Error) -> type[PostgresError]:
    """libpq gives no code for a connection that was refused; its words for a refused login are the server's."""
    text = str(error)
    signs = ("password authentication failed", "no password supplied", "no pg_hba.conf entry", "authentication failed")
    if any(sign in text for sign in signs):
        return PostgresDenied
    return PostgresTimeout if isinstance(error, psycopg.errors.ConnectionTimeout) else PostgresUnavailable


def _message(error: psycopg.Error) -> str:
    first = error.diag.message_primary
    if not first:
        return str(error) or type(error).__name__
    detail = error.diag.message_detail
    return f"{first} ({detail})" if detail else first
