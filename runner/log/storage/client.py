"""The object store as the log uses it: whole objects, ranges, listings, and puts that hold only under a condition.

All goes through obstore, which retries what fails for a moment (5xx, lost connections) with back-off. A conditional put
whose answer is lost is resolved here by reading the object back: what has the same bytes is ours. Errors are one line,
cleared of secrets.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import MemoryStore, from_url

from runner.errors import LogError
from runner.secrets import cleared, keep_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.config.object_store import ObjectStorePath

__all__ = ["ObjectClient", "Stored", "Tag"]

PART_BYTES = 8 << 20
"""Of a multipart upload, and about the least that a single request fetches of a large range."""

PARTS = 9_000
"""Parts of one upload; S3 takes 10,000."""

TRIES = 4
"""How often a conditional put is tried whose answer was lost and which left nothing behind."""

_RETRIES = 8
_PAUSE = 0.2

_memory: dict[str, MemoryStore] = {}
_opened: dict[tuple[Any, ...], Any] = {}
_guard = threading.Lock()


class Stored(NamedTuple):
    """An object in a listing. modified: seconds since 1970 by the store's clock."""

    key: str
    size: int
    modified: float


Tag = dict[str, str]
"""By which a store knows one writing of an object from any other."""


def _tag(meta: Any) -> Tag:
    return {name: str(meta[name]) for name in ("e_tag", "version") if meta.get(name) is not None}


