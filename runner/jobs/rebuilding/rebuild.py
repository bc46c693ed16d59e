"""Rebuild: fold from the first event into new versions of read models, prove them, switch. Steps: ``runner/steps.py``.

::

    1  job in the ledger, versions claimed
    2  a partition's rows on the disk        in workers, one file a partition and projection
    3  the partition in the ledger           from here on a resumed run does not fold it again
    4  merged keys merged
    5  rows proved
    6-8  published                           ``runner/sinks/publish.py``; before it tables (``publishing.py``)

Until 7 the live read models are as they were, whatever happens. A run that ended before is gone on with by ``resume``:
the same projections, fingerprints, log, cut and plan, and only partitions whose files are still as they were recorded.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import NotResumable
from runner.jobs.folding.catch_up import Base, fold_since
from runner.jobs.folding.merging import merge_partials
from runner.jobs.folding.partition import FoldTask, partial_target
from runner.jobs.folding.passes import Totals, run_pass, worker_seconds
from runner.jobs.folding.preparing import (
    EngineWish,
    check_nodes,
    chosen_definitions,
    grouped,
    ledger_of,
    new_job,
    plan_over,
    read_models_of,
    shape_of,
    with_columns,
    working_engine,
)
from runner.jobs.proving.proof import Amount, proved
from runner.jobs.publishing.publishing import publishing_of
from runner.jobs.publishing.reconcile import reconcile
from runner.jobs.records.recording import Recording, recorded
from runner.jobs.reports.runs import ProjectionReport, RebuildReport
from runner.log import Log
from runner.positions import START, Cut, Position
from runner.sinks.rows import write_rows
from runner.stats import CheckpointMoved, Noted, RowsWritten, ignore
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import Engine, EngineName
    from runner.fold.plan import FoldPlan
    from runner.jobs.folding.partition import FoldedPartition
    from runner.jobs.proving.proof import Proof
    from runner.jobs.publishing.publishing import Publishing
    from runner.jobs.publishing.writers import WriterWish
    from runner.jobs.records.ledger import Job, Ledger, PartitionRecord
    from runner.positions import SourcePosition
    from runner.sinks.read_models import Built, Claim, ReadModels
    from runner.sinks.shape import FileInfo, Version
    from runner.stats import Listener

__all__ = ["rebuild"]

PROVED_BY_DEFAULT = 1_000


def rebuild(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    engine: Engine | EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    to: int | datetime | str | tuple[str, SourcePosition] | None = None,
    resume: bool = False,
    prove: Amount = PROVED_BY_DEFAULT,
    part_of: str = "",
    writers: WriterWish | None = None,
    compare: bool = False,
    dry_run: bool = False,
    listener: Listener = ignore,
) -> RebuildReport:
    """Build and publish new versions of these read models in one pass over the log.

    engine, workers, address: None and 0 are what runner.toml says. to: up to which place (``Log.cut_at``); None: all.
    resume: go on with the last run of the same projections that did not finish. With nothing to go on with it begins,
    and says so; where the run that did not finish was of other projections too, NotResumable names it.
    prove: how many aggregates the plain twin folds again before the switch, "all" or 0. part_of: the job that this one
    works for, for the ledger. writers: how to get past an application that writes the tables in Postgres too.
    compare: with the application's tables ([compare.NAME]) before the switch, which a difference stops (RowsDiffer).
    dry_run: everything but the switch; the report says what it would do. The comparison is told, and stops nothing.

    Raises ConfigError, DefinitionError, CompileError, LogError and JobError before anything is done; FoldError,
    ProofError, EngineError and ReadModelError later: what is live is untouched, what is finished stays for ``resume``.
    """
    definitions = chosen_definitions(config, names)
    with ExitStack() as stack:
        log = stack.enter_context(Log.open(config.log.path))
        ledger = stack.enter_context(ledger_of(config))
        former = _unfinished(ledger, definitions) if resume else None
        cut = _cut(log, to, former)
        plan = plan_over(log, definitions)
        publishing = publishing_of(config, read_models_of(config), writers)
        planned = publishing.check([shape_of(log, plan, d) for d in plan.definitions], compared=compare or dry_run)
        options = {"resume": resume, "prove": prove, "to": cut.asked, **({"part_of": part_of} if part_of else {})}
        options |= {name: True for name, wanted in (("compare", compare), ("dry_run", dry_run)) if wanted}
        job = new_job("rebuild", log, plan, cut, options)
        if former is not None and (reasons := former.differs_from(job)):
            raise NotResumable(
                f"job {former.id} cannot be resumed: {'; '.join(reasons)}", hint="run it again without --resume"
            )
        run = stack.enter_context(recorded(ledger, job, listener, resumes=former.id if former else ""))
        if resume and former is None:
            run.tell(Noted("nothing to resume: no earlier run of these left finished partitions; folding all events"))
        for line in planned:
            run.tell(Noted(line))
        log = with_columns(stack, log, plan.columns, run)
        # A dry run changes nothing that users see, not even what a dead run left half done.
        notes = () if dry_run else reconcile(publishing, run, ledger, [d.name for d in plan.definitions], load=False)
        work = _Rebuild(run, ledger, publishing, log, plan, cut, former, follows=to is None, notes=notes)
        work.compare, work.dry_run, work.planned = compare, dry_run, planned
        report = work.done(stack, config, EngineWish(engine, workers, address), prove)
        by_name = {p.name: p for p in report.projections}
        return replace(
            report,
            projections=tuple(by_name[d.name] for d in definitions),
            nothing_to_resume=resume and former is None,
        )


def _unfinished(ledger: Ledger, definitions: Sequence[ProjectionDefinition]) -> Job | None:
    """The run to go on with. Raises NotResumable where the one that has these projections' partitions was of
    others too."""
    names = sorted(d.name for d in definitions)
    former = ledger.last_unfinished("rebuild", tuple(names))
    if former is None or sorted(former.projections) == names:
        return former
    theirs = " ".join(former.projections)
    raise NotResumable(
        f"job {former.id}, which did not finish, was a rebuild of {', '.join(former.projections)}: "
        f"its {former.partitions_done} finished partitions are of those together",
        hint=f"`runner rebuild {theirs} --resume` does the rest of it; without --resume {' '.join(names)} begins anew",
    )


def _cut(log: Log, to: int | datetime | str | tuple[str, SourcePosition] | None, former: Job | None) -> Cut:
    if to is not None:
        return log.cut_at(to)
    if former is not None and former.log_id == log.manifest.log_id and former.cut <= log.last_position:
        # What came since is for the next update: else a resumed run could never go on beside a sync.
        return Cut(Position(former.cut), asked=f"where job {former.id} was to end")
    return Cut(log.last_position)


@dataclass
class _Rebuild:
    """One run under way."""

    run: Recording
    ledger: Ledger
    publishing: Publishing
    log: Log
    plan: FoldPlan
    cut: Cut
    former: Job | None
    follows: bool
    """Whether what comes into the log meanwhile is folded too, before tables are switched that have it already."""
    notes: tuple[str, ...] = ()
    compare: bool = False
    dry_run: bool = False
    planned: tuple[str, ...] = ()

    @property
    def models(self) -> ReadModels:
        return self.publishing.models

    def done(self, stack: ExitStack, config: Config, wish: EngineWish, prove: Amount) -> RebuildReport:
        """The whole of it. The claims are given back when ``stack`` ends."""
        claims = self._claim(stack)
        reached("rebuild.1")
        with working_engine(config, wish, self.plan.definitions, self.log.events, self.run.tell) as (engine, why):
            check_nodes(engine, self.log, [claim.directory for claim in claims.values()])
            records = self._taken_over(claims)
            resumed = (len(records), sum(record.events for record in records.values()))
            if self.former is not None:
                kept = f"{len(records)} of {self.log.partitions} partitions are done"
                self.run.tell(Noted(f"going on with job {self.former.id}: {kept}"))
            self._fold(engine, claims, records)
            files, rows = self._merge(claims, records)
            reached("rebuild.4")
            built = [claim.built(self.cut.position, files[name]) for name, claim in claims.items()]
            saved = self.models.saved_rows(*(b.version for b in built))
            proofs = proved(self.run, engine, self.log, self.plan, saved, self.cut.position, prove)
            reached("rebuild.5")
            used = (engine.name, why, engine.workers)
            look = self._looked_at(engine, built)
            with ExitStack() as later:
                live: Sequence[Built] = built
                if not self.dry_run:
                    live = self.publishing.publish_rebuild(self.run, built, partial(self._caught_up, later, engine))
        for one in () if self.dry_run else live:
            self.run.tell(CheckpointMoved(one.version.name, one.version.position, self.log.last_position))
        for definition in self.plan.definitions:
            if definition.merged:
                shutil.rmtree(
                    claims[definition.name].directory / _partials(claims[definition.name]), ignore_errors=True
                )
        if self.dry_run:
            for claim in claims.values():
                shutil.rmtree(claim.directory, ignore_errors=True)
        report = self._report({one.version.name: one.version for one in live}, records, rows, proofs, used, resumed)
        return replace(report, **look)

    def _looked_at(self, engine: Engine, built: Sequence[Built]) -> dict[str, Any]:
        """What is to be known before the switch, as fields of the report. Raises RowsDiffer."""
        found: dict[str, Any] = {}
        if not (self.compare or self.dry_run):
            return found
        from runner.jobs.rebuilding.before_switch import compared_before, outlook

        versions = {one.version.name: one.version for one in built}
        stop = self.compare and not self.dry_run
        found["comparisons"] = compared_before(self.publishing, self.run, engine, self.plan, versions, stop=stop)
        if self.dry_run:
            self.publishing.rehearse(self.run, built)
            look = outlook(self.publishing, list(versions.values()), self.planned)
            found |= {"published": False, "plan": look.words, "statements": look.statements}
        return found

    def _claim(self, stack: ExitStack) -> dict[str, Claim]:
        claims: dict[str, Claim] = {}
        for definition in self.plan.definitions:
            shape = shape_of(self.log, self.plan, definition)
            claim = self.models.begin_rebuild(shape, job_id=self.run.job_id, resume=self.former is not None)
            claims[definition.name] = stack.enter_context(claim)
            if definition.merged:
                (claim.directory / _partials(claim)).mkdir(exist_ok=True)
        self.ledger.claimed(self.run.job_id, {name: claim.number for name, claim in claims.items()})
        return claims

    def _taken_over(self, claims: Mapping[str, Claim]) -> dict[int, PartitionRecord]:
        """The partitions of the run that is resumed whose files are still there as they were recorded."""
        if self.former is None:
            return {}
        same_versions = all(self.former.versions.get(name) == claim.number for name, claim in claims.items())
        kept: dict[int, PartitionRecord] = {}
        for partition, record in self.ledger.partitions(self.run.job_id).items():
            if same_versions and all(claims[name].has(info) for name, infos in record.files.items() for info in infos):
                kept[partition] = record
            else:
                self.ledger.forget_partition(self.run.job_id, partition)
        return kept

    def _fold(self, engine: Engine, claims: Mapping[str, Claim], records: dict[int, PartitionRecord]) -> None:
        missing = [p for p in range(self.log.partitions) if p not in records]
        merged = frozenset(d.name for d in self.plan.definitions if d.merged)
        targets = {
            name: partial_target(claim.target) if name in merged else claim.target for name, claim in claims.items()
        }
        tasks = [
            FoldTask(self.log, self.plan, group, START, self.cut.position, targets)
            for group in grouped(missing, engine.workers)
        ]

        def done(part: FoldedPartition) -> None:
            reached("rebuild.2")
            record = with_partials(part.record, {name: _partials(claims[name]) for name in merged})
            self.ledger.partition_done(self.run.job_id, record)
            records[record.partition] = record
            reached("rebuild.3")

        before = sum(record.events for record in records.values())
        with self.run.stage("fold", self.cut.position - before) as timing:
            run_pass(self.run, engine, tasks, merged, done)
            timing.events = sum(record.events for record in records.values()) - before

    def _merge(
        self, claims: Mapping[str, Claim], records: Mapping[int, PartitionRecord]
    ) -> tuple[dict[str, list[FileInfo]], dict[str, int]]:
        """The files of each version, and its rows."""
        files: dict[str, list[FileInfo]] = {}
        rows: dict[str, int] = {}
        ordered = [records[p] for p in sorted(records)]
        for definition in self.plan.definitions:
            name, claim = definition.name, claims[definition.name]
            written = [info for record in ordered for info in record.files.get(name, ())]
            if definition.merged:
                with self.run.stage("merge"):
                    table = merge_partials(self.plan, definition, claim.directory, written)
                    info = write_rows(claim.target, 0, table)
                written = [] if info is None else [info]
                self.run.tell(RowsWritten(name, table.num_rows, 0))
            files[name] = written
            rows[name] = sum(info.rows for info in written)
        return files, rows

    def _caught_up(self, stack: ExitStack, engine: Engine, built: Sequence[Built]) -> Sequence[Built]:
        """The versions with what the log has behind them by now."""
        if not self.follows or not built:
            return built
        log = stack.enter_context(Log.open(self.log.path))
        if log.last_position <= built[0].version.position:
            return built
        plan = plan_over(log, self.plan.definitions)
        if plan.names.identity != self.plan.names.identity:
            self.run.tell(Noted("the log has other sources or tenants by now: their events are for another rebuild"))
            return built
        log = with_columns(stack, log, plan.columns, self.run)
        bases = {one.version.name: Base(one.version, one.target) for one in built}
        with self.run.stage("fold") as timing:
            found = fold_since(self.run, engine, log, plan, bases, log.last_position)
            timing.events = found.events
        self.log = log
        by_name = {d.name: shape_of(log, plan, d) for d in plan.definitions}
        return [
            one.followed(by_name[one.version.name], log.last_position, found.files[one.version.name]) for one in built
        ]

    def _report(
        self,
        live: Mapping[str, Version],
        records: Mapping[int, PartitionRecord],
        rows: Mapping[str, int],
        proofs: Mapping[str, Proof],
        used: tuple[str, str, int],
        resumed: tuple[int, int],
    ) -> RebuildReport:
        done = list(records.values())
        events = sum(record.events for record in done)
        self.run.counts.update({"events": events, "rows": dict(rows), "engine": used[0], "workers": used[2]})
        if self.publishing.places:
            self.run.counts["tables"] = dict(self.publishing.places)
        return RebuildReport(
            job_id=self.run.job_id,
            engine=used[0],
            why=used[1],
            workers=used[2],
            cut=self.cut,
            events=events,
            batches=sum(record.batches for record in done),
            partitions=self.log.partitions,
            projections=tuple(
                self._projection(d, live[d.name], rows[d.name], proofs[d.name], done, events)
                for d in self.plan.definitions
            ),
            seconds=dict(self.run.seconds),
            worker_seconds=worker_seconds(done),
            resumed_job=self.former.id if self.former is not None else "",
            resumed_partitions=resumed[0],
            resumed_events=resumed[1],
            notes=(*self.notes, *(note for record in done for note in record.notes)),
        )

    def _projection(
        self,
        definition: ProjectionDefinition,
        version: Version,
        rows: int,
        proof: Proof,
        records: Sequence[PartitionRecord],
        events: int,
    ) -> ProjectionReport:
        totals = Totals.of(definition.name, records)
        return ProjectionReport(
            name=definition.name,
            version=version.number,
            fingerprint=definition.fingerprint,
            compiled=definition.compiled,
            checkpoint=version.position,
            rows=rows,
            folded=totals.folded,
            passed_over=events - totals.folded,
            by_twin=totals.by_twin,
            proved_aggregates=proof.aggregates,
            proved_events=proof.events,
            proof=proof.words,
            table=self.publishing.places.get(definition.name, ""),
        )


def with_partials(record: PartitionRecord, directories: Mapping[str, str]) -> PartitionRecord:
    """The record with the files of merged keys named as they lie in the version's directory."""
    files = {
        name: tuple(replace(i, name=f"{directories[name]}/{i.name}") for i in infos) if name in directories else infos
        for name, infos in record.files.items()
    }
    return replace(record, files=files)


def _partials(claim: Claim) -> str:
    """The directory, inside the version's, of partial rows; what a crash leaves of it goes with the version."""
    return f"partials-{claim.revision}"
