"""The SQL by which a value comes out of the application's table, and how it is compared with the read model's.

What the server casts without fail it casts; what might fail for some row (a text that should be a number, a value of a
jsonb document) comes as text and becomes a value in the comparison, where it can be told instead of ending everything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runner.config.comparison import PRECISIONS
from runner.errors import ConfigError
from runner.postgres import SQL, Identifier
from runner.postgres import Literal as Value
from runner.postgres import types as pg
from runner.postgres.copy_columns import CopyColumn
from runner.sinks.differences.domains import (
    DECIMAL,
    domain_of,
    element_of,
    here_as,
    literal,
    sql_type,
    value_of,
)
from runner.sinks.differences.model import Compared, Domain
from runner.values import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.postgres import Composable
    from runner.postgres.types import PgType
    from runner.sinks.application.table import Wanted

__all__ = ["EPOCHS", "Selected", "quoted_in_duckdb", "same_on_both", "selected", "values_there"]

INTS = ("smallint", "integer", "bigint")
FLOATS = ("real", "double precision")
JSONS = ("json", "jsonb")
EPOCHS = {"epoch": "1 second", "epoch_ms": "1 millisecond", "epoch_us": "1 microsecond"}
_INT_TYPES = {"smallint": pg.INT2, "integer": pg.INT4, "bigint": pg.INT8}


@dataclass(frozen=True)
class Selected:
    """One column of the query: what is sent, as what it is read, and how it is compared."""

    wanted: Wanted
    sql: Composable
    copied: CopyColumn
    compared: Compared


def selected(wanted: Wanted, kind: pa.DataType, at: int, where: str, *, near: bool = False) -> Selected:
    """The ``at``-th column of the query, called by that number. kind: the read model's. Raises ConfigError."""
    values = values_there(wanted, where)
    raw, base = _raw(wanted, domain_of(kind))
    domain = domain_of(kind)
    name = str(at)
    column = quoted_in_duckdb(name)
    made, type_, arrow, domain = _sent(raw, base, wanted, domain, mapped=bool(values), where=where)
    copied = CopyColumn(name, type_, arrow, "null" if wanted.mapping.infinite == "null" else "error")
    text, value = _arrived(column, copied.wanted, domain, kind)
    if values:
        whens = " ".join(f"WHEN {literal(there)} THEN {literal(here)}" for here, there in values.items())
        value = value_of(f"CASE {column} {whens} END", domain)
    compared = Compared(
        name=wanted.name,
        domain=domain,
        here=_here(quoted_in_duckdb(wanted.name), kind, domain),
        there=value,
        there_text=text,
        element=element_of(kind) if domain is Domain.LIST else "",
        default=_default(wanted.default, domain),
        near=near,
        mapped=bool(values),
    )
    return Selected(wanted, made, copied, _tolerant(compared, wanted, domain))


def same_on_both(name: str, kind: pa.DataType, default: object, *, near: bool = False) -> Compared:
    """A column of two relations that both are the read model's own rows."""
    domain = domain_of(kind)
    here = _here(quoted_in_duckdb(name), kind, domain)
    return Compared(
        name,
        domain,
        here,
        here,
        "",
        element=element_of(kind) if domain is Domain.LIST else "",
        default=_default(default, domain),
        near=near,
        exact=not near,
    )


