"""Compiled modules on disk: several processes at once, a killed compiler, a directory that cannot be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.fold import cache
from runner.kernels.machine_code import cache_directory, surroundings

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
from numba import njit, types

from runner.kernels.options import KERNEL


@njit((types.int64,), cache=True, **KERNEL)
def answer(number):
    return number + {number}
"""

PROGRAM = """
import sys
from runner.fold.cache import load_module
print(load_module(sys.argv[1]).answer(40), flush=True)
"""


def start(source: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, source],
        env=os.environ | {"RUNNER_CACHE_DIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of its own, and nothing loaded."""
    monkeypatch.setenv("RUNNER_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "_loaded", {})
    return tmp_path


def test_processes_that_begin_together_compile_once(tmp_path: Path) -> None:
    source = SOURCE.format(number=2)
    processes = [start(source, tmp_path) for _ in range(4)]
    answers = [p.communicate(timeout=120) for p in processes]
    assert [out for out, _ in answers] == ["42\n"] * 4, answers
    directory = tmp_path / "kernels" / cache.module_digest(source)
    assert (directory / "complete").exists()
    assert len(list(directory.glob("__pycache__/*.nbc"))) == 1
    written = {f: f.stat().st_mtime_ns for f in directory.rglob("*.nb?")}
    out, err = start(source, tmp_path).communicate(timeout=120)
    assert (out, err) == ("42\n", "")
    assert {f: f.stat().st_mtime_ns for f in directory.rglob("*.nb?")} == written, "a warm cache is only read"


def test_what_a_killed_compiler_left_is_made_again(fresh: Path) -> None:
    source = SOURCE.format(number=3)
    directory = fresh / "kernels" / cache.module_digest(source)
    (directory / "__pycache__").mkdir(parents=True)
    (directory / "module.py").write_text("def answer(")
    (directory / "__pycache__" / "module.answer-9.py311.nbi").write_bytes(b"torn")
    assert cache.load_module(source).answer(40) == 43
    assert (directory / "module.py").read_text() == source


def test_a_module_that_is_no_python_leaves_nothing_behind_as_complete(fresh: Path) -> None:
    with pytest.raises(SyntaxError):
        cache.load_module("def answer(")
    assert not (fresh / "kernels" / cache.module_digest("def answer(") / "complete").exists()


def test_the_directory_is_private(fresh: Path) -> None:
    assert stat.S_IMODE(cache_directory().stat().st_mode) == 0o700
    assert cache_directory() == fresh / "kernels"


def test_an_unusable_directory_is_replaced_by_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RUNNER_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert cache_directory().is_dir()
    assert tmp_path not in cache_directory().parents


def test_other_source_is_another_module(fresh: Path) -> None:
    assert cache.module_digest("a") != cache.module_digest("b")
    assert cache.module_digest("a") == cache.module_digest("a")
    assert fresh.is_dir()


def test_the_librarys_own_code_is_kept_by_what_it_depends_on() -> None:
    """A changed kernel file must not leave code behind that was compiled into its callers."""
    from runner.kernels import order

    named = f"library-{surroundings().hex()[:32]}"
    kept = [f for f in vars(order).values() if hasattr(f, "stats") and f.stats.cache_path]
    assert kept
    assert all(named in f.stats.cache_path for f in kept)
