"""A catalog that a crash left older than current.json: `runner status` and `runner query` make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from job_project import Project, history

from runner.cli import app
from runner.jobs.rebuilding.rebuild import rebuild

if TYPE_CHECKING:
    from pathlib import Path


def checkpoint_in(catalog: Path) -> int:
    """What a user of the file sees."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{catalog}' AS file (READ_ONLY)")
        query = "SELECT position FROM file.runner.checkpoints WHERE read_model = 'accounts'"
        found = connection.execute(query).fetchone()
        assert found is not None
        return int(found[0])


@pytest.mark.parametrize("arguments", [["status"], ["query", "SELECT count(*) FROM accounts"]])
def test_who_looks_mends_an_old_catalog(
    project: Project, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "runner.toml").write_text('[project]\nmodules = ["bank_of_jobs"]\n')
    project.append(history(41, 100))
    rebuild(project.config, ["accounts"], engine="in-process", prove=0, to=50)
    catalog = project.models.root / "catalog.duckdb"
    old = catalog.read_bytes()
    rebuild(project.config, ["accounts"], engine="in-process", prove=0)
    catalog.write_bytes(old)  # as a kill between the two renames leaves it
    assert checkpoint_in(catalog) == 50
    assert app.run([*arguments, "--config", str(project.root / "runner.toml")]) == 0
    assert checkpoint_in(catalog) == 100
    assert ("it was made again" in capsys.readouterr().out) == (arguments == ["status"])
