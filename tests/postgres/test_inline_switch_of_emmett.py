"""An inline switch on an Emmett store that is too large for its newest row to be found without an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stores_of_libraries import Project

from runner.errors import JobError
from runner.jobs.publishing import writers
from runner.jobs.publishing.writers import WriterWish, _places
from runner.jobs.rebuilding.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored

READS = '[read_models.postgres]\nurl_env = "{env}"\nschema = "reads"\nlock_timeout = "200 ms"\n[publish.orders]\n'
LARGE = "UPDATE pg_class SET reltuples = 200000 WHERE relname LIKE 'emt_messages%' AND relkind = 'r'"
"""As if ANALYZE had counted so many."""
APPENDED = """
INSERT INTO emt_messages (stream_position, transaction_id, stream_id, message_schema_version, message_id,
                          message_type, message_data, message_metadata, created)
VALUES (1, pg_current_xact_id(), '{id}', '1', gen_random_uuid()::text, 'OrderOpened',
        '{{"customerId": "c", "openedAt": "2024-01-01T00:00:00Z"}}', '{{}}', now())
"""


def test_what_stands_behind_a_slow_writer_is_not_lost(
    database: Database, restored: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "TRIES", 3)
    restored(database, "emmett")
    database.sql("CREATE SCHEMA reads")
    project = Project(tmp_path, "compare_projections", store={"preset": "emmett", "url_env": database.env})
    with (project.folder / "runner.toml").open("a") as file:
        file.write(READS.format(env=database.env))
    project.sync()
    rebuild(project.config, ["orders"], prove=0)
    database.sql(LARGE)
    with database.connect() as slow:
        slow.execute("BEGIN")
        slow.execute(APPENDED.format(id="order-slow"))
        database.sql(APPENDED.format(id="order-behind"))
        (now,) = _places(project.config).values()
        assert (now.newest, now.behind) == (None, 1)
        assert not now.reaches(now)
        with pytest.raises(JobError, match="could not be caught up with"):
            rebuild(project.config, ["orders"], prove=0, writers=WriterWish(max_block=0.1))
        slow.execute("COMMIT")
    rebuild(project.config, ["orders"], prove=0, writers=WriterWish(max_block=5.0))
    found = database.sql("SELECT aggregate_id FROM reads.orders WHERE aggregate_id IN ('order-slow', 'order-behind')")
    assert len(found) == 2
