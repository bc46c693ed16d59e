"""Read models to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.positions import Position
from runner.sinks.read_models import ReadModels
from runner.sinks.rows import write_rows
from runner.testing.read_model_rows import keyed_shape, keys_for, partitioned, rows_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.sinks.shape import Version


class Accounts:
    """One read model ``accounts`` whose rows are {aggregate id: balance}."""

    shape = keyed_shape()

    def __init__(self, root: Path, **options: object) -> None:
        self.models = ReadModels(root, **options)

    def rebuild(self, rows: dict[str, int], position: int = 1) -> Version:
        table = partitioned(self.shape, rows_for(self.shape, {(k,): (v, "") for k, v in rows.items()}))
        with self.models.begin_rebuild(self.shape, job_id="j1") as claim:
            files = [write_rows(claim.target, p, part) for p, part in table.items()]
            return self.models.publish_rebuild([claim.built(Position(position), files)])[0]

    def update(self, rows: dict[str, int | None], position: int = 2, *, compact: bool = True) -> Version:
        """None: deleted."""
        changed = rows_for(self.shape, {(k,): (v, "") for k, v in rows.items() if v is not None})
        gone = partitioned(self.shape, keys_for(self.shape, [(k,) for k, v in rows.items() if v is None]))
        with self.models.begin_update(self.shape, job_id="j2") as claim:
            files = [write_rows(claim.target, p, part, gone[p]) for p, part in partitioned(self.shape, changed).items()]
            (version,) = self.models.publish_update([claim.built(Position(position), files)])
            if compact:
                assert self.models.compact_due([version])[1] == ()
            return self.models.live("accounts") or version

    def rows(self) -> dict[str, int]:
        """Through SQL."""
        with self.models.connect() as connection:
            return dict(connection.sql("SELECT aggregate_id, balance FROM accounts").fetchall())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "read_models"


@pytest.fixture
def accounts(root: Path) -> Accounts:
    return Accounts(root)


@pytest.fixture
def make_accounts(root: Path) -> Callable[..., Accounts]:
    return lambda **options: Accounts(root, **options)
