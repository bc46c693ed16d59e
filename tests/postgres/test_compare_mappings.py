"""Tables of all shapes beside one read model: types, casts, documents, enums, zones, tolerances, hostile values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from stores_of_libraries import Project, toml

from runner.cli.app import run
from runner.errors import ConfigError, CopyError, JobError, PostgresError, ReadModelError, RunnerError
from runner.jobs.comparing.compare import compare
from runner.jobs.rebuilding.rebuild import rebuild
from runner.sinks.read_models import ReadModels

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

BEGIN = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
NAMES = ["plain", "", "quote'\"s", "line\nbreak", "🎁 gift", "Ünï", "back\\slash", "%s {} :x"]
NATIVE = """
CREATE TABLE things (
    aggregate_id text PRIMARY KEY, number bigint, ratio double precision, ok boolean, name text, at timestamptz,
    day date, ref uuid, price numeric(12,3), level integer, note text, took interval, numbers bigint[]
)
"""
OTHER = """
CREATE SCHEMA "Od d";
CREATE TYPE "Od d"."Level" AS ENUM ('LOW', 'HIGH');
CREATE DOMAIN "Od d".money AS numeric;
CREATE TABLE "Od d"."Th""ings%s" (
    "The Id" varchar(50) NOT NULL, "Number" text, "rat;io" numeric, ok int, n char(20), "at ms" bigint,
    day timestamptz, ref text, price "Od d".money, "Level" "Od d"."Level", doc json, took bigint, ns text
)
"""
COLUMNS = {
    "aggregate_id": "The Id",
    "number": {"column": "Number", "cast": "bigint"},
    "ratio": {"column": "rat;io", "tolerance": "1e-9"},
    "ok": "ok",
    "name": {"column": "doc", "path": ["a.b", "näme"]},
    "at": {"column": "at ms", "cast": "epoch_ms", "time_precision": "ms"},
    "day": {"column": "day", "zone": "Europe/Berlin"},
    "ref": "ref",
    "price": "price",
    "level": {"column": "Level", "enum": "text"},
    "note": {"column": "doc", "path": "note"},
    "took": "took",
    "numbers": {"column": "ns"},
}


def events(count: int = 24) -> list[dict[str, Any]]:
    return [
        {
            "aggregate": f"t-{i % (count - 2)}",
            "kind": "Thing",
            "number": 2**62 + i if i == 3 else i - 5,
            "ratio": i / 7,
            "ok": i % 3 == 0,
            "name": NAMES[i % len(NAMES)],
            "at": (BEGIN + timedelta(hours=i, microseconds=1001 * i)).isoformat(),
            "day": f"2026-03-{i % 28 + 1:02}",
            "ref": str(UUID(int=i * 7919)),
            "price": float(f"{i * 1.125:.3f}"),
            "level": 7 if i % 2 else 1,
            "note": None if i % 4 else f"note {i}",
        }
        for i in range(count)
    ]


def project_of(folder: Path, database: Database, given: list[dict[str, Any]] | None = None, **keys: Any) -> Project:
    """A project over a file of events, compared with a table of the database at the log's end."""
    folder.mkdir(exist_ok=True)
    (folder / "events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in given or events()))
    source = {"files": "events.ndjson", "aggregate_id": "aggregate", "type": "kind", "recorded_at": "at"}
    project = Project(folder, "compare_kinds", things=source)
    settings = {"url_env": database.env, "table": "things", "progress": "log-end", **keys}
    with (folder / "runner.toml").open("a") as file:
        file.write("[compare.things]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in settings.items()))
    project.sync()
    return project


def rows_of(project: Project) -> list[dict[str, Any]]:
    rebuild(project.config, ["things"], prove=0)
    return list(project.rows("things").values())


def fill(database: Database, statement: str, rows: list[tuple[Any, ...]]) -> None:
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)  # type: ignore[arg-type]


def fill_native(database: Database, rows: list[dict[str, Any]]) -> None:
    columns = [
        "aggregate_id",
        "number",
        "ratio",
        "ok",
        "name",
        "at",
        "day",
        "ref",
        "price",
        "level",
        "note",
        "took",
        "numbers",
    ]
    values = ", ".join(["%s"] * len(columns))
    fill(
        database,
        f"INSERT INTO things ({', '.join(columns)}) VALUES ({values})",
        [tuple(r[c] for c in columns) for r in rows],
    )


def patterns(project: Project, **options: Any) -> list[tuple[str, str, str, int]]:
    (table,) = compare(project.config, ["things"], **options).tables
    return [(g.column, g.pattern, g.detail, g.rows) for g in table.groups]


def test_columns_of_their_own_types(each_database: Database, tmp_path: Path) -> None:
    project = project_of(tmp_path, each_database)
    each_database.sql(NATIVE)
    fill_native(each_database, rows_of(project))
    assert patterns(project) == []
    more = "numbers = numbers || 5::bigint, took = took + interval '1 day'"
    each_database.sql(f"UPDATE things SET {more} WHERE number BETWEEN 1 AND 4")
    assert patterns(project) == [
        ("took", "off by a constant", "+86400000000", 4),
        ("numbers", "more elements there", "", 4),
    ]


def fill_other(database: Database, rows: list[dict[str, Any]]) -> None:
    fill(
        database,
        'INSERT INTO "Od d"."Th""ings%%s" VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)',
        [
            (
                r["aggregate_id"],
                f" {r['number']} " if r["number"] % 2 else str(r["number"]),
                r["ratio"],
                int(r["ok"]),
                "x",
                int(r["at"].timestamp() * 1000),
                datetime(r["day"].year, r["day"].month, r["day"].day, 0, 30) - timedelta(hours=0),  # noqa: DTZ001
                str(r["ref"]).upper(),
                r["price"],
                "HIGH" if r["level"] == 7 else "LOW",
                json.dumps({"a.b": {"näme": r["name"]}, **({"note": r["note"]} if r["note"] else {})}),
                r["took"] // timedelta(microseconds=1),
                json.dumps(r["numbers"]),
            )
            for r in rows
        ],
    )


def test_columns_of_other_types_through_a_mapping(database: Database, tmp_path: Path) -> None:
    project = project_of(tmp_path, database, table='Th"ings%s', schema="Od d", columns=COLUMNS)
    database.sql(OTHER)
    with database.connect() as connection:
        connection.execute("ALTER DATABASE " + database.name + " SET TimeZone = 'Europe/Berlin'")
    fill_other(database, rows_of(project))
    assert patterns(project) == []


def test_numbers_that_are_none_and_times_without_end(database: Database, tmp_path: Path) -> None:
    project = project_of(tmp_path, database)
    database.sql(NATIVE)
    fill_native(database, rows_of(project))
    database.sql(
        "ALTER TABLE things ALTER price TYPE numeric; UPDATE things SET price = 'NaN' WHERE aggregate_id = 't-5'"
    )
    database.sql("UPDATE things SET price = 1e30 WHERE aggregate_id = 't-6'")
    database.sql("UPDATE things SET ratio = 'NaN' WHERE aggregate_id = 't-7'")
    assert patterns(project) == [
        ("ratio", "not a number on one side", "", 1),
        ("price", "no number there", "such as 1000000000000000000000000000000", 2),
    ]
    database.sql("UPDATE things SET at = 'infinity' WHERE aggregate_id = 't-8'")
    with pytest.raises(CopyError, match=r"column at, row \d+.*infinite = "):
        compare(project.config, ["things"])
    again = project_of(tmp_path, database, columns={"at": {"column": "at", "infinite": "null"}})
    assert ("at", "null there", "", 1) in patterns(again)


NINES = {"1": 9, "7": 63}
TOLERANCES = [
    ({"numeric_scale": 2}, "UPDATE things SET price = round(price, 2)", []),
    ({}, "UPDATE things SET price = round(price, 2)", [("price", "rounded", "to 2 places", 11)]),
    ({}, "UPDATE things SET price = trunc(price, 2)", [("price", "truncated", "to 2 places", 11)]),
    ({"time_precision": "ms"}, "UPDATE things SET at = date_trunc('milliseconds', at)", []),
    ({"time_precision": "s"}, "UPDATE things SET at = at + '1 s'", [("at", "off by a constant", "+1.0 s", 22)]),
    ({}, "UPDATE things SET at = at - interval '90 minutes'", [("at", "time zone shift", "-01:30", 22)]),
    ({}, "UPDATE things SET note = '' WHERE note IS NULL", [("note", "default there, null here", "", 17)]),
    ({"ignore": ["price", "at"]}, "UPDATE things SET price = 1, at = now()", []),
    ({"filter": "aggregate_id <> 't-9'"}, "UPDATE things SET number = 1", None),
    ({"columns": {"name": {"column": "name", "trim": True}}}, "UPDATE things SET name = name || '  '", []),
    ({"columns": {"level": {"column": "level", "values": NINES}}}, "UPDATE things SET level = 9 * level", []),
    ({}, "UPDATE things SET level = level * 10", [("level", "another unit", "times 10", 22)]),
    ({}, "UPDATE things SET day = day + 1", [("day", "off by a constant", "+1 days", 22)]),
    ({}, "UPDATE things SET ratio = ratio::real", [("ratio", "single precision", "", 19)]),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "change", "wanted"), TOLERANCES)
