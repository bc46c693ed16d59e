"""kill -9 of the postmaster in the middle of sync, load, switch and apply; restarted, the same command again.

The same result as if nothing had happened, in the log, the embedded read models and the tables; also where the server
lost commits that had been read, or that it had answered.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from job_project import ALL, expected, history
from live_bank import LiveBank

import runner.jobs.publishing.publishing
import runner.log.writer
import runner.sinks.postgres.applying
import runner.sinks.postgres.loading
import runner.sinks.postgres.switching
import runner.sinks.postgres.tables
import runner.sinks.publish
from runner.errors import PostgresError
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.syncing.sync import sync
from runner.jobs.updating.update import update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from postgres_servers import PostgresServer

pytestmark = pytest.mark.slow

EVENTS = history(51, 160)
STEPPING: tuple[Any, ...] = (
    runner.jobs.publishing.publishing,
    runner.log.writer,
    runner.sinks.publish,
    *(runner.sinks.postgres.applying, runner.sinks.postgres.loading),
    *(runner.sinks.postgres.switching, runner.sinks.postgres.tables),
)


class Bank:
    """The live bank on a server that may be killed."""

    def __init__(self, root: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self._patch = server, monkeypatch
        monkeypatch.setenv("KILLED_URL", server.url)
        self.project = LiveBank.made(root, "KILLED_URL", server.url)

    def grown(self, upto: int) -> None:
        there = self.project.ask("SELECT count(*) FROM events")[0][0]
        self.project.write(EVENTS[there:upto])

    def sync(self) -> None:
        sync(self.project.config)

    def rebuild(self) -> None:
        rebuild(self.project.config, engine="in-process", prove=0)

    def update(self) -> Any:
        return update(self.project.config, engine="in-process")

    def killed_at(self, step: str) -> None:
        """From now on the server is killed when a run reaches this step."""

        once = threading.Lock()

        def reached(name: str) -> None:
            # Two threads that load may reach it together.
            if name == step and once.acquire(blocking=False):
                self.server.kill9()

        for module in STEPPING:
            if hasattr(module, "reached"):
                self._patch.setattr(module, "reached", reached)

    def dies(self, run: Callable[[], Any]) -> None:
        """The run fails for want of the server, which then starts again."""
        with pytest.raises(PostgresError):
            run()
        assert not self.server.running, "the step was not reached"
        self.killed_at("")
        self.server.start()

    def check(self) -> None:
        events = self.project.stored()
        wanted = expected(events)
        with self.project.log() as log:
            assert log.events == len(events), "an event is in the log twice or not at all"
        for name in ALL:
            assert self.project.rows(name) == wanted[name]
            assert self.project.table(name) == wanted[name]
            assert self.project.states()[name][2] == len(events)


@pytest.fixture
def bank(tmp_path: Path, own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return Bank(tmp_path, own_postgres, monkeypatch)


def test_killed_at_every_stage_and_gone_on_with(bank: Bank) -> None:
    """One server through all of it, since a start takes its time."""
    bank.grown(60)
    bank.killed_at("sync.1")
    # All was read; that it is on the server's disk could no longer be asked, or has been: then the sync is whole.
    try:
        bank.sync()
    except PostgresError:
        assert not (bank.project.root / "log" / "manifest.json").exists() or bank.project.log().events == 0
    bank.killed_at("")
    if not bank.server.running:
        bank.server.start()
    bank.sync()
    for step in ("load.1", "load.2", "load.4", "load.5", "switch.1", "switch.2", "switch.3"):
        bank.killed_at(step)
        bank.dies(bank.rebuild)
    bank.rebuild()
    bank.check()
    assert all(number == 1 for number, _, _ in bank.project.states().values()), "what died left a version behind"
    bank.grown(100)
    bank.sync()
    for step in ("publish.1", "apply.1", "apply.2"):
        bank.killed_at(step)
        bank.dies(bank.update)
    bank.update()
    bank.check()
    # Committed, and the answer lost or of no more use: the files come after it.
    bank.grown(120)
    bank.sync()
    bank.killed_at("apply.3")
    bank.update()
    assert not bank.server.running
    bank.server.start()
    bank.killed_at("")
    bank.check()
    bank.grown(140)
    bank.sync()
    bank.killed_at("switch.3")
    bank.dies(bank.rebuild)
    assert {position for _, _, position in bank.project.states().values()} == {120}
    bank.rebuild()
    bank.check()
    # Switched; only former tables cannot be dropped any more, which the next does.
    bank.killed_at("switch.4")
    bank.rebuild()
    assert not bank.server.running
    bank.server.start()
    bank.killed_at("")
    bank.check()
    # Under the lock of inline writers: it goes with the server, and nothing of what was done under it stays.
    bank.project.inline("accounts")
    bank.grown(160)
    bank.killed_at("switch.3")
    bank.dies(bank.rebuild)
    assert {position for _, _, position in bank.project.states().values()} == {140}
    bank.rebuild()
    bank.check()


def test_commits_that_the_server_answered_and_lost(bank: Bank) -> None:
    """synchronous_commit = off, and a writer of the write-ahead log that sleeps: what was published is gone again."""
    for setting in ("synchronous_commit = off", "wal_writer_delay = '10s'", "wal_writer_flush_after = 0"):
        bank.server.psql(f"ALTER SYSTEM SET {setting}")
    bank.server.restart()
    bank.grown(80)
    bank.sync()
    bank.rebuild()
    bank.server.psql("CHECKPOINT")
    bank.check()
    # The events are on the disk before the log has them; the rows of an update, or a switch, are not.
    assert any(_lost(bank, 100 + 10 * n, bank.update) for n in range(4)), "the server never lost an update"
    assert any(_lost(bank, 0, bank.rebuild) for _ in range(4)), "the server never lost a switch"


def _lost(bank: Bank, upto: int, run: Callable[[], Any]) -> bool:
    """Kill the server behind a run; whether it lost what was published. The writer of its log may have woken up."""
    bank.grown(upto)
    bank.sync()
    run()
    bank.server.kill9()
    bank.server.start()
    live = {name: bank.project.models.live(name) for name in ALL}
    there = bank.project.states()
    lost = [n for n, v in live.items() if v is not None and there[n][::2] != (v.number, v.position)]
    report = bank.update()
    assert len(report.notes) == len(lost)
    bank.check()
    return bool(lost)


def test_events_that_were_read_and_lost(bank: Bank) -> None:
    """Seen, and then gone with the server: the log never had them, and their positions are drawn again."""
    bank.grown(50)
    for setting in ("wal_writer_delay = '10s'", "wal_writer_flush_after = 0"):
        bank.server.psql(f"ALTER SYSTEM SET {setting}")
    bank.server.restart()
    bank.sync()
    bank.rebuild()
    with psycopg.connect(bank.project.url) as quick:
        quick.execute("SET synchronous_commit = off")
        bank.project.write(EVENTS[50:70], quick)
    bank.killed_at("sync.1")
    taken = 50
    try:
        bank.sync()  # waits until what it read is on the disk; the writer of the log may have been woken by then
        taken = 70
    except PostgresError:
        pass
    if bank.server.running:
        bank.server.kill9()
    bank.killed_at("")
    bank.server.start()
    assert len(bank.project.stored()) >= taken, "the log has what the store lost"
    bank.project.write(EVENTS[100:120])
    bank.sync()
    bank.update()
    bank.check()
