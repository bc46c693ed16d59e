"""Publishing into the application's own table: what differs is put right, nothing else is touched; the hand-over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from compare_shop import COMPARE, PROGRESS, TOTAL, compared
from simulated_shop import Shop
from stores_of_libraries import Project

from runner.cli.app import run
from runner.errors import ConfigError, JobError, ReadModelError, RowsDiffer
from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.sinks.application.writing import DEARER, Changes, cheaper
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fixtures_postgres import Database, Restored

IN_PLACE = """
[read_models.postgres]
url_env = "{env}"
schema = "reads"
[publish.orders]
publish = "in-place"
{publish}
"""
ASYNCHRONOUS = 'writer = "asynchronous"'
HAND_OVER = '[publish.orders.hand_over]\npreset = "emmett"\nname = "orders"\nwatch = 0.3'
SPOILED = {
    '"customerName" = upper("customerName")': "LIMIT 7",
    '"Status" = 0': "OFFSET 10 LIMIT 5",
    TOTAL.format("17"): "OFFSET 20 LIMIT 5",
    "\"Data\" = \"Data\" - 'n' - 'why'": "OFFSET 30 LIMIT 5",
    "weight = NULL, done = NOT done": "OFFSET 40 LIMIT 5",
    '"OpenedAt" = "OpenedAt" + interval \'1 hour\', touched = now()': "OFFSET 50 LIMIT 5",
}
TOUCHED = 7 + 5 * 5


def in_place(
    folder: Path, database: Database, publish: str = ASYNCHRONOUS, progress: str = PROGRESS, env: str = ""
) -> Project:
    project = Project(folder, "compare_projections", store={"preset": "emmett", "url_env": database.env})
    text = COMPARE.format(env=env or database.env, more="", progress=progress)
    text = text.replace(f'url_env = "{env or database.env}"\n', "")
    with (project.folder / "runner.toml").open("a") as file:
        file.write(IN_PLACE.format(env=env or database.env, publish=publish) + text)
    project.sync()
    return project


def spoiled(shop: Shop) -> tuple[str, str, str]:
    """Faults in all columns, a row that is gone, one that should not be, one deleted by hand that the filter hides."""
    for what, which in SPOILED.items():
        shop.change(what, f'SELECT "Id" FROM "Shop"."Orders" ORDER BY "Id" {which}')
    ids = sorted(shop.orders)
    gone, hidden = ids[100], ids[101]
    with shop.database.connect() as connection:
        connection.execute('DELETE FROM "Shop"."Orders" WHERE "Id" = %s', (gone,))
        connection.execute("""
            INSERT INTO "Shop"."Orders" ("Id", "Data", "OpenedAt", touched, revision)
            VALUES ('order-too-many', '{"more": 1}', now(), now(), 1),
                   ('order-hidden', '{"more": 2}', now(), now(), 1)
        """)
        connection.execute('UPDATE "Shop"."Orders" SET deleted_at = now() WHERE "Id" = \'order-hidden\'')
        # What no mapping names keeps its values.
        connection.execute('UPDATE "Shop"."Orders" SET "Notes" = \'mine\', mood = \'busy\'')
        connection.execute("""UPDATE "Shop"."Orders" SET "Data" = "Data" || '{"more": {"x": [1]}}'""")
    return gone, "order-too-many", hidden


def rows_of(database: Database) -> dict[str, tuple[Any, ...]]:
    return {
        row[0]: row[1:]
        for row in database.sql('SELECT "Id", "Notes", mood, "Data"->\'more\', xmin::text, "Data" FROM "Shop"."Orders"')
    }


def test_only_what_differs_is_changed(database: Database, restored: Restored, tmp_path: Path) -> None:
    shop = Shop(restored(database, "emmett"))
    gone, too_many, _ = spoiled(shop)
    project = in_place(tmp_path, database)
    before = rows_of(database)
    told: list[Any] = []
    rebuild(project.config, ["orders"], prove=0, listener=told.append)
    assert compared(project).same
    assert f"1 inserted, {TOUCHED} updated, 1 deleted" in " ".join(f.text for f in told if isinstance(f, Noted))
    after = rows_of(database)
    assert set(after) == set(before) - {too_many} | {gone}
    changed = {id_ for id_ in before.keys() & after.keys() if before[id_][3] != after[id_][3]}
    assert len(changed) == TOUCHED
    for id_ in before.keys() & after.keys():
        assert after[id_][:3] == ("mine", "busy", {"x": [1]})
    assert after[gone][:3] == ("written by hand", "calm", None)
    # A number that stood there as a string is one again.
    assert isinstance(after[sorted(shop.orders)[22]][4]["total"]["euros"], str)
    ((name, table, position),) = database.sql("SELECT read_model, table_name, position FROM projection_runner.in_place")
    assert (name, table, position) == ("orders", "Orders", 10_005)
    # A second time there is nothing to do, and no row is written.
    rebuild(project.config, ["orders"], prove=0)
    assert rows_of(database) == after


ADDED = """
INSERT INTO emt_messages (stream_position, transaction_id, stream_id, message_schema_version, message_id,
                          message_type, message_data, message_metadata, created)
