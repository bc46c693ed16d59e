"""Tables in Postgres: loaded, switched, caught up, rolled back; the same rows as the embedded ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from published_tables import Published, with_schema

from runner.sinks.export import canonical
from runner.testing.read_model_rows import child_shape, keyed_shape, merged_shape

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Published:
    with_schema(database)
    return Published(tmp_path / "read_models", database.env)


def _same(published: Published, *shapes: object) -> None:
    for shape in shapes:
        assert canonical(published.rows(shape), shape.full_key) == canonical(
            published.models.table(shape.name), shape.full_key
        )


def test_load_switch_apply_rollback(published: Published) -> None:
    shape = keyed_shape()
    assert published.tables.states() == {}
    published.rebuild(shape, {(f"a{i}",): (i, f"n{i}") for i in range(50)}, 7)
    _same(published, shape)
    state = published.tables.states()["accounts"]
    assert (state.version, state.revision, state.position, state.words if hasattr(state, "words") else 0) == (
        1,
        0,
        7,
        0,
    )
    published.update(shape, {("a1",): (100, "x"), ("new",): (1, None)}, [("a2",), ("a3",)], 8)
    _same(published, shape)
    state = published.tables.states()["accounts"]
    assert (state.version, state.revision, state.position) == (1, 1, 8)
    published.rebuild(replace(shape, fingerprint="e" * 64), {("b",): (1, "x")}, 9)
    _same(published, shape)
    back = published.models.rollback("accounts")
    published.tables.rollback(back)
    _same(published, shape)
    assert published.tables.states()["accounts"].version == 1
