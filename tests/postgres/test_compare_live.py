"""Tables that the application writes together with its events, compared while it writes; live tables of the runner."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from compare_shop import compared, shop_project
from psycopg.types.json import Jsonb
from simulated_shop import Shop
from stores_of_libraries import Project

from runner.cli.app import run
from runner.jobs.comparing import compare
from runner.jobs.proving.verify import verify
from runner.jobs.rebuilding.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from fixtures_postgres import Database, Restored

ADD = """
INSERT INTO emt_messages (stream_position, transaction_id, stream_id, message_schema_version, message_id, message_type,
                          message_data, message_metadata, created)
VALUES (%s, pg_current_xact_id(), %s, '1', gen_random_uuid()::text, %s, %s, '{}', now())
"""
WRITE = """
INSERT INTO "Shop"."Orders" AS o ("Id", "customerName", "Status", "Data", "OpenedAt", touched, weight, done, revision)
VALUES (%(id)s, 'c-1', 1, '{"total": {"euros": "0.00"}, "paid": null, "n": 0, "why": ""}',
        timestamp '2026-01-01 01:00', now(), 0, false, %(version)s)
ON CONFLICT ("Id") DO UPDATE SET revision = excluded.revision, touched = excluded.touched,
    "Data" = jsonb_set(o."Data", '{n}', to_jsonb((o."Data"->>'n')::int + 2))
"""


class Application(threading.Thread):
    """Appends events and writes their rows, each pair in one transaction; some stay open a while, some roll back."""

    def __init__(self, database: Database, number: int, stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self.database, self.number, self.stopped = database, number, stopped
        self.written = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error

    def _run(self) -> None:
        draw, order = random.Random(self.number), 0
        with self.database.connect() as connection:
            while not self.stopped.is_set():
                order += 1
                id_ = f"order-live-{self.number}-{order}"
                for version in range(1, draw.randrange(2, 5)):
                    with connection.transaction(force_rollback=draw.random() < 0.1) as transaction:
                        kind, data = "OrderOpened", {"customerId": "c-1", "openedAt": "2026-01-01T00:00:00Z"}
                        if version > 1:
                            kind, data = "ItemAdded", {"product": "p", "quantity": 2, "unitPriceCents": 0}  # type: ignore[dict-item]
                        connection.execute(ADD, (version, id_, kind, Jsonb(data)))
                        connection.execute(WRITE, {"id": id_, "version": version})
                        self.stopped.wait(draw.choice([0, 0, 0.001, 0.02]))
                    if transaction.force_rollback:
                        break
                    self.written += 1


def test_a_table_that_is_written_with_the_events_is_equal_at_any_time(
    database: Database, restored: Restored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "TIMES", 100)  # on a busy machine writers stand in the middle most of the time
    Shop(restored(database, "emmett"))
    project = shop_project(tmp_path, database, progress='"inline"')
    stopped = threading.Event()
    writers = [Application(database, n, stopped) for n in range(3)]
    seen = []
    try:
        for writer in writers:
            writer.start()
        for _ in range(3):
            table = compared(project)
            assert (table.groups, table.notes) == ((), ())
            seen.append(table.rows_here)
    finally:
        stopped.set()
        for writer in writers:
            writer.join(30)
    assert [writer.error for writer in writers] == [None] * 3
    table = compared(project)
    assert (table.groups, table.position) == ((), 10_005 + sum(writer.written for writer in writers))
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    # A fault is one then as before.
    database.sql('UPDATE "Shop"."Orders" SET revision = 99 WHERE "Id" = \'order-live-1-1\'')
    (group,) = compared(project).groups
    assert (group.column, group.rows, group.samples[0].there) == ("revision", 1, "99")


PUBLISHED = """
[read_models.postgres]
url_env = "{env}"
schema = "reads"
[publish.orders]
writer = "asynchronous"
"""


def test_verify_looks_at_the_tables_in_postgres(
    database: Database, restored: Restored, tmp_path: Path, capsys: Any
) -> None:
    restored(database, "emmett")
    project = Project(tmp_path, "compare_projections", store={"preset": "emmett", "url_env": database.env})
    database.sql("CREATE SCHEMA reads")
    with (project.folder / "runner.toml").open("a") as file:
        file.write(PUBLISHED.format(env=database.env))
    project.sync()
    rebuild(project.config, ["orders"], prove=0)
    report = verify(project.config, ["orders"])
    assert [t.against for t in report.tables] == [
        "version 1, revision 0, in files",
        "reads.orders, version 1, revision 0",
    ]
    assert report.same
    database.sql("UPDATE reads.orders SET total = total + 1 WHERE items > 3; DELETE FROM reads.orders WHERE items = 1")
    files, table = verify(project.config, ["orders"]).tables
    assert files.same
    assert {(g.column, g.words) for g in table.groups} == {("", "missing there"), ("total", "off by a constant (+1)")}
    file = str(project.folder / "runner.toml")
    assert run(["verify", "orders", "--in", "files", "--config", file]) == 0
    assert run(["verify", "orders", "--in", "postgres", "--config", file]) == 3
    assert "orders against reads.orders, version 1, revision 0: DIFFERENT" in capsys.readouterr().out
