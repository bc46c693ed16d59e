"""The read models' conformance suite, over tables in Postgres; types and hostile names, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest
from fixtures_postgres import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from published_tables import Published, with_schema

from runner.config.postgres import PublishConfig
from runner.errors import CopyError, ReadModelError
from runner.sinks import compaction
from runner.sinks.export import canonical
from runner.sinks.rows import write_rows
from runner.sinks.shape import HASH, Shape
from runner.testing import read_models as suite
from runner.testing.read_model_rows import (
    PARTITIONS,
    child_shape,
    every_type_shape,
    keyed_shape,
    merged_shape,
)
from runner.testing.read_models import EmbeddedReadModels, check_history, histories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from runner.positions import Position

FULL = (
    -(2**63), float("nan"), True, 'q"é\n\\N', datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), date(9999, 12, 31),
    timedelta(days=-1, microseconds=1), UUID(int=2**127), Decimal("-92233720368547758.08"), ["x", "", 'a,"b{\\'],
    [1, 2**62],
)  # fmt: skip
MORE = (
    2**63 - 1, -0.0, False, "", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), date(1, 1, 1),
    timedelta(microseconds=2**62), UUID(int=0), Decimal("0.00"), [], [-(2**63)],
)  # fmt: skip
NOTHING = (None,) * len(FULL)


class PostgresReadModels(EmbeddedReadModels):
    """The embedded sink, published: what is shown is the table, and it has the embedded rows."""

    def __init__(self, root: Path, env: str) -> None:
        super().__init__(root)
        self.published = Published(root, env)
        self.tables = self.published.tables

    def rebuild(self, shape: Shape, position: Position, rows: Mapping[int, pa.Table]) -> None:
        with self.models.begin_rebuild(shape) as claim:
            files = [write_rows(claim.target, partition, part) for partition, part in rows.items()]
            built = claim.built(position, files)
            self.tables.switch([self.tables.load(built.version)])
            self.models.publish_rebuild([built])

    def update(self, shape: Shape, position: Position, changes: Mapping[int, Any]) -> None:
        with self.models.begin_update(shape) as claim:
            files = [write_rows(claim.target, partition, rows, gone) for partition, (rows, gone) in changes.items()]
            built = claim.built(position, files)
            self.tables.apply([built.version])
            self.models.publish_update([built])

    def rollback(self, name: str) -> None:
        super().rollback(name)
        version = self.models.live(name)
        assert version is not None
        self.tables.rollback(version)

    def table(self, name: str) -> pa.Table:
        version = self.models.live(name)
        if version is None:
            raise ReadModelError(name)
        shape = version.shape
        shown = self.published.rows(shape)
        assert canonical(shown, shape.full_key) == canonical(self.models.table(name), shape.full_key)
        state = self.tables.states()[name]
        assert (state.version, state.position, state.fingerprint) == (
            version.number, version.position, version.fingerprint,
        )  # fmt: skip
        return shown


# A text of Postgres holds no NUL, which the suite's check of every type has; the test below takes its place.
APPLY = [check for check in suite.CHECKS if check is not suite.check_every_type]


@pytest.mark.parametrize("check", APPLY, ids=lambda check: check.__name__)
def test_suite(check: Callable[[PostgresReadModels], None], database: Database, tmp_path: Path) -> None:
    with_schema(database)
    check(PostgresReadModels(tmp_path / "read_models", database.env))


def test_every_type(each_database: Database, tmp_path: Path) -> None:
    with_schema(each_database)
    port, shape = PostgresReadModels(tmp_path / "read_models", each_database.env), every_type_shape()
    suite._rebuild(port, shape, {("a",): FULL, ("b",): NOTHING, ("c",): NOTHING, ("d",): MORE})
    suite._shows(port, shape, {("a",): FULL, ("b",): NOTHING, ("c",): NOTHING, ("d",): MORE})
    suite._update(port, shape, {("b",): MORE, ("a",): NOTHING, ("d",): FULL}, [("c",)], 2)
    suite._shows(port, shape, {("a",): NOTHING, ("b",): MORE, ("d",): FULL})
    declared = dict(
        each_database.sql(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            ' WHERE attrelid = \'reads."Every ""Type"""\'::regclass AND attnum > 0'
        )
    )
    assert declared == {
        "aggregate_id": "text", "whole": "bigint", "Float's": "double precision", "select": "boolean",
        "Text here": "text",
        "at": "timestamp with time zone", "day": "date", "took": "interval", "uuid": "uuid", "price": "numeric(19,2)",
        "last": "text[]", "counters": "bigint[]",
    }  # fmt: skip


