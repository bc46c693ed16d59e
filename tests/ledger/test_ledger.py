"""The job ledger: what a run writes is there for the next, whoever runs meanwhile and however it ended."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from runner.errors import JobError
from runner.jobs.records import ledger as ledger_module
from runner.jobs.records.ledger import Ledger, NewJob, PartitionRecord
from runner.jobs.records.owner import Owner
from runner.positions import Position
from runner.sinks.shape import FileInfo
from runner.stats import StageFinished, StageStarted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = NewJob(
    "rebuild",
    ("orders", "accounts"),
    fingerprints={"orders": "f1", "accounts": "f2"},
    log_id="log-1",
    cut=Position(120),
    plan_digest="d1",
    options={"workers": 2, "to": None},
)
FILE = FileInfo("base-3.parquet", False, 3, 0, 10, 0, 100, "d" * 32, "e" * 32)
RECORD = PartitionRecord(
    3,
    {"orders": (FILE,), "accounts": ()},
    events=7,
    batches=1,
    folded={"orders": 7},
    rows={"orders": 10},
    seconds={"fold": 0.5},
    by_twin=("orders",),
    notes=("why",),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as opened:
        yield opened


def _elsewhere(path: Path, code: str) -> str:
    """Run code in another process that has ``ledger`` and ``JOB``, and ends without closing anything."""
    script = f"""
import os, sys
from runner.jobs.records.ledger import Ledger, NewJob, PartitionRecord
ledger = Ledger({str(path)!r})
JOB = NewJob("rebuild", ("orders", "accounts"))
{code}
sys.stdout.flush()
os._exit(0)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_a_run_comes_back_as_it_was_recorded(ledger: Ledger) -> None:
    job_id = ledger.begin(JOB)
    ledger.claimed(job_id, {"orders": 4})
    ledger.partition_done(job_id, RECORD)
    hear = ledger.listener(job_id)
    for fact in (StageStarted("fold"), StageFinished("fold", 1.5, 100), StageFinished("fold", 0.5, 20)):
        hear(fact)
    running = ledger.get(job_id)
    assert (running.state, running.finished, running.partitions_done) == ("running", "", 1)
    ledger.finish(job_id, "succeeded", counts={"rows": 10})
    job = ledger.get(job_id[:-1])
    assert job.state == "succeeded"
    assert job.finished >= job.started > ""
    assert (job.versions, job.counts, job.error) == ({"orders": 4}, {"rows": 10}, "")
    assert job.stages == {"fold": (2.0, 120)}
    assert job.owner == Owner.here()
    assert not JOB.differs_from(job)
    assert (job.what, job.projections, job.cut, job.options) == ("rebuild", ("accounts", "orders"), 120, JOB.options)
    assert ledger.partitions(job_id) == {3: RECORD}


def test_the_latest_runs_stand_first(ledger: Ledger) -> None:
    ids = [ledger.begin(replace(JOB, what=what)) for what in ("sync", "rebuild", "sync", "update")]
    assert [j.id for j in ledger.jobs()] == ids[::-1]
    assert [j.id for j in ledger.jobs(what="sync", limit=1)] == [ids[2]]
    for job_id in ids:
        ledger.finish(job_id, "succeeded")
    assert ledger.trim(keep=3) == 1
    assert [j.id for j in ledger.jobs()] == ids[:0:-1]


@pytest.mark.parametrize("asked", ["", "nothing", "%"])
def test_a_job_that_is_not_there(asked: str, ledger: Ledger) -> None:
    ledger.begin(JOB)
    with pytest.raises(JobError, match="no job"):
        ledger.get(asked)


def test_an_ambiguous_beginning_is_refused(ledger: Ledger) -> None:
    ids = [ledger.begin(JOB) for _ in range(2)]
    with pytest.raises(JobError, match="2 jobs begin"):
        ledger.get(ids[0][:4])


