"""Proof: samples are whole aggregates, and a row that is not what the plain fold makes is found before the switch."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_project import TINY, Project, history

from runner.errors import FingerprintChanged, JobError, ProofError
from runner.fold.plain import fold_plain
from runner.fold.plan import plan_fold
from runner.jobs.folding import merging, partition
from runner.jobs.folding.preparing import chosen_definitions, with_columns
from runner.jobs.proving.prove import prove
from runner.jobs.proving.sampling import available, choose, quotas, restricted, scores_of
from runner.jobs.rebuilding.rebuild import rebuild
from runner.log import LogWriter
from runner.positions import PartitionId, Position
from runner.sinks.rows import write_rows

if TYPE_CHECKING:
    from collections.abc import Callable


def falsified(column: str) -> Callable[..., Any]:
    """A ``write_rows`` that adds 1 to one value of a column on its way to the disk."""

    def write(target: Any, number: int, rows: pa.Table, *rest: Any, **named: Any) -> Any:
        if column in rows.schema.names and rows.num_rows:
            values = rows[column].to_pylist()
            values[0] += 1
            rows = rows.set_column(rows.schema.names.index(column), column, pa.array(values, pa.int64()))
        return write_rows(target, number, rows, *rest, **named)

    return write


@pytest.mark.parametrize(("name", "column"), [("accounts", "balance"), ("items", "quantity")])
@pytest.mark.parametrize("amount", [1000, "all"])
def test_a_wrong_row_stops_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, column: str, amount: Any
) -> None:
    project.append(history(1))
    rebuild(project.config, [name], engine="in-process", prove=amount)
    before = project.bytes(name)
    monkeypatch.setattr(partition, "write_rows", falsified(column))
    with pytest.raises(ProofError, match=name) as raised:
        rebuild(project.config, [name], engine="in-process", prove=amount)
    assert column in str(raised.value)
    assert "aggregate_id='a-" in str(raised.value)
    assert "nothing was published" in raised.value.hint
    live = project.models.live(name)
    assert live is not None
    assert (live.number, project.bytes(name)) == (1, before)


def test_a_wrong_merge_stops_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.append(history(2))
    right = merging.merge_rows

    def wrong(*arguments: Any) -> pa.Table:
        rows = right(*arguments)
        return rows.set_column(1, "events", pc.add(rows["events"], 1))

    monkeypatch.setattr(merging, "merge_rows", wrong)
    for amount in (1000, "all"):
        with pytest.raises(ProofError, match=r"totals.*events"):
            rebuild(project.config, ["totals"], engine="in-process", prove=amount)  # type: ignore[arg-type]  # literal
    rebuild(project.config, ["totals"], engine="in-process", prove=0)


def test_live_read_models_are_proved_and_their_faults_found(project: Project) -> None:
    project.append(history(3), room=TINY)
    with pytest.raises(JobError, match="no read model"):
        prove(project.config)
    rebuild(project.config, ["accounts", "totals"], to=100, engine="in-process", prove=0)
    rebuild(project.config, ["items", "trail"], engine="in-process", prove=0)
    report = prove(project.config, amount="all", engine="threads", workers=2)
    assert [p.checkpoint for p in report.projections] == [100, 200, 100, 200]
    assert all("all 20 aggregates" in p.proof for p in report.projections)
    assert prove(project.config, ["items"], amount=3, engine="in-process").projections[0].proved_aggregates == 3
    changed = Project(project.root, ("other_folds",))
    (project.root / "other_folds.py").write_text(
        "from bank_of_jobs import Moved\nfrom runner import Projection, on\n\n\n"
        "class Accounts(Projection):\n    n: int = 0\n\n    @on(Moved)\n    def moved(self, e):\n        self.n += 1\n"
    )
    with pytest.raises(FingerprintChanged):
        prove(changed.config, ["accounts"])


@given(st.integers(1, 5000), st.sampled_from([1, 2, 8, 64]), st.integers(0, 2**64 - 1))
def test_quotas_spread_evenly(aggregates: int, partitions: int, seed: int) -> None:
    found = quotas(aggregates, [aggregates] * partitions, seed)
    assert sum(found.values()) == aggregates
    assert len(found) == min(aggregates, partitions)
    assert max(found.values()) - min(found.values()) <= 1
    assert found == quotas(aggregates, [aggregates] * partitions, seed)


@given(st.integers(1, 300), st.lists(st.integers(0, 60), min_size=1, max_size=16), st.integers(0, 2**64 - 1))
def test_what_a_partition_lacks_is_handed_on(aggregates: int, there: list[int], seed: int) -> None:
    found = quotas(aggregates, there, seed)
    assert sum(found.values()) == min(aggregates, sum(there))
    assert all(0 < count <= there[p] for p, count in found.items())
    # Even among those that could give more.
    most = max(found.values(), default=0)
    assert all(
        found.get(PartitionId(p), 0) >= most - 1 for p, n in enumerate(there) if found.get(PartitionId(p), 0) < n
    )


@pytest.mark.parametrize("engine", ["in-process", "threads"])
def test_a_sample_of_more_than_there_are_takes_all_and_else_as_many_as_asked(project: Project, engine: Any) -> None:
    project.append(history(3))
    every = rebuild(project.config, ["accounts"], engine=engine, prove="all").projections[0].proved_aggregates
    for asked in (every + 5, every, every - 1, 3):
        found = rebuild(project.config, ["accounts"], engine=engine, prove=asked).projections[0]
        assert found.proved_aggregates == min(asked, every)


def test_a_sample_is_whole_aggregates_and_follows_the_seed(project: Project) -> None:
    events = history(4, 300, accounts=50)
    project.append(events, partitions=2, room=TINY)
    with project.log() as log:
        everyone = choose(log, PartitionId(0), Position(300), count=None, seed=1)
        some = choose(log, PartitionId(0), Position(300), count=5, seed=1)
        assert len(some) == 5
        assert set(some.hi.tolist()) <= set(everyone.hi.tolist())
        assert np.array_equal(some.hi, choose(log, PartitionId(0), Position(300), count=5, seed=1).hi)
        others = {tuple(choose(log, PartitionId(0), Position(300), count=5, seed=s).hi.tolist()) for s in range(8)}
        assert len(others) > 4
        counted = 0
        for batch in log.batches(0):
            mask = some(batch.aggregates)[batch.aggregate]
            counted += int(mask.sum())
            part = restricted(batch, some, log.types)
            assert (0 if part is None else len(part)) == int(mask.sum())
        assert counted == some.events
        few = choose(log, PartitionId(0), Position(300), count=40, seed=1, most_events=10)
        assert len(few) < 40
        assert few.events <= 10 or len(few) == 1


def counted_one_by_one(log: Any, partition: PartitionId, to: int) -> dict[tuple[int, int], int]:
    """Events of each aggregate up to a position: the plain twin of every way to count them."""
    found: dict[tuple[int, int], int] = {}
    for batch in log.batches(partition):
        for code, position in zip(batch.aggregate.tolist(), batch.position.tolist(), strict=True):
            if position <= to:
                key = int(batch.aggregates.hi[code]), int(batch.aggregates.lo[code])
                found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sample_is_of_the_lowest_scores_wherever_the_log_is_cut(project: Project, compacted: bool) -> None:
    """In several segments, and up to positions that leave entries of dictionaries without an event."""
    for part in range(3):
        project.append(history(20 + part, 120, accounts=60), partitions=2, room=TINY)
    if compacted:
        with LogWriter.open(project.config.log.path) as writer:
            writer.compact()
    with project.log() as log:
        cuts, counts = (1, 7, 130, 250, 360), (1, 4, 30, 500)
        for partition, to, count, seed in product(map(PartitionId, range(2)), cuts, counts, (1, 2)):
            plain = counted_one_by_one(log, partition, to)
            assert available(log, partition, Position(to), count) == min(count, len(plain))
            hashes = sorted(plain)
            scores = scores_of(*(np.array([key[word] for key in hashes], np.uint64) for word in (0, 1)), seed)
            lowest = sorted(range(len(hashes)), key=lambda n: scores[n])[:count]
            found = choose(log, partition, Position(to), count=count, seed=seed)
            chosen = list(zip(found.hi.tolist(), found.lo.tolist(), strict=True))
            assert chosen == sorted(hashes[n] for n in lowest)
            assert found.events == sum(plain[key] for key in chosen)


def test_restricted_batches_fold_like_wanted_ones(project: Project) -> None:
    project.append(history(5, 300, accounts=50), partitions=1, room=TINY)
    from runner.jobs.records.recording import Recording
    from runner.stats import ignore

    definitions = chosen_definitions(project.config, "all")
    with ExitStack() as stack:
        log = stack.enter_context(project.log())
        plan = plan_fold(definitions, log.types, scopes=log.scopes)
        full = with_columns(stack, log, plan.columns, Recording("", ignore))
        sample = choose(full, PartitionId(0), Position(300), count=7, seed=3)

        def whole() -> Any:
            return full.batches(0, plan.columns, plan.header)

        def parts() -> Any:
            return (p for b in whole() if (p := restricted(b, sample, full.types)) is not None)

        for definition in definitions:
            one = fold_plain(definition, whole, plan.names, wanted=sample)
            other = fold_plain(definition, parts, plan.names)
            assert one == other
