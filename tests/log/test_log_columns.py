"""Sidecars: moving rows of every kind of column, values that do not fit, columns asked for too early."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import log_cases as cases
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import FieldValueError, LogError
from runner.log import Log, LogWriter, Room, sidecars
from runner.log.columns import column_digest, column_stream, concat_columns, read_column, read_stored, take_column
from runner.payload import decode
from runner.values import Kind, PayloadColumn, ValueType

if TYPE_CHECKING:
    from pathlib import Path


def _payloads(column: PayloadColumn) -> st.SearchStrategy[list[str]]:
    return st.lists(cases.payloads[column.event_type].map(json.dumps), max_size=12)


columns_and_lots = st.sampled_from(cases.COLUMNS).flatmap(
    lambda c: st.tuples(st.just(c), st.lists(_payloads(c), min_size=1, max_size=4))
)


@given(columns_and_lots, st.data())
@settings(max_examples=120, deadline=None)
def test_concat_take_write_and_read(case, data) -> None:
    column, lots = case
    arrays = [decode(pa.array(lot, pa.large_utf8()), [column])[column] for lot in lots]
    whole = concat_columns(arrays)
    values = [cases.wanted_value(p, column) for lot in lots for p in lot]
    assert cases.values_of(whole) == values
    rows = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=15)) if values else []
    taken = take_column(whole, np.array(rows, np.int64))
    assert cases.values_of(taken) == [values[r] for r in rows]
    stream = column_stream(taken)
    assert cases.values_of(read_column(stream, column.type)) == [values[r] for r in rows]
    # Without the column at hand the stored form comes back just the same.
    assert column_stream(read_stored(stream)).equals(stream)
    if taken.dictionary is not None:
        hashes = list(zip(taken.dictionary.hi.tolist(), taken.dictionary.lo.tolist(), strict=True))
        assert hashes == sorted(set(hashes))
        assert set(taken.values.tolist()) | {0} >= set(range(len(hashes)))


def test_equal_columns_have_one_digest() -> None:
    digests = {
        column_digest(c) for c in (*cases.COLUMNS, replace(cases.AMOUNT), replace(cases.AMOUNT, coerce="number"))
    }
    assert len(digests) == len(cases.COLUMNS) + 1
    assert column_digest(cases.AMOUNT) == column_digest(replace(cases.AMOUNT))


@pytest.mark.parametrize("whole_below", [0, 10**6])
def test_value_that_does_not_fit(tmp_path: Path, whole_below: int) -> None:
    rows = [cases.Row(f"a{k}", "deposited", payload='{"amount": 1}') for k in range(20)]
    rows[13] = cases.Row("the-bad-one", "deposited", payload='{"amount": "12"}')
    cases.write(tmp_path / "log", rows, room=Room(whole_below=whole_below))
    with LogWriter.open(tmp_path / "log") as writer:
        before = writer.manifest
        with pytest.raises(FieldValueError, match=r"position 14, aggregate 'the-bad-one', deposited: amount: ") as e:
            writer.ensure_columns([cases.AMOUNT])
        assert (e.value.position, e.value.aggregate_id, e.value.event_type, e.value.path) == (
            14,
            "the-bad-one",
            "deposited",
            "amount",
        )
        assert writer.manifest == before
        assert {p.name for p in (tmp_path / "log" / "segments").iterdir()} == before.files()
        # Another declaration of the field reads it, from the same payloads.
        writer.ensure_columns([PayloadColumn("deposited", (("amount",),), ValueType(Kind.INT), coerce="number")])


def test_column_asked_for_before_it_is_there(tmp_path: Path) -> None:
    cases.write(tmp_path / "log", [cases.Row("a", "deposited", payload='{"amount": 1}'), cases.Row("a", "closed")])
    other = PayloadColumn("never seen", (("x",),), ValueType(Kind.INT))
    with Log.open(tmp_path / "log") as log:
        assert log.missing_columns([cases.AMOUNT, other]) == (cases.AMOUNT,)
        with pytest.raises(LogError, match="the log has no column for deposited"):
            [list(log.batches(p, [cases.AMOUNT])) for p in range(log.partitions)]
        assert sum(len(b) for p in range(log.partitions) for b in log.batches(p, [other])) == 2


def test_long_partitions_are_decoded_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "DECODED_ROWS", 7)
    monkeypatch.setattr(sidecars, "PUBLISHED_EVENTS", 40)
    note = '{{"amount": {0}, "note": "n{0}"}}'
    rows = [cases.Row(f"a{k % 11}", "deposited", payload=note.format(k)) for k in range(150)]
    model = cases.Model(10**9)
    model.commit("s", cases.numbered(rows))
    cases.write(tmp_path / "log", rows, room=Room(events=50), partitions=2)
    with LogWriter.open(tmp_path / "log") as writer:
        number = writer.manifest.number
        assert writer.ensure_columns([cases.AMOUNT, cases.NOTE]) == 6
        assert writer.manifest.number == number + 3
    with Log.open(tmp_path / "log") as log:
        cases.check(log, model, [cases.AMOUNT, cases.NOTE])


def test_facts_are_told(tmp_path: Path) -> None:
    cases.write(tmp_path / "log", [cases.Row("a", "deposited", payload='{"amount": 1}')] * 3)
    facts = []
    with LogWriter.open(tmp_path / "log") as writer:
        writer.ensure_columns([cases.AMOUNT], facts.append)
        writer.compact(facts.append)
    assert [(type(f).__name__, f.stage) for f in facts] == [
        ("StageStarted", "columns"),
        ("StageFinished", "columns"),
        ("StageStarted", "compact"),
        ("StageFinished", "compact"),
    ]
