"""Writers of a log on an object store that race, are paused, die, or do not hear an answer: one history."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import crashing_writer
import forked_writers
import log_cases as cases
import pytest

from runner.errors import LogError, LogLocked
from runner.log import Log, LogWriter, audit
from runner.log.storage import lease as leases
from runner.log.storage import object_writing
from runner.log.storage.client import ObjectClient
from runner.log.storage.object_writing import ObjectPublication, file_number
from runner.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures_object_store import ObjectStores

    from runner.config import ObjectStorePath

STEPS_OF_OBJECTS = [s for s in STEPS if s.startswith("object.")]
ROWS = sum(len(lot) for lot in crashing_writer.LOTS)


def put(writer: LogWriter, aggregate: str, mark: int) -> None:
    writer.append("s", cases.arrival([cases.Row(aggregate, place=(0, mark))]))
    writer.commit("s", mark)


def ids(path: ObjectStorePath) -> list[str]:
    with Log.open(path) as log:
        assert audit(log).findings == ()
        return [e[1] for e in cases.raw_rows(log)]


def test_of_conditional_puts_at_once_one_holds(object_store: ObjectStores) -> None:
    """The server's part of the promise, seen before anything is built on it."""
    client = ObjectClient(object_store.log())
    with ThreadPoolExecutor(8) as pool:
        for k in range(10):
            gate = threading.Barrier(8)

            def create(n: int, k: int = k, gate: threading.Barrier = gate) -> bool:
                gate.wait()
                return client.create(f"c{k}", b"%d" % n)

            won = [n for n, held in enumerate(pool.map(create, range(8))) if held]
            assert client.get(f"c{k}") == b"%d" % won[0]
            tag = client.get_tagged(f"c{k}")[1]  # type: ignore[index]

            def change(n: int, k: int = k, gate: threading.Barrier = gate, tag: Any = tag) -> bool:
                gate.wait()
                return client.replace(f"c{k}", b"again %d" % n, tag) is not None

            changed = [n for n, held in enumerate(pool.map(change, range(8))) if held]
            assert (len(won), len(changed)) == (1, 1)
            assert client.get(f"c{k}") == b"again %d" % changed[0]


def test_a_store_without_conditions_is_refused(faulty_object_store: ObjectStores) -> None:
    store = faulty_object_store
    path = store.log()
    store.fail("PUT", "conditions-", "unconditional", times=9)
    with pytest.raises(LogError, match="does not honour conditions of puts"):
        LogWriter.open(path)
    assert not Log.exists(path)
    assert store.keys(path, "conditions-") == set()
    store.heal()
    LogWriter.open(path).close()


# Killed and paused ----------------------------------------------------------------------------------------------------


class Forks:
    """``forked_writers.py`` under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, path: ObjectStorePath | None, what: str, step: str | int) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([pickle.dumps(path).hex(), what, step]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def _forks() -> Iterator[Forks]:
    command = [sys.executable, forked_writers.__file__]
    environment = {**os.environ, "RUNNER_TEST_S3_KEY": "k", "RUNNER_TEST_S3_SECRET": "s"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Forks(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its children too, also stopped ones


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``crashing_writer`` writes into a directory when nothing happens to it."""
    path = tmp_path_factory.mktemp("unharmed") / "log"
    crashing_writer.main(str(path))
    return path


@pytest.fixture
def forks(_forks: Forks, object_store: ObjectStores) -> Forks:
    return _forks


@pytest.mark.parametrize("step", [*STEPS_OF_OBJECTS, "object.2:7", "object.4:4", "object.3:6"])
def test_killed_and_run_again(step: str, forks: Forks, object_store: ObjectStores, unharmed: Path) -> None:
    path = object_store.log(kept_seconds=0)
    assert forks.ask(path, "crash", step) == signal.SIGKILL
    manifests = {"object.1": 0, "object.2": 1, "object.3": 0, "object.4": 1}.get(step)
    if manifests is not None:
        assert len(object_store.keys(path, "manifests/")) == manifests
    # The lease of one that died here does not keep the next one out.
    crashing_writer.main(path)
    with Log.open(object_store.elsewhere(path)) as log, Log.open(unharmed) as other:
        assert audit(log).findings == ()
        assert log.digest == other.digest
        assert cases.raw_rows(log) == cases.raw_rows(other)
        found = [s.events_file.sha256 for s in log.manifest.segments]
        assert found == [s.events_file.sha256 for s in other.manifest.segments]
        assert log.missing_columns([cases.AMOUNT]) == ()
    spool = next(path.cache.glob("*/spool"))
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("step", ["object.2:5", "object.3:3", "object.4:3"])
def test_paused_and_coming_back_after_another_wrote(
    step: str, forks: Forks, object_store: ObjectStores, unharmed: Path
) -> None:
    """Stopped in its second commit (the first manifest is of no events), while its lease is taken over."""
    path = object_store.log(lease_seconds=0.2)
    child = forks.ask(path, "start", step)
    elsewhere = object_store.elsewhere(path)
    while True:
        try:
            other = LogWriter.open(elsewhere)
            break
        except LogLocked:
            time.sleep(0.02)  # until the lease is over
    with other:
        done = other.mark("s") or 0
        assert done == {"object.2:5": 1, "object.3:3": 1, "object.4:3": 2}[step]
        for lot in crashing_writer.LOTS[done:]:
            other.append("s", cases.arrival(lot))
            other.commit("s", (other.mark("s") or 0) + 1)
    os.kill(child, signal.SIGCONT)
    code, said = forks.ask(None, "finish", child)
    assert code == 1
    assert said.startswith("LogLocked: ")
    assert "another writer has" in said
    assert "run it again" in said
    with Log.open(path) as log, Log.open(unharmed) as other_log:
        assert audit(log).findings == ()
        assert log.digest == other_log.digest
        assert cases.raw_rows(log) == cases.raw_rows(other_log)
        assert log.events == ROWS


