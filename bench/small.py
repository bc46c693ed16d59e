"""What a user waits for many times a day: the help, and a rebuild of a small log with a warm kernel cache."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from limits import add_check, end_checked
from workloads import OUT, prepare_log

__all__ = ["small_things"]

EVENTS = 10_000
HERE = Path(__file__).parent

CONFIG = """\
[project]
modules = ["account"]
"""

# One process: what the second and later rebuilds of a program (a test, a service) take.
IN_PROCESS = """\
import sys, time
from pathlib import Path
from runner.config import load_config
from runner.jobs.rebuilding.rebuild import rebuild
config = load_config(Path(sys.argv[1]))
rebuild(config, "all", engine="in-process")
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    rebuild(config, "all", engine="in-process")
    print(time.perf_counter() - began)
"""


def small_things(times: int = 5) -> dict[str, float]:
    """Medians in seconds, of the help and of a rebuild of 10,000 events with proof.

    rebuild_10k_command_seconds: from the shell and back; rebuild_10k_seconds: in a process that has loaded everything.
    """
    directory = _project()
    command = [sys.executable, "-m", "runner", "rebuild", "--all", "--workers", "1", "--engine", "threads", "--json"]
    _timed(command, directory)  # warms the kernel cache
    config = str(directory / "runner.toml")
    inside = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, config, str(times)],
        check=True,
        capture_output=True,
        text=True,
        cwd=directory,
    )
    return {
        "help_seconds": statistics.median(
            _timed([sys.executable, "-m", "runner", "--help"], directory) for _ in range(times)
        ),
        "rebuild_10k_command_seconds": statistics.median(_timed(command, directory) for _ in range(times)),
        "rebuild_10k_seconds": statistics.median(float(line) for line in inside.stdout.split()),
    }


def _project() -> Path:
    directory = OUT / "small"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "runner.toml").write_text(CONFIG)
    shutil.copy(HERE / "account.py", directory)
    shutil.copytree(prepare_log("uniform", EVENTS).log, directory / "log")
    return directory


def _timed(command: list[str], directory: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=directory, env=dict(os.environ))
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=int, nargs="?", default=5, help="medians of so many")
    add_check(parser)
    asked = parser.parse_args()
    found = small_things(asked.times)
    print(json.dumps(found, indent=2))
    if asked.check:
        end_checked(found, asked.slack)
