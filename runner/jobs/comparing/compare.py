"""Compare read models with the tables that the application itself wrote, at exactly the place that those reflect.

1. The table and its progress are read in one snapshot, by binary COPY into a file. Needs SELECT, and nothing else.
2. The source is synced until the log holds all of that place; the place becomes a position of the log.
3. The read model is folded from the first event up to that position, aside: nothing is published.
4. Both are compared in bulk (``runner/sinks/differences``).

A table that is written together with the events (``progress = "inline"``) reflects what its snapshot sees of the store.
Events that were committed in between can lie before others that the snapshot saw; then both are read again.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.config.table import nearest
from runner.errors import ConfigError, JobError
from runner.jobs.comparing.standing import Standing, source_of, standing_at, standing_of_visible, synced_up_to
from runner.jobs.folding.aside import folded_aside, scratch
from runner.jobs.folding.preparing import (
    EngineWish,
    chosen_definitions,
    ledger_of,
    new_job,
    plan_over,
    shape_of,
    with_columns,
    working_engine,
)
from runner.jobs.records.recording import recorded
from runner.jobs.reports.comparisons import ComparisonReport, compared_table
from runner.log import Log
from runner.positions import Cut, Position
from runner.postgres import connect
from runner.sinks.application.progress import read_progress
from runner.sinks.application.reading import copied, foreign, in_one_snapshot
from runner.sinks.catalog import relation
from runner.sinks.differences.find import SAMPLES, comparing
from runner.stats import Noted, ignore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import CompareConfig, Config
    from runner.config.connection import ConnectionSettings
    from runner.engine import Engine, EngineName
    from runner.jobs.reports.comparisons import ComparedTable
    from runner.sinks.application.reading import Foreign
    from runner.sinks.shape import Shape, Version
    from runner.sources.postgres.visible import Visible
    from runner.stats import Listener

__all__ = ["Taken", "check_sources", "compare", "compare_config", "compare_version", "connection_of", "taken"]

WAIT = 30.0
TIMES = 5
"""How often an inline table is read again."""
WINDOW = 100_000
"""Of an inline table: positions below the log's newest that one snapshot may see and another not."""


@dataclass(frozen=True)
class Taken:
    """An application's table as it was in one snapshot, and where the log has what it reflects."""

    foreign: Foreign
    rows: str
    """A query of DuckDB."""
    place: str
    standing: Standing

    @property
    def notes(self) -> tuple[str, ...]:
        late = self.standing.late
        if not late:
            return ()
        note = (
            f"{late} events that the table reflects came into the log behind position {self.standing.position}: "
            "they arrived late, and rows of their aggregates may differ for that"
        )
        return (note,)


def compare(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    engine: Engine | EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    samples: int = SAMPLES,
    wait: float = WAIT,
    listener: Listener = ignore,
) -> ComparisonReport:
    """Compare these read models ("all": those that have a [compare.NAME]) with the application's tables.

    samples: rows shown of each group. wait: seconds to wait for the store to be settled up to the place.
    Raises ConfigError for a mapping that does not fit, PostgresError, JobError, and what a rebuild raises.
    """
    if names == "all":
        names = list(config.compare)
        if not names:
            raise ConfigError(f"{config.file} compares nothing", hint='write [compare.NAME] table = "..." first')
    check_sources(config, names)
    definitions = chosen_definitions(config, names)
    with ExitStack() as stack:
        place = stack.enter_context(scratch(config))
        ledger = stack.enter_context(ledger_of(config))
        shapes = _shapes(config, definitions)
        read = {
            d.name: taken(config, d, shapes[d.name], place / f"table-{n}.parquet", wait=wait, listener=listener)
            for n, d in enumerate(definitions)
        }
        log = stack.enter_context(Log.open(config.log.path))
        plan = plan_over(log, definitions)
        furthest = max(t.standing.position for t in read.values())
        job = new_job("compare", log, plan, Cut(furthest), {"tables": [str(t.foreign.table) for t in read.values()]})
        run = stack.enter_context(recorded(ledger, job, listener))
        log = with_columns(stack, log, plan.columns, run)
        tables: dict[str, ComparedTable] = {}
        wish = EngineWish(engine, workers, address)
        with working_engine(config, wish, definitions, log.events, run.tell) as (working, _):
            for position in sorted({t.standing.position for t in read.values()}):
                group = [d for d in definitions if read[d.name].standing.position == position]
                inside = place / f"at-{position}"
                inside.mkdir()
                versions = folded_aside(run, working, log, plan_over(log, group), position, inside)
                with run.stage("compare"):
                    for d in group:
                        tables[d.name] = compare_version(d, versions[d.name], read[d.name], inside, samples=samples)
        ordered = tuple(tables[d.name] for d in definitions)
        run.counts.update({"different": [t.name for t in ordered if not t.same]})
        return ComparisonReport(run.job_id, "compare", all(t.same for t in ordered), ordered, dict(run.seconds))


