"""Findings about what a role may do with the tables that runner.toml means: stores, read models, compared tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.config import load_definitions
from runner.errors import PostgresDenied, PostgresTimeout, RunnerError
from runner.jobs.doctoring.diagnosis import Finding
from runner.postgres import (
    SQL,
    Identifier,
    grant,
    qualified,
    schema_rights,
    sequence_readable,
    statement,
    table_rights,
    translated,
)
from runner.sources.postgres.reading import tail_config
from runner.sources.postgres.statement import Statement
from runner.sources.postgres.store import STATEMENTS, authors_sql, resolve
from runner.sources.postgres.tail import Relation
from runner.sources.postgres.tail.choose import tail_for
from runner.sources.postgres.tail.facts import facts_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from runner.config import CompareConfig, Config, PostgresReadModelsConfig, PostgresSourceConfig
    from runner.postgres import AnyConnection, ServerFacts, TableRights
    from runner.sources.postgres.store import Found, Store

__all__ = ["BOOKS", "Sizes", "look_at_compared", "look_at_store", "look_at_tables"]

BOOKS = "projection_runner"
"""The schema of the runner's own tables, beside the read models."""


@dataclass
class Sizes:
    """Of a store, as the server estimates it."""

    rows: float = 0.0
    octets: int = 0


# Stores ---------------------------------------------------------------------------------------------------------------


def look_at_store(
    source: PostgresSourceConfig, connection: AnyConnection, facts: ServerFacts
) -> Generator[Finding, None, Sizes]:
    """What the preset reads, table by table. Raises RunnerError: no such store, or several."""
    place, sizes = source.connection.where, Sizes()
    with translated(place):
        stores, failed = resolve(connection, source.name, source.store)
    for schema, error in failed.items():
        yield Finding(place, "tenant", "problem", f"{schema}: {error.message.removeprefix(f'{place}: ')}")
    for store in stores:
        if store.relation is None:
            yield from _query(connection, place, source)
            yield from _tail(connection, place, store)
            continue
        for found in (store.relation, *(joined for _, joined in store.joins)):
            yield from _readable(connection, place, facts, found.schema, found.name)
        yield from _sequences(connection, source, facts, store, store.relation)
        yield from _tail(connection, place, store)
        yield from _large_objects(connection, place, facts, store, store.relation)
        with translated(place):
            row = connection.execute(STATEMENTS["size"], {"oid": store.relation.oid}).fetchone()
        if row is not None:
            sizes.rows += row[0]
            sizes.octets += row[2]
    if source.store.limits.replica_lag_seconds and not facts.standby and not facts.sees_sessions:
        said = f"how far standbys are behind is hidden from {facts.role}, so max_replica_lag pauses nothing"
        granted = statement(connection, "GRANT pg_read_all_stats TO {role};", role=Identifier(facts.role))
        yield Finding(place, "replica lag", "problem", said, (granted,))
    return sizes


def _readable(
    connection: AnyConnection, place: str, facts: ServerFacts, schema: str, name: str, *, only: bool = True
) -> Iterator[Finding]:
    """only: the role should read this table and no more."""
    rights = table_rights(connection, place, schema, name)
    if rights is None:
        yield Finding(place, "table", "problem", f"there is no table {f'{schema}.' if schema else ''}{name}")
        return
    grants = _grants(connection, facts.role, rights, usage=True, privileges="SELECT" if not rights.reads else "")
    if grants:
        lacks = " and ".join(["USAGE on the schema"] * (not rights.usage) + ["SELECT"] * (not rights.reads))
        # Of a table with some columns granted, those may be the ones that are read.
        unread = not rights.usage or not rights.reads_some
        said = f"{facts.role} lacks {lacks} for {rights}"
        yield Finding(place, "select", "problem" if unread else "warning", said, grants)
    else:
        yield Finding(place, "select", "ok", f"{rights}")
    if rights.row_security:
        said = f"row-level security hides rows of {rights} from {facts.role}: events would be missing without a word"
        sql = statement(connection, "ALTER ROLE {role} BYPASSRLS;", role=Identifier(facts.role))
        yield Finding(place, "row security", "problem", said, (sql,))
    if only and not facts.superuser and (rights.owns or rights.inserts or rights.updates or rights.deletes):
        said = f"{facts.role} may also write to {rights}, and reading is all that is needed"
        yield Finding(place, "select only", "note", said)


