"""What rebuild, update and proof need before any worker starts: the log, the place, the columns, the plan, the engine.

All that can be refused is refused here: unknown projections, handlers that cannot be compiled, payload values that do
not fit, workers that do not see the log.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.config import load_definitions
from runner.engine import Choice, choose, gather, open_engine
from runner.errors import EngineError, JobError, LogLocked
from runner.fold.plan import FoldPlan, plan_fold
from runner.fold.rows import row_schema
from runner.jobs.records.ledger import Ledger, NewJob
from runner.log import Log, LogWriter
from runner.positions import PartitionId
from runner.sinks.read_models import ReadModels
from runner.sinks.shape import Shape
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config, LogPath
    from runner.engine import Engine, EngineName, Modules
    from runner.jobs.records.recording import Recording
    from runner.positions import Cut
    from runner.stats import Listener
    from runner.values import PayloadColumn

__all__ = [
    "EngineWish",
    "check_nodes",
    "chosen_definitions",
    "grouped",
    "ledger_of",
    "new_job",
    "plan_over",
    "read_models_of",
    "shape_of",
    "with_columns",
    "working_engine",
]

TASKS_PER_WORKER = 8
"""Partitions are handed out in about so many groups per worker: few enough to cost nothing, enough to even out."""

WRITER_SECONDS = 30.0
"""So long the log's writer is waited for."""
PLANS_KEPT = 4
_plans: dict[Hashable, FoldPlan] = {}


@dataclass(frozen=True)
class EngineWish:
    """Where a run shall work. engine: its name, or one that runs already and goes on running; None and workers 0: as
    runner.toml says, and there 0 is one worker for each core. address: of a running Ray cluster.
    """

    engine: Engine | EngineName | None = None
    workers: int = 0
    address: str | None = None


def ledger_of(config: Config) -> Ledger:
    """The job ledger of the state directory."""
    return Ledger(config.state.path / "jobs.sqlite")


def read_models_of(config: Config) -> ReadModels:
    """The read models' directory."""
    return ReadModels(config.read_models.path, keep=config.read_models.keep)


def chosen_definitions(config: Config, names: Sequence[str] | Literal["all"]) -> tuple[ProjectionDefinition, ...]:
    """The definitions asked for. Raises ConfigError: none, an unknown one; DefinitionError."""
    found = tuple(load_definitions(config, None if names == "all" else list(names)))
    if not found:
        raise JobError(f"{config.file} names no projections", hint="[project] modules lists the modules that have them")
    return found


def with_columns(stack: ExitStack, log: Log, columns: Sequence[PayloadColumn], run: Recording) -> Log:
    """The log with these payload columns; those that are missing are made from the raw payloads.

    Where some were made it is another one than ``log``, closed when ``stack`` ends.
    """
    if not log.missing_columns(columns):
        return log
    with run.stage("columns", log.events), _writer_when_free(log.path) as writer:
        writer.ensure_columns(columns, run.tell)
    return stack.enter_context(Log.open(log.path))


def _writer_when_free(path: LogPath) -> LogWriter:
    """The log's writer: a follower, or a sync, that has it lets go of it again and again. Raises LogLocked."""
    until = time.monotonic() + WRITER_SECONDS
    while True:
        try:
            return LogWriter.open(path, create=False)
        except LogLocked:
            if time.monotonic() >= until:
                raise
            time.sleep(0.005)


def plan_over(log: Log, definitions: Sequence[ProjectionDefinition]) -> FoldPlan:
    """The plan over the log's types, its kernel compiled and on the disk for the workers.

    The same projections are one kernel in whatever order they are named: compiled once, and a run can be resumed. Plans
    are kept: a run asks for its own several times, and one that follows the log again and again.
    """
    chosen = tuple(sorted(definitions, key=lambda d: d.name))
    # By class and fingerprint: two definitions that were made alike from two loadings of a module are two.
    known = tuple((d.cls, d.fingerprint) for d in chosen), log.types, log.scopes
    plan = _plans.get(known)
    if plan is None:
        plan = plan_fold(chosen, log.types, scopes=log.scopes or (("", ""),))
        plan.warm()
        while len(_plans) >= PLANS_KEPT:
            _plans.pop(next(iter(_plans)))
        _plans[known] = plan
    return plan


