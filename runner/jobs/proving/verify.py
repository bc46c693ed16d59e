"""Verify: fold live read models again, from the first event to their own checkpoints, and compare every row.

What ``prove`` asks is whether the compiled fold is right: it folds a sample once more in plain Python, and a difference
is an error. What ``verify`` asks is whether users see what the log says now: all rows, those in files and those of the
tables in Postgres, folded by the usual engine, and differences are a report. Rows may differ for a table that was
written by hand or a backup that was restored; never for a fold that is wrong, which differs from itself in nothing: for
that there is ``prove``.

A table and its checkpoint are read in one snapshot. Nothing is changed.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from runner.config.comparison import ColumnMapping, CompareConfig
from runner.errors import ConfigError, FingerprintChanged, JobError
from runner.jobs.folding.aside import folded_aside, scratch
from runner.jobs.folding.preparing import (
    EngineWish,
    chosen_definitions,
    ledger_of,
    new_job,
    plan_over,
    read_models_of,
    with_columns,
    working_engine,
)
from runner.jobs.publishing.writers import Writers, WriterWish, is_in_place
from runner.jobs.records.recording import recorded
from runner.jobs.reports.comparisons import ComparisonReport, compared_table
from runner.log import Log
from runner.positions import Cut, Position
from runner.postgres import connect
from runner.sinks.application.expressions import same_on_both
from runner.sinks.application.reading import copied, foreign, in_one_snapshot
from runner.sinks.catalog import quoted, relation
from runner.sinks.differences.find import SAMPLES, comparing
from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import Engine, EngineName
    from runner.jobs.reports.comparisons import ComparedTable
    from runner.postgres import AnyConnection
    from runner.sinks.application.reading import Foreign
    from runner.sinks.differences.model import Compared
    from runner.sinks.postgres.port import TableState
    from runner.sinks.read_models import ReadModels
    from runner.sinks.shape import Version
    from runner.stats import Listener

__all__ = ["Where", "verify"]

Where = Literal["files", "postgres", "all"]


@dataclass(frozen=True)
class _Live:
    """Rows that users see. rows: a query of DuckDB. against: in words."""

    definition: ProjectionDefinition
    position: Position
    against: str
    rows: str
    key: tuple[Compared, ...]
    fields: tuple[Compared, ...]


def verify(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    where: Where = "all",
    engine: Engine | EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    samples: int = SAMPLES,
    listener: Listener = ignore,
) -> ComparisonReport:
    """Fold these read models again and compare with what is live: in files, in Postgres, or both.

    Raises JobError where nothing is live, FingerprintChanged where the projection is another by now, ReadModelError for
    damaged files, and what a rebuild raises. Differences are no error: they are the report.
    """
    definitions = chosen_definitions(config, names)
    with ExitStack() as stack:
        place = stack.enter_context(scratch(config))
        log = stack.enter_context(Log.open(config.log.path))
        ledger = stack.enter_context(ledger_of(config))
        models = read_models_of(config)
        live: list[_Live] = []
        if where in ("files", "all"):
            live += [_in_files(models, d) for d in definitions]
        if where in ("postgres", "all"):
            live += _in_postgres(config, definitions, models, place, needed=where == "postgres")
        plan = plan_over(log, definitions)
        furthest = Position(max(one.position for one in live))
        if furthest > log.last_position:
            raise JobError(
                f"read models reflect position {furthest}, the log ends at {log.last_position}",
                hint="the log was set back: restore it, or rebuild",
            )
        job = new_job("verify", log, plan, Cut(furthest), {"where": where})
        run = stack.enter_context(recorded(ledger, job, listener))
        log = with_columns(stack, log, plan.columns, run)
        tables: list[tuple[int, ComparedTable]] = []
        wish = EngineWish(engine, workers, address)
        with working_engine(config, wish, definitions, log.events, run.tell) as (working, _):
            for position in sorted({one.position for one in live}):
                group = [d for d in definitions if any(o.definition is d and o.position == position for o in live)]
                inside = place / f"at-{position}"
                inside.mkdir()
                versions = folded_aside(run, working, log, plan_over(log, group), position, inside)
                with run.stage("compare"):
                    for n, one in enumerate(live):
                        if one.position == position:
                            tables.append((n, _compared(one, versions[one.definition.name], inside / f"c{n}", samples)))
        ordered = tuple(table for _, table in sorted(tables, key=lambda pair: pair[0]))
        run.counts.update({"different": [f"{t.name}: {t.against}" for t in ordered if not t.same]})
        return ComparisonReport(run.job_id, "verify", all(t.same for t in ordered), ordered, dict(run.seconds))


def _compared(live: _Live, version: Version, directory: Path, samples: int) -> ComparedTable:
    directory.mkdir()
    with comparing(directory) as work:
        found = work.find(relation(version), live.rows, live.key, live.fields, samples=samples)
    return compared_table(
        live.definition,
        found,
        [c.name for c in live.key],
        against=live.against,
        place="its checkpoint",
        position=live.position,
        columns=tuple(c.name for c in live.fields),
    )


def _in_files(models: ReadModels, definition: ProjectionDefinition) -> _Live:
    version = models.live(definition.name)
    if version is None:
        raise JobError(
            f"there is no read model {definition.name!r} to verify", hint=f"`runner rebuild {definition.name}`"
        )
    _check_fingerprint(definition, version.fingerprint)
    models.verify(definition.name)  # bytes first: what is damaged is no difference
    shape = version.shape
    near = definition.merged and definition.merge_floats
    defaults = {f.name: f.default for f in definition.fields}
    compared = {
        name: same_on_both(
            name, shape.schema.field(name).type, defaults.get(name), near=near and name not in shape.full_key
        )
        for name in shape.columns
    }
    key = tuple(replace(compared[name], default=None) for name in shape.full_key)
    fields = tuple(compared[name] for name in shape.fields)
    against = f"version {version.number}, revision {version.revision}, in files"
    return _Live(definition, version.position, against, relation(version), key, fields)


def _in_postgres(
    config: Config, definitions: Sequence[ProjectionDefinition], models: ReadModels, place: Path, *, needed: bool
) -> list[_Live]:
    """The tables of those that have one, each with its checkpoint in one snapshot."""
    settings = config.read_models.postgres
    if settings is None:
        if needed:
            raise ConfigError(f"{config.file} has no [read_models.postgres]", hint="--in files verifies the others")
        return []
    from runner.sinks.postgres.bookkeeping import read_states

    found = []
    with closing(connect(settings.connection, "verify")) as connection:
        for n, definition in enumerate(definitions):
            if _is_the_applications(config, definition.name):
                # Its rows are of another place than the checkpoint; `runner compare` knows which.
                if needed:
                    raise JobError(
                        f"the application writes the table of {definition.name!r} itself",
                        hint=f"`runner compare {definition.name}` compares it, at the place that it reflects",
                    )
                continue
            with in_one_snapshot(connection, "[read_models.postgres]"):
                state = read_states(connection).get(definition.name)
                if state is None:
                    if needed:
                        raise JobError(
                            f"read model {definition.name!r} is in no table of Postgres",
                            hint=f"`runner rebuild {definition.name}`",
                        )
                    continue
                _check_fingerprint(definition, state.fingerprint)
                found.append(_table(connection, definition, models, state, place / f"verify-{n}"))
    return found


def _is_the_applications(config: Config, name: str) -> bool:
    """Whether others than the runner's updates write the table."""
    return name not in Writers(config, WriterWish()).ours([name]) or is_in_place(config, name)


