"""Bytes that are not what was written: each a clear error that names the file, never other values or a dead process."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import log_cases as cases
import numpy as np
import pytest

from runner.errors import LogDamaged, LogError, LogFormatError
from runner.kernels.order import NO_VERSION
from runner.log import Log, LogWriter, Room, audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [cases.Row(f"a{k % 9}", "deposited", recorded=k, payload=f'{{"amount": {k}}}') for k in range(60)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = tmp_path / "log"
    cases.write(log, ROWS, room=Room(whole_below=0))
    with LogWriter.open(log) as writer:
        writer.ensure_columns([cases.AMOUNT])
    return log


def file_of(log: Path, suffix: str) -> Path:
    (found,) = (log / "segments").glob(f"*.{suffix}")
    return found


def read_all(path: Path) -> None:
    with Log.open(path) as log:
        for p in range(log.partitions):
            list(log.batches(p, [cases.AMOUNT]))
            list(log.raw(p))


@pytest.mark.parametrize("suffix", ["events", "raw", "col"])
def test_every_flipped_bit_of_a_stream_is_seen(path: Path, suffix: str) -> None:
    file = file_of(path, suffix)
    good = file.read_bytes()
    with Log.open(path) as log:
        (segment,) = log.manifest.segments
        chunks = next(f for f in segment.files() if f.name == file.name).chunks
    read_all(path)
    for chunk in chunks:
        for at in (0, chunk.length // 2, chunk.length - 1):
            bad = bytearray(good)
            bad[chunk.offset + at] ^= 4
            file.write_bytes(bad)
            with pytest.raises(LogDamaged, match=rf"{file.name}: partition {chunk.partition} is not what was written"):
                read_all(path)
    with Log.open(path) as log:
        findings = audit(log).findings
    assert any("SHA-256 differs" in line for line in findings)


@pytest.mark.parametrize("suffix", ["events", "raw", "col"])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b + b"x"])
def test_a_file_of_another_size(path: Path, suffix: str, change: Callable[[bytes], bytes]) -> None:
    file = file_of(path, suffix)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(LogDamaged, match=rf"{file.name}: \d+ bytes, \d+ were written"):
        read_all(path)


@pytest.mark.parametrize("suffix", ["events", "raw", "col"])
def test_a_missing_file(path: Path, suffix: str) -> None:
    file = file_of(path, suffix)
    file.unlink()
    with pytest.raises(LogDamaged, match=rf"{file.name}: missing"):
        read_all(path)
    with Log.open(path) as log:
        assert not audit(log).ok


def test_padding_between_streams_is_seen_by_audit_only(path: Path) -> None:
    file = file_of(path, "events")
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    read_all(path)
    with Log.open(path) as log:
        assert audit(log).findings == (f"{file}: is not what was written (SHA-256 differs)",)


def test_manifest_bits(path: Path) -> None:
    file = path / "manifest.json"
    good = file.read_bytes()
    for at in range(0, len(good), 97):
        bad = bytearray(good)
        bad[at] ^= 1
        file.write_bytes(bad)
        with pytest.raises((LogDamaged, LogFormatError), match=r"manifest\.json"):
            Log.open(path)
        with pytest.raises((LogDamaged, LogFormatError), match=r"manifest\.json"):
            LogWriter.open(path)
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(LogDamaged, match="not a manifest"):
        Log.open(path)


def test_other_format_and_no_log(path: Path, tmp_path: Path) -> None:
    body = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps({**body, "format": 99}))
    with pytest.raises(LogFormatError, match="format 99, this runner reads format 1"):
        Log.open(path)
    with pytest.raises(LogError, match="no log at"):
        Log.open(tmp_path / "nowhere")
    with pytest.raises(LogError, match="no log at"):
        LogWriter.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_an_older_format_is_named_whatever_else_the_manifest_says(path: Path) -> None:
    (path / "manifest.json").write_text(json.dumps({"format": 0, "checksum": "of another kind"}))
    for opened in (Log.open, LogWriter.open):
        with pytest.raises(LogFormatError, match="format 0, this runner reads format 1"):
            opened(path)


@pytest.mark.parametrize("commits", [1, 20])
def test_a_missing_manifest_is_no_new_log(tmp_path: Path, commits: int) -> None:
    log = tmp_path / "log"
    for k in range(commits):
        with LogWriter.open(log) as writer:
            writer.append("s", cases.arrival([cases.Row("a", place=(0, k))]))
            writer.commit("s", k)
    manifest = log / "manifest.json"
    good = manifest.read_bytes()
    manifest.unlink()
    before = {p: p.read_bytes() for p in log.rglob("*") if p.is_file()}
    for opened in (Log.open, LogWriter.open, lambda p: LogWriter.open(p, create=False)):
        with pytest.raises(LogDamaged, match=r"manifest\.json: missing.*") as raised:
            opened(log)
        assert "copy the newest good file of manifests/" in raised.value.hint
    assert {p: p.read_bytes() for p in log.rglob("*") if p.is_file()} == before
    # What the hint says.
    newest = max((log / "manifests").iterdir())
    assert newest.read_bytes() == good
    manifest.write_bytes(newest.read_bytes())
    with LogWriter.open(log) as writer:
        assert writer.last_position == commits
    read_all(log)


@pytest.mark.parametrize("gone", ["segments", "manifests"])
def test_a_missing_manifest_and_more(path: Path, gone: str) -> None:
    shutil.rmtree(path / gone)
    (path / "manifest.json").unlink()
    with pytest.raises(LogDamaged, match="missing"):
        LogWriter.open(path)


def test_a_file_that_cannot_be_removed_stays_alone(path: Path) -> None:
    # Directories of such names are what not even root can unlink.
    left = [path / "segments" / name for name in ("00-left.events", "zz-left.events")]
    stuck = [path / "manifests" / "0000000999.json", path / "segments" / "0-stuck.events"]
    for file in left:
        file.touch()
    for folder in stuck:
        folder.mkdir()
    LogWriter.open(path).close()
    assert [p for p in (*left, *stuck) if p.exists()] == stuck
    read_all(path)


def test_audit_sees_an_exchanged_manifest(path: Path) -> None:
    with LogWriter.open(path) as writer:
        writer.append("s", cases.arrival([cases.Row("z", place=(0, 99))]))
        writer.commit("s", 99)
        writer.append("s", cases.arrival([cases.Row("z", place=(0, 100))]))
        writer.commit("s", 100)
    with Log.open(path) as log:
        assert audit(log).ok
        assert audit(log).manifests == log.manifest.number
        older = path / "manifests" / f"{log.manifest.number - 1:010d}.json"
        other = path / "manifests" / f"{log.manifest.number - 2:010d}.json"
        older.write_bytes(other.read_bytes())
        assert any("is not the manifest" in line for line in audit(log).findings)


def test_audit_sees_a_segment_that_was_put_in_later(path: Path) -> None:
    """A manifest written anew, with a good checksum: the chain over the segments does not hold any more."""
    with LogWriter.open(path) as writer:
        for k in (99, 100):
            writer.append("s", cases.arrival([cases.Row("z", place=(0, k))]))
            writer.commit("s", k)
    with Log.open(path) as log:
        manifest = log.manifest
    first, second, third = manifest.segments
    forged = replace(second, chain="0" * 64)
    (path / "manifest.json").write_bytes(replace(manifest, segments=(first, forged, third)).to_bytes())
    with Log.open(path) as log:
        assert audit(log).findings == tuple(
            f"{segment.id}: its place in the SHA-256 chain is wrong" for segment in (second, third)
        )


def test_files_exchanged_between_logs(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    cases.write(other, [cases.Row(r.id, r.type, payload='{"amount":-1}') for r in ROWS], room=Room(whole_below=0))
    file_of(path, "raw").write_bytes(file_of(other, "raw").read_bytes())
    with pytest.raises(LogDamaged):
        read_all(path)


@pytest.mark.parametrize("whole_below", [0, 1000])
def test_audit_sees_versions_that_run_backwards_between_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_below: int
) -> None:
    log = tmp_path / "log"
    room = Room(whole_below=whole_below)
    cases.write(log, [cases.Row(f"a{k % 5}", version=10 + k // 5, place=(0, k)) for k in range(40)], room=room)
    cases.write(log, [cases.Row("b", version=1, place=(1, 0))], room=room)
    with monkeypatch.context() as broken:  # a writer that knows no version of earlier segments
        broken.setattr(
            "runner.log.segment_build.last_known_versions",
            lambda segments, hi, lo, partitions: np.full(len(hi), NO_VERSION, np.int64),
        )
        again = [("a1", 17), ("a2", 18), ("a3", 4), ("a3", 19), ("c", 1)]
        cases.write(log, [cases.Row(i, version=v, place=(2, n)) for n, (i, v) in enumerate(again)], room=room)
    with Log.open(log) as opened:
        assert len(opened.manifest.segments) == 3
        findings = {line.partition(": ")[2] for line in audit(opened).findings}
    assert findings == {f"version {v} of an aggregate comes behind version 17" for v in (17, 4)}