def new_job(what: str, log: Log, plan: FoldPlan, cut: Cut, options: Mapping[str, object]) -> NewJob:
    """The ledger's line for a fold. Rows of another shape (further sources or tenants) are another plan."""
    shape = ",".join(plan.names.identity)
    return NewJob(
        what=what,
        projections=tuple(d.name for d in plan.definitions),
        fingerprints={d.name: d.fingerprint for d in plan.definitions},
        log_id=log.manifest.log_id,
        cut=cut.position,
        plan_digest=f"{plan.digest}:{log.partitions}:{shape}",
        options=options,
    )


def shape_of(log: Log, plan: FoldPlan, definition: ProjectionDefinition) -> Shape:
    """The read model that a fold of this projection makes."""
    schema = row_schema(definition, plan.names.identity)
    key = tuple(part.name for part in definition.key)
    identity = tuple(name for name in plan.names.identity if name in schema.names and name not in key)
    return Shape(
        name=definition.name,
        fingerprint=definition.fingerprint,
        schema=schema,
        key=key,
        identity=identity,
        merged=definition.merged,
        indexes=definition.indexes,
        log_id=log.manifest.log_id,
        partitions=log.partitions,
        types=log.types,
        scopes=log.scopes,
        required=(
            *identity,
            *(part.name for part in definition.key if not part.type.optional),
            *(field.name for field in definition.fields if not field.type.optional),
        ),
    )


@contextmanager
def working_engine(
    config: Config, wish: EngineWish, definitions: Sequence[ProjectionDefinition], events: int, tell: Listener
) -> Iterator[tuple[Engine, str]]:
    """The engine of a run and why it is this one; ended afterwards unless it ran before."""
    if wish.engine is not None and not isinstance(wish.engine, str):
        yield wish.engine, f"{wish.engine.name}, running already"
        return
    address = wish.address or config.engine.address or None
    choice = choose(
        wish.engine or config.engine.name,
        workers=wish.workers or config.engine.workers or len(os.sched_getaffinity(0)),
        events=events,
        plain=sum(not d.compiled for d in definitions),
        address=address,
    )
    if choice.name == "ray" and not address:
        tell(Noted("starting Ray on this machine (about four seconds)"))
    with open_engine(choice, address=address, modules=_modules(choice, definitions)) as engine:
        yield engine, choice.why


def _modules(choice: Choice, definitions: Sequence[ProjectionDefinition]) -> Modules | None:
    return gather(d.module for d in definitions) if choice.name == "ray" else None


@dataclass(frozen=True)
class _Sight:
    """What every machine must see. log: its directory and id; directories: where rows are written."""

    log: LogPath
    log_id: str
    number: int
    directories: tuple[str, ...]


def check_nodes(engine: Engine, log: Log, directories: Sequence[Path]) -> None:
    """Raise EngineError, naming the machine, unless every one sees the log and can write where rows go."""
    sight = _Sight(
        log.path.resolve(), log.manifest.log_id, log.manifest.number, tuple(str(d.resolve()) for d in directories)
    )
    for answer in engine.on_every_node(_look, sight):
        if answer.answer == "":
            continue
        raise EngineError(
            f"workers on {answer.node} cannot work: {answer.answer}",
            hint="log and read models must lie where all machines have them at the same path; or --engine threads",
        )


def _look(sight: _Sight) -> str:
    """Runs on every machine: "" or what is wrong there."""
    try:
        with Log.open(sight.log) as log:
            if log.manifest.log_id != sight.log_id:
                return f"{sight.log} is log {log.manifest.log_id} there, not {sight.log_id}"
        Log.open(sight.log, number=sight.number).close()
    except Exception as error:
        return f"the log {sight.log} cannot be opened there: {error}"
    for directory in sight.directories:
        if not os.access(directory, os.W_OK | os.X_OK):
            return f"{directory} is not there, or cannot be written"
    return ""


def grouped(partitions: Sequence[int], workers: int) -> tuple[tuple[PartitionId, ...], ...]:
    """Neighbouring partitions in groups, one group a task."""
    size = max(1, len(partitions) // (TASKS_PER_WORKER * workers))
    return tuple(tuple(PartitionId(p) for p in partitions[at : at + size]) for at in range(0, len(partitions), size))
