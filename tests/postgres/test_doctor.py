"""``runner doctor``: roles that lack each privilege, poolers, standbys, disks; and that its GRANTs are those needed."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from transaction_pooler import TransactionPooler

from runner.cli import app
from runner.config import ConnectionSettings, load_config
from runner.errors import ReadModelError
from runner.jobs.doctoring.doctor import diagnose
from runner.postgres import connect, pooling, server_facts
from runner.sinks.postgres.bookkeeping import ensure
from runner.sinks.postgres.checking import check_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures_postgres import Database, Restored
    from postgres_servers import PostgresServer

    from runner.jobs.doctoring.diagnosis import Diagnosis, Finding

STORE = """
CREATE SCHEMA "My Store";
CREATE TABLE "My Store".emt_messages (
    stream_position bigint NOT NULL, global_position bigserial, transaction_id xid8 NOT NULL,
    created timestamptz NOT NULL DEFAULT now(), is_archived boolean NOT NULL DEFAULT false,
    message_kind varchar(1) NOT NULL DEFAULT 'E', stream_id text NOT NULL, partition text NOT NULL DEFAULT 'x',
    message_schema_version text NOT NULL DEFAULT '1', message_id text NOT NULL, message_type text NOT NULL,
    message_data jsonb NOT NULL, message_metadata jsonb NOT NULL DEFAULT '{}');
"""
BANK = """
CREATE TABLE bank_events (
    originator_id uuid NOT NULL, originator_version bigint NOT NULL, topic text, state bytea,
    notification_id bigserial PRIMARY KEY);
