"""Projects over the workloads' logs, and runs of them in processes of their own: seconds, rows, workers' memory."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from contest import environment
from workloads import OUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workloads import Made

__all__ = ["Cluster", "cleared", "cluster", "evict", "project", "run", "same_rows"]

HERE = Path(__file__).parent
LOOK_SECONDS = 0.02
RUN = """\
import json, sys, time
from pathlib import Path
asked = json.loads(sys.argv[1])
from runner.config import load_config
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.updating.update import update
config = load_config(Path(asked.pop("config")))
what = {"rebuild": rebuild, "update": update}[asked.pop("what")]
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
report = what(config, "all", **asked)
seconds = time.perf_counter() - began
print(json.dumps({
    "seconds": seconds,
    "events": report.events,
    "rows": sum(p.rows for p in report.projections),
    "stages": {name: round(value, 4) for name, value in report.seconds.items()},
    "workers": {name: round(value, 4) for name, value in report.worker_seconds.items()},
    "proof": report.projections[0].proof,
}), flush=True)
sys.stdin.readline()
"""
HEAD = """\
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_enable_metrics_collection"] = "0"
import ray
try:
    ray.init(
        address="local", num_cpus=int(sys.argv[2]), num_gpus=0, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=80 * 2**20, _temp_dir=sys.argv[1],
    )
    print("at", ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
finally:
    ray.shutdown()
"""


def project(made: Made, name: str, log: Path | None = None) -> Path:
    """A fresh project with ``account.Account`` over the workload's log, or a copy of it; its directory."""
    directory = OUT / "projects" / f"{made.directory.name}-{name}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    where = (log or made.log).resolve()
    (directory / "runner.toml").write_text(f'[project]\nmodules = ["account"]\n[log]\npath = "{where}"\n')
    shutil.copy(HERE / "account.py", directory)
    return directory


def cleared(directory: Path) -> Path:
    """The project without its read models and its ledger: files of former runs stay for an hour else."""
    for name in ("read_models", "state"):
        shutil.rmtree(directory / name, ignore_errors=True)
    return directory


@dataclass(frozen=True)
class Cluster:
    """A Ray that runs already. head: its process; token: what lets a process in, as its environment."""

    address: str
    head: int
    token: Mapping[str, str]


@contextmanager
def cluster(workers: int) -> Iterator[Cluster]:
    """A Ray on this machine for so many workers at once; it and what it started are gone afterwards."""
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short paths
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, temporary, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment(1), **token},
    )
    family: list[psutil.Process] = []
    try:
        assert head.stdout is not None
        words = head.stdout.readline().split()
        if not words:
            raise SystemExit("Ray did not start")
        family = psutil.Process(head.pid).children(recursive=True)
        yield Cluster(words[1], head.pid, token)
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


def run(
    directory: Path,
    what: str = "rebuild",
    *,
    workers: int = 2,
    ray: Cluster | None = None,
    watched: bool = False,
    limit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One job of the project in a process that has loaded the product: its seconds, events, rows, stages.

    ray: on this cluster, else in threads. watched: with the most anonymous memory of each worker (of the process, where
    workers are threads). limit: further arguments of the job.
    """
    where = {"engine": "threads"} if ray is None else {"engine": "ray", "address": ray.address}
    asked = {"what": what, "config": str(directory / "runner.toml"), "workers": workers, **where, **(limit or {})}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(asked)],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(1), **(ray.token if ray else {})},
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            watch = _Watch(process.pid if ray is None else ray.head, of_ray=ray is not None) if watched else None
            process.stdin.write("go\n")
            process.stdin.flush()
            line = process.stdout.readline()
            peaks = watch.ended() if watch else []
            _, said = process.communicate("end\n", timeout=120)
        except BaseException:
            process.kill()
            raise
    if not line:
        raise SystemExit(f"{what} of {directory} failed ({process.returncode}):\n{said[-4000:]}")
    found: dict[str, Any] = json.loads(line)
    return {**found, "anonymous_mb": peaks} if watched else found


class _Watch:
    """Looks at processes' anonymous memory every 20 ms, in a thread."""

    def __init__(self, pid: int, *, of_ray: bool) -> None:
        self._root, self._of_ray = psutil.Process(pid), of_ray
        self._peaks: dict[int, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def ended(self) -> list[float]:
        """MB of the processes that worked, most first. Ray's idle ones have no more than they began with."""
        self._end.set()
        self._thread.join()
        return [round(octets / 1e6, 1) for octets in sorted(self._peaks.values(), reverse=True)]

    def _look(self) -> None:
        known: list[int] = []
        turn = 0
        while not self._end.wait(LOOK_SECONDS):
            if turn % 10 == 0:
                known = self._workers()
            turn += 1
            for pid in known:
                with suppress(OSError, StopIteration):
                    self._peaks[pid] = max(self._peaks.get(pid, 0), _anonymous(pid))

    def _workers(self) -> list[int]:
        if not self._of_ray:
            return [self._root.pid]
        found = []
        for process in self._root.children(recursive=True):
            with suppress(psutil.Error):
                if process.name().startswith("ray::") or process.cmdline()[:1][0].startswith("ray::"):
                    found.append(process.pid)
        return found


def _anonymous(pid: int) -> int:
    """Octets: private memory that no file stands behind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def evict(log: Path) -> None:
    """Ask the system to forget the log's pages, so that the next run reads them from the disk."""
    for file in log.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def same_rows(directory: Path) -> tuple[int, int]:
    """(rows, a hash of them in any order) of the project's live read model."""
    import duckdb

    with duckdb.connect(str(directory / "read_models" / "catalog.duckdb"), read_only=True) as catalog:
        found = catalog.execute("SELECT count(*), bit_xor(hash(a)) FROM account AS a").fetchone()
    assert found is not None
    return int(found[0]), int(found[1])
