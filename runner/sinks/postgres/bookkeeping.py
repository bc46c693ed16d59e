"""The schema ``projection_runner`` in the read models' database: which tables are the runner's, and what is in them.

``tables`` has a row for each table: live, former or being loaded, with version, revision and position; ``read_models``
is the view of those that are live, which users may read and join. What is live is what the table's name stands for, so
it cannot differ from the rows that are seen. A row's checkpoint changes in the transaction that changes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.errors import ReadModelError
from runner.positions import Position
from runner.postgres import Jsonb, connect, named_sql, translated
from runner.sinks.postgres.names import versioned
from runner.sinks.postgres.port import TablePlace, TableState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.config.postgres import PostgresReadModelsConfig
    from runner.postgres import AnyConnection
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.shape import Version

__all__ = ["KnownTable", "ensure", "known", "note", "opened", "read_states"]

BOOKS = named_sql("runner.sinks.postgres", "bookkeeping.sql")


@dataclass(frozen=True)
class KnownTable:
    """A table of a version. relname: None where it is no longer there."""

    relid: int
    revision: int
    position: Position
    fingerprint: str
    log_id: str
    complete: bool
    made_of: str
    relname: str | None
    is_live: bool
    names: dict[str, str]


def opened(config: PostgresReadModelsConfig, what: str, *, read_only: bool = False, lock: float = 5) -> AnyConnection:
    """A connection to the read models' database."""
    return connect(config.connection, what, read_only=read_only, lock_timeout=lock)


def ensure(connection: AnyConnection) -> None:
    """Make the schema where it is missing. Raises ReadModelError with the GRANT where the role may not."""
    with translated("schema projection_runner"):
        if connection.execute(BOOKS["exists"]).fetchone() == (True,):
            _adopt(connection)
            return
        with connection.transaction():
            connection.execute(BOOKS["exclusive"])
            if connection.execute(BOOKS["exists"]).fetchone() == (True,):
                return
            if connection.execute(BOOKS["schema_exists"], {"schema": "projection_runner"}).fetchone() == (False,):
                connection.execute(BOOKS["create_schema"])
            connection.execute(BOOKS["create"])


def _adopt(connection: AnyConnection) -> None:
    """After a restore from a dump the same tables have other numbers: know them by name and columns."""
    if not connection.execute(BOOKS["lost"]).fetchall():
        return
    with connection.transaction():
        connection.execute(BOOKS["exclusive"])
        lost = connection.execute(BOOKS["lost"]).fetchall()
        rest: dict[tuple[str, str, str], list[int]] = {}
        for name, schema, table, version, relid in lost:
            if not _adopted(connection, relid, versioned(table, version)):
                rest.setdefault((name, schema, table), []).append(relid)
        # The live one alone is not called by its version.
        for (_, _, table), relids in rest.items():
            if len(relids) == 1:
                _adopted(connection, relids[0], table)


def _adopted(connection: AnyConnection, relid: int, relname: str) -> bool:
    row = connection.execute(BOOKS["adopt"], {"relid": relid, "relname": relname}).fetchone()
    if row is not None:
        connection.execute(BOOKS["adopt_loaded"], {"relid": relid, "now": row[0]})
    return row is not None


def read_states(connection: AnyConnection) -> dict[str, TableState]:
    """What is live, by read model."""
    with translated("projection_runner.read_models"):
        if connection.execute(BOOKS["exists"]).fetchone() != (True,):
            return {}
        found: dict[str, TableState] = {}
        for name, schema, table, tenant, *said, fingerprint, log_id, job_id in connection.execute(BOOKS["states"]):
            version, revision, position = said
            place = TablePlace(schema, table, tenant)
            state = TableState(name, (place,), version, revision, Position(position), fingerprint, log_id, job_id)
            former = found.get(name)
            if former is not None:
                if (former.version, former.revision) != (version, revision):
                    raise ReadModelError(
                        f"read model {name!r}: {former.places[0].words} is at version {former.version}, revision "
                        f"{former.revision}, {place.words} at version {version}, revision {revision}",
                        hint=f"`runner rebuild {name}` brings them together",
                    )
                state = replace(former, places=(*former.places, place))
            found[name] = state
        return found


def known(connection: AnyConnection, name: str, place: TablePlace, version: int, *, live: bool) -> KnownTable | None:
    """The table of a version at a place that is live, or the one that is not; None where there is none."""
    rows = connection.execute(
        BOOKS["of_version"], {"name": name, "schema": place.schema, "table": place.table, "version": version}
    ).fetchall()
    for row in rows:
        if bool(row[8]) == live:
            return KnownTable(row[0], row[1], Position(row[2]), *row[3:10])
    return None


def note(connection: AnyConnection, version: Version, place: TablePlace, relid: int, layout: Layout) -> None:
    """Note a table that was made just now, in its transaction."""
    connection.execute(
        BOOKS["note_table"],
        {
            "name": version.name,
            "schema": place.schema,
            "table": place.table,
            "tenant": place.tenant,
            "relid": relid,
            "made_of": layout.digest,
            "columns": Jsonb({n: [t.sql, n in layout.required] for n, t in layout.types.items()}),
            "own": list(layout.own_names(place.table)),
            "fingerprint": version.fingerprint,
            "log_id": version.shape.log_id,
            "version": version.number,
            **checkpoint(version),
        },
    )


def checkpoint(version: Version) -> Mapping[str, Any]:
    """Revision and position as parameters."""
    return {"revision": version.revision, "position": int(version.position), "job_id": version.job_id}