def test_a_dead_run_is_shown_as_died_and_can_be_gone_on_with(path: Path, ledger: Ledger) -> None:
    code = "job = ledger.begin(JOB); ledger.partition_done(job, PartitionRecord(5, {'orders': ()})); print(job)"
    job_id = _elsewhere(path, code)
    assert ledger.get(job_id).state == "died"
    unfinished = ledger.last_unfinished("rebuild", ("accounts", "orders"))
    assert unfinished is not None
    assert unfinished.id == job_id
    again = ledger.begin(JOB, resumes=job_id)
    assert list(ledger.partitions(again)) == [5]
    ledger.partition_done(again, RECORD)
    ledger.forget_partition(again, 5)
    assert list(ledger.partitions(again)) == [3]
    assert list(ledger.partitions(job_id)) == [5], "the former run's results changed"
    assert ledger.last_unfinished("rebuild", ("accounts", "orders")) is None, "a run that goes on was given out"
    ledger.finish(again, "failed", error="disk full")
    latest = ledger.last_unfinished("rebuild", ("accounts", "orders"))
    assert latest is not None
    assert (latest.id, latest.resumes, latest.error) == (again, job_id, "disk full")
    assert ledger.last_unfinished("rebuild", ("other",)) is None
    shared = ledger.last_unfinished("rebuild", ("orders", "other"))
    assert shared is not None, "the run that has the partitions of one of them was passed over"
    assert shared.id == again
    ledger.finish(ledger.begin(JOB), "failed", error="VersionBusy")
    latest = ledger.last_unfinished("rebuild", ("accounts", "orders"))
    assert latest is not None
    assert latest.id == again, "a run that did nothing stands in the way"
    ledger.finish(ledger.begin(JOB), "succeeded")
    assert ledger.last_unfinished("rebuild", ("accounts", "orders")) is None, "an outdated run was given out"


@pytest.mark.parametrize(
    ("owner", "life"),
    [
        (replace(Owner.here(), host="elsewhere"), "unknown"),
        (Owner.here(), "alive"),
        (replace(Owner.here(), process=Owner.here().process.rpartition("/")[0] + "/1"), "dead"),
        (replace(Owner.here(), process="another-boot/" + Owner.here().process.partition("/")[2]), "dead"),
        (replace(Owner.here(), pid=2**22 + 1), "dead"),
        (replace(Owner.here(), process=Owner.here().process.replace("/pid:[", "/pid:[9")), "unknown"),
    ],
)
def test_the_living_and_the_dead(owner: Owner, life: str) -> None:
    assert owner.life() == life


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = Owner(Owner.here().host, process.pid, ledger_module.Owner.here().process.rpartition("/")[0] + "/1")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner.life() == "dead"
    process.communicate()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"projections": ("orders",)}, "it was of orders, accounts"),
        ({"fingerprints": {"orders": "f1", "accounts": "new"}}, "changed since: accounts"),
        ({"log_id": "log-2"}, "log-2"),
        ({"cut": Position(121)}, "up to position 120, this run up to 121"),
        ({"plan_digest": "d2"}, "compiled fold"),
    ],
)
def test_a_run_whose_results_would_differ_is_told(change: dict[str, object], words: str) -> None:
    other = replace(JOB, **change)
    reasons = JOB.differs_from(other)
    assert len(reasons) == 1
    assert words in reasons[0]
    assert not JOB.differs_from(replace(JOB, options={"workers": 9}, versions={"orders": 2}))


