"""Directories of runs: gone with them, and those of killed runs with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from runner.engine.scratch import YOUNG_SECONDS, Scratch

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, signal, sys
from runner.engine.scratch import Scratch
scratch = Scratch("run-", sys.argv[1])
(scratch.path / "deep").mkdir()
(scratch.path / "deep" / "file").write_text("left")
os.kill(os.getpid(), signal.SIGKILL)
"""


def aged(path: Path) -> None:
    old = path.stat().st_mtime - YOUNG_SECONDS - 1
    os.utime(path, (old, old))


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    other = tmp_path / "another"
    other.mkdir()
    link = tmp_path / "run-link"
    link.symlink_to(other)
    for path in (left, other):
        aged(path)
    mine = Scratch("run-", str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, other, link])
    mine.remove()
    mine.remove()
    assert sorted(tmp_path.iterdir()) == sorted([other, link])


def test_a_run_that_lives_keeps_its_directory(tmp_path: Path) -> None:
    first = Scratch("run-", str(tmp_path))
    aged(first.path)
    second = Scratch("run-", str(tmp_path))
    assert first.path.is_dir()
    first.remove()
    assert not first.path.exists()
    assert second.path.is_dir()
    second.remove()


def test_a_directory_that_was_just_made_is_left(tmp_path: Path) -> None:
    """Its run may be about to lock it."""
    (tmp_path / "run-young").mkdir()
    Scratch("run-", str(tmp_path)).remove()
    assert (tmp_path / "run-young").is_dir()
