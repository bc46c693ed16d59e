"""An event store found in a database: which relation, which columns of which types, and how its rows become events.

Everything is looked up in the catalog; no row is read. What a preset leaves open (schema, table, optional columns) and
what the configuration sets in its place is settled here, so that the parts behind see one ``Store``.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runner.config.mapping import FieldMapping, Part, TimeMapping, path_text
from runner.config.table import nearest
from runner.errors import ConfigError, SourceError
from runner.postgres import SQL, named_sql
from runner.sources.postgres.preset import Preset, TableShape
from runner.sources.postgres.presets import CUSTOM, PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.config.stores import StoreConfig
    from runner.postgres import AnyConnection
    from runner.sources.postgres.preset import Condition, Join, LeftOut
    from runner.values import Path

__all__ = [
    "STATEMENTS",
    "TIMES",
    "Cell",
    "Found",
    "Store",
    "authors_sql",
    "described",
    "fits",
    "indexed",
    "relations",
    "resolve",
]

TIMES = ("timestamptz", "timestamp")
"""Types of Postgres' own times."""
STATEMENTS = named_sql("runner.sources.postgres", "store.sql")


@dataclass(frozen=True)
class Cell:
    """A column by its label. type: the name of its type, of a domain's the one below. required: it is NOT NULL."""

    label: str
    alias: str
    column: str
    type: str
    required: bool = False


