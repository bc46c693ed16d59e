"""Where a Postgres server is and where its secret lies, read from a table: never a secret in the file itself.

A literal URL or password is refused, and the error does not repeat it: it says what to write in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runner.config.connection import ConnectionSettings
from runner.config.table import Table, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from runner.errors import ConfigError

__all__ = ["CONNECTION_SETTINGS", "has_connection", "read_connection", "refuse_literals"]

CONNECTION_SETTINGS = (
    *("url_env", "service", "passfile", "password_env", "password_command"),
    *("host", "port", "user", "database", "options"),
)
LITERALS = ("url", "uri", "dsn", "conninfo", "connection", "connection_string", "password", "pass", "pwd", "secret")
"""Keys that people write for what must not stand here."""

_OPTIONS = (
    *(
        "channel_binding",
        "connect_timeout",
        "gssdelegation",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
    ),
    *("keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "require_auth"),
    *("sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation"),
    *("sslrootcert", "sslsni", "ssl_max_protocol_version", "ssl_min_protocol_version", "target_session_attrs"),
    "tcp_user_timeout",
)
_URL = re.compile(r"\s*postgres(ql)?(\+\w+)?://", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def has_connection(table: Table) -> bool:
    """Whether a table says anything of a server."""
    return any(table.has(key) for key in (*CONNECTION_SETTINGS, *LITERALS))


def read_connection(table: Table, root: Path, variable: str) -> ConnectionSettings:
    """The keys of a server, taken from its table; the others are left for who asked. Raises ConfigError.

    variable: the environment variable to propose, ``BANK_URL``.
    """
    _refuse_literal_keys(table, variable)
    url_env, service = _variable(table, "url_env", variable), table.text("service")
    host, database = _address(table, "host", variable), _address(table, "database", variable)
    if not (url_env or service or host or database):
        raise table.wrong("url_env", "is missing", f'write url_env = "{variable}", a service, or host and database')
    if url_env and service:
        raise table.wrong("url_env", "and service are both set", "write one of them")
    port = table.number("port", 0)
    if port > 65_535:
        raise table.wrong("port", f"is {port}; the highest is 65535")
    passfile = table.text("passfile")
    made = ConnectionSettings(
        where=f"[{table.where}]",
        url_env=url_env,
        service=service,
        passfile=root / passfile if passfile else None,
        password_env=_variable(table, "password_env", f"{variable.removesuffix('_URL')}_PASSWORD"),
        password_command=_command(table),
        host=host,
        port=port,
        user=_address(table, "user", variable),
        database=database,
        options=_options(table.table("options"), variable),
    )
    given = [
        key
        for key, value in (
            ("passfile", made.passfile),
            ("password_env", made.password_env),
            ("password_command", made.password_command),
        )
        if value
    ]
    if len(given) > 1:
        raise table.wrong(given[0], f"and {given[1]} are both set", "a password has one place")
    return made


def refuse_literals(file: Path, values: Any, where: tuple[str, ...] = ()) -> None:
    """Refuse URLs of Postgres anywhere in the file: they may hold a password, and url_env takes a name."""
    if isinstance(values, dict):
        for key, value in values.items():
            refuse_literals(file, value, (*where, key))
    elif isinstance(values, list):
        for value in values:
            refuse_literals(file, value, where)
    elif isinstance(values, str) and _URL.match(values):
        table = Table(file, ".".join(where[:-1]), {})
        raise _literal(table, where[-1] if where else "", _variable_for(where))


def _variable_for(where: tuple[str, ...]) -> str:
    """``sources.bank.url`` -> BANK_URL; ``read_models.postgres.url`` -> READ_MODELS_URL."""
    names = [name for name in where[:-1] if name not in ("sources", "postgres", "publish", "compare")]
    if names[:1] == ["env"]:
        names = names[2:]
    text = re.sub(r"\W+", "_", "_".join(names) or "postgres", flags=re.ASCII).strip("_").upper()
    return f"{text or 'POSTGRES'}_URL"


def _literal(table: Table, key: str, variable: str) -> ConfigError:
    what = (
        "holds a secret in clear; it takes one from elsewhere"
        if key not in ("url_env", "password_env")
        else "takes the name of an environment variable, not what is in it"
    )
    hint = (
        f'put the URL into the environment (export {variable}=...) and write url_env = "{variable}"; '
        "a service, passfile, password_env and password_command serve too"
    )
    return table.wrong(key, what, hint)


def _refuse_literal_keys(table: Table, variable: str) -> None:
    for key in LITERALS:
        if table.has(key):
            raise _literal(table, key, variable)


def _variable(table: Table, key: str, proposed: str) -> str:
    value = table.take(key, "")
    if isinstance(value, str) and re.fullmatch(r"\$\w+|\$\{\w+\}", value):
        name = value.strip("${}")
        raise table.wrong(key, f"is {value!r}", f'write the name alone: {key} = "{name}"')
    # Whatever else stands there may be the secret itself, so it is not repeated.
    if not isinstance(value, str) or (value and not _VARIABLE.fullmatch(value)):
        hint = f'write {key} = "{proposed}" and put the value into the environment'
        raise table.wrong(key, "takes the name of an environment variable", hint)
    return value


def _address(table: Table, key: str, variable: str) -> str:
    value = table.take(key, "")
    if not isinstance(value, str):
        raise table.wrong(key, "takes a string", f'of a whole URL write url_env = "{variable}"')
    if key == "host" and ("@" in value or "://" in value):
        raise table.wrong(key, "takes a host's name only", f'of a whole URL write url_env = "{variable}"')
    return value


def _command(table: Table) -> tuple[str, ...]:
    value = table.take("password_command")
    if value is None:
        return ()
    if value and isinstance(value, list) and all(isinstance(part, str) for part in value) and value[0]:
        return tuple(value)
    raise table.wrong(
        "password_command",
        "takes a list, the program and its arguments",
        'it is run without a shell: password_command = ["pass", "show", "bank"]',
    )


def _options(table: Table, variable: str) -> dict[str, str]:
    _refuse_literal_keys(table, variable)
    made = {}
    for key in table.names():
        if key not in _OPTIONS:
            secret = "password" in key or key == "passfile"
            hint = f'it belongs behind url_env = "{variable}"' if secret else nearest(key, _OPTIONS)
            raise table.wrong(key, "is not an option of a connection", hint)
        value = table.take(key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise table.wrong(key, f"takes a string or a number, not {value!r}")
        made[key] = str(value)
    return made
