"""Rollback: a former version of a read model is live again: rows, checkpoint, fingerprint. Steps: rollback.1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.jobs.folding.preparing import ledger_of, read_models_of
from runner.jobs.publishing.publishing import publishing_of
from runner.jobs.publishing.reconcile import reconcile
from runner.jobs.records.ledger import NewJob
from runner.jobs.records.recording import recorded
from runner.jobs.reports.runs import RollbackReport
from runner.stats import CheckpointMoved, ignore

if TYPE_CHECKING:
    from runner.config import Config
    from runner.jobs.publishing.writers import WriterWish
    from runner.stats import Listener

__all__ = ["rollback"]


def rollback(
    config: Config, name: str, *, to: int | None = None, writers: WriterWish | None = None, listener: Listener = ignore
) -> RollbackReport:
    """Switch back to the version before the live one, or to version ``to`` of those kept.

    The saved states are the version's own rows, so the next update goes on from its checkpoint; where the projection
    has changed since, that update is refused. Raises ReadModelError where there is nothing to roll back to.
    """
    publishing = publishing_of(config, read_models_of(config), writers)
    with (
        ledger_of(config) as ledger,
        recorded(ledger, NewJob("rollback", (name,), options={"to": to}), listener) as run,
    ):
        notes = reconcile(publishing, run, ledger, [name])
        live = publishing.models.live(name)
        if live is not None and publishing.tables is not None:
            # By which the next run ends it, should this one die between its two commits.
            ledger.claimed(run.job_id, {name: publishing.models.rollback_target(name, to).number})
        version = publishing.rollback(run, name, to)
        run.counts.update({"version": version.number, "former": 0 if live is None else live.number})
        run.tell(CheckpointMoved(name, version.position, version.position))
        return RollbackReport(
            job_id=run.job_id,
            projection=name,
            version=version.number,
            former_version=0 if live is None else live.number,
            checkpoint=version.position,
            fingerprint=version.fingerprint,
            table=publishing.places.get(name, ""),
            notes=notes,
        )
