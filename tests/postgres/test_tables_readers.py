"""Fifty switches under readers in tight loops: nobody sees an error, nothing, a mixture, or what is no longer so.

The bound: no reader waits longer for one attempt of a switch than ``SwitchTimeouts.lock`` (all locks together) and
``SwitchTimeouts.work`` (the switch once it has them), 0.2 s and 2 s unless runner.toml says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema
from table_readers import Readers

from runner.sinks.postgres.port import SwitchTimeouts
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

SHAPE = replace(keyed_shape(), required=("aggregate_id", "balance"))
COUNT = 40
SWITCHES = 50


def _rows(version: int) -> dict[tuple[str], tuple[int, str]]:
    return {(f"a{i}",): (version, "") for i in range(COUNT)}


@pytest.mark.slow
def test_readers_through_fifty_switches(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env, total=60.0)
    published.rebuild(SHAPE, _rows(1))
    database.sql(
        "CREATE VIEW public.seen AS SELECT * FROM reads.accounts;"
        "CREATE VIEW public.renamed (id, number) AS SELECT aggregate_id, balance FROM reads.accounts;"
        "CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM reads.accounts;"
        "CREATE VIEW public.of_kept AS SELECT balance FROM kept;"
        "CREATE VIEW public.above AS SELECT s.balance FROM seen AS s JOIN renamed AS r ON r.id = s.aggregate_id"
    )
    readers = Readers(database, COUNT)
    readers.read("table", "reads.accounts")
    readers.read("table, repeatable read", "reads.accounts", repeatable=True)
    readers.read("view", "public.seen")
    readers.read("view, repeatable read", "public.seen", repeatable=True)
    readers.read("renamed columns", "public.renamed", column="number")
    readers.read("view above a view", "public.above", repeatable=True)
    readers.read("materialised view", "public.kept", fresh=False)
    readers.read("view of a materialised view", "public.of_kept", repeatable=True, fresh=False)
    readers.checkpoints()
    readers.write("inline writer", "UPDATE reads.accounts SET note = note || 'x' WHERE aggregate_id = 'a3'")
    readers.hold("long reader", "SELECT count(*) FROM reads.accounts", 0.6)
    try:
        for version in range(2, SWITCHES + 2):
            published.rebuild(SHAPE, _rows(version), version)
            readers.floor = version
    finally:
        readers.stop()
    bounds = SwitchTimeouts.of(published.config)
    assert readers.findings == []
    assert all(number > SWITCHES // 5 for name, number in readers.reads.items() if name != "long reader")
    assert all(len(seen) > SWITCHES // 2 for seen in readers.seen.values() if seen)
    assert readers.slowest < bounds.lock + bounds.work + 1.0, "beyond the bound, and a second for a busy machine"