@pytest.mark.parametrize("after", [0, 12], ids=["its number was taken", "its number was taken, and removed as old"])
def test_the_last_moment(after: int, object_store: ObjectStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overtaken between the last look at the lease and the put: what decides is the put, not the lease."""
    path = object_store.log(kept_seconds=0)
    rename = ObjectPublication.rename

    def overtaken(publication: ObjectPublication) -> None:
        monkeypatch.setattr(ObjectPublication, "rename", rename)
        ObjectClient(path).delete(["writer.json"])
        with LogWriter.open(path) as other:
            for k in range(after + 1):
                put(other, f"other-{k}", k)
        LogWriter.open(path).close()  # which removes what is old
        assert ("0000000002.json" in object_store.keys(path, "manifests/")) == (after == 0)
        rename(publication)

    paused = LogWriter.open(path)
    monkeypatch.setattr(ObjectPublication, "rename", overtaken)
    with pytest.raises(LogLocked, match="another writer has published manifest 2"):
        put(paused, "paused", 1)
    paused.close()
    assert ids(path) == [f"other-{k}" for k in range(after + 1)]
    with LogWriter.open(path) as writer:
        put(writer, "later", 99)
    LogWriter.open(path).close()
    assert ids(path)[-1] == "later"
    with Log.open(path) as log:
        assert object_store.keys(path) == log.manifest.files()


# Answers that are lost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "times"), [("refused", 2), ("lost", 1), ("lost", 3), ("silent", 1)], ids=lambda value: str(value)
)
def test_a_store_that_fails_for_a_moment(how: str, times: int, faulty_object_store: ObjectStores) -> None:
    store = faulty_object_store
    path = store.log()
    path = replace(path, options={**path.options, "timeout_seconds": "1"})
    with LogWriter.open(path) as writer:
        for k, key in enumerate(("manifests/", "segments/", "writer.json")):
            store.fail("PUT", key, how, times=times, seconds=1.5)
            put(writer, f"a{k}", k)
            assert writer.manifest.number == k + 2
            writer._writing._lease.claim(k * 10)  # type: ignore[attr-defined]
        store.fail("GET", "manifests/", "refused", times=2)
        assert ids(store.elsewhere(path)) == ["a0", "a1", "a2"]


def test_a_store_that_goes_on_failing(faulty_object_store: ObjectStores, monkeypatch: pytest.MonkeyPatch) -> None:
    store = faulty_object_store
    path = store.log()
    path = replace(path, options={**path.options, "timeout_seconds": "2", "retries": "0"})
    with LogWriter.open(path) as writer:
        put(writer, "a", 1)
        store.fail("PUT", "manifests/", "refused", times=99)
        with pytest.raises(
            LogError, match=r"manifests/0000000003.json: cannot be written: .*nothing is half-published"
        ):
            put(writer, "b", 2)
        store.heal()
        assert ids(path) == ["a"]
        put(writer, "b", 2)
        assert ids(path) == ["a", "b"]

        # Done, not answered, and not to be read back: nobody here can know.
        store.fail("PUT", "manifests/", "lost", times=1)
        get = ObjectClient.get_tagged

        def unread(client: ObjectClient, key: str) -> Any:
            if key.startswith("manifests/"):
                raise LogError(f"{key}: cannot be read")
            return get(client, key)

        monkeypatch.setattr(ObjectClient, "get_tagged", unread)
        with pytest.raises(LogError, match=r"whether it was published cannot be seen.*goes on from what is there"):
            put(writer, "c", 3)
        monkeypatch.setattr(ObjectClient, "get_tagged", get)
        with pytest.raises(LogLocked, match="another writer has published manifest 4"):
            put(writer, "never", 3)
    with LogWriter.open(path) as writer:
        assert writer.mark("s") == 3
        put(writer, "d", 4)
    assert ids(path) == ["a", "b", "c", "d"]


# The lease ------------------------------------------------------------------------------------------------------------


def test_a_lease_ends_when_its_writer_is_not_heard_of(
    object_store: ObjectStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = object_store.log(lease_seconds=40)
    LogWriter.open(path).close()
    client = ObjectClient(path)

    def left(until: float, **changes: Any) -> None:
        body = {**leases._process(), "fence": 7, "token": "x", "until": until, "manifest": 1, "collected": 0, **changes}
        found = client.get_tagged("writer.json")
        assert found is not None
        assert client.replace("writer.json", json.dumps(body).encode(), found[1])

    def taken() -> bool:
        try:
            writer = LogWriter.open(path)
        except LogLocked:
            return False
        assert writer.manifest.fence < writer._writing.number
        writer.close()
        return True

    now = time.time()
    far = {"host": "elsewhere", "boot": "another"}
    left(now + 30)
    assert not taken()  # this very process
    left(now + 30, started=1.0)
    assert taken()  # its number is another process's now
    left(now + 30, pid=2**22 + 1)
    assert taken()  # dead
    left(now + 30, **far)
    assert not taken()
    left(now - 5, **far)
    assert not taken()  # clocks may differ
    left(now - 20, **far)
    assert taken()
    client.delete(["writer.json"])
    assert client.replace("writer.json", b"{", None)
    with pytest.raises(LogError, match=r"writer.json: is no lease of a writer.*remove it"):
        LogWriter.open(path)


def test_a_writer_that_lives_keeps_its_lease(object_store: ObjectStores) -> None:
    path = object_store.log(lease_seconds=0.3)
    client = ObjectClient(path)
    with LogWriter.open(path) as writer:
        first = json.loads(client.get("writer.json") or b"")
        while json.loads(client.get("writer.json") or b"")["until"] < first["until"] + 0.6:
            time.sleep(0.02)  # until it was renewed, for longer than it was taken for
        put(writer, "a", 1)
    assert json.loads(client.get("writer.json") or b"")["until"] == 0
    assert ids(path) == ["a"]


# Garbage --------------------------------------------------------------------------------------------------------------


def test_names_say_which_manifest_names_them_first(object_store: ObjectStores) -> None:
    path = object_store.log(kept_seconds=3600)
    before: set[str] = set()
    crashing_writer.main(path)
    for number in range(1, 8):
        found = Log.open(path, number=number)
        new = found.manifest.files() - before
        before |= new
        assert {file_number(name) for name in new} <= {number}
    assert len(before) == len(object_store.keys(path)) > 20
    assert file_number("anything.else") == 0


def test_garbage_is_what_nobody_can_publish_or_read(object_store: ObjectStores) -> None:
    path = object_store.log(kept_seconds=3600)
    lost = LogWriter.open(path)
    for k in range(3):
        put(lost, f"a{k}", k)
    # Uploaded, not published: another writer opens, and may not take these files away, old as they are.
    lost.append("s", cases.arrival([cases.Row("b")]))
    lost._write_segment()
    number = lost.manifest.number + 1
    publication = lost._writing.publication(
        replace(lost.manifest, number=number, segments=(*lost.manifest.segments, *lost._pending)), b"{}"
    )
    publication.write("")
    uploaded = {f.name for f in lost._pending[0].files()}
    ObjectClient(path).delete(["writer.json"])
    at_once = replace(path, kept_seconds=0)
    LogWriter.open(at_once).close()
    assert uploaded <= object_store.keys(path)

    # The number is taken by another: now they are garbage, once they are old.
    with LogWriter.open(path) as other:
        put(other, "c", 9)
        other.compact()
    former = {name for name in object_store.keys(path) if file_number(name) < number} | uploaded
    LogWriter.open(path).close()
    assert former <= object_store.keys(path)  # not old enough
    with Log.open(path, number=number - 1) as reader:
        with LogWriter.open(at_once) as other:
            for k in range(object_writing.KEPT_MANIFESTS):
                put(other, f"d{k}", 10 + k)
        LogWriter.open(at_once).close()
        assert object_store.keys(path).isdisjoint(uploaded)
        assert len(object_store.keys(path, "manifests/")) == object_writing.KEPT_MANIFESTS
        fresh = Log(reader.storage, reader.manifest, reader.storage.hold(None)[1], verify=True)
        (path.cache / next(path.cache.iterdir()) / "segments").rename(path.cache / "gone")
        with pytest.raises(LogError, match=r"segments/0.*: is gone: the log was compacted, .* \(run it again"):
            cases.raw_rows(Log.open(object_store.elsewhere(path), number=None) and fresh)
    with pytest.raises(LogError, match=rf"manifest {number - 1} is not kept any more"):
        Log.open(path, number=number - 1)
    lost.close()
    assert ids(path) == ["a0", "a1", "a2", "c", *(f"d{k}" for k in range(object_writing.KEPT_MANIFESTS))]
