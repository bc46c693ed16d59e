"""Prove live read models: what is published against the plain twin, at each one's own checkpoint. Changes nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from runner.errors import FingerprintChanged, JobError
from runner.jobs.folding.preparing import (
    EngineWish,
    check_nodes,
    chosen_definitions,
    ledger_of,
    new_job,
    plan_over,
    read_models_of,
    with_columns,
    working_engine,
)
from runner.jobs.proving.proof import Amount, proved
from runner.jobs.records.recording import recorded
from runner.jobs.reports.runs import ProjectionReport, ProofReport
from runner.log import Log
from runner.positions import Cut
from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import Engine, EngineName
    from runner.sinks.shape import Version
    from runner.stats import Listener

__all__ = ["prove"]


def prove(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    amount: Amount = 1_000,
    engine: Engine | EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    listener: Listener = ignore,
) -> ProofReport:
    """Fold a sample of aggregates (or "all") again in plain Python and compare with the live rows.

    Raises ProofError naming projection, keys and columns; FingerprintChanged where the projection is another by now.
    """
    definitions = chosen_definitions(config, names)
    models = read_models_of(config)
    live = {d.name: _live(d, models.live(d.name)) for d in definitions}
    with ExitStack() as stack:
        log = stack.enter_context(Log.open(config.log.path))
        ledger = stack.enter_context(ledger_of(config))
        plan = plan_over(log, definitions)
        job = new_job("prove", log, plan, Cut(max(v.position for v in live.values())), {"amount": amount})
        run = stack.enter_context(recorded(ledger, job, listener))
        log = with_columns(stack, log, plan.columns, run)
        reports: dict[str, ProjectionReport] = {}
        wish = EngineWish(engine, workers, address)
        with working_engine(config, wish, definitions, log.events, run.tell) as (working, _):
            check_nodes(working, log, [])
            for position in sorted({v.position for v in live.values()}):
                group = [d for d in definitions if live[d.name].position == position]
                saved = models.saved_rows(*(live[d.name] for d in group))
                proofs = proved(run, working, log, plan_over(log, group), saved, position, amount)
                for definition in group:
                    proof, version = proofs[definition.name], live[definition.name]
                    reports[definition.name] = ProjectionReport(
                        name=definition.name,
                        version=version.number,
                        fingerprint=version.fingerprint,
                        compiled=definition.compiled,
                        checkpoint=version.position,
                        previous_checkpoint=version.position,
                        proved_aggregates=proof.aggregates,
                        proved_events=proof.events,
                        proof=proof.words,
                    )
        return ProofReport(run.job_id, tuple(reports[d.name] for d in definitions), dict(run.seconds))


def _live(definition: ProjectionDefinition, version: Version | None) -> Version:
    name = definition.name
    if version is None:
        raise JobError(f"there is no read model {name!r} to prove", hint=f"`runner rebuild {name}`")
    if version.fingerprint != definition.fingerprint:
        raise FingerprintChanged(
            f"projection {name!r} is not the one that made the live read model", hint=f"`runner rebuild {name}`"
        )
    return version
