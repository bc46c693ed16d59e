"""What goes live, where users see it: the embedded read models, and the tables in Postgres where runner.toml has them.

The one place where both change. Without ``[read_models.postgres]`` it is the embedded read models alone, and nothing of
Postgres is imported. With it a rebuild's way to its readers is::

    check        before anything is folded: whether the tables can be switched
    load         the proved rows into new tables                        load.1-4
    catch up     what came since into the embedded version and into the loaded table
    write down   version-<revision>.json, not live                      publish.1
    switch       the tables, with checkpoints and hand-overs, in one    switch.1-4
    publish      current.json                                           rebuild.6-8

and an update's: write down, ``apply`` (one transaction with the checkpoints), publish. Between the two commits only
the tables are ahead, by exactly what is written down; ``reconcile.py`` ends that, at the next run. From writing down
to publishing a run holds the read models' names, so that no other changes what is live meanwhile.

Tables that the application writes too are of ``writers.py``. Those that are its own (``publish = "in-place"``) are put
right in the place of load and switch (``in_place.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import ConfigError, JobError, PostgresError
from runner.jobs.publishing.writers import Writers, WriterWish, caught_up_under_lock, is_in_place
from runner.stats import Noted
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from runner.config import Config
    from runner.jobs.publishing.in_place import HandOvers, InPlace
    from runner.jobs.records.recording import Recording
    from runner.sinks.building import Built
    from runner.sinks.postgres.holding import Held
    from runner.sinks.postgres.port import LoadedTable, TableState
    from runner.sinks.postgres.tables import PostgresTables
    from runner.sinks.read_models import ReadModels
    from runner.sinks.shape import Shape, Version

    CatchUp = Callable[[Sequence[Built]], Sequence[Built]]

__all__ = ["Coming", "Publishing", "publishing_of", "table_states"]

PATIENCE = 30.0
"""Seconds that a run waits, beyond the longest switch, for another that changes what is live of the same name."""


def publishing_of(config: Config, models: ReadModels, wish: WriterWish | None = None) -> Publishing:
    """What a run publishes through. Connects to nothing yet."""
    if config.read_models.postgres is None:
        return Publishing(config, models, None)
    from runner.sinks.postgres.tables import PostgresTables

    tables = PostgresTables(config.read_models.postgres, config.publish)
    return Publishing(config, models, tables, wish or WriterWish())


def table_states(config: Config) -> Mapping[str, TableState]:
    """What users see in Postgres, by read model; nothing where there are no tables. Raises PostgresError."""
    tables = publishing_of(config, None).tables  # type: ignore[arg-type]  # looking needs no embedded read models
    return {} if tables is None else tables.states()


@dataclass
class Coming:
    """New versions on their way. built: written, not live; loaded: the tables of those that are switched."""

    tables: PostgresTables
    built: Sequence[Built]
    loaded: list[LoadedTable]
    catch_up: CatchUp

    @property
    def names(self) -> list[str]:
        return [one.version.name for one in self.built]

    def follow(self) -> None:
        """Take in what the log has behind them. May fail anywhere and be called again: no revision is written twice."""
        self.built = self.catch_up(self.built)
        now = {one.version.name: one.version for one in self.built}
        for n, table in enumerate(self.loaded):
            version = now[table.version.name]
            if version.revision > table.version.revision:
                self.loaded[n] = self.tables.apply_loaded(table, version)


@dataclass
class Publishing:
    """Where a run publishes to. tables: None is the embedded read models alone."""

    config: Config
    models: ReadModels
    tables: PostgresTables | None
    wish: WriterWish = field(default_factory=lambda: WriterWish())
    places: dict[str, str] = field(default_factory=dict)
    """By read model: its table as users name it, of those published or checked by this run."""
    hand_overs: HandOvers | None = None
    dropped: tuple[str, ...] = ()
    """Tables of former versions that went."""

    def check(self, shapes: Sequence[Shape], *, compared: bool = False) -> tuple[str, ...]:
        """Before a rebuild folds: whether the tables can be made and switched, and with ``compared`` whether they can
        be compared; what will be done, in words.
        """
        names = [shape.name for shape in shapes]
        if compared:
            from runner.jobs.comparing.compare import check_sources

            check_sources(self.config, [name for name in names if name in self.config.compare])
        if self.tables is None:
            _refuse_without_database(self.config, names)
            return ()
        self._writers().check(names)
        self.check_one_transaction(names)
        own = [shape for shape in shapes if is_in_place(self.config, shape.name)]
        plan = self.tables.check([shape for shape in shapes if not is_in_place(self.config, shape.name)])
        self.places |= {name: place.words for name, place in plan.places}
        self.handing_over(names).check()
        return (*plan.words, *(self.in_place(names).check(own) if own else ()))

    def check_one_transaction(self, names: Sequence[str]) -> None:
        """Raise JobError where a run would change tables of the runner's and of the application's: they could not
        change together.
        """
        if self.tables is None:
            return
        own = [name for name in names if is_in_place(self.config, name)]
        others = [name for name in names if name not in own]
        if own and others:
            raise JobError(
                f"{', '.join(own)}: put right in place, in a transaction of their own; {', '.join(others)}: tables of "
                "the runner's, in another: after a failure between them one would be ahead of the other",
                hint=f"do it in two runs: {' '.join(own)}, then {' '.join(others)}",
            )

    def check_update(self, names: Sequence[str]) -> None:
        """The same of an update, which leaves alone what the application writes."""
        self.check_one_transaction(self._writers().ours(names))

    def holding(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Be the only one who changes what is live of these names, in both places."""
        postgres = self.config.read_models.postgres
        return self.models.holding(names, wait=PATIENCE + (postgres.switch_seconds if postgres else 0.0))

    def publish_rebuild(self, run: Recording, built: Sequence[Built], catch_up: CatchUp) -> Sequence[Built]:
        """Make new versions live; as they are live. catch_up: folds what the log has behind them, in new revisions."""
        if self.tables is None:
            with run.stage("publish"):
                self.models.publish_rebuild(built)
            return built
        with run.stage("load"):
            switched = [one for one in built if not is_in_place(self.config, one.version.name)]
            loaded = [self.tables.load(one.version, listener=run.tell) for one in switched]
        self.places |= {table.version.name: table.places[0].words for table in loaded}
        coming = Coming(self.tables, built, loaded, catch_up)
        if self._writers().inline(coming.names):
            caught_up_under_lock(self, run, coming)
        else:
            # Outside first, with the wait for long readers: whoever keeps the live version current is held up only for
            # what comes meanwhile.
            coming.follow()
            with run.stage("switch"):
                self.tables.wait_for_snapshots(coming.loaded)
            with self.holding(coming.names):
                coming.follow()
                self.prepare(coming.built)
                with run.stage("switch"):
                    self.made_live(run, coming)
                with run.stage("publish"):
                    self.models.publish_rebuild(coming.built)
        self._clean_up(run, coming.names)
        return coming.built

    def rehearse(self, run: Recording, built: Sequence[Built]) -> None:
        """All that comes before a switch, and nothing left of it: loaded tables are dropped."""
        if self.tables is None:
            return
        apart = [one.version for one in built if not is_in_place(self.config, one.version.name)]
        with run.stage("load"):
            for version in apart:
                self.tables.load(version, listener=run.tell)
        self._clean_up(run, [version.name for version in apart])

    def made_live(self, run: Recording, coming: Coming, held: Held | None = None) -> None:
        """Switch the loaded tables, put right those that are the application's, and tell it where to go on."""
        own = [one.version for one in coming.built if is_in_place(self.config, one.version.name)]
        if coming.loaded:
            positions = {table.version.name: table.version.position for table in coming.loaded}
            hand_overs = self.handing_over(list(positions))
            hand_overs.prepare(positions)
            coming.tables.switch(
                coming.loaded, held=held, also=lambda connection: hand_overs.run(connection, positions)
            )
        if own:
            self.in_place([version.name for version in own]).put(run, own)
        made = self.hand_overs.made if self.hand_overs is not None else {}
        for name, (position, statement) in made.items():
            run.tell(Noted(f"{name}: handed over at position {int(position):,} of the log by {statement.shown}"))

    def prepare(self, built: Sequence[Built]) -> None:
        """Write down what is about to go live."""
        self.models.prepare([one.version for one in built])
        reached("publish.1")

    def publish_update(self, run: Recording, built: Sequence[Built]) -> tuple[Version, ...]:
        """Make the next revisions of live versions live."""
        if self.tables is None:
            with run.stage("publish"):
                return self.models.publish_update(built)
        versions = [one.version for one in built]
        names = [version.name for version in versions]
        ours = self._writers().ours(names)
        with self.holding(names):
            self.prepare(built)
            if ours:
                with run.stage("apply"):
                    own = [v for v in versions if v.name in ours and is_in_place(self.config, v.name)]
                    others = [v for v in versions if v.name in ours and v not in own]
                    if others:
                        self.tables.apply(others)
                    if own:
                        self.in_place([v.name for v in own]).put(run, own)
            with run.stage("publish"):
                return self.models.publish_update(built)

    def rollback(self, run: Recording, name: str, to: int | None) -> Version:
        """Make an earlier version live again."""
        if self.tables is None:
            with run.stage("publish"):
                return self.models.rollback(name, to)
        self._writers().check([name], back=True)
        with self.holding([name]):
            target = self.models.rollback_target(name, to)
            with run.stage("switch"):
                if is_in_place(self.config, name):
                    self.in_place([name]).put(run, [target])
                else:
                    self.tables.rollback(target)
            with run.stage("publish"):
                return self.models.rollback(name, target.number)

    def _writers(self) -> Writers:
        return Writers(self.config, self.wish)

    def handing_over(self, names: Sequence[str]) -> HandOvers:
        """The one of the run: what was watched before is compared in the switch."""
        from runner.jobs.publishing.in_place import HandOvers

        if self.hand_overs is None:
            self.hand_overs = HandOvers(self.config, names)
        return self.hand_overs

    def in_place(self, names: Sequence[str]) -> InPlace:
        from runner.jobs.publishing.in_place import InPlace

        return InPlace(self.config, self.handing_over(names))

    def _clean_up(self, run: Recording, names: Sequence[str]) -> None:
        """Drop the tables of versions that a rollback cannot go to any more. What is live is so without it."""
        assert self.tables is not None
        kept = {name: [version.number for version in self.models.versions(name)] for name in names}
        try:
            self.dropped += self.tables.drop_former(kept)
        except PostgresError as error:
            run.tell(Noted(f"former tables stay until the next rebuild: {error}"))


def _refuse_without_database(config: Config, names: Sequence[str]) -> None:
    for name in names:
        publish = config.publish.get(name)
        if publish is not None and (publish.publish == "in-place" or publish.hand_over is not None):
            raise ConfigError(
                f"{config.file}: publish.{name} is about a table in Postgres, and there is no [read_models.postgres]",
                hint="it says where the tables are",
            )
