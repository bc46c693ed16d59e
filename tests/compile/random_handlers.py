"""Random handler bodies as texts, and random events for them."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVENTS", "module_text", "programs"]

HEAD = """\
import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Annotated, Literal
from uuid import UUID
from runner import Event, Projection, Scale, buckets, last, on


class Colour(enum.Enum):
    RED = "red"
    GREEN = "grün"


class Size(enum.IntEnum):
    NONE = 0
    SMALL = 3


class Came(Event):
    a: int
    b: int
    x: float
    s: str
    p: bool
    d: Annotated[Decimal, Scale(2)]
    at: datetime
    day: date
    who: UUID
    colour: Colour
    size: Size
    o: int | None = None
    text: str | None = None
    price: Annotated[Decimal, Scale(2)] | None = None
    tint: Colour | None = None
    due: date | None = None
    nobody: UUID | None = None
    yes: bool | None = None
    kind: Literal["new", "old"] = "new"
    sort: Literal["new", "odd"] | None = None
    ints: list[int] = ()
    some: list[int | None] = ()
    texts: list[str | None] = ()


def middle(low: int, value: int, high: int) -> int:
    if value < low:
        return low
    return min(value, high)


def less(value: int) -> int:
    return value - 7


def bump(state, by: int) -> int:
    state.n += by
    return state.n


def maybe(value: int) -> int | None:
    if value % 3 == 0:
        return None
    return value


def named(value: str | None, other: str) -> str | None:
    if value is None or value == "a":
        return None
    return value + other


class Made(Projection):
    n: int = 0
    m: int = 5
    x: float = 0.5
    s: str = "s"
    flag: bool = False
    o: int | None = None
    text: str | None = None
    d: Annotated[Decimal, Scale(4, "ROUND_HALF_EVEN")] = Decimal(0)
    price: Annotated[Decimal, Scale(3, "ROUND_DOWN")] | None = None
    at: datetime = datetime(2020, 2, 29, tzinfo=UTC)
    day: date = date(2020, 2, 29)
    due: date | None = None
    span: timedelta = timedelta()
    who: UUID = UUID(int=5)
    nobody: UUID | None = None
    colour: Colour = Colour.RED
    tint: Colour | None = Colour.GREEN
    yes: bool | None = None
    kind: Literal["new", "old"] = "old"
    sort: Literal["new", "odd"] | None = None
    seen: list[int] = last(3)
    seen_some: list[int | None] = last(2)
    seen_texts: list[str | None] = last(2)
    seen_tints: list[Colour | None] = last(2)
    sizes: list[int] = buckets(0, 100)
"""
HANDLER = """
    @on(Came)
    def came_{}(self, e):
