"""What arriving events may not be, and texts in every encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import log_cases as cases
import pyarrow as pa
import pytest

from runner.errors import LogError
from runner.log import ARRIVAL_SCHEMA, Log, LogWriter, identity_hash, partition_of

if TYPE_CHECKING:
    from pathlib import Path


def changed(name: str, column: pa.Array) -> pa.RecordBatch:
    batch = cases.arrival([cases.Row("a", place=(3, 4)), cases.Row("b", place=(3, 5))])
    return batch.set_column(ARRIVAL_SCHEMA.names.index(name), name, column)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (changed("aggregate_id", pa.array(["a", None])), r"source s: event at \(3, 5\) has no aggregate_id"),
        (changed("type", pa.array([None, "a"])), r"source s: event at \(3, 4\) has no type"),
        (changed("payload", pa.array(["{}", None], pa.large_utf8())), r"event at \(3, 5\) has no payload"),
        (
            changed("aggregate_id", pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))),
            r"event at \(3, 5\) has no aggregate_id",
        ),
        (changed("source_position_1", pa.array([1, None])), "source_position_1 is missing in row 1"),
        (changed("aggregate_id", pa.array([1, 2])), "column aggregate_id of arriving events has type int64, not text"),
        (changed("version", pa.array([1, 2], pa.int32())), "column version .* has type int32, not int64"),
        (changed("recorded_at", pa.array([1, 2], pa.timestamp("ms"))), "not timestamp"),
        (changed("tenant", pa.array(["x\x1fy", ""])), "unit separator"),
        (pa.record_batch({"tenant": ["x"]}), "arriving events lack the columns aggregate_id, version, type"),
    ],
)
def test_refused(tmp_path: Path, batch: pa.RecordBatch, message: str) -> None:
    with LogWriter.open(tmp_path / "log") as writer:
        with pytest.raises(LogError, match=message):
            writer.append("s", batch)
        writer.append("s", cases.arrival([cases.Row("good")]))
        assert writer.commit("s", 1) == 1


@pytest.mark.parametrize("source", ["x\x1f", "\x1f"])
def test_separator_in_a_source(tmp_path: Path, source: str) -> None:
    with LogWriter.open(tmp_path / "log") as writer, pytest.raises(LogError, match="unit separator"):
        writer.append(source, cases.arrival([cases.Row("a")]))


def test_every_encoding_makes_the_same_log(tmp_path: Path) -> None:
    rows = cases.numbered([cases.Row(f"a{k % 5}", f"t{k % 3}", tenant="t" if k % 2 else "") for k in range(40)])
    plain = cases.arrival(rows)
    ids, types = plain.column("aggregate_id"), plain.column("type")
    unused = pa.array(["never", *ids.unique().to_pylist()[::-1], "a0"])
    index = pa.array([unused.to_pylist().index(i) for i in ids.to_pylist()], pa.int16())
    forms = {
        "plain": plain,
        "large": plain.set_column(1, "aggregate_id", ids.cast(pa.large_utf8())).set_column(
            0, "tenant", plain[0].cast(pa.large_utf8())
        ),
        "encoded": cases.arrival(rows, encoded=True),
        "odd": plain.set_column(1, "aggregate_id", pa.DictionaryArray.from_arrays(index, unused)).set_column(
            3, "type", types.cast(pa.large_utf8()).dictionary_encode()
        ),
        "sliced": pa.concat_batches([cases.arrival([cases.Row("front")]), plain]).slice(1),
        "utf8 payload": plain.set_column(7, "payload", plain.column("payload").cast(pa.utf8())),
    }
    digests = set()
    for name, batch in forms.items():
        with LogWriter.open(tmp_path / name) as writer:
            writer.append("s", batch)
            writer.commit("s", 1)
        with Log.open(tmp_path / name) as log:
            digests.add((log.digest, log.types, log.scopes))
    assert len(digests) == 1


def test_partition_is_the_top_bits_of_the_identity_hash(tmp_path: Path) -> None:
    cases.write(tmp_path / "log", [cases.Row(f"a{k}", tenant="t") for k in range(50)], partitions=16)
    with Log.open(tmp_path / "log") as log:
        for p in range(16):
            for event in log.raw(p):
                hi, _ = identity_hash("s", "t", event.aggregate_id)
                assert partition_of(hi, 16) == p == hi >> 60


def test_many_types_and_too_many(tmp_path: Path) -> None:
    rows = [cases.Row("a", f"type-{k:05d}") for k in range(300)]
    cases.write(tmp_path / "log", rows[::-1])
    with Log.open(tmp_path / "log") as log:
        assert log.types == tuple(r.type for r in rows[::-1])
        assert [e[2] for e in cases.raw_rows(log)] == [r.type for r in rows[::-1]]
    with LogWriter.open(tmp_path / "log") as writer, pytest.raises(LogError, match="more than 32768 event types"):
        writer.append("s", cases.arrival([cases.Row("a", f"other-{k}") for k in range(33_000)]))