def _query(connection: AnyConnection, place: str, source: PostgresSourceConfig) -> Iterator[Finding]:
    try:
        with translated(place):
            # Planning it checks the privileges on all that it names.
            connection.execute(SQL("EXPLAIN SELECT * FROM ({}) AS m").format(authors_sql(source.store.query)))
    except RunnerError as error:
        yield Finding(place, "select", "problem", error.message.removeprefix(f"{place}: "))
    else:
        yield Finding(place, "select", "ok", "the query")


def _tail(connection: AnyConnection, place: str, store: Store) -> Iterator[Finding]:
    """The rule, tried: what a sync would be refused for."""
    try:
        with translated(place):
            tail = tail_for(tail_config(store), Statement(store).tail_relation(), None)
            settled = tail.look(connection)
    except (PostgresDenied, PostgresTimeout):
        # Said of the table; or it takes longer than a look at the server should.
        return
    except RunnerError as error:
        said = error.message.removeprefix(f"{place}: ")
        yield Finding(place, "tail", "problem", f"{said} ({error.hint})" if error.hint else said)
        return
    fallen = tail.rule == "by time" and store.tail != "time"
    yield Finding(place, "tail", "warning" if fallen else "ok", settled.words)


def _sequences(
    connection: AnyConnection, source: PostgresSourceConfig, facts: ServerFacts, store: Store, relation: Found
) -> Iterator[Finding]:
    place = source.connection.where
    if store.tail not in ("gaps", "sessions"):
        return
    column = store.cells[store.position[-1]].column
    asked = Relation(place, qualified(relation.schema, relation.name), (column,), (relation.schema, relation.name))
    with translated(place):
        known = facts_of(connection, asked, source.store.tail.sequence)
    for sequence in known.sequences:
        # As the server writes a regclass: quoted already.
        name = SQL(sequence.name)
        if sequence.cache > 1:
            said = (
                f"{sequence.name} gives {sequence.cache} numbers at a time to a session: a gap is settled when all "
                "sessions that were there have ended, or by time"
            )
            mended = statement(connection, "ALTER SEQUENCE {name} CACHE 1;", name=name)
            yield Finding(place, "sequence cache", "warning", said, (mended,))
        else:
            yield Finding(place, "sequence cache", "ok", f"{sequence.name}: 1")
        if not sequence_readable(connection, place, sequence.oid):
            said = f"the last number of {sequence.name} may not be seen"
            granted = statement(
                connection, "GRANT SELECT ON SEQUENCE {name} TO {role};", name=name, role=Identifier(facts.role)
            )
            yield Finding(place, "sequence", "warning", said, (granted,))


def _large_objects(
    connection: AnyConnection, place: str, facts: ServerFacts, store: Store, relation: Found
) -> Iterator[Finding]:
    """Payloads outside the table have privileges of their own: one of them is tried."""
    for cell in (store.cells.get(label) for label in sorted(store.large_objects)):
        if cell is None or cell.type != "oid" or cell.alias != "m":
            continue
        rights = table_rights(connection, place, relation.schema, relation.name)
        if rights is None or not rights.usage or not rights.reads:
            continue
        text = SQL("SELECT lo_get({column}, 0, 1) FROM {table} WHERE {column} IS NOT NULL LIMIT 1")
        try:
            with translated(place):
                connection.execute(text.format(column=Identifier(cell.column), table=rights.quoted))
        except PostgresDenied:
            said = f"{facts.role} may not read the large objects of {relation}.{cell.column}"
            allowed = statement(
                connection, "ALTER ROLE {role} SET lo_compat_privileges = on;", role=Identifier(facts.role)
            )
            yield Finding(place, "large objects", "problem", said, (allowed,))


# Read models ----------------------------------------------------------------------------------------------------------


def look_at_tables(
    config: Config, tables: PostgresReadModelsConfig, connection: AnyConnection, facts: ServerFacts
) -> Iterator[Finding]:
    """The schemas of read models and of the runner's books, and tables that are there already."""
    place = tables.connection.where
    for schema, what in ((tables.schema, "the read models"), (BOOKS, "the runner's own tables")):
        yield _schema(connection, place, facts, schema, what)
    yield from _books(connection, place, facts)
    for name, in_place in _published(config).items():
        rights = table_rights(connection, place, tables.schema, name)
        if rights is not None:
            yield _published_table(connection, place, facts, rights, in_place=in_place)
        elif in_place:
            said = f'there is no table {tables.schema}.{name}, and publish = "in-place" makes none'
            yield Finding(place, "table", "problem", said)


