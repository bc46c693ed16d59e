"""Roles that may not do all of it get one line with the GRANT; roles that may do just that need no more."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema

from runner.errors import ReadModelError
from runner.testing.read_model_rows import keyed_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Role

SHAPE = keyed_shape()
ROWS = {("a",): (1, "x"), ("b",): (2, "y")}


def _refused(published: Published) -> ReadModelError:
    with pytest.raises(ReadModelError) as caught:
        published.tables.check([SHAPE])
    assert "\n" not in str(caught.value)
    return caught.value


def _granted(database: Database, error: ReadModelError) -> None:
    """Do what the line says."""
    database.sql(error.hint)


def test_the_grants_that_are_said_are_those_that_are_needed(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    database.sql(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")
    role = database.role()
    published = Published(tmp_path / "read_models", role.env)
    error = _refused(published)
    for grant in (
        f"GRANT USAGE, CREATE ON SCHEMA reads TO {role.name}",
        f"GRANT TEMPORARY ON DATABASE {database.name} TO {role.name}",
        f"CREATE SCHEMA projection_runner AUTHORIZATION {role.name}",
    ):
        assert grant in str(error)
    _granted(database, error)
    published.rebuild(SHAPE, ROWS)
    published.update(SHAPE, {("c",): (3, "z")})
    published.rebuild(SHAPE, ROWS, 3)
    published.tables.rollback(published.models.rollback("accounts"))
    assert published.tables.drop_former({"accounts": [1]}) == ("reads.accounts__v2",)
    assert database.sql("SELECT count(*) FROM reads.accounts") == [(3,)]


def test_a_schema_that_is_not_there(database: Database, tmp_path: Path) -> None:
    published = Published(tmp_path / "read_models", database.env, schema='No "such"')
    error = _refused(published)
    assert 'CREATE SCHEMA "No ""such""" AUTHORIZATION ' in error.hint


def test_users_read_the_checkpoint_and_nothing_else(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    Published(tmp_path / "read_models", database.env).rebuild(SHAPE, ROWS, 7)
    role = database.role()
    reader = Published(tmp_path / "read_models", role.env)
    assert reader.tables.states()["accounts"].position == 7
    assert _refused(reader).hint.count("GRANT") == 2
    database.sql(f"GRANT SELECT ON reads.accounts TO {role.name}")


BELONGS = {
    "table": ("ALTER TABLE reads.accounts OWNER TO {other}", "the table"),
    "view": (
        "CREATE VIEW public.v AS SELECT * FROM reads.accounts; ALTER VIEW v OWNER TO {other}", "view public.v",
    ),
    "publication": (
        (
            "CREATE PUBLICATION p FOR TABLE reads.accounts; GRANT CREATE ON DATABASE {database} TO {other};"
            "ALTER PUBLICATION p OWNER TO {other}"
        ),
        "publication p",
    ),
    "function": (
        (
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM reads.accounts; END;"
            "ALTER FUNCTION f() OWNER TO {other}"
        ),
        r"function public\.f\(\)",
    ),
    "foreign key": (
        "CREATE TABLE cards (a text REFERENCES reads.accounts); ALTER TABLE cards OWNER TO {other}",
        "foreign key .* of public.cards",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BELONGS)
def test_what_belongs_to_others_is_said_with_the_grant(name: str, database: Database, tmp_path: Path) -> None:
    made, said = BELONGS[name]
    with_schema(database)
    role, other = _runner(database), database.role().name
    published = Published(tmp_path / "read_models", role.env)
    shape = replace(SHAPE, required=("aggregate_id",))
    published.rebuild(shape, ROWS)
    database.sql(f"GRANT CREATE ON SCHEMA reads, public TO {other}")
    database.sql(made.format(other=other, database=database.name))
    with pytest.raises(ReadModelError, match=said) as caught:
        published.tables.check([shape])
    grant = re.search(r"GRANT \w+ TO \w+", str(caught.value))
    assert grant is not None
    assert grant[0] == f"GRANT {other} TO {role.name}"
    database.sql(grant[0])
    published.rebuild(shape, {**ROWS, ("c",): (3, "")}, 2)
    assert database.sql("SELECT count(*) FROM reads.accounts") == [(3,)]


def test_forced_row_level_security_hides_rows_from_the_runner_too(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    role = _runner(database)
    published = Published(tmp_path / "read_models", role.env)
    published.rebuild(SHAPE, ROWS)
    database.sql(
        "ALTER TABLE reads.accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON reads.accounts USING (balance > 1)"
    )
    error = _refused(published)
    assert "BYPASSRLS" in str(error)
    database.sql(f"ALTER ROLE {role.name} BYPASSRLS")
    published.rebuild(SHAPE, {("a",): (1, "x"), ("b",): (0, "y")}, 2)
    published.update(SHAPE, {("a",): (-5, "x")}, position=3)
    assert database.sql("SELECT balance FROM reads.accounts ORDER BY 1") == [(-5,), (0,)]


def test_a_table_of_the_applications_is_not_replaced(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env)
    for made in ("CREATE TABLE reads.accounts (a int)", "CREATE VIEW reads.accounts AS SELECT 1 AS a"):
        database.sql(made)
        assert "reads.accounts is not a table of the runner's" in str(_refused(published))
        database.sql(f"DROP {made.split()[1]} reads.accounts")
    published.tables.check([SHAPE])


def _runner(database: Database) -> Role:
    role = database.role("GRANT CREATE, USAGE ON SCHEMA reads, public TO {role}")
    database.sql(f"CREATE SCHEMA projection_runner AUTHORIZATION {role.name}")
    return role