"""

FIELDS = {
    "int": [
        "e.a",
        "e.b",
        "self.n",
        "self.m",
        "len(e.s)",
        "len(e.ints)",
        "e.at.day",
        "self.sizes[0]",
        "len(self.seen)",
        "e.day.year",
        "e.size.value",
        "len(e.some)",
        "len(self.seen_texts)",
        "e.day.weekday()",
    ],
    "float": ["e.x", "self.x", "float(e.a)", "self.span.total_seconds()"],
    "str": ["e.s", "self.s", "e.kind", "self.kind", "e.colour.value", "e.colour.name"],
    "bool": ["e.p", "self.flag", "(e.o is None)", "(self.o is not None)", "(e.text == None)", "(e.sort is not None)"],
    "decimal": ["e.d", "self.d"],
    "datetime": ["e.at", "self.at"],
    "date": ["e.day", "self.day"],
    "timedelta": ["self.span", "(e.at - self.at)"],
    "uuid": ["e.who", "self.who"],
    "enum": ["e.colour", "self.colour"],
    "optional": ["e.o", "self.o"],
    "text": ["e.text", "self.text", "e.sort", "self.sort"],
    "price": ["e.price", "self.price"],
    "tint": ["e.tint", "self.tint"],
    "due": ["e.due", "self.due"],
    "nobody": ["e.nobody", "self.nobody"],
    "yes": ["e.yes", "self.yes"],
}
CONSTANTS = {
    "int": ["0", "1", "-1", "3", "100", "-9223372036854775808", "9223372036854775807", "2**31"],
    "float": ["0.0", "-0.0", "1.5", "1e300", "float('nan')"],
    "str": ["''", "'a'", "'new'", "'😀é'", "'None'"],
    "bool": ["True", "False"],
    "decimal": ["Decimal('0.5')", "Decimal('-3')", "Decimal('0.125')"],
    "datetime": ["datetime(1999, 12, 31, 23, tzinfo=UTC)"],
    "date": ["date(1999, 12, 31)", "date(9999, 12, 31)"],
    "timedelta": ["timedelta(days=1)", "timedelta(microseconds=-1)", "-timedelta(hours=5)"],
    "uuid": ["UUID(int=5)", "UUID('00000010-0000-0000-0000-000000000000')"],
    "enum": ["Colour.RED", "Colour.GREEN", "Colour('red')"],
    "optional": ["None"],
    "text": ["None"],
    "price": ["None"],
    "tint": ["None"],
    "due": ["None"],
    "nobody": ["None"],
    "yes": ["None"],
}
SHAPES = {
    "int": [
        "({int} + {int})", "({int} - {int})", "({int} * {int})", "({int} // {int})", "({int} % {int})",
        "-{int}", "abs({int})", "({int} ** ({int} % 4))", "({int} | {int})", "({int} ^ {int})", "~{int}",
        "min({int}, {int})", "max({int}, {int}, 0)", "({int} if {bool} else {int})", "int({float})", "round({float})",
        "({int} & {int})", "({int} >> ({int} % 8))", "({int} + {bool})", "less({int})", "middle({int}, {int}, {int})",
        "bump(self, {int})", "int({decimal})", "{datetime}.hour", "{timedelta}.days", "{date}.toordinal()",
        "({timedelta} // timedelta(hours=1))", "floor({float})", "ceil({float})", "floor({decimal})",
        "({optional} + 1)", "({optional} or {int})", "(0 if {optional} is None else {int})", "sum(e.ints)",
        "e.ints[{int} % 3]", "sum(self.seen)", "sum(self.sizes)", "round({decimal})",
        "len({str})", "({int} << 2)", "({int} << ({int} % 4))", "len({text} or {str})", "-{bool}",
    ],
    "float": [
        "({float} + {float})", "({float} * {int})", "({float} / {float})", "({int} / {int})", "-{float}",
        "({float} % {float})", "abs({float})", "min({float}, {float}, 0.0)", "(2 ** {int} / 3)",
        "({float} if {bool} else {float})", "max({float}, {float})", "({float} // {float})", "float({decimal})",
        "({timedelta} / timedelta(hours=1))",
    ],
    "str": [
        "({str} + {str})", "{str}[1:]", "{str}[:{int}]", 'f"{{int}}-{{str}}"', "{str}[{int} % 3:]", "{str}[-2:]",
        "({str} if {bool} else {str})", "str({int})", 'f"{{optional}}/{{text}}"', 'f"{{uuid}}{{bool}}"', "str({yes})",
        'f"{{nobody}}:{{text}}:{{yes}}"', "str({text})", "str({optional})", "({text} or {str})", "{str}.lower()",
        "max({str}, {str})", "{str}[{int}]",
    ],
    "bool": [
        "({int} < {int})", "({int} <= {float})", "({float} == {int})", "({bool} and {bool})",
        "({bool} or {bool})", "(not {bool})", "bool({optional})", "bool({float})", "(not {text})", "bool({price})",
        "({str} == {str})", "({str} < {str})", "({str} in {str})", "({int} in (1, 2, {int}))", "({decimal} >= {int})",
        "({optional} == {int})", "({datetime} > {datetime})", "({timedelta} != {timedelta})", "bool({str})",
        "({int} in e.ints)", "({int} in e.some)", "({optional} in e.some)", "({optional} in (None, 3, {int}))",
        "(0 <= {int} < {int})", "({optional} != {optional})", "({bool} != {bool})", "({int} != {float} > {int})",
        "({enum} == {enum})", "({enum} is {tint})", "({tint} is not {tint})", "({tint} in (Colour.RED, None))",
        "({tint} == {tint})", "({uuid} == {nobody})", "({nobody} in ({uuid}, UUID(int=5)))", "({due} == {date})",
        "({date} < {date})", "({date} >= {due})", "({price} == {decimal})", "({price} == {int})", "({text} == {text})",
        "({text} in ('a', None, 'new'))", "({text} in e.texts)", "({str} in self.seen_texts)", "(None in e.texts)",
        "({tint} in self.seen_tints)", "({optional} in self.seen_some)", "(e.size == 3)", "(e.size == Size.SMALL)",
        "({yes} == {bool})", "({yes} is True)", "({yes} == {optional})", "bool({yes})", "(not {due})", "bool(e.size)",
        "({bool} if {tint} else {bool})", "({optional} == {yes})", "({price} != {price})",
        "({bool} if {int} else {bool})",
        "({text} is None or {text} < {str})", "({due} is not None and {due} > {date})", "bool({timedelta})",
        "bool(e.some)", "(not self.seen_some)", "bool(self.sizes)", "({price} in (1, Decimal('0.5'), None))",
    ],
    "decimal": [
        "({decimal} + {decimal})", "({decimal} - {int})", "({decimal} * {int})", "abs({decimal})", "-{decimal}",
        "max({decimal}, {decimal})", "({price} or {decimal})", "({decimal} * {bool})",
        "Decimal({int})", "({decimal} if {bool} else {decimal})", "{decimal}.quantize(Decimal('0.1'))",
    ],
    "datetime": [
        "({datetime} + {timedelta})", "({datetime} if {bool} else {datetime})", "{datetime}.replace(hour=0)",
        "max({datetime}, {datetime})", "{datetime}.replace(day=1)",
    ],
    "date": [
        "({date} + {timedelta})", "({date} - {timedelta})", "{datetime}.date()", "({due} or {date})",
        "min({date}, {date})", "({date} if {bool} else {date})", "{date}.replace(day={int})",
    ],
    "timedelta": [
        "({timedelta} + {timedelta})", "({timedelta} * {int})", "({datetime} - {datetime})", "({date} - {date})",
        "timedelta(hours={int})", "-{timedelta}", "abs({timedelta})", "({timedelta} // {int})",
        "({timedelta} % timedelta(hours=7))",
    ],
    "uuid": ["({uuid} if {bool} else {uuid})", "({nobody} or {uuid})"],
    "enum": ["({enum} if {bool} else {enum})", "({tint} or {enum})", "Colour({str})"],
    "optional": [
        "maybe({int})", "({int} if {bool} else None)", "({optional} if {bool} else {int})", "({optional} and {int})",
        "({optional} or {optional})", "self.seen_some[{int} % 2]", "e.some[0]",
    ],
    "text": [
        "named({text}, {str})", "({str} if {bool} else None)", "({text} if {bool} else {str})", "({text} or {text})",
        "({text} and {str})", "self.seen_texts[-1]", "e.texts[{int} % 2]",
    ],
    "price": ["({decimal} if {bool} else None)", "({price} if {bool} else {decimal})", "({price} and {decimal})"],
    "tint": ["({enum} if {bool} else None)", "({tint} if {bool} else {enum})", "self.seen_tints[-1]"],
    "due": ["({date} if {bool} else None)", "({due} if {bool} else {date})"],
    "nobody": ["({uuid} if {bool} else None)", "({nobody} if {bool} else {uuid})"],
    "yes": ["({bool} if {bool} else None)", "({yes} or {bool})", "({yes} and {yes})"],
}  # fmt: skip
STORES = {
    "int": [
        "self.n = {}", "self.m = {}", "self.n += {}", "self.m -= {}", "self.seen.append({})",
        "self.sizes.add({})", "self.o = {}", "self.seen_some.append({})", "self.price = {}", "self.x = {}",
    ],
    "float": ["self.x = {}", "self.x += {}", "self.sizes.add({})"],
    "str": ["self.s = {}", "self.s += {}", "self.text = {}", "self.seen_texts.append({})"],
    "bool": ["self.flag = {}", "self.yes = {}"],
    "decimal": ["self.d = {}", "self.d += {}", "self.price = {}"],
    "datetime": ["self.at = {}"],
    "date": ["self.day = {}", "self.due = {}"],
    "timedelta": ["self.span = {}"],
    "uuid": ["self.who = {}", "self.nobody = {}"],
    "enum": ["self.colour = {}", "self.tint = {}", "self.seen_tints.append({})"],
    "optional": ["self.o = {}", "self.seen_some.append({})", "self.n = {}"],
    "text": ["self.text = {}", "self.seen_texts.append({})", "self.s = {}"],
    "price": ["self.price = {}", "self.d = {}"],
    "tint": ["self.tint = {}", "self.seen_tints.append({})"],
    "due": ["self.due = {}"],
    "nobody": ["self.nobody = {}"],
    "yes": ["self.yes = {}"],
}  # fmt: skip
_PART = re.compile(rf"\{{({'|'.join(FIELDS)})\}}")


T = TypeVar("T")


class Writer:
    """Draws a handler's body. locals: names assigned on every path to here, by type."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.names = itertools.count()
        self.budget = 14

    def pick(self, options: list[T]) -> T:
        return self.draw(st.sampled_from(options))

    def expression(self, kind: str, local: dict[str, list[str]], depth: int) -> str:
        if depth <= 0 or self.draw(st.integers(0, 3)) == 0:
            return self.pick(FIELDS[kind] + local.get(kind, []) * 3 + CONSTANTS[kind])
        shape = self.pick(SHAPES[kind])
        made = _PART.sub(lambda part: self.expression(part[1], local, depth - 1), shape)
        # An f-string of before Python 3.12 takes no quotes of its own kind inside.
        return "e.s" if made.startswith('f"') and ('"' in made[2:-1] or "\\" in made) else made

    def block(self, indent: int, local: dict[str, list[str]], in_loop: bool) -> None:
        for _ in range(self.draw(st.integers(1, 4))):
            self.statement(indent, local, in_loop)

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def statement(self, indent: int, local: dict[str, list[str]], in_loop: bool) -> None:
        self.budget -= 1
        kinds = ["store", "store", "store", "local", "change"]
        if self.budget > 0 and indent < 5:
            kinds += ["if", "if", "for", "each"]
        if in_loop:
            kinds += ["leave"]
        match self.pick(kinds):
            case "store":
                kind = self.pick(list(STORES))
                self.line(indent, self.pick(STORES[kind]).format(self.expression(kind, local, 3)))
            case "local":
                kind = self.pick(list(FIELDS))
                name = f"v{next(self.names)}"
                self.line(indent, f"{name} = {self.expression(kind, local, 2)}")
                local.setdefault(kind, []).append(name)
            case "change":
                if local.get("int"):
                    self.line(indent, f"{self.pick(local['int'])} = {self.expression('int', local, 2)}")
                else:
                    self.line(indent, "self.n += 1")
            case "if":
                self.line(indent, f"if {self.expression('bool', local, 2)}:")
                self.block(indent + 1, {k: list(v) for k, v in local.items()}, in_loop)
                if self.draw(st.booleans()):
                    self.line(indent, self.pick(["else:", f"elif {self.expression('bool', local, 1)}:"]))
                    self.block(indent + 1, {k: list(v) for k, v in local.items()}, in_loop)
            case "for":
                name = f"v{next(self.names)}"
                self.line(indent, f"for {name} in range({self.expression('int', local, 1)} % 5):")
                inner = {k: list(v) for k, v in local.items()}
                inner.setdefault("int", []).append(name)
                self.block(indent + 1, inner, in_loop=True)
            case "each":
                name = f"v{next(self.names)}"
                kind, over = self.pick(
                    [("int", "e.ints"), ("int", "self.sizes"), ("optional", "e.some"), ("text", "e.texts")]
                )
                self.line(indent, f"for {name} in {over}:")
                inner = {k: list(v) for k, v in local.items()}
                inner.setdefault(kind, []).append(name)
                self.block(indent + 1, inner, in_loop=True)
            case "leave":
                self.line(indent, f"if {self.expression('bool', local, 1)}:")
                self.line(indent + 1, self.pick(["break", "continue", "return"]))


