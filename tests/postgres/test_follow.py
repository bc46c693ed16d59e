"""``runner update --follow`` over stores in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from followers import STORE, Follower, append, custom_source, folded, projections
from stores_of_libraries import Project

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Project:
    """A store with one event, synced and rebuilt."""
    return started(database, tmp_path)


def started(database: Database, folder: Path, **source: Any) -> Project:
    database.sql(STORE)
    with database.connect() as connection:
        append(connection, "first", 1)
    projections(folder / "project", "accounts_followed")
    made = Project(folder / "project", "accounts_followed", store=custom_source(database, **source))
    made.sync()
    made.rebuild()
    return made


def rows(project: Project) -> dict[str, tuple[int, int]]:
    return {name: (row["balance"], row["deposits"]) for name, row in project.rows("accounts").items()}


def test_what_is_written_meanwhile_becomes_visible_in_rounds(database: Database, project: Project) -> None:
    with Follower(project.config) as follower, database.connect() as connection:
        for number in range(300):
            append(connection, f"stream-{number % 7}", number)
        follower.wait(lambda: follower.position() == 301)
        assert rows(project) == folded(database)
        append(connection, "late", 5)
        follower.wait(lambda: follower.position() == 302)
        assert rows(project) == folded(database)
    assert follower.report is not None
    assert follower.report.events == 301
    assert follower.report.position == 302
