"""Tenants in one log: by schema, by column, with positions of their own; what stops one stops only that one."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from store_schemas import SCHEMAS
from stores_of_libraries import Project, read, store

from runner.errors import SourceError
from runner.log import Log
from runner.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

STREAM = "11111111-1111-1111-1111-111111111111"
INSERT = """
    INSERT INTO {table} (seq_id, stream_id, version, type, data, tenant_id)
    VALUES ({seq}, '{stream}', {version}, 'opened', '{data}', '{tenant}')"""


def counted(project: Project) -> dict[str, int]:
    """Events of each tenant in the log."""
    log = Log.open(project.config.log.path)
    return dict(Counter(log.places("store").column("tenant").to_pylist()))


def by_schema(database: Database, tenants: str, events: int = 3) -> None:
    for tenant in tenants:
        database.sql(f'CREATE SCHEMA "tenant_{tenant}"')
        create = SCHEMAS["marten"].format(id="uuid").replace("CREATE SEQUENCE ", f'CREATE SEQUENCE "tenant_{tenant}".')
        create = create.replace("OWNED BY ", f'OWNED BY "tenant_{tenant}".').replace(
            "CREATE TABLE ", f'CREATE TABLE "tenant_{tenant}".'
        )
        database.sql(create.replace(" ON mt_events", f' ON "tenant_{tenant}".mt_events'))
        for n in range(1, events + 1):
            table = f'"tenant_{tenant}".mt_events'
            database.sql(
                INSERT.format(table=table, seq=n, stream=STREAM, version=n, data='{"n": 1}', tenant="*DEFAULT*")
            )


def test_a_schema_each(database: Database, tmp_path: Path) -> None:
    """The same stream and position in two schemas stay apart."""
    by_schema(database, "aB")
    database.sql("CREATE SCHEMA other; CREATE TABLE other.mt_events (LIKE tenant_a.mt_events)")
    keys = {"preset": "marten", "url_env": database.env, "schemas": "tenant_*", "tail": "serialised"}
    project = Project(tmp_path, store=keys)
    assert project.sync().events == 6
    assert counted(project) == {"tenant_a": 3, "tenant_B": 3}
    tenants = project.mark()["tenants"]
    assert {name: mark["after"] for name, mark in tenants.items()} == {"tenant_a": [3], "tenant_B": [3]}
    database.sql(
        INSERT.format(table='"tenant_B".mt_events', seq=4, stream=STREAM, version=4, data="{}", tenant="*DEFAULT*")
    )
    assert project.sync().events == 1
    by_schema(database, "c", events=1)
    assert project.sync().events == 1
    assert counted(project) == {"tenant_a": 3, "tenant_B": 4, "tenant_c": 1}


@pytest.mark.parametrize("trouble", ["payload", "privilege", "column"])
def test_the_failure_of_one_schema(trouble: str, database: Database, tmp_path: Path) -> None:
    by_schema(database, "abc")
    grants = [f'GRANT USAGE ON SCHEMA "tenant_{t}" TO {{role}}' for t in "abc"]
    grants += [f'GRANT SELECT ON ALL TABLES IN SCHEMA "tenant_{t}" TO {{role}}' for t in "abc"]
    env, mend = database.env, ""
    match trouble:
        case "payload":
            database.sql("""UPDATE tenant_b.mt_events SET data = '[]' WHERE seq_id = 2""")
            mend, match = """UPDATE tenant_b.mt_events SET data = '{}' WHERE seq_id = 2""", "is not an object"
        case "privilege":
            role = database.role(*grants[:4], grants[5])
            env, mend, match = role.env, f"GRANT SELECT ON tenant_b.mt_events TO {role.name}", "permission denied"
        case _:
            database.sql("ALTER TABLE tenant_b.mt_events RENAME data TO daten")
            mend, match = "ALTER TABLE tenant_b.mt_events RENAME daten TO data", "lacks the columns data"
    keys = {"preset": "marten", "url_env": env, "schemas": "tenant_*", "tail": "serialised"}
    project = Project(tmp_path, store=keys)
    for _ in range(2):
        with pytest.raises(SourceError, match=f"1 tenant stopped, the others were read: tenant_b; tenant_b: .*{match}"):
            project.sync()
        found = counted(project)
        assert (found["tenant_a"], found["tenant_c"]) == (3, 3)
        assert found.get("tenant_b", 0) == (1 if trouble == "payload" else 0)
    database.sql(mend)
    project.sync()
    assert counted(project) == {"tenant_a": 3, "tenant_b": 3, "tenant_c": 3}


def column_of_tenants(database: Database, key: str) -> None:
    database.sql(SCHEMAS["marten"].format(id="uuid"))
    database.sql("DROP INDEX pk_mt_events_stream_and_version; ALTER TABLE mt_events DROP CONSTRAINT mt_events_pkey")
    database.sql(f"ALTER TABLE mt_events ADD PRIMARY KEY ({key})")


def test_positions_for_each_tenant(database: Database) -> None:
    """Marten with tenant partitioning: every tenant's positions begin at 1."""
    column_of_tenants(database, "seq_id, tenant_id")
    for tenant in ("red", "blue", "*DEFAULT*"):
        for n in (1, 2, 3):
            data = json.dumps({"t": tenant})
            row = {"seq": n, "stream": STREAM, "version": n, "data": data, "tenant": tenant}
            database.sql(INSERT.format(table="mt_events", **row))
    keys = {"preset": "marten", "tail": "serialised"}
    events, mark = read(database, **keys)
    assert Counter(e["tenant"] for e in events) == {"red": 3, "blue": 3, "": 3}
    assert {name: m["after"] for name, m in mark["tenants"].items()} == {"": [3], "blue": [3], "red": [3]}
    database.sql(INSERT.format(table="mt_events", seq=4, stream=STREAM, version=4, data="{}", tenant="blue"))
    events, _ = read(database, mark, **keys)
    assert [(e["tenant"], e["source_position_1"]) for e in events] == [("blue", 4)]


