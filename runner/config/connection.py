"""Where the address of a Postgres server and its secret come from: names of places, never a secret itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ConnectionSettings"]


@dataclass(frozen=True)
class ConnectionSettings:
    """How to find a server. Holds nothing secret, so it may be shown, pickled and sent to workers.

    What is given counts in this order, the later over the earlier: the service, the URL, the single settings.
    """

    where: str
    """The table of the config, for messages: ``[sources.bank]``."""
    url_env: str = ""
    """The environment variable that holds a URL or a keyword string of libpq."""
    service: str = ""
    """A section of the service file (``~/.pg_service.conf``, PGSERVICEFILE)."""
    passfile: Path | None = None
    """A file of ``host:port:database:user:password`` lines, in the place of ~/.pgpass."""
    password_env: str = ""
    """The environment variable that holds the password alone."""
    password_command: tuple[str, ...] = ()
    """A program and its arguments, run without a shell; the first line that it prints is the password."""
    host: str = ""
    port: int = 0
    user: str = ""
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further settings of libpq that are no secrets: sslmode, sslrootcert, target_session_attrs ..."""
