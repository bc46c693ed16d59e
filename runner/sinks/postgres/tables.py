"""``PostgresTables``: read models in Postgres behind one object. Jobs call it, and nothing else of this package.

The embedded version is written and proved first; its rows are loaded into a new table, and the switch makes that live.
Which version, revision and position users see stands in ``projection_runner.read_models``, in the same database and
written in the same transaction as the rows: when it and the embedded read model differ, it is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from runner.config.postgres import PostgresReadModelsConfig, PublishConfig
    from runner.sinks.postgres.port import LoadedTable, SwitchPlan, SwitchTimeouts, TableState
    from runner.sinks.shape import Shape, Version
    from runner.stats import Listener

__all__ = ["Held", "PostgresTables"]


class Held:
    """Live tables that nobody else writes for now (``PostgresTables.hold``)."""


class PostgresTables:
    """The tables of [read_models.postgres]. Holds no connection: each method opens and closes its own."""

    def __init__(self, config: PostgresReadModelsConfig, publish: Mapping[str, PublishConfig]) -> None:
        self._config, self._publish = config, publish

    def check(self, shapes: Sequence[Shape]) -> SwitchPlan:
        """Before a rebuild starts: whether these read models can be loaded and switched, and what that will do.

        Raises ReadModelError for a live table that is not the runner's own, for what hangs on a live table and cannot
        be carried over, and for missing privileges, with the GRANT. Changes nothing, locks nobody out.
        """
        raise NotImplementedError

    def states(self) -> Mapping[str, TableState]:
        """What users see, by read model; empty before the first switch. For read-only roles too."""
        raise NotImplementedError

    def load(self, version: Version, *, workers: int = 0, listener: Listener = ignore) -> LoadedTable:
        """Copy a version's rows into new tables: in parallel by partition, then keys, indexes, ANALYZE.

        version: base and delta files on the disk, published or not. workers: connections at a time; 0, and at most, what
        runner.toml says. Resumable: each partition's COPY and its note are one transaction, finished partitions of the
        same files stay. Raises CopyError, PostgresError, ReadModelError.
        """
        raise NotImplementedError

    def wait_for_snapshots(self, timeouts: SwitchTimeouts | None = None) -> None:
        """Wait until every transaction can see the rows that are committed now.

        A part of ``switch``, unless that is given a ``held``: call this before ``hold`` then. Raises PostgresTimeout
        naming the session.
        """
        raise NotImplementedError

    def switch(
        self, tables: Sequence[LoadedTable], *, timeouts: SwitchTimeouts | None = None, held: Held | None = None
    ) -> None:
        """Make loaded tables live, all in one transaction, with all that hung on the former ones.

        timeouts: None is what runner.toml says. held: of ``hold``; the switch is made in its transaction and ends it.
        Raises PostgresTimeout naming who held it up: what is live is as before, and it may be called again.
        """
        raise NotImplementedError

    def hold(self, names: Sequence[str], *, seconds: float) -> AbstractContextManager[Held]:
        """Keep writers out of the live tables of these read models for at most ``seconds``; readers go on.

        For inline writers: inside, the rest of the log is synced and applied with ``apply_loaded``, then
        ``switch(tables, held=held)``. Leaving it without a switch lets the writers go on. The server ends it when
        ``seconds`` are over (PostgresTimeout at the next step). Raises PostgresTimeout where the lock is not had.
        """
        raise NotImplementedError

    def apply(self, versions: Sequence[Version]) -> None:
        """Catch-up: bring the live tables to these revisions of their versions, all in one transaction.

        Changed and deleted rows come from delta files; where those are compacted away, from the difference to all
        rows. A table that is there already stays as it is. Raises ReadModelError where another version is live.
        """
        raise NotImplementedError

    def apply_loaded(self, table: LoadedTable, version: Version) -> LoadedTable:
        """The same for a loaded table that is not live yet: a later revision of the same version."""
        raise NotImplementedError

    def rollback(self, version: Version, *, timeouts: SwitchTimeouts | None = None) -> None:
        """Make the former table of this version live again; it is loaded anew where it is no longer there."""
        raise NotImplementedError

    def drop_former(self, kept: Mapping[str, Collection[int]]) -> tuple[str, ...]:
        """Drop tables of versions that are neither live nor kept, and unfinished loads of others; what was dropped.

        kept: by read model, the numbers of the embedded versions that are there. A table that is in use just now, or
        that something else depends on, stays for the next time.
        """
        raise NotImplementedError
