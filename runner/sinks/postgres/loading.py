"""A version's rows into a new table: made, filled in parallel, indexed, analysed. Steps load.1 to load.5.

The new table stands beside the live one under a name of its own (``orders__v7``). Each partition's COPY and its note in
``projection_runner.loaded`` are one transaction, so that a load that died goes on with what is missing; rows of another
attempt from other files are never mixed in: then the table is made again.

The partitions' commits do not wait for the disk, the one that notes the table as complete does, as the server is set:
what is committed before it is on the disk with it, for the write-ahead log is flushed in order. A server that dies
between them loses partitions together with their notes. ``COPY ... FREEZE`` is not for this: it wants the table made in
the same transaction, so one connection and nothing to go on with, and a table without a write-ahead log would be empty
behind a crash.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.postgres import SQL, Identifier, qualified, translated
from runner.postgres.copy_in import copy_in
from runner.sinks.postgres.belongings import BELONGINGS, former_at
from runner.sinks.postgres.bookkeeping import BOOKS, checkpoint, ensure, known, note, opened
from runner.sinks.postgres.carrying import TABLES, Incoming, prepare
from runner.sinks.postgres.matviews import drop_unused
from runner.sinks.postgres.names import versioned
from runner.sinks.postgres.port import SwitchTimeouts
from runner.sinks.postgres.waiting import Deadline
from runner.sinks.saved import partition_rows
from runner.stats import Noted
from runner.steps import reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from runner.config.postgres import PostgresReadModelsConfig
    from runner.postgres import AnyConnection
    from runner.sinks.postgres.columns import Layout
    from runner.sinks.postgres.port import TablePlace
    from runner.sinks.shape import Version
    from runner.stats import Listener

__all__ = ["added_place", "copied", "load_place"]


def load_place(
    config: PostgresReadModelsConfig,
    version: Version,
    place: TablePlace,
    layout: Layout,
    workers: int,
    listener: Listener,
) -> None:
    """Fill the new table of one place, or what of it is missing."""
    name = versioned(place.table, version.number)
    where = f"read model {version.name!r}, table {place.schema}.{name}"
    with closing(opened(config, f"load {version.name}")) as connection, translated(where):
        ensure(connection)
        relid, finished = _begun(connection, version, place, layout, listener)
        if finished is None:
            return
        reached("load.1")
        one = Incoming(version.name, place, layout, version.number, relid, name)
        former = former_at(connection, place)
        timeouts = SwitchTimeouts.of(config)
        prepare(connection, one, former, timeouts, Deadline.of(timeouts), ("create",))
        digests = _digests(version)
        missing = [p for p in sorted(digests) if p not in finished]
        table = qualified(place.schema, name)

        def fill(partitions: Sequence[int]) -> None:
            with closing(opened(config, f"load {version.name}")) as own, translated(where):
                own.execute(TABLES["not_each_on_the_disk"])
                for partition in partitions:
                    rows = layout.rows_for(partition_rows(version, partition), place)
                    with own.transaction():
                        copied(own, table, rows, layout, where)
                        seen = {"relid": relid, "partition": partition, "digest": digests[partition]}
                        own.execute(BOOKS["note_partition"], {**seen, "rows": rows.num_rows})
                    reached("load.2")

        hands = max(1, min(workers, len(missing)))
        with ThreadPoolExecutor(hands, thread_name_prefix="load") as pool:
            for done in [pool.submit(fill, missing[hand::hands]) for hand in range(hands)]:
                done.result()
        connection.execute(TABLES["room_for_indexes"])
        one = with_keys(connection, one)
        prepare(connection, one, former, timeouts, Deadline.of(timeouts))
        reached("load.4")
        connection.execute(TABLES["analyze"].format(table=table))
        connection.execute(BOOKS["note_complete"], {"relid": relid, **checkpoint(version)})
        reached("load.5")


def added_place(connection: AnyConnection, version: Version, place: TablePlace, layout: Layout) -> None:
    """A live table for a tenant that came after the switch, with its rows, in the caller's transaction."""
    relid = made(connection, version, place, layout, place.table)
    table = qualified(place.schema, place.table)
    for partition in version.partitions:
        rows = layout.rows_for(partition_rows(version, partition), place)
        copied(connection, table, rows, layout, f"read model {version.name!r}, table {place.words}")
    one = Incoming(version.name, place, layout, version.number, relid, place.table)
    with_keys(connection, one, live=True)
    connection.execute(BOOKS["note_complete"], {"relid": relid, **checkpoint(version)})


