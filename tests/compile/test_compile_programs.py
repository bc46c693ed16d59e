"""Random handlers in files, compiled, run on random events: equal to plain, or stopped; never another value."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from runner import CompileError
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HEAD = """\
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from runner import Event, Projection, Scale, buckets, last, on


class Came(Event):
    a: int
    b: int
    x: float
    s: str
    p: bool
    d: Annotated[Decimal, Scale(2)]
    at: datetime
    o: int | None = None
    kind: Literal["new", "old"] = "new"
    ints: list[int] = ()


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


class Made(Projection):
    n: int = 0
    m: int = 5
    x: float = 0.5
    s: str = "s"
    flag: bool = False
    o: int | None = None
    d: Annotated[Decimal, Scale(4, "ROUND_HALF_EVEN")] = Decimal(0)
    at: datetime = datetime(2020, 2, 29, tzinfo=UTC)
    span: timedelta = timedelta()
    kind: Literal["new", "old"] = "old"
    seen: list[int] = last(3)
    sizes: list[int] = buckets(0, 100)

    @on(Came)
    def came(self, e):
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
    ],
    "float": ["e.x", "self.x", "float(e.a)", "self.span.total_seconds()"],
    "str": ["e.s", "self.s", "e.kind", "self.kind"],
    "bool": ["e.p", "self.flag", "(e.o is None)", "(self.o is not None)"],
    "decimal": ["e.d", "self.d"],
    "datetime": ["e.at", "self.at"],
    "timedelta": ["self.span", "(e.at - self.at)"],
    "optional": ["e.o", "self.o"],
}
CONSTANTS = {
    "int": ["0", "1", "-1", "3", "100", "-9223372036854775808", "9223372036854775807", "2**31"],
    "float": ["0.0", "-0.0", "1.5", "1e300", "float('nan')"],
    "str": ["''", "'a'", "'new'", "'😀é'"],
    "bool": ["True", "False"],
    "decimal": ["Decimal('0.5')", "Decimal('-3')", "Decimal('0.125')"],
    "datetime": ["datetime(1999, 12, 31, 23, tzinfo=UTC)"],
    "timedelta": ["timedelta(days=1)", "timedelta(microseconds=-1)"],
    "optional": ["None"],
}
SHAPES = {
    "int": [
        "({int} + {int})", "({int} - {int})", "({int} * {int})", "({int} // {int})", "({int} % {int})",
        "-{int}", "abs({int})",
        "min({int}, {int})", "max({int}, {int}, 0)", "({int} if {bool} else {int})", "int({float})", "round({float})",
        "({int} & {int})", "({int} >> ({int} % 8))", "({int} + {bool})", "less({int})", "middle({int}, {int}, {int})",
        "bump(self, {int})", "int({decimal})", "{datetime}.hour", "{timedelta}.days",
        "({timedelta} // timedelta(hours=1))",
        "({optional} + 1)", "({optional} or {int})", "(0 if {optional} is None else {int})", "sum(e.ints)",
        "e.ints[{int} % 3]",
        "len({str})", "({int} << 2)",
    ],
    "float": [
        "({float} + {float})", "({float} * {int})", "({float} / {float})", "({int} / {int})", "-{float}",
        "({float} % {float})",
        "({float} if {bool} else {float})", "max({float}, {float})", "({float} // {float})", "float({decimal})",
    ],
    "str": [
        "({str} + {str})", "{str}[1:]", "{str}[:{int}]", "f'{{{int}}}-{{{str}}}'",
        "({str} if {bool} else {str})", "str({int})",
    ],
    "bool": [
        "({int} < {int})", "({int} <= {float})", "({float} == {int})", "({bool} and {bool})",
        "({bool} or {bool})", "(not {bool})",
        "({str} == {str})", "({str} < {str})", "({str} in {str})", "({int} in (1, 2, {int}))", "({decimal} >= {int})",
        "({optional} == {int})", "({datetime} > {datetime})", "({timedelta} != {timedelta})", "bool({str})",
        "({int} in e.ints)",
        "(0 <= {int} < {int})", "({optional} != {optional})", "({bool} != {bool})",
    ],
    "decimal": [
        "({decimal} + {decimal})", "({decimal} - {int})", "({decimal} * {int})", "abs({decimal})",
        "max({decimal}, {decimal})",
        "Decimal({int})", "({decimal} if {bool} else {decimal})", "{decimal}.quantize(Decimal('0.1'))",
    ],
    "datetime": [
        "({datetime} + {timedelta})", "({datetime} if {bool} else {datetime})", "{datetime}.replace(hour=0)",
    ],
    "timedelta": [
        "({timedelta} + {timedelta})", "({timedelta} * {int})", "({datetime} - {datetime})",
        "timedelta(hours={int})",
    ],
    "optional": ["maybe({int})", "({int} if {bool} else None)", "({optional} if {bool} else {int})"],
}  # fmt: skip
STORES = {
    "int": [
        "self.n = {}", "self.m = {}", "self.n += {}", "self.m -= {}", "self.seen.append({})",
        "self.sizes.add({})", "self.o = {}",
    ],
    "float": ["self.x = {}", "self.x += {}", "self.sizes.add({})"],
    "str": ["self.s = {}"],
    "bool": ["self.flag = {}"],
    "decimal": ["self.d = {}", "self.d += {}"],
    "datetime": ["self.at = {}"],
    "timedelta": ["self.span = {}"],
    "optional": ["self.o = {}"],
}  # fmt: skip


