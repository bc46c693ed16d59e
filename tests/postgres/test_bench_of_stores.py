"""A bench reads the beginning of a live store, into a log of its own: no mark, and the store as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stores_of_libraries import Project

from runner.jobs.benching.sources import sampled_sources

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.stats import Fact

STORE = {
    "preset": "custom",
    "table": "events",
    "position": "pos",
    "aggregate_id": "agg",
    "version": "version",
    "type": "type",
    "payload": "data",
    "tail": "gaps",
}


def test_sync_of_a_store_is_measured(database: Database, tmp_path: Path) -> None:
    database.sql(
        "CREATE TABLE events (pos bigserial PRIMARY KEY, agg text NOT NULL, version int NOT NULL, type text NOT NULL, "
        "data jsonb NOT NULL); INSERT INTO events (agg, version, type, data) "
        "SELECT 'a-' || n % 10, n / 10 + 1, 'Noted', '{}' FROM generate_series(0, 999) n"
    )
    there = {**STORE, "url_env": database.env}
    made = Project(tmp_path / "project", store=there, lost={**there, "table": "nowhere"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    facts: list[Fact] = []
    store, lost = sampled_sources(made.config, (), scratch, partitions=4, seconds=2.0, runs=2, tell=facts.append)
    assert (store.source, store.events, store.skipped) == ("store", 1000, "")
    assert store.sync is not None
    assert store.sync.runs == len(facts) == 2
    assert store.sync.median > 0
    assert "nowhere" in lost.skipped
    assert not made.config.log.path.exists()
    assert not (scratch / "log").exists()
