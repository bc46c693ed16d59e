"""Tables that the application owns, put right in place: [publish.NAME] publish = "in-place", through [compare.NAME].

One transaction, REPEATABLE READ: the table is read, compared with the version, its differing rows are changed, the
application is told where to go on (hand-over), the checkpoint is noted. Where somebody changed one of these rows
meanwhile, or inserted one, the server ends the transaction, and all of it is done again, the comparison too. Killed at
any point and run again, it finds what still differs.

A rebuild looks at all rows, an update at those that it changed. Steps: in_place.1 to in_place.3 (``runner/steps.py``).
The checkpoint stands in ``projection_runner.in_place``, in the table's database.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.config import load_definitions
from runner.config.comparison import ProgressConfig
from runner.errors import ConfigError, PostgresConflict, PostgresError
from runner.jobs.comparing.compare import compare_config, connection_of
from runner.jobs.comparing.standing import place_of, source_of
from runner.jobs.folding.aside import scratch
from runner.log import Log
from runner.positions import Position
from runner.postgres import connect, named_sql, translated
from runner.sinks.application.hand_over import HandOver, check_unmoved, hand_over_of, refuse_daemons
from runner.sinks.application.reading import copied, foreign, in_one_snapshot
from runner.sinks.application.writing import Changes, cheaper, writing_of
from runner.sinks.catalog import relation
from runner.sinks.differences.find import comparing
from runner.stats import Noted
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import CompareConfig, Config, PublishConfig
    from runner.jobs.records.recording import Recording
    from runner.postgres import AnyConnection
    from runner.sinks.application.reading import Foreign
    from runner.sinks.application.writing import Writing
    from runner.sinks.postgres.applying import Change
    from runner.sinks.shape import Shape, Version

__all__ = ["HandOvers", "InPlace", "Outlook"]

BOOKS = named_sql("runner.jobs.publishing", "in_place.sql")
TRIES = 5
PAUSE = 0.1
UNIQUE = "23505"
MANY = 200_000
"""Changed rows of an update above which the whole table is looked at."""


@dataclass(frozen=True)
class Outlook:
    """What would be done to one table. statements: SQL, for people."""

    name: str
    table: str
    changes: Changes
    words: tuple[str, ...]
    statements: tuple[str, ...]


@dataclass
class HandOvers:
    """The hand-overs of a run: who would fight them is looked at before, and they run in the switching transaction."""

    config: Config
    names: Sequence[str]
    still: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Where the application's progress stood when it was watched."""
    made: dict[str, tuple[Position, HandOver]] = field(default_factory=dict)
    """The statements, and for which positions of the log."""

    def check(self) -> None:
        """Raise JobError where a daemon runs or a place would be of one tenant of several, ConfigError where the
        application's database is another.
        """
        for publish in self._publishes():
            assert publish.hand_over is not None
            where = _where(publish)
            source_of(self.config, publish.hand_over.source, where)
            with closing(self._connect(publish)) as connection:
                moved = refuse_daemons(connection, publish.hand_over, self._progress(publish), where)
            if moved is not None:
                self.still[publish.name] = moved

    def of(self, connection: AnyConnection, name: str, position: Position) -> HandOver | None:
        """The statement for what the table reflects at a position of the log."""
        publish = self.config.publish.get(name)
        if publish is None or publish.hand_over is None:
            return None
        where = _where(publish)
        source = source_of(self.config, publish.hand_over.source, where)
        with Log.open(self.config.log.path) as log:
            place = place_of(log, source, position)
        return hand_over_of(connection, publish.hand_over, place, where)

    def prepare(self, positions: Mapping[str, Position]) -> None:
        """Make the statements, before anything is locked: finding the places reads the log. Raises JobError where the
        application cannot go on behind one.
        """
        for publish in self._publishes():
            position = positions.get(publish.name)
            if position is None or self.made.get(publish.name, (None,))[0] == position:
                continue
            with closing(self._connect(publish)) as connection:
                statement = self.of(connection, publish.name, position)
            assert statement is not None
            self.made[publish.name] = (position, statement)

    def run(self, connection: AnyConnection, positions: Mapping[str, Position]) -> None:
        """Execute those of these read models, made by ``prepare`` for these positions, in the connection's
        transaction; nothing else comes behind them.
        """
        if self._publishes():
            with translated("hand-over"):
                # A switch has set another: the author's names are looked up as in a session of their own.
                connection.execute("SET LOCAL search_path TO DEFAULT")
        for publish in self._publishes():
            if publish.name not in positions:
                continue
            assert publish.hand_over is not None
            # Once more, without watching: a rebuild takes its time, and a daemon may have been started meanwhile.
            refuse_daemons(connection, publish.hand_over, None, _where(publish))
            progress = self._progress(publish)
            if progress is not None and publish.name in self.still:
                check_unmoved(connection, progress, self.still[publish.name], _where(publish))
            position, statement = self.made[publish.name]
            assert position == positions[publish.name]
            statement.execute(connection)

    def shown(self, positions: Mapping[str, Position]) -> tuple[str, ...]:
        """The statements with their values, for people."""
        self.prepare(positions)
        return tuple(self.made[p.name][1].shown for p in self._publishes() if p.name in positions)

    def _publishes(self) -> list[PublishConfig]:
        found = [self.config.publish[name] for name in self.names if name in self.config.publish]
        return [publish for publish in found if publish.hand_over is not None]

    def _progress(self, publish: PublishConfig) -> ProgressConfig | None:
        """The row that is watched: that of the hand-over's preset, or the one that the comparison reads."""
        hand_over = publish.hand_over
        assert hand_over is not None
        if hand_over.preset:
            return self._compared(publish) or ProgressConfig(
                preset=hand_over.preset, name=hand_over.name, schema=hand_over.schema, table=hand_over.table
            )
        return self._compared(publish)

    def _compared(self, publish: PublishConfig) -> ProgressConfig | None:
        compare = self.config.compare.get(publish.name)
        progress = None if compare is None else compare.progress
        told = progress is not None and (progress.preset or progress.sql or progress.columns)
        return progress if told else None

    def _connect(self, publish: PublishConfig) -> AnyConnection:
        postgres = self.config.read_models.postgres
        if postgres is None:
            raise ConfigError(
                f"{self.config.file}: publish.{publish.name} hands over, and there is no [read_models.postgres]"
            )
        return connect(postgres.connection, f"hand over {publish.name}")


