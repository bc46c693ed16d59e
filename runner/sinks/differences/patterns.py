"""The ways in which values differ. Each is a condition over a (here), b (there) and t (the text of b).

Those whose size is found in the rows (a constant, a shift, one value for another) come as families: the sizes that
occur most often become patterns of their own. Which pattern a cell gets is decided by how many cells each explains
(``find``): a fee that was forgotten everywhere is one constant, not a hundred roundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.sinks.differences.domains import DECIMAL, distance, literal, sql_type
from runner.sinks.differences.model import Domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.sinks.differences.model import Compared

__all__ = ["OTHER", "Family", "Pattern", "families_of", "patterns_of"]

OTHER = "another value"


@dataclass(frozen=True)
class Pattern:
    """detail: SQL of what a group says in addition, an aggregate over its cells; "" nothing. first: it wins over others
    whatever they explain, since nothing else can be said of such cells.
    """

    name: str
    condition: str
    detail: str = ""
    first: bool = False


@dataclass(frozen=True)
class Family:
    """size: SQL of what a cell differs by (NULL: not in this way). The sizes of at least ``least`` cells, five at most,
    become patterns; ``words``: SQL of a size in words, over the column ``size``.
    """

    name: str
    size: str
    words: str
    least: int = 3
    varied: bool = True
    """Only where the cells have different values here: else one value for another says more."""


def patterns_of(column: Compared) -> Iterator[Pattern]:
    """All that can be named beforehand, the more telling first."""
    yield from _missing(column)
    domain = column.domain
    if domain in (Domain.NUMBER, Domain.DOUBLE):
        yield from _numbers(column)
    if domain is Domain.INTEGER:
        yield Pattern("sign turned", "a = -b::HUGEINT AND a <> 0")
        yield from _factors(column)
    if domain is Domain.TIME:
        yield from _times()
    if domain is Domain.TEXT:
        yield from _texts()
    if domain is Domain.BOOLEAN:
        yield Pattern("turned", "a <> b", "'true here, false there: ' || count(*) FILTER (a)")
    if domain is Domain.LIST:
        yield Pattern("elements in another order", "list_sort(a) = list_sort(b)")
        yield Pattern("elements missing at the end", "len(b) < len(a) AND b = a[1:len(b)]", "'at most ' || max(len(b))")
        yield Pattern("elements missing at the beginning", "len(b) < len(a) AND b = a[len(a) - len(b) + 1:]")
        yield Pattern("more elements there", "len(b) > len(a) AND a = b[1:len(a)]")
    yield from _defaults(column)


def families_of(column: Compared) -> Iterator[Family]:
    """Ways whose size is found in the rows."""
    domain = column.domain
    if domain in (Domain.INTEGER, Domain.NUMBER):
        sign = "CASE WHEN size > 0 THEN '+' ELSE '' END"
        number = "regexp_replace(regexp_replace(size::VARCHAR, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')"
        yield Family("off by a constant", distance(domain), f"{sign} || {number}")
    if domain is Domain.DOUBLE:
        rounded = "CASE WHEN isfinite(a) AND isfinite(b) THEN round(b - a, 9) END"
        yield Family("off by a constant", rounded, "CASE WHEN size > 0 THEN '+' ELSE '' END || size::VARCHAR")
    if domain is Domain.TIME:
        shift = distance(domain)
        quarter = 15 * 60 * 1_000_000
        hours = f"CASE WHEN abs({shift}) <= {14 * 4 * quarter} AND {shift} % {quarter} = 0 THEN {shift} END"
        zone = (
            "CASE WHEN size < 0 THEN '-' ELSE '+' END || lpad((abs(size) // 3600000000)::VARCHAR, 2, '0') || ':' || "
            "lpad((abs(size) // 60000000 % 60)::VARCHAR, 2, '0')"
        )
        yield Family("time zone shift", hours, zone, least=1, varied=False)
        yield Family("off by a constant", shift, "CASE WHEN size > 0 THEN '+' ELSE '' END || (size / 1e6) || ' s'")
    if domain is Domain.DATE:
        yield Family("off by a constant", "b - a", "CASE WHEN size > 0 THEN '+' ELSE '' END || size || ' days'")
    if domain in (Domain.TEXT, Domain.UUID, Domain.INTEGER, Domain.NUMBER):
        # As JSON: one text for the two, whatever is in them.
        pair = "json_array(a, b)::VARCHAR" if domain is not Domain.NUMBER else "json_array(a::VARCHAR, t)::VARCHAR"
        words = "(size::JSON->0)::VARCHAR || ' here, ' || (size::JSON->1)::VARCHAR || ' there'"
        yield Family("one value for another", pair, words, varied=False)
        yield Family("one value for several", "b", "size::VARCHAR || ' there'")


def _zero(column: Compared) -> str:
    """Literals of what stands for nothing: the field's default, and the type's own empty value."""
    kind = sql_type(column.domain, column.element)
    empty = {
        Domain.INTEGER: "0",
        Domain.NUMBER: "0",
        Domain.DOUBLE: "0",
        Domain.BOOLEAN: "false",
        Domain.TEXT: "",
        Domain.LIST: "[]",
    }.get(column.domain)
    values = list(dict.fromkeys(v for v in (column.default, empty) if v is not None))
    casts = [f"{literal(v)}::JSON::{kind}" if column.domain is Domain.LIST else f"{literal(v)}::{kind}" for v in values]
    return ", ".join(casts)


def _missing(column: Compared) -> Iterator[Pattern]:
    nothing = _zero(column)
    if nothing:
        yield Pattern("null there, default here", f"t IS NULL AND a IN ({nothing})", first=True)
        yield Pattern("default there, null here", f"a IS NULL AND b IN ({nothing})", first=True)
    yield Pattern("null there", "t IS NULL", first=True)
    yield Pattern("null here", "a IS NULL", first=True)
    what = "known value" if column.mapped else _NAMES[column.domain]
    yield Pattern(f"no {what} there", "b IS NULL", "'such as ' || min(left(t, 40))", first=True)


_NAMES = {
    Domain.INTEGER: "number",
    Domain.NUMBER: "number",
    Domain.DOUBLE: "number",
    Domain.BOOLEAN: "boolean",
    Domain.TEXT: "text",
    Domain.TIME: "time",
    Domain.DATE: "date",
    Domain.UUID: "UUID",
    Domain.LIST: "list",
}


def _defaults(column: Compared) -> Iterator[Pattern]:
    """Last: a value that never arrived. A zero may as well be the end of another story, so others win."""
    if column.domain is Domain.BOOLEAN:
        return
    if nothing := _zero(column):
        yield Pattern("default there", f"b IN ({nothing})")
        yield Pattern("default here", f"a IN ({nothing})")


def _numbers(column: Compared) -> Iterator[Pattern]:
    double = column.domain is Domain.DOUBLE
    if double:
        yield Pattern("not a number on one side", "isnan(a) <> isnan(b)", first=True)
        yield Pattern("infinite on one side", "isinf(a) <> isinf(b)", first=True)
        yield Pattern("last digits of a float", "abs(b - a) <= 1e-9 * greatest(abs(a), abs(b))")
        yield Pattern("single precision", "TRY_CAST(a AS FLOAT) = TRY_CAST(b AS FLOAT)")
    yield Pattern("sign turned", "a = -b AND a <> 0")
    yield from _factors(column)
    x, y = (_decimal("a"), _decimal("b")) if double else ("a", "b")
    near = f"TRY(abs({y} - {x})) <= {_unit(y, half=True)}"
    less = f"{_places(y)} < {_places(x)}"
    detail = f"'to ' || max({_places(y)}) || ' places'"
    # Where both explain as much, none was rounded up.
    yield Pattern("truncated", f"{less} AND abs(b) < abs(a) AND TRY(abs({y} - {x})) < {_unit(y)}", detail)
    yield Pattern("rounded", f"{less} AND {near}", detail)


def _decimal(value: str) -> str:
    """A double by its shortest text, without the noise of its last digits."""
    return f"TRY_CAST(round({value}, 9)::VARCHAR AS {DECIMAL})"


def _places(value: str) -> str:
    """How many digits behind the point a DECIMAL(38, 18) has."""
    return f"(18 - length(regexp_extract({value}::VARCHAR, '0*$')))"


def _unit(value: str, *, half: bool = False) -> str:
    """One of the last place that a DECIMAL(38, 18) has, or half of it: of the same type, for products have others."""
    ones = [f"5e-{n + 1}" if half else f"1e-{n}" for n in range(18)]
    steps = " ".join(f"WHEN {n} THEN '{one}'::{DECIMAL}" for n, one in enumerate(ones))
    return f"(CASE {_places(value)} {steps} ELSE 0::{DECIMAL} END)"


def _factors(column: Compared) -> Iterator[Pattern]:
    for power in range(1, 7):
        factor = f"1{'0' * power}"
        many = {Domain.INTEGER: "HUGEINT", Domain.DOUBLE: "DOUBLE"}.get(column.domain, DECIMAL)
        larger, smaller = f"TRY({{}}::{many} * {factor})", "a <> 0 AND b <> 0 AND"
        if column.domain is Domain.DOUBLE:
            for x, y, words in (("b", "a", f"times {factor}"), ("a", "b", f"divided by {factor}")):
                yield Pattern("another unit", f"{smaller} abs({x} - {y} * {factor}) <= 1e-9 * abs({x})", literal(words))
            continue
        yield Pattern("another unit", f"{smaller} b = {larger.format('a')}", literal(f"times {factor}"))
        yield Pattern("another unit", f"{smaller} a = {larger.format('b')}", literal(f"divided by {factor}"))


def _times() -> Iterator[Pattern]:
    for unit, size in (("millisecond", 1_000), ("second", 1_000_000), ("minute", 60_000_000), ("day", 86_400_000_000)):
        whole = f"epoch_us(b) % {size} = 0"
        yield Pattern("truncated", f"b = date_trunc('{unit}', a)", literal(f"to the {unit}"))
        yield Pattern(
            "rounded", f"{whole} AND abs(epoch_us(b) - epoch_us(a)) <= {size // 2}", literal(f"to the {unit}")
        )


_SPACES = "' ' || chr(9) || chr(10) || chr(13) || chr(160)"


def _texts() -> Iterator[Pattern]:
    yield Pattern("trimmed", f"trim(a, {_SPACES}) = b")
    yield Pattern("spaces at an end", f"trim(a, {_SPACES}) = trim(b, {_SPACES})")
    yield Pattern("upper and lower case", "lower(a) = lower(b)")
    yield Pattern("another form of Unicode", "nfc_normalize(a) = nfc_normalize(b)")
    yield Pattern("accents lost", "strip_accents(a) = strip_accents(b)")
    yield Pattern("letters replaced", "regexp_replace(a, '[^\\x00-\\x7F]', '?', 'g') = b")
    yield Pattern(
        "cut", "b <> '' AND length(b) < length(a) AND starts_with(a, b)", "'at ' || max(length(b)) || ' characters'"
    )
    yield Pattern("spaces inside", "regexp_replace(a, '\\s+', '', 'g') = regexp_replace(b, '\\s+', '', 'g')")
    yield Pattern("a number written otherwise", f"TRY_CAST(a AS {DECIMAL}) = TRY_CAST(b AS {DECIMAL})")
    yield Pattern("more text there", "a <> '' AND length(b) > length(a) AND starts_with(b, a)")
