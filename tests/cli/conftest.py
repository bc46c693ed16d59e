"""The project of orders, and the same synced and rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from order_project import Project, order

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path, capsys)
    for n in range(1, 21):
        made.append(order(n, 1, "order.placed", 1 + n % 5, amount=n * 1.25, customer=f"c-{n % 4}"))
        if n % 2:
            made.append(order(n, 2, "order.paid", 10, amount=n * 1.25))
    return made


@pytest.fixture
def built(project: Project) -> Project:
    """Synced and rebuilt."""
    project.run("init", "orders.ndjson")
    text = (project.root / "runner.toml").read_text()
    (project.root / "runner.toml").write_text(text.replace('["events"]', '["events", "projections.generic"]'))
    project.run("sync")
    project.run("rebuild", "--all", "--engine", "threads")
    return project
