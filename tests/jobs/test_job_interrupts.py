"""Ctrl-C at a scripted point, once and twice: exit 130, nothing half-published, no process left, and resumable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from job_project import Project, expected, history

from runner.engine import InProcessEngine, NodeAnswer
from runner.errors import EngineError
from runner.jobs.folding.preparing import check_nodes
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.records.ledger import Ledger

HERE = Path(__file__).parent

SCRIPT = """
import os, signal, sys, threading, time
import psutil
import runner.jobs.rebuilding.rebuild as job
from runner.cli.app import run

config, engine, point, times = sys.argv[1:5]
real = job.reached

def interrupt(step):
    if step == point and not done:
        done.append(step)
        with open(config + ".children", "w") as file:
            file.write(" ".join(str(p.pid) for p in psutil.Process().children(recursive=True)))
        for n in range(1, int(times)):
            threading.Timer(0.3 * n, os.kill, (os.getpid(), signal.SIGINT)).start()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
    real(step)

done = []
job.reached = interrupt
sys.exit(run(["rebuild", "--all", "--config", config, "--engine", engine, "--workers", "2"]))
"""


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("engine", ["threads", pytest.param("ray", marks=pytest.mark.ray)])
def test_ctrl_c(project: Project, engine: str, times: int) -> None:
    events = history(1, 300, accounts=40)
    project.append(events[:100])
    rebuild(project.config, engine="in-process", prove=0)
    before = project.bytes()
    project.append(events[100:])
    toml = project.root / "runner.toml"
    toml.write_text(
        '[project]\nmodules = ["bank_of_jobs"]\n[log]\npath = "log"\n[state]\npath = "state"\n'
        '[read_models]\npath = "read_models"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(toml), engine, "rebuild.3", str(times)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr
    assert project.bytes() == before, "what is live changed"
    children = [int(pid) for pid in Path(f"{toml}.children").read_text().split()]
    assert bool(children) == (engine == "ray")
    alive = [p for p in children if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
    assert alive == [], "Ray outlives the run"
    with Ledger(project.config.state.path / "jobs.sqlite", read_only=True) as ledger:
        job = ledger.jobs(limit=1)[0]
    assert job.state in ("interrupted", "died")
    assert job.partitions_done > 0
    report = rebuild(project.config, engine="in-process", resume=True)
    assert report.resumed_partitions == job.partitions_done
    for name, rows in expected(events).items():
        assert project.rows(name) == rows


class _Elsewhere(InProcessEngine):
    """An engine with a second machine, which has another file system."""

    def on_every_node(self, function, task):  # type: ignore[no-untyped-def]  # as the protocol's
        there = type(task)(**{**task.__dict__, **self.seen})
        return (NodeAnswer("here", function(task)), NodeAnswer("far away", function(there)))


def test_machines_that_do_not_see_log_or_read_models_are_named(project: Project, tmp_path: Path) -> None:
    project.append(history(2, 20))
    other = Project(tmp_path / "other")
    other.root.mkdir()
    other.append(history(3, 20))
    engine = _Elsewhere()
    with project.log() as log:
        for seen, words in (
            ({"log": "/nowhere"}, "no log at /nowhere"),
            ({"log": str(other.root / "log")}, "is log"),
            ({"directories": ("/nowhere",)}, "/nowhere is not there"),
        ):
            engine.seen = seen
            with pytest.raises(EngineError, match="far away") as raised:
                check_nodes(engine, log, [tmp_path])
            assert words in str(raised.value)
            assert "--engine threads" in raised.value.hint
        engine.seen = {}
        check_nodes(engine, log, [tmp_path])
