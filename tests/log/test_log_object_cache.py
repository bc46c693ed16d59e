"""What readers of an object store fetch and keep: what is wanted, once, in bounds, whole whatever happened to it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import log_cases as cases
import pytest

from runner.errors import LogError
from runner.log import Log, LogWriter, Room, audit
from runner.log.storage import cache
from runner.log.storage.client import ObjectClient
from runner.secrets import HIDDEN

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_object_store import ObjectStores

    from runner.config import ObjectStorePath

ROWS = [
    cases.Row(f"a{k % 40}", "deposited", recorded=k, payload=f'{{"amount": {k}, "note": "{k:>200}"}}')
    for k in range(400)
]


@pytest.fixture
def path(faulty_object_store: ObjectStores) -> ObjectStorePath:
    log = faulty_object_store.log()
    cases.write(log, ROWS, room=Room(events=200, whole_below=0))
    with LogWriter.open(log) as writer:
        writer.ensure_columns([cases.AMOUNT, cases.NOTE])
    faulty_object_store.asked()
    return log


def fetched(store: ObjectStores) -> list[str]:
    """Kinds of the files of which ranges were fetched."""
    return sorted(a.rpartition(".")[2] for a in store.asked() if a.startswith("GET") and "/segments/" in a)


def amounts(log: Log, partition: int) -> list[int]:
    return [v for b in log.batches(partition, [cases.AMOUNT]) for v in b.payload[cases.AMOUNT].values.tolist()]


def files(path: ObjectStorePath) -> list[Path]:
    return sorted(path.cache.glob("*/segments/*"))


def test_only_what_is_wanted_is_fetched_and_only_once(path: ObjectStorePath, faulty_object_store: ObjectStores) -> None:
    store = faulty_object_store
    with Log.open(path) as log:
        everything = [amounts(log, p) for p in range(4)]
        assert sorted(v for found in everything for v in found) == list(range(400))
    assert fetched(store) == []  # the machine that wrote it has it
    far = store.elsewhere(path)
    with Log.open(far) as log:
        assert amounts(log, 1) == everything[1]
        assert fetched(store) == ["col", "col", "events", "events"]  # two segments, one of two columns, no payloads
        assert amounts(log, 1) == everything[1]
        assert amounts(log, 2) == everything[2]
        assert fetched(store) == ["col", "col", "events", "events"]
    with Log.open(far) as log:  # as another process
        assert [amounts(log, p) for p in (1, 2)] == everything[1:3]
        assert fetched(store) == []
        wanted = sum(c.length for s in log.manifest.segments for f in s.files() for c in f.chunks)
        kept = sum(f.stat().st_blocks * 512 for f in files(far))
        assert 0 < kept < wanted
        list(log.raw(3, to=150))
        assert fetched(store) == ["events", "events", "raw"] or fetched(store) == []


def test_large_ranges_are_fetched_in_pieces(
    path: ObjectStorePath, object_store: ObjectStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "RANGE_BYTES", 100)
    with Log.open(path) as here, Log.open(object_store.elsewhere(path)) as far:
        assert cases.raw_rows(far) == cases.raw_rows(here)
        assert [amounts(far, p) for p in range(4)] == [amounts(here, p) for p in range(4)]


@pytest.mark.parametrize("how", ["half-written", "flipped", "another log's", "gone", "gone while it is open"])
def test_a_cache_that_is_not_whole_is_fetched_again(
    how: str, path: ObjectStorePath, object_store: ObjectStores
) -> None:
    far = object_store.elsewhere(path)
    with Log.open(path) as log:
        good = [amounts(log, p) for p in range(4)]
    log = Log.open(far)
    read = [amounts(log, p) for p in range(2)]
    for file in files(far):
        size = file.stat().st_size
        with file.open("r+b") as f:
            if how == "half-written":
                f.seek(size // 2)
                f.write(bytes(size - size // 2))
            elif how == "flipped":
                f.seek(64)
                f.write(bytes([1, 2, 3] * (size // 3 - 30)))
        if how == "another log's":
            file.unlink()
            file.write_bytes(bytes(size + 1))
        elif how.startswith("gone"):
            file.unlink()
    if how == "gone while it is open":
        assert [amounts(log, p) for p in range(4)] == good
    assert read == good[:2]
    with Log.open(far) as again:
        assert [amounts(again, p) for p in range(4)] == good
        assert audit(again).findings == ()
    log.close()


def test_the_cache_keeps_its_bound(path: ObjectStorePath, object_store: ObjectStores) -> None:
    far = replace(object_store.elsewhere(path), cache_bytes=40_000)
    with Log.open(path) as log:
        whole = sum(f.size for s in log.manifest.segments for f in s.files())
        good = cases.raw_rows(log)
    assert whole > 2 * far.cache_bytes
    for _ in range(2):
        with Log.open(far) as log:
            assert [len(amounts(log, p)) > 0 for p in range(4)] == [True] * 4
            assert cases.raw_rows(log) == good
        assert sum(f.stat().st_blocks * 512 for f in files(far)) < 1.5 * far.cache_bytes


def test_several_readers_share_a_cache(path: ObjectStorePath, object_store: ObjectStores) -> None:
    far = object_store.elsewhere(path)
    gate = threading.Barrier(6)

    def read(k: int) -> list[list[int]]:
        gate.wait()
        with Log.open(far) as log:  # with a storage of its own, as a process has
            found = {p: amounts(log, p) for p in ((k + i) % 4 for i in range(4))}
            return [found[p] for p in range(4)]

    with Log.open(path) as log, ThreadPoolExecutor(6) as pool:
        good = [amounts(log, p) for p in range(4)]
        assert all(found == good for found in pool.map(read, range(6)))


def test_a_large_file_goes_in_parts(object_store: ObjectStores, tmp_path: Path) -> None:
    client = ObjectClient(object_store.log())
    data = os.urandom(1 << 20) * 9 + b"end"
    (tmp_path / "large").write_bytes(data)
    client.upload(tmp_path / "large", "segments/large")
    assert b"".join(client.stream("segments/large")) == data
    assert bytes(client.get_range("segments/large", len(data) - 3, 3)) == b"end"
    assert [(o.key, o.size) for o in client.listed("segments/")] == [("segments/large", len(data))]


def test_what_cannot_be_opened_is_said_in_one_line(
    object_store: ObjectStores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = object_store.log()
    with pytest.raises(LogError, match="environment variable NOT_SET is not set"):
        Log.open(replace(path, secrets={"secret_access_key": "NOT_SET"}))
    monkeypatch.setenv("THE_SECRET", "tr0ub4dor")
    options = {**path.options, "endpoint": "http://127.0.0.1:9/tr0ub4dor", "retries": "0"}
    nowhere = replace(path, options=options, secrets={"access_key_id": "THE_SECRET", "secret_access_key": "THE_SECRET"})
    with pytest.raises(LogError, match=r"^s3://\S+: cannot be \w+: [^\n]+\(is the object store reached") as caught:
        Log.open(nowhere)
    assert "tr0ub4dor" not in str(caught.value)
    assert HIDDEN in str(caught.value)
    with pytest.raises(LogError, match="cannot be opened"):
        ObjectClient(replace(path, options={"no_such_option": "1"}))
    (tmp_path / "file").touch()
    cases.write(path, ROWS[:3])
    with Log.open(replace(path, cache=tmp_path / "file")) as log, pytest.raises(LogError, match="cannot be made: "):
        cases.raw_rows(log)
    assert os.environ["THE_SECRET"]
