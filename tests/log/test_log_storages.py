"""What every place of a log must do: one body, a local directory and an object store."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import log_cases as cases
import pytest

from runner.errors import LogDamaged, LogError, LogLocked
from runner.log import Log, LogWriter, Room, audit, storage_of

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_object_store import ObjectStores


class InDirectory:
    """A log in a local directory, looked at from outside."""

    def __init__(self, path: Path) -> None:
        self.path: Any = path

    def files(self) -> set[str]:
        return {p.name for p in (self.path / "segments").iterdir()}

    def lose_lock(self) -> None:
        (self.path / "writer.lock").unlink()

    def change(self, name: str, data: bytes | None) -> None:
        file = self.path / "segments" / name
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)


class InObjects:
    """The same of one on an object store."""

    def __init__(self, store: ObjectStores) -> None:
        self.store = store
        self.path: Any = store.log()

    def files(self) -> set[str]:
        return self.store.keys(self.path)

    def lose_lock(self) -> None:
        self.client.delete(["writer.json"])

    def change(self, name: str, data: bytes | None) -> None:
        if data is None:
            self.client.delete([f"segments/{name}"])
        else:
            with cases.scratch() as folder:
                (file := cases.Path(folder) / "changed").write_bytes(data)
                self.client.upload(file, f"segments/{name}")

    @property
    def client(self) -> Any:
        return storage_of(self.path).client  # type: ignore[attr-defined]

    def elsewhere(self) -> Any:
        return self.store.elsewhere(self.path)


Place = InDirectory | InObjects


@pytest.fixture(params=["directory", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return InDirectory(tmp_path / "log")
    return InObjects(request.getfixturevalue("object_store"))


def far(place: Place) -> Any:
    """The log as another machine sees it."""
    return place.path if isinstance(place, InDirectory) else place.elsewhere()


def put(writer: LogWriter, aggregate: str, mark: int) -> None:
    writer.append("s", cases.arrival([cases.Row(aggregate, "deposited", place=(0, mark), payload='{"amount": 1}')]))
    writer.commit("s", mark)


def ids(log: Log) -> list[str]:
    return [e[1] for e in cases.raw_rows(log)]


def test_a_log_begins_and_says_what_is_current(place: Place) -> None:
    storage = storage_of(place.path)
    assert not Log.exists(place.path)
    assert storage.stamp() is None
    for opens in (lambda: Log.open(place.path), lambda: LogWriter.open(place.path, create=False), storage.current):
        with pytest.raises(LogError, match=r"no log at .* \(`runner sync` makes one\)"):
            opens()
    with LogWriter.open(place.path, partitions=2) as writer:
        assert Log.exists(place.path)
        assert (writer.manifest.number, writer.manifest.partitions) == (1, 2)
        before = storage_of(place.path).stamp()
        assert before is not None
        assert before == storage_of(place.path).stamp()
        put(writer, "a", 1)
        assert before != storage_of(place.path).stamp()
    with LogWriter.open(place.path, partitions=16) as writer:
        assert writer.manifest.partitions == 2
        assert writer.manifest.number == 2
        assert writer.mark("s") == 1
    manifest, digest = storage.current()
    assert storage.numbered(2) == (manifest, digest)
    assert storage.numbered(3) is None
    assert (manifest.number, manifest.previous) == (2, storage.numbered(1)[1])  # type: ignore[index]
    with pytest.raises(LogError, match="manifest 7 is not kept any more"):
        storage.hold(7)


def test_histories_of_everything_that_a_writer_does(place: Place) -> None:
    model = cases.Model(7)
    room = Room(events=7, whole_below=3)
    for k in range(4):
        lot = cases.numbered(
            [
                cases.Row(f"a{(k * 5 + i) % 9}", "deposited", tenant="t" * (i % 2), payload=f'{{"amount": {i - k}}}')
                for i in range(17 if k != 2 else 2)
            ]
        )
        with LogWriter.open(place.path, partitions=4, room=room) as writer:
            writer.append("s", cases.arrival(lot))
            assert model.commit("s", lot)
            assert writer.commit("s", {"k": k}) == len(model.rows)
            writer.append("s", cases.arrival([cases.Row("dropped", "deposited")]))
            writer.drop()
            if k != 1:
                assert writer.ensure_columns(cases.COLUMNS) > 0
            if k == 2:
                assert writer.compact() > 1
    for path in (place.path, far(place)):
        with Log.open(path) as log:
            assert log.missing_columns(cases.COLUMNS) == ()
            cases.check(log, model, cases.COLUMNS)
            cases.check(log, model, cases.COLUMNS, since=11, to=40)
            assert {int(e) for b in log.all_batches(since=50) for e in b.position} == {51, 52, 53}  # type: ignore[union-attr]
            assert audit(log).findings == ()
            assert log.manifest.files() <= place.files()


def test_one_writer(place: Place) -> None:
    with LogWriter.open(place.path) as first:
        with pytest.raises(LogLocked, match=r"another writer has it \(process \d+ on "):
            LogWriter.open(far(place))
        put(first, "a", 1)
    with LogWriter.open(far(place)) as second:
        put(second, "b", 2)
        assert second.manifest.fence > first.manifest.fence
    with Log.open(place.path) as log:
        assert ids(log) == ["a", "b"]


@pytest.mark.parametrize("published", [True, False], ids=["the other published", "the other only opened"])
def test_a_writer_that_lost_its_lock_publishes_nothing(place: Place, published: bool) -> None:
    paused = LogWriter.open(place.path)
    paused.append("s", cases.arrival([cases.Row("from-the-paused")]))
    place.lose_lock()
    with LogWriter.open(far(place)) as other:
        if published:
            put(other, "from-the-other", 1)
        with pytest.raises(LogLocked, match=r"another writer has (taken over|published).*run it again"):
            paused.commit("s", 1)
        put(other, "later", 2)
    paused.close()
    with Log.open(place.path) as log:
        assert ids(log) == (["from-the-other", "later"] if published else ["later"])
        assert audit(log).ok


def test_what_fails_keeps_the_last_commit(place: Place) -> None:
    with LogWriter.open(place.path) as writer:
        put(writer, "a", 1)
        known = place.files()
        writer.append("s", cases.arrival([cases.Row("b", "new type", version=1)]))
        writer.append("s", cases.arrival([cases.Row("a", version=1)]))
        with pytest.raises(LogError, match="version 1 of aggregate 'a' is not above the version 1"):
            writer.commit("s", "never")
        assert place.files() == known
        assert list(writer.directory.iterdir()) == [] or isinstance(place, InDirectory)
        put(writer, "c", 2)
    with Log.open(far(place)) as log:
        assert ids(log) == ["a", "c"]
        assert log.types == ("deposited",)


def test_a_reader_goes_on_through_a_compaction(place: Place) -> None:
    with LogWriter.open(place.path, partitions=2) as writer:
        for k in range(3):
            put(writer, f"a{k}", k)
        reader = Log.open(far(place))
        copy = pickle.dumps(reader)
        put(writer, "a3", 3)
        assert writer.compact() == 4
    with pickle.loads(copy) as again:
        assert again.manifest == reader.manifest
        assert ids(again) == ids(reader) == ["a0", "a1", "a2"]
    reader.close()
    with Log.open(place.path) as log:
        assert len(log.manifest.segments) == 1
        assert ids(log) == ["a0", "a1", "a2", "a3"]


@pytest.mark.parametrize("kind", ["events", "raw", "col"])
def test_bytes_that_are_not_what_was_written(place: Place, kind: str) -> None:
    cases.write(place.path, [cases.Row(f"a{k}", "deposited", payload='{"amount": 2}') for k in range(9)])
    with LogWriter.open(place.path) as writer:
        writer.ensure_columns([cases.AMOUNT])
        file = next(f for s in writer.manifest.segments for f in s.files() if f.name.endswith(kind))

    def read_all() -> None:
        with Log.open(far(place)) as log:
            for p in range(log.partitions):
                list(log.batches(p, [cases.AMOUNT]))
                list(log.raw(p))

    read_all()
    place.change(file.name, bytes(64) + b"\xff" * (file.size - 64))
    with pytest.raises(LogDamaged, match=rf"{file.name}: the tail batch is not what was written"):
        read_all()
    with Log.open(far(place)) as log:
        assert any(f"{file.name}: is not what was written (SHA-256 differs)" in f for f in audit(log).findings)
    place.change(file.name, None)
    with pytest.raises(LogDamaged, match=rf"{file.name}: missing"):
        read_all()
    with Log.open(far(place)) as log:
        assert any(file.name in f for f in audit(log).findings)
