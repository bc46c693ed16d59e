"""The application's own table put right in place: rows that differ are inserted, updated or deleted, and nothing else.

All of it in the caller's transaction, REPEATABLE READ, whose snapshot the differences were found in: a row that
somebody changed since makes the server end it (PostgresConflict), and it is done again. Only cells that differ are
assigned. No DDL but a temporary table, no TRUNCATE; columns that the mapping does not name keep their values, in new
rows their defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from runner.errors import ConfigError, PostgresConflict, ReadModelError
from runner.postgres import SQL, Composed, Identifier, translated
from runner.postgres import types as pg
from runner.postgres.copy_in import copy_in
from runner.sinks.application.back import into_column, into_document, is_document, key_condition
from runner.sinks.application.expressions import values_there
from runner.sinks.application.table import STATEMENTS
from runner.sinks.differences.domains import text_of
from runner.sinks.differences.model import Domain
from runner.statements import statements

if TYPE_CHECKING:
    from runner.postgres import AnyConnection, Composable
    from runner.sinks.application.expressions import Selected
    from runner.sinks.application.reading import Foreign
    from runner.sinks.differences.find import Comparing
    from runner.sinks.differences.model import Found

__all__ = ["Changes", "Writing", "cheaper", "writing_of"]

STAGED, KEYS = "projection_runner_changes", "projection_runner_keys"
DUCKDB = statements("runner.sinks.application", "staging.sql")
DEARER = 8
"""A row that is changed in place costs about so many that are loaded: it is looked up, and written with its indexes."""


@dataclass(frozen=True)
class Changes:
    """How many rows."""

    inserted: int
    updated: int
    deleted: int

    @property
    def all(self) -> int:
        return self.inserted + self.updated + self.deleted

    @property
    def words(self) -> str:
        return f"{self.inserted:,} inserted, {self.updated:,} updated, {self.deleted:,} deleted"


def cheaper(changes: Changes, rows: int) -> str:
    """Which way costs less, in words. rows: of the whole read model."""
    share = 100 * changes.all / rows if rows else 0.0
    said = f"{changes.all:,} of {rows:,} rows differ ({share:.1f} %)"
    if changes.all * DEARER <= rows:
        return f"{said}: in place is cheaper than loading all of them and switching"
    return f'{said}: loading all and switching would be cheaper, where the table may be replaced (publish = "switch")'


@dataclass(frozen=True)
class Writing:
    """Which statements put a table right. insert is None where no row can be inserted: ``no_insert`` says why."""

    foreign: Foreign
    insert: Composed | None
    no_insert: str
    update: Composed | None
    delete: Composed
    outside: Composed | None
    """Counts inserted rows that the filter does not take."""
    same: Composed
    """By which a staged key s finds its row t."""

    def statements(self, connection: AnyConnection) -> tuple[str, ...]:
        """For people."""
        found = [self.insert, self.update, self.delete]
        return tuple(s.as_string(connection) for s in found if s is not None)

    def apply(self, connection: AnyConnection, work: Comparing, found: Found) -> Changes:
        """Put right what ``work`` has found to differ, in the connection's transaction.

        Raises ReadModelError for what cannot be put right, PostgresConflict where somebody else was quicker.
        """
        where = f"[compare.{self.foreign.config.name}] {self.foreign.table}"
        twice = [g for g in found.groups if g.pattern == "several rows of one key there"]
        if twice:
            raise ReadModelError(
                f"{where}: {twice[0].rows} rows share {twice[0].detail}: which one counts cannot be known",
                hint="`runner compare` shows them; a filter or another key tells them apart",
            )
        if found.missing_there and self.insert is None:
            raise ReadModelError(f"{where}: {found.missing_there} rows have to be inserted, and {self.no_insert}")
        self._check_values(work, where)
        wanted = Changes(found.missing_there, found.changed, found.missing_here)
        if not wanted.all:
            return wanted
        self._stage(connection, work, where)
        with translated(where):
            # Deleted first: a key that was written otherwise may be one to a unique index.
            deleted = _count(connection, self.delete if wanted.deleted else None)
            updated = _count(connection, self.update if wanted.updated else None)
            done = Changes(_count(connection, self.insert if wanted.inserted else None), updated, deleted)
            if wanted.inserted and self.outside is not None:
                row = connection.execute(self.outside).fetchone()
                if row is not None and row[0]:
                    raise ReadModelError(
                        f"{where}: {row[0]} inserted rows do not meet its filter, so nothing would see them again",
                        hint="the filter's columns need a mapping or defaults",
                    )
            connection.execute(SQL("DROP TABLE pg_temp.{}").format(Identifier(STAGED)))
        if done != wanted:
            raise PostgresConflict(f"{where}: {done.words}, where {wanted.words} were to be: rows changed meanwhile")
        return done

    def only(self, connection: AnyConnection, work: Comparing, keys: str) -> Composed:
        """What the table is joined with to give the rows of these keys alone (a query of DuckDB, of the read model's
        columns): a temporary table of them, until the transaction ends.
        """
        where = f"[compare.{self.foreign.config.name}] {self.foreign.table}"
        columns = [_staged(c.compared.here, c.compared.domain) for c in self.foreign.key]
        named = ", ".join(f"{text} AS k{i}" for i, text in enumerate(columns))
        names = [f"k{i}" for i in range(len(columns))]
        reader = work.connection.sql(DUCKDB["keys"].format(columns=named, rows=keys)).to_arrow_reader(1 << 16)
        schema = pa.schema([pa.field(name, pa.string()) for name in names])
        batches = (pa.record_batch([c.cast(pa.string()) for c in batch.columns], schema) for batch in reader)
        definition = SQL(", ").join(SQL("{} text").format(Identifier(name)) for name in names)
        table = Identifier("pg_temp", KEYS)
        with translated(where):
            connection.execute(
                SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(Identifier(KEYS), definition)
            )
        copy_in(connection, table, schema, batches, dict.fromkeys(names, pg.TEXT), where=where)
        with translated(where):
            connection.execute(SQL("ANALYZE {}").format(table))
        return SQL("{} AS s ON {}").format(table, self.same)

    def _check_values(self, work: Comparing, where: str) -> None:
        """Every value that is written has a partner there."""
        for i, column in enumerate(self.foreign.fields):
            values = values_there(column.wanted, where)
            if not values:
                continue
            rows = work.connection.execute(DUCKDB["values"].format(i=i)).fetchall()
            missing = [row[0] for row in rows if row[0] not in values]
            if missing:
                raise ReadModelError(
                    f"{where}: columns.{column.wanted.name} says nothing of {missing[0]!r}",
                    hint="values has to name every value that the read model can have",
                )

    def _stage(self, connection: AnyConnection, work: Comparing, where: str) -> None:
        keys, cells = list(enumerate(self.foreign.key)), list(enumerate(self.foreign.fields))
        columns = [
            f"CASE WHEN here_too THEN {_staged(f'k{i}', c.compared.domain)} ELSE x{i} END AS k{i}" for i, c in keys
        ]
        columns += [f"{_staged(f'a{i}', c.compared.domain)} AS v{i}, d{i}" for i, c in cells]
        names = ["op", *(f"k{i}" for i, _ in keys)]
        kinds = dict.fromkeys(names, pg.TEXT)
        for i, _ in cells:
            kinds |= {f"v{i}": pg.TEXT, f"d{i}": pg.BOOL}
        definition = SQL(", ").join(
            SQL("{} {}").format(Identifier(name), SQL(kind.name)) for name, kind in kinds.items()
        )
        table = Identifier("pg_temp", STAGED)
        with translated(where):
            connection.execute(
                SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(Identifier(STAGED), definition)
            )
        reader = work.connection.sql(DUCKDB["staged"].format(columns=", ".join(columns))).to_arrow_reader(1 << 16)
        schema = pa.schema([pa.field(n, pa.bool_() if k == pg.BOOL else pa.string()) for n, k in kinds.items()])
        batches = (
            pa.record_batch([c.cast(f.type) for c, f in zip(b.columns, schema, strict=True)], schema) for b in reader
        )
        copy_in(connection, table, schema, batches, kinds, where=where)
        with translated(where):
            connection.execute(SQL("ANALYZE pg_temp.{}").format(Identifier(STAGED)))


def writing_of(connection: AnyConnection, foreign: Foreign) -> Writing:
    """Settle the statements, and whether the role may run them. Raises ConfigError, ReadModelError with the GRANT."""
    where = f"[compare.{foreign.config.name}]"
    table = foreign.table
    if table.kind not in ("r", "p"):
        raise ReadModelError(f"{where}: {table} is no table, and is not written")
    with translated(where):
        rights = connection.execute(STATEMENTS["may_write"], {"oid": table.oid}).fetchone()
    assert rights is not None
    lacking = [name for name, may in zip(("INSERT", "UPDATE", "DELETE"), rights[:3], strict=True) if not may]
    if lacking:
        raise ReadModelError(
            f"{where}: the role may not {', '.join(lacking)} on {table}",
            hint=f'GRANT {", ".join(lacking)} ON "{table.schema}"."{table.name}" TO the role',
        )
    if not rights[3]:
        raise ReadModelError(f"{where}: the role may not make temporary tables", hint="GRANT TEMPORARY ON DATABASE ...")
    strings = _strings(connection, foreign, where)
    conditions = [
        c for i, column in enumerate(foreign.key) if (c := key_condition(column, SQL(f"s.k{i}"), where)) is not None
    ]
    same = SQL(" AND ").join(conditions)
    target, staged = Identifier(table.schema, table.name), Identifier("pg_temp", STAGED)
    filtered = SQL(" AND ({}\n)").format(SQL(foreign.config.filter)) if foreign.config.filter else SQL("")
    insert, reason = _insert(foreign, target, staged, strings, where)
    update = _update(foreign, target, staged, same, filtered, strings, where)
    delete = SQL("DELETE FROM {} AS t USING {} AS s WHERE s.op = 'delete' AND {}{}").format(
        target, staged, same, filtered
    )
    outside = None
    if foreign.config.filter:
        outside = SQL(
            "SELECT count(*) FROM {} AS t JOIN {} AS s ON {} WHERE s.op = 'insert' AND NOT coalesce(({}\n), false)"
        ).format(target, staged, same, SQL(foreign.config.filter))
    return Writing(foreign, insert, reason, update, delete, outside, same)


def _insert(
    foreign: Foreign, target: Identifier, staged: Identifier, strings: frozenset[str], where: str
) -> tuple[Composed | None, str]:
    columns: dict[str, Composable] = {}
    documents: dict[str, list[tuple[Selected, Composable, Composable | None]]] = {}
    for column, value in [*_numbered(foreign.key, "k"), *_numbered(foreign.fields, "v")]:
        target_column = column.wanted.column
        if target_column is None:
            continue
        if is_document(column):
            documents.setdefault(target_column.name, []).append((column, value, None))
        else:
            columns[target_column.name] = into_column(column, value, where)
    for name, parts in documents.items():
        columns[name] = into_document(SQL("NULL"), foreign.table.columns[name].base, parts, strings, where)
    lacking = [
        c.name
        for c in foreign.table.columns.values()
        if c.not_null and not c.has_default and not c.generated and c.name not in columns
    ]
    if lacking:
        return None, f"{foreign.table} needs {', '.join(lacking)}, which the mapping does not give"
    made = SQL("INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE s.op = 'insert'").format(
        target, SQL(", ").join(map(Identifier, columns)), SQL(", ").join(columns.values()), staged
    )
    return made, ""


def _update(
    foreign: Foreign,
    target: Identifier,
    staged: Identifier,
    same: Composed,
    filtered: Composable,
    strings: frozenset[str],
    where: str,
) -> Composed | None:
    plain: list[Composed] = []
    documents: dict[str, list[tuple[Selected, Composable, Composable | None]]] = {}
    for i, (column, value) in enumerate(_numbered(foreign.fields, "v")):
        target_column = column.wanted.column
        if target_column is None:
            raise ConfigError(f"{where}: {column.wanted.name} is a constant, which cannot be updated in place")
        name = Identifier(target_column.name)
        if is_document(column):
            documents.setdefault(target_column.name, []).append((column, value, SQL(f"s.d{i}")))
        else:
            made = into_column(column, value, where)
            plain.append(SQL("{0} = CASE WHEN s.{1} THEN {2} ELSE t.{0} END").format(name, SQL(f"d{i}"), made))
    for table_column, parts in documents.items():
        name, base = Identifier(table_column), foreign.table.columns[table_column].base
        made = into_document(SQL("t.{}").format(name), base, parts, strings, where)
        plain.append(SQL("{} = {}").format(name, made))
    if not plain:
        return None
    return SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE s.op = 'update' AND {}{}").format(
        target, SQL(", ").join(plain), staged, same, filtered
    )


def _strings(connection: AnyConnection, foreign: Foreign, where: str) -> frozenset[str]:
    """Columns in documents that are numbers or truth values here and strings there, by the first row that has one."""
    found = set()
    for column in foreign.columns:
        if not is_document(column) or column.compared.domain is Domain.LIST or column.wanted.column is None:
            continue
        document = SQL("t.{}::jsonb").format(Identifier(column.wanted.column.name))
        path = SQL("{}::text[]").format(_path(column))
        query = SQL("SELECT jsonb_typeof({0} #> {1}) FROM {2} AS t WHERE {0} #>> {1} IS NOT NULL LIMIT 1").format(
            document, path, Identifier(foreign.table.schema, foreign.table.name)
        )
        with translated(where):
            row = connection.execute(query).fetchone()
        if row is not None and row[0] == "string":
            found.add(column.wanted.name)
    return frozenset(found)


def _path(column: Selected) -> Composable:
    from runner.postgres import Literal

    return Literal(list(column.wanted.mapping.path))


def _numbered(columns: tuple[Selected, ...], letter: str) -> list[tuple[Selected, Composable]]:
    return [(column, SQL(f"s.{letter}{i}")) for i, column in enumerate(columns)]


def _staged(value: str, domain: Domain) -> str:
    """A value of DuckDB as text that Postgres reads."""
    if domain is Domain.TIME:
        return f"{value}::VARCHAR"
    return text_of(value, domain)


def _count(connection: AnyConnection, statement: Composed | None) -> int:
    return 0 if statement is None else connection.execute(statement).rowcount
