"""kill -9 of a run that puts the application's table right, and of others' rows beneath it: as if it had never died."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from compare_shop import compared
from simulated_shop import Shop
from test_compare_in_place import HAND_OVER, in_place, rows_of, spoiled

import runner.jobs.publishing.in_place
from runner.errors import PostgresError
from runner.jobs.rebuilding.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored


@pytest.mark.parametrize("step", ["in_place.1", "in_place.2", "in_place.3", "rebuild.7"])
def test_killed_at_a_step_and_run_again(step: str, database: Database, restored: Restored, tmp_path: Path) -> None:
    shop = Shop(restored(database, "emmett"), 8_000)
    spoiled(shop)
    project = in_place(tmp_path, database, HAND_OVER)
    before, stood = rows_of(database), database.sql("SELECT last_processed_checkpoint FROM emt_processors")
    command = [sys.executable, "-m", "runner", "rebuild", "orders", "--prove", "0"]
    command += ["--config", str(project.folder / "runner.toml")]
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])  # noqa: PTH120  # as the path was found
    found = subprocess.run(
        command, env={**os.environ, "RUNNER_CRASH_AT": step, "PYTHONPATH": paths}, capture_output=True, timeout=120
    )
    assert found.returncode == -9, found.stderr.decode()
    if step in ("in_place.1", "in_place.2"):
        assert rows_of(database) == before
        assert database.sql("SELECT last_processed_checkpoint FROM emt_processors") == stood
    after = rows_of(database)
    rebuild(project.config, ["orders"], prove=0)
    table = compared(project)
    assert (table.groups, table.position) == ((), 10_005)
    if step in ("in_place.3", "rebuild.7"):
        assert rows_of(database) == after


def test_rows_that_others_change_meanwhile_are_looked_at_again(
    database: Database, restored: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application changes a row that is about to be put right, and one that is not: the first is done again."""
    shop = Shop(restored(database, "emmett"))
    spoiled(shop)
    project = in_place(tmp_path, database)
    ids = sorted(shop.orders)
    meddled = 0

    def meddle(step: str) -> None:
        nonlocal meddled
        if step == "in_place.1" and meddled < 2:
            meddled += 1
            shop.change('"customerName" = \'late\', "Notes" = "Notes" || \'!\'', f"'{ids[meddled]}', '{ids[-meddled]}'")

    monkeypatch.setattr(runner.jobs.publishing.in_place, "reached", meddle)
    rebuild(project.config, ["orders"], prove=0)
    assert meddled == 2
    assert compared(project).same
    notes = {id_: row[0] for id_, row in rows_of(database).items()}
    assert [notes[ids[n]] for n in (1, 2, -1, -2)] == ["mine!"] * 4


def test_a_row_that_others_insert_meanwhile(
    database: Database, restored: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is taken by a row that is not seen: done again. One that is taken for good is the server's error."""
    shop = Shop(restored(database, "emmett"))
    spoiled(shop)
    project = in_place(tmp_path, database)
    (gone, *_) = sorted(set(shop.orders) - set(rows_of(database)))
    came = f"""
        INSERT INTO "Shop"."Orders" ("Id", "customerName", "Data", "OpenedAt", touched, revision)
        SELECT '{gone}', "customerName", "Data", "OpenedAt", touched, revision FROM "Shop"."Orders" LIMIT 1"""
    tries = 0

    def meddle(step: str) -> None:
        nonlocal tries
        tries += step == "in_place.1"
        if step == "in_place.1" and tries == 1:
            database.sql(came)

    monkeypatch.setattr(runner.jobs.publishing.in_place, "reached", meddle)
    rebuild(project.config, ["orders"], prove=0)
    assert tries == 2
    assert compared(project).same
    database.sql(f'DELETE FROM "Shop"."Orders" WHERE "Id" = \'{min(shop.orders)}\'')
    before = rows_of(database)
    database.sql('CREATE UNIQUE INDEX ON "Shop"."Orders" ("Notes") WHERE "Notes" = \'written by hand\'')
    with pytest.raises(PostgresError, match="duplicate key"):
        rebuild(project.config, ["orders"], prove=0)
    assert tries == 4
    assert rows_of(database) == before
