"""Hand-over: ready statements and the author's own, in the transaction of a switch, and who would fight it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from stores_of_libraries import Project

from runner.cli.app import run
from runner.config.comparison import ProgressConfig
from runner.config.hand_over import HandOverConfig
from runner.errors import ConfigError, JobError
from runner.jobs.proving.verify import verify
from runner.jobs.publishing.rollback import rollback
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.sinks.application.hand_over import bound_names, hand_over_of, refuse_daemons
from runner.sinks.application.progress import read_progress

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored

MARTEN = """
CREATE TABLE mt_event_progression (name varchar PRIMARY KEY, last_seq_id bigint, last_updated timestamptz);
INSERT INTO mt_event_progression VALUES ('HighWaterMark', 90, now()), ('Orders:All', 17, now());
"""
TRACKING = """
CREATE TABLE notification_tracking (application_name text PRIMARY KEY, notification_id bigint);
INSERT INTO notification_tracking VALUES ('other', 3);
"""
SUBSCRIPTIONS = """
CREATE TABLE emt_subscriptions (subscription_id text, version int, partition text,
    last_processed_position bigint, last_processed_transaction_id xid8);
INSERT INTO emt_subscriptions VALUES ('orders', 1, 'emt:default', 17, '5');
"""


def test_the_authors_statement_is_bound_outside_of_texts_and_comments() -> None:
    sql = """UPDATE "p:checkpoint" SET a = :checkpoint::bigint, b = 'x :checkpoint ''y', c = E'it\\'s :no', d = 5 % 3,
        e = $q$ :no $q$ /* :no */ WHERE t = :transaction -- :no"""
    bound = bound_names(sql, "here")
    assert bound.count("%(checkpoint)s") == 1
    assert bound.count("%(transaction)s") == 1
    assert bound.replace("%(checkpoint)s", ":checkpoint").replace("%(transaction)s", ":transaction") == sql.replace(
        "%", "%%"
    )
    for wrong in ("UPDATE p SET a = ':checkpoint'", "UPDATE p SET a = 1 -- :checkpoint", "UPDATE p SET a = :position"):
        with pytest.raises(ConfigError, match="hand_over_sql has"):
            bound_names(wrong, "here")


@pytest.mark.parametrize(
    ("tables", "preset", "name", "place", "wanted"),
    [
        (MARTEN, "marten", "Orders:All", (1234,), (1234,)),
        (MARTEN, "marten", "New:All", (5,), (5,)),
        (TRACKING, "eventsourcing", "orders", (99,), (99,)),
        (TRACKING, "eventsourcing", "other", (99,), (99,)),
        (SUBSCRIPTIONS, "emmett", "orders", (40_000, 1234), (40_000, 1234)),
    ],
)
def test_ready_statements_are_read_back(
    tables: str, preset: Any, name: str, place: tuple[int, ...], wanted: tuple[int, ...], database: Database
) -> None:
    database.sql(tables)
    with database.connect() as connection:
        statement = hand_over_of(connection, HandOverConfig(preset=preset, name=name), place, "here")
        statement.execute(connection)
        assert read_progress(connection, ProgressConfig(preset=preset, name=name), "here").place == wanted
        # What is shown is what runs.
        database.sql(statement.shown)
        assert read_progress(connection, ProgressConfig(preset=preset, name=name), "here").place == wanted


def test_a_daemon_of_marten_is_known_by_its_lock(database: Database) -> None:
    database.sql(MARTEN)
    config = HandOverConfig(preset="marten", name="Orders:All", watch_seconds=0)
    with database.connect() as connection, database.connect(application_name="daemon") as daemon:
        assert refuse_daemons(connection, config, ProgressConfig(preset="marten", name="Orders:All"), "here") == (17,)
        daemon.execute("SELECT pg_advisory_lock(4444)")
        with pytest.raises(JobError, match=r"process \d+ \(daemon\) holds its advisory lock 4444"):
            refuse_daemons(connection, config, None, "here")
        # Locks that the file names are looked at beside the preset's.
        more = replace(config, locks=(5555,))
        with pytest.raises(JobError, match="advisory lock 4444"):
            refuse_daemons(connection, more, None, "here")
        daemon.execute("SELECT pg_advisory_unlock(4444), pg_advisory_lock(7, 4444)")
        with pytest.raises(JobError, match="advisory lock"):
            refuse_daemons(connection, config, None, "here")
        daemon.execute("SELECT pg_advisory_unlock_all(), pg_advisory_lock(5555)")
        refuse_daemons(connection, config, None, "here")
        with pytest.raises(JobError, match="advisory lock 5555"):
            refuse_daemons(connection, more, None, "here")


BANK = """
[read_models.postgres]
url_env = "{env}"
schema = "reads"
{publish}
"""
READY = '[publish.accounts.hand_over]\npreset = "eventsourcing"\nname = "accounts"\nwatch = 0.2\n'
OWN = (
    "[publish.accounts]\n"
    "hand_over_sql = \"UPDATE app.places SET at = :checkpoint, says = ':checkpoint' WHERE n = 1;\"\n"
    '[publish.accounts.hand_over]\nwatch = 0\nsessions = ["bank-daemon*"]\n'
)


def bank(folder: Path, database: Database, publish: str) -> Project:
    source = {"preset": "eventsourcing", "url_env": database.env, "table": "bankzlib_events"}
    project = Project(folder, "store_projections", store=source)
    with (project.folder / "runner.toml").open("a") as file:
        file.write(BANK.format(env=database.env, publish=publish))
    database.sql("CREATE SCHEMA IF NOT EXISTS reads")
    project.sync()
    return project


def last_notification(database: Database) -> int:
    ((number,),) = database.sql("SELECT max(notification_id) FROM bankzlib_events")
    return int(number)


def test_a_switch_hands_over_in_its_transaction(database: Database, restored: Restored, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    database.sql(TRACKING)
    project = bank(tmp_path, database, READY)
    rebuild(project.config, ["accounts"], prove=0)
    assert database.sql("SELECT * FROM notification_tracking ORDER BY 1") == [
        ("accounts", last_notification(database)),
        ("other", 3),
    ]
    ((rows,),) = database.sql("SELECT count(*) FROM reads.accounts")
    assert rows == len(project.rows("accounts"))
    # From here on the table is the application's: no update writes it.
    database.sql("UPDATE reads.accounts SET owner = 'the application'")
    update(project.config, ["accounts"])
    assert database.sql("SELECT DISTINCT owner FROM reads.accounts") == [("the application",)]
    with pytest.raises(JobError, match="the application writes the table of 'accounts' itself"):
        verify(project.config, ["accounts"], where="postgres")
    assert verify(project.config, ["accounts"]).same
    rebuild(project.config, ["accounts"], prove=0)
    with pytest.raises(JobError, match="was handed over to the application"):
        rollback(project.config, "accounts")


def test_the_authors_own_statement(database: Database, restored: Restored, tmp_path: Path, capsys: Any) -> None:
    restored(database, "eventsourcing")
    database.sql("CREATE SCHEMA app; CREATE TABLE app.places (n int, at bigint, says text)")
    project = bank(tmp_path, database, OWN)
    with pytest.raises(JobError, match="the hand-over changed no row"):
        rebuild(project.config, ["accounts"], prove=0)
    assert database.sql("SELECT to_regclass('reads.accounts')") == [(None,)]
    database.sql("INSERT INTO app.places VALUES (1, 0, '')")
    file = str(project.folder / "runner.toml")
    assert run(["rebuild", "accounts", "--dry-run", "--config", file]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"SQL: UPDATE app.places SET at = {last_notification(database)}, says = ':checkpoint' WHERE n = 1" in shown
    assert database.sql("SELECT at FROM app.places") == [(0,)]
    with (
        database.connect(application_name="bank-daemon-1"),
        pytest.raises(JobError, match="its session 'bank-daemon-1'"),
    ):
        rebuild(project.config, ["accounts"], prove=0)
    assert run(["rebuild", "accounts", "--prove", "0", "--config", file]) == 0
    assert database.sql("SELECT at, says FROM app.places") == [(last_notification(database), ":checkpoint")]
    told = " ".join(capsys.readouterr().err.split())
    statement = f"UPDATE app.places SET at = {last_notification(database)}"
    assert f"accounts: handed over at position 2,002 of the log by {statement}" in told


def test_a_hand_over_needs_a_database(database: Database, restored: Restored, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    source = {"preset": "eventsourcing", "url_env": database.env, "table": "bankzlib_events"}
    project = Project(tmp_path, "store_projections", store=source)
    with (project.folder / "runner.toml").open("a") as file:
        file.write(READY)
    project.sync()
    with pytest.raises(ConfigError, match=r"there is no \[read_models.postgres\]"):
        rebuild(project.config, ["accounts"], prove=0)
