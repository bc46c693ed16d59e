"""``runner init`` of event stores in Postgres: recognised, sampled, written; then sync and rebuild as they are told."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_schemas import SCHEMAS

from runner.cli.app import run as command_line
from runner.config import load_config, load_definitions
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from fixtures_postgres import Database, Restored

HOSTILE = r'''
CREATE SCHEMA "My ""Schema"""; SET search_path = "My ""Schema""";
CREATE TABLE "Bank.Events" (originator_id uuid NOT NULL, originator_version bigint NOT NULL, topic text NOT NULL,
    state bytea NOT NULL, notification_id bigserial PRIMARY KEY);
INSERT INTO "Bank.Events" (originator_id, originator_version, topic, state) VALUES
    (gen_random_uuid(), 1, E'a"b:\n\U0001F600.class',
     convert_to('{"class": 1, "a b": [true], "\u00e4": "x", "": 1, "1": null}', 'UTF8')),
    (gen_random_uuid(), 1, 'import', '{"import": 1.5}')
'''
BANK = ("--schema", "public", "--table")
STORES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "BankPlain": ("eventsourcing", (*BANK, "bankplain_events"), 200),
    "BankZlib": ("eventsourcing", (*BANK, "bankzlib_events"), 0),
    "BankTextIds": ("eventsourcing", ("--schema", "textids"), 0),
    "Emmett": ("emmett", (), 1_076),
    "MessageDb": ("message_db", (), 1_243),
}
HOOKED = {
    "BankAes": ("eventsourcing", (*BANK, "bankaes_events"), "decrypted"),
    "BankZlibAes": ("eventsourcing", (*BANK, "bankzlibaes_events"), "decrypted"),
    "Courses": ("eventsourcing_dcb", (), "unpacked"),
}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives a command line in a fresh folder, as a user would; without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delenv("STORE_URL", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def given(*arguments: str) -> Done:
        capsys.readouterr()
        code = command_line(list(arguments))
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return given


def works(run: Run) -> dict[str, Any]:
    """What init says comes next does what it says; the first read model's rows by aggregate."""
    for command in (("sync",), ("rebuild", "--all")):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    config = load_config(Path("runner.toml"))
    table = ReadModels(config.read_models.path).table("summary")
    return {row["aggregate_id"]: row for row in table.to_pylist()}


@pytest.mark.parametrize("store", STORES)
def test_each_dump(store: str, database: Database, restored: Restored, run: Run, tmp_path: Path) -> None:
    dump, options, aggregates = STORES[store]
    restored(database, dump)
    done = run("init", "--url-env", database.env, *options)
    assert done.returncode == 0, done.stderr
    assert "next: " in done.stdout
    rows = works(run)
    assert len(rows) == aggregates or not aggregates
    config = load_config(tmp_path / "runner.toml")
    (source,) = config.sources.values()
    assert source.connection.url_env == database.env  # type: ignore[union-attr]  # of Postgres
    (definition,) = load_definitions(config)
    events = sum(row["events"] for row in rows.values())
    (rows_there,) = database.sql(f"SELECT count(*) FROM {_table(store)}")
    assert events == rows_there[0]
    assert definition.compiled


def _table(store: str) -> str:
    return {
        "BankPlain": "bankplain_events",
        "BankZlib": "bankzlib_events",
        "BankTextIds": "textids.banktextids_events",
        "Emmett": "emt_messages",
        "MessageDb": "message_store.messages",
    }[store]


def test_event_classes_have_the_fields_of_the_payloads(
    database: Database, restored: Restored, run: Run, tmp_path: Path
) -> None:
    restored(database, "eventsourcing")
    assert run("init", "--url-env", database.env, *STORES["BankPlain"][1]).returncode == 0
    text = (tmp_path / "events.py").read_text()
    assert 'class Deposited(Event, type="eventsourcing_py_bank:BankAccount.Deposited"):' in text
    assert '    amount: Decimal = field("amount._data_", scale=' in text
    assert '    address_tags: list[str] = field("address.tags")' in text or "    tags: list[str]" in text
    assert "_type_" not in text


def test_lists_of_records(database: Database, run: Run, tmp_path: Path) -> None:
    database.sql(SCHEMAS["eventuous"])
    database.sql("INSERT INTO streams (stream_name) VALUES ('order-1')")
    lines = json.dumps({"lines": [{"product": "a", "quantity": 2}, {"product": "b", "quantity": 1}], "tags": ["x"]})
    for number in range(3):
        database.sql(
            "INSERT INTO messages (message_type, stream_id, stream_position, json_data, created) "
            f"VALUES ('V1.Placed', 1, {number}, '{lines}', now())"
        )
    assert run("init", "--url-env", database.env).returncode == 0
    text = (tmp_path / "events.py").read_text()
    assert "    lines: list[Line]" in text
    assert "    tags: list[str]" in text
    assert len(works(run)) == 1


@pytest.mark.parametrize("store", HOOKED)
def test_payloads_that_need_a_hook(
    store: str, database: Database, restored: Restored, run: Run, tmp_path: Path
) -> None:
    dump, options, hook = HOOKED[store]
    restored(database, dump)
    done = run("init", "--url-env", database.env, *options)
    assert done.returncode == 5
    assert "neither JSON nor zlib" in done.stderr
    assert "--decode module:function" in done.stderr
    assert not (tmp_path / "runner.toml").exists()
    decode = f"test_store_dumps:{hook}"
    done = run("init", "--url-env", database.env, *options, "--decode", decode)
    assert done.returncode == 0, done.stderr
    assert works(run)
    (source,) = tomllib.loads((tmp_path / "runner.toml").read_text())["sources"].values()
    assert source["decode"] == decode
    assert sorted(source.get("aggregates", [])) == (["course-", "student-"] if store == "Courses" else [])


def test_several_stores_without_a_terminal(database: Database, restored: Restored, run: Run, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    done = run("init", "--url-env", database.env)
    assert done.returncode == 2
    for name in ("public.bankplain_events", "textids.banktextids_events", "--schema public|textids", "--table"):
        assert name in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_several_stores_on_a_terminal(database: Database, restored: Restored, run: Run, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "runner", "init", "--url-env", database.env],
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    try:
        os.write(ours, b"5\n")
        _, said = asking.communicate(timeout=120)
    finally:
        os.close(ours)
    assert asking.returncode == 0, said
    assert "5  eventsourcing (Python) in textids.banktextids_events" in said
    (source,) = tomllib.loads((tmp_path / "runner.toml").read_text())["sources"].values()
    assert (source["schema"], source["table"]) == ("textids", "banktextids_events")


def test_a_literal_url_is_written_nowhere(database: Database, restored: Restored, run: Run, tmp_path: Path) -> None:
    restored(database, "message_db")
    url = f"{database.url}&password=s3cr3t-w0rd" if "?" in database.url else database.url
    done = run("init", url)
    assert done.returncode == 0, done.stderr
    assert "history" in done.stderr
    assert "STORE_URL" in done.stderr
    for text in (done.stdout, done.stderr, *(f.read_text() for f in tmp_path.iterdir() if f.is_file())):
        assert "s3cr3t" not in text
        assert "postgresql://" not in text
    assert len(works(run)) == 1_243


def test_tenants_by_schema(database: Database, run: Run, tmp_path: Path) -> None:
    for tenant in ("tenant_a", "tenant_b"):
        database.sql(f"CREATE SCHEMA {tenant}; SET search_path = {tenant}; {SCHEMAS['eventuous']}")
        database.sql(f"INSERT INTO {tenant}.streams (stream_name) VALUES ('order-1')")
        database.sql(
            f"INSERT INTO {tenant}.messages (message_type, stream_id, stream_position, json_data, created) "
            "VALUES ('Placed', 1, 0, '{\"total\": 5}', now())"
        )
    assert run("init", "--url-env", database.env).returncode == 2
    done = run("init", "--url-env", database.env, "--schema", "tenant_*")
    assert done.returncode == 0, done.stderr
    (source,) = tomllib.loads((tmp_path / "runner.toml").read_text())["sources"].values()
    assert source["schemas"] == "tenant_*"
    works(run)
    table = ReadModels(load_config(tmp_path / "runner.toml").read_models.path).table("summary")
    assert sorted(table.column("tenant").to_pylist()) == ["tenant_a", "tenant_b"]


def test_hostile_names(database: Database, run: Run, tmp_path: Path) -> None:
    """Quoted schema and table, and a type and keys of payloads that are no names in Python."""
    database.sql(HOSTILE)
    done = run("init", "--url-env", database.env)
    assert done.returncode == 0, done.stderr
    (source,) = tomllib.loads((tmp_path / "runner.toml").read_text())["sources"].values()
    assert (source["schema"], source["table"]) == ('My "Schema"', "Bank.Events")


CUSTOM = {
    "two columns name the stream": (
        """
        CREATE SCHEMA "Shop App";
        CREATE TABLE "Shop App"."EventLog" (
            "seqNo" int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, "streamType" text, "streamId" int, "eventVersion" int,
            "eventType" text, "payLoad" jsonb, "createdAt" timestamptz DEFAULT now(),
            UNIQUE ("streamType", "streamId", "eventVersion"));
        INSERT INTO "Shop App"."EventLog" ("streamType", "streamId", "eventVersion", "eventType", "payLoad")
        SELECT 'Order', n % 7, n / 7, 'Placed' || n % 2, CASE WHEN n % 5 > 0 THEN jsonb_build_object('n', n) END
        FROM generate_series(7, 60) n""",
        "EventLog",
        {
            "schema": "Shop App",
            "position": "seqNo",
            "aggregate_id": ["streamType", "streamId"],
            "tail": "gaps",
            "version": "eventVersion",
            "type": "eventType",
            "recorded_at": "createdAt",
            "payload": "payLoad",
        },
        "Order/1",
    ),
    "one column holds all": (
        """
        CREATE TABLE data (n int PRIMARY KEY, data jsonb);
        INSERT INTO data SELECT n, jsonb_build_object('type', 'T' || n % 2, 'id', 'a' || n % 3, 'at', n + 1700000000,
            'rev', n / 3) FROM generate_series(3, 30) n""",
        "data",
        {
            "schema": "public",
            "position": "n",
            "aggregate_id": "data.id",
            "version": "data.rev",
            "tail": "time",
            "type": "data.type",
            "recorded_at": {"path": "data.at", "format": "epoch"},
            "payload": "data",
        },
        "a1",
    ),
    "transactions order the rows": (
        """
        CREATE TABLE e (tx xid8 DEFAULT pg_current_xact_id(), id bigserial, s text, v int, kind text, d json,
            PRIMARY KEY (tx, id), UNIQUE (s, v));
        INSERT INTO e (s, v, kind, d) SELECT 'a' || n % 3, n / 3, 'T', '{}' FROM generate_series(3, 20) n""",
        "e",
        {
            "schema": "public",
            "position": ["tx", "id"],
            "aggregate_id": "s",
            "version": "v",
            "tail": "xid",
            "type": "kind",
            "payload": "d",
        },
        "a1",
    ),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_a_table_that_is_no_known_store(name: str, database: Database, run: Run, tmp_path: Path) -> None:
    sql, table, keys, aggregate = CUSTOM[name]
    database.sql(sql)
    done = run("init", "--url-env", database.env, "--preset", "custom", "--table", table)
    assert done.returncode == 0, done.stderr
    (source,) = tomllib.loads((tmp_path / "runner.toml").read_text())["sources"].values()
    assert source == {"preset": "custom", "url_env": database.env, "table": table, **keys}
    if keys["tail"] != "time":
        assert aggregate in works(run)


@pytest.mark.parametrize("rows", [10_000, 10_100, 18_000, 60_000])
def test_no_row_is_counted_twice(rows: int, database: Database, run: Run) -> None:
    """The places that are looked at lie close together in a small store, and behind its first rows."""
    database.sql(
        "CREATE TABLE e (id bigserial PRIMARY KEY, s text, v int, kind text, d json, UNIQUE (s, v));"
        "INSERT INTO e (s, v, kind, d) "
        f"SELECT 'a' || n % 50, n / 50, CASE WHEN n > {rows - 30} THEN 'Late' ELSE 'T' END, '{{}}' "
        f"FROM generate_series(1, {rows}) AS n"
    )
    done = run("init", "--url-env", database.env, "--preset", "custom", "--table", "e", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["types"]["Late"] == 30
    # Rows, not readings of them: each place gives 250 where the next is not nearer.
    assert said["events_sampled"] == sum(said["types"].values()) == {18_000: 14_500, 60_000: 18_500}.get(rows, rows)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("init",), 2, "--url-env NAME"),
        (("init", "x.ndjson", "--url-env", "X"), 2, "--url-env NAME"),
        (("init", "x.ndjson", "--preset", "emmett"), 2, "are for a store in Postgres"),
        (("init", "--url-env", "NOT_SET_ANYWHERE"), 2, "NOT_SET_ANYWHERE is not set"),
        (("init", "postgresql://user:s3cr3t@localhost:1/nothing"), 10, "STORE_URL"),
    ],
)
def test_what_is_wrong(arguments: tuple[str, ...], code: int, says: str, run: Run, tmp_path: Path) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "s3cr3t" not in done.stderr


def test_no_known_store(database: Database, run: Run, tmp_path: Path) -> None:
    database.sql("CREATE TABLE something (id int)")
    done = run("init", "--url-env", database.env)
    assert done.returncode == 5
    assert 'preset = "custom"' in done.stderr
    done = run("init", "--url-env", database.env, "--preset", "emmet")
    assert done.returncode == 2
    assert "emmett" in done.stderr
    for table, code, says in (
        ("", 2, "needs --table"),
        ("Something", 2, "no tables are called"),
        ("something", 5, "no"),
    ):
        done = run("init", "--url-env", database.env, "--preset", "custom", "--table", table)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    database.sql("INSERT INTO something VALUES (1)")
    done = run("init", "--url-env", database.env, "--preset", "custom", "--table", "something")
    assert done.returncode == 2
    assert "hold aggregate_id, type, payload cannot be told" in done.stderr
