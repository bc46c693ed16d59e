"""Applications that write the live table themselves: inline ones are caught up with, others are refused in words."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from job_project import Sent, expected
from live_bank import LiveBank

from runner.errors import JobError
from runner.jobs.publishing.rollback import rollback
from runner.jobs.publishing.writers import WriterWish
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.syncing.sync import sync
from runner.jobs.updating.update import update

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures_postgres import Database

INLINE = '[publish.accounts]\nwriter = "inline"'
MOVED = """
INSERT INTO reads.accounts AS t (aggregate_id, owner, balance, moves, note) VALUES (%(id)s, '', %(n)s, 1, NULL)
ON CONFLICT (aggregate_id) DO UPDATE SET balance = t.balance + %(n)s, moves = t.moves + 1
"""
TOTALS = "SELECT coalesce(sum(balance), 0), coalesce(sum(moves), 0) FROM reads.accounts"


def bank_of(tmp_path: Path, database: Database, more: str) -> LiveBank:
    bank = LiveBank.made(tmp_path, database.env, database.url, more)
    bank.write([Sent(f"w{n}-{m}", "moved", {"amount": 5}) for n in range(2) for m in range(4)])
    return bank


def rebuilt(bank: LiveBank, **named: Any) -> Any:
    return rebuild(bank.config, ["accounts"], engine="in-process", prove=0, **named)


class Writer(threading.Thread):
    """Appends an event and changes the row in one transaction, again and again, in streams of its own."""

    def __init__(self, bank: LiveBank, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"inline-writer-{number}")
        self._bank, self._number, self._ended = bank, number, stop
        self.longest, self.error, self.written = 0.0, "", 0

    def run(self) -> None:
        draw = random.Random(self._number)
        try:
            with psycopg.connect(self._bank.url) as connection:
                while not self._ended.is_set():
                    begun = time.monotonic()
                    stream, amount = f"w{self._number}-{draw.randrange(6)}", draw.randrange(1, 9)
                    self._bank.write([Sent(stream, "moved", {"amount": amount})], connection)
                    connection.execute(MOVED, {"id": stream, "n": amount})
                    connection.commit()
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.written += 1
                    time.sleep(draw.uniform(0.001, 0.03))
        except psycopg.Error as error:
            self.error = str(error)


class Reader(threading.Thread):
    """Looks all the time, each time in a new snapshot: totals never fall, for amounts are above 0."""

    def __init__(self, bank: LiveBank, stop: threading.Event) -> None:
        super().__init__(name="reader")
        self._bank, self._ended = bank, stop
        self.wrong: list[Any] = []
        self.looks = 0

    def run(self) -> None:
        before = (0, 0)
        with closing(psycopg.connect(self._bank.url, autocommit=True)) as connection:
            while not self._ended.is_set():
                try:
                    now = tuple(connection.execute(TOTALS).fetchall()[0])
                except psycopg.Error as error:
                    self.wrong.append(str(error))
                    return
                if now < before:
                    self.wrong.append((before, now))
                before = now
                self.looks += 1
                time.sleep(0.002)


@contextmanager
def busy(bank: LiveBank) -> Iterator[tuple[list[Writer], Reader]]:
    stop = threading.Event()
    writers, reader = [Writer(bank, n, stop) for n in range(2)], Reader(bank, stop)
    threads: list[threading.Thread] = [*writers, reader]
    for thread in threads:
        thread.start()
    try:
        yield writers, reader
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.slow
def test_inline_writers_lose_nothing_over_switches(tmp_path: Path, database: Database) -> None:
    bank = bank_of(tmp_path, database, INLINE)
    sync(bank.config)
    rebuilt(bank)
    with busy(bank) as (writers, reader):
        time.sleep(0.3)
        for _ in range(4):
            rebuilt(bank, writers=WriterWish(max_block=2.0))
            time.sleep(0.1)
    assert [w.error for w in writers] == ["", ""]
    assert reader.wrong == []
    assert min(w.written for w in writers) > 20
    assert reader.looks > 20
    # The bound, and a wait for locks of the writers among themselves on a machine with other work.
    assert max(w.longest for w in writers) < 2.0 + 3.0
    assert bank.states()["accounts"][0] == 5
    # The application's rows are those of a fold over all events, across four switches.
    assert bank.table("accounts") == expected(bank.stored())["accounts"]
    # An update leaves its table alone, and goes on by itself.
    sync(bank.config)
    report = update(bank.config, ["accounts"], engine="in-process")
    assert report.notes == ()
    assert bank.rows("accounts") == bank.table("accounts")
    assert bank.states()["accounts"][2] < len(bank.stored())
    # The next rebuild does not take what the application wrote since for a table that has to be mended.
    rebuilt(bank)
    assert bank.table("accounts") == expected(bank.stored())["accounts"]


def test_a_writer_that_does_not_end_is_not_waited_for_beyond_the_bound(tmp_path: Path, database: Database) -> None:
    bank = bank_of(tmp_path, database, INLINE)
    sync(bank.config)
    rebuilt(bank)
    before = bank.table("accounts")
    with psycopg.connect(bank.url) as stuck:
        bank.write([Sent("stuck", "moved", {"amount": 1})], stuck)
        bank.write([Sent("w0-0", "moved", {"amount": 7})])  # behind the gap: the log cannot get there
        begun = time.monotonic()
        with pytest.raises(JobError, match=r"could not be caught up with in 20 tries of 0\.2 s") as told:
            rebuilt(bank, writers=WriterWish(max_block=0.2))
        assert "held back by" in str(told.value)
        assert time.monotonic() - begun < 60
        assert bank.table("accounts") == before
        stuck.rollback()
    rebuilt(bank, writers=WriterWish(max_block=5.0))
    assert bank.table("accounts") == expected(bank.stored())["accounts"]


def test_a_rebuild_up_to_an_earlier_place_is_refused(tmp_path: Path, database: Database) -> None:
    bank = bank_of(tmp_path, database, INLINE)
    sync(bank.config)
    rebuilt(bank)
    with pytest.raises(JobError, match="ends at position 3 of 8: what was written since would be gone"):
        rebuilt(bank, to=3)
    assert bank.states()["accounts"] == (1, 0, 8)
    rebuilt(bank, to=3, writers=WriterWish(paused=True))
    assert bank.states()["accounts"] == (2, 0, 3)


def test_rolling_back_under_an_inline_writer_is_refused(tmp_path: Path, database: Database) -> None:
    bank = bank_of(tmp_path, database, INLINE)
    sync(bank.config)
    rebuilt(bank)
    rebuilt(bank)
    with pytest.raises(JobError, match="lacks what it wrote since"):
        rollback(bank.config, "accounts")
    assert bank.states()["accounts"][0] == 2


def test_store_then_project_needs_its_writer_paused(tmp_path: Path, database: Database) -> None:
    bank = bank_of(tmp_path, database, '[publish.accounts]\nwriter = "store-then-project"')
    sync(bank.config)
    with pytest.raises(JobError, match="its writer must be paused") as told:
        rebuilt(bank)
    assert "--writer-paused" in str(told.value)
    assert not (bank.root / "read_models" / "current.json").exists(), "refused before anything was folded"
    rebuilt(bank, writers=WriterWish(paused=True))
    assert bank.table("accounts") == expected(bank.stored())["accounts"]
