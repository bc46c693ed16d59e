"""rebuild, update, rollback with tables in Postgres: a table says what the embedded read model says, at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from job_project import ALL, TINY, expected, history
from published_project import SCHEMA, PublishedProject

from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

EVENTS = history(31, 240)


@pytest.fixture
def published(tmp_path: Path, database: Database) -> PublishedProject:
    database.sql(f"CREATE SCHEMA {SCHEMA}")
    return PublishedProject(tmp_path, env=database.env, url=database.url)


def check(project: PublishedProject, events: int) -> None:
    """Table, embedded read model and a plain loop over the events have the same rows."""
    wanted = expected(EVENTS[:events])
    for name in ALL:
        live = project.models.live(name)
        assert live is not None
        assert live.position == events
        assert project.rows(name) == wanted[name]
        assert project.table(name) == wanted[name]
        version, revision, position = project.states()[name]
        assert (version, position) == (live.number, events)
        assert revision <= live.revision


def test_rebuild_update_and_rollback(published: PublishedProject) -> None:
    published.append(EVENTS[:100], room=TINY)
    report = rebuild(published.config, engine="in-process", prove=10)
    assert {p.table for p in report.projections} == {f"{SCHEMA}.{name}" for name in ALL}
    assert {"load", "switch", "publish"} <= report.seconds.keys()
    check(published, 100)
    for upto in (130, 131, 180):
        published.append(EVENTS[published.log().last_position : upto], room=TINY)
        updated = update(published.config, engine="in-process")
        assert updated.notes == ()
        assert {p.table for p in updated.projections} == {f"{SCHEMA}.{name}" for name in ALL}
        check(published, upto)
    assert "apply" in updated.seconds
    before = published.states()
    published.append(EVENTS[180:], room=TINY)
    rebuild(published.config, engine="in-process", prove=10)
    check(published, 240)
    back = rollback(published.config, "accounts")
    assert (back.table, back.version) == (f"{SCHEMA}.accounts", before["accounts"][0])
    assert published.states()["accounts"][2] == 180
    assert published.table("accounts") == expected(EVENTS[:180])["accounts"]
    update(published.config, engine="in-process")
    check(published, 240)