class ObjectClient:
    """One prefix of an object store. Keys are relative to it. Safe for threads."""

    def __init__(self, path: ObjectStorePath) -> None:
        """Raises LogError where a variable with a credential is not set, or the settings are none of such a store."""
        self.name = str(path)
        self._prefix = ""
        try:
            self._store: Any = self._open(path)
        except (BaseError, ValueError, TypeError) as e:
            raise LogError(f"{path}: cannot be opened: {_line(e)}", hint=_HINT) from None

    def _open(self, path: ObjectStorePath) -> Any:
        scheme, _, rest = path.url.partition("://")
        if scheme == "memory":
            name, _, prefix = rest.partition("/")
            self._prefix = f"{prefix}/" if prefix else ""
            with _guard:
                return _memory.setdefault(name, MemoryStore())
        options = dict(path.options)
        for key, variable in path.secrets.items():
            value = os.environ.get(variable, "")
            if not value:
                raise LogError(f"{path}: the environment variable {variable} is not set", hint=f"it holds its {key}")
            options[key] = value
        keep_secret(*(os.environ.get(name, "") for name in _SECRET_VARIABLES), *(options[key] for key in path.secrets))
        seconds = float(options.pop("timeout_seconds", 60))
        client: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=seconds)}
        if options.get("endpoint", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://"):
            client["allow_http"] = True
        retries: Any = {
            "max_retries": int(options.pop("retries", _RETRIES)),
            "retry_timeout": timedelta(seconds=3 * seconds),
        }
        config: Any = options or None
        known = (path.url, tuple(sorted(options.items())), repr(client), repr(retries))
        with _guard:
            if known not in _opened:
                # Connections are kept: a log is opened again and again.
                _opened[known] = from_url(path.url, config=config, client_options=client, retry_config=retries)
            return _opened[known]

    def where(self, key: str) -> str:
        """An object's name, for messages."""
        return f"{self.name}/{key}"

    # Reading ----------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes | None:
        """An object's bytes, None where there is none."""
        found = self.get_tagged(key)
        return None if found is None else found[0]

    def get_tagged(self, key: str) -> tuple[bytes, Tag] | None:
        """(an object's bytes, the tag by which ``replace`` knows them)."""
        try:
            with self._translated(key, "read"):
                result = obstore.get(self._store, self._prefix + key)
                return bytes(result.bytes()), _tag(result.meta)
        except FileNotFoundError:
            return None

    def get_range(self, key: str, start: int, length: int) -> bytes | memoryview:
        """Bytes of an object. Raises FileNotFoundError."""
        with self._translated(key, "read"):
            return memoryview(obstore.get_range(self._store, self._prefix + key, start=start, length=length))

    def stream(self, key: str) -> Iterator[memoryview]:
        """An object's bytes, part by part. Raises FileNotFoundError."""
        with self._translated(key, "read"):
            for part in obstore.get(self._store, self._prefix + key).stream(PART_BYTES):
                yield memoryview(part)

    def listed(self, prefix: str, after: str = "") -> list[Stored]:
        """Objects below a prefix (``manifests/``), by key; only those whose key is above ``after``."""
        with self._translated(prefix, "listed"):
            offset = self._prefix + after if after else None
            found = obstore.list(self._store, self._prefix + prefix, offset=offset).collect()
        cut = len(self._prefix)
        return sorted(Stored(o["path"][cut:], o["size"], o["last_modified"].timestamp()) for o in found)

    # Writing ----------------------------------------------------------------------------------------------------------

    def upload(self, file: Path, key: str) -> None:
        """A local file as an object, in parts where it is large."""
        with self._translated(key, "written"):
            part = max(PART_BYTES, file.stat().st_size // PARTS)
            obstore.put(self._store, self._prefix + key, file, chunk_size=part, max_concurrency=8)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object only where there is none of that key; False where another is there.

        Raises LogError where it cannot be told whether it is there.
        """
        return self._put(key, data, "create") is not None

    def replace(self, key: str, data: bytes, tag: Tag | None) -> Tag | None:
        """Put an object only in the place of the one with this tag (None: of none); its tag, None where another is it.

        ``data`` must be unlike any other put of this key.
        """
        return self._put(key, data, "create" if tag is None else tag)

    def _put(self, key: str, data: bytes, mode: Any) -> Tag | None:
        for left in reversed(range(TRIES)):
            try:
                with self._translated(key, "written"):
                    put = obstore.put(self._store, self._prefix + key, data, mode=mode, use_multipart=False)
                    return _tag(put)
            except (AlreadyExistsError, PreconditionError):
                # Perhaps an earlier try of this very put, whose answer was lost.
                return self._tag_of(key, data)
            except LogError as error:
                # It may have taken place all the same.
                ours = self._tag_of(key, data, error)
                if ours is not None:
                    return ours
                if not left:
                    raise
                time.sleep(_PAUSE)
        raise AssertionError("unreachable")

    def _tag_of(self, key: str, data: bytes, lost: LogError | None = None) -> Tag | None:
        """The object's tag where its bytes are these; None where they are others, or it is not there.

        lost: why an answer is missing. Raises LogError where the object cannot be read either.
        """
        try:
            found = self.get_tagged(key)
        except LogError:
            if lost is None:
                raise
            raise LogError(
                f"{lost.message}; whether it was published cannot be seen",
                hint="run it again: it goes on from what is there",
            ) from None
        return found[1] if found is not None and found[0] == data else None

    def prove_conditions(self) -> None:
        """Raise LogError where the store puts under a condition that does not hold: no log would be safe there."""
        key = f"conditions-{secrets.token_hex(8)}"
        try:
            if not self.create(key, b"first") or (found := self.get_tagged(key)) is None:
                return  # somebody removes objects here: the first manifest tells
            tag = self.replace(key, b"second", found[1])
            if self.create(key, b"third") or tag is None or self.replace(key, b"fourth", found[1]) is not None:
                raise LogError(
                    f"{self.name}: the store does not honour conditions of puts (If-None-Match, If-Match)",
                    hint="two writers could destroy a log there; use a store that does",
                )
        finally:
            self.delete([key])

    def delete(self, keys: list[str]) -> None:
        """Remove objects, also such as are not there."""
        if keys:
            with self._translated(keys[0], "removed"):
                obstore.delete(self._store, [self._prefix + key for key in keys])

    @contextmanager
    def _translated(self, key: str, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, AlreadyExistsError, PreconditionError, LogError):
            raise
        except (BaseError, OSError, ValueError) as e:
            raise LogError(f"{self.where(key)}: cannot be {what}: {_line(e)}", hint=_HINT) from None


_HINT = "is the object store reached, and may this user read, write and list there? nothing is half-published"
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)


def _line(error: Exception) -> str:
    """The first line of an error: obstore appends pages."""
    text = str(error).strip()
    return cleared(text.splitlines()[0] if text else type(error).__name__)[:300]