class Writer:
    """Draws a handler's body. locals: names assigned on every path to here, by type."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.names = itertools.count()
        self.budget = 14

    def pick(self, options: list[str]) -> str:
        chosen: str = self.draw(st.sampled_from(options))
        return chosen

    def expression(self, kind: str, local: dict[str, list[str]], depth: int) -> str:
        if depth <= 0 or self.draw(st.integers(0, 3)) == 0:
            return self.pick(FIELDS[kind] + local.get(kind, []) * 3 + CONSTANTS[kind])
        shape = self.pick(SHAPES[kind])
        parts = {k: f"{{{k}}}" for k in FIELDS}
        text = ""
        rest = shape
        while "{" in rest:
            before, _, behind = rest.partition("{")
            if behind.startswith("{"):
                text, rest = text + before + "{", behind[1:]
                continue
            name, _, rest = behind.partition("}")
            text += before + (self.expression(name, local, depth - 1) if name in parts else "{" + name + "}")
            if shape.startswith("f'") and rest.startswith("}}"):
                text, rest = text + "}", rest[2:]
        made = text + rest
        # An f-string of before Python 3.12 takes no quotes of its own kind inside.
        return "e.s" if made.startswith("f'") and ("'" in made[2:-1] or "\\" in made) else made

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
                    self.line(indent, "else:")
                    self.block(indent + 1, {k: list(v) for k, v in local.items()}, in_loop)
            case "for":
                name = f"v{next(self.names)}"
                self.line(indent, f"for {name} in range({self.expression('int', local, 1)} % 5):")
                inner = {k: list(v) for k, v in local.items()}
                inner.setdefault("int", []).append(name)
                self.block(indent + 1, inner, in_loop=True)
            case "each":
                name = f"v{next(self.names)}"
                self.line(indent, f"for {name} in {self.pick(['e.ints', 'self.sizes'])}:")
                inner = {k: list(v) for k, v in local.items()}
                inner.setdefault("int", []).append(name)
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
        "kind": st.sampled_from(["new", "old"]),
        "ints": st.lists(st.integers(-5, 5), max_size=3),
    }
)
# What the generator cannot know: digits that grow, None put where it fails, constants that never fit.
_CHANCE = ("None", "digits", "NaN", "inside a loop over it", "does not fit int64", "timedelta(")
_counter = itertools.count()
# Every step of a shrinking compiles again; a failing handler is short enough to be read.
_NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def written(text: str, folder: Path) -> ModuleType:
    """The text as a module in a file."""
    name = f"random_handler_{next(_counter)}"
    file = folder / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@settings(max_examples=12, deadline=None, phases=_NO_SHRINKING, suppress_health_check=list(HealthCheck))
@given(body=programs(), events=st.lists(EVENTS, min_size=4, max_size=10))
def test_random_handlers(
    both: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, body: str, events: list[dict[str, Any]]
) -> None:
    module = written(HEAD + body, Path(tmp_path_factory.mktemp("handlers")))
    try:
        made = both(module.Made)
    except CompileError as error:
        if not any(word in error.message for word in _CHANCE):
            raise
        assume(False)
    # Each event alone, then all on one state.
    for event in events:
        assert made.fold(module.Came(**event)).status in status.NAMES
    made.fold(*(module.Came(**e) for e in events))
