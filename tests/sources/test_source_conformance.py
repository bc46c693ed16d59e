"""File sources pass the conformance suite that every source has to pass."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from source_cases import source

from runner.sources import columnar, open_source, streams, text
from runner.testing.sources import CHECKS, SourceEvent, check_schedule, schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runner.sources import SourceReader
    from runner.testing.sources import SourcePort, Step

NAMES = ("id", "version", "type", "at", "payload")
MAPPING = """
files = "events*{suffix}"
aggregate_id = "id"
version = "version"
type = "type"
recorded_at = "at"
payload = "payload"
"""


def _records(events: Sequence[SourceEvent], *, as_text: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": e.aggregate_id,
            "version": e.version,
            "type": e.type,
            "at": e.recorded_at.isoformat(),
            "payload": json.dumps(e.payload, ensure_ascii=False) if as_text else e.payload,
        }
        for e in events
    ]


def _ndjson(events: Sequence[SourceEvent]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in _records(events, as_text=False)).encode()


def _csv(events: Sequence[SourceEvent]) -> bytes:
    made = io.StringIO()
    writer = csv.DictWriter(made, NAMES, lineterminator="\n")
    writer.writerows(_records(events, as_text=True))
    return made.getvalue().encode()


def _table(events: Sequence[SourceEvent]) -> pa.Table:
    return pa.Table.from_pylist(_records(events, as_text=True))


def _parquet(events: Sequence[SourceEvent]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(events), sink, row_group_size=64)
    return sink.getvalue()


def _arrow(events: Sequence[SourceEvent]) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, _table(events).schema) as writer:
        writer.write_table(_table(events), max_chunksize=64)
    return sink.getvalue()


class Files:
    """A source of files. appended: everything in one file that grows; else a file for each piece of writing."""

    def __init__(
        self, folder: Path, suffix: str, encode: Callable[..., bytes], more: str = "", *, appended: bool
    ) -> None:
        folder.mkdir()
        self._folder, self._suffix, self._encode, self._appended = folder, suffix, encode, appended
        self._config = source(folder, MAPPING.format(suffix=suffix) + more)
        self._written = 0

    def write(self, events: Sequence[SourceEvent]) -> None:
        name = f"events{0 if self._appended else self._written:05d}{self._suffix}"
        self._written += 1
        with (self._folder / name).open("ab") as file:
            file.write(self._encode(events))

    def open(self, mark: Any) -> SourceReader:
        return open_source(self._config, mark)


COLUMNS = f"\n[sources.s.csv]\nheader = false\ncolumns = {json.dumps(NAMES)}\n"
KINDS: dict[str, Callable[[Path], SourcePort]] = {
    "ndjson that grows": lambda f: Files(f, ".ndjson", _ndjson, appended=True),
    "ndjson files": lambda f: Files(f, ".ndjson", _ndjson, appended=False),
    "gzip files": lambda f: Files(f, ".ndjson.gz", lambda e: gzip.compress(_ndjson(e)), appended=False),
    "zstd files": lambda f: Files(f, ".ndjson.zst", lambda e: zstandard.compress(_ndjson(e)), appended=False),
    "csv that grows": lambda f: Files(f, ".csv", _csv, COLUMNS, appended=True),
    "parquet files": lambda f: Files(f, ".parquet", _parquet, appended=False),
    "arrow files": lambda f: Files(f, ".arrow", _arrow, appended=False),
}


@pytest.fixture(autouse=True)
def _many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of some dozen events, so that readers are left in the middle of a file."""
    monkeypatch.setattr(text, "CHUNK", 4096)
    monkeypatch.setattr(streams, "COMPRESSED_BLOCK", 4096)
    monkeypatch.setattr(columnar, "ROWS", 50)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_conforms(kind: str, check: Callable[[SourcePort], None], tmp_path: Path) -> None:
    check(KINDS[kind](tmp_path / "source"))


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), schedule=schedules())
def test_schedules(tmp_path_factory: pytest.TempPathFactory, kind: str, schedule: list[Step]) -> None:
    check_schedule(KINDS[kind](tmp_path_factory.mktemp("schedule") / "source"), schedule)


class _Careless:
    """A source that goes wrong in one way, so that the suite is known to bite."""

    def __init__(self, source: Files, fault: str) -> None:
        self._source, self._fault = source, fault

    def write(self, events: Sequence[SourceEvent]) -> None:
        self._source.write(events)

    def open(self, mark: Any) -> SourceReader:
        reader = self._source.open(mark)
        pieces = reader.pieces

        def fewer() -> Any:
            for piece in pieces():
                yield type(piece)(piece.events.slice(1))

        def first_again() -> Any:
            for piece in pieces():
                yield piece
                yield type(piece)(piece.events.slice(0, 1))

        if self._fault == "loses":
            reader.pieces = fewer  # type: ignore[method-assign]  # a fault is put in
        elif self._fault == "doubles":
            reader.pieces = first_again  # type: ignore[method-assign]  # a fault is put in
        else:
            reader.mark = lambda: mark  # type: ignore[method-assign]  # a fault is put in
        return reader


@pytest.mark.parametrize("fault", ["loses", "doubles", "forgets its mark"])
def test_the_suite_finds_faults(fault: str, tmp_path: Path) -> None:
    failed = 0
    for number, check in enumerate(CHECKS):
        files = Files(tmp_path / str(number), ".ndjson", _ndjson, appended=True)
        try:
            check(_Careless(files, fault))
        except AssertionError:
            failed += 1
    assert failed
