"""Independent proof: what the run wrote against the plain twin's rows, before anything is published.

*Keys of the aggregate.* Whole aggregates, chosen by a seed of log and position and spread over the partitions, are
folded again from their first event by the plain twin; the rows are read back from the files that the run wrote.
*Merged keys.* Their rows belong to no aggregate, so the partial rows are proved: the events of the same aggregates are
folded once by the compiled fold and once by the twin, the partial rows compared, then merged compiled and plain, and
compared again. ``all`` folds every aggregate, and compares merged rows with the merge of all partial rows of the twin.
Floats of merged keys (``merge_floats=True``) are equal within ``compare.TOLERANCE``: sums depend on the order.

A sample takes no further aggregates of a partition once it has 1,000 events for each one asked for, so that it stays
short where few aggregates have most of the events; at least one is taken. The report says how many were.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from runner.engine.base import raise_if_cancelled
from runner.errors import FoldFailure, ProofError
from runner.fold.plain import fold_plain
from runner.fold.plain_state import merge_plain
from runner.fold.run import fold_partition
from runner.jobs.folding.merging import merged
from runner.jobs.folding.partition import scan
from runner.jobs.folding.preparing import grouped
from runner.jobs.proving.same_bytes import TOLERANCE, differences, same
from runner.jobs.proving.sampling import available, choose, quotas, restricted, seed_of
from runner.positions import START, PartitionId
from runner.stats import Proved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from runner.authoring.definition import ProjectionDefinition
    from runner.batch import Batch
    from runner.engine import Engine
    from runner.fold.outcome import PartitionOutcome
    from runner.fold.plan import FoldPlan
    from runner.jobs.proving.sampling import Sample
    from runner.jobs.records.recording import Recording
    from runner.log import Log
    from runner.positions import Position
    from runner.sinks.saved import SavedFiles

__all__ = ["Amount", "Proof", "proved"]

Amount = int | Literal["all"]
"""How many aggregates are proved; 0: none."""

EVENTS_PER_AGGREGATE = 1_000


@dataclass(frozen=True)
class Proof:
    """What was proved of one projection."""

    aggregates: int = 0
    events: int = 0
    words: str = "not proved"


@dataclass(frozen=True)
class _Task:
    """counts: per partition, how many aggregates; None: all. saved: the rows that the run wrote."""

    log: Log
    plan: FoldPlan
    counts: Mapping[PartitionId, int | None]
    seed: int
    to: Position
    saved: SavedFiles


@dataclass(frozen=True)
class _Count:
    """Partitions whose aggregates are counted, each up to ``most``."""

    log: Log
    partitions: tuple[PartitionId, ...]
    to: Position
    most: int


@dataclass(frozen=True)
class _Part:
    """A comparison of some partitions, by the first of them. plain, compiled: partial rows of merged keys."""

    partition: int
    aggregates: int
    events: int
    different: Mapping[str, tuple[str, ...]]
    plain: Mapping[str, pa.Table] = field(default_factory=dict)
    compiled: Mapping[str, pa.Table] = field(default_factory=dict)


def proved(
    run: Recording, engine: Engine, log: Log, plan: FoldPlan, saved: SavedFiles, to: Position, amount: Amount
) -> Mapping[str, Proof]:
    """Prove the rows of all projections of the plan as they stand at ``to``; nothing where ``amount`` is 0.

    Raises ProofError naming projection, keys and columns.
    """
    if amount == 0:
        return {d.name: Proof() for d in plan.definitions}
    seed = seed_of(log.manifest.log_id, to)
    counts: dict[PartitionId, int | None]
    if amount == "all":
        counts = dict.fromkeys(map(PartitionId, range(log.partitions)))
    else:
        counts = {**quotas(amount, _available(engine, log, to, amount), seed)}
    groups = grouped(sorted(counts), engine.workers)
    tasks = [_Task(log, plan, {p: counts[p] for p in group}, seed, to, saved) for group in groups]
    with run.stage("prove") as timing:
        with closing(engine.run(_prove, tasks)) as results:
            parts = sorted((part for parts in results for part in parts), key=lambda p: p.partition)
        timing.events = sum(part.events for part in parts)
        for definition in plan.definitions:
            _check(definition, parts)
            if definition.merged:
                _check_merge(plan, definition, parts, saved if amount == "all" else None)
    aggregates = sum(part.aggregates for part in parts)
    proofs = {}
    for definition in plan.definitions:
        run.tell(Proved(definition.name, aggregates, timing.events))
        proofs[definition.name] = Proof(
            aggregates, timing.events, _words(definition, amount, aggregates, timing.events)
        )
    return proofs


def _available(engine: Engine, log: Log, to: Position, most: int) -> list[int]:
    """How many aggregates each partition can give, ``most`` where it has more."""
    groups = grouped([PartitionId(p) for p in range(log.partitions)], engine.workers)
    with closing(engine.run(_count, [_Count(log, group, to, most) for group in groups])) as results:
        found = dict(pair for pairs in results for pair in pairs)
    return [found[p] for p in range(log.partitions)]


def _count(task: _Count) -> tuple[tuple[int, int], ...]:
    """Runs in a worker."""
    counted = []
    for partition in task.partitions:
        raise_if_cancelled()
        counted.append((int(partition), available(task.log, partition, task.to, task.most)))
    return tuple(counted)


def _words(definition: ProjectionDefinition, amount: Amount, aggregates: int, events: int) -> str:
    which = "all" if amount == "all" else "a sample of"
    what = "partial rows and their merge" if definition.merged else "rows"
    near = f", floats within {TOLERANCE:g}" if definition.merged and definition.merge_floats else ""
    return f"{what} of {which} {aggregates:,} aggregates ({events:,} events) folded again in plain Python: equal{near}"


def _prove(task: _Task) -> tuple[_Part, ...]:
    """Runs in a worker. A sample of several partitions is folded in one go, all of a partition by itself."""
    sampled = tuple(p for p, count in task.counts.items() if count is not None)
    whole = ((p,) for p, count in task.counts.items() if count is None)
    return tuple(_prove_partitions(task, unit) for unit in (*whole, sampled) if unit)


def _prove_partitions(task: _Task, partitions: tuple[PartitionId, ...]) -> _Part:
    samples: dict[PartitionId, Sample] = {}
    for partition in partitions:
        raise_if_cancelled()
        count = task.counts[partition]
        most = None if count is None else EVENTS_PER_AGGREGATE * count
        samples[partition] = choose(task.log, partition, task.to, count=count, seed=task.seed, most_events=most)
    hi, lo = (np.concatenate([getattr(s, word) for s in samples.values()]) for word in ("hi", "lo"))
    events = sum(s.events for s in samples.values())
    if not len(hi):
        return _Part(partitions[0], 0, 0, {})
    batches = partial(_sampled_scan, task, samples)
    if task.counts[partitions[0]] is not None:
        # A sample is small, and all projections fold it.
        batches = partial(iter, tuple(batches()))
    different: dict[str, tuple[str, ...]] = {}
    plain: dict[str, pa.Table] = {}
    compiled: dict[str, pa.Table] = {}
    again: PartitionOutcome | None = None
    for definition in task.plan.definitions:
        name, key = definition.name, tuple(p.name for p in definition.key)
        found = fold_plain(definition, batches, task.plan.names, partition=partitions[0])
        if isinstance(found, FoldFailure):
            different[name] = (_failed(found),)
            continue
        if not definition.merged:
            written = task.saved(name, hi, lo)
            key = (*(n for n in task.plan.names.identity if n in written.schema.names and n not in key), *key)
        else:
            plain[name] = found.rows
            if task.counts[partitions[0]] is None:
                continue  # the merged rows themselves are compared, when all partitions are through
            again = again or fold_partition(task.plan, batches, partition=partitions[0])
            if name not in again.projections:
                different[name] = (_failed(next(f for f in again.failures if f.projection == name)),)
                continue
            written = compiled[name] = again.projections[name].rows
        near = definition.merged and definition.merge_floats
        if not same(written, found.rows, key, near=near):
            different[name] = tuple(str(d) for d in differences(written, found.rows, key, near=near))
    return _Part(partitions[0], len(hi), events, different, plain, compiled)


def _sampled_scan(task: _Task, samples: Mapping[PartitionId, Sample]) -> Iterator[Batch]:
    for partition, sample in samples.items():
        for batch in scan(task.log, task.plan, partition, START, task.to):
            part = batch if task.counts[partition] is None else restricted(batch, sample, task.log.types)
            if part is not None:
                yield part


def _failed(failure: FoldFailure) -> str:
    return (
        f"the plain fold fails at position {failure.position} in {failure.handler} "
        f"(aggregate {failure.aggregate_id!r}): {failure.reason}"
    )


def _check(definition: ProjectionDefinition, parts: Sequence[_Part]) -> None:
    found = [text for part in parts for text in part.different.get(definition.name, ())]
    if found:
        raise _different(definition, found)


def _check_merge(
    plan: FoldPlan, definition: ProjectionDefinition, parts: Sequence[_Part], saved: SavedFiles | None
) -> None:
    name, key = definition.name, tuple(p.name for p in definition.key)
    plain = merge_plain(definition, [part.plain[name] for part in parts if name in part.plain], plan.names.identity)
    if saved is not None:
        rows = saved.whole(name)
    else:
        rows = merged(plan, definition, [part.compiled[name] for part in parts if name in part.compiled])
    near = definition.merge_floats
    if not same(rows, plain, key, near=near):
        raise _different(definition, [str(d) for d in differences(rows, plain, key, near=near)])


def _different(definition: ProjectionDefinition, found: Sequence[str]) -> ProofError:
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return ProofError(
        f"{definition.name}: the run's rows differ from those of the plain fold (run against plain): "
        f"{'; '.join(found[:3])}{more}",
        hint="nothing was published; please report it, and go on with class X(Projection, compiled=False)",
    )