def test_a_text_with_nul_is_refused_by_name(database: Database, tmp_path: Path) -> None:
    with_schema(database)
    published, shape = Published(tmp_path / "read_models", database.env), keyed_shape()
    with pytest.raises(CopyError, match=r"column note.*U\+0000"):
        published.rebuild(shape, {("a",): (1, "x\x00y")})
    assert published.tables.states() == {}


@pytest.fixture(scope="module")
def fresh(postgres: Any) -> Iterator[Callable[[pytest.MonkeyPatch], Database]]:
    """Databases for Hypothesis' examples, which function fixtures outlive."""
    made, numbers = [], count(1)

    def make(patch: pytest.MonkeyPatch) -> Database:
        database = Database(postgres, f"histories_{id(made)}_{next(numbers)}", patch)
        database.create()
        made.append(database)
        with_schema(database)
        return database

    yield make
    for database in made:
        database.drop()


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), shape=st.sampled_from([keyed_shape(), child_shape(), merged_shape()]))
def test_any_history_equals_the_reference(
    data: st.DataObject, shape: Shape, fresh: Callable[..., Database], tmp_path_factory: pytest.TempPathFactory
) -> None:
    history = data.draw(histories(shape))
    with pytest.MonkeyPatch.context() as patch:
        # Few deltas are many already: the table follows over compactions of both kinds.
        patch.setattr(compaction, "MANY", data.draw(st.sampled_from([1, 8])))
        check_history(PostgresReadModels(tmp_path_factory.mktemp("histories"), fresh(patch).env), shape, history)


KEYWORDS = ("select", "from", "table", "user", "default", "group", "order", "end", "check", "primary")
LONG = "é" * 31 + "x"
HOSTILE = [
    ("O\"Neil's; DROP SCHEMA reads --", 'Weird "Schema"', ('a"b', "c'd", "{e}", "%s", "f%%g", "h\\i", "$1")),
    ("Order", "MixedCase", KEYWORDS),
    (LONG, LONG, (LONG, "naïve", "🚀", "日本")),
    ("🚀 rocket", "sch🚀", (" ", "\n", "\t", ".", ";", "--", "/*")),
    ("select", "table", ("_a", "A", "0", "-1")),
    ("{table}", "%(schema)s", ("{key}", "{columns}", "%(relid)s")),
]


@pytest.mark.parametrize(("table", "schema", "columns"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(table: str, schema: str, columns: tuple[str, ...], database: Database, tmp_path: Path) -> None:
    assert len(LONG.encode()) == 63
    with_schema(database, schema)
    names = {"aggregate_id": pa.string(), **dict.fromkeys(columns, pa.int64()), **dict.fromkeys(HASH, pa.uint64())}
    shape = Shape(
        "hostile", "f" * 64, pa.schema(list(names.items())), ("aggregate_id",), partitions=PARTITIONS, log_id="l",
        indexes=tuple((name,) for name in columns), required=("aggregate_id",),
    )  # fmt: skip
    published = Published(
        tmp_path / "read_models", database.env, schema=schema, publish={"hostile": PublishConfig("hostile", table)}
    )

    def same() -> None:
        shown = published.rows(shape, table)
        assert canonical(shown, ("aggregate_id",)) == canonical(published.models.table("hostile"), ("aggregate_id",))

    values = tuple(range(len(columns)))
    published.rebuild(shape, {(f"a'{i}\"\n",): values for i in range(9)})
    same()
    published.update(shape, {("a'1\"\n",): values[::-1]}, [("a'2\"\n",)])
    same()
    # A view and an index by hand, so that the server's texts come by too.
    with database.connect() as connection:
        live, column = sql.Identifier(schema, table), sql.Identifier(columns[0])
        connection.execute(
            sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(sql.Identifier(schema, "v" + columns[0][:3]), live)
        )
        connection.execute(
            sql.SQL("CREATE INDEX {} ON {} ({}) WHERE {} > 1").format(
                sql.Identifier("i" + columns[0][:3]), live, column, column
            )
        )
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {} IS {}").format(sql.Identifier(schema, table, columns[0]), sql.Literal(table))
        )
    published.rebuild(replace(shape, fingerprint="e" * 64), {("b",): values})
    same()
    published.tables.rollback(published.models.rollback("hostile"))
    same()
    assert published.tables.states()["hostile"].table == table


def test_names_that_postgres_cannot_have(tmp_path: Path, database: Database) -> None:
    with_schema(database)
    published = Published(tmp_path / "read_models", database.env)
    shape = keyed_shape()
    for column, said in (("x" * 64, "63 bytes"), ("ctid", "of its own")):
        schema = shape.schema.append(pa.field(column, pa.int64()))
        with pytest.raises(ReadModelError, match=said):
            published.tables.check([replace(shape, schema=schema)])
    with pytest.raises(ReadModelError, match=r"\[publish"):
        published.tables.check([replace(shape, name="n" * 64)])