def check_sources(config: Config, names: Sequence[str]) -> None:
    """Before anything is folded: raise JobError where the place of a table would be that of one tenant of several."""
    for name in names:
        progress = compare_config(config, name).progress
        if progress.inline or progress.preset or progress.sql or progress.columns:
            source_of(config, progress.source, f"compare.{name}")


def compare_config(config: Config, name: str) -> CompareConfig:
    """[compare.NAME]. Raises ConfigError."""
    found = config.compare.get(name)
    if found is None:
        hint = nearest(name, config.compare) or f'write [compare.{name}] table = "..." first'
        raise ConfigError(f"{config.file}: there is no [compare.{name}]", hint=hint)
    return found


def connection_of(config: Config, of: CompareConfig) -> ConnectionSettings:
    """Where the table is. Raises ConfigError."""
    if of.connection is not None:
        return of.connection
    if config.read_models.postgres is None:
        raise ConfigError(
            f"{config.file}: compare.{of.name} does not say where the table is",
            hint='write url_env = "SHOP_URL", or [read_models.postgres] where it is in the same database',
        )
    return config.read_models.postgres.connection


def taken(
    config: Config, definition: ProjectionDefinition, shape: Shape, file: Path, *, wait: float, listener: Listener
) -> Taken:
    """Read the application's table of one read model, and bring the log to what it reflects."""
    of = compare_config(config, definition.name)
    where = f"[compare.{of.name}]"
    progress = of.progress
    if not (progress.inline or progress.at_end or progress.preset or progress.sql or progress.columns):
        raise ConfigError(
            f"{config.file}: compare.{of.name} does not say up to which event the table goes",
            hint='progress = { preset = "marten", name = "..." }, { sql = "SELECT ..." }, "inline", or "log-end"',
        )
    source = "" if progress.at_end else source_of(config, progress.source, f"compare.{of.name}")
    settings = connection_of(config, of)
    for _ in range(TIMES):
        above = _above(config, source) if progress.inline else 0
        visible: Visible | None = None
        told = None
        opened = connect(settings, f"compare {of.name}", statement_timeout=of.statement_seconds)
        with closing(opened) as connection, in_one_snapshot(connection, where):
            table = foreign(connection, of, definition, shape)
            if progress.inline:
                visible = _visible(config, connection, source, above)
            elif not progress.at_end:
                told = read_progress(connection, progress, where)
            rows = copied(connection, table, file)
        if told is not None:
            synced_up_to(config, source, told.place, wait=wait, listener=listener)
            with Log.open(config.log.path) as log:
                standing = standing_at(log, source, told.place)
            return Taken(table, rows, f"{told.words}: {standing.words}", standing)
        if visible is None:
            with Log.open(config.log.path) as log:
                standing = Standing(Position(log.last_position), 0, f"the log's end, position {log.last_position}")
            return Taken(table, rows, standing.words, standing)
        if len(visible.positions):
            synced_up_to(config, source, (int(visible.positions[-1]),), wait=wait, listener=listener)
        with Log.open(config.log.path) as log:
            standing = standing_of_visible(log, source, visible)
        if not standing.late:
            return Taken(table, rows, f"written with the events: {standing.words}", standing)
        listener(Noted(f"{where}: events were committed out of order while the table was read; reading it again"))
    raise JobError(
        f"{where}: the store is too busy: in {TIMES} snapshots others' events lay between those that were seen",
        hint="run it at a quieter time, or against a standby or a copy",
    )


def compare_version(
    definition: ProjectionDefinition, version: Version, table: Taken, directory: Path, *, samples: int = SAMPLES
) -> ComparedTable:
    """A version that was folded to the place of a table, beside it."""
    inside = directory / f"compare-{definition.name.encode().hex()[:60]}"
    inside.mkdir(exist_ok=True)
    key, fields = table.foreign.key, table.foreign.fields
    with comparing(inside) as work:
        found = work.find(
            relation(version), table.rows, [c.compared for c in key], [c.compared for c in fields], samples=samples
        )
    return compared_table(
        definition,
        found,
        [c.wanted.name for c in key],
        against=f"{table.foreign.table}",
        place=table.place,
        position=version.position,
        columns=tuple(c.wanted.name for c in fields),
        ignored=table.foreign.config.ignore,
        notes=table.notes,
    )


def _shapes(config: Config, definitions: Sequence[ProjectionDefinition]) -> Mapping[str, Shape]:
    with Log.open(config.log.path) as log:
        plan = plan_over(log, definitions)
        return {d.name: shape_of(log, plan, d) for d in definitions}


def _above(config: Config, source: str) -> int:
    with Log.open(config.log.path) as log:
        numbers = log.source_numbers(source)
    return max(0, int(numbers[:, 2].max()) - WINDOW) if len(numbers) else 0


def _visible(config: Config, connection: object, source: str, above: int) -> Visible:
    from runner.sources.postgres.visible import visible_positions

    settings = config.sources[source]
    if settings.format != "postgres":
        raise ConfigError(
            f"{config.file}: source {source} is files, which no table is written with", hint='progress = "log-end"'
        )
    return visible_positions(connection, settings, above)  # type: ignore[arg-type]  # a connection