def test_tolerances_filters_and_what_is_ignored(
    keys: dict[str, Any], change: str, wanted: list[Any] | None, database: Database, tmp_path: Path
) -> None:
    project = project_of(tmp_path, database, **keys)
    database.sql(NATIVE)
    fill_native(database, rows_of(project))
    database.sql(change)
    found = patterns(project)
    if wanted is None:
        assert ("", "missing there", "", 1) in found
    else:
        assert found == wanted


def test_rows_of_one_key(database: Database, tmp_path: Path) -> None:
    project = project_of(tmp_path, database)
    database.sql(NATIVE.replace(" PRIMARY KEY", ""))
    fill_native(database, rows_of(project))
    database.sql("INSERT INTO things SELECT * FROM things WHERE aggregate_id IN ('t-1', 't-2')")
    (table,) = compare(project.config, ["things"]).tables
    (group,) = table.groups
    assert (group.pattern, group.detail, group.rows) == ("several rows of one key there", "2 keys", 4)
    assert table.equal == table.rows_here - 2


WRONG: list[tuple[dict[str, Any], type[RunnerError], str]] = [
    ({"table": "thing"}, ConfigError, r"there is no table thing"),
    ({"table": "Things"}, ConfigError, r"there is no table Things.*there is public.things"),
    ({"columns": {"nmber": "number"}}, ConfigError, r"things has no column 'nmber' \(did you mean number\?\)"),
    ({"columns": {"number": "numbr"}}, ConfigError, r"public.things has no column 'numbr' .*did you mean number"),
    ({"ignore": ["aggregate_id"]}, ConfigError, "aggregate_id is a key column, which cannot be ignored"),
    ({"filter": "no_such_column = 1"}, PostgresError, "no_such_column"),
    ({"filter": "1 = 1) OR (true"}, ConfigError, "compare.things.filter has brackets that do not match"),
    ({"progress": {"sql": "SELECT 1 WHERE false"}}, JobError, "no progress to read"),
    ({"progress": {"sql": "SELECT 'x'"}}, ConfigError, "holds 'x', which is no position"),
    ({"progress": {"preset": "marten", "name": "Things:All"}}, ConfigError, "no table mt_event_progression"),
    ({"progress": "inline"}, ConfigError, "source things is files"),
    ({"progress": {"sql": "SELECT 0"}}, JobError, "nothing of the log lies up to"),
    ({"columns": {"number": {"column": "number", "enum": "text"}}}, ConfigError, "enum is for Enum and Literal fields"),
]