"""
FINE = ("GRANT pg_read_all_stats TO {role}",)
READ = (*FINE, "GRANT SELECT ON bank_events TO {role}", "GRANT SELECT ON bank_events_notification_id_seq TO {role}")


class Patient:
    """A project whose store and read models have these URLs."""

    def __init__(self, root: Path) -> None:
        self.root, self.text = root, ""

    def store(self, env: str, preset: str = "eventsourcing", more: str = "") -> Patient:
        self.text += f'[sources.bank]\npreset = "{preset}"\nurl_env = "{env}"\n{more}\n'
        return self

    def tables(self, env: str, more: str = "") -> Patient:
        self.text += f'[read_models.postgres]\nurl_env = "{env}"\nschema = "reads"\n{more}\n'
        return self

    def diagnosis(self) -> Diagnosis:
        (self.root / "runner.toml").write_text(self.text)
        return diagnose(load_config(self.root / "runner.toml"))


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def of(found: Diagnosis, check: str, place: str = "") -> Finding:
    (one,) = [f for f in found.findings if f.check == check and f.place.startswith(place or "[sources")]
    return one


def levels(found: Diagnosis, place: str) -> dict[str, set[str]]:
    made: dict[str, set[str]] = {}
    for f in found.findings:
        if f.place == place:
            made.setdefault(f.level, set()).add(f.check)
    return made


def mended(database: Database, found: Diagnosis) -> None:
    for statements in found.statements.values():
        for statement in statements:
            database.sql(statement)


def needs_own(database: Database) -> None:
    if not database.server.own:
        pytest.skip("needs a server of the tests' own")


# Stores ---------------------------------------------------------------------------------------------------------------


def test_a_role_that_may_read_the_store_is_well(each_database: Database, patient: Patient) -> None:
    each_database.sql(BANK)
    role = each_database.role(*READ)
    found = patient.store(role.env).diagnosis()
    assert found.problems == ()
    assert found.exit_code == 0
    well = levels(found, "[sources.bank]")
    assert {"reachable", "version", "select", "sequence cache", "lock visibility", "pooler", "clock"} <= well["ok"]
    assert well.get("warning", set()) <= {"connections"}
    assert not found.statements
    facts: Any = found.facts["[sources.bank]"]
    assert (facts["role"], facts["superuser"], facts["standby"]) == (role.name, False, False)


@pytest.mark.parametrize("lacking", range(len(READ)))
def test_each_lacking_privilege_is_named_with_its_grant(database: Database, patient: Patient, lacking: int) -> None:
    database.sql(BANK)
    role = database.role(*(grant for i, grant in enumerate(READ) if i != lacking))
    found = patient.store(role.env).diagnosis()
    check = ("lock visibility", "select", "sequence")[lacking]
    bad = of(found, check)
    assert bad.level == ("problem" if check == "select" else "warning")
    assert found.exit_code == (10 if check == "select" else 0)
    (statement,) = bad.statements
    assert role.name in statement
    mended(database, found)
    again = patient.diagnosis()
    assert again.problems == ()
    assert not again.statements


def test_a_hidden_schema_and_quoted_names(database: Database, patient: Patient) -> None:
    database.sql(STORE)
    role = database.role(*FINE)
    patient.store(role.env, "emmett", 'schema = "My Store"')
    found = patient.diagnosis()
    bad = of(found, "select")
    assert "lacks USAGE on the schema and SELECT" in bad.said
    assert bad.statements == (
        f'GRANT USAGE ON SCHEMA "My Store" TO "{role.name}";',
        f'GRANT SELECT ON "My Store"."emt_messages" TO "{role.name}";',
    )
    mended(database, found)
    assert patient.diagnosis().problems == ()


def test_rows_hidden_by_row_level_security(database: Database, patient: Patient) -> None:
    database.sql(BANK + "ALTER TABLE bank_events ENABLE ROW LEVEL SECURITY;")
    found = patient.store(database.role(*READ).env).diagnosis()
    assert of(found, "row security").level == "problem"
    mended(database, found)
    assert patient.diagnosis().problems == ()


def test_a_sequence_that_serves_blocks(database: Database, patient: Patient) -> None:
    database.sql(BANK + "ALTER SEQUENCE bank_events_notification_id_seq CACHE 50;")
    found = patient.store(database.role(*READ).env).diagnosis()
    bad = of(found, "sequence cache")
    assert (bad.level, "50 numbers at a time" in bad.said) == ("warning", True)
    mended(database, found)
    assert of(patient.diagnosis(), "sequence cache").level == "ok"


def test_a_role_that_may_do_more_than_read(database: Database, patient: Patient) -> None:
    database.sql(BANK)
    role = database.role(*READ, "GRANT INSERT ON bank_events TO {role}")
    assert "may also write" in of(patient.store(role.env).diagnosis(), "select only").said
    superuser = patient.__class__(patient.root).store(database.env).diagnosis()
    assert of(superuser, "role").level == "warning"
    assert superuser.problems == ()


def test_a_query_is_planned_to_see_what_it_may(database: Database, patient: Patient) -> None:
    database.sql(BANK + "CREATE TABLE other (a int);")
    role = database.role(*READ)
    patient.store(
        role.env,
        "custom",
        'query = "SELECT e.* FROM bank_events AS e, other"\naggregate_id = "originator_id"\ntype = "topic"\n'
        'position = "notification_id"\npayload = "state"\ntail = "time"',
    )
    found = patient.diagnosis()
    assert [f.said for f in found.problems] == ["permission denied for table other"]
    database.sql(f"GRANT SELECT ON other TO {role.name}")
    assert patient.diagnosis().problems == ()


def test_tenants_whose_schemas_cannot_be_read(database: Database, patient: Patient) -> None:
    for schema in ("tenant_a", "tenant_b", "tenant_c"):
        database.sql(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {BANK}")
    database.sql("ALTER TABLE tenant_c.bank_events DROP COLUMN state")
    role = database.role(*FINE, *(f"GRANT USAGE ON SCHEMA tenant_{t} TO {{role}}" for t in "ac"))
    found = patient.store(role.env, more='schemas = "tenant_*"\ntable = "bank_events"').diagnosis()
    assert {f.check for f in found.problems} == {"select", "tenant"}
    assert [f.said.partition(":")[0] for f in found.problems if f.check == "tenant"] == ["tenant_c"]
    mended(database, found)
    assert {f.check for f in patient.diagnosis().problems} == {"tenant"}


def test_payloads_in_large_objects(database: Database, patient: Patient) -> None:
    needs_own(database)
    database.sql(
        "CREATE TABLE domain_event_entry (global_index bigserial PRIMARY KEY, aggregate_identifier varchar NOT NULL, "
        "event_identifier varchar NOT NULL, sequence_number bigint NOT NULL, type varchar, time_stamp text NOT NULL, "
        "payload_type varchar NOT NULL, payload_revision varchar, payload oid NOT NULL, meta_data oid);"
        "INSERT INTO domain_event_entry VALUES (1, 'a', 'e', 0, 'A', '2026-01-01T00:00:00Z', 'T', NULL, "
        "lo_from_bytea(0, '{}'), NULL)"
    )
    role = database.role(*FINE, "GRANT SELECT ON domain_event_entry TO {role}")
    database.sql(f"GRANT SELECT ON SEQUENCE domain_event_entry_global_index_seq TO {role.name}")
    found = patient.store(role.env, "axon").diagnosis()
    assert [f.check for f in found.problems] == ["large objects"]
    mended(database, found)
    assert patient.diagnosis().problems == ()


def test_a_tail_that_a_sync_would_be_refused_for(database: Database, patient: Patient, tmp_path: Path) -> None:
    """The rule is tried, so that the look and the sync say the same."""
    database.sql("CREATE TABLE events (id int PRIMARY KEY, s text, t text, d jsonb)")
    keys = 'table = "events"\nposition = "id"\naggregate_id = "s"\ntype = "t"\npayload = "d"\n'
    found = patient.store(database.env, "custom", keys + 'tail = "gaps"').diagnosis()
    assert found.exit_code == 10
    assert of(found, "tail").level == "problem"
    assert "draws from no sequence" in of(found, "tail").said
    assert 'set tail = "time"' in of(found, "tail").said
    by_time = Patient(tmp_path).store(database.env, "custom", keys + 'tail = "time"').diagnosis()
    assert (of(by_time, "tail").level, by_time.exit_code) == ("ok", 0)
    database.sql("CREATE SEQUENCE drawn; ALTER TABLE events ALTER id SET DEFAULT nextval('drawn')")
    database.sql("INSERT INTO events VALUES (7, 's', 't', '{}')")
    copied = patient.diagnosis()
    assert of(copied, "tail").level == "warning"
    assert "was not drawn from the column's sequence" in of(copied, "tail").said


def test_the_lag_of_standbys_must_be_seen_to_be_heeded(database: Database, patient: Patient) -> None:
    database.sql(BANK)
    role = database.role(*READ[1:])
    found = patient.store(role.env, more='max_replica_lag = "30s"').diagnosis()
    assert [f.check for f in found.problems] == ["replica lag"]
    mended(database, found)
    assert patient.diagnosis().problems == ()


def test_the_stores_of_the_libraries(database: Database, restored: Restored, patient: Patient) -> None:
    for name, preset, more in (
        ("emmett", "emmett", ""),
        ("message_db", "message-db", ""),
        ("eventsourcing", "eventsourcing", 'table = "bankplain_events"'),
        ("eventsourcing_dcb", "eventsourcing-dcb", 'aggregates = ["student-"]'),
    ):
        restored(database, name)
        one = Patient(patient.root).store(database.env, preset, more).diagnosis()
        assert one.problems == (), name
        assert "[log]" in {f.place for f in one.findings}
        assert "takes at most" in of(one, "disk", "[log]").said


def test_places_that_cannot_be_reached_hide_nothing(
    database: Database, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.sql(BANK)
    monkeypatch.delenv("NO_SUCH_URL", raising=False)
    patient.store(database.env).tables("NO_SUCH_URL")
    patient.text += f'[sources.gone]\npreset = "emmett"\nurl_env = "{database.in_environment("host=/nowhere")}"\n'
    patient.text += f'[sources.empty]\npreset = "emmett"\nurl_env = "{database.env}"\n'
    found = patient.diagnosis()
    said = {f.place: (f.check, f.said) for f in found.problems}
    assert said.keys() == {"[sources.gone]", "[sources.empty]", "[read_models.postgres]"}
    assert said["[sources.gone]"][0] == "reachable"
    assert said["[sources.empty]"][0] == "reading"
    assert said["[read_models.postgres]"] == (
        "config",
        "the environment variable NO_SUCH_URL is not set (put a URL into it)",
    )
    assert found.exit_code == 10
    assert of(found, "select", "[sources.bank]").level == "ok"


# Read models ----------------------------------------------------------------------------------------------------------


def test_schemas_are_made_by_whoever_may(database: Database, patient: Patient) -> None:
    role = database.role(*FINE)
    found = patient.tables(role.env).diagnosis()
    assert {s for f in found.problems for s in f.statements} == {
        f'CREATE SCHEMA "reads" AUTHORIZATION "{role.name}";',
        f'CREATE SCHEMA "projection_runner" AUTHORIZATION "{role.name}";',
    }
    mended(database, found)
    assert patient.diagnosis().problems == ()
    allowed = database.role(*FINE, f"GRANT CREATE ON DATABASE {database.name} TO {{role}}")
    database.sql("DROP SCHEMA reads; DROP SCHEMA projection_runner")
    well = Patient(patient.root).tables(allowed.env).diagnosis()
    assert well.problems == ()
    assert {f.said for f in well.findings if f.check == "schema"} == {
        "reads, for the read models, is not there and will be made",
        "projection_runner, for the runner's own tables, is not there and will be made",
    }


def test_create_in_a_schema_of_others(database: Database, patient: Patient) -> None:
    database.sql("CREATE SCHEMA reads; CREATE SCHEMA projection_runner;")
    role = database.role(*FINE, "GRANT USAGE ON SCHEMA reads TO {role}")
    found = patient.tables(role.env).diagnosis()
    assert sorted(f.said for f in found.problems) == [
        f"{role.name} lacks CREATE on reads, for the read models",
        f"{role.name} lacks USAGE, CREATE on projection_runner, for the runner's own tables",
    ]
    mended(database, found)
    assert patient.diagnosis().problems == ()


def test_the_books_that_another_role_made(database: Database, patient: Patient) -> None:
    """To use the schema is not enough: a rebuild writes to its tables."""
    with connect(ConnectionSettings("[x]", url_env=database.env), "test", read_only=False) as connection:
        ensure(connection)
    role = database.role(*FINE, "GRANT USAGE, CREATE ON SCHEMA projection_runner TO {role}")
    database.sql(
        f"CREATE SCHEMA reads AUTHORIZATION {role.name}; GRANT SELECT ON projection_runner.loaded TO {role.name}"
    )
    found = patient.tables(role.env).diagnosis()
    (bad,) = found.problems
    assert bad.said.startswith(
        f"{role.name} lacks SELECT, INSERT, UPDATE, DELETE on projection_runner.tables; "
        "INSERT, UPDATE, DELETE on projection_runner.loaded"
    )
    with (
        connect(ConnectionSettings("[x]", url_env=role.env), "test", read_only=False) as connection,
        pytest.raises(ReadModelError) as refused,
    ):
        check_rights(connection, ["reads"])
    assert [sql.replace('"', "") for sql in bad.statements] == [refused.value.hint + ";"]
    mended(database, found)
    assert patient.diagnosis().problems == ()
    with connect(ConnectionSettings("[x]", url_env=role.env), "test", read_only=False) as connection:
        check_rights(connection, ["reads"])


def test_tables_to_be_replaced_or_written_in_place(database: Database, patient: Patient) -> None:
    role = database.role(*FINE)
    database.sql(
        f"CREATE SCHEMA reads AUTHORIZATION {role.name}; CREATE SCHEMA projection_runner AUTHORIZATION {role.name};"
        'CREATE TABLE reads.accounts (id text); CREATE TABLE reads."Orders" (id text);'
        f'GRANT SELECT, UPDATE ON reads."Orders" TO {role.name}'
    )
    patient.tables(role.env)
    patient.text += '[publish.accounts]\n[publish.orders]\ntable = "Orders"\npublish = "in-place"\n'
    patient.text += '[publish.missing]\npublish = "in-place"\n'
    found = patient.diagnosis()
    assert {(f.said, f.statements) for f in found.problems} == {
        (
            f"reads.accounts belongs to postgres, so {role.name} cannot put another in its place",
            (f'ALTER TABLE "reads"."accounts" OWNER TO "{role.name}";',),
        ),
        (
            f"{role.name} lacks INSERT, DELETE on reads.Orders",
            (f'GRANT SELECT, INSERT, UPDATE, DELETE ON "reads"."Orders" TO "{role.name}";',),
        ),
        ('there is no table reads.missing, and publish = "in-place" makes none', ()),
    }
    mended(database, found)
    assert len(patient.diagnosis().problems) == 1


def test_a_compared_table_needs_select_only(database: Database, patient: Patient) -> None:
    database.sql('CREATE SCHEMA app; CREATE TABLE app."Orders" (id text)')
    role = database.role(*FINE)
    patient.text += f'[compare.orders]\ntable = "Orders"\nschema = "app"\nurl_env = "{role.env}"\n'
    patient.text += '[compare.nowhere]\ntable = "x"\n'
    found = patient.diagnosis()
    assert {(f.place, f.check) for f in found.problems} == {
        ("[compare.orders]", "select"),
        ("[compare.nowhere]", "place"),
    }
    mended(database, found)
    assert [f.place for f in patient.diagnosis().problems] == ["[compare.nowhere]"]


def test_one_role_for_store_and_read_models_is_said(database: Database, patient: Patient) -> None:
    database.sql(BANK)
    role = database.role(*READ, f"GRANT CREATE ON DATABASE {database.name} TO {{role}}")
    assert of(patient.store(role.env).tables(role.env).diagnosis(), "roles").level == "warning"
    other = database.role(*READ)
    found = Patient(patient.root).store(other.env).tables(role.env).diagnosis()
    assert [f for f in found.findings if f.check == "roles"] == []


# Servers --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A socket's path is at most 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="rpp-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_pooler_in_transaction_mode_is_noticed(database: Database, patient: Patient, short_path: Path) -> None:
    needs_own(database)
    database.sql(BANK)
    role = database.role(*READ)
    with TransactionPooler(database.server.folder, short_path):
        env = database.in_environment(f"host={short_path} dbname={database.name} user={role.name}")
        assert pooling(ConnectionSettings("[x]", url_env=env)) == "transaction"
        found = patient.store(env).diagnosis()
    assert of(found, "pooler").level == "problem"
    assert "transaction mode" in of(found, "pooler").said
    assert [f.check for f in found.problems] == ["pooler"]
    assert pooling(ConnectionSettings("[x]", url_env=role.env)) == "none"


def test_a_role_with_few_connections(database: Database, patient: Patient) -> None:
    database.sql(BANK)
    role = database.role(*READ, attributes="CONNECTION LIMIT 2")
    found = patient.store(role.env, more="max_connections = 4").diagnosis()
    assert "the role may have 2 connections, and a run opens up to 5" in of(found, "connections").said
    assert of(found, "pooler").level == "warning"


def test_commits_that_do_not_last_at_once(database: Database, patient: Patient) -> None:
    role = database.role(*FINE, f"GRANT CREATE ON DATABASE {database.name} TO {{role}}")
    database.sql(f"ALTER ROLE {role.name} SET synchronous_commit = off")
    assert of(patient.tables(role.env).diagnosis(), "synchronous commit", "[read").level == "warning"
    database.sql(f"ALTER DATABASE {database.name} SET synchronous_commit = off; {BANK}")
    other = database.role(*READ, "ALTER ROLE {role} SET synchronous_commit = on")
    found = of(Patient(patient.root).store(other.env).diagnosis(), "synchronous commit")
    assert found.level == "note"
    assert f"all roles in {database.name}" in found.said


def test_a_standby(own_postgres: PostgresServer, patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    own_postgres.psql(BANK)
    own_postgres.stop()
    (own_postgres.data / "standby.signal").touch()
    own_postgres.start()
    monkeypatch.setenv("STANDBY_URL", own_postgres.url)
    found = patient.store("STANDBY_URL").tables("STANDBY_URL").diagnosis()
    assert of(found, "primary").level == "note"
    assert "settled by time" in of(found, "primary").said
    assert of(found, "primary", "[read").level == "problem"


def test_clocks_that_differ(database: Database, patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    now = time.time
    monkeypatch.setattr("runner.postgres.server.time.time", lambda: now() - 30)
    with connect(ConnectionSettings("[x]", url_env=database.env), "test") as connection:
        assert 29 < server_facts(connection, "[x]").clock_ahead < 31
    database.sql(BANK)
    assert of(patient.store(database.env).diagnosis(), "clock").level == "warning"


def test_a_full_disk_and_a_directory_that_is_none(
    database: Database, restored: Restored, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(database, "message_db")
    patient.store(database.env, "message-db")
    monkeypatch.setattr("runner.files.shutil.disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 100_000))
    found = patient.diagnosis()
    assert {f.place: f.level for f in found.findings if f.check == "disk"} == {
        "[log]": "problem",
        "[state]": "warning",
        "[read_models]": "warning",
    }
    assert found.exit_code == 1
    (patient.root / "state").write_text("a file")
    assert of(patient.diagnosis(), "directory", "[state]").level == "problem"


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_grants(
    database: Database, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    database.sql(BANK)
    role = database.role()
    patient.store(role.env).diagnosis()
    assert app.run(["doctor", "--config", str(patient.root / "runner.toml")]) == 10
    shown = capsys.readouterr().out
    assert f'\nGRANT SELECT ON "public"."bank_events" TO "{role.name}";\n' in shown
    assert "1 problem\n" in shown
    assert app.run(["doctor", "--json", "--config", str(patient.root / "runner.toml")]) == 10
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert len(said["statements"]["[sources.bank]"]) == 3
    assert said["servers"]["[sources.bank]"]["role"] == role.name
    assert {"place", "check", "level", "said", "statements"} == said["findings"][0].keys()


def test_an_overlay_is_looked_at_in_the_place_of_the_base(
    database: Database, patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    database.sql(BANK)
    patient.store("NO_SUCH").text += f'[env.prod.sources.bank]\nurl_env = "{database.env}"\n'
    with pytest.MonkeyPatch.context() as context:
        context.delenv("NO_SUCH", raising=False)
        patient.diagnosis()
        capsys.readouterr()
        config = ["--config", str(patient.root / "runner.toml"), "--json"]
        assert app.run(["doctor", *config]) == 10
        assert app.run(["--env", "prod", *config, "doctor"]) == 0
    assert capsys.readouterr().err == ""


def test_without_postgres_only_directories_are_looked_at(patient: Patient) -> None:
    found = patient.diagnosis()
    assert {f.check for f in found.findings} == {"disk"}
    assert found.exit_code == 0
