"""Strings, UUIDs, enums, literals and None: values of their own, never taken for the numbers that stand for them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import Event, Projection, last, on
from runner.kernels import status

if TYPE_CHECKING:
    from collections.abc import Callable

PIECES = ["", "a", "A", "ab", "abc", "z", "Z9", "ä", "é", "😀", "a😀b", "\x00", "EUR", "ﬀ", "İ", "𝔘ni"]
TEXTS = st.sampled_from(PIECES) | st.text(max_size=8) | st.text("aAbB😀é", max_size=6)
PLACES = st.integers(-9, 9) | st.sampled_from([2**63 - 1, -(2**63), -(2**63) + 1])


class Colour(enum.Enum):
    RED = "red"
    GREEN = "grün"
    BLUE = "blue"


class Size(enum.IntEnum):
    NONE = 0
    SMALL = 3
    LARGE = 7


class Mood(enum.StrEnum):
    EMPTY = ""
    GLAD = "glad"


class Named(Event):
    a: str
    b: str
    n: int
    m: int
    p: bool
    who: UUID
    other: UUID
    maybe: str | None = None
    nobody: UUID | None = None


class Texts(Projection):
    text: str = "start"
    other: str = ""
    n: int = 0
    flag: bool = False
    who: UUID = UUID(int=0)

    @on(Named)
    def compared(self, e: Named) -> None:
        self.n = (
            (e.a < e.b) + 2 * (e.a <= e.b) + 4 * (e.a > e.b) + 8 * (e.a >= e.b) + 16 * (e.a == e.b) + 32 * (e.a != e.b)
        )
        self.flag = e.a in ("EUR", "", e.b) or "b" < e.a < "z"
        self.text = min(e.a, e.b, "m")
        self.other = max(e.a, e.b)

    @on(Named)
    def measured(self, e: Named) -> None:
        self.n = len(e.a) * 100 + len(e.b + e.a) + bool(e.b)
        self.flag = e.a in e.b or not e.a
        self.n = self.n * 8 + e.a.startswith(e.b) + 2 * e.b.endswith(e.a) + 4 * e.a.startswith(("a", "😀"))
        self.flag = e.a.endswith("") and "é" not in e.a and not self.flag

    @on(Named)
    def lowered(self, e: Named) -> None:
        self.text = e.a.lower() + "/" + e.b.upper()

    @on(Named)
    def item(self, e: Named) -> None:
        self.text = e.a[e.n]

    @on(Named)
    def sliced(self, e: Named) -> None:
        self.text = e.a[e.n : e.m] + e.b[1:] + e.b[:-1] + e.a[:] + e.a[: e.n]

    @on(Named)
    def formatted(self, e: Named) -> None:
        self.text = f"{e.a}-{e.n}:{e.p}{e.who}"
        self.other = str(e.m) + str(e.p) + str(e.b) + f"{'x'}{1}" + ""

    @on(Named)
    def uuids(self, e: Named) -> None:
        self.flag = e.who == e.other or e.who in (UUID(int=5), UUID(int=0))
        self.who = e.other if e.p else e.who

    @on(Named)
    def grown(self, e: Named) -> None:
        for _ in range(3):
            self.text = self.text + e.a + self.text[:3]


class Absent(Event):
    text: str | None = None
    number: int | None = None
    flag: bool | None = None
    who: UUID | None = None
    kind: Literal["new", "old"] | None = None


class Shown(Projection):
    text: str = ""
    other: str = ""
    before: str | None = None
    seen: list[int | None] = last(2)

    @on(Absent)
    def absent(self, e: Absent) -> None:
        nothing = None
        self.text = f"{e.text}/{e.number}/{e.flag}/{e.who}/{e.kind}/{None}{nothing}"
        self.other = str(e.text) + str(e.number) + str(e.flag) + str(e.who) + str(e.kind) + str(self.before)
        self.before = f"{self.before}"[-9:] if e.flag is None else None
        self.seen.append(e.number)
        self.other += f"{self.seen[-1]},{self.seen[0]}"


@given(
    text=st.none() | TEXTS,
    number=st.none() | PLACES,
    flag=st.none() | st.booleans(),
    who=st.none() | st.uuids(),
    kind=st.sampled_from(["new", "old", None]),
)
@settings(max_examples=20, deadline=None)
@example(text=None, number=None, flag=None, who=None, kind=None)
def test_the_text_of_a_value_that_is_missing_is_none(both: Callable[..., Any], **fields: Any) -> None:
    made = both(Shown)
    made.state(Absent(**fields), Absent(), Absent(**fields))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    a=TEXTS, b=TEXTS, n=PLACES, m=PLACES, p=st.booleans(),
    who=st.sampled_from([UUID(int=0), UUID(int=5)]) | st.uuids(), other=st.sampled_from([UUID(int=0), UUID(int=5)]),
)  # fmt: skip
@example(a="a😀b", b="😀", n=1, m=-(2**63), p=True, who=UUID(int=5), other=UUID(int=5))
@example(a="abc", b="abc", n=-(2**63), m=2**63 - 1, p=False, who=UUID(int=0), other=UUID(int=5))
def test_texts_equal_python_or_stop(both: Callable[..., Any], **values: Any) -> None:
    found = both(Texts).apart(Named(**values))
    ascii_only = values["a"].isascii() and values["b"].isascii()
    # Only the case of letters beyond ASCII needs the twin.
    assert all(c != status.REFUSED or (name == "lowered" and not ascii_only) for name, c in found.items())


class Painted(Event):
    colour: Colour
    size: Size
    mood: Mood
    kind: Literal["new", "old", ""]
    level: Literal[1, 5, 0]
    text: str
    n: int
    p: bool
    maybe: Colour | None = None
    number: int | None = None
    said: str | None = None
    perhaps: bool | None = None


GRUEN = "grün"


class Enums(Projection):
    colour: Colour = Colour.BLUE
    maybe: Colour | None = None
    size: Size = Size.SMALL
    kind: Literal["new", "old", ""] = "old"
    level: Literal[1, 5, 0] = 5
    text: str = ""
    n: int = 0
    flag: bool = False

    @on(Painted)
    def compared(self, e: Painted) -> None:
        self.n = (e.colour is Colour.RED) + 2 * (e.colour == e.maybe) + 4 * (e.colour in (Colour.GREEN, Colour.BLUE))
        self.n += 8 * (e.maybe is None) + 16 * (e.maybe == Colour.GREEN) + 32 * (e.maybe is not Colour.RED)
        self.flag = e.colour != self.colour

    @on(Painted)
    def values(self, e: Painted) -> None:
        self.text = e.colour.value + Colour.RED.value + e.mood.value + e.size.name
        self.n = e.size.value * 2 + (e.size == 3) + (e.size == Size.LARGE) * 10 + (e.mood == "glad") * 100
        self.flag = e.colour.value == GRUEN

    @on(Painted)
    def truths(self, e: Painted) -> None:
        self.n = 0
        if e.size:
            self.n += 1
        if e.mood and e.colour and e.kind:
            self.n += 2
        if not e.level or e.maybe:
            self.n += 4
        if e.number and e.said and e.perhaps:
            self.n += 8

    @on(Painted)
    def assigned(self, e: Painted) -> None:
        self.colour = e.colour if e.p else Colour.RED
        self.maybe = e.maybe
        self.size = e.size
        self.kind = "new" if e.p else e.kind
        self.level = e.level

    @on(Painted)
    def from_values(self, e: Painted) -> None:
        self.colour = Colour(e.text)
        self.kind = e.text

    @on(Painted)
    def literals(self, e: Painted) -> None:
        self.text = e.kind + "!" + f"{e.kind}{e.level}" + e.kind[:2].upper()
        self.n = e.level * 2 + len(e.kind) + max(e.level, e.n % 7)
        self.flag = e.kind == "old" or e.kind == e.text or e.kind == "never" or e.level in (1, 2) or e.level > 2

    @on(Painted)
    def none_in_arithmetic(self, e: Painted) -> None:
        self.n = e.number + 1

    @on(Painted)
    def none_in_order(self, e: Painted) -> None:
        self.flag = e.number < 3

    @on(Painted)
    def none_in_assignment(self, e: Painted) -> None:
        self.text = e.said

    @on(Painted)
    def none_in_bool(self, e: Painted) -> None:
        self.flag = e.perhaps

    @on(Painted)
    def default_for_none(self, e: Painted) -> None:
        self.n = 7 if e.number is None else e.number
        self.text = e.said if e.said is not None else "nobody"
        self.flag = e.perhaps is True or e.said == e.text or e.number == e.n or e.number != 5 or e.perhaps == e.p


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    colour=st.sampled_from(Colour), size=st.sampled_from(Size), mood=st.sampled_from(Mood), p=st.booleans(),
    kind=st.sampled_from(["new", "old", ""]), level=st.sampled_from([0, 1, 5]), text=st.sampled_from(["", "new", "x"]),
    n=st.integers(-9, 9), maybe=st.none() | st.sampled_from(Colour), number=st.none() | st.integers(-9, 9),
    said=st.none() | TEXTS, perhaps=st.none() | st.booleans(),
)  # fmt: skip
def test_enums_literals_and_none_equal_python_or_stop(both: Callable[..., Any], **values: Any) -> None:
    found = both(Enums).apart(Painted(**values))
    assert status.REFUSED not in found.values()
    none = status.NONE_VALUE
    assert (found["none_in_arithmetic"] == none) == (found["none_in_order"] == none) == (values["number"] is None)
    assert (found["none_in_assignment"] == none) == (values["said"] is None)
    assert (found["none_in_bool"] == none) == (values["perhaps"] is None)


class Keeps(Projection):
    low: str = ""
    high: str = ""
    first: str | None = None
    recent: list[str] = last(2)

    @on(Named)
    def kept(self, e: Named) -> None:
        if self.low == "" or e.a < self.low:
            self.low = e.a
        if e.a > self.high:
            self.high = e.a
        if self.first is None:
            self.first = e.maybe
        self.recent.append(e.b)


@pytest.mark.parametrize("order", [["b", "a", "c"], ["😀", "z", "ä"], ["a", "", "b"]])
def test_dictionary_codes_are_no_numbers(both: Callable[..., Any], order: list[str]) -> None:
    """The codes of a column run against the order of the texts, and differ from batch to batch."""
    zero = UUID(int=0)
    events = [Named(a=t, b=t, n=0, m=0, p=True, who=zero, other=zero, maybe=None if t == "a" else t) for t in order]
    assert both(Keeps).state(*events).high == max(order)


class Sprayed(Event):
    name: Literal["red", "grün", "none"]
    short: Literal["red", "grün"] = "red"


class Paint(Projection):
    colour: Colour = Colour.BLUE
    name: Literal["none", "grün", "red"] = "none"

    @on(Sprayed)
    def painted(self, e: Sprayed) -> None:
        self.name = e.short
        self.colour = Colour(e.name)


def test_a_literal_makes_an_enum_or_another_literal_by_its_value(interpreted: Callable[..., Any]) -> None:
    made = interpreted(Paint)
    assert made.state(Sprayed(name="grün", short="grün")).colour is Colour.GREEN
    assert made.status(Sprayed(name="none")) == status.RANGE
