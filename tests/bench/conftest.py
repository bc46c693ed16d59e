"""The benchmarks are scripts beside their modules; tests import them from there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))


@pytest.fixture(scope="session")
def bench_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the workloads' files of this session are made."""
    import workloads

    former, workloads.OUT = workloads.OUT, tmp_path_factory.mktemp("bench")
    yield workloads.OUT
    workloads.OUT = former


@pytest.fixture
def made(bench_out: Path) -> Any:
    """A function: the files of a workload of so many events."""
    import workloads

    return workloads.prepare