def test_processes_and_threads_write_at_once_while_others_read(path: Path, ledger: Ledger) -> None:
    job_id = ledger.begin(JOB)
    wrong: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for n in range(first, first + 25):
                ledger.partition_done(job_id, replace(RECORD, partition=n))
        except BaseException as error:
            wrong.append(error)

    def elsewhere(first: int) -> None:
        try:
            _elsewhere(
                path,
                f"for n in range({first}, {first} + 25): ledger.partition_done({job_id!r}, PartitionRecord(n, {{}}))",
            )
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (0, 25)]
    threads += [threading.Thread(target=elsewhere, args=(n,)) for n in (50, 75)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(t.is_alive() for t in threads):
        with Ledger(path, read_only=True) as reader:
            now = reader.get(job_id).partitions_done
            assert now >= seen
            seen = now
    assert wrong == []
    assert list(ledger.partitions(job_id)) == list(range(100))


def test_what_a_killed_run_recorded_is_there(path: Path, ledger: Ledger) -> None:
    code = "job = ledger.begin(JOB); [ledger.partition_done(job, PartitionRecord(n, {})) for n in range(3)]; print(job)"
    script_end = "sys.stdout.flush(); os.kill(os.getpid(), 9)"
    with pytest.raises(subprocess.CalledProcessError) as killed:
        _elsewhere(path, f"{code}\n{script_end}")
    assert list(ledger.partitions(killed.value.stdout.strip())) == [0, 1, 2]


def test_secrets_are_masked(path: Path, ledger: Ledger) -> None:
    options = {"source": "postgresql://me:geheim@host/db", "nested": {"password": "ge heim"}, "tokens": ["geheim"]}
    job_id = ledger.begin(replace(JOB, options=options))
    ledger.finish(
        job_id, "failed", error="cannot reach postgresql://me:geheim@host/db, password = 'ge heim' token=geheim"
    )
    job = ledger.get(job_id)
    assert job.options == {"source": "postgresql://me:***@host/db", "nested": {"password": "***"}, "tokens": "***"}
    assert job.error == "cannot reach postgresql://me:***@host/db, password = *** token=***"
    ledger.close()
    for file in path.parent.iterdir():
        assert b"heim" not in file.read_bytes()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "state" / "ledger.sqlite", tmp_path):
        with pytest.raises(JobError, match=r"job ledger .* cannot be (made|used)") as raised:
            Ledger(place)
        assert "state directory" in str(raised.value)
    assert Ledger(tmp_path / "no" / "ledger.sqlite", read_only=True).jobs() == ()
    assert not (tmp_path / "no").exists()


def test_a_read_only_file_system(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        path = place / "ledger.sqlite"
        with Ledger(path) as ledger:
            job_id = ledger.begin(JOB)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        with pytest.raises(JobError, match="state directory must be writable"):
            Ledger(path)
        with Ledger(path, read_only=True) as reader:
            assert reader.get(job_id).cut == 120
            with pytest.raises(JobError, match="state directory must be writable"):
                reader.begin(JOB)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_no_ledger(read_only: bool, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(JobError, match=r"not a database.*move it away"):
        Ledger(path, read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_ledger_of_a_newer_runner_is_left_alone(read_only: bool, path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JobError, match="newer runner"):
        Ledger(path, read_only=read_only)
    assert path.read_bytes() == before


def test_an_older_ledger_is_brought_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(path) as ledger:
        job_id = ledger.begin(JOB)
    steps = {
        **ledger_module.MIGRATIONS,
        f"migration_{len(ledger_module.MIGRATIONS) + 1}": "CREATE TABLE notes (a TEXT);\nCREATE INDEX n ON notes (a)",
    }
    monkeypatch.setattr(ledger_module, "MIGRATIONS", steps)
    with pytest.raises(JobError, match="older runner"):
        Ledger(path, read_only=True)
    with Ledger(path) as ledger:
        assert ledger.get(job_id).id == job_id
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)
    connection.close()
    with Ledger(path, read_only=True) as ledger:
        assert ledger.get(job_id).id == job_id


def test_records_are_plain_json(ledger: Ledger, path: Path) -> None:
    job_id = ledger.begin(JOB)
    ledger.partition_done(job_id, RECORD)
    connection = sqlite3.connect(path)
    text = connection.execute("SELECT record FROM partitions").fetchone()[0]
    connection.close()
    assert json.loads(text)["files"]["orders"][0]["name"] == "base-3.parquet"
