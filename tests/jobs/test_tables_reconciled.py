"""Tables and embedded read models that say different things are brought together by the next run, and it says so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from job_project import ALL, TINY, expected, history
from published_project import SCHEMA, PublishedProject

from runner.errors import JobError, ReadModelError
from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.sinks.postgres.tables import PostgresTables

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

EVENTS = history(41, 200)


class Halves:
    """A project, its database, and copies of either, to be set back to."""

    def __init__(self, root: Path, database: Database) -> None:
        self.project = PublishedProject(root / "project", env=database.env, url=database.url)
        self.project.root.mkdir()
        self.root, self.database = root, database
        database.sql(f"CREATE SCHEMA {SCHEMA}")
        self.copies: list[str] = []

    def rebuilt(self, upto: int) -> None:
        self.appended(upto)
        rebuild(self.project.config, engine="in-process", prove=0)

    def updated(self, upto: int = 0) -> Any:
        self.appended(upto)
        return update(self.project.config, engine="in-process")

    def appended(self, upto: int) -> None:
        there = self.project.log().last_position if (self.project.root / "log").exists() else 0
        if upto > there:
            self.project.append(EVENTS[there:upto], room=TINY)

    def keep_database(self) -> str:
        copy = f"{self.database.name}_{len(self.copies)}"
        self.copies.append(copy)
        self.database.server.psql(f'CREATE DATABASE "{copy}" TEMPLATE "{self.database.name}"')
        return copy

    def set_back_database(self, copy: str) -> None:
        self.database.create(copy)

    def keep_files(self) -> Path:
        return shutil.copytree(self.project.root / "read_models", self.root / "aside", symlinks=True)

    def set_back_files(self, aside: Path) -> None:
        shutil.rmtree(self.project.root / "read_models")
        aside.rename(self.project.root / "read_models")

    def check(self, upto: int) -> None:
        wanted = expected(EVENTS[:upto])
        for name in ALL:
            assert self.project.rows(name) == wanted[name]
            assert self.project.table(name) == wanted[name]
            assert self.project.states()[name][2] == upto

    def close(self) -> None:
        for copy in self.copies:
            self.database.server.psql(f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)')


@pytest.fixture
def halves(tmp_path: Path, database: Database) -> Any:
    made = Halves(tmp_path, database)
    yield made
    made.close()


def test_nothing_is_said_where_nothing_differs(halves: Halves) -> None:
    halves.rebuilt(100)
    assert halves.updated().notes == ()
    assert halves.updated(120).notes == ()
    assert halves.updated(130).notes == ()


def test_a_server_that_lost_an_update(halves: Halves) -> None:
    halves.rebuilt(100)
    copy = halves.keep_database()
    halves.updated(120)
    halves.updated(140)
    halves.set_back_database(copy)
    report = halves.updated()
    assert len(report.notes) == len(ALL)
    assert all("at position 100, and got what it lacked" in note for note in report.notes)
    halves.check(140)


def test_a_server_that_lost_an_update_and_its_deltas_are_compacted(halves: Halves) -> None:
    halves.rebuilt(100)
    copy = halves.keep_database()
    halves.updated(120)
    halves.updated(140)
    for name in ALL:
        halves.project.models.compact(name)
    halves.set_back_database(copy)
    assert len(halves.updated(150).notes) == len(ALL)
    halves.check(150)


def test_a_server_that_lost_a_switch(halves: Halves) -> None:
    halves.rebuilt(100)
    copy = halves.keep_database()
    halves.rebuilt(120)
    halves.set_back_database(copy)
    report = halves.updated(130)
    assert all("version 1 at position 100" in note and "loaded again" in note for note in report.notes)
    halves.check(130)
    assert {version for version, _, _ in halves.project.states().values()} == {2}


def test_a_server_that_lost_everything(halves: Halves) -> None:
    copy = halves.keep_database()
    halves.rebuilt(100)
    halves.set_back_database(copy)
    assert all("not there" in note for note in halves.updated(110).notes)
    halves.check(110)
    halves.set_back_database(copy)
    halves.rebuilt(120)
    halves.check(120)


def test_a_table_that_was_dropped(halves: Halves) -> None:
    halves.rebuilt(100)
    halves.database.sql(f"DROP TABLE {SCHEMA}.accounts")
    (note,) = halves.updated(110).notes
    assert note.startswith("accounts: the table is not there")
    halves.check(110)


def test_embedded_read_models_that_were_set_back(halves: Halves) -> None:
    """A backup of the directory: tables are ahead of it, by nothing that is written down."""
    halves.rebuilt(100)
    aside = halves.keep_files()
    halves.updated(120)
    halves.updated(140)
    halves.set_back_files(aside)
    report = halves.updated()
    assert len(report.notes) == len(ALL)
    halves.check(140)


def test_a_directory_that_was_lost(halves: Halves) -> None:
    halves.rebuilt(100)
    halves.updated(110)
    shutil.rmtree(halves.project.root / "read_models")
    shutil.rmtree(halves.project.root / "state")
    with pytest.raises(JobError, match="there is no read model"):
        halves.updated(120)
    halves.rebuilt(120)
    halves.check(120)
    halves.updated(130)
    halves.check(130)


def test_a_rollback_where_the_former_table_is_gone(halves: Halves) -> None:
    halves.rebuilt(100)
    halves.rebuilt(120)
    former = [t for (t,) in halves.project.ask(f"SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}'")]
    for table in sorted(t for t in former if t.startswith("accounts__")):
        halves.database.sql(f'DROP TABLE {SCHEMA}."{table}"')
    report = rollback(halves.project.config, "accounts")
    assert report.version == 1
    assert halves.project.table("accounts") == expected(EVENTS[:100])["accounts"]


def test_a_rebuild_takes_in_what_came_while_it_loaded(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of the live version goes on meanwhile; the new table is not behind it when it is switched to."""
    halves.rebuilt(100)
    halves.appended(120)
    load = PostgresTables.load
    moved: list[int] = []

    def slow(self: PostgresTables, *arguments: Any, **named: Any) -> Any:
        loaded = load(self, *arguments, **named)
        if not moved:
            moved.append(1)
            halves.updated(150)
            assert {position for _, _, position in halves.project.states().values()} == {150}
        return loaded

    monkeypatch.setattr(PostgresTables, "load", slow)
    report = rebuild(halves.project.config, engine="in-process", prove=0)
    assert {p.checkpoint for p in report.projections} == {150}
    halves.check(150)
    assert {version for version, _, _ in halves.project.states().values()} == {2}
    halves.updated(170)
    halves.check(170)


def test_an_update_overtaken_by_a_rebuild_changes_nothing(halves: Halves) -> None:
    halves.rebuilt(100)
    live = halves.project.models.live("accounts")
    assert live is not None
    halves.rebuilt(120)
    postgres = halves.project.config.read_models.postgres
    assert postgres is not None
    with pytest.raises(ReadModelError, match="version 1 of 'accounts' is not live"):
        PostgresTables(postgres, {}).apply([live])
    halves.check(120)
