"""Before a run: tables in Postgres and embedded read models that do not say the same are brought together.

What users see in Postgres is the truth. It differs from the embedded read models where a run died between its two
commits, where the server lost commits (``synchronous_commit = off``, a failover, a restore), or where a directory was
lost. Rows are a function of fingerprint, log and position, so that these decide, not numbers alone:

- the table is ahead by what is written down and not live here: that is published;
- a rollback ended between its commits: it is ended;
- the table is behind in the same version: what it lacks is applied;
- anything else: the table is loaded again from the embedded rows, beside it, and switched.

A rebuild ends what a dead run began and leaves the rest, since it makes a new table anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.jobs.publishing.writers import Writers, is_handed_over, is_in_place
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.jobs.publishing.publishing import Publishing
    from runner.jobs.records.ledger import Ledger
    from runner.jobs.records.recording import Recording
    from runner.sinks.postgres.port import TableState
    from runner.sinks.shape import Version

__all__ = ["reconcile"]


def reconcile(
    publishing: Publishing, run: Recording, ledger: Ledger, names: Sequence[str], *, load: bool = True
) -> tuple[str, ...]:
    """Bring tables and embedded read models of these names together; what was done, in words.

    load: also where a table has to be loaded again. Raises PostgresError, ReadModelError.
    """
    tables, models = publishing.tables, publishing.models
    # What the application owns is compared with the version whenever it is written, what was handed over is its own.
    config = publishing.config
    names = [name for name in names if not is_in_place(config, name) and not is_handed_over(config, name)]
    if tables is None or not names:
        return ()
    told: list[str] = []
    ours = Writers(config, publishing.wish).ours(names)
    states = tables.states()
    publishing.places |= {name: states[name].places[0].words for name in names if name in states}
    if all(_same(states.get(name), models.live(name)) for name in names):
        return ()
    with publishing.holding(names):
        states = tables.states()  # whoever was at it has ended
        ahead = _ended_publications(publishing, states, names)
        told += [f"{v.name}: the table was ahead of the embedded read model, which a run had not ended" for v in ahead]
        for name in names:
            state, live = states.get(name), models.live(name)
            if _same(state, live) or live is None:
                continue
            if state is not None and _unfinished_rollback(publishing, ledger, state):
                models.rollback(name, state.version)
                told.append(f"{name}: the rollback to version {state.version} was ended")
            elif name not in ours:
                continue  # the application has written since, and goes on: a rebuild says what should be there
            elif state is not None and _follows(state, live) and state.revision < live.revision:
                tables.apply([live])
                told.append(f"{name}: the table was at position {state.position:,}, and got what it lacked")
            elif load:
                words = _words(state, live)
                tables.check([live.shape])  # no schema, no right to it: said as before a rebuild, with what to do
                run.tell(Noted(f"{name}: {words}; it is loaded again"))
                with run.stage("load"):
                    loaded = tables.load(live, listener=run.tell)
                with run.stage("switch"):
                    tables.switch([loaded])
                told.append(f"{name}: {words}; it was loaded again from the embedded rows")
    for line in told:
        run.tell(Noted(line))
    return tuple(told)


def _same(state: TableState | None, live: Version | None) -> bool:
    """Whether table and embedded read model have the same rows; a compaction changes numbers and no rows."""
    if state is None or live is None:
        return state is None and live is None
    return _line(state) == (live.number, live.fingerprint, live.shape.log_id) and state.position == live.position


def _line(state: TableState) -> tuple[int, str, str]:
    return state.version, state.fingerprint, state.log_id


def _follows(state: TableState, live: Version) -> bool:
    """Whether the table is the embedded version at an earlier place."""
    return _line(state) == (live.number, live.fingerprint, live.shape.log_id) and state.position < live.position


def _ended_publications(
    publishing: Publishing, states: Mapping[str, TableState], names: Sequence[str]
) -> list[Version]:
    """Publish what was written down for the tables that are ahead; what was published."""
    found = []
    for name in names:
        state = states.get(name)
        if state is None or _same(state, publishing.models.live(name)):
            continue
        version = publishing.models.prepared(name, state.version, state.revision)
        if version is not None and _same(state, version) and version.job_id == state.job_id:
            found.append(version)
    publishing.models.publish_prepared(found)
    return found


def _unfinished_rollback(publishing: Publishing, ledger: Ledger, state: TableState) -> bool:
    """Whether the last run that changed the version of this table was a rollback to what it is at, and did not end."""
    kept = {version.number: version for version in publishing.models.versions(state.name)[1:]}
    if state.version not in kept or not _same(state, kept[state.version]):
        return False
    changing = (job for job in ledger.jobs(limit=200) if job.what in ("rebuild", "rollback"))
    # The run that asks is in the ledger too, without a version yet.
    last = next((job for job in changing if job.versions.get(state.name)), None)
    return last is not None and last.what == "rollback" and last.state != "succeeded" and last.state != "running"


def _words(state: TableState | None, live: Version) -> str:
    if state is None:
        return "the table is not there"
    return (
        f"the table has version {state.version} at position {state.position:,}, the embedded read model version "
        f"{live.number} at position {live.position:,}"
    )
