"""[log] path: a directory, or an object store's URL with its settings; never a secret in the file itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runner.config.object_store import ObjectStorePath, checked_url, is_object_store
from runner.config.table import Table, nearest
from runner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from runner.config.object_store import LogPath

__all__ = ["read_log_path"]

OPTIONS = {
    "s3": (
        "endpoint",
        "region",
        "virtual_hosted_style_request",
        "skip_signature",
        "server_side_encryption",
        "role_arn",
    ),
    "gs": ("application_credentials", "service_account", "base_url", "skip_signature"),
    "az": ("account_name", "endpoint", "tenant_id", "client_id", "use_azure_cli", "skip_signature"),
    "memory": (),
}
"""Settings of [log.object_store] by scheme, as obstore calls them."""

SECRETS = {
    "s3": ("access_key_id", "secret_access_key", "session_token"),
    "gs": ("service_account_key", "bearer_token"),
    "az": ("account_key", "sas_key", "client_secret", "token"),
    "memory": (),
}
"""Those that are taken from the environment: ``secret_access_key_env = "NAME"``."""

_CALLS = ("timeout_seconds", "retries")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_log_path(table: Table, root: Path, state: Path) -> LogPath:
    """The keys of [log] that say where the log lies, taken from it. Raises ConfigError."""
    text = table.text("path", "log")
    if not is_object_store(text):
        return root / text
    try:
        url = checked_url(text)
    except ConfigError as error:
        raise table.wrong("path", f"is no place of a log: {error.message}", error.hint) from None
    scheme = url.partition("://")[0]
    cache = table.text("cache")
    stores = table.table("object_store")
    made = ObjectStorePath(
        url,
        root / cache if cache else state / "log_cache",
        table.number("cache_megabytes", 50_000, 1) * 1_000_000,
        table.seconds("kept", 6 * 3600),
        table.seconds("lease", 60),
        _options(stores, scheme),
        _secrets(stores, scheme),
    )
    _refuse_others(stores, scheme)
    return made


def _options(table: Table, scheme: str) -> dict[str, str]:
    made = {}
    for key in (*OPTIONS[scheme], *_CALLS):
        value = table.take(key)
        if value is None:
            continue
        if not isinstance(value, str | int):
            raise table.wrong(key, f"takes a string, a number, true or false, not {value!r}")
        made[key] = str(value).lower() if isinstance(value, bool) else str(value)
    if "@" in made.get("endpoint", "") or "@" in made.get("base_url", ""):
        raise table.wrong("endpoint", "holds more than an address", "credentials are taken from the environment")
    return made


def _secrets(table: Table, scheme: str) -> dict[str, str]:
    made = {}
    for secret in SECRETS[scheme]:
        key = f"{secret}_env"
        if table.has(secret):
            hint = f'put it into the environment and write {key} = "NAME"'
            raise table.wrong(secret, "holds a secret in clear; it takes one from elsewhere", hint)
        value = table.take(key)
        if value is None:
            continue
        # Whatever else stands there may be the secret itself, so it is not repeated.
        if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
            raise table.wrong(key, "takes the name of an environment variable", f'write {key} = "NAME"')
        made[secret] = value
    return made


def _refuse_others(table: Table, scheme: str) -> None:
    known = (*OPTIONS[scheme], *_CALLS, *(f"{s}_env" for s in SECRETS[scheme]))
    for key in table.names():
        raise table.wrong(key, f"is not a setting of {scheme}://", nearest(key, known))
