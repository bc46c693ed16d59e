"""Live rows in files beside another fold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from job_project import Project, history

from runner.cli.app import run
from runner.errors import ConfigError, FingerprintChanged, JobError
from runner.jobs.proving.verify import verify
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
from runner.sinks.rows import write_rows

if TYPE_CHECKING:
    from pathlib import Path

ALL = ("accounts", "items", "totals", "trail")


def built(folder: Path, events: int = 300) -> Project:
    project = Project(folder)
    project.append(history(7, events))
    rebuild(project.config, engine="threads", workers=2, prove=0)
    return project


def test_what_was_rebuilt_and_updated_is_equal_whatever_the_key(tmp_path: Path) -> None:
    project = built(tmp_path)
    project.append(history(8, 100))
    update(project.config, ["accounts", "totals"], engine="threads")
    report = verify(project.config, engine="threads")
    assert report.same
    assert [(t.name, t.groups) for t in report.tables] == [(name, ()) for name in ALL]
    positions = {t.name: t.position for t in report.tables}
    assert positions == {"accounts": 400, "totals": 400, "items": 300, "trail": 300}
    assert {t.name: t.equal for t in report.tables} == {name: len(project.rows(name)) for name in ALL}
    assert list((tmp_path / "state/comparing").iterdir()) == []


def spoil(project: Project, name: str, **columns: Any) -> int:
    """Publish a revision whose rows are wrong: as if a backup was mended by hand. How many rows."""
    models = project.models
    live = models.live(name)
    assert live is not None
    rows = models.saved_rows(live).whole(name)
    for column, change in columns.items():
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, rows.schema.field(at), change(rows[column]))
    with models.begin_update(live.shape, job_id="by-hand") as claim:
        info = write_rows(claim.target, 0, rows)
        models.publish_update([claim.built(live.position, [info])])
    return int(rows.num_rows)


def test_what_was_changed_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = built(tmp_path)
    rows = spoil(project, "accounts", balance=lambda c: pc.add(c, pa.scalar(3)))
    (table,) = verify(project.config, ["accounts"], engine="threads").tables
    (group,) = table.groups
    assert (group.column, group.pattern, group.detail, group.rows) == ("balance", "off by a constant", "+3", rows)
    assert group.samples[0].explain.startswith("runner explain accounts --to=300 a-")

    toml = '[project]\nmodules = ["bank_of_jobs"]\n'
    (tmp_path / "runner.toml").write_text(toml)
    command = ["verify", "--all", "--config", str(tmp_path / "runner.toml"), "--json"]
    assert run(command) == 3
    told = json.loads(capsys.readouterr().out)
    assert {t["name"]: t["same"] for t in told["tables"]} == {n: n != "accounts" for n in ALL}
    assert run(["verify", "items", *command[2:]]) == 0


def test_what_cannot_be_verified(tmp_path: Path) -> None:
    project = built(tmp_path)
    with pytest.raises(ConfigError, match=r"no \[read_models.postgres\]"):
        verify(project.config, ["accounts"], where="postgres")
    (tmp_path / "read_models/current.json").unlink()
    with pytest.raises(JobError, match="no read model 'accounts' to verify"):
        verify(project.config, ["accounts"])


def test_another_projection_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = built(tmp_path)
    live = project.models.live("accounts")
    assert live is not None
    monkeypatch.setattr("runner.sinks.shape.Version.fingerprint", "another")
    with pytest.raises(FingerprintChanged):
        verify(project.config, ["accounts"])
