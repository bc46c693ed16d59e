"""A follower in a thread of the test, over a small custom store, and the writers that it follows."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from postgres_servers import PostgresServer
from stores_of_libraries import Project

from runner.jobs.following.follow import Stop, follow
from runner.stats import Followed, Noted, RoundFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from fixtures_postgres import Database

    from runner.config import Config
    from runner.jobs.following.follow import FollowReport
    from runner.stats import Fact

__all__ = [
    "PATIENCE",
    "STORE",
    "Follower",
    "append",
    "custom_source",
    "folded",
    "projections",
    "published",
    "second_server",
    "started",
]

PATIENCE = 60.0
"""Seconds for what takes a moment: a hanging test is a defect."""

STORE = """
CREATE TABLE events (
    id bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL, type text NOT NULL, data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (stream, version)
)
"""

PROJECTIONS = """
from runner import Event, Projection, on


class Deposited(Event):
    amount: int


class Accounts(Projection):
    balance: int = 0
    deposits: int = 0

    @on(Deposited)
    def deposited(self, e):
        self.balance += e.amount{times}
        self.deposits += 1
"""


def custom_source(database: Database, **more: Any) -> dict[str, Any]:
    """The keys of a source over ``STORE``."""
    return {
        "preset": "custom",
        "url_env": database.env,
        "table": "events",
        "aggregate_id": "stream",
        "version": "version",
        "type": "type",
        "recorded_at": "at",
        "position": "id",
        "payload": "data",
        "tail": "gaps",
        **more,
    }


def projections(folder: Path, name: str, times: int = 1) -> None:
    """A module of one read model: what was deposited, ``times`` over."""
    folder.mkdir(parents=True, exist_ok=True)
    text = PROJECTIONS.replace("{times}", f" * {times}" if times != 1 else "")
    (folder / f"{name}.py").write_text(text)


APPEND = """
INSERT INTO events (stream, version, type, data)
SELECT %(stream)s, coalesce(max(version), 0) + 1, 'Deposited',
    jsonb_build_object('amount', %(amount)s::int, 'fee', %(amount)s::int %% 3)
FROM events WHERE stream = %(stream)s
"""


def append(connection: Any, stream: str, amount: int) -> None:
    """One event more of a stream."""
    connection.execute(APPEND, {"stream": stream, "amount": amount})


def folded(database: Database, times: int = 1) -> dict[str, tuple[int, int]]:
    """What the store says that the read model has to be: stream -> (balance, deposits)."""
    rows = database.sql("SELECT stream, sum((data->>'amount')::int), count(*) FROM events GROUP BY stream")
    return {stream: (int(total) * times, int(n)) for stream, total, n in rows}


def started(
    database: Database,
    folder: Path,
    *,
    reads: bool = False,
    store: bool = True,
    more: Mapping[str, Any] | None = None,
    **source: Any,
) -> Project:
    """A project over a store with one event, synced and rebuilt. reads: with tables in the store's database.

    store: make it; more: other sources.
    """
    if store:
        database.sql(STORE)
        with database.connect() as connection:
            append(connection, "first", 1)
    projections(folder / "project", "accounts_followed")
    tables = f'[read_models.postgres]\nurl_env = "{database.env}"\nschema = "reads"\n' if reads else ""
    if reads:
        database.sql("CREATE SCHEMA reads")
    sources = {"store": custom_source(database, **source), **(more or {})}
    made = Project(folder / "project", "accounts_followed", tables, **sources)
    made.sync()
    made.rebuild()
    return made


def published(database: Database) -> dict[str, tuple[int, int]]:
    """The read model's table in Postgres."""
    return {
        name: (balance, deposits)
        for name, balance, deposits in database.sql("SELECT aggregate_id, balance, deposits FROM reads.accounts")
    }


def rows(project: Project) -> dict[str, tuple[int, int]]:
    """The embedded read model."""
    return {name: (row["balance"], row["deposits"]) for name, row in project.rows("accounts").items()}


@contextmanager
def second_server(first: PostgresServer) -> Iterator[PostgresServer]:
    """A standby with what a server has now, promoted: the same system on the next timeline."""
    made = PostgresServer(first.major, durable=True)
    try:
        made.stop("immediate")
        first.stop()
        shutil.rmtree(made.data)
        # Owners and modes are the server's user's.
        subprocess.run(["cp", "-a", str(first.data), str(made.data)], check=True)
        first.start()
        with (made.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{made.folder}'\n")
        (made.data / "postmaster.pid").unlink(missing_ok=True)
        (made.data / "standby.signal").touch()
        made.start()
        made.psql("SELECT pg_promote()")
        yield made
    finally:
        made.close()


class Follower:
    """``follow`` in a thread: a context manager that asks it to end. facts: what it told."""

    def __init__(self, config: Config, **arguments: Any) -> None:
        self._config, self._arguments = config, arguments
        self.stop = Stop()
        self.facts: deque[Fact] = deque(maxlen=100_000)
        self.report: FollowReport | None = None
        self.error: BaseException | None = None
        self._told = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="follower")

    def _run(self) -> None:
        try:
            self.report = follow(self._config, stop=self.stop, listener=self._hear, **self._arguments)
        except BaseException as error:
            self.error = error
        finally:
            with self._told:
                self._told.notify_all()

    def _hear(self, fact: Fact) -> None:
        with self._told:
            self.facts.append(fact)
            self._told.notify_all()

    def wait(self, true: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Until it holds, looked at whenever the follower says something."""
        until = time.monotonic() + seconds
        with self._told:
            while not true():
                if not self._thread.is_alive():
                    raise AssertionError(f"the follower ended: {self.error!r}, {self.report}")
                left = until - time.monotonic()
                assert left > 0, f"not within {seconds} s; it said: {list(self.facts)[-20:]}"
                self._told.wait(min(left, 1.0))

    def rounds(self) -> int:
        """Rounds that brought events."""
        return sum(isinstance(f, Followed) and f.events > 0 for f in list(self.facts))

    def failures(self) -> int:
        return sum(isinstance(f, RoundFailed) for f in list(self.facts))

    def notes(self) -> list[str]:
        return [f.text for f in list(self.facts) if isinstance(f, Noted)]

    def position(self) -> int:
        """Of the last round."""
        return max((f.position for f in list(self.facts) if isinstance(f, Followed)), default=0)

    def ended(self, seconds: float = PATIENCE) -> None:
        """Wait until it ends by itself."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it goes on"

    def __enter__(self) -> Follower:
        """Once it follows: what happened before is not told apart from what cannot be reached at all."""
        self._thread.start()
        try:
            self.wait(lambda: any(isinstance(fact, Followed) for fact in self.facts))
        except BaseException:
            self.stop.set("the test failed")
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop.set("the test is over")
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the follower does not end"
        self.stop.close()
        if kind is None and self.error is not None:
            raise self.error
