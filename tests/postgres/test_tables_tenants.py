"""Several tenants: one table with the tenant in its key, or a table in each tenant's schema, switched together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema

from runner.config.postgres import PublishConfig
from runner.errors import PostgresTimeout, ReadModelError
from runner.sinks.postgres.port import SwitchTimeouts
from runner.testing.read_model_rows import child_shape, merged_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database

    from runner.sinks.shape import Shape

TENANTS = ("t", 'U "2"')
SHAPE: Shape = replace(
    child_shape("lines"), scopes=tuple(("s", t) for t in TENANTS), required=("source", "tenant", "aggregate_id")
)


def _rows(number: int, tenants: tuple[str, ...] = TENANTS) -> dict[tuple[str | None, ...], tuple[int]]:
    # The same aggregate id and key in each tenant.
    return {("s", t, a, sku): (number + i,) for i, t in enumerate(tenants) for a in "abc" for sku in ("x", None)}


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Published:
    with_schema(database, "reads", *TENANTS)
    return Published(tmp_path / "read_models", database.env)


def _shown(database: Database, tenant: str) -> list[tuple[object, ...]]:
    schema = '"' + tenant.replace('"', '""') + '"'
    return database.sql(f"SELECT aggregate_id, sku, n FROM {schema}.lines ORDER BY 1, 2")


def test_one_table_with_the_tenant_in_its_key(published: Published, database: Database) -> None:
    published.rebuild(SHAPE, _rows(1))
    published.update(SHAPE, {("s", "t", "a", None): (50,)}, [("s", TENANTS[1], "a", None)])
    assert database.sql("SELECT tenant, n FROM reads.lines WHERE aggregate_id = 'a' AND sku IS NULL") == [("t", 50)]
    with pytest.raises(Exception, match="duplicate key"):
        database.sql("INSERT INTO reads.lines SELECT * FROM reads.lines WHERE sku IS NULL")


def test_a_table_in_each_tenants_schema(published: Published, database: Database) -> None:
    published.publish["lines"] = PublishConfig("lines", per_tenant_schema=True)
    published.rebuild(SHAPE, _rows(1))
    state = published.tables.states()["lines"]
    assert [place.schema for place in state.places] == sorted(TENANTS)
    for i, tenant in enumerate(TENANTS):
        assert _shown(database, tenant) == [(a, sku, 1 + i) for a in "abc" for sku in ("x", None)]
    assert database.sql(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 't.lines'::regclass AND attname = 'tenant'"
    ) == [(0,)]
    published.update(SHAPE, {("s", "t", "a", None): (50,)}, [("s", TENANTS[1], "a", None)])
    assert ("a", None, 50) in _shown(database, "t")
    assert len(_shown(database, TENANTS[1])) == 5
    # All or none: one tenant's reader holds all of them up.
    with published.built(SHAPE, _rows(10), 3) as built:
        table = published.tables.load(built.version)
        with database.connect() as reader, reader.transaction():
            reader.execute("SELECT * FROM t.lines")
            with pytest.raises(PostgresTimeout):
                published.tables.switch([table], timeouts=SwitchTimeouts(lock=0.1, total=0.5))
        assert len(_shown(database, TENANTS[1])) == 5
        published.tables.switch([table])
        published.models.publish_rebuild([built])
    assert [_shown(database, t)[0][2] for t in TENANTS] == [10, 11]
    published.tables.rollback(published.models.rollback("lines"))
    assert len(_shown(database, TENANTS[1])) == 5


def test_a_tenant_that_comes_later_gets_a_table(published: Published, database: Database) -> None:
    published.publish["lines"] = PublishConfig("lines", per_tenant_schema=True)
    published.rebuild(SHAPE, _rows(1))
    with_schema(database, "new")
    more = replace(SHAPE, scopes=(*SHAPE.scopes, ("s", "new")))
    published.update(more, {("s", "new", "a", "x"): (7,), ("s", "t", "a", "x"): (8,)}, position=4)
    assert _shown(database, "new") == [("a", "x", 7)]
    assert ("a", "x", 8) in _shown(database, "t")
    published.update(more, {("s", "new", "a", "x"): (9,)}, position=5)
    assert _shown(database, "new") == [("a", "x", 9)]
    published.rebuild(more, _rows(20, (*TENANTS, "new")), 6)
    assert _shown(database, "new")[0] == ("a", "x", 22)
    published.tables.drop_former({"lines": []})
    assert database.sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'lines%'") == [(3,)]


def test_rows_of_no_tenant_are_refused(published: Published) -> None:
    published.publish["per_day"] = PublishConfig("per_day", per_tenant_schema=True)
    with pytest.raises(ReadModelError, match="needs the tenant in its key"):
        published.tables.check([replace(merged_shape(), scopes=SHAPE.scopes)])


def test_a_tenant_without_a_schema(published: Published) -> None:
    published.publish["lines"] = PublishConfig("lines", per_tenant_schema=True)
    with pytest.raises(ReadModelError, match=r"no schema .*nobody"):
        published.tables.check([replace(SHAPE, scopes=(*SHAPE.scopes, ("s", "nobody")))])
