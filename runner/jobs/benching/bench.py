"""Bench: how fast this log's events can be replayed by these projections, and what limits it.

The log is only read, and its files' pages are dropped from the cache for the cold runs. Rows are written as a rebuild
writes them, into a directory on the disk of the read models that is gone when the run ends, also by Ctrl-C; one that
was killed leaves it to the next bench. Neither marks nor read models change; the ledger has a line of the run.

A short fold first tells about how much fits into the time (``course.py``); then points take turns (``measuring.py``).
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from runner.engine.interrupts import held_interrupts
from runner.engine.scratch import Scratch
from runner.errors import ConfigError, JobError
from runner.jobs.benching import findings
from runner.jobs.benching.comparing import check_comparable, compared
from runner.jobs.benching.course import Cost, as_earlier, chosen, fewest, spread_over
from runner.jobs.benching.measuring import Bench, Fold, Runs
from runner.jobs.benching.model import FORMULA
from runner.jobs.benching.report import BenchReport, Sample
from runner.jobs.benching.sources import sampled_sources
from runner.jobs.benching.verdict import Measured as Grounds
from runner.jobs.benching.verdict import bottleneck
from runner.jobs.folding.preparing import (
    EngineWish,
    check_nodes,
    chosen_definitions,
    ledger_of,
    new_job,
    plan_over,
    working_engine,
)
from runner.jobs.records.recording import recorded
from runner.jobs.syncing.fraction import fraction_line
from runner.log import Log
from runner.positions import Cut, Position
from runner.stats import Noted, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import Engine, EngineName
    from runner.jobs.benching.comparing import Earlier
    from runner.jobs.benching.course import Course
    from runner.jobs.benching.measuring import Run
    from runner.jobs.benching.report import Memory, SourceSample
    from runner.jobs.records.recording import Recording
    from runner.stats import Listener

__all__ = ["Wanted", "bench"]

SYNC_PART = 0.2
"""Of the time, for reading the sources."""
FIRST_EVENTS, STEP = 20_000, 5
"""Of the first fold of those that say how dear an event is, and by how much each is larger than the one before."""
SMALL = 4_000_000
"""Of a log of so many events all partitions are folded for that."""


@dataclass(frozen=True)
class Wanted:
    """seconds: about how long all of it may take. runs: of each point. times: what is estimated beside the whole log.

    threshold: of the comparison with ``earlier``, relative.
    """

    seconds: float = 60.0
    runs: int = 5
    times: tuple[float, ...] = (10.0,)
    cold: bool = True
    sync: bool = True
    earlier: Earlier | None = None
    threshold: float = 0.1


def bench(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    wanted: Wanted | None = None,
    *,
    engine: EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    listener: Listener = ignore,
) -> BenchReport:
    """Measure folds of these projections over the log, and sync over the sources' beginnings.

    Raises ConfigError, DefinitionError, CompileError, LogError, and JobError (an empty log, columns that it lacks)
    before anything is measured; FoldError, EngineError, ReadModelError.
    """
    wanted = wanted or Wanted()
    definitions = chosen_definitions(config, names)
    if wanted.earlier is not None:
        check_comparable(wanted.earlier, [d.name for d in definitions], wanted.runs)
    with ExitStack() as stack:
        log = stack.enter_context(Log.open(config.log.path))
        if not log.events:
            raise JobError(f"the log {log.path} is empty: there is nothing to measure", hint="`runner sync` fills it")
        plan = plan_over(log, definitions)
        if missing := log.missing_columns(plan.columns):
            raise JobError(
                f"the log has no column for {missing[0].event_type} {missing[0].paths} yet, and a bench writes nothing "
                "into the log",
                hint="`runner sync` makes the columns of all projections that runner.toml names",
            )
        ledger = stack.enter_context(ledger_of(config))
        options = {"seconds": wanted.seconds, "runs": wanted.runs}
        job = new_job("bench", log, plan, Cut(log.last_position), options)
        run = stack.enter_context(recorded(ledger, job, listener))
        directory = _scratch(stack, config)
        wish = EngineWish(engine, workers, address)
        return _Benching(config, definitions, wanted, run, Bench(log, plan, directory, run.tell), wish).report()


def _scratch(stack: ExitStack, config: Config) -> Path:
    """A directory on the disk of the read models, gone when ``stack`` ends. Raises JobError."""
    parent = next(p for p in (config.read_models.path, *config.read_models.path.parents) if p.is_dir())
    try:
        scratch = Scratch(".bench-", str(parent))
    except OSError as error:
        raise JobError(
            f"{parent} cannot be written to: {error.strerror}", hint="a bench writes rows there, and removes them"
        ) from None

    def remove() -> None:
        with held_interrupts():
            scratch.remove()

    stack.callback(remove)
    return scratch.path


@dataclass
class _Benching:
    """One bench under way."""

    config: Config
    definitions: Sequence[ProjectionDefinition]
    wanted: Wanted
    run: Recording
    bench: Bench
    wish: EngineWish
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    """How many programs wanted to run, on average of the minute before."""

    def report(self) -> BenchReport:
        """All of it."""
        log, wanted = self.bench.log, self.wanted
        began = time.perf_counter()
        events, tail = findings.partition_events(log.manifest)
        # What is not partitioned yet is spread by the hash like all else.
        shares = [n + tail / len(events) for n in events]
        runs = Runs()
        with ExitStack() as engines:
            working, why = engines.enter_context(self._opened(self.wish))
            check_nodes(working, log, [self.bench.directory])
            self.wish = replace(self.wish, engine=_name(working), workers=working.workers)
            course = self._course(working, shares)
            folds = self._folds(course)
            largest = folds[0]
            scan_cost = self.bench.scan_cost(course.partitions)
            _, memory = self.bench.watched(working, largest)
            amount = sum(shares[p] * f.size for f in folds for p in course.partitions)
            until = began + wanted.seconds * ((1 - SYNC_PART) if self._reads_sources else 1.0)
            with self.run.stage("measure", round(amount * wanted.runs)) as timing:
                self._measure(engines, working, folds, until, runs)
                timing.events = sum(r.events for of in runs.of.values() for r in of)
        sources = self._sources()
        return self._found(course, runs, scan_cost, memory, sources, (working.name, why, working.workers), events, tail)

    # Before -----------------------------------------------------------------------------------------------------------

    def _opened(self, wish: EngineWish) -> AbstractContextManager[tuple[Engine, str]]:
        return working_engine(self.config, wish, self.definitions, self.bench.log.events, self.run.tell)

    @property
    def _reads_sources(self) -> bool:
        return self.wanted.sync and bool(self.config.sources)

    def _course(self, engine: Engine, shares: Sequence[float]) -> Course:
        wanted, workers = self.wanted, engine.workers
        if wanted.earlier is not None:
            course = as_earlier(wanted.earlier, shares, workers)
            if course is not None:
                return course
            self.run.tell(Noted("other partitions or workers than in the earlier report: sizes are chosen anew"))
        seconds = wanted.seconds * ((1 - SYNC_PART) if self._reads_sources else 1.0)
        cost = self._cost(engine, shares, seconds)
        return chosen(shares, workers, cost=cost, seconds=seconds, runs=wanted.runs, cold=wanted.cold)

    def _cost(self, engine: Engine, shares: Sequence[float], seconds: float) -> Cost:
        """About what a fold and an event cost: larger folds until one takes a moment longer than the first."""
        count = len(shares) if self.bench.log.events <= SMALL else fewest(len(shares), engine.workers)
        partitions = spread_over(shares, count)
        size = min(1.0, FIRST_EVENTS / sum(shares[p] for p in partitions))
        self.bench.fold(engine, self._fold(size, engine.workers, partitions))  # loads the kernel, is not counted
        first = run = self.bench.fold(engine, self._fold(size, engine.workers, partitions))
        while size < 1.0 and run.seconds < max(2 * first.seconds, seconds / 50):
            size = min(1.0, size * STEP)
            run = self.bench.fold(engine, self._fold(size, engine.workers, partitions))
        if run.events <= first.events:
            return Cost(0.0, run.seconds * engine.workers / max(1, run.events))
        # Never nothing: two folds of a busy machine may take the same time by chance.
        further = max(run.seconds - first.seconds, 0.05 * run.seconds)
        return Cost(first.seconds / len(partitions), further * engine.workers / (run.events - first.events))

    def _fold(
        self, size: float, workers: int, partitions: Sequence[int], cache: Literal["warm", "cold"] = "warm"
    ) -> Fold:
        position = Position(max(1, round(self.bench.log.last_position * size)))
        return Fold(size, position, workers, tuple(partitions), cache)

    def _folds(self, course: Course) -> list[Fold]:
        """The points, the largest by all workers first; sizes of a tiny log that end at one position are one."""
        found: dict[tuple[Position, int], Fold] = {}
        for size, workers in sorted(course.folds, reverse=True):
            fold = self._fold(size, workers, course.partitions)
            found.setdefault((fold.position, workers), fold)
        folds = sorted(found.values(), key=lambda f: (-f.size, -f.workers))
        if self.wanted.cold:
            folds.append(replace(folds[0], cache="cold"))
        return folds

    # Meanwhile --------------------------------------------------------------------------------------------------------

    def _measure(self, stack: ExitStack, working: Engine, folds: Sequence[Fold], until: float, into: Runs) -> None:
        if working.name != "ray":
            engines = {working.workers: working}
            for workers in {f.workers for f in folds} - {working.workers}:
                engines[workers] = stack.enter_context(self._opened(replace(self.wish, workers=workers)))[0]
            self.bench.rounds(engines, folds, self.wanted.runs, until, into)
            return
        # A Ray takes long to start, and there is one at a time: the points of each have rounds of their own.
        counts = sorted({f.workers for f in folds}, reverse=True)
        for left, workers in zip(range(len(counts), 0, -1), counts, strict=True):
            if workers != working.workers:
                stack.close()
                working = stack.enter_context(self._opened(replace(self.wish, workers=workers)))[0]
            now = time.perf_counter()
            mine = [f for f in folds if f.workers == workers]
            self.bench.rounds({workers: working}, mine, self.wanted.runs, now + (until - now) / left, into)

    def _sources(self) -> tuple[SourceSample, ...]:
        if not self._reads_sources:
            return ()
        with self.run.stage("sync"):
            return sampled_sources(
                self.config,
                self.definitions,
                self.bench.directory,
                partitions=self.bench.log.partitions,
                seconds=self.wanted.seconds * SYNC_PART,
                runs=self.wanted.runs,
                tell=self.run.tell,
            )

    # Afterwards -------------------------------------------------------------------------------------------------------

    def _found(
        self,
        course: Course,
        runs: Runs,
        scan_cost: float,
        memory: Memory | None,
        sources: tuple[SourceSample, ...],
        used: tuple[str, str, int],
        events: Sequence[int],
        tail: int,
    ) -> BenchReport:
        log, wanted, (engine, why, workers) = self.bench.log, self.wanted, used
        points = tuple(findings.point(fold, of, scan_cost) for fold, of in _ordered(runs))
        largest = next(p for p in reversed(points) if p.cache == "warm" and p.workers == workers)
        alone = next((p for p in points if p.workers == 1 and p.size == largest.size and p.cache == "warm"), None)
        shares = [n + tail / len(events) for n in events]
        sampled = [shares[p] for p in course.partitions]
        stages = findings.stage_shares(largest)
        modelled = findings.modelled(points, sampled)
        skew = findings.skew_of(events, tail, workers)
        last = [run for fold, of in runs.of.items() if fold.size == course.sizes[-1] for run in of][-1]
        octets = findings.bytes_of(log.manifest, self.bench.digests, last.octets, last.rows)
        estimates = findings.estimates(modelled, largest, wanted.times, shares, sampled)
        whole = estimates[0].seconds if estimates else largest.seconds.median
        start = 0.0 if modelled.model is None else findings.start_of(modelled.model, shares, sampled)
        grounds = Grounds(
            stages=stages,
            seconds=largest.seconds.median,
            start=start / whole,
            workers=workers,
            busy=skew.busy,
            largest=max(shares) / sum(shares),
            alone=None if alone is None or workers == 1 else alone.seconds.median,
            plain=[d.name for d in self.definitions if not d.compiled],
            at_best=0.0 if alone is None else alone.seconds.high / largest.seconds.low,
        )
        self.run.counts.update({"events": largest.events, "workers": workers, "engine": engine})
        report = BenchReport(
            job_id=self.run.job_id,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=findings.machine(),
            projections=tuple(d.name for d in self.definitions),
            fingerprints={d.name: d.fingerprint for d in self.definitions},
            engine=engine,
            why=why,
            workers=workers,
            log_id=log.manifest.log_id,
            sample=Sample(
                partitions=course.partitions,
                of_partitions=log.partitions,
                sizes=course.sizes,
                workers=course.workers,
                position=largest.position,
                events=largest.events,
                log_events=log.events,
                log_position=int(log.last_position),
            ),
            points=points,
            stages=stages,
            bottleneck=bottleneck(grounds),
            skew=skew,
            octets=octets,
            memory=memory,
            sources=sources,
            model=modelled.model,
            formula=FORMULA,
            held_out=modelled.held_out,
            error=modelled.error,
            estimates=estimates,
            figures=findings.figures(points, stages, sources, octets, memory),
            cold=runs.cold,
            notes=tuple(self._notes(runs, skew.tail)),
            seconds=dict(self.run.seconds),
        )
        if wanted.earlier is None:
            return report
        return replace(report, comparison=compared(wanted.earlier, report, wanted.threshold))

    def _notes(self, runs: Runs, tail: int) -> Iterator[str]:
        if self.load > 1:
            cores = len(os.sched_getaffinity(0))
            yield f"{self.load:.1f} programs wanted the {cores} cores before it began: others work here, so runs differ"
        fewest_runs = min(len(of) for of in runs.of.values())
        if fewest_runs < self.wanted.runs:
            yield f"{fewest_runs} runs instead of {self.wanted.runs}: more did not fit into {self.wanted.seconds:g} s"
        yield from dict.fromkeys(note for of in runs.of.values() for run in of for note in run.notes)
        if tail:
            yield f"{tail:,} events are not partitioned yet: `runner compact` makes them so"
        if part := fraction_line(self.bench.log.sources):
            yield part
        if self.config.read_models.postgres is not None:
            yield "rows are written to files; loading them into Postgres is not measured"


def _name(engine: Engine) -> EngineName:
    if engine.name in ("threads", "ray", "in-process"):
        return engine.name  # type: ignore[return-value]  # one of the three
    raise ConfigError(f"a bench cannot open engines like {engine.name}")


def _ordered(runs: Runs) -> list[tuple[Fold, list[Run]]]:
    """Points by size and workers, warm ones first."""
    return sorted(runs.of.items(), key=lambda pair: (pair[0].cache == "cold", pair[0].size, pair[0].workers))