@st.composite
def programs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """The body of a handler."""
    writer = Writer(draw)
    writer.block(2, {}, in_loop=False)
    return "\n".join(writer.lines) + "\n"


UUIDS = st.sampled_from([UUID(int=5), UUID(int=2**100), UUID(int=0)])
INT64 = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**53]) | st.integers(-9, 9) | st.integers(-(2**63), 2**63 - 1)
EVENTS = st.fixed_dictionaries(
    {
        "a": INT64,
        "b": st.integers(-4, 9),
        "x": st.floats(width=32) | st.sampled_from([0.5, 1.5, -2.5]),
        "s": st.sampled_from(["", "a", "new", "😀é", "abc"]),
        "p": st.booleans(),
        "d": st.integers(-999, 999).map(lambda n: Decimal(n).scaleb(-2)),
        "at": st.datetimes(timezones=st.just(UTC)),
        "o": st.none() | st.integers(-3, 3),
        "day": st.sampled_from([date.min, date.max, date(2024, 2, 29)]) | st.dates(),
        "who": UUIDS,
        "colour": st.sampled_from(["red", "grün"]),
        "size": st.sampled_from([0, 3]),
        "text": st.none() | st.sampled_from(["", "a", "new", "None"]),
        "price": st.none() | st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(-3)]),
        "tint": st.sampled_from([None, "red", "grün"]),
        "due": st.sampled_from([None, date(1999, 12, 31), date(2024, 2, 29)]),
        "nobody": st.none() | UUIDS,
        "yes": st.sampled_from([None, True, False]),
        "kind": st.sampled_from(["new", "old"]),
        "sort": st.sampled_from([None, "new", "odd"]),
        "ints": st.lists(st.integers(-5, 5), max_size=3),
        "some": st.lists(st.none() | st.integers(-2, 3), max_size=3),
        "texts": st.lists(st.sampled_from([None, "", "a", "new"]), max_size=3),
    }
)


def module_text(bodies: list[str]) -> str:
    """A module with the events' class and a projection of these handlers."""
    return HEAD + "".join(HANDLER.format(n) + body for n, body in enumerate(bodies))
