"""One writer at a time, readers that hold what they read, and disks that refuse."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import log_cases as cases
import pytest

from runner.errors import LogError, LogLocked
from runner.log import Log, LogWriter, Room, audit
from runner.log.storage.local_publication import FilePublication as Publication

if TYPE_CHECKING:
    from collections.abc import Iterator


def put(writer: LogWriter, aggregate: str, mark: int) -> None:
    writer.append("s", cases.arrival([cases.Row(aggregate, place=(0, mark))]))
    writer.commit("s", mark)


def ids(log: Log) -> list[str]:
    return [e[1] for e in cases.raw_rows(log)]


def test_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path / "log") as first:
        with pytest.raises(LogLocked, match=rf"another writer has it \(process {os.getpid()} on "):
            LogWriter.open(tmp_path / "log")
        put(first, "a", 1)
    with LogWriter.open(tmp_path / "log") as second:
        put(second, "b", 2)
    with Log.open(tmp_path / "log") as log:
        assert ids(log) == ["a", "b"]


@pytest.mark.parametrize("published", [True, False], ids=["the other published", "the other only opened"])
def test_a_writer_that_lost_its_lock_publishes_nothing(tmp_path: Path, published: bool) -> None:
    path = tmp_path / "log"
    paused = LogWriter.open(path)
    paused.append("s", cases.arrival([cases.Row("from-the-paused")]))
    (path / "writer.lock").unlink()
    with LogWriter.open(path) as other:
        if published:
            put(other, "from-the-other", 1)
        with pytest.raises(LogLocked, match="another writer has taken over"):
            paused.commit("s", 1)
        put(other, "later", 2)
    paused.close()
    with Log.open(path) as log:
        assert ids(log) == (["from-the-other", "later"] if published else ["later"])
        assert audit(log).ok
    with LogWriter.open(path) as writer:
        assert {p.name for p in (path / "segments").iterdir()} == writer.manifest.files()


def test_a_lock_lost_between_writing_a_manifest_and_its_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last moment in which another writer can take over: its events must not vanish by the late rename."""
    path = tmp_path / "log"
    paused = LogWriter.open(path)
    write = Publication.write

    def overtaken(publication: Publication, published: str) -> None:
        write(publication, published)
        monkeypatch.setattr(Publication, "write", write)
        (path / "writer.lock").unlink()
        with LogWriter.open(path) as other:
            put(other, "from-the-other", 1)

    monkeypatch.setattr(Publication, "write", overtaken)
    with pytest.raises(LogLocked, match="another writer has taken over"):
        put(paused, "from-the-paused", 1)
    paused.close()
    with LogWriter.open(path) as writer:
        put(writer, "later", 2)
    with Log.open(path) as log:
        assert ids(log) == ["from-the-other", "later"]
        assert audit(log).ok


def test_a_lock_that_does_not_hold_at_all(tmp_path: Path) -> None:
    # As on a file system that forgets locks: the same lock file, both think that they have it.
    path = tmp_path / "log"
    paused = LogWriter.open(path)
    paused._writing.release()
    with LogWriter.open(path) as other:
        put(other, "a", 1)
    paused._writing.fence._handle = os.open(path / "writer.lock", os.O_RDWR)
    paused.append("s", cases.arrival([cases.Row("b")]))
    with pytest.raises(LogLocked):
        paused.commit("s", 1)
    paused.close()


def test_one_source_between_two_commits(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path / "log") as writer:
        writer.append("one", cases.arrival([cases.Row("a")]))
        with pytest.raises(LogError, match="events of source one wait for their commit"):
            writer.append("two", cases.arrival([cases.Row("a")]))


def test_sources_with_one_namespace_feed_the_same_aggregates(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path / "log") as writer:
        for k, (source, namespace) in enumerate([("old", "shop"), ("new", "shop"), ("other", None)]):
            writer.append(source, cases.arrival([cases.Row("a", place=(0, k))]), namespace=namespace)
            writer.commit(source, k, identity={"file": source}, namespace=namespace)
        with pytest.raises(LogError, match="was synced with the namespace 'shop', now it has 'x'"):
            writer.append("old", cases.arrival([cases.Row("a")]), namespace="x")
    with Log.open(tmp_path / "log") as log:
        assert log.scopes == (("shop", ""), ("other", ""))
        assert [(e[0], e[3]) for e in cases.raw_rows(log)] == [(1, 1), (2, 2), (3, 1)]
        assert [(s.name, s.identity, s.events, s.last_source_position) for s in log.sources] == [
            ("old", {"file": "old"}, 1, (0, 0)),
            ("new", {"file": "new"}, 1, (0, 1)),
            ("other", {"file": "other"}, 1, (0, 2)),
        ]
        assert [scope for scope, _, _ in log.find("a")] == [0, 1]
        assert log.find("b") == ()
        for _, hi, lo in log.find("a"):
            assert {e.aggregate_id for e in log.raw(log.partition_of(hi), aggregate=(hi, lo))} == {"a"}


