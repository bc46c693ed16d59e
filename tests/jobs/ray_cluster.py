"""Run as a script: jobs on a Ray that runs already, in a process of its own, since Ray keeps the first token it used.

``ray_cluster.py DIRECTORY`` starts a Ray of three nodes with one CPU each, in another process, which knows the log's
directory but none of the author's modules, goes through every scenario and writes what came of it as one JSON object:
what it saw by the scenario's name, or {"failed": traceback}. The nodes end with this script, however that ends: their
process waits on a pipe.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from job_project import Project, history

from runner.engine import NodeAnswer, gather
from runner.engine.ray import RayEngine
from runner.errors import EngineError
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.records.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import ModuleType

SEED, EVENTS, ACCOUNTS = 7, 300, 40
VAT = 23
CONFIG = """
[project]
modules = ["far_of_cluster"]
[log]
path = "log"
[state]
path = "state"
[read_models]
path = "read_models"
"""
RATES = f"VAT = {VAT}\n"
FAR = '''"""Projections that only the coordinator has, and what workers are asked about themselves."""

import os
import signal
import sys

import ray

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


def node(_task):
    return ray.get_runtime_context().get_node_id()


def waiting_on(node_id, marker, function, task):
    """Does the task, anywhere but on this node: there it only begins, and waits for the node's end."""
    if node(None) == node_id:
        open(marker, "w").close()
        signal.pause()
    return function(task)
