"""A Ray that runs already, whose workers have none of the author's modules, and a worker that dies on the way."""

from __future__ import annotations

import importlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from job_project import Project, history

from runner.engine import gather
from runner.engine.ray import RayEngine
from runner.jobs.rebuild import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.ray

RATES = "VAT = 23\n"
FAR = '''"""Projections that only the coordinator has, and what workers are asked about themselves."""

import os
import signal
import sys

from runner import Event, Projection, on
from rates_of_cluster import VAT


class Moved(Event, type="moved"):
    amount: int


class Taxed(Projection):
    tax: int = 0

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.tax += e.amount * VAT


def place(_task):
    has = [entry for entry in sys.path if os.path.exists(os.path.join(entry, "far_of_cluster.py"))]
    return os.getcwd(), has, type(__spec__.loader).__module__


def dying_once(marker, function, task):
    """Does the task, and dies before it can say so: the first time that any worker comes here."""
    result = function(task)
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return result
    os.kill(os.getpid(), signal.SIGKILL)
'''

HEAD = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(
    address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
    object_store_memory=80 * 2**20, _temp_dir=sys.argv[1],
)
print("at", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The author's module, imported from a folder that is on no path any more: Ray takes this process's to workers."""
    folder = tmp_path_factory.mktemp("author")
    (folder / "far_of_cluster.py").write_text(FAR)
    (folder / "rates_of_cluster.py").write_text(RATES)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("far_of_cluster")
    finally:
        sys.path.remove(str(folder))
    yield module
    for name in ("far_of_cluster", "rates_of_cluster"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, working directory) of a Ray that another process started."""
    folder = tmp_path_factory.mktemp("elsewhere")
    # Sockets have short paths.
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    # Both sides have the cluster's token, as users of one do: a local Ray makes one up that only its own process knows.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    patch = pytest.MonkeyPatch()
    for name, value in token.items():
        patch.setenv(name, value)
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, temporary],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    family: list[psutil.Process] = []
    try:
        assert head.stdout is not None
        words = head.stdout.readline().split()
        assert words, head.communicate(timeout=60)[1]
        yield words[1], str(folder)
        family = psutil.Process(head.pid).children(recursive=True)
        head.communicate(timeout=60)
    finally:
        family += psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        if head.poll() is None:
            head.kill()
            head.communicate()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        patch.undo()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def shop(project: Project) -> Project:
    found = replace(project, modules=("far_of_cluster",))
    found.append(history(7, 300, accounts=40), partitions=8)
    return found


def in_process(shop: Project) -> bytes:
    rebuild(shop.config, engine="in-process", prove="all")
    return shop.bytes("taxed")["taxed"]


def test_workers_get_the_modules_that_they_lack(far: ModuleType, cluster: tuple[str, str], shop: Project) -> None:
    address, folder = cluster
    engine = RayEngine(1, address=address, modules=gather(["far_of_cluster"]))
    try:
        assert list(engine.run(far.place, [None])) == [(folder, [], "runner.engine.modules")]
    finally:
        engine.close()
    report = rebuild(shop.config, engine="ray", address=address, workers=2, prove=10)
    assert (report.engine, report.events) == ("ray", 300)
    by_ray = shop.bytes("taxed")["taxed"]
    assert by_ray == in_process(shop)


class DiesOnce(RayEngine):
    """One worker dies after its task's files are written, before it answers."""

    marker = ""
    far: Any = None

    def run(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        return super().run(partial(self.far.dying_once, self.marker, function), tasks)


def test_a_task_whose_worker_died_is_done_again(
    far: ModuleType, cluster: tuple[str, str], shop: Project, tmp_path: Path
) -> None:
    engine = DiesOnce(2, address=cluster[0], modules=gather(["far_of_cluster"]))
    engine.marker, engine.far = str(tmp_path / "died"), far
    try:
        rebuild(shop.config, engine=engine, prove=10)
    finally:
        engine.close()
    assert (tmp_path / "died").exists()
    by_ray = shop.bytes("taxed")["taxed"]
    assert by_ray == in_process(shop)