def test_mark_alone_is_published_and_nothing_new_is_not(tmp_path: Path) -> None:
    with LogWriter.open(tmp_path / "log") as writer:
        put(writer, "a", 1)
        number = writer.manifest.number
        assert writer.commit("s", 1) == 1
        assert writer.manifest.number == number
        writer.commit("s", {"file": [1, 2]})
        assert writer.manifest.number == number + 1
        assert writer.mark("s") == {"file": [1, 2]}
        assert writer.mark("unknown") is None


def test_readers_keep_their_files_through_compactions(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter.open(path, partitions=2) as writer:
        for k in range(5):
            put(writer, f"a{k}", k)
        reader = Log.open(path)
        batch = next(reader.batches(0))
        copy = pickle.dumps(reader)
        put(writer, "a5", 5)
        assert writer.compact() == 6
        assert reader.manifest.files() <= {p.name for p in (path / "segments").iterdir()}
        # Nothing of the old segments was mapped but one partition: the rest is opened now.
        assert ids(reader) == [f"a{k}" for k in range(5)]
        again = pickle.loads(copy)
        assert again.manifest == reader.manifest
        again.close()
        reader.close()
        put(writer, "a6", 6)
    assert batch.aggregates.texts.to_pylist()
    with LogWriter.open(path) as writer:
        assert {p.name for p in (path / "segments").iterdir()} == writer.manifest.files()
    with LogWriter.open(path) as writer:
        for k in range(7, 30):
            put(writer, f"a{k}", k)
    LogWriter.open(path).close()
    # That manifest is long gone, and says so.
    with pytest.raises(LogError, match=r"manifest \d+ is not kept any more"):
        pickle.loads(copy)


def test_copied_log_is_whole_and_its_readers_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with LogWriter.open(path) as writer:
        put(writer, "a", 1)
        put(writer, "b", 2)
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    reader = Log.open(copy)
    with LogWriter.open(copy) as writer:
        writer.compact()
    assert ids(reader) == ["a", "b"]
    reader.close()


def test_manifests_are_kept_a_while(tmp_path: Path) -> None:
    for k in range(20):
        with LogWriter.open(tmp_path / "log") as writer:
            put(writer, "a", k)
    assert 16 <= len(list((tmp_path / "log" / "manifests").iterdir())) <= 17
    with Log.open(tmp_path / "log") as log:
        assert audit(log).ok


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 kB: the disk refuses in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_publishes_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "log"
    with LogWriter.open(path) as writer:
        put(writer, "a", 1)
        before = {p.name for p in (path / "segments").iterdir()}
        many = cases.arrival([cases.Row(f"x{k}", place=(0, k)) for k in range(5000)])
        request.getfixturevalue("small_files")
        writer.append("s", many)
        with pytest.raises(LogError, match=r"cannot be written: .*nothing was published"):
            writer.commit("s", 2)
        assert {p.name for p in (path / "segments").iterdir()} == before
        put(writer, "b", 2)
    with Log.open(path) as log:
        assert ids(log) == ["a", "b"]
        assert audit(log).ok


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    cases.write(folder / "log", [cases.Row("a")])
    for p in (folder, folder / "log", folder / "log" / "segments", folder / "log" / "manifests"):
        p.chmod(0o555)
    for p in (*(folder / "log").rglob("*.*"),):
        p.chmod(0o444)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(LogError, match="cannot be written: Permission denied"):
            LogWriter.open(folder / "log")
        with pytest.raises(LogError, match="cannot be written: Permission denied"):
            LogWriter.open(folder / "other")
        with Log.open(folder / "log") as log:
            assert ids(log) == ["a"]
            assert audit(log).ok
    finally:
        if root:
            os.seteuid(0)
        for p in (folder, folder / "log", folder / "log" / "segments", folder / "log" / "manifests"):
            p.chmod(0o755)
        shutil.rmtree(folder)


def test_the_log_is_private(tmp_path: Path) -> None:
    cases.write(tmp_path / "log", [cases.Row("a")])
    for p in (tmp_path / "log", *(tmp_path / "log").rglob("*")):
        assert p.stat().st_mode & 0o077 == 0, p


def test_large_payloads_get_segments_of_their_own(tmp_path: Path) -> None:
    rows = [cases.Row("a", payload='{"x":"' + "y" * size + '"}') for size in (10, 10_000_000, 10, 500, 10)]
    cases.write(tmp_path / "log", rows, room=Room(payload_bytes=600))
    with Log.open(tmp_path / "log") as log:
        assert [e[5] for e in cases.raw_rows(log)] == [r.payload for r in rows]
        assert [s.events for s in log.manifest.segments] == [1, 1, 3]
        assert audit(log).ok