@dataclass(frozen=True)
class Found:
    """A relation with its columns: name -> (type, whether it is NOT NULL)."""

    schema: str
    name: str
    oid: int
    kind: str
    columns: Mapping[str, tuple[str, bool]]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Store:
    """One event store as it is read. relation: None where it is a query.

    tenant: of a store that is one tenant's, "" else. fields: the mappings, their first keys are labels of ``cells``.
    """

    source: str
    preset: str
    relation: Found | None
    query: str
    cells: Mapping[str, Cell]
    position: tuple[str, ...]
    aggregate_id: FieldMapping
    type: FieldMapping
    payload: Path
    version: FieldMapping | None = None
    recorded_at: TimeMapping | None = None
    tenant_field: FieldMapping | None = None
    tenant: str = ""
    joins: tuple[tuple[Join, Found], ...] = ()
    only: tuple[Condition, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    tail: str = "gaps"
    first_version: int | None = None
    memberships: str = ""
    without_aggregate: str = ""
    elsewhere: str = ""
    default_tenants: frozenset[str] = frozenset()
    large_objects: frozenset[str] = frozenset()
    config: StoreConfig = field(repr=False, default=None)  # type: ignore[assignment]  # always given

    @property
    def places(self) -> tuple[str, ...]:
        """The labels under which the columns of the order come as numbers: their own, but for times, which may be
        wanted as times too.
        """
        return tuple(f"{p} as a number" if self.cells[p].type in TIMES else p for p in self.position)

    @property
    def name(self) -> str:
        """For messages: the relation, or that it is a query."""
        return "the query" if self.relation is None else str(self.relation)


def relations(connection: AnyConnection, columns: Iterable[str], table: str | None = None) -> list[Found]:
    """All relations with these columns that the role can see, by schema and name."""
    rows = connection.execute(STATEMENTS["relations"], {"table": table, "columns": sorted(set(columns))}).fetchall()
    return [
        Found(schema, name, oid, kind, dict(zip(names, zip(types, required, strict=True), strict=True)))
        for schema, name, oid, kind, names, types, required in rows
    ]


def fits(shape: TableShape, found: Found) -> bool:
    """Whether a relation is what a preset describes."""
    return (
        fnmatch.fnmatchcase(found.name, shape.name)
        and set(shape.columns) <= set(found.columns)
        and not set(shape.without) & set(found.columns)
    )


def resolve(connection: AnyConnection, source: str, config: StoreConfig) -> tuple[list[Store], dict[str, SourceError]]:
    """The stores of a source, one unless each schema is a tenant, and why schemas are not read that are tenants too.

    Raises ConfigError, SourceError, PostgresError.
    """
    if config.query:
        return [_of_query(connection, source, config)], {}
    preset = PRESETS.get(config.preset)
    main = TableShape(config.table, ()) if preset is None else preset.main
    if preset is not None and config.table:
        main = replace(main, name=config.table)
    name = None if "*" in main.name else main.name
    seen = [f for f in relations(connection, main.columns, name) if fits(main, f)]
    # The same columns under another name: another store that has them all.
    chosen = [f for f in seen if not config.schemas or any(fnmatch.fnmatchcase(f.schema, s) for s in config.schemas)]
    if not chosen:
        raise _none(connection, source, config, main, seen)
    if config.tenants_by_schema:
        return _tenants(connection, source, config, preset, main, chosen)
    if len(chosen) > 1:
        places = sorted({f.schema for f in chosen})
        key = "schema" if len(places) > 1 else "table"
        raise ConfigError(
            f"[sources.{source}]: {len(chosen)} tables fit: {', '.join(map(str, chosen[:8]))}",
            hint=f'write {key} = "..."' + ('; schemas = "..." reads several, each a tenant' if key == "schema" else ""),
        )
    return [_store(connection, source, config, preset, chosen[0], "")], {}


def _tenants(
    connection: AnyConnection,
    source: str,
    config: StoreConfig,
    preset: Preset | None,
    main: TableShape,
    chosen: Sequence[Found],
) -> tuple[list[Store], dict[str, SourceError]]:
    stores, failed = [], {}
    for found in _one_each(source, chosen):
        try:
            stores.append(_store(connection, source, config, preset, found, found.schema))
        except SourceError as error:
            failed[found.schema] = error
    read = {found.schema for found in chosen}
    for other in relations(connection, (), main.name) if "*" not in main.name else ():
        if other.schema not in read and any(fnmatch.fnmatchcase(other.schema, s) for s in config.schemas):
            failed[other.schema] = _lacking(source, config, main, other)
    return stores, failed


def _lacking(source: str, config: StoreConfig, main: TableShape, found: Found) -> SourceError:
    lacking = sorted(set(main.columns) - set(found.columns))
    return SourceError(
        f"[sources.{source}]: {found} lacks the columns {', '.join(lacking)} of a store of {config.preset}",
        hint='preset = "custom" takes any columns',
    )


def _none(
    connection: AnyConnection, source: str, config: StoreConfig, main: TableShape, seen: list[Found]
) -> SourceError:
    where = f"[sources.{source}]"
    if seen:
        there = nearest(config.schemas[0], {f.schema for f in seen})
        return SourceError(f"{where}: no schema {' or '.join(config.schemas)} holds {main.name}", hint=there)
    if "*" not in main.name:
        others = relations(connection, (), main.name)
        if others:
            return _lacking(source, config, main, others[0])
    what = f"table {main.name}" if "*" not in main.name else f"table with the columns {', '.join(main.columns)}"
    return SourceError(
        f"{where}: the database holds no {what}, or the role may not see it",
        hint="are url, schema and table right? `runner doctor` shows what the role may read",
    )


def _one_each(source: str, chosen: Sequence[Found]) -> list[Found]:
    by_schema: dict[str, Found] = {}
    for found in chosen:
        other = by_schema.setdefault(found.schema, found)
        if other is not found:
            raise ConfigError(
                f"[sources.{source}]: schema {found.schema} holds {other.name} and {found.name}",
                hint='write table = "..."',
            )
    return list(by_schema.values())


def authors_sql(query: str) -> SQL:
    """A query of the configuration, which is SQL by its nature; it stands in parentheses wherever it is used.

    It is first sent as a prepared statement, of which a server takes one only, and read in read-only transactions.
    """
    # A comment at its end goes no further than the line.
    text: Any = f"{query}\n"
    return SQL(text)


def indexed(connection: AnyConnection, store: Store) -> bool:
    """Whether an index serves the order of a store, so that ranges of it can be read without reading all."""
    if store.relation is None:
        return False
    columns = [store.cells[label].column for label in store.position]
    row = connection.execute(STATEMENTS["indexed"], {"oid": store.relation.oid, "columns": columns}).fetchone()
    return row is not None and bool(row[0])


def described(store: Store) -> dict[str, str]:
    """What decides how a row becomes an event, as texts."""
    time, config = store.recorded_at, store.config
    return {
        "preset": store.preset,
        "position": ", ".join(store.position),
        "aggregate_id": str(store.aggregate_id),
        "type": str(store.type),
        "version": "" if store.version is None else str(store.version),
        "recorded_at": "" if time is None else f"{time.field} as {time.coerce or 'its type says'}",
        "tenant": "" if store.tenant_field is None else str(store.tenant_field),
        "payload": f"{path_text(store.payload)} as {config.encoding}",
        "decode": config.decode,
        "query": store.query,
        "aggregates": ", ".join(config.aggregates),
        "streams": ", ".join(config.streams),
        "types": ", ".join(config.types),
        "left out": ", ".join(out.name for out in store.left_out),
    }


# One store ------------------------------------------------------------------------------------------------------------


def _store(
    connection: AnyConnection, source: str, config: StoreConfig, preset: Preset | None, main: Found, tenant: str
) -> Store:
    joins, columns = [], {name: ("m", name, main.columns[name]) for name in main.columns}
    for join in preset.joins if preset is not None else ():
        shape = next(s for s in preset.others if s.name == join.table)  # type: ignore[union-attr]  # it has joins
        beside = [f for f in relations(connection, shape.columns, join.table) if f.schema == main.schema]
        if not beside:
            raise SourceError(f"[sources.{source}]: {main.schema}.{join.table} is not there, beside {main}")
        joins.append((join, beside[0]))
        for label, (alias, column) in preset.labels.items():  # type: ignore[union-attr]  # it has joins
            if alias == join.alias:
                columns[label] = (alias, column, beside[0].columns[column])
    cells = {label: Cell(label, alias, name, *kind) for label, (alias, name, kind) in columns.items()}
    made = _mapped(source, config, preset, cells, str(main))
    return replace(made, relation=main, joins=tuple(joins), tenant=tenant)


def _of_query(connection: AnyConnection, source: str, config: StoreConfig) -> Store:
    # Prepared, so that a text of several statements is refused by the server itself.
    asked = SQL("SELECT * FROM ({}) AS m LIMIT 0").format(authors_sql(config.query))
    described = connection.execute(asked, prepare=True).description or []
    oids = {c.type_code for c in described}
    types: dict[int, str] = dict(connection.execute(STATEMENTS["types"], {"oids": list(oids)}).fetchall())
    cells = {c.name: Cell(c.name, "m", c.name, types[c.type_code]) for c in described}
    return _mapped(source, config, None, cells, "the query")


def _mapped(source: str, config: StoreConfig, preset: Preset | None, cells: Mapping[str, Cell], where: str) -> Store:
    """The store's mappings: the configuration's, else the preset's, each looked up among the columns."""
    known = _Fields(source, cells, preset.optional if preset is not None else frozenset(), where)
    of = preset
    tenant = config.tenant or (FieldMapping((Part(((of.tenant,),), None, True),)) if of and of.tenant else None)
    version = config.version or (FieldMapping((Part(((of.version,),), None, True),)) if of and of.version else None)
    aggregate_id, type_ = config.aggregate_id or of.aggregate_id, config.type or of.type  # type: ignore[union-attr]  # custom sets both
    payload = config.payload or (of.payload,)  # type: ignore[union-attr]  # custom sets it
    position = config.position or of.position  # type: ignore[union-attr]  # custom sets it
    time = config.recorded_at or (of.recorded_at if of else None)
    store = Store(
        source=source,
        preset=CUSTOM if of is None else of.name,
        relation=None,
        query=config.query,
        cells={},
        position=position,
        aggregate_id=known.checked("aggregate_id", aggregate_id) or aggregate_id,
        type=known.checked("type", type_) or type_,
        payload=payload,
        version=known.checked("version", version),
        recorded_at=None if time is None or known.checked("recorded_at", time.field) is None else time,
        tenant_field=known.checked("tenant", tenant),
        only=of.only if of else (),
        left_out=tuple(
            out
            for out in (of.left_out if of else ())
            if known.has(out.when.label) and not (out.setting and getattr(config, out.setting))
        ),
        tail=config.tail.rule or (of.tail if of else ""),
        first_version=of.first_version if of else None,
        memberships=of.memberships if of and config.aggregate_id is None else "",
        without_aggregate=of.without_aggregate if of else "",
        elsewhere=of.elsewhere if of and not config.payload and of.elsewhere and known.has(of.elsewhere) else "",
        default_tenants=of.default_tenants if of else frozenset(),
        large_objects=of.large_objects if of else frozenset(),
        config=config,
    )
    for label in (*position, payload[0], *(c.label for c in store.only)):
        known.need("position" if label in position else "payload", label)
    if store.memberships and not config.aggregates:
        raise ConfigError(
            f"[sources.{source}]: aggregates is missing: events of {where} have tags, and an event is read once for "
            "each that is an aggregate",
            hint='write aggregates = ["student-", "course-"], the beginnings of such tags',
        )
    return replace(store, cells={label: cells[label] for label in sorted(known.used)})


class _Fields:
    """The columns that mappings name, each looked up once."""

    def __init__(self, source: str, cells: Mapping[str, Cell], optional: frozenset[str], where: str) -> None:
        self._source, self._cells, self._optional, self._where = source, cells, optional, where
        self.used: set[str] = set()

    def has(self, label: str) -> bool:
        if label in self._cells:
            self.used.add(label)
        elif label not in self._optional:
            self.need("a filter", label)
        return label in self._cells

    def need(self, key: str, label: str) -> None:
        if label not in self._cells:
            raise ConfigError(
                f"[sources.{self._source}]: {key} names {label}, and {self._where} has no such column",
                hint=nearest(label, self._cells),
            )
        self.used.add(label)

    def checked(self, key: str, mapping: FieldMapping | None) -> FieldMapping | None:
        """The mapping, None where it needs a column that this version of the store lacks. Raises ConfigError."""
        if mapping is None:
            return None
        for part in mapping.parts:
            for path in part.paths:
                if path[0] in self._optional and path[0] not in self._cells:
                    return None
                self.need(f"{key} ({path_text(path)})", path[0])
        return mapping
