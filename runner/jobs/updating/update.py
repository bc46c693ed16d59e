"""Update (catch-up): fold what is new from the saved rows, write changed and deleted rows, move the checkpoint.

Steps (``runner/steps.py``): 1 the versions claimed, 2 a delta on the disk, 3-5 published. A crash before 4
leaves the live version as it was; the same command again begins anew.

Read models of one run may stand at different checkpoints: those at the same one are folded in one pass. A projection
whose fingerprint changed is refused. Where the saved rows cannot be used (a file is gone or damaged), the projection is
folded again from the first event into a new version, and the report says so.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from runner.errors import JobError, ReadModelError
from runner.jobs.folding.catch_up import Base, fold_since
from runner.jobs.folding.partition import SavedStatesDamaged
from runner.jobs.folding.passes import Totals, worker_seconds
from runner.jobs.folding.preparing import (
    EngineWish,
    check_nodes,
    chosen_definitions,
    ledger_of,
    new_job,
    plan_over,
    read_models_of,
    shape_of,
    with_columns,
    working_engine,
)
from runner.jobs.publishing.publishing import publishing_of
from runner.jobs.publishing.reconcile import reconcile
from runner.jobs.rebuilding.rebuild import rebuild
from runner.jobs.records.recording import Recording, recorded
from runner.jobs.reports.runs import ProjectionReport, UpdateReport
from runner.jobs.updating.kept import Kept
from runner.log import Log
from runner.positions import Cut
from runner.stats import CheckpointMoved, ignore
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import Engine, EngineName
    from runner.fold.plan import FoldPlan
    from runner.jobs.folding.catch_up import CaughtUp
    from runner.jobs.proving.proof import Amount
    from runner.jobs.publishing.publishing import Publishing
    from runner.jobs.records.ledger import Ledger, PartitionRecord
    from runner.positions import SourcePosition
    from runner.sinks.read_models import Claim, ReadModels
    from runner.sinks.shape import FileInfo, Version
    from runner.stats import Listener

__all__ = ["update"]


def update(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    engine: Engine | EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    to: int | datetime | str | tuple[str, SourcePosition] | None = None,
    prove: Amount = 1_000,
    kept: Kept | None = None,
    listener: Listener = ignore,
) -> UpdateReport:
    """Bring these read models from their checkpoints to the log's end, or to ``to``.

    prove: for projections that have to be folded again from the first event. kept: of the process's update before this
    one. Other arguments as for ``rebuild``.

    Raises FingerprintChanged, ReadModelError (made of another log, or before it had several sources), JobError (none is
    live; ``to`` lies behind a checkpoint) and what ``rebuild`` raises; the live read models are untouched then.
    """
    definitions = chosen_definitions(config, names)
    wish = EngineWish(engine, workers, address)
    with ExitStack() as stack:
        models = read_models_of(config)
        # Before the log: what another run syncs and publishes in between must not look as if the log was set back.
        live, damaged = _live(models, definitions)
        log = stack.enter_context(Log.open(config.log.path))
        cut = Cut(log.last_position) if to is None else log.cut_at(to)
        _check_places(live, cut, log)
        ledger = stack.enter_context(ledger_of(config))
        plan = plan_over(log, definitions)
        job = new_job("update", log, plan, cut, {"to": cut.asked})
        publishing = publishing_of(config, models)
        publishing.check_update([d.name for d in definitions])
        run = stack.enter_context(recorded(ledger, job, listener))
        notes: tuple[str, ...] = ()
        kept = kept or Kept()
        stack.enter_context(_trusting(kept))
        if not kept.agree(live.values()):
            notes = reconcile(publishing, run, ledger, [d.name for d in definitions])
        if notes:
            live, damaged = _live(models, definitions)
        behind = [d for d in definitions if d.name in live and live[d.name].position < cut.position]
        work = _Update(run, ledger, publishing, log, cut, live, kept, notes=notes)
        work.check_unchanged(plan, [d for d in definitions if d.name in live and d not in behind])

        def fold_again(names: set[str]) -> None:
            # The claims on the damaged versions are not in the way: a rebuild writes the next one.
            chosen = [d.name for d in definitions if d.name in names]
            report = rebuild(
                config,
                chosen,
                engine=engine,
                workers=workers,
                address=address,
                to=cut.position,
                prove=prove,
                part_of=run.job_id,
                listener=listener,
            )
            work.reports |= {p.name: p for p in report.projections}

        known = set(damaged)
        if known:
            fold_again(known)  # first: nothing can be published while files of a live version are gone
        if behind:
            behind = _fold_new(stack, config, wish, work, behind, damaged)
        if damaged.keys() - known:
            fold_again(set(damaged) - known)
        return work.report(definitions, nothing_new=not behind and not damaged, folded_again=damaged)


@contextmanager
def _trusting(kept: Kept) -> Iterator[None]:
    try:
        yield
    except BaseException:
        kept.forget()
        raise


def _live(models: ReadModels, definitions: Sequence[ProjectionDefinition]) -> tuple[dict[str, Version], dict[str, str]]:
    """(the live versions, why others cannot be read). Raises ReadModelError where there is none."""
    live: dict[str, Version] = {}
    damaged: dict[str, str] = {}
    for definition in definitions:
        name = definition.name
        try:
            version = models.live(name)
            if version is None:
                raise JobError(f"there is no read model {name!r} to bring up to date", hint=f"`runner rebuild {name}`")
            _check_files(version)
            live[name] = version
        except ReadModelError as error:
            damaged[name] = error.message
    return live, damaged


def _check_files(version: Version) -> None:
    """Every file is there in its size; its bytes are compared when they are read."""
    for info in version.files:
        path = version.directory / info.name
        if not path.exists() or path.stat().st_size != info.bytes:
            raise ReadModelError(f"{path} is gone or has another size than was written")


def _check_places(live: Mapping[str, Version], cut: Cut, log: Log) -> None:
    for name, version in live.items():
        if version.shape.log_id != log.manifest.log_id:
            continue  # refused when the version is claimed, in better words
        if version.position > log.last_position:
            raise JobError(
                f"read model {name!r} reflects position {version.position}, the log ends at {log.last_position}",
                hint=f"the log was set back: restore it, or `runner rebuild {name}`",
            )
        if cut.asked and cut.position < version.position:
            raise JobError(
                f"read model {name!r} reflects position {version.position} already, "
                f"which is behind {cut.asked} (position {cut.position})",
                hint=f"an update only goes forward: `runner rebuild {name} --to {cut.asked}`",
            )


def _fold_new(
    stack: ExitStack,
    config: Config,
    wish: EngineWish,
    work: _Update,
    behind: list[ProjectionDefinition],
    damaged: dict[str, str],
) -> list[ProjectionDefinition]:
    """Fold and publish; those that were behind still when they were claimed.

    Projections whose saved rows turn out to be damaged are entered into ``damaged``.
    """
    plan = plan_over(work.log, behind)
    work.log = with_columns(stack, work.log, plan.columns, work.run)
    claims = work.claim(stack, plan)
    behind = [d for d in behind if d.name in claims]
    if not claims:
        return behind
    reached("update.1")
    new = work.cut.position - min(claim.base.position for claim in claims.values() if claim.base is not None)
    with working_engine(config, wish, behind, new, work.run.tell) as (engine, why):
        work.used = (engine.name, why, engine.workers)
        check_nodes(engine, work.log, [claim.directory for claim in claims.values()])
        with work.run.stage("fold", new) as timing:
            for since in sorted({_base(claim).position for claim in claims.values()}):
                group = tuple(d for d in behind if _base(claims[d.name]).position == since)
                work.fold_group(engine, group, claims, damaged)
            timing.events = sum(record.events for record in work.records)
    built = [claim.built(work.cut.position, work.files[name]) for name, claim in claims.items() if name not in damaged]
    if built:
        versions = work.publishing.publish_update(work.run, built)
        work.kept.left(versions)
        for version in versions:
            work.run.tell(CheckpointMoved(version.name, version.position, work.log.last_position))
        with work.run.stage("publish"):
            work.notes += work.models.compact_due(versions)[1]
    for claim in claims.values():
        claim.release()
    return behind


def _base(claim: Claim) -> Version:
    assert claim.base is not None, "a claim of an update has the version that it goes on from"
    return claim.base


@dataclass
class _Update:
    """One run under way."""

    run: Recording
    ledger: Ledger
    publishing: Publishing
    log: Log
    cut: Cut
    live: Mapping[str, Version]
    kept: Kept
    used: tuple[str, str, int] = ("", "nothing to fold", 0)
    records: list[PartitionRecord] = field(default_factory=list)
    files: dict[str, list[FileInfo]] = field(default_factory=dict)
    reports: dict[str, ProjectionReport] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What tables lacked before, and what went wrong after the switch, which changes no row."""

    @property
    def models(self) -> ReadModels:
        return self.publishing.models

    def check_unchanged(self, plan: FoldPlan, definitions: Sequence[ProjectionDefinition]) -> None:
        """Raise as an update would, where one has nothing to do: a changed projection is told at once."""
        for definition in definitions:
            with self.models.begin_update(shape_of(self.log, plan, definition), job_id=self.run.job_id):
                version = self.live[definition.name]
            self._leave(definition, version)

    def _leave(self, definition: ProjectionDefinition, version: Version) -> None:
        """Note a projection that reflects the cut already."""
        self.run.tell(CheckpointMoved(version.name, version.position, max(version.position, self.log.last_position)))
        self.reports[definition.name] = ProjectionReport(
            definition.name,
            version.number,
            definition.fingerprint,
            definition.compiled,
            version.position,
            previous_checkpoint=version.position,
        )

    def claim(self, stack: ExitStack, plan: FoldPlan) -> dict[str, Claim]:
        """The live versions, held for this run, without those that another run brought to the cut since it was taken.

        What was looked at before may be an old state: only a claimed version stays what it is.
        """
        claims: dict[str, Claim] = {}
        for definition in plan.definitions:
            claim = self.models.begin_update(shape_of(self.log, plan, definition), job_id=self.run.job_id)
            claims[definition.name] = stack.enter_context(claim)
        bases = {name: _base(claim) for name, claim in claims.items()}
        with Log.open(self.log.path) as now:
            _check_places(bases, self.cut, now)
        for definition in plan.definitions:
            if bases[definition.name].position >= self.cut.position:
                self._leave(definition, bases[definition.name])
                claims.pop(definition.name).release()
        self.ledger.claimed(self.run.job_id, {name: claim.number for name, claim in claims.items()})
        return claims

    def fold_group(
        self,
        engine: Engine,
        definitions: tuple[ProjectionDefinition, ...],
        claims: Mapping[str, Claim],
        damaged: dict[str, str],
    ) -> None:
        """One pass for the projections at one checkpoint; again without those whose saved rows are damaged."""
        group = definitions
        while group:
            try:
                return self._fold(engine, plan_over(self.log, group), claims)
            except SavedStatesDamaged as error:
                if error.projection not in {d.name for d in group}:
                    raise
                damaged[error.projection] = error.message
                group = tuple(d for d in group if d.name != error.projection)
        return None

    def _fold(self, engine: Engine, plan: FoldPlan, claims: Mapping[str, Claim]) -> None:
        bases = {d.name: Base(_base(claims[d.name]), claims[d.name].target) for d in plan.definitions}
        found = fold_since(self.run, engine, self.log, plan, bases, self.cut.position, self.kept.files)
        self.files |= found.files
        self.records += found.records
        for definition in plan.definitions:
            self._note(definition, claims[definition.name], found)

    def _note(
        self,
        definition: ProjectionDefinition,
        claim: Claim,
        found: CaughtUp,
    ) -> None:
        name = definition.name
        totals = Totals.of(name, found.records)
        self.reports[name] = ProjectionReport(
            name=name,
            version=claim.number,
            fingerprint=definition.fingerprint,
            compiled=definition.compiled,
            checkpoint=self.cut.position,
            previous_checkpoint=_base(claim).position,
            rows=found.rows[name],
            deleted=found.deleted[name],
            folded=totals.folded,
            passed_over=found.events - totals.folded,
            by_twin=totals.by_twin,
        )

    def report(
        self, definitions: Sequence[ProjectionDefinition], *, nothing_new: bool, folded_again: Mapping[str, str]
    ) -> UpdateReport:
        """What the run did, also into the ledger's last line."""
        records = self.records
        events = sum(record.events for record in records)
        notes = (*(note for record in records for note in record.notes), *self.notes)
        self.run.counts.update({"events": events, "nothing_new": nothing_new, "folded_again": dict(folded_again)})
        if notes:
            self.run.counts["notes"] = list(notes)
        if self.publishing.places:
            self.run.counts["tables"] = dict(self.publishing.places)
        engine, why, workers = self.used
        return UpdateReport(
            job_id=self.run.job_id,
            engine=engine,
            why=why,
            workers=workers,
            cut=self.cut,
            nothing_new=nothing_new,
            events=events,
            batches=sum(record.batches for record in records),
            projections=tuple(
                replace(self.reports[d.name], table=self.publishing.places.get(d.name, "")) for d in definitions
            ),
            seconds=dict(self.run.seconds),
            worker_seconds=worker_seconds(records),
            folded_again=dict(folded_again),
            notes=notes,
        )