def _table(
    connection: AnyConnection, definition: ProjectionDefinition, models: ReadModels, state: TableState, place: Path
) -> _Live:
    version = models.live(definition.name)
    if version is None or version.shape.fingerprint != state.fingerprint:
        raise JobError(
            f"read model {definition.name!r} is in {state.schema}.{state.table}, and not in files here",
            hint=f"`runner rebuild {definition.name}`, or run it where its files are",
        )
    place.mkdir()
    shape = version.shape
    parts: list[tuple[Foreign, str]] = []
    for n, where in enumerate(state.places):
        # A table of one tenant has no column for it.
        fixed = {"tenant": ColumnMapping(constant=where.tenant)} if where.tenant and "tenant" in shape.columns else {}
        config = CompareConfig(definition.name, where.table, where.schema, columns=fixed)
        table = foreign(connection, config, definition, shape)
        parts.append((table, copied(connection, table, place / f"{n}.parquet")))
    first = parts[0][0]
    columns = ", ".join(quoted(c.copied.name) for c in first.columns)
    rows = " UNION ALL ".join(f"({query} SELECT {columns})" for _, query in parts)
    against = f"{', '.join(p.words for p in state.places)}, version {state.version}, revision {state.revision}"
    key, fields = (tuple(c.compared for c in part) for part in (first.key, first.fields))
    return _Live(definition, state.position, against, rows, key, fields)


def _check_fingerprint(definition: ProjectionDefinition, fingerprint: str) -> None:
    if fingerprint != definition.fingerprint:
        raise FingerprintChanged(
            f"projection {definition.name!r} is not the one that made the live read model",
            hint=f"`runner rebuild {definition.name}`",
        )
