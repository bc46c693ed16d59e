"""A log on an object store: its URL, where its credentials lie, and the local directory of what was fetched.

Holds nothing secret, so it may be shown, pickled and sent to workers; credentials are taken from the environment where
the store is opened, in a worker too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMES", "LogPath", "ObjectStorePath", "is_object_store"]

SCHEMES = ("s3", "gs", "az", "memory")
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage; the process's memory, for tests."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")


def is_object_store(text: str) -> bool:
    """Whether a log's path is a URL."""
    return _URL.match(text) is not None


@dataclass(frozen=True)
class ObjectStorePath:
    """Where a log lies on an object store. ``str()`` is its URL."""

    url: str
    """``s3://bucket/prefix``."""
    cache: Path
    """The local directory of what was fetched, and of what is written before it is uploaded; made when needed."""
    cache_bytes: int = 50_000_000_000
    """How much of the cache stays on the disk; what a running fold has mapped can come on top."""
    kept_seconds: float = 6 * 3600
    """For how long a manifest, and what it alone names, stays for its readers after a newer one."""
    lease_seconds: float = 60
    """How long a writer that is not heard of keeps others out."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further settings that are no secrets: endpoint, region, ..."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Settings that are, by the names of the environment variables that hold them."""

    @classmethod
    def of(cls, url: str) -> ObjectStorePath:
        """The log at a URL: credentials by the environment, and the user's cache directory.

        Raises ConfigError for a URL that is none of an object store.
        """
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(checked_url(url), Path(base) / "projection-runner" / "logs")

    def resolve(self) -> ObjectStorePath:
        """As of a path: the same from any working directory."""
        return self

    def __str__(self) -> str:
        return self.url


LogPath: TypeAlias = Path | ObjectStorePath


def checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises ConfigError, which does not repeat what may be a secret."""
    found = _URL.match(url)
    scheme, rest = (found[1].lower(), found[2]) if found else ("", url)
    if scheme not in SCHEMES:
        known = ", ".join(f"{s}://" for s in SCHEMES[:-1])
        raise ConfigError(f"a log cannot lie at {scheme}://", hint=f"give a directory, or a URL with {known}")
    if "@" in rest or "?" in rest or "#" in rest:
        raise ConfigError(
            f"a log's URL {scheme}://... holds more than a bucket and a prefix",
            hint="credentials are taken from the environment; write s3://bucket/prefix",
        )
    parts = [part for part in rest.split("/") if part]
    if not parts or (scheme == "az" and len(parts) < 2):
        raise ConfigError(f"{url}: names no bucket", hint="write s3://bucket/prefix, or az://account/container/prefix")
    return f"{scheme}://{'/'.join(parts)}"
