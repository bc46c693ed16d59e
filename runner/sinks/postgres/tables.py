"""``PostgresTables``: read models in Postgres behind one object. Jobs call it, and nothing else of this package.

The embedded version is written and proved first; its rows are loaded into a new table, and the switch makes that live.
Which version, revision and position users see stands in ``projection_runner.read_models``, in the same database and
written in the same transaction as the rows: when it and the embedded read model differ, it is right.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout, ReadModelError
from runner.postgres import qualified, translated
from runner.sinks.postgres.applying import apply_in
from runner.sinks.postgres.belongings import former_at
from runner.sinks.postgres.bookkeeping import ensure, known, opened, read_states
from runner.sinks.postgres.carrying import Incoming, prepare
from runner.sinks.postgres.checking import check_place, check_rights
from runner.sinks.postgres.columns import layout_of, places_of
from runner.sinks.postgres.former import drop_former
from runner.sinks.postgres.holding import Held, held
from runner.sinks.postgres.loading import added_place, load_place
from runner.sinks.postgres.port import LoadedTable, SwitchPlan, SwitchTimeouts
from runner.sinks.postgres.switching import plan_switch, switch_in, switched
from runner.sinks.postgres.waiting import RETRIED, Deadline, wait_for_long_holders, wait_for_snapshots
from runner.stats import ignore
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from runner.config.postgres import PostgresReadModelsConfig, PublishConfig
    from runner.postgres import AnyConnection
    from runner.sinks.postgres.belongings import Belonging
    from runner.sinks.postgres.bookkeeping import KnownTable
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace, TableState
    from runner.sinks.shape import Shape, Version
    from runner.stats import Listener

__all__ = ["Held", "PostgresTables"]


def _nothing(_: AnyConnection) -> None:
    """A switch does nothing else."""


class PostgresTables:
    """The tables of [read_models.postgres]. Holds no connection: each method opens and closes its own."""

    def __init__(self, config: PostgresReadModelsConfig, publish: Mapping[str, PublishConfig]) -> None:
        self._config, self._publish = config, publish

    def check(self, shapes: Sequence[Shape]) -> SwitchPlan:
        """Before a rebuild starts: whether these read models can be loaded and switched, and what that will do.

        Raises ReadModelError for a live table that is not the runner's own, for what hangs on a live table and cannot
        be carried over, and for missing privileges, with the GRANT. Changes no table, locks nobody out.
        """
        places = [(shape, place, layout) for shape in shapes for place, layout in self._places(shape)]
        taken: dict[TablePlace, str] = {}
        for shape, place, _ in places:
            other = taken.setdefault(replace(place, tenant=""), shape.name)
            if other != shape.name:
                raise ReadModelError(f"read models {other!r} and {shape.name!r} would both be {place.words}")
        with closing(opened(self._config, "check")) as connection, translated("[read_models.postgres]"):
            check_rights(connection, list(dict.fromkeys(place.schema for _, place, _ in places)))
            words = [check_place(connection, place, layout) for _, place, layout in places]
        return SwitchPlan(tuple((shape.name, place) for shape, place, _ in places), tuple(words))

    def states(self) -> Mapping[str, TableState]:
        """What users see, by read model; empty before the first switch. For read-only roles too."""
        with closing(opened(self._config, "states", read_only=True)) as connection:
            return read_states(connection)

    def load(self, version: Version, *, workers: int = 0, listener: Listener = ignore) -> LoadedTable:
        """Copy a version's rows into new tables: in parallel by partition, then keys, indexes, ANALYZE.

        version: base and delta files on the disk, published or not. workers: connections at a time; 0, and at most,
        what runner.toml says. Resumable: each partition's COPY and its note are one transaction, finished partitions of
        the same files stay; a table that is live already as this version says stays too. Raises CopyError,
        PostgresError, ReadModelError.
        """
        hands = min(workers or self._config.connections, self._config.connections)
        loaded = LoadedTable(version, tuple(place for place, _ in self._places(version.shape)))
        if self._is_live(loaded):
            return loaded
        for place, layout in self._places(version.shape):
            load_place(self._config, version, place, layout, hands, listener)
        return self.apply_loaded(loaded, version)

    def wait_for_snapshots(self, tables: Sequence[LoadedTable], timeouts: SwitchTimeouts | None = None) -> None:
        """Wait until every transaction can see the rows that these tables hold now.

        A part of ``switch``. Call it before ``hold`` too, that what is waited for under the lock is not much. Raises
        PostgresTimeout naming the session.
        """
        timeouts = timeouts or SwitchTimeouts.of(self._config)
        with closing(self._writing("switch")) as connection, translated("read models"):
            relids = [i.relid for table in tables for i in self._incoming(connection, table)]
            wait_for_snapshots(connection, relids, Deadline.of(timeouts))

    def switch(
        self,
        tables: Sequence[LoadedTable],
        *,
        timeouts: SwitchTimeouts | None = None,
        held: Held | None = None,
        also: Callable[[AnyConnection], None] = _nothing,
    ) -> None:
        """Make loaded tables live, all in one transaction, with all that hung on the former ones.

        timeouts: None is what runner.toml says. held: of ``hold``; the switch is made in its transaction and ends it.
        also: what else is done in the transaction, at its end, and again where the switch is tried again.
        Raises PostgresTimeout naming who held it up: what is live is as before, and it may be called again.
        """
        timeouts = timeouts or SwitchTimeouts.of(self._config)
        where = f"switch of {', '.join(t.version.name for t in tables)}"
        with closing(self._writing("switch")) as connection, translated(where):
            wanted = [t for t in tables if not self._is_live(t)]
            incoming = [i for table in wanted for i in self._incoming(connection, table)]
            if not incoming:
                return
            if held is None:
                after = switched(connection, incoming, timeouts, where, also)
            else:
                deadline = Deadline(held.until, timeouts.lock)
                incoming = [
                    prepare(connection, i, former_at(connection, i.place), timeouts, deadline) for i in incoming
                ]
                # Again: what was caught up with under the lock is newer than the snapshots of many who read just now.
                wait_for_snapshots(connection, [i.relid for i in incoming], deadline, held)
                after = _switched_held(connection, held, incoming, timeouts, where, also)
            for item in after:
                with translated(f"{item.name}, behind the switch"):
                    connection.execute(item.sql)

    @contextmanager
    def hold(self, names: Sequence[str], *, seconds: float) -> Iterator[Held]:
        """Keep writers out of the live tables of these read models for at most ``seconds``; readers go on.

        For inline writers: inside, the rest of the log is synced and applied with ``apply_loaded``, then
        ``switch(tables, held=held)``. Leaving it without a switch lets the writers go on. The server ends it when
        ``seconds`` are over (PostgresTimeout at the next step). Raises PostgresTimeout where the lock is not had.
        """
        states = self.states()
        with held(self._config, [p for name in names if name in states for p in states[name].places], seconds) as it:
            yield it

    def apply(self, versions: Sequence[Version]) -> None:
        """Catch-up: bring the live tables to these revisions of their versions, all in one transaction.

        Changed and deleted rows come from delta files; where those are compacted away, from the difference to all
        rows. A table that is there already stays as it is; a new tenant's is made. Raises ReadModelError where another
        version is live.
        """
        where = f"catch-up of {', '.join(v.name for v in versions)}"
        with closing(self._writing("apply")) as connection, translated(where):
            with connection.transaction():
                for version in sorted(versions, key=lambda v: v.name):
                    places = self._places(version.shape)
                    tables = [
                        (p, layout, known(connection, version.name, p, version.number, live=True))
                        for p, layout in places
                    ]
                    if not any(table for _, _, table in tables):
                        raise ReadModelError(
                            f"version {version.number} of {version.name!r} is not live in Postgres",
                            hint=f"`runner rebuild {version.name}`",
                        )
                    for place, layout, table in tables:
                        live = qualified(place.schema, place.table)
                        if table is None:
                            added_place(connection, version, place, layout)
                        else:
                            apply_in(connection, version, place, layout, table.relid, live)
                reached("apply.2")
            reached("apply.3")

    def apply_loaded(self, table: LoadedTable, version: Version) -> LoadedTable:
        """The same for a loaded table that is not live yet: a later revision of the same version."""
        where = f"catch-up of {version.name}"
        with closing(self._writing("apply")) as connection, translated(where), connection.transaction():
            for one in self._incoming(connection, table):
                name = qualified(one.place.schema, one.relname)
                apply_in(connection, version, one.place, one.layout, one.relid, name)
        return replace(table, version=version)

    def rollback(self, version: Version, *, timeouts: SwitchTimeouts | None = None) -> None:
        """Make the former table of this version live again; it is loaded anew where it is no longer there."""
        self.switch([self.load(version)], timeouts=timeouts)

    def drop_former(self, kept: Mapping[str, Collection[int]]) -> tuple[str, ...]:
        """Drop tables of versions that are neither live nor kept, and unfinished loads of others; what was dropped.

        kept: by read model, the numbers of the embedded versions that are there. A table that is in use just now, or
        that something else depends on, stays for the next time.
        """
        with closing(self._writing("clean up")) as connection, translated("former tables"):
            return drop_former(connection, kept)

    def _places(self, shape: Shape) -> tuple[tuple[TablePlace, Layout], ...]:
        publish = self._publish.get(shape.name)
        by_tenant = publish is not None and publish.per_tenant_schema
        places = places_of(shape, self._config, publish)
        return tuple((place, layout_of(shape, place, by_tenant=by_tenant)) for place in places)

    def _writing(self, what: str) -> AnyConnection:
        connection = opened(self._config, what)
        try:
            ensure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_live(self, table: LoadedTable) -> bool:
        """Whether every table is live already exactly as this revision says."""
        version = table.version
        with closing(self._writing("look")) as connection, translated(f"read model {version.name!r}"):
            return all(
                _is(known(connection, version.name, place, version.number, live=True), version, layout)
                for place, layout in self._places(version.shape)
            )

    def _incoming(self, connection: AnyConnection, table: LoadedTable) -> list[Incoming]:
        """The new tables of a loaded version. ReadModelError where one is not whole."""
        version, found = table.version, []
        for place, layout in self._places(version.shape):
            have = known(connection, version.name, place, version.number, live=False)
            if have is None or have.relname is None or not have.complete:
                raise ReadModelError(
                    f"version {version.number} of {version.name!r} is not loaded into {place.schema}",
                    hint="run it again",
                )
            found.append(Incoming(version.name, place, layout, version.number, have.relid, have.relname, have.names))
        return found


def _is(have: KnownTable | None, version: Version, layout: Layout) -> bool:
    return have is not None and (
        have.fingerprint, have.log_id, have.made_of, have.revision, have.position
    ) == (version.fingerprint, version.shape.log_id, layout.digest, version.revision, version.position)  # fmt: skip


def _switched_held(
    connection: AnyConnection,
    held: Held,
    incoming: Sequence[Incoming],
    timeouts: SwitchTimeouts,
    where: str,
    also: Callable[[AnyConnection], None],
) -> tuple[Belonging, ...]:
    """The switch in the transaction that holds the writers, tried until that is over; then the end of it.

    connection: another, to look with: what a transaction sees of others' sessions does not change.
    """
    reached("switch.1")
    while True:
        try:
            with translated(where):
                with held.connection.transaction():
                    plan = plan_switch(held.connection, incoming)
                deadline = Deadline(held.until, timeouts.lock)
                wait_for_long_holders(connection, plan.relids, plan.keys, timeouts, deadline, held)
                left = max(0.001, held.until - time.monotonic())
                with held.connection.transaction():
                    bounds = replace(timeouts, lock=min(timeouts.lock, left), work=min(timeouts.work, left))
                    after = switch_in(held.connection, plan, bounds)
                    also(held.connection)
                held.connection.commit()
        except PostgresTimeout as error:
            if error.sqlstate not in RETRIED or time.monotonic() >= held.until:
                raise
            time.sleep(timeouts.lock / 4)
        else:
            reached("switch.4")
            return after