@pytest.mark.parametrize(("keys", "error", "match"), WRONG)
def test_what_cannot_be_compared(
    keys: dict[str, Any], error: type[RunnerError], match: str, database: Database, tmp_path: Path
) -> None:
    database.sql(NATIVE)
    with pytest.raises(error, match=match):
        compare(project_of(tmp_path, database, **keys).config, ["things"])


def test_a_role_without_select_is_told_the_grant(database: Database, tmp_path: Path, capsys: Any) -> None:
    role = database.role()
    project = project_of(tmp_path, database, url_env=role.env)
    database.sql(NATIVE)
    with pytest.raises((ReadModelError, PostgresError), match=r"GRANT SELECT ON .public.\..things. TO"):
        compare(project.config, ["things"])
    assert run(["compare", "nothing", "--config", str(project.folder / "runner.toml")]) == 2
    assert "there is no [compare.nothing]" in capsys.readouterr().err


def test_tenants_and_keys_of_several_parts(database: Database, tmp_path: Path) -> None:
    """Identity columns and child keys are key columns like any; samples say which tenant to explain."""
    given = [{**e, "tenant": f"t{i % 2}", "aggregate": f"a-{i % 5}"} for i, e in enumerate(events())]
    tmp_path.joinpath("events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in given))
    source = {"files": "events.ndjson", "aggregate_id": "aggregate", "type": "kind", "recorded_at": "at"}
    project = Project(tmp_path, "compare_kinds", things={**source, "tenant": "tenant"})
    keys = {"url_env": database.env, "progress": "log-end", "ignore": ["took"]}
    columns = {"source": {"constant": "things"}, "tenant": "Tenant Id"}
    with (project.folder / "runner.toml").open("a") as file:
        for name, table in (("things", "things"), ("levels", "levels")):
            mapped = {**keys, "table": table, "columns": columns if name == "things" else {}}
            if name == "levels":
                mapped.pop("ignore")
            file.write(f"[compare.{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in mapped.items()))
    project.sync()
    rebuild(project.config, ["things", "levels"], prove=0)
    database.sql(NATIVE.replace(" PRIMARY KEY,", ', "Tenant Id" text,'))
    database.sql("CREATE TABLE levels (level int, count numeric, largest float8)")
    models = ReadModels(project.config.read_models.path)
    rows = models.table("things").to_pylist()
    assert len({(r["tenant"], r["aggregate_id"]) for r in rows}) == len(rows) > 5
    names = ["aggregate_id", "tenant", *[n for n in rows[0] if n not in ("source", "tenant", "aggregate_id")]]
    places = ", ".join(["%s"] * len(names))
    quoted = ", ".join('"Tenant Id"' if n == "tenant" else n for n in names)
    fill(database, f"INSERT INTO things ({quoted}) VALUES ({places})", [tuple(r[n] for n in names) for r in rows])
    levels = models.table("levels").to_pylist()
    fill(database, "INSERT INTO levels VALUES (%s, %s, %s)", [tuple(r.values()) for r in levels])
    assert compare(project.config).same
    database.sql("UPDATE things SET number = 70 WHERE \"Tenant Id\" = 't1' AND aggregate_id = 'a-2'")
    database.sql("UPDATE levels SET count = count * 10 WHERE level = 7")
    things, level = compare(project.config).tables
    (sample,) = things.groups[0].samples
    assert sample.key == {"source": "things", "tenant": "t1", "aggregate_id": "a-2"}
    assert sample.explain == f"runner explain things --source=things --tenant=t1 --to={len(given)} a-2"
    assert run([*sample.explain.split()[1:], "--config", str(project.folder / "runner.toml")]) == 0
    (group,) = level.groups
    assert (group.column, group.words, group.samples[0].key) == ("count", "another unit (times 10)", {"level": "7"})