@dataclass
class InPlace:
    """The tables of a run that are put right in place."""

    config: Config
    hand_overs: HandOvers

    def check(self, shapes: Sequence[Shape]) -> tuple[str, ...]:
        """Before anything is folded: the mappings fit, the role may write. A line for each table."""
        words = []
        for shape in shapes:
            of = self._compare(shape.name)
            with closing(self._connect(of, read_only=True)) as connection:
                table = foreign(connection, of, self._definition(shape.name), shape)
                writing = writing_of(connection, table)
            note = f"; {writing.no_insert}, so no row can be inserted" if writing.no_insert else ""
            words.append(f"{shape.name}: rows of {table.table} that differ are changed in place{note}")
        return tuple(words)

    def outlook(self, version: Version) -> Outlook:
        """What would be changed, by the table as it is now. Changes nothing."""
        of = self._compare(version.name)
        with scratch(self.config) as inside, ExitStack() as stack:
            connection = stack.enter_context(closing(self._connect(of, read_only=True)))
            stack.enter_context(in_one_snapshot(connection, f"[compare.{of.name}]"))
            table = foreign(connection, of, self._definition(version.name), version.shape)
            writing = writing_of(connection, table)
            rows = copied(connection, table, inside / "table.parquet")
            shown = writing.statements(connection)
            stack.close()
            work = stack.enter_context(comparing(inside))
            found = work.find(
                relation(version), rows, [c.compared for c in table.key], [c.compared for c in table.fields], samples=1
            )
        changes = Changes(found.missing_there, found.changed, found.missing_here)
        words = (f"{version.name}, {table.table}: {changes.words}", cheaper(changes, found.rows_here))
        return Outlook(version.name, str(table.table), changes, words, shown)

    def put(self, run: Recording, versions: Sequence[Version]) -> Mapping[str, Changes]:
        """Put all of these tables right, with hand-overs and checkpoints, in one transaction.

        Raises PostgresConflict where others change the same rows again and again, ReadModelError, JobError.
        """
        postgres = self.config.read_models.postgres
        assert postgres is not None
        self.hand_overs.prepare({v.name: v.position for v in versions})
        former = ""
        for attempt in range(TRIES):
            try:
                with closing(connect(postgres.connection, "publish in place", read_only=False)) as connection:
                    done = self._put(connection, versions)
            except PostgresError as error:
                # A row that came meanwhile is not seen, and its key is taken. One that is so twice was there before.
                taken = error.sqlstate == UNIQUE and str(error) != former
                if attempt == TRIES - 1 or not (taken or isinstance(error, PostgresConflict)):
                    raise
                former = str(error)
                run.tell(Noted(f"rows changed while they were put right, it is done again: {error}"))
                time.sleep(PAUSE * 2**attempt)
            else:
                for name, (changes, rows) in done.items():
                    run.tell(Noted(f"{name}: {changes.words} in place; {cheaper(changes, rows)}"))
                return {name: changes for name, (changes, _) in done.items()}
        raise AssertionError("the last try raises")

    def _put(self, connection: AnyConnection, versions: Sequence[Version]) -> Mapping[str, tuple[Changes, int]]:
        with translated("projection_runner.in_place"):
            connection.execute(BOOKS["make"])
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        done = {}
        try:
            for version in sorted(versions, key=lambda v: v.name):
                done[version.name] = self._one(connection, version)
            self.hand_overs.run(connection, {v.name: v.position for v in versions})
            reached("in_place.2")
            with translated("projection_runner.in_place"):
                connection.commit()
            reached("in_place.3")
        except BaseException:
            if not connection.broken and not connection.closed:
                connection.rollback()
            raise
        return done

    def _one(self, connection: AnyConnection, version: Version) -> tuple[Changes, int]:
        """What was changed, of how many rows."""
        of = self._compare(version.name)
        table = foreign(connection, of, self._definition(version.name), version.shape)
        writing: Writing = writing_of(connection, table)
        with scratch(self.config) as inside, comparing(inside) as work:
            here, only = relation(version), None
            change = self._since(connection, version, table)
            if change is not None:
                work.connection.register("changed", change.rows)
                work.connection.register("deleted", change.deleted)
                here, keys_of = "FROM changed", "FROM changed UNION ALL FROM deleted"
                only = writing.only(connection, work, keys_of)
            rows = copied(connection, table, inside / "table.parquet", only)
            keys, fields = ([c.compared for c in part] for part in (table.key, table.fields))
            found = work.find(here, rows, keys, fields, samples=1)
            reached("in_place.1")
            changes = writing.apply(connection, work, found)
        with translated("projection_runner.in_place"):
            connection.execute(
                BOOKS["checkpoint"],
                {
                    "name": version.name,
                    "schema": table.table.schema,
                    "table": table.table.name,
                    "version": version.number,
                    "revision": version.revision,
                    "position": int(version.position),
                    "fingerprint": version.fingerprint,
                    "log_id": version.shape.log_id,
                    "job_id": version.job_id,
                },
            )
        return changes, sum(f.rows - f.deleted for f in version.bases) if change is not None else found.rows_here

    def _since(self, connection: AnyConnection, version: Version, table: Foreign) -> Change | None:
        """The rows that an update changed, where the table was put right for an earlier revision of the same version;
        None where all rows are to be looked at.
        """
        with translated("projection_runner.in_place"):
            row = connection.execute(BOOKS["stands"], {"name": version.name}).fetchone()
        same = (table.table.schema, table.table.name, version.number, version.fingerprint, version.shape.log_id)
        if row is None or row[:5] != same or row[5] >= version.revision:
            return None
        from runner.sinks.postgres.applying import changes_since

        change = changes_since(version, row[5], Position(row[6]))
        return None if change is None or change.rows.num_rows + change.deleted.num_rows > MANY else change

    def _compare(self, name: str) -> CompareConfig:
        of = compare_config(self.config, name)
        publish = self.config.publish[name]
        if publish.table and publish.table != of.table:
            raise ConfigError(
                f"{self.config.file}: publish.{name}.table is {publish.table}, compare.{name}.table is {of.table}",
                hint="a table in place is the one that the mapping is of",
            )
        postgres = self.config.read_models.postgres
        if postgres is None or (of.connection is not None and not _same_place(of, self.config)):
            raise ConfigError(
                f"{self.config.file}: publish.{name} is in place, and its table is not in [read_models.postgres]",
                hint=f"leave the connection out of [compare.{name}]: rows and checkpoint change in one transaction",
            )
        return of

    def _connect(self, of: CompareConfig, *, read_only: bool) -> AnyConnection:
        postgres = self.config.read_models.postgres
        assert postgres is not None
        return connect(
            postgres.connection, f"publish {of.name}", read_only=read_only, statement_timeout=of.statement_seconds
        )

    def _definition(self, name: str) -> ProjectionDefinition:
        (definition,) = load_definitions(self.config, [name])
        return definition


def _same_place(of: CompareConfig, config: Config) -> bool:
    """Whether the settings name one database; what they resolve to is known to the server alone."""
    mine, theirs = connection_of(config, of), config.read_models.postgres
    if theirs is None:
        return False
    here, there = ({k: v for k, v in vars(c).items() if k != "where"} for c in (mine, theirs.connection))
    return here == there


def _where(publish: PublishConfig) -> str:
    return f"[publish.{publish.name}]"
