"""The SQL that reads a store: composed of quoted names and literals, for COPY, which takes no parameters.

Every cell comes in one of few types, so that the parts behind know int64, text, bytes, UTC times and lists of texts
only. The rows between two source positions come in the order of the store.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from runner.errors import ConfigError
from runner.postgres import SQL, Composed, Identifier, Literal, types
from runner.postgres.copy_out import CopyColumn
from runner.sources.postgres.preset import Condition
from runner.sources.postgres.store import TIMES, authors_sql
from runner.sources.postgres.tail import Relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config.mapping import FieldMapping
    from runner.postgres import Composable
    from runner.postgres.types import PgType
    from runner.sources.postgres.preset import Join
    from runner.sources.postgres.store import Cell, Found, Store

__all__ = ["ELSEWHERE", "INFINITE", "VERDICT", "Statement", "like", "plain_column"]

VERDICT = "verdict"
"""The label of the cell that says why a row is no event: 0, 1 + an index of ``Statement.reasons``, INFINITE, or
ELSEWHERE."""

ALIAS = "r"
"""What the rows are called where they are read."""

INFINITE = -1
"""The verdict over rows whose time is infinite, which comes as null, where a null may be one of its own."""

ELSEWHERE = -2
"""The verdict over rows whose payload is in ``Store.elsewhere``."""

_INTS = ("int2", "int4", "int8", "numeric", "xid8")
_NUMBERS = {"int2": types.INT2, "int4": types.INT4, "int8": types.INT8, "xid8": types.XID8, "oid": types.OID}
_TEXTS = {
    "text": types.TEXT,
    "varchar": types.VARCHAR,
    "bpchar": types.BPCHAR,
    "name": types.NAME,
    "uuid": types.UUID,
    "json": types.JSON,
    "jsonb": types.JSONB,
    "numeric": types.NUMERIC,
}
_UTC = pa.timestamp("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Statement:
    """The statements of one store. Whatever is asked of it goes over the alias r, whose columns are the labels."""

    def __init__(self, store: Store) -> None:
        self._store = store
        for label in store.position:
            name = store.cells[label].type
            if name not in (*_INTS, *TIMES):
                raise ConfigError(
                    f"[sources.{store.source}]: position is ordered by {label}, a column of type {name}",
                    hint="it takes integers, xid8 and timestamps",
                )
        self.reasons, code = self._left_out()
        self._expressions: list[Composable] = []
        columns: list[CopyColumn] = []
        for label, cell in store.cells.items():
            # A column of the order comes as a number, and a time among them in its own type too.
            made, kind, wanted = self._number(cell) if label in store.places else self._cell(cell)
            if label == store.payload[0] and code is not None and self._patterns():
                # Of other streams, which may be most, nothing is sent but their positions.
                made = SQL("CASE WHEN {} = 0 THEN {} END").format(code, made)
            self._expressions.append(made)
            columns.append(CopyColumn(label, kind, wanted, "null"))
        for place, label in zip(store.places, store.position, strict=True):
            if place != label:
                made, kind, wanted = self._number(store.cells[label])
                self._expressions.append(made)
                columns.append(CopyColumn(place, kind, wanted))
        if code is not None:
            self._expressions.append(code)
            columns.append(CopyColumn(VERDICT, types.INT4, pa.int64()))
        self.columns = tuple(columns)
        """Of the rows that ``rows`` gives."""

    # Statements -------------------------------------------------------------------------------------------------------

    def rows(
        self, condition: Composable, order: Composable | None, cut: tuple[int | None, int | None] = (None, None)
    ) -> Composed:
        """The rows that meet a condition, in an order (None: any), both over the labels.

        cut: low < first column of the order <= high.
        """
        columns = [SQL("{} AS {}").format(made, Identifier(f"c{k}")) for k, made in enumerate(self._expressions)]
        parts = [condition, *self.only(), *self._cut(*cut)]
        query = SQL("SELECT {} FROM {} WHERE {}").format(
            SQL(", ").join(columns), self.relation(), SQL(" AND ").join([SQL("({})").format(p) for p in parts])
        )
        return query if order is None else SQL("{} ORDER BY {}").format(query, order)

    def relation(self) -> Composable:
        """FROM: every label as a column of r."""
        store = self._store
        if store.relation is None:
            return SQL("({}) AS r").format(authors_sql(store.query))
        main = Identifier(store.relation.schema, store.relation.name)
        if not store.joins:
            return SQL("{} AS r").format(main)
        cells = [
            SQL("{}.{} AS {}").format(Identifier(cell.alias), Identifier(cell.column), Identifier(label))
            for label, cell in store.cells.items()
        ]
        joined: Composable = SQL("{} AS m").format(main)
        for join, found in store.joins:
            words = SQL("{} LEFT JOIN {}") if join.first_by else SQL("{} JOIN {}")
            joined = words.format(joined, self._joined(join, found))
        return SQL("(SELECT {} FROM {}) AS r").format(SQL(", ").join(cells), joined)

    def _joined(self, join: Join, found: Found) -> Composable:
        table, alias = Identifier(found.schema, found.name), Identifier(join.alias)
        inner = Identifier("j") if join.first_by else alias
        pairs = [SQL("{}.{} = m.{}").format(inner, Identifier(its), Identifier(ours)) for its, ours in join.on]
        on = SQL(" AND ").join(pairs)
        if not join.first_by:
            return SQL("{} AS {} ON {}").format(table, alias, on)
        return SQL("LATERAL (SELECT j.* FROM {} AS j WHERE {} ORDER BY j.{} LIMIT 1) AS {} ON true").format(
            table, on, Identifier(join.first_by), alias
        )

    def tail_relation(self) -> Relation:
        """What the tail rule looks at: the table alone, since joins settle nothing."""
        store = self._store
        where = f"[sources.{store.source}]" + (f" tenant {store.tenant}" if store.tenant else "")
        only = self.only()
        kinds = tuple(store.cells[label].type for label in store.position)
        if store.relation is None:
            rows = SQL("({})").format(authors_sql(store.query))
            return Relation(where, rows, store.position, alias=ALIAS, types=kinds)
        name = (store.relation.schema, store.relation.name)
        all_only = SQL(" AND ").join(only) if only else None
        return Relation(where, Identifier(*name), store.position, name, all_only, alias=ALIAS, types=kinds)

    # Parts ------------------------------------------------------------------------------------------------------------

    def value(self, label: str, number: int) -> Composable:
        """A number of a place in the type of its column."""
        kind = self._store.cells[label].type
        if kind == "xid8":
            return SQL("{}::xid8").format(Literal(str(number)))
        if kind in TIMES:
            moment = _EPOCH + timedelta(microseconds=number)
            return Literal(moment if kind == "timestamptz" else moment.replace(tzinfo=None))
        return Literal(number)

    def end(self, condition: Composable, *, last: bool, skipped: int = 0) -> Composed:
        """The lowest or the highest value of the order's first column among the rows that meet a condition.

        skipped: so many rows from that end are passed over first.
        """
        first = self._store.position[0]
        # Ordered rather than min(), which xid8 does not have everywhere.
        return SQL("SELECT {} FROM {} WHERE {} ORDER BY {} {} LIMIT 1 OFFSET {}").format(
            self.number(first),
            self.tail_relation().named_rows,
            self.meets(condition),
            Identifier(ALIAS, first),
            SQL("DESC" if last else "ASC"),
            Literal(skipped),
        )

    def number(self, label: str) -> Composable:
        """A column of the order as a bigint."""
        kind = self._store.cells[label].type
        made = self._number(self._store.cells[label])[0]
        return SQL("{}::text::bigint").format(made) if kind == "xid8" else SQL("{}::bigint").format(made)

    def meets(self, condition: Composable) -> Composable:
        """A condition, and all that the rows of the store meet."""
        return SQL(" AND ").join([SQL("({})").format(part) for part in (condition, *self.only())])

    def only(self) -> list[Composable]:
        """What all rows of the store meet."""
        return [self._condition(c) for c in self._store.only]

    def _cut(self, low: int | None, high: int | None) -> list[Composable]:
        first = self._store.position[0]
        made: list[Composable] = []
        if low is not None:
            made.append(SQL("{} > {}").format(Identifier(first), self.value(first, low)))
        if high is not None:
            made.append(SQL("{} <= {}").format(Identifier(first), self.value(first, high)))
        return made

    def _condition(self, condition: Condition) -> Composable:
        column = Identifier(condition.label)
        if not condition.values:
            return SQL("{} IS NULL").format(column)
        if condition.pattern:
            return _any([SQL("{}::text LIKE {}").format(column, Literal(like(str(v)))) for v in condition.values])
        return _any([SQL("{} = {}").format(column, Literal(v)) for v in condition.values])

    def _left_out(self) -> tuple[tuple[str, ...], Composable | None]:
        """(what is left out, by code - 1; the expression of the code), where the server can tell."""
        names: list[str] = []
        cases: list[Composable] = []
        for out in self._store.left_out:
            names.append(out.name)
            cases.append(self._condition(out.when))
        for what, patterns, label in self._patterns():
            names.append(what)
            likes = self._condition(Condition(label, patterns, pattern=True))
            cases.append(SQL("({}) IS NOT TRUE").format(likes))
        whens = [SQL("WHEN {} THEN {}").format(case, Literal(code)) for code, case in enumerate(cases, 1)]
        if self._store.elsewhere:
            whens.append(
                SQL("WHEN {} IS NOT NULL THEN {}").format(Identifier(self._store.elsewhere), Literal(ELSEWHERE))
            )
        # Infinity comes as null. Where a column has no nulls of its own that says enough.
        doubtful = [c for c in self._times() if not self._store.cells[c].required]
        whens += [SQL("WHEN NOT isfinite({}) THEN {}").format(Identifier(c), Literal(INFINITE)) for c in doubtful]
        if not whens:
            return (), None
        return tuple(names), SQL("(CASE {} ELSE 0 END)").format(SQL(" ").join(whens))

    def _times(self) -> list[str]:
        """The columns of Postgres' own times that recorded_at is read from."""
        time = self._store.recorded_at
        labels = [path[0] for part in time.field.parts for path in part.paths] if time is not None else []
        return [label for label in labels if self._store.cells[label].type in TIMES]

    def _patterns(self) -> list[tuple[str, tuple[str, ...], str]]:
        """``streams`` and ``types`` where they are plain columns; others are looked at when rows are arranged."""
        store, config = self._store, self._store.config
        pairs = (("other streams", config.streams, store.aggregate_id), ("other types", config.types, store.type))
        return [
            (what, patterns, plain)
            for what, patterns, mapping in pairs
            if patterns and (plain := plain_column(mapping)) and plain != store.memberships
        ]

    def _number(self, cell: Cell) -> tuple[Composable, PgType, pa.DataType]:
        column = Identifier(cell.label)
        if cell.type in TIMES:
            return SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(column), types.INT8, pa.int64()
        if cell.type == "numeric":
            return SQL("{}::bigint").format(column), types.INT8, pa.int64()
        return column, _NUMBERS[cell.type], pa.int64()

    def _cell(self, cell: Cell) -> tuple[Composable, PgType, pa.DataType]:
        column = Identifier(cell.label)
        if cell.type == "oid" and cell.label in self._store.large_objects:
            return SQL("pg_catalog.lo_get({})").format(column), types.BYTEA, pa.large_binary()
        if cell.type == "bytea":
            return column, types.BYTEA, pa.large_binary()
        if cell.type in _NUMBERS:
            return column, _NUMBERS[cell.type], pa.int64()
        if cell.type in _TEXTS:
            return column, _TEXTS[cell.type], pa.large_utf8()
        if cell.type == "timestamptz":
            return column, types.TIMESTAMPTZ, _UTC
        if cell.type == "timestamp":
            zone = self._zone(cell.label)
            if zone == "UTC":
                return column, types.TIMESTAMP, _UTC
            return SQL("({} AT TIME ZONE {})").format(column, Literal(zone)), types.TIMESTAMPTZ, _UTC
        if cell.type in ("_text", "_varchar"):
            return SQL("{}::text[]").format(column), types.TEXT.array(), pa.list_(pa.large_utf8())
        return SQL("{}::text").format(column), types.TEXT, pa.large_utf8()

    def _zone(self, label: str) -> str:
        """The zone of a time that is written without one: the mapping's, else UTC."""
        time = self._store.recorded_at
        if time is not None and any((label,) in part.paths for part in time.field.parts):
            return time.coerce.partition("@")[2] or "UTC"
        return "UTC"


def plain_column(mapping: FieldMapping) -> str:
    """The column that a mapping is, "" where it is more than one column as it stands."""
    paths = mapping.parts[0].paths
    return paths[0][0] if len(mapping.parts) == 1 and len(paths) == 1 and len(paths[0]) == 1 else ""


def like(pattern: str) -> str:
    """A pattern with ``*`` as LIKE has it."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _any(parts: Sequence[Composable]) -> Composable:
    return parts[0] if len(parts) == 1 else SQL("({})").format(SQL(" OR ").join(parts))