VALUES ({version}, pg_current_xact_id(), '{id}', '1', gen_random_uuid()::text, 'DiscountApplied',
        '{{"code": null, "cents": 3}}', '{{}}', now())
"""


def test_an_update_and_a_rollback_go_in_place_too(database: Database, restored: Restored, tmp_path: Path) -> None:
    Shop(restored(database, "emmett"))
    project = in_place(tmp_path, database, progress='"log-end"')
    rebuild(project.config, ["orders"], prove=0)
    rebuild(project.config, ["orders"], prove=0, to=9_000)
    assert compared_at_end(project) is False
    update(project.config, ["orders"])
    assert compared_at_end(project) is True
    # An update looks at the rows that it changes, and at no other.
    ids = [row[0] for row in database.sql('SELECT "Id" FROM "Shop"."Orders" ORDER BY "Id"')]
    database.sql(ADDED.format(id=ids[5], version=900))
    database.sql(
        f'UPDATE "Shop"."Orders" SET weight = 4711, done = NOT done WHERE "Id" IN (\'{ids[5]}\', \'{ids[6]}\')'
    )
    project.sync()
    before = rows_of(database)
    update(project.config, ["orders"])
    after = rows_of(database)
    assert {id_ for id_ in before if before[id_][3] != after[id_][3]} == {ids[5]}
    (group,) = [g for g in compared(project).groups if g.column == "weight"]
    assert [s.key["aggregate_id"] for s in group.samples] == [ids[6]]
    rebuild(project.config, ["orders"], prove=0, to=5_000)
    rollback(project.config, "orders")
    assert compared_at_end(project) is True


def compared_at_end(project: Project) -> bool:
    return compared(project).same


def test_hand_over_in_the_same_transaction(database: Database, restored: Restored, tmp_path: Path) -> None:
    """The application stood at 4,000 events; it goes on where the rebuilt table ends."""
    shop = Shop(restored(database, "emmett"), 4_000)
    project = in_place(tmp_path, database, HAND_OVER)
    rebuild(project.config, ["orders"], prove=0)
    ((transaction, checkpoint),) = database.sql(
        "SELECT last_processed_transaction_id::text::bigint, last_processed_checkpoint FROM emt_processors"
    )
    whole = database.sql(
        "SELECT transaction_id::text::bigint, global_position FROM emt_messages ORDER BY 1 DESC, 2 DESC"
    )
    assert (transaction, checkpoint) == (whole[0][0], f"{whole[0][1]:019}")
    table = compared(project)
    assert table.same
    assert table.position == 10_005
    assert len(shop.rows) == 4_000


@pytest.mark.parametrize("fights", ["status", "lock", "session", "progress"])
def test_a_daemon_that_would_fight_it_is_refused(
    fights: str, database: Database, restored: Restored, tmp_path: Path
) -> None:
    shop = Shop(restored(database, "emmett"), 4_000)
    more = f'{HAND_OVER}\nlocks = [77]\nsessions = ["shop-daemon*"]'
    project = in_place(tmp_path, database, more)
    before = rows_of(database)
    with database.connect(application_name="shop-daemon-3" if fights == "session" else "psql") as connection:
        if fights == "status":
            connection.execute("UPDATE emt_processors SET status = 'running', last_updated = now()")
        elif fights == "lock":
            connection.execute("SELECT pg_advisory_lock(77)")
        if fights == "progress":
            with moving(shop), pytest.raises(JobError, match="its progress moved from"):
                rebuild(project.config, ["orders"], prove=0)
        else:
            with pytest.raises(JobError, match="the application's daemon runs: "):
                rebuild(project.config, ["orders"], prove=0)
    assert rows_of(database) == before


class moving:  # noqa: N801  # reads as what it does
    """Moves the progress every 50 ms."""

    def __init__(self, shop: Shop) -> None:
        import threading

        self.shop, self.stopped = shop, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        position = 1
        while not self.stopped.wait(0.05):
            position += 1
            self.shop.move_progress(40_000, position)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(10)


def test_a_dry_run_shows_plan_and_sql_and_changes_nothing(
    database: Database, restored: Restored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(restored(database, "emmett"))
    spoiled(shop)
    project = in_place(tmp_path, database, HAND_OVER)
    before, processors = rows_of(database), database.sql("SELECT * FROM emt_processors")
    assert run(["rebuild", "orders", "--dry-run", "--config", str(project.folder / "runner.toml")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"plan: orders, Shop.Orders: 1 inserted, {TOUCHED} updated, 1 deleted" in out
    assert "in place is cheaper than loading all of them and switching" in out
    for statement in ('SQL: INSERT INTO "Shop"."Orders"', 'SQL: UPDATE "Shop"."Orders"', 'SQL: DELETE FROM "Shop"'):
        assert statement in out
    assert "SET last_processed_checkpoint = " in out
    assert "a dry run, nothing was switched" in out
    assert rows_of(database) == before
    assert database.sql("SELECT * FROM emt_processors") == processors
    assert not (project.folder / "read_models/current.json").exists()


@pytest.mark.parametrize(
    ("differ", "said"),
    [
        (0, "0 of 1,000 rows differ (0.0 %): in place is cheaper"),
        (1000 // DEARER, "in place is cheaper than loading all of them and switching"),
        (1000 // DEARER + 1, "loading all and switching would be cheaper, where the table may be replaced"),
    ],
)
def test_the_plan_says_which_way_is_cheaper_from_the_size_of_the_difference(differ: int, said: str) -> None:
    assert said in cheaper(Changes(differ // 2, differ - differ // 2, 0), 1000)


def test_a_difference_stops_the_switch(
    database: Database, restored: Restored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(restored(database, "emmett"))
    project = in_place(tmp_path, database)
    assert rebuild(project.config, ["orders"], prove=0, compare=True).comparisons[0].same
    spoiled(shop)
    before = rows_of(database)
    with pytest.raises(RowsDiffer, match="orders"):
        rebuild(project.config, ["orders"], prove=0, compare=True)
    assert run(["rebuild", "orders", "--compare", "--config", str(project.folder / "runner.toml")]) == 3
    captured = capsys.readouterr()
    assert "customer: upper and lower case: 7 rows" in captured.out
    assert "nothing was switched" in captured.err
    assert rows_of(database) == before


NOBODY = "hand_over_sql = \"UPDATE emt_processors SET version = :checkpoint WHERE processor_id = 'nobody'\""


def change(what: str) -> Callable[[Database], object]:
    return lambda database: database.sql(what)


@pytest.mark.parametrize(
    ("prepare", "publish", "error", "match"),
    [
        (change("SELECT 1"), "", JobError, "the application writes 'orders' itself .inline."),
        (change('ALTER TABLE "Shop"."Orders" ADD needed int NOT NULL DEFAULT 1; '
                'ALTER TABLE "Shop"."Orders" ALTER needed DROP DEFAULT; DELETE FROM "Shop"."Orders"'),
         ASYNCHRONOUS, ReadModelError, "rows have to be inserted, and Shop.Orders needs needed"),
        (change('ALTER TABLE "Shop"."Orders" DROP revision; '
                'ALTER TABLE "Shop"."Orders" ADD revision bigint GENERATED ALWAYS AS (1) STORED'),
         ASYNCHRONOUS, ConfigError, "revision is in revision, which the server generates"),
        (change("SELECT 1"), f"{ASYNCHRONOUS}\n{NOBODY}", JobError, "the hand-over changed no row"),
        (change("SELECT 1"), f'{ASYNCHRONOUS}\ntable = "Others"', ConfigError, "publish.orders.table is Others"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_right_is_refused(
    prepare: Callable[[Database], object], publish: str, error: type[Exception], match: str,
    database: Database, restored: Restored, tmp_path: Path,
) -> None:  # fmt: skip
    Shop(restored(database, "emmett"))
    prepare(database)
    project = in_place(tmp_path, database, publish)
    before = database.sql('SELECT * FROM "Shop"."Orders"')
    with pytest.raises(error, match=match):
        rebuild(project.config, ["orders"], prove=0)
    assert database.sql('SELECT * FROM "Shop"."Orders"') == before
