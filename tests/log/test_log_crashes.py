"""Killed at every numbered step of sync, columns and compact, the log is a whole one; run again, it is as if never
killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import crashing_writer
import log_cases as cases
import pytest

from runner.errors import LogError
from runner.log import Log, LogWriter, audit
from runner.steps import STEPS

if TYPE_CHECKING:
    from pathlib import Path

STEPS_OF_THE_LOG = [s for s in STEPS if s.split(".")[0] in ("sync", "columns", "compact")]


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unharmed") / "log"
    crashing_writer.main(str(path))
    return path


@pytest.mark.parametrize("step", [*STEPS_OF_THE_LOG, "sync.1:3", "sync.2:3", "sync.3:3"])
def test_killed_and_run_again(step: str, unharmed: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    died = subprocess.run(
        [sys.executable, crashing_writer.__file__, str(path)],
        env={**os.environ, "RUNNER_CRASH_AT": step},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr

    committed = {"sync.1": 0, "sync.2": 0, "sync.3": 1, "sync.1:3": 2, "sync.2:3": 2, "sync.3:3": 3}.get(step, 4)
    with Log.open(path) as log:
        assert log.events == committed * 5
        assert audit(log).findings == ()
        assert len(cases.raw_rows(log)) == log.events
    crashing_writer.main(str(path))
    with Log.open(path) as log, Log.open(unharmed) as other:
        assert audit(log).findings == ()
        assert log.digest == other.digest
        assert cases.raw_rows(log) == cases.raw_rows(other)
        assert [s.events_file.sha256 for s in log.manifest.segments] == [
            s.events_file.sha256 for s in other.manifest.segments
        ]
        assert log.missing_columns([cases.AMOUNT]) == ()
        assert {p.name for p in (path / "segments").iterdir()} == log.manifest.files()
    assert not (path / "manifest.json.new").exists()


DIES = """
import os, signal, sys
from pathlib import Path
from runner.log import LogWriter

def dies(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "before its number":
    os.link = dies
else:
    Path.rename = dies
LogWriter.open(sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["before its number", "before it is published"])
def test_killed_while_the_log_begins(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    died = subprocess.run([sys.executable, "-c", DIES, str(path), moment], timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    assert (path / "manifest.json.new").exists()
    with pytest.raises(LogError, match="no log at"):
        Log.open(path)
    crashing_writer.main(str(path))
    with Log.open(path) as log:
        assert log.events == 20
        assert audit(log).findings == ()
    assert not (path / "manifest.json.new").exists()


def test_error_in_append_keeps_the_last_commit(tmp_path: Path) -> None:
    cases.write(tmp_path / "log", [cases.Row("a", version=3)])
    with LogWriter.open(tmp_path / "log") as writer:
        writer.append("s", cases.arrival([cases.Row("b", "new type", version=1)]))
        writer.append("s", cases.arrival([cases.Row("a", version=2)]))
        with pytest.raises(LogError, match="version 2 of aggregate 'a' is not above the version 3"):
            writer.commit("s", "never")
        # The writer goes on from the last commit.
        writer.append("s", cases.arrival([cases.Row("a", version=4)]))
        writer.commit("s", "after")
    with Log.open(tmp_path / "log") as log:
        assert [e[1:4] for e in cases.raw_rows(log)] == [("a", "opened", 3), ("a", "opened", 4)]
        assert log.types == ("opened",)
        assert {p.name for p in (tmp_path / "log" / "segments").iterdir()} == log.manifest.files()
