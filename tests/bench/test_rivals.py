"""Every rival of the comparison table makes the rows that every other makes, of every workload that it can compute."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import contest
import numpy as np
import pyarrow as pa
import pytest
import rivals.comparisons
import workloads
from queries import Query, digest, table_of
from rivals.comparisons import COMPARISONS, Rival, digest_of, reference_digest
from rivals.loaded import ACCOUNT
from workloads import WORKLOADS

from runner.log import Log, LogWriter

if TYPE_CHECKING:
    from pathlib import Path

EVENTS, SAMPLE = 20_000, 3_000
ALONE = {"ray_data"}
"""Starts processes of its own: the suite's smoke has it."""
PAIRS = [(w.name, rival) for w in WORKLOADS.values() for rival in w.rivals if rival not in ALONE]
_references: dict[tuple[str, int], str] = {}


@pytest.mark.slow
@pytest.mark.parametrize(("workload", "rival"), PAIRS)
def test_all_make_the_same_rows(made: Any, workload: str, rival: str) -> None:
    if why := COMPARISONS[rival].why_not:
        pytest.skip(why)
    of = made(workload, EVENTS)
    most = SAMPLE if COMPARISONS[rival].sample else 0
    if (workload, most) not in _references:
        _references[workload, most] = reference_digest(of, most)
    loaded = COMPARISONS[rival].load(of, most)
    try:
        result = loaded.fold()
        assert loaded.events == (most or EVENTS)
        if rival == "scan":
            assert result != 0
            assert loaded.octets > 5 * EVENTS
        else:
            # Twice: what is timed is not the first fold of its process.
            for again in (result, loaded.fold()):
                assert digest_of(loaded, of, again) == _references[workload, most]
    finally:
        loaded.close()


def test_every_workload_is_computed_by_others_and_by_us() -> None:
    for workload in WORKLOADS.values():
        assert {"runner", "duckdb_int", "polars_int"} <= set(workload.rivals)
        assert set(workload.rivals) <= set(COMPARISONS)
    assert {name for w in WORKLOADS.values() for name in w.rivals} == set(COMPARISONS)


def test_one_other_cell_is_another_digest(made: Any) -> None:
    of = made("strings", EVENTS)
    loaded = COMPARISONS["polars_int"].load(of, 0)
    ((name, query),) = of.workload.rows.items()
    right = table_of(loaded.rows(loaded.fold())[name], query)  # type: ignore[misc]  # it makes rows
    whole = digest({name: right})
    for column, wrong in (("status", "status 9"), ("opened", 10**6), ("account", -1)):
        cells = right[column].to_pylist()
        cells[7] = wrong
        place = right.column_names.index(column)
        assert digest({name: right.set_column(place, column, pa.array(cells, right[column].type))}) != whole
    assert digest({name: right.slice(0, right.num_rows - 1)}) != whole
    shuffled = right.take(pa.array(np.random.default_rng(1).permutation(right.num_rows)))
    assert digest({name: table_of(shuffled, query)}) == whole


def test_events_are_a_function_of_shape_and_seed(made: Any) -> None:
    giant = made("giant", EVENTS).events("int")
    assert 0.45 < (giant["account"].to_numpy() == 0).mean() < 0.55
    rare = made("rare", EVENTS).events("int")
    assert 0.005 < (rare["type"].to_numpy() >= 14).mean() < 0.02
    for name in ("uniform", "strings"):
        first, again, other = (made(name, EVENTS, seed, partitions) for seed, partitions in ((1, None), (1, 8), (2, 8)))
        assert first.directory != again.directory
        assert first.events("str").equals(again.events("str"))
        assert not first.events("str").equals(other.events("str"))
        with Log.open(first.log) as one, Log.open(again.log) as two:
            assert one.events == EVENTS
            assert one.digest == two.digest


