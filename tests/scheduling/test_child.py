"""Processes of runs, real ones: asked to end, and killed with all that they started."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

import psutil

from runner.jobs.scheduling import child as module
from runner.jobs.scheduling.child import adopted

if TYPE_CHECKING:
    from pathlib import Path

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: open(sys.argv[1] + ".asked", "w").close())
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with open(sys.argv[1], "w") as file:
    file.write(str(below.pid))
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def until(file: Path) -> None:
    while not file.exists():
        select.select([], [], [], 0.01)


def test_a_deaf_process_is_killed_with_what_it_started(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as stream:
        child = module._started([sys.executable, "-c", DEAF, str(tmp_path / "below")], stream.fileno())
    other = adopted(child.pid)
    assert other is not None
    try:
        while b"ready" not in said.read_bytes():
            assert not child.ended(), said.read_text()
            select.select([], [], [], 0.01)
        below = psutil.Process(int((tmp_path / "below").read_text()))
        other.ask()
        until(tmp_path / "below.asked")
        assert not child.ended()
        assert not other.ended()
    finally:
        child.kill()
    assert psutil.wait_procs([below], timeout=30)[1] == []
    assert select.select([child, other], [], [], 30)[0] == [child, other]
    assert child.ended()
    assert other.ended()
    assert (child.exit_code, other.exit_code) == (-9, None)
    for one in (child, other):
        one.ask()  # of one that is gone nothing comes
        one.kill()
        one.close()
    assert adopted(child.pid) is None


def test_the_latest_outputs_stay(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n:08}.txt").write_text("")
    module._tidied(tmp_path)
    assert sorted(int(f.stem) for f in tmp_path.iterdir()) == list(range(10, 30))