def _schema(connection: AnyConnection, place: str, facts: ServerFacts, schema: str, what: str) -> Finding:
    rights = schema_rights(connection, place, schema)
    name, role = Identifier(schema), Identifier(facts.role)
    if not rights.exists:
        if rights.may_make:
            return Finding(place, "schema", "ok", f"{schema}, for {what}, is not there and will be made")
        made = statement(connection, "CREATE SCHEMA {name} AUTHORIZATION {role};", name=name, role=role)
        said = f"{schema}, for {what}, is not there, and {facts.role} may not make it"
        return Finding(place, "schema", "problem", said, (made,))
    if rights.usage and rights.create:
        return Finding(place, "schema", "ok", f"{schema}, for {what}")
    lacking = ", ".join(["USAGE"] * (not rights.usage) + ["CREATE"] * (not rights.create))
    granted = grant(connection, "USAGE, CREATE", SQL("SCHEMA {}").format(name), facts.role)
    return Finding(place, "schema", "problem", f"{facts.role} lacks {lacking} on {schema}, for {what}", (granted,))


def _published(config: Config) -> dict[str, bool]:
    """Tables by name, and whether they are written in place. Modules that cannot be imported now name none."""
    names = {p.table or p.name: p.publish == "in-place" for p in config.publish.values()}
    try:
        definitions = load_definitions(config)
    except RunnerError:
        return names
    return {d.name: False for d in definitions if d.name not in config.publish} | names


def _published_table(
    connection: AnyConnection, place: str, facts: ServerFacts, rights: TableRights, *, in_place: bool
) -> Finding:
    if not in_place:
        if rights.owns:
            return Finding(place, "table", "ok", f"{rights}, to be replaced")
        said = f"{rights} belongs to {rights.owner}, so {facts.role} cannot put another in its place"
        owner = statement(
            connection, "ALTER TABLE {name} OWNER TO {role};", name=rights.quoted, role=Identifier(facts.role)
        )
        return Finding(place, "table", "problem", said, (owner,))
    lacking = _lacking(rights)
    if not lacking:
        return Finding(place, "table", "ok", f"{rights}, to be written in place")
    granted = grant(connection, "SELECT, INSERT, UPDATE, DELETE", rights.quoted, facts.role)
    return Finding(place, "table", "problem", f"{facts.role} lacks {', '.join(lacking)} on {rights}", (granted,))


def _books(connection: AnyConnection, place: str, facts: ServerFacts) -> Iterator[Finding]:
    """The runner's own tables, where they are there: another role may have made them, whose schema this one may use."""
    found = [
        r for r in (table_rights(connection, place, BOOKS, name) for name in ("tables", "loaded")) if r is not None
    ]
    lacking = [f"{', '.join(_lacking(rights))} on {rights}" for rights in found if _lacking(rights)]
    if lacking:
        on = SQL("projection_runner.tables, projection_runner.loaded")
        granted = grant(connection, "SELECT, INSERT, UPDATE, DELETE", on, facts.role)
        said = f"{facts.role} lacks {'; '.join(lacking)}: the runner's own tables, which another role made"
        yield Finding(place, "table", "problem", said, (granted,))


def _lacking(rights: TableRights) -> list[str]:
    """Of the privileges to read and write rows."""
    has = (rights.reads, rights.inserts, rights.updates, rights.deletes)
    return [word for word, there in zip(("SELECT", "INSERT", "UPDATE", "DELETE"), has, strict=True) if not there]


# Compared tables ------------------------------------------------------------------------------------------------------


def look_at_compared(compared: CompareConfig, connection: AnyConnection, facts: ServerFacts) -> Iterator[Finding]:
    """The application's table: SELECT is all that is needed."""
    place = f"[compare.{compared.name}]"
    yield from _readable(connection, place, facts, compared.schema, compared.table, only=False)


def _grants(
    connection: AnyConnection, role: str, rights: TableRights, *, usage: bool, privileges: str
) -> tuple[str, ...]:
    found = []
    if usage and not rights.usage:
        found.append(grant(connection, "USAGE", SQL("SCHEMA {}").format(Identifier(rights.schema)), role))
    if privileges:
        found.append(grant(connection, "SELECT", rights.quoted, role))
    return tuple(found)
