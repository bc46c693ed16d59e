"""One suite, every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.engine import Engine, InProcessEngine, ThreadEngine
from runner.testing.executors import CHECKS, check_worker_killed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "make",
    [InProcessEngine, lambda: ThreadEngine(1), lambda: ThreadEngine(2)],
    ids=["in-process", "threads-1", "threads-2"],
)
def test_local_engines(make: Callable[[], Engine], check: Callable[[Engine, Path], None], tmp_path: Path) -> None:
    engine = make()
    try:
        check(engine, tmp_path)
    finally:
        engine.close()


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_ray(workers: int, tmp_path: Path, subtests: pytest.Subtests) -> None:
    from runner.engine.ray import RayEngine

    engine = RayEngine(workers)
    try:
        for check in (*CHECKS, check_worker_killed):
            with subtests.test(check.__name__):
                directory = tmp_path / check.__name__
                directory.mkdir()
                check(engine, directory)
    finally:
        engine.close()
    engine.close()


def test_no_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        ThreadEngine(0)
