"""``runner update --follow`` as a command: a changed projection is deployed beside it, a library writes meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from followers import PATIENCE, append, folded, projections, published, started
from stores_of_libraries import Project

from runner.config import load_config
from runner.jobs.records.ledger import Ledger
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fixtures_postgres import Database

NEW = """
from runner import Event, Projection, on


class Deposited(Event):
    amount: int
    fee: int


class Accounts(Projection):
    balance: int = 0
    deposits: int = 0
    fees: int = 0

    @on(Deposited)
    def deposited(self, e):
        self.balance += e.amount * 10
        self.deposits += 1
        self.fees += e.fee
"""
CHECKPOINT = "SELECT fingerprint, position FROM projection_runner.read_models WHERE read_model = 'accounts'"


class Process:
    """``runner update --follow`` in a folder; what it says goes to a file."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self._said, self._out = folder / f"{name}.txt", folder / f"{name}.json"
        with self._said.open("w") as said, self._out.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runner", "update", "--follow", "--json", *arguments],
                cwd=folder,
                stdout=out,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )

    def said(self) -> str:
        return self._said.read_text()

    def follows(self) -> None:
        """Wait until it does."""
        until(lambda: "following:" in self.said() or self._process.poll() is not None, self.said)
        assert self._process.poll() is None, self.said()

    def ended(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait(PATIENCE)

    def end(self, how: signal.Signals = signal.SIGINT) -> dict[str, Any]:
        """Ask it to end; what it reports."""
        self._process.send_signal(how)
        assert self._process.wait(PATIENCE) == 0, self.said()
        return json.loads(self._out.read_text())  # type: ignore[no-any-return]  # JSON

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def following(folder: Path, name: str, *arguments: str) -> Iterator[Process]:
    process = Process(folder, name, *arguments)
    try:
        process.follows()
        yield process
    finally:
        process.close()


def until(true: Callable[[], bool], words: Callable[[], str] = str, seconds: float = PATIENCE) -> None:
    """For what another process does: looked at often, bounded."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, words()
        time.sleep(0.02)


class Writing(threading.Thread):
    """Appends events at a steady pace until it is asked to end."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database, self._over, self.written = database, threading.Event(), 0

    def run(self) -> None:
        with self._database.connect() as connection:
            while not self._over.wait(0.005):
                append(connection, f"stream-{self.written % 11}", self.written % 100)
                self.written += 1

    def __enter__(self) -> Writing:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._over.set()
        self.join(PATIENCE)


class Looking(threading.Thread):
    """Every checkpoint that users could see, in order."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database, self._over = database, threading.Event()
        self.seen: list[tuple[str, int]] = []

    def run(self) -> None:
        with self._database.connect() as connection:
            while not self._over.wait(0.002):
                row = connection.execute(CHECKPOINT).fetchone()
                assert row is not None, "no version was live"
                if not self.seen or self.seen[-1] != row:
                    self.seen.append((row[0], row[1]))

    def __enter__(self) -> Looking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._over.set()
        self.join(PATIENCE)


def test_a_changed_projection_is_deployed(database: Database, tmp_path: Path) -> None:
    """The old follower keeps the old version current while the new one is built, ends when it is switched, and the new
    follower goes on: each event counts once, and users never see an earlier place than before."""
    project = started(database, tmp_path, reads=True)
    with Writing(database) as writing, Looking(database) as looking, following(project.folder, "old") as old:
        until(lambda: len({position for _, position in looking.seen}) > 3)
        # A deployment replaces the file under the running follower.
        (project.folder / "accounts_followed.py").write_text(NEW)
        rebuild = [sys.executable, "-m", "runner", "rebuild", "accounts", "--json"]
        done = subprocess.run(
            rebuild, cwd=project.folder, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert old.ended() == 11
        assert "made by a changed projection" in old.said()
        assert "Traceback" not in old.said()
        with following(project.folder, "new") as new:
            before = looking.seen[-1][1]
            until(lambda: looking.seen[-1][1] > before + 50)
            writing.end()
            until(lambda: looking.seen[-1][1] == writing.written + 1, new.said)
            looking.end()
            assert published(database) == folded(database, 10)
            report = new.end()
            assert report["ended"] == "Ctrl-C"
    fingerprints = list(dict.fromkeys(fingerprint for fingerprint, _ in looking.seen))
    assert len(fingerprints) == 2
    positions = [position for _, position in looking.seen]
    assert positions == sorted(positions)
    last_old = max(position for fingerprint, position in looking.seen if fingerprint == fingerprints[0])
    assert last_old > 4
    rows = project.rows("accounts")
    assert {name: (row["balance"], row["deposits"]) for name, row in rows.items()} == folded(database, 10)
    fees = dict(database.sql("SELECT stream, sum((data->>'fee')::int)::int FROM events GROUP BY stream"))
    assert {name: row["fees"] for name, row in rows.items()} == fees
    with Ledger(project.config.state.path / "jobs.sqlite") as ledger:
        ended = {job.state: job for job in ledger.jobs(what="follow")}
    assert set(ended) == {"succeeded", "failed"}
    assert "Superseded" in ended["failed"].error


class Account(Aggregate):
    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner, self.balance, self.moves = owner, 0, 0

    @event("Deposited")
    def deposit(self, amount: int) -> None:
        self.balance += amount
        self.moves += 1

    @event("Withdrawn")
    def withdraw(self, amount: int) -> None:
        self.balance -= amount
        self.moves += 1


class Bank(Application[UUID]):
    pass


OF_LIBRARY = f"""
from runner import Event, Projection, on


class Opened(Event, type="{Account.__module__}:Account.Opened"):
    owner: str


class Deposited(Event, type="{Account.__module__}:Account.Deposited"):
    amount: int


class Withdrawn(Event, type="{Account.__module__}:Account.Withdrawn"):
    amount: int


class Accounts(Projection):
    owner: str = ""
    balance: int = 0
    moves: int = 0
    version: int = 0

    @on(Event)
    def any(self, e):
        self.version = e.version

    @on(Opened)
    def opened(self, e):
        self.owner = e.owner

    @on(Deposited)
    def deposited(self, e):
        self.balance += e.amount
        self.moves += 1

    @on(Withdrawn)
    def withdrawn(self, e):
        self.balance -= e.amount
        self.moves += 1
"""


def opened_bank(database: Database) -> Bank:
    from psycopg.conninfo import conninfo_to_dict

    where = conninfo_to_dict(database.url)
    return Bank(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": str(where["dbname"]),
            "POSTGRES_HOST": str(where.get("host", "")),
            "POSTGRES_PORT": str(where.get("port", "5432")),
            "POSTGRES_USER": str(where.get("user", "postgres")),
            "POSTGRES_PASSWORD": str(where.get("password", "none")),
        }
    )


def lives(bank: Bank, seed: int, accounts: int, steps: int) -> list[UUID]:
    """Accounts that are opened and moved in some order, from a thread of its own."""
    chance = random.Random(seed)
    ids: list[UUID] = []
    for _ in range(steps):
        if len(ids) < accounts and (not ids or chance.random() < 0.2):
            account = Account(f"owner {len(ids)} of {seed}")
            ids.append(account.id)
        else:
            account = bank.repository.get(chance.choice(ids))
            for _ in range(chance.randint(1, 3)):
                (account.deposit if chance.random() < 0.6 else account.withdraw)(chance.randint(1, 1000))
        bank.save(account)
    return ids


def test_the_library_writes_while_it_is_followed(database: Database, tmp_path: Path) -> None:
    """``eventsourcing`` itself, in several threads; in the end the rows are the library's own aggregates."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "library_accounts.py").write_text(OF_LIBRARY)
    database.sql("CREATE SCHEMA reads")
    tables = f'[read_models.postgres]\nurl_env = "{database.env}"\nschema = "reads"\n'
    bank = opened_bank(database)
    try:
        ids = lives(bank, 0, 3, 10)
        source = {"preset": "eventsourcing", "url_env": database.env, "table": "bank_events"}
        project = Project(folder, "library_accounts", tables, store=source)
        project.sync()
        project.rebuild()
        with following(folder, "follower") as follower:
            found: list[list[UUID]] = []
            writers = [
                threading.Thread(target=lambda seed=seed: found.append(lives(bank, seed, 20, 60))) for seed in (1, 2, 3)
            ]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join(PATIENCE)
            assert len(found) == 3
            ids += [one for each in found for one in each]
            (count,) = database.sql("SELECT count(*) FROM bank_events")[0]
            until(lambda: database.sql(CHECKPOINT)[0][1] == count, follower.said)
            report = follower.end(signal.SIGTERM)
        aggregates = {str(each): bank.repository.get(each) for each in ids}
    finally:
        bank.close()
    wanted = {name: (a.owner, a.balance, a.moves, a.version) for name, a in aggregates.items()}
    columns = "aggregate_id, owner, balance, moves, version"
    assert {name: tuple(row) for name, *row in database.sql(f"SELECT {columns} FROM reads.accounts")} == wanted
    rows = ReadModels(load_config(folder / "runner.toml").read_models.path).table("accounts").to_pylist()
    assert {r["aggregate_id"]: (r["owner"], r["balance"], r["moves"], r["version"]) for r in rows} == wanted
    assert report["position"] == count
    assert report["ended"] == "SIGTERM"


def test_a_second_signal_ends_it_at_once(database: Database, tmp_path: Path) -> None:
    """Exit code 130, and the next follower goes on."""
    project = started(database, tmp_path)
    with database.connect() as held:
        # Something that the round under way waits for.
        held.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        process = Process(project.folder, "stuck")
        try:
            until(lambda: bool(database.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))
            for _ in range(2):
                os.kill(process._process.pid, signal.SIGINT)
                time.sleep(0.2)
            assert process.ended() in (0, 130)
        finally:
            process.close()
    with Ledger(project.config.state.path / "jobs.sqlite") as ledger:
        assert ledger.jobs(what="follow")[0].state in ("interrupted", "succeeded")


def test_what_does_not_go_with_it(database: Database, tmp_path: Path) -> None:
    project = started(database, tmp_path)
    command = [sys.executable, "-m", "runner", "update", "--follow"]
    done = subprocess.run([*command, "--to", "3"], cwd=project.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "--follow goes on" in done.stderr) == (2, True)
    projections(project.folder, "accounts_followed", 3)
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 8
    assert "runner rebuild accounts" in done.stderr