'''

NODES = 3
HEAD = f"""
import os, shutil, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray._common.utils import reset_ray_address
from ray.cluster_utils import Cluster
room = dict(num_cpus=1, num_gpus=0, object_store_memory=80 * 2**20, include_dashboard=False, temp_dir=sys.argv[1])
cluster = None
try:
    cluster = Cluster(initialize_head=True, head_node_args=room)
    nodes = [cluster.add_node(**room) for _ in range({NODES - 1})]
    print("at", cluster.address, *(node.node_id for node in nodes), flush=True)
    for victim in sys.stdin:
        (node,) = (node for node in nodes if node.node_id == victim.strip())
        cluster.remove_node(node, allow_graceful=False)
finally:
    if cluster is not None:
        cluster.shutdown()
    reset_ray_address()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@dataclass
class Cluster:
    """A Ray that another process started. address: of its head; others: the ids of its nodes but the head."""

    address: str
    others: list[str]
    _process: subprocess.Popen[str]

    def kill(self, node: str) -> None:
        """All of a node's processes, at once; it is on its way when this returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(node + "\n")
        self._process.stdin.flush()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """It and all that it started are gone afterwards."""
    # Sockets have short paths.
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, temporary], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    family: list[psutil.Process] = []
    try:
        assert head.stdout is not None
        words = head.stdout.readline().split()
        assert words, "Ray did not start"
        family = psutil.Process(head.pid).children(recursive=True)
        yield Cluster(words[1], words[2:], head)
    finally:
        if head.poll() is None:
            family += psutil.Process(head.pid).children(recursive=True)
        try:
            head.communicate(timeout=30)
        finally:
            head.kill()
            for process in psutil.wait_procs(family, timeout=10)[1]:
                process.kill()
            shutil.rmtree(temporary, ignore_errors=True)


def imported(folder: Path) -> ModuleType:
    """The author's module, from a folder that is on no path any more: Ray takes this process's to the workers."""
    (folder / "far_of_cluster.py").write_text(FAR)
    (folder / "rates_of_cluster.py").write_text(RATES)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("far_of_cluster")
    finally:
        sys.path.remove(str(folder))


def shop(root: Path) -> Project:
    root.mkdir()
    made = replace(Project(root), modules=("far_of_cluster",))
    made.append(history(SEED, EVENTS, accounts=ACCOUNTS), partitions=8)
    return made


def seen(project: Project) -> dict[str, Any]:
    """The live read model: digest of its canonical bytes, its rows."""
    digest = hashlib.sha256(project.bytes("taxed")["taxed"]).hexdigest()
    return {"digest": digest, "rows": {key: row[0] for key, row in project.rows("taxed").items()}}


def in_process(project: Project) -> dict[str, Any]:
    rebuild(project.config, engine="in-process", prove="all")
    return seen(project)


def modules(ray: Cluster, root: Path, far: ModuleType) -> dict[str, Any]:
    """Workers get the modules that they lack."""
    project = shop(root)
    engine = RayEngine(1, address=ray.address, modules=gather(["far_of_cluster"]))
    try:
        ((folder, has, loader),) = engine.run(far.place, [None])
    finally:
        engine.close()
    report = rebuild(project.config, engine="ray", address=ray.address, workers=2, prove=10)
    return {
        "worker": {"folder": folder, "has": has, "loader": loader},
        "report": [report.engine, report.workers, report.events],
        "by_ray": seen(project),
        "in_process": in_process(project),
    }


def command(ray: Cluster, root: Path, _far: ModuleType) -> dict[str, Any]:
    """``runner rebuild --address``."""
    project = shop(root)
    (root / "runner.toml").write_text(CONFIG)
    (root / "far_of_cluster.py").write_text(FAR)
    (root / "rates_of_cluster.py").write_text(RATES)
    options = ["--config", str(root / "runner.toml"), "--address", ray.address, "--workers", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "runner", "rebuild", "--all", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told: dict[str, Any] = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    if done.returncode == 0:
        told["by_ray"] = seen(project)
    return told


class DiesOnce(RayEngine):
    """One worker dies after its task's files are written, before it answers."""

    marker = ""
    far: Any = None

    def run(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        return super().run(partial(self.far.dying_once, self.marker, function), tasks)


def death(ray: Cluster, root: Path, far: ModuleType) -> dict[str, Any]:
    """A task whose worker died is done again."""
    project = shop(root)
    marker = root.with_name("died")
    engine = DiesOnce(2, address=ray.address, modules=gather(["far_of_cluster"]))
    engine.marker, engine.far = str(marker), far
    try:
        report = rebuild(project.config, engine=engine, prove=10)
    finally:
        engine.close()
    return {"died": marker.exists(), "events": report.events, "by_ray": seen(project)}


class LogIsElsewhere(RayEngine):
    """Workers are asked while the log is not where the coordinator opened it."""

    log = Path()
    begun = 0

    def on_every_node(self, function: Callable[[Any], Any], task: Any) -> tuple[NodeAnswer, ...]:
        away = self.log.with_name("log-away")
        self.log.rename(away)
        try:
            return super().on_every_node(function, task)
        finally:
            away.rename(self.log)

    def run(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        self.begun += 1
        return super().run(function, tasks)


def unseen(ray: Cluster, root: Path, _far: ModuleType) -> dict[str, Any]:
    """Workers that cannot see the log say so before the run starts."""
    project = shop(root)
    before = in_process(project)
    engine = LogIsElsewhere(2, address=ray.address, modules=gather(["far_of_cluster"]))
    engine.log = root / "log"
    told: dict[str, Any] = {"error": "", "hint": ""}
    try:
        rebuild(project.config, engine=engine, prove=10)
    except EngineError as error:
        told = {"error": str(error), "hint": error.hint}
    finally:
        engine.close()
    with Ledger(project.config.state.path / "jobs.sqlite", read_only=True) as ledger:
        jobs = [job.state for job in ledger.jobs()]
    return {
        **told,
        "log": str(root / "log"),
        "begun": engine.begun,
        "jobs": jobs,
        "same": seen(project) == before,
    }


class WaitsOnOneNode(RayEngine):
    """A task that comes to one of the nodes says so, and waits there for the end of that node."""

    node = marker = ""
    far: Any = None

    def run(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Generator[Any, None, None]:
        return super().run(partial(self.far.waiting_on, self.node, self.marker, function), tasks)


def node_death(ray: Cluster, root: Path, far: ModuleType) -> dict[str, Any]:
    """A node is killed in the middle, with a task on it; each node has worked before."""
    project = shop(root)
    marker = root.with_name("waits")
    engine = WaitsOnOneNode(NODES, address=ray.address, modules=gather(["far_of_cluster"]))
    engine.node, engine.marker, engine.far = ray.others[0], str(marker), far
    nodes = len(engine.on_every_node(far.node, None))

    waits = threading.Event()

    def killed_once_it_works() -> None:
        marker.read_bytes()  # opened on both sides, then closed by the task
        waits.set()
        ray.kill(ray.others[0])

    os.mkfifo(marker)
    threading.Thread(target=killed_once_it_works, daemon=True).start()
    try:
        report = rebuild(project.config, engine=engine, prove=10)
    finally:
        engine.close()
    return {
        "nodes": nodes,
        "waited": waits.is_set(),
        "events": report.events,
        "by_ray": seen(project),
    }


SCENARIOS = {"modules": modules, "command": command, "death": death, "unseen": unseen, "node_death": node_death}


def main() -> None:
    root = Path(sys.argv[1])
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    elsewhere, author = root / "elsewhere", root / "author"
    for folder in (elsewhere, author):
        folder.mkdir()
    far = imported(author)
    told: dict[str, Any] = {"elsewhere": str(elsewhere)}
    with cluster(elsewhere) as ray:
        for name, scenario in SCENARIOS.items():
            try:
                told[name] = scenario(ray, root / name, far)
            except Exception:  # the others are told all the same
                told[name] = {"failed": traceback.format_exc()}
    print(json.dumps(told), flush=True)  # noqa: T201  # what the test reads


if __name__ == "__main__":
    main()