def test_what_was_begun_only_is_made_again(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(workloads, "_write_log", fails)
        with pytest.raises(OSError, match="no room"):
            made("many", 1_000)
    with Log.open(made("many", 1_000).log) as log:
        assert log.events == 1_000


@pytest.mark.parametrize("form", ["c_runs", "c_switch"])
def test_c_folds_segments_with_dictionaries_of_their_own(made: Any, tmp_path: Path, form: str) -> None:
    if why := COMPARISONS[form].why_not:
        pytest.skip(why)
    of = made("uniform", EVENTS)
    texts = workloads.LedgerTexts(of.shape, cents=True)
    path = tmp_path / "log"
    with LogWriter.open(path, partitions=4) as writer:
        (chunk,) = workloads.ledger_chunks(of.shape)
        arrivals = texts.arrivals(chunk)
        for at in range(0, EVENTS, EVENTS // 3):
            writer.append("ledger", arrivals.slice(at, EVENTS // 3))
            writer.commit("ledger", {"at": at})
        with Log.open(path) as log:
            columns = __import__("own").plan_for(log, [ACCOUNT]).columns
        writer.ensure_columns(columns)
    (tmp_path / "events.arrow").symlink_to(of.directory / "events.arrow")
    in_segments = replace(of, directory=tmp_path)
    with Log.open(path) as log:
        assert len(log.manifest.segments) == 4
    loaded = COMPARISONS[form].load(in_segments, 0)
    assert digest_of(loaded, in_segments, loaded.fold()) == reference_digest(of)


def test_position_order_is_of_the_same_events(made: Any) -> None:
    from own import Own
    from rivals.c_fold import in_position_order

    log = Log.open(made("uniform", EVENTS).log)
    held = Own(log, [ACCOUNT], 1, held=True).held
    assert held is not None
    for (batch,) in held:
        moved = in_position_order(batch, log.types)
        assert moved.position is not None
        assert batch.position is not None
        assert (np.diff(moved.position) > 0).all()
        before = dict(zip(batch.position.tolist(), zip(batch.types, batch.aggregate, strict=True), strict=True))
        assert before == dict(zip(moved.position.tolist(), zip(moved.types, moved.aggregate, strict=True), strict=True))
        for column, array in batch.payload.items():
            code = log.types.index(column.event_type)
            amounts = dict(zip(batch.position[batch.types == code].tolist(), array.values.tolist(), strict=True))
            assert amounts == dict(
                zip(moved.position[moved.types == code].tolist(), moved.payload[column].values.tolist(), strict=True)
            )
    log.close()


def test_rows_that_differ_stop_the_contest() -> None:
    class Fake:
        def __init__(self, rival: str, digest: str) -> None:
            self.entry, self.digest = contest.Entry(rival, "uniform", EVENTS), digest

    references = {("uniform", 0): "a", ("uniform", 20_000): "s"}
    good = [Fake("duckdb_int", "a"), Fake("runner", "a"), Fake("python", "s"), Fake("scan", "")]
    contest.check_equal(good, references)  # type: ignore[arg-type]
    for name in ("runner", "python"):
        bad = [Fake(f.entry.rival, "x" if f.entry.rival == name else f.digest) for f in good]
        with pytest.raises(SystemExit, match=f"{name} gives other rows"):
            contest.check_equal(bad, references)  # type: ignore[arg-type]


def test_a_rival_that_is_not_here_is_named(
    made: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Rival("absent", "not here", lambda _made, _most: pytest.fail("loaded"), needs=("no_such_library",))
    monkeypatch.setattr(contest, "COMPARISONS", {**COMPARISONS, "absent": absent})
    found = contest.contest([contest.Entry("absent", "uniform", EVENTS)], 1)
    assert found["figures"] == {}
    assert "no_such_library not installed" in found["not_run"]["absent"]
    assert "not run: absent" in capsys.readouterr().err
    monkeypatch.setattr("rivals.c_fold.compiler", lambda: None)
    assert "no C compiler" in COMPARISONS["c_runs"].why_not


def test_queries_say_the_same_in_sql_whatever_the_ranges() -> None:
    from queries import Count, Total, sql

    of = Query(4, range(1, 3), {"n": Count(range(1, 3)), "m": Count(range(2, 3)), "t": Total("a", range(1, 2))})
    assert "count(*) AS n" in sql(of)
    assert "FILTER (type = 2)" in sql(of)
    assert "WHERE type >= 1 AND type < 3" in sql(of)
    assert "CASE WHEN type = 1 THEN a ELSE 0 END" in sql(of)
    assert rivals.comparisons.COMPARISONS["runner"].why_not == ""
