"""What Ray alone does: shipped modules, dying workers, quiet start and clean end."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from runner.engine.base import NodeAnswer
from runner.engine.modules import Modules, ShippedModule, gather
from runner.engine.ray import RayEngine
from runner.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ray

SHIPPED = Modules(
    (
        ShippedModule(
            "far_away_of_tests",
            "import inspect\n\n\ndef told(task):\n    return inspect.getsource(told).splitlines()[0], task\n",
            "/nowhere/far_away_of_tests.py",
        ),
    )
)


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    # This file is shipped as well: the workers run its functions.
    running = RayEngine(2, modules=Modules((*SHIPPED.modules, *gather([__name__]).modules)))
    try:
        yield running
    finally:
        running.close()


def _ask_shipped(task: int) -> object:
    import far_away_of_tests  # type: ignore[import-not-found]  # shipped with the engine

    return far_away_of_tests.told(task)


def _environment(name: str) -> str | None:
    return os.environ.get(name)


def _always_die(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def _unpicklable(task: int) -> object:
    return lambda: task


def test_shipped_modules_are_there_with_their_source(engine: RayEngine) -> None:
    assert list(engine.run(_ask_shipped, [7])) == [("def told(task):", 7)]


def test_workers_use_one_core_each(engine: RayEngine) -> None:
    assert list(engine.run(_environment, ["OMP_NUM_THREADS"])) == ["1"]
    assert list(engine.run(_environment, ["NUMBA_NUM_THREADS"])) == ["1"]


def test_a_task_that_kills_every_worker_is_given_up_with_words(engine: RayEngine) -> None:
    with pytest.raises(EngineError, match="died 4 times"):
        list(engine.run(_always_die, [1]))
    assert list(engine.run(_environment, ["OMP_NUM_THREADS"])) == ["1"]


def test_a_result_that_cannot_travel_is_named(engine: RayEngine) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        list(engine.run(_unpicklable, [1]))


def test_nodes_have_names(engine: RayEngine) -> None:
    (answer,) = engine.on_every_node(_environment, "OMP_NUM_THREADS")
    assert isinstance(answer, NodeAnswer)
    assert answer.answer == "1"
    assert "(" in answer.node


def test_a_second_ray_in_one_process_is_refused(engine: RayEngine) -> None:
    with pytest.raises(EngineError, match="running already"):
        RayEngine(1)
    assert list(engine.run(_environment, ["OMP_NUM_THREADS"])) == ["1"]


SCRIPT = """
import logging, os, signal, sys, time, warnings
warnings.simplefilter("error")
from runner.engine.ray import RayEngine
from runner.testing.executors import _die_once

before = signal.getsignal(signal.SIGTERM)
environment = dict(os.environ)
engine = RayEngine(1)
assert signal.getsignal(signal.SIGTERM) == before, "Ray's handler of SIGTERM is left"
assert os.environ.get("OMP_NUM_THREADS") == environment.get("OMP_NUM_THREADS")
assert list(engine.run(len, ["four"])) == [4]
directory = engine._directory
assert directory.exists()

class Notes(logging.Handler):
    texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())

logger = logging.getLogger("runner.engine.ray")
logger.addHandler(Notes())
logger.setLevel("INFO")
assert list(engine.run(_die_once, [sys.argv[1]])) != [os.getpid()]
for _ in range(200):
    if any("worker died" in text for text in Notes.texts):
        break
    time.sleep(0.1)
else:
    raise AssertionError(f"no word of the worker's death: {Notes.texts}")
engine.close()
assert not directory.exists(), "Ray's directory is left"
import psutil
assert not psutil.Process().children(recursive=True), psutil.Process().children(recursive=True)
"""


def test_a_local_ray_is_quiet_and_leaves_nothing(tmp_path: Path) -> None:
    """Also when a worker dies: stdout belongs to what the command says."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "died")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


def test_an_address_that_is_not_there_is_named() -> None:
    script = """
from runner.engine.ray import RayEngine
from runner.errors import EngineError
try:
    RayEngine(1, address="127.0.0.1:1")
except EngineError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert "Ray at 127.0.0.1:1 cannot be reached" in done.stdout, done.stderr
    assert "--address" in done.stdout


INTERRUPTED = """
import sys, time
from runner.engine.ray import RayEngine

def slow(n):
    time.sleep(60)

engine = RayEngine(2)
try:
    print("ready", engine._directory, flush=True)
    list(engine.run(time.sleep, [60] * 8))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
finally:
    engine.close()
"""


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_ray_and_its_processes(times: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    family: list[psutil.Process] = []
    try:
        assert child.stdout is not None
        word, directory = child.stdout.readline().split()
        assert word == "ready"
        family = psutil.Process(child.pid).children(recursive=True)
        assert family, "Ray has no processes?"
        child.send_signal(signal.SIGINT)
        if times > 1:
            assert child.stdout.readline().strip() == "interrupted"
            for _ in range(times - 1):
                child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        assert child.returncode in ((130,) if times == 1 else (130, 1, -signal.SIGINT))
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive, f"processes of Ray outlive the run: {alive}"
        assert not Path(directory).exists()
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
        for process in family:
            if process.is_running():
                process.kill()
