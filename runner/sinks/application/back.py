"""The way back: SQL by which a value of the read model goes into the application's table, through the same mapping.

Values are staged as text and cast to the column's own type. A jsonb document keeps all that the mapping does not name,
and a number that stood there as a string stays a string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import ConfigError
from runner.postgres import SQL, Identifier
from runner.postgres import Literal as Value
from runner.sinks.application.expressions import EPOCHS, values_there
from runner.sinks.differences.model import Domain
from runner.values import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.postgres import Composable
    from runner.sinks.application.expressions import Selected

__all__ = ["into_column", "into_document", "key_condition"]

_SECONDS = {"epoch": "1", "epoch_ms": "1000", "epoch_us": "1000000"}


def into_column(column: Selected, staged: Composable, where: str) -> Composable:
    """The expression that is assigned to a plain column. Raises ConfigError where the mapping has no way back."""
    target = column.wanted.column
    assert target is not None
    if target.generated:
        raise ConfigError(
            f"{where}: {column.wanted.name} is in {target.name}, which the server generates",
            hint=f'map it to another column, or ignore = ["{column.wanted.name}"]',
        )
    return SQL("({})::{}").format(_value(column, staged, target.base, where), _type(target.type))


def _value(column: Selected, staged: Composable, base: str, where: str) -> Composable:
    """A value that the server can cast to the column's type."""
    wanted, domain = column.wanted, column.compared.domain
    mapped = values_there(wanted, where)
    if mapped:
        return _mapped(staged, mapped)
    zone = Value(wanted.mapping.zone)
    if wanted.type is not None and wanted.type.kind is Kind.TIMEDELTA and base == "interval":
        return SQL("({}::bigint * interval '1 microsecond')").format(staged)
    if wanted.mapping.cast in EPOCHS:
        factor = SQL(_SECONDS[wanted.mapping.cast])
        return SQL("(extract(epoch FROM {}::timestamptz) * {})").format(staged, factor)
    if domain is Domain.TIME and base in ("timestamp without time zone", "date"):
        return SQL("({}::timestamptz AT TIME ZONE {})").format(staged, zone)
    if domain is Domain.DATE and base == "timestamp with time zone":
        return SQL("({}::date::timestamp AT TIME ZONE {})").format(staged, zone)
    if domain is Domain.BOOLEAN and base in ("smallint", "integer", "bigint"):
        return SQL("({}::boolean::int)").format(staged)
    if domain is Domain.LIST and base.endswith("[]"):
        elements = SQL("ARRAY(SELECT pg_catalog.jsonb_array_elements_text({}::jsonb))").format(staged)
        return SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(staged, elements)
    return staged


def _mapped(staged: Composable, values: Mapping[str, str]) -> Composable:
    whens = [SQL("WHEN {} THEN {}").format(Value(here), Value(there)) for here, there in values.items()]
    return SQL("(CASE {} {} END)").format(staged, SQL(" ").join(whens))


def into_document(
    document: Composable,
    base: str,
    parts: Sequence[tuple[Selected, Composable, Composable | None]],
    strings: frozenset[str],
    where: str,
) -> Composable:
    """A json or jsonb document with the values of some columns set.

    parts: (column, staged value, condition under which it is set; None: always). strings: names of columns whose
    numbers and truth values stand there as strings.
    """
    made: Composable = SQL("coalesce({}::jsonb, '{{}}'::jsonb)").format(document)
    for column, staged, condition in parts:
        path = column.wanted.mapping.path
        for length in range(1, len(path)):
            # Each step names the document so far once, in a subquery: nested, the text would double with every step.
            made = SQL(
                "(SELECT jsonb_set(x.d, {0}::text[], CASE WHEN jsonb_typeof(x.d #> {0}::text[]) IN ('object', 'array') "
                "THEN x.d #> {0}::text[] ELSE '{{}}'::jsonb END, true) FROM (SELECT {1} AS d) AS x)"
            ).format(Value(list(path[:length])), made)
        value = _json(column, staged, strings, where)
        changed = SQL("jsonb_set(x.d, {}::text[], {}, true)").format(Value(list(path)), value)
        if condition is not None:
            changed = SQL("CASE WHEN {} THEN {} ELSE x.d END").format(condition, changed)
        made = SQL("(SELECT {} FROM (SELECT {} AS d) AS x)").format(changed, made)
    return made if base == "jsonb" else SQL("({})::{}").format(made, SQL("json" if base == "json" else "text"))


def _json(column: Selected, staged: Composable, strings: frozenset[str], where: str) -> Composable:
    wanted, domain = column.wanted, column.compared.domain
    mapped = values_there(wanted, where)
    made: Composable
    if mapped:
        text = _mapped(staged, mapped)
        number = all(v.lstrip("-").isdigit() for v in mapped.values()) and wanted.name not in strings
        made = SQL("to_jsonb({}::{})").format(text, SQL("numeric" if number else "text"))
    elif wanted.mapping.cast in EPOCHS:
        factor = SQL(_SECONDS[wanted.mapping.cast])
        made = SQL("to_jsonb(trim_scale(extract(epoch FROM {}::timestamptz) * {}))").format(staged, factor)
    elif domain is Domain.LIST:
        made = SQL("{}::jsonb").format(staged)
    elif wanted.name in strings or domain in (Domain.TEXT, Domain.UUID, Domain.DATE):
        made = SQL("to_jsonb({}::text)").format(staged)
    elif domain is Domain.TIME:
        made = SQL("to_jsonb(replace(replace({}, ' ', 'T'), '+00', 'Z'))").format(staged)
    else:
        kind = {Domain.BOOLEAN: "boolean", Domain.DOUBLE: "float8"}.get(domain, "numeric")
        made = SQL("to_jsonb({}::{})").format(staged, SQL(kind))
    return SQL("coalesce({}, 'null'::jsonb)").format(made)


def key_condition(column: Selected, staged: Composable, where: str) -> Composable | None:
    """By which a staged key finds its row t; None of a constant. Raises ConfigError."""
    wanted = column.wanted
    if wanted.column is None:
        return None
    if wanted.mapping.path or (wanted.mapping.cast and wanted.mapping.cast not in EPOCHS):
        return SQL("({})::text IS NOT DISTINCT FROM {}").format(column.sql, staged)
    value = into_column(column, staged, where)
    sign = SQL("=" if wanted.column.not_null else "IS NOT DISTINCT FROM")
    return SQL("t.{} {} {}").format(Identifier(wanted.column.name), sign, value)


def _type(name: str) -> Composable:
    """A type as ``format_type`` writes it: quoted by the server where it has to be."""
    return SQL(name)


def is_document(column: Selected) -> bool:
    """Whether it is a part of a json document."""
    return bool(column.wanted.mapping.path)
