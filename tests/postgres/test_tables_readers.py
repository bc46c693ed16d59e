"""Fifty switches under readers in tight loops, one long reader and inline writers: nobody sees an error, nothing, a
mixture, or what is no longer so; and no writing is lost.

The bound: no reader waits longer for one attempt of a switch than ``SwitchTimeouts.lock`` (all locks together) and
``SwitchTimeouts.work`` (the switch once it has them); a writer besides no longer than the lock of the live table.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema
from table_readers import Readers

from runner.errors import PostgresTimeout
from runner.positions import Position
from runner.sinks.postgres.port import SwitchTimeouts
from runner.sinks.rows import write_rows
from runner.testing.read_model_rows import keyed_shape, keys_for, partitioned, rows_for

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.sinks.building import Built

SHAPE = replace(keyed_shape(), required=("aggregate_id", "balance"))
NAMES = [f"a{i}" for i in range(12)]
SWITCHES = 50
HOLD = 2.0
TRIES = 5
LONG = 0.12
"""Seconds of the long reader: more than the locks of a switch may be waited for."""


class Bank:
    """Rows say the version that wrote them, and how many events of the account they have: written inline, rebuilt."""

    def __init__(self, database: Database, root: Path) -> None:
        with_schema(database)
        self.database = database
        self.published = Published(root, database.env, connections=1, lock=0.1, total=60.0)
        self._positions = count(1)
        database.sql("CREATE TABLE events (account text NOT NULL)")
        self.published.rebuild(SHAPE, self._rows(1), next(self._positions))

    def _rows(self, version: int) -> dict[tuple[str], tuple[int, str]]:
        """By a fold of all events."""
        found: dict[str, int] = dict(self.database.sql("SELECT account, count(*) FROM events GROUP BY account"))  # type: ignore[arg-type]
        return {(name,): (version, str(found.get(name, 0))) for name in NAMES}

    def switch(self, version: int) -> None:
        """As ``caught_up_under_lock`` does it: loaded, caught up with outside and under the lock, switched."""
        tables, models = self.published.tables, self.published.models
        with self.published.built(SHAPE, self._rows(version), next(self._positions)) as built:
            table = tables.load(built.version)
            for _ in range(TRIES):
                tables.wait_for_snapshots([table])
                try:
                    with tables.hold(["accounts"], seconds=HOLD) as held:
                        built = self._followed(built, version)
                        table = tables.apply_loaded(table, built.version)
                        tables.switch([table], held=held)
                except PostgresTimeout as error:
                    told = error
                else:
                    models.publish_rebuild([built])
                    return
            raise told

    def _followed(self, built: Built, version: int) -> Built:
        """The next revision, with the rows as they are now."""
        rows = partitioned(SHAPE, rows_for(SHAPE, self._rows(version)))
        none = partitioned(SHAPE, keys_for(SHAPE, []))
        files = [write_rows(built.target, p, rows[p], none[p]) for p in rows]
        return built.followed(SHAPE, Position(next(self._positions)), [file for file in files if file is not None])


@pytest.mark.slow
def test_readers_and_inline_writers_through_fifty_switches(database: Database, tmp_path: Path) -> None:
    bank = Bank(database, tmp_path / "read_models")
    database.sql(
        "CREATE VIEW public.seen AS SELECT * FROM reads.accounts;"
        "CREATE VIEW public.renamed (id, balance, note) AS SELECT aggregate_id, balance, note FROM reads.accounts;"
        "CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM reads.accounts;"
        "CREATE VIEW public.of_kept AS SELECT balance, note FROM kept;"
        "CREATE VIEW public.above AS SELECT s.balance, r.note FROM seen AS s JOIN renamed AS r ON r.id = s.aggregate_id"
    )
    readers = Readers(database, len(NAMES))
    readers.read("table", "reads.accounts", "public.seen", "public.renamed")
    readers.read("repeatable read", "reads.accounts", "public.seen", "public.above", repeatable=True)
    readers.read("materialised view", "public.kept", "public.of_kept", fresh=False)
    readers.read("materialised view, repeatable read", "public.of_kept", repeatable=True, fresh=False)
    readers.checkpoints("reads.accounts", "public.above")
    for number in (3, 4):
        readers.write(
            f"inline writer {number}",
            f"INSERT INTO events VALUES ('a{number}')",
            f"UPDATE reads.accounts SET note = (note::int + 1)::text WHERE aggregate_id = 'a{number}'",
        )
    readers.hold("long reader", "SELECT count(*) FROM reads.accounts", LONG)
    try:
        for version in range(2, SWITCHES + 2):
            bank.switch(version)
            readers.floor = version
    finally:
        readers.stop()
    bounds = SwitchTimeouts.of(bank.published.config)
    assert readers.findings == []
    assert all(number > SWITCHES for name, number in readers.reads.items() if name != "long reader")
    assert all(len(seen) > SWITCHES // 2 for seen in readers.seen.values())
    assert readers.slowest < bounds.lock + bounds.work + 1.0, "beyond the bound, and a second for a busy machine"
    assert readers.slowest_write < HOLD + bounds.work + 2.0
    # What was written inline is what a fold of all events gives.
    rows = database.sql("SELECT aggregate_id, balance, note FROM reads.accounts")
    assert {(name,): (balance, note) for name, balance, note in rows} == bank._rows(SWITCHES + 1)