def quoted_in_duckdb(name: str) -> str:
    """A column's name in DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def values_there(wanted: Wanted, where: str) -> Mapping[str, str]:
    """The read model's values, as text, to the table's; empty where they are the same. Raises ConfigError."""
    mapping = wanted.mapping
    if mapping.values:
        twice = [v for v in mapping.values.values() if list(mapping.values.values()).count(v) > 1]
        if twice:
            raise ConfigError(
                f"{where}: columns.{wanted.name}.values has {twice[0]!r} for several", hint="the way back has to be one"
            )
        return mapping.values
    if not mapping.enum:
        return {}
    if wanted.type is None or wanted.type.kind is not Kind.ENUM:
        raise ConfigError(
            f"{where}: columns.{wanted.name}.enum is for Enum and Literal fields",
            hint="values = { ours = theirs } maps any other",
        )
    members = wanted.type.members
    if mapping.enum == "number":
        return {} if isinstance(members[0], int) else {str(m): str(i) for i, m in enumerate(members)}
    if isinstance(members[0], str):
        return {}
    found = wanted.enums.get(wanted.type.enum)
    if found is None:
        raise ConfigError(
            f"{where}: columns.{wanted.name}: the numbers of a Literal have no text", hint="write values = { 1 = 'a' }"
        )
    return {str(member.value): member.name for member in found}


def _here(column: str, kind: pa.DataType, domain: Domain) -> str:
    if pa.types.is_duration(kind):
        return f"epoch_us({column})"
    if domain is Domain.LIST and pa.types.is_duration(kind.value_type):
        return f"list_transform({column}, lambda span: epoch_us(span))"
    return here_as(column, kind, domain)


def _raw(wanted: Wanted, domain: Domain) -> tuple[Composable, str]:
    """(the value in the table, the name of its type without modifier)."""
    mapping = wanted.mapping
    if wanted.column is None:
        return SQL("{}::text").format(Value(mapping.constant)), "text"
    raw: Composable = SQL("t.{}").format(Identifier(wanted.column.name))
    base = wanted.column.base if wanted.column.category != "E" else "text"
    if wanted.column.category == "E":
        raw = SQL("{}::text").format(raw)
    if mapping.path:
        document = raw if base in JSONS else SQL("{}::text::jsonb").format(raw)
        as_json = domain is Domain.LIST
        way = SQL("#>") if as_json else SQL("#>>")
        raw = SQL("({} {} {}::text[])").format(document, way, Value(list(mapping.path)))
        base = ("json" if base == "json" else "jsonb") if as_json else "text"
    if mapping.cast and mapping.cast not in EPOCHS:
        # The setting's form is checked when it is read: letters, digits, a modifier, no quotes.
        raw = SQL("CAST({} AS {})").format(raw, SQL(mapping.cast))
        base = _base(mapping.cast)
    return raw, base


_ALIASES = {
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "decimal": "numeric",
    "bool": "boolean",
    "varchar": "character varying",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
}


def _base(cast: str) -> str:
    name = re.sub(r"\(.*?\)", "", cast).strip().lower()
    inner = name.removesuffix("[]").strip()
    return _ALIASES.get(inner, inner) + ("[]" if name.endswith("[]") else "")


def _sent(
    raw: Composable, base: str, wanted: Wanted, domain: Domain, *, mapped: bool, where: str
) -> tuple[Composable, PgType, pa.DataType | None, Domain]:
    """(the expression that is sent, its type, the Arrow type that it is read as, the domain of the comparison)."""
    text = (SQL("({})::text").format(raw), pg.TEXT, None)
    cast = wanted.mapping.cast
    if mapped:
        return *text, domain
    if base == "bytea":
        raise ConfigError(
            f"{where}: {wanted.name} is in a column of type bytea", hint='write a cast, or ignore = ["..."]'
        )
    if wanted.type is not None and wanted.type.kind is Kind.TIMEDELTA and base == "interval":
        return SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(raw), pg.INT8, None, domain
    if domain is Domain.INTEGER and base in INTS:
        return raw, _INT_TYPES[base], pa.int64(), domain
    if domain in (Domain.INTEGER, Domain.NUMBER):
        if base == "numeric":
            return raw, pg.NUMERIC, pa.large_string(), Domain.NUMBER
        if base == "boolean":
            return SQL("({})::int").format(raw), pg.INT4, pa.int64(), domain
        return (raw, _INT_TYPES[base], pa.int64(), domain) if base in INTS else (*text, Domain.NUMBER)
    if domain is Domain.DOUBLE and base in (*FLOATS, *INTS, "numeric"):
        return SQL("({})::float8").format(raw), pg.FLOAT8, None, domain
    if domain is Domain.BOOLEAN and base == "boolean":
        return raw, pg.BOOL, None, domain
    if domain is Domain.TIME:
        return _time(raw, base, wanted, cast) or (*text, domain)
    if domain is Domain.DATE:
        return _date(raw, base, wanted) or (*text, domain)
    if domain is Domain.LIST and base.endswith("[]"):
        return SQL("to_json({})::text").format(raw), pg.TEXT, None, domain
    return *text, domain


def _time(
    raw: Composable, base: str, wanted: Wanted, cast: str
) -> tuple[Composable, PgType, pa.DataType | None, Domain] | None:
    zone = Value(wanted.mapping.zone)
    if cast in EPOCHS:
        made = SQL("(timestamptz 'epoch' + ({})::float8 * interval {})").format(raw, Value(EPOCHS[cast]))
        return made, pg.TIMESTAMPTZ, None, Domain.TIME
    if base == "timestamp with time zone":
        return raw, pg.TIMESTAMPTZ, None, Domain.TIME
    if base == "timestamp without time zone":
        return SQL("({} AT TIME ZONE {})").format(raw, zone), pg.TIMESTAMPTZ, None, Domain.TIME
    if base == "date":
        return SQL("(({})::timestamp AT TIME ZONE {})").format(raw, zone), pg.TIMESTAMPTZ, None, Domain.TIME
    return None


def _date(raw: Composable, base: str, wanted: Wanted) -> tuple[Composable, PgType, pa.DataType | None, Domain] | None:
    if base == "timestamp with time zone":
        zone = Value(wanted.mapping.zone)
        return SQL("({} AT TIME ZONE {})::date").format(raw, zone), pg.DATE, None, Domain.DATE
    if base in ("date", "timestamp without time zone"):
        return SQL("({})::date").format(raw), pg.DATE, None, Domain.DATE
    return None


def _arrived(column: str, arrow: pa.DataType, domain: Domain, kind: pa.DataType) -> tuple[str, str]:
    """(text, value) of what was copied, in DuckDB; text is "" where the value says all."""
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return column, value_of(column, domain, element_of(kind) if domain is Domain.LIST else "")
    return "", f"{column}::{DECIMAL if domain is Domain.NUMBER else sql_type(domain)}"


def _default(value: object, domain: Domain) -> str | None:
    """A field's default as text; JSON of a list."""
    if value is None:
        return None
    if domain is Domain.LIST:
        return json.dumps(_plain(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, datetime | date):
        return value.isoformat()
    counters = getattr(value, "counts", None)
    if counters is not None and not callable(counters):
        value = counters
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        return [_plain(v) for v in value]
    return value if isinstance(value, int | float | str) else str(value)


def _tolerant(compared: Compared, wanted: Wanted, domain: Domain) -> Compared:
    """With the tolerances that its kind knows; those of keys are none."""
    mapping = wanted.mapping
    if wanted.is_key:
        return replace(compared, default=None)
    numbers = domain in (Domain.INTEGER, Domain.NUMBER, Domain.DOUBLE)
    return replace(
        compared,
        scale=mapping.numeric_scale if numbers else None,
        tolerance=mapping.tolerance if numbers else "",
        precision=PRECISIONS[mapping.time_precision] if domain is Domain.TIME and mapping.time_precision else 0,
        trim=mapping.trim and domain is Domain.TEXT,
    )
