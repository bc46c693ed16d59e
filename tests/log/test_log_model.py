"""Random appends, commits, columns, compactions and cuts against the log in memory."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import count
from pathlib import Path

import log_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.config import ObjectStorePath
from runner.errors import LogError
from runner.log import Log, LogWriter, Room, audit


def sync(writer: LogWriter, rows: list[cases.Row]) -> None:
    writer.append("s", cases.arrival(rows))
    writer.commit("s", None)


appends = st.lists(st.lists(cases.rows(), min_size=1, max_size=30), min_size=1, max_size=5)


histories = given(
    commits=st.lists(appends, min_size=1, max_size=4),
    compact_after=st.sets(st.integers(0, 3)),
    columns_after=st.sets(st.integers(0, 3)),
    room=st.builds(
        Room, events=st.integers(1, 40), payload_bytes=st.integers(40, 4000), whole_below=st.sampled_from([0, 8, 99])
    ),
    partitions=st.sampled_from([1, 2, 16]),
    cut=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    encoded=st.booleans(),
)
_numbers = count()


@histories
@settings(max_examples=30, deadline=None)
def test_log_holds_what_the_model_holds(**history) -> None:
    with cases.scratch() as folder:
        path = Path(folder) / "log"
        holds_what_the_model_holds(path, lambda: {p.name for p in (path / "segments").iterdir()}, **history)


@histories
@settings(max_examples=8, deadline=None)
def test_log_among_objects_holds_what_the_model_holds(**history) -> None:
    """In this process's memory, by the client, cache and lease of any object store."""
    with cases.scratch() as folder:
        path = ObjectStorePath(f"memory://model/{next(_numbers)}", Path(folder))
        holds_what_the_model_holds(path, None, **history)


def holds_what_the_model_holds(
    path, files, *, commits, compact_after, columns_after, room, partitions, cut, encoded
) -> None:
    """files: those in ``segments/`` at the end, None where what was compacted away stays for readers."""
    model = cases.Model(10**9)
    for k, lots in enumerate(commits):
        source = f"source-{k % 2}"
        with LogWriter.open(path, partitions=partitions, room=room) as writer:
            for lot in lots:
                writer.append(source, cases.arrival(cases.numbered(lot), encoded=encoded))
            assert writer.commit(source, {"k": k}) == len(model.rows) + sum(map(len, lots))
            assert model.commit(source, [r for lot in lots for r in cases.numbered(lot)])
            if k in columns_after:
                writer.ensure_columns(cases.COLUMNS)
            if k in compact_after:
                writer.compact()
                assert len(writer.manifest.segments) == 1
    with LogWriter.open(path) as writer:
        assert writer.manifest.partitions == partitions
        assert writer.mark("source-0") == {"k": (len(commits) - 1) // 2 * 2}
        writer.ensure_columns(cases.COLUMNS)
        assert writer.ensure_columns(cases.COLUMNS) == 0
    with Log.open(path) as log:
        assert log.missing_columns(cases.COLUMNS) == ()
        assert log.events == log.last_position == len(model.rows)
        counts = Counter(r.type for r in model.rows)
        assert log.counts == dict(counts)
        cases.check(log, model, cases.COLUMNS)
        cases.check(log, model, cases.COLUMNS, since=min(cut), to=max(cut))
        assert audit(log).findings == ()
        named = log.manifest.files()
    assert files is None or files() == named


@given(
    lots=st.lists(st.lists(cases.rows(versions=True), min_size=1, max_size=6), min_size=1, max_size=6),
    segment_events=st.integers(1, 12),
)
@settings(max_examples=50, deadline=None)
def test_versions_follow_the_model_or_nothing_is_taken(lots, segment_events) -> None:
    model = cases.Model(segment_events)
    with cases.scratch() as folder:
        room = Room(events=segment_events, whole_below=3)
        with LogWriter.open(folder, partitions=2, room=room) as writer:
            for lot in lots:
                refused = (
                    contextlib.nullcontext() if model.commit("s", lot) else pytest.raises(LogError, match="version")
                )
                with refused:
                    sync(writer, lot)
        with Log.open(folder) as log:
            cases.check(log, model)
            assert audit(log).ok


@given(st.lists(cases.rows(), min_size=1, max_size=60), st.integers(1, 30), st.sampled_from([0, 10, 10**6]))
@settings(max_examples=25, deadline=None)
def test_compacted_log_is_the_log_of_one_sync(rows, cut, whole_below) -> None:
    with cases.scratch() as folder:
        one, many = Path(folder) / "one", Path(folder) / "many"
        cases.write(one, rows, room=Room(whole_below=0))
        with LogWriter.open(many, partitions=4, room=Room(events=7, whole_below=whole_below)) as writer:
            for part in (cases.numbered(rows)[:cut], cases.numbered(rows)[cut:]):
                if part:
                    writer.append("s", cases.arrival(part))
                    writer.commit("s", 0)
            writer.ensure_columns(cases.COLUMNS)
            merged = len(writer.manifest.segments) > 1 or writer.manifest.segments[0].tail
            assert (writer.compact() > 0) == merged
        with LogWriter.open(one) as writer:
            writer.ensure_columns(cases.COLUMNS)
        with Log.open(one) as a, Log.open(many) as b:
            assert a.digest == b.digest
            (x,), (y,) = a.manifest.segments, b.manifest.segments
            assert x.events_file.sha256 == y.events_file.sha256
            assert x.raw_file.sha256 == y.raw_file.sha256
            assert b.missing_columns(cases.COLUMNS) == ()
            assert {k: v.column for k, v in x.columns.items()} == {k: v.column for k, v in y.columns.items()}


def test_digest_knows_every_field(tmp_path: Path) -> None:
    base = cases.Row("a", payload='{"x":1}', recorded=5)
    changed = [
        base,
        cases.Row("b", payload='{"x":1}', recorded=5),
        cases.Row("a", payload='{"x":2}', recorded=5),
        cases.Row("a", payload='{"x":1}', recorded=6),
        cases.Row("a", payload='{"x":1}', recorded=5, version=2),
        cases.Row("a", payload='{"x":1}', recorded=5, tenant="t"),
    ]
    digests = []
    for k, row in enumerate(changed):
        cases.write(tmp_path / str(k), [row])
        with Log.open(tmp_path / str(k)) as log:
            digests.append(log.digest)
    assert len(set(digests)) == len(changed)


@pytest.mark.parametrize("partitions", [0, 3, 65536, -2])
def test_partitions_are_a_power_of_two(tmp_path: Path, partitions: int) -> None:
    with pytest.raises(LogError, match="power of two"):
        LogWriter.open(tmp_path, partitions=partitions)