def made(
    connection: AnyConnection, version: Version, place: TablePlace, layout: Layout, name: str, how: SQL | None = None
) -> int:
    """Make and note an empty table in the caller's transaction; its number."""
    statement = TABLES["create"].format(
        table=qualified(place.schema, name), columns=layout.definition(), how=how or SQL("")
    )
    connection.execute(statement)
    row = connection.execute(TABLES["relid"], {"schema": place.schema, "name": name}).fetchone()
    assert row is not None
    note(connection, version, place, row[0], layout)
    return int(row[0])


def copied(connection: AnyConnection, table: Identifier, rows: pa.Table, layout: Layout, where: str) -> None:
    """COPY rows of the layout's columns into a table."""
    if rows.num_rows:
        batches = iter(rows.combine_chunks().to_batches())
        copy_in(connection, table, rows.schema, batches, layout.types, where=where)


def with_keys(connection: AnyConnection, one: Incoming, *, live: bool = False) -> Incoming:
    """Make the read model's own indexes that are missing."""
    place, layout = one.place, one.layout
    table, key, *others = qualified(place.schema, one.relname), *layout.own_names(place.table)
    constraint = layout.key_constraint()
    statements = {key: TABLES["one_row"] if constraint is None else TABLES["key"]}
    statements |= dict.fromkeys(others, TABLES["index"])
    columns = {index.name: layout.names(index.columns) for index in layout.indexes}
    have = {name for name, _ in connection.execute(BELONGINGS["own_names"], {"relid": one.relid}).fetchall()}
    names = dict(one.names)
    for wanted, statement in statements.items():
        name = wanted if live else versioned(wanted, one.version)
        names[name] = wanted
        if name not in have:
            parts = {"table": table, "name": qualified(None, name), "key": constraint or SQL("")}
            connection.execute(statement.format(**parts, columns=columns.get(wanted, SQL(""))))
    return replace(one, names=names)


def _begun(
    connection: AnyConnection, version: Version, place: TablePlace, layout: Layout, listener: Listener
) -> tuple[int, set[int] | None]:
    """The new table's number, and the partitions that are in it; None: all is."""
    name = versioned(place.table, version.number)
    with connection.transaction():
        connection.execute(BOOKS["exclusive"])
        have = known(connection, version.name, place, version.number, live=False)
        if have is not None and have.relname is not None:
            made_of = (version.fingerprint, version.shape.log_id, layout.digest)
            same = (have.fingerprint, have.log_id, have.made_of) == made_of
            same = same and have.revision <= version.revision and have.position <= version.position
            if same and have.complete:
                return have.relid, None
            rows = connection.execute(BOOKS["finished_partitions"], {"relid": have.relid}).fetchall()
            digests = _digests(version)
            if same and all(digests.get(partition) == digest for partition, digest in rows):
                if rows:
                    listener(Noted(f"{place.words}: {len(rows)} of {len(digests)} partitions are loaded already"))
                return have.relid, {partition for partition, _ in rows}
            drop_unused(connection, have.relid, version.number)
            connection.execute(TABLES["drop"].format(table=qualified(place.schema, have.relname)))
        if have is not None:
            connection.execute(BOOKS["forget_table"], {"relid": have.relid})
        # Nobody vacuums it while the switch wants it; the live one's settings come with the switch.
        how = SQL("WITH (autovacuum_enabled = false)")
        return made(connection, version, place, layout, name, how), set()


def _digests(version: Version) -> dict[int, str]:
    """Per partition a digest of its files."""
    found = {}
    for partition in version.partitions:
        told = sorted(f"{f.name} {f.digest}" for f in version.files_of(partition))
        found[partition] = hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
    return found
