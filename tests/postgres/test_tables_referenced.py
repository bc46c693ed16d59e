"""A switch of a table with a foreign key to the application's: writers there are not held up by one that stays open."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from published_tables import Published, with_schema

from runner.errors import PostgresTimeout
from runner.sinks.postgres import carrying
from runner.sinks.postgres.waiting import wait_for_long_holders
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

SHAPE = replace(keyed_shape(), required=("aggregate_id",))
HELD_UP = 1.0
"""Seconds: what one statement of a writer may take; ten times an attempt, a fifth of the connection's lock_timeout."""


@pytest.mark.parametrize(("ends", "looks"), [(True, True), (True, False), (False, True)])
def test_writers_of_a_referenced_table_go_on(
    ends: bool, looks: bool, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """looks: without a look first, as if the slow writer had come right behind it, the lock itself is not had."""
    with_schema(database)
    begun = threading.Event()

    def look(*args: Any, **more: Any) -> None:
        begun.set()
        if looks:
            wait_for_long_holders(*args, **more)

    published = Published(tmp_path / "rm", database.env, connections=1, lock=0.1, total=20.0 if ends else 1.0)
    published.rebuild(SHAPE, {("a",): (1, "x")}, 1)
    database.sql(
        "CREATE TABLE public.customers (id text PRIMARY KEY, n int DEFAULT 0); INSERT INTO public.customers VALUES "
        "('a'), ('b'); ALTER TABLE reads.accounts ADD CONSTRAINT of_customer FOREIGN KEY (aggregate_id) "
        "REFERENCES public.customers"
    )
    monkeypatch.setattr(carrying, "wait_for_long_holders", look)
    told: list[str] = []

    def rebuild() -> None:
        try:
            published.rebuild(SHAPE, {("a",): (2, "y")}, 2)
        except PostgresTimeout as error:
            told.append(str(error))

    run = threading.Thread(target=rebuild)
    with database.connect(application_name="the slow writer") as slow, database.connect() as writer:
        said = f"process {slow.info.backend_pid} (the slow writer) holds customers in a transaction that does not end"
        with slow.transaction():
            slow.execute("UPDATE public.customers SET n = 1 WHERE id = 'b'")
            writer.execute(f"SET statement_timeout = '{HELD_UP}s'")
            run.start()
            assert begun.wait(30)
            for _ in range(70):
                writer.execute("UPDATE public.customers SET n = n + 1 WHERE id = 'a'; SELECT pg_sleep(0.01)")
            if not ends:
                run.join(30)
            assert run.is_alive() is ends
        run.join(30)
    assert not run.is_alive()
    assert [said in error for error in told] == ([] if ends else [True])
    live = "SELECT balance FROM reads.accounts", "conrelid = 'reads.accounts'::regclass AND contype = 'f'"
    assert database.sql(live[0]) == [(2 if ends else 1,)]
    assert database.sql(f"SELECT conname, convalidated FROM pg_constraint WHERE {live[1]}") == [("of_customer", True)]
