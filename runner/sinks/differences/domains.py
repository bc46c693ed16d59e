"""How values are made comparable in DuckDB, and when two are equal. All of it is SQL text over the columns a and b.

Numbers that are no int64 on both sides are compared as DECIMAL(38, 18): whole numbers of 20 digits with 18 places. What
does not fit, or is no number at all, is NULL there, and told apart from a missing value by its text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from runner.sinks.differences.model import Domain

if TYPE_CHECKING:
    from runner.sinks.differences.model import Compared

__all__ = ["DECIMAL", "differs", "domain_of", "element_of", "here_as", "literal", "sql_type", "text_of", "value_of"]

DECIMAL = "DECIMAL(38, 18)"
NEAR = "1e-9"

_TYPES = {
    Domain.INTEGER: "BIGINT",
    Domain.NUMBER: DECIMAL,
    Domain.DOUBLE: "DOUBLE",
    Domain.BOOLEAN: "BOOLEAN",
    Domain.TEXT: "VARCHAR",
    Domain.TIME: "TIMESTAMPTZ",
    Domain.DATE: "DATE",
    Domain.UUID: "VARCHAR",
}


def domain_of(kind: pa.DataType) -> Domain:
    """The domain of a read model's column."""
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        return Domain.INTEGER
    if pa.types.is_decimal(kind):
        return Domain.NUMBER
    if pa.types.is_floating(kind):
        return Domain.DOUBLE
    if pa.types.is_boolean(kind):
        return Domain.BOOLEAN
    if pa.types.is_timestamp(kind):
        return Domain.TIME
    if pa.types.is_date(kind):
        return Domain.DATE
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return Domain.LIST
    return Domain.UUID if isinstance(kind, pa.UuidType) else Domain.TEXT


def element_of(kind: pa.DataType) -> str:
    """The type in DuckDB of a list's elements."""
    domain = domain_of(kind.value_type)
    return f"{_TYPES[domain]}"


def sql_type(domain: Domain, element: str = "") -> str:
    """The type in DuckDB."""
    return f"{element}[]" if domain is Domain.LIST else _TYPES[domain]


def here_as(column: str, kind: pa.DataType, domain: Domain) -> str:
    """A column of the read model's files as a value of the domain; ``column`` is quoted."""
    if domain is Domain.UUID:
        return f"lower({column}::VARCHAR)"
    if domain is Domain.LIST:
        return f"{column}::{element_of(kind)}[]"
    return f"{column}::{_TYPES[domain]}"


def value_of(text: str, domain: Domain, element: str = "") -> str:
    """A text as a value of the domain, NULL where it is none; ``text`` is SQL."""
    if domain is Domain.TEXT:
        return text
    if domain is Domain.UUID:
        return f"lower({text})"
    if domain is Domain.LIST:
        return f"TRY(TRY_CAST({text} AS JSON)::{element}[])"
    return f"TRY_CAST({text} AS {_TYPES[domain]})"


def text_of(value: str, domain: Domain) -> str:
    """A value as people read it: numbers without zeros at their end, times in UTC."""
    if domain is Domain.LIST:
        return f"to_json({value})::VARCHAR"
    if domain is Domain.NUMBER:
        return f"regexp_replace(regexp_replace({value}::VARCHAR, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')"
    if domain is Domain.TIME:
        return f"replace({value}::VARCHAR, '+00', 'Z')"
    return f"{value}::VARCHAR"


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def differs(column: Compared) -> str:
    """The condition under which a and b, with the text t of b, are different."""
    there = "t" if column.there_text else "b"
    return f"CASE WHEN a IS NULL THEN {there} IS NOT NULL WHEN b IS NULL THEN true ELSE NOT ({_equal(column)}) END"


def _equal(column: Compared) -> str:
    domain = column.domain
    conditions = ["a = b"]
    if domain is Domain.TEXT and column.trim:
        conditions = ["rtrim(a) = rtrim(b)"]
    if domain is Domain.DOUBLE and column.exact:
        conditions = ["(a = b AND (isnan(a) OR signbit(a) = signbit(b)))"]
    if domain is Domain.TIME and column.precision:
        conditions = [f"abs(epoch_us(a) - epoch_us(b)) < {column.precision}"]
    if domain in (Domain.INTEGER, Domain.NUMBER, Domain.DOUBLE):
        apart = distance(domain)
        if column.scale is not None:
            half = f"5e-{column.scale + 1}" if domain is Domain.DOUBLE else f"0.{'0' * column.scale}5::{DECIMAL}"
            conditions.append(f"abs({apart}) <= {half}")
        if column.tolerance:
            kind = "DOUBLE" if domain is Domain.DOUBLE else DECIMAL
            conditions.append(f"abs({apart}) <= CAST({literal(column.tolerance)} AS {kind})")
        if column.near:
            conditions.append(f"abs({apart}) <= {NEAR} * greatest(abs(a), abs(b), 1)")
    return f"coalesce({' OR '.join(conditions)}, false)"


def distance(domain: Domain) -> str:
    """b - a; NULL where it does not fit."""
    if domain is Domain.INTEGER:
        return "(b::HUGEINT - a::HUGEINT)"
    if domain is Domain.TIME:
        return "(epoch_us(b) - epoch_us(a))"
    return "TRY(b - a)"
