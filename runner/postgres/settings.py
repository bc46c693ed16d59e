"""``ConnectionSettings`` turned into what libpq takes, at the moment of connecting.

Secrets are read where they are (an environment variable, a file, a command's output), handed to libpq and forgotten;
what may never be said again is noted in ``runner.secrets``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict

from runner.config.connection import ConnectionSettings
from runner.errors import ConfigError
from runner.postgres.password_command import password_from_command
from runner.secrets import keep_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ConnectionSettings", "parameters"]

SCHEMES = ("postgres://", "postgresql://")
_ENCODE = "in a URL, special characters of user and password are percent-encoded: %40 for @, %2F for /, %25 for %"


def parameters(settings: ConnectionSettings, *, again: bool = False) -> dict[str, str]:
    """What to connect with, by libpq's keywords, the password among it.

    again: a password that a command gave a moment ago was refused, so the command is asked anew. Raises ConfigError, in
    whose text nothing of a URL is repeated.
    """
    found: dict[str, str] = {}
    if settings.service:
        found["service"] = settings.service
    if settings.url_env:
        found |= _of_url(settings, _environment(settings, settings.url_env, "a URL"))
    found |= {name: str(value) for name, value in settings.options.items()}
    single = {"host": settings.host, "port": settings.port, "user": settings.user, "dbname": settings.database}
    found |= {name: str(value) for name, value in single.items() if value}
    if settings.passfile is not None:
        _check_passfile(settings.where, settings.passfile)
        found["passfile"] = str(settings.passfile)
    if settings.password_env:
        found["password"] = _environment(settings, settings.password_env, "a password")
    if settings.password_command:
        found["password"] = password_from_command(settings.where, settings.password_command, again=again)
    # What libpq takes by itself where nothing else is said is no less a secret.
    keep_secret(found.get("password", ""), found.get("sslpassword", ""), os.environ.get("PGPASSWORD", ""))
    return found


def _check_passfile(where: str, file: Path) -> None:
    """libpq passes over a file that others can read, and says so on stderr alone."""
    if not file.is_file():
        raise ConfigError(f"{where} passfile: there is no file {file}")
    if os.name == "posix" and file.stat().st_mode & 0o077:
        raise ConfigError(f"{where} passfile: {file} can be read by others", hint=f"chmod 600 {file}")


def _environment(settings: ConnectionSettings, name: str, what: str) -> str:
    value = os.environ.get(name, "")
    if not value.strip():
        state = "empty" if name in os.environ else "not set"
        raise ConfigError(f"{settings.where}: the environment variable {name} is {state}", hint=f"put {what} into it")
    return value


def _of_url(settings: ConnectionSettings, text: str) -> Mapping[str, str]:
    """A URL or a keyword string taken apart. libpq's own words about a bad one repeat parts of it, so they are kept."""
    text = text.strip()
    of = f"{settings.where}: the environment variable {settings.url_env}"
    keep_secret(text)
    if text.startswith(SCHEMES):
        authority, _, rest = text.split("://", 1)[1].partition("/")
        # With an @ or a / left as it is in the password, libpq takes the password's end for a host or a database.
        if authority.count("@") > 1 or "@" in rest.partition("?")[0]:
            raise ConfigError(f"{of} holds a URL that has an @ or a / too many", hint=_ENCODE)
    elif "://" in text:
        raise ConfigError(f"{of} holds a URL, but not of Postgres", hint="it begins with postgresql://")
    elif "=" not in text:
        raise ConfigError(
            f"{of} holds neither a URL nor keywords",
            hint="put a URL into it, postgresql://..., or keywords, host=... dbname=...",
        )
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(text).items() if value is not None}
    except psycopg.Error:
        hint = (
            _ENCODE
            if text.startswith(SCHEMES)
            else "a value with spaces stands in single quotes, and a quote or \\ in it behind a \\"
        )
        raise ConfigError(f"{of} cannot be read as a connection string", hint=hint) from None
    for port in filter(None, found.get("port", "").split(",")):
        if not port.isdigit():
            raise ConfigError(f"{of} holds a port that is no number", hint=_ENCODE)
    return found