def test_positions_for_all_tenants(database: Database, tmp_path: Path) -> None:
    """One reading; a bad row stops its tenant, which is read on from there when it is mended."""
    column_of_tenants(database, "seq_id")
    versions: Counter[str] = Counter()

    def insert(first: int, last: int) -> None:
        for n in range(first, last + 1):
            tenant = ("red", "blue", "*DEFAULT*")[n % 3]
            versions[tenant] += 1
            row: dict[str, Any] = {"seq": n, "stream": STREAM, "version": versions[tenant], "tenant": tenant}
            database.sql(INSERT.format(table="mt_events", data="{}", **row))

    insert(1, 30)
    bad = "UPDATE mt_events SET data = '[]' WHERE seq_id = ANY ('{16,19,28}')"
    assert {16 % 3, 19 % 3, 28 % 3} == {1}
    database.sql(bad)
    keys = {"preset": "marten", "url_env": database.env, "tail": "serialised"}
    project = Project(tmp_path, store=keys)
    with pytest.raises(SourceError, match=r"1 tenant stopped.*: blue; blue: public\.mt_events: row at position 16"):
        project.sync()
    assert counted(project) == {"red": 10, "blue": 5, "": 10}
    insert(31, 33)
    database.sql("UPDATE mt_events SET data = '{}' WHERE seq_id IN (16, 19)")
    with pytest.raises(SourceError, match=r"blue: .* row at position 28"):
        project.sync()
    assert counted(project) == {"red": 11, "blue": 9, "": 11}
    (mark,) = project.mark()["tenants"].values()
    assert (mark["after"], mark["stopped"]) == ([33], {"blue": [25]})
    database.sql("UPDATE mt_events SET data = '{}'")
    assert project.sync().events == 2
    assert counted(project) == {"red": 11, "blue": 11, "": 11}
    assert project.mark()["tenants"][""]["stopped"] == {}
    assert project.sync().events == 0
    by_version = [e["version"] for e in project.events() if e["payload"] == {}]
    assert len(by_version) == 33


SHARED: dict[str, Any] = {
    "preset": "custom",
    "table": "events",
    "position": "pos",
    "aggregate_id": "stream",
    "type": "type",
    "tenant": "tenant",
    "payload": "data",
}
TABLE = "CREATE TABLE events (pos bigint PRIMARY KEY, stream text, type text, tenant text, data jsonb)"
BY_TIME = SHARED | {"tail": {"rule": "time", "grace": 0}}


def row(position: int, tenant: str, data: str = "{}") -> str:
    return f"INSERT INTO events VALUES ({position}, 's{position}', 't', '{tenant}', '{data}')"


def positions(project: Project) -> list[int]:
    log = Log.open(project.config.log.path)
    return sorted(log.places("store").column("source_position_1").to_pylist())


@pytest.mark.parametrize("mended_before", [True, False], ids=["mended", "still stopped"])
def test_a_late_row_of_a_stopped_tenant_comes_once(mended_before: bool, database: Database, tmp_path: Path) -> None:
    database.sql(TABLE)
    for n in range(1, 41):
        if n != 31:
            database.sql(row(n, "blue" if n % 3 == 1 else "red", "[]" if n == 16 else "{}"))
    project = Project(tmp_path, store={**BY_TIME, "url_env": database.env})
    mend = "UPDATE events SET data = '{}'"
    with pytest.raises(SourceError, match="blue"):
        project.sync()
    database.sql(row(31, "blue"))
    if mended_before:
        database.sql(mend)
    else:
        with pytest.raises(SourceError, match="blue"):
            project.sync()
        assert 31 not in positions(project), "the tenant's rows behind the bad one are to come with it"
        database.sql(mend)
    project.sync()
    project.sync()
    assert positions(project) == list(range(1, 41))


def test_a_stopped_tenant_is_read_no_further_than_the_others(database: Database) -> None:
    """A commit in the middle of a transaction: its other rows come with everyone's."""
    database.sql(TABLE + "; ALTER TABLE events ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()")
    rows = ";".join(row(n, "blue" if n % 2 else "red", "[]" if n == 3 else "{}") for n in range(1, 11))
    database.sql(rows.replace("INTO events", "INTO events (pos, stream, type, tenant, data)"))
    assert database.sql("SELECT count(DISTINCT tx::text) FROM events") == [(1,)]
    source = store(database, **{**SHARED, "position": ["tx", "pos"], "tail": "xid"})
    with closing(open_source(source)) as reader:
        with pytest.raises(SourceError, match="blue"):
            list(reader.pieces())
        mark = json.loads(json.dumps(reader.mark()))
    mine = mark["tenants"][""]
    mine["after"][-1] = 6
    assert mine["stopped"] == {"blue": [*mine["after"][:2], 2]}
    database.sql("UPDATE events SET data = '{}'")
    with closing(open_source(source, mark)) as reader:
        came = [p for piece in reader.pieces() for p in piece.events.column("source_position_1").to_pylist()]
    assert came == [3, 5, 7, 8, 9, 10]
