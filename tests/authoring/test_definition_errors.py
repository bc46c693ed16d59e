"""Every mistake in a class is one DefinitionError that names the file, the line and what to write."""

# ruff: noqa: E501, ISC004 - what an author writes stands beside what is said of it

from __future__ import annotations

import pytest
from fixtures_authoring import HEAD_LINES

from runner import DefinitionError, definition_of

# What is written, the line (of the text) that the error names, and words of the message or hint.
MISTAKES = {
    "no default": ("class X(Projection):\n    total: int\n", 2, ["X.total", "needs a default", "= 0"]),
    "no annotation": ("class X(Projection):\n    total = 0\n", 2, ["no annotation", "total: int = 0"]),
    "float default of an int": ("class X(Projection):\n    total: int = 1.5\n", 2, ["takes an int"]),
    "map in state": ("class X(Projection):\n    m: dict[str, int] = {}\n", 2, ["maps and records", "child key"]),
    "set in state": ("class X(Projection):\n    m: set[str] = frozenset()\n", 2, ["child key"]),
    "record in state": ("class X(Projection):\n    line: Line = None\n", 2, ["child key"]),
    "list in state": ("class X(Projection):\n    m: list[int] = []\n", 2, ["last(10)"]),
    "union": ("class X(Projection):\n    m: int | str = 0\n", 2, ["several types"]),
    "no type": ("class X(Projection):\n    m: complex = 0\n", 2, ["complex is not a field type"]),
    "Decimal without scale": ("class X(Projection):\n    m: Decimal = 0\n", 2, ["Annotated[Decimal, Scale(2)]"]),
    "reserved column": ("class X(Projection):\n    source: str = ''\n", 2, ["rename"]),
    "field hides delete": ("class X(Projection):\n    delete: int = 0\n", 2, ["hides the method"]),
    "field and method": ("class X(Projection):\n    a: int = 0\n    def a(self): pass\n", 2, ["same name"]),
    "method hides delete": ("class X(Projection):\n    def delete(self): pass\n", 2, ["would hide"]),
    "constructor": ("class X(Projection):\n    def __init__(self): pass\n", 2, ["no special methods"]),
    "last of nothing": ("class X(Projection):\n    m: list[int] = last(0)\n", 2, ["1 to 1000"]),
    "buckets fall": ("class X(Projection):\n    m: list[int] = buckets(2, 1)\n", 2, ["ascending"]),
    "buckets of floats": ("class X(Projection):\n    m: list[float] = buckets(1)\n", 2, ["counters"]),
    "not an event": ("class X(Projection):\n    @on(Line)\n    def a(self, e): pass\n", 2, ["Line is not an event class"]),
    "two events": (
        "class X(Projection):\n    @on(Paid, Line)\n    def a(self, e): pass\n", 2, ["@on(Paid, Line)", "one handler for each"],
    ),
    "class keyword": ("class X(Projection, keys=('a',)):\n    a: int = 0\n", 1, ["keys is no class keyword", "key, name, indexes"]),
    "event keyword": ("class X(Event, types='a'):\n    a: int = 0\n", 1, ["types is no class keyword", "type"]),
    "record keyword": ("class X(Record, type='a'):\n    a: int = 0\n", 1, ["type is no class keyword"]),
    "on a field": ("class X(Projection):\n    @on(Paid)\n    def a(self): pass\n", 2, ["def a(self, e)"]),
    "too many arguments": (
        "class X(Projection):\n    @on(Paid)\n    def a(self, e, line): pass\n", 2, ["takes (self, e, line)", "def a(self, e)"],
    ),
    "defaults": ("class X(Projection):\n    @on(Paid)\n    def a(self, e=None): pass\n", 2, ["def a(self, e)"]),
    "async": ("class X(Projection):\n    @on(Paid)\n    async def a(self, e): pass\n", 2, ["async"]),
    "generator": ("class X(Projection):\n    @on(Paid)\n    def a(self, e): yield 1\n", 2, ["generator"]),
    "two methods": (
        "class X(Projection):\n    @on(Paid)\n    def a(self, e): pass\n    @on(Ordered)\n    def a(self, e): pass\n",
        4, ["two methods called a"],
    ),
    "two marks": (
        "class X(Projection):\n    @on(Paid)\n    @on(Ordered)\n    def a(self, e): pass\n", 2, ["one handler for each event class"],
    ),
    "each of no list": (
        "class X(Projection):\n    @on(Paid, each='amount')\n    def a(self, e, x): pass\n", 2, ["is no list of Paid"],
    ),
    "each of everything": (
        "class X(Projection):\n    @on(Event, each='lines')\n    def a(self, e, x): pass\n", 2, ["on(Event) has no field"],
    ),
    "unknown key part": (
        "class X(Projection, key=('aggregate_id', 'sku')):\n    @on(Paid)\n    def a(self, e): pass\n",
        2, ["Paid has no field 'sku'", "@key def sku(e)"],
    ),
    "key types differ": (
        "class B(Event):\n    currency: int\nclass X(Projection, key=('aggregate_id', 'currency')):\n    @on(Paid)\n"
        "    def a(self, e): pass\n    @on(B)\n    def b(self, e): pass\n",
        3, ["str of Paid and int of B"],
    ),
    "float key": (
        "class X(Projection, key=('aggregate_id', 'rate')):\n    @on(Ordered)\n    def a(self, e): pass\n", 1, ["rate is a float"],
    ),
    "no merge": (
        "class X(Projection, key='currency'):\n    @on(Paid)\n    def a(self, e): pass\n", 1, ["def merge(self, other)", "aggregate_id"],
    ),
    "merge signature": (
        "class X(Projection, key='currency'):\n    @on(Paid)\n    def a(self, e): pass\n    def merge(self): pass\n",
        4, ["def merge(self, other)"],
    ),
    "merged float": (
        "class X(Projection, key='currency'):\n    x: float = 0.0\n    @on(Paid)\n    def a(self, e): pass\n"
        "    def merge(self, other): pass\n",
        1, ["merge_floats=True"],
    ),
    "merged delete": (
        "class X(Projection, key='currency'):\n    @on(Paid)\n    def a(self, e): self.delete()\n"
        "    def merge(self, other): pass\n",
        3, ["self.delete() in a projection whose rows are merged"],
    ),
    "columns clash": (
        "class X(Projection, key=('aggregate_id', 'currency')):\n    Currency: str = ''\n    @on(Paid)\n    def a(self, e): pass\n",
        1, ["differ in case only"],
    ),
    "index": ("class X(Projection, indexes=(('b',),)):\n    a: int = 0\n", 1, ["'b', which is no column"]),
    "name": ("class X(Projection, name='a b'):\n    a: int = 0\n", 1, ["does not name a table"]),
    "version": ("class X(Projection, version=0):\n    a: int = 0\n", 1, ["whole number"]),
    "unused key function": (
        "class X(Projection):\n    @key\n    def day(e) -> date: return e.recorded_at.date()\n    @on(Paid)\n    def a(self, e): pass\n",
        1, ["not in the key"],
    ),
    "key function without type": (
        "class X(Projection, key=('aggregate_id', 'day')):\n    @key\n    def day(e): return 1\n    @on(Paid)\n"
        "    def a(self, e): pass\n",
        2, ["no return annotation", "-> date"],
    ),
    "key override": (
        "class X(Projection):\n    @on(Paid, key={'sku': 'currency'})\n    def a(self, e): pass\n", 2, ["names no key part"],
    ),
    "header field": ("class X(Event):\n    version: int\n", 1, ["header field", 'version_ = field("version")']),
    "event field type": ("class X(Event):\n    a: dict[str, int]\n", 1, ["field('outer.inner')"]),
    "record as a field": ("class X(Event):\n    a: Line\n", 1, ["inner value by its path"]),
    "event default": ("class X(Event):\n    a: int = 'x'\n", 1, ["takes an int"]),
    "coercion": ("class X(Event):\n    a: bool = field('b', coerce='number')\n", 1, ["does not apply to bool"]),
    "rounding": ("class X(Event):\n    a: Decimal = field(scale=2, rounding='UP')\n", 1, ["no rounding is called"]),
    "empty type": ("class X(Event, type=('a', 'a')):\n    a: int\n", 1, ["stored names"]),
    "method in event": ("class X(Event):\n    def total(self): pass\n", 1, ["helper function"]),
    "mixed enum": (
        "class E(enum.Enum):\n    A = 1\n    B = 'b'\nclass X(Event):\n    a: E\n", 4, ["neither all str nor all int64"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake(case, author) -> None:
    text, line, words = MISTAKES[case]
    with pytest.raises(DefinitionError) as caught:
        author(text)
    error = caught.value
    assert error.file.endswith(".py")
    assert error.line == HEAD_LINES + line, str(error)
    for word in words:
        assert word in str(error)
    assert "\n" not in str(error)


IMPURE = {
    "now": ("datetime.now(UTC)", ["the clock", "e.recorded_at"]),
    "today": ("date.today()", ["the clock"]),
    "utcnow of a value": ("e.recorded_at.now()", ["reads the clock"]),
    "time": ("time.time()", ["the clock"]),
    "random": ("random.random()", ["random numbers"]),
    "uuid4": ("uuid.uuid4()", ["random numbers"]),
    "environ": ("os.environ['A']", ["the environment"]),
    "getenv": ("os.getenv('A')", ["the environment"]),
    "open": ("open('a')", ["I/O"]),
    "print": ("print(e)", ["I/O"]),
    "hash": ("hash('a')", ["differs from process to process"]),
    "eval": ("eval('1')", ["looked into"]),
    "list of the module": ("len(TABLE)", ["TABLE is a list", "a tuple"]),
    "dict of the module": ("RATES['a']", ["RATES is a dict", "MappingProxyType"]),
    "rebound": ("COUNT + 1", ["COUNT is rebound through `global`"]),
    "through a helper": ("helper(e)", ["through helper", "the clock"]),
    "attribute of a module": ("setattr_like(e)", ["outlives the fold"]),
    "order of a set": ("[x for x in {1, 2}]", ["whose order differs"]),
    "machine's zone": ("e.recorded_at.astimezone()", ["machine's zone"]),
    "instance": ("DEVICE.random()", ["DEVICE"]),
    "lambda": ("short(e)", ["is a lambda", "write it with def"]),
}

IMPURE_HEAD = """
TABLE = [1]
RATES = {"a": 1}
COUNT = 0
DEVICE = random.Random(1)
short = lambda e: 1

def count():
    global COUNT
    COUNT += 1

def helper(e):
    return time.monotonic()

class Holder:
    last = 0

def setattr_like(e):
    Holder.last = 1

"""


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("case", IMPURE)
def test_impure_folds_are_refused_compiled_or_not(case, compiled, author) -> None:
    expression, words = IMPURE[case]
    text = f"{IMPURE_HEAD}\nclass X(Projection, compiled={compiled}):\n    n: int = 0\n    @on(Paid)\n    def a(self, e):\n        x = {expression}\n"
    with pytest.raises(DefinitionError) as caught:
        author(text)
    assert "X.a" in str(caught.value)
    assert caught.value.line > HEAD_LINES
    for word in words:
        assert word in str(caught.value)


def test_names_that_come_later_in_the_module_are_checked_before_a_run(author) -> None:
    module = author("""
        class X(Projection):
            n: int = 0

            @on(Paid)
            def a(self, e):
                self.n = later(e)

        def later(e):
            return random.randint(1, 2)
        """)
    with pytest.raises(DefinitionError, match=r"through later.*random numbers"):
        definition_of(module.X)


def test_a_name_that_does_not_exist_is_found_before_a_run(author) -> None:
    module = author("""
        class X(Projection):
            n: int = 0

            @on(Paid)
            def a(self, e):
                self.n = nowhere(e)
        """)
    with pytest.raises(DefinitionError, match="nowhere is not defined"):
        definition_of(module.X)


def test_a_projection_without_handlers_cannot_be_folded(author) -> None:
    module = author("class Base(Projection):\n    n: int = 0\n")
    with pytest.raises(DefinitionError, match="has no handlers"):
        definition_of(module.Base)


def test_pure_things_are_allowed(author) -> None:
    module = author("""
        import types
        from zoneinfo import ZoneInfo

        RATES = types.MappingProxyType({"EUR": 2})
        CODES = frozenset({"a", "b"})
        ZONE = ZoneInfo("UTC")

        class Level(enum.Enum):
            LOW = 1

        def helper(amount, factor=3):
            return math.floor(amount * factor)

        class X(Projection, compiled=False):
            n: int = 0
            level: Level = Level.LOW

            @on(Paid)
            def a(self, e):
                if e.currency in CODES and e.recorded_at.astimezone(ZONE).hour < 25:
                    self.n += helper(e.amount) * RATES["EUR"] + sum(sorted({1, 2}))
                    self.level = Level.LOW
        """)
    assert definition_of(module.X).compiled is False
