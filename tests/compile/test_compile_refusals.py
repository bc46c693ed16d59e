"""What cannot be compiled exactly is refused before the run: file, line, handler, what it is, what to write instead."""

from __future__ import annotations

import itertools
import textwrap
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from modules_in_files import module_in_file

from runner import CompileError, DefinitionError, definition_of
from runner.errors import FoldFailure
from runner.fold.handlers import check_definition, compile_definition
from runner.fold.lower.lowering import TextRegistry
from runner.testing import given

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_counter = itertools.count()

HEAD = """\
import decimal, enum, math, time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID
from runner import Event, Projection, Record, Scale, buckets, key, last, on

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Line(Record):
    sku: str
    quantity: int

class Paid(Event):
    amount: int
    other: int
    x: float
    text: str
    at: datetime
    day: date
    price: Annotated[Decimal, Scale(2)]
    fine: Annotated[Decimal, Scale(12)]
    colour: Colour
    who: UUID
    lines: list[Line]
    maybe: int | None = None
    kind: Literal["a", "b"] = "a"

LOCAL = datetime(2020, 1, 1)
HUGE = 2**63

def endless(n: int) -> int:
    if n > 0:
        return endless(n - 1)
    return 0

def unlike(n: int):
    if n > 0:
        return n
    return 0.5

def many(*args):
    return 1

def wrong_inside(n: int) -> int:
    m = n + 1
    return sorted(m)

class P(Projection):
    n: int = 0
    x: float = 0.0
    text: str = ""
    flag: bool = False
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    day: date = date(1970, 1, 1)
    price: Annotated[Decimal, Scale(2)] = Decimal(0)
    colour: Colour = Colour.RED
    who: UUID = UUID(int=0)
    maybe: int | None = None
    seen: list[str] = last(3)
    sizes: list[int] = buckets(1, 2)

    @on(Paid)
    def paid(self, e):
"""

CASES = {
    # Statements that have no compiled form.
    "while self.n < 3:\n    self.n += 1": ("while", "for i in range"),
    "try:\n    self.n = 1\nexcept ValueError:\n    pass": ("try", "if"),
    "with e.text as f:\n    pass": ("with", ""),
    "f = lambda x: x\nself.n = f(2)": ("lambda", "function of the module"),
    "self.n = sum([i for i in range(3)])": ("list comprehension", "for loop"),
    "self.n = sum(i for i in range(3))": ("generator", "for loop"),
    "def inner():\n    return 1\nself.n = inner()": ("function inside", "module"),
    "a = [1, 2]": ("list", "tuple"),
    "a = {'x': 1}": ("dict", "if/elif"),
    "a, *b = 1, 2, 3": ("3 values for 2 names", ""),
    "if (n := e.amount) > 3:\n    self.n = n": (":=", "own"),
    "match e.amount:\n    case 1:\n        self.n = 1": ("match", "if/elif"),
    "for i in range(3):\n    pass\nelse:\n    self.n = 1": ("else", "local"),
    "for c in e.text:\n    self.n += 1": ("loop over str", "range"),
    "for i in (1, 2):\n    self.n += i": ("loop over a tuple", "range"),
    "del self.n": ("del", "self.delete()"),
    # Names and constants.
    "self.n = undefined_name": ("undefined_name is not defined", ""),
    "self.flag = e.at > LOCAL": ("no time zone", "tzinfo=UTC"),
    "self.n = HUGE": ("does not fit int64", ""),
    "self.n = 9223372036854775808": ("does not fit int64", ""),
    "self.n = e.nothing": ("Paid has no field nothing", "amount"),
    "self.n = self.nothing": ("no state field nothing", "declare"),
    "self.nothing = 1": ("no state field nothing", "declare"),
    "e.amount = 3": ("cannot be changed", "state field"),
    "e = 3": ("cannot be assigned", ""),
    # Flow.
    "if e.amount:\n    a = 1\nself.n = a": ("a is not assigned on every path", "before"),
    "for i in range(3):\n    a = i\nself.n = a": ("a is not assigned on every path", "before"),
    "for i in range(e.amount):\n    pass\nself.n = i": ("i is not assigned on every path", "before"),
    "a = 1\nif e.amount:\n    a = 1.5\nself.x = a": ("a is int in one place and float here", "0.0"),
    "a = 0\nfor i in range(3):\n    a = a + e.x": ("a is int in one place and float", "float"),
    "a = Decimal('0.1')\nfor i in range(3):\n    a = a * e.price": ("digits", "quantize"),
    "return 5": ("a handler returns nothing", "assign to self"),
    # Numbers.
    "self.x = round(e.x, 2)": ("round(x, n)", "Decimal"),
    "self.x = min(e.amount, e.x)": ("min of float and int", "float(x)"),
    "self.x = e.x ** 2": ("**", "x * x"),
    "self.n = e.x": ("n is int, not float", "int(x)"),
    "self.n = e.price": ("n is int, not Decimal with 2 digits", "write int(x) or round(x), or declare it as Decimal"),
    "self.x = e.price": ("x is float, not Decimal with 2 digits", "write float(x)"),
    "self.price = e.x": ("price is Decimal with 2 digits, not float", "declare the event's field as Decimal"),
    "self.n = e.text": ("n is int, not str", 'coerce="number"'),
    'self.n = "x"': ("n is int, not str", "write a number, or declare it as str"),
    "self.text = e.x": ("text is str, not float", "declare it as float"),
    "self.text = e.at": ("text is str, not datetime", "declare it as datetime"),
    "self.n = abs(e.text)": ("abs of str", ""),
    "self.n = e.at": ("n is int, not datetime", "declare it as datetime"),
    "self.flag = e.text in e.who": ("str in UUID", ""),
    "self.n = e.amount[0]": ("int has no items", ""),
    "self.n = e.text.size": ("str.size", ""),
    "self.flag = e.x < e.price": ("float < Decimal", ""),
    "self.flag = self.who < e.who": ("UUID < UUID", ""),
    "a, b = 1, 2, 3": ("3 values for 2 names", ""),
    "self.n = Paid.kinds": ("Paid has no attribute kinds", ""),
    "self.n = e.flag if False else True": ("no field flag", ""),
    "self.n = e.amount > 3": ("n is int, not bool", "int(x)"),
    "self.flag = e.amount": ("flag is bool, not int", "!= 0"),
    "self.n = int(e.text)": ("int of str", "coerce"),
    "self.n = self.n + None": ("None", "is None"),
    "self.n = None": ("n is never None", "| None"),
    "self.n = e.amount or e.text": ("`or` of int and str", "is None"),
    "self.n = divmod(e.amount, 3)": ("divmod", "//"),
    "self.x = math.log(e.x)": ("math.log", "query"),
    "self.n = ~e.colour": ("~", ""),
    # Decimals.
    "self.price = e.price / 3": ("division of Decimals", "multiply"),
    "self.price = e.price * e.x": ("Decimal with 2 digits * float", "do not mix"),
    "self.flag = e.price == e.x": ("never equal", "do not mix"),
    "self.price = e.fine * e.fine": ("24", "quantize"),
    "self.price = Decimal(e.text)": ("Decimal of str", "constant"),
    "self.x = Decimal('0.1')": ("x is float", ""),
    # Strings, enums, UUIDs.
    "self.text = e.text + e.amount": ("str + int", "str(n)"),
    "self.text = e.text * 2": ("str * int", ""),
    "self.text = f'{e.x}'": ("the text of float", "str, int"),
    "self.text = f'{e.amount:>5}'": ("format", "alone"),
    "self.text = '%d' % e.amount": ("str % int", "f-string"),
    "self.text = e.text.strip()": ("str.strip()", "lower"),
    "self.text = e.text[::2]": ("step", "start:stop"),
    "self.flag = e.text == e.amount": ("never equal", "one type"),
    "self.flag = e.text is 'a'": ("`is` between", "write =="),
    "self.flag = e.text < e.who": ("str < UUID", ""),
    "self.flag = e.colour < Colour.RED": ("Colour < Colour", ".value"),
    "self.colour = 'green'": ("'green' is no Colour", "'red'"),
    "self.colour = e.amount": ("colour is Colour, not int", "members"),
    "self.text = e.colour": ("text is str, not Colour", ".value"),
    "self.text = e.kind.value": ("no value", "as it is"),
    "self.who = e.text": ("who is UUID, not str", ""),
    # Dates.
    "self.at = e.day": ("at is datetime, not date", ""),
    "self.day = e.at": ("day is date, not datetime", ".date()"),
    "self.flag = e.at > e.day": ("datetime > date", ".date()"),
    "self.at = e.at + 1": ("datetime and int", "timedelta"),
    "self.text = e.at.isoformat()": ("isoformat", "weekday"),
    "self.text = e.at.strftime('%Y')": ("strftime", ""),
    "self.n = e.at.nanosecond": ("nanosecond", "microsecond"),
    "self.at = e.at.replace(tzinfo=None)": ("tzinfo", "UTC"),
    "self.at = datetime(e.amount, 1, 1, tzinfo=UTC)": ("computed parts", "replace"),
    # Lists and elements.
    "self.n = e.lines": ("cannot hold", ""),
    "self.seen = e.lines": ("cannot be assigned", "append"),
    "self.seen.pop()": ("seen.pop", "append"),
    "self.seen.append(e.amount)": ("a value of seen is str, not int", "str(x)"),
    "self.sizes.add(e.text)": ("takes an int or a float", ""),
    "self.sizes.append(3)": ("sizes.append", "add"),
    "for s in self.seen:\n    self.seen.append(s)": ("changed inside a loop over it", "behind"),
    "for line in e.lines:\n    self.n += line.nothing": ("an element of lines has no field nothing", "sku"),
    "for line in e.lines:\n    self.n += line": ("an element of lines cannot be computed with", ""),
    "self.flag = e.x in (e.x, 1.0)": ("NaN", "or"),
    # Calls.
    "self.n = endless(e.amount)": ("recursion", "range"),
    "self.x = unlike(e.amount)": ("one return gives int, another float", "float"),
    "self.n = many(1, 2)": ("*", "parameters"),
    "self.n = len(e.text, 3)": ("len takes one", ""),
    "self.n = endless()": ("endless: missing", ""),
    "self.n = self.paid(e)": ("is a handler", "module"),
    "self.n = self.missing(e)": ("self.missing()", "module"),
    "self.n = isinstance(e.amount, int)": ("isinstance", "is None"),
    "self.n = max(e.amount)": ("two or more", "loop"),
}


DEPENDS = {
    # Plain Python fails on the event of this test, and would not on another, or where the value goes elsewhere.
    "with e.text as f:\n    pass",
    "self.n = int(e.text)",
    "self.price = Decimal(e.text)",
    "self.n = divmod(e.amount, 3)",
    "self.at = e.at.replace(tzinfo=None)",
    "self.n = self.paid(e)",
    "self.n = isinstance(e.amount, int)",
    "self.n = max(e.amount)",
}


def written(folder: Path, text: str) -> ModuleType:
    """A module of the author's, in a file."""
    return module_in_file(text, folder, f"authored_{next(_counter)}")


def plain_succeeds(folder: Path, text: str) -> bool:
    """Whether the same projection folds an event, declared as the way out says."""
    try:
        module = written(folder, text.replace("class P(Projection):", "class P(Projection, compiled=False):"))
        event = module.Paid(
            amount=3, other=2, x=1.5, text="ab", at=datetime(2026, 1, 2, 3, tzinfo=UTC), day=date(2026, 1, 2),
            price=Decimal("1.50"), fine=Decimal("0.5"), colour=module.Colour.RED, who=UUID(int=5),
            lines=[module.Line(sku="s", quantity=2)],
        )  # fmt: skip
        outcome = given(event).outcome(definition_of(module.P))
    except DefinitionError:
        return False
    return not isinstance(outcome, FoldFailure)


@pytest.mark.filterwarnings('ignore:"is" with:SyntaxWarning')
@pytest.mark.parametrize("body", CASES)
def test_refused_with_file_line_and_what_to_write(tmp_path: Path, body: str) -> None:
    what, hint = CASES[body]
    text = HEAD + textwrap.indent(f"before = 1\n{body}\n", "        ")
    module = written(tmp_path, text)
    with pytest.raises(CompileError) as refused:
        # The dataclass behind it, since purity has errors of its own.
        check_definition(module.P.__definition__)
    error = refused.value
    first = HEAD.count("\n") + 2
    helper = "unlike" in body or "endless(e" in body
    assert what in error.message
    assert hint in error.hint
    out = error.hint.endswith("declare class P(Projection, compiled=False)")
    assert out == ("compiled=False" in error.hint)
    assert out == (body in DEPENDS or plain_succeeds(tmp_path, text)), "offered exactly where it helps"
    assert error.file == module.__file__
    assert error.handler == "P.paid"
    assert helper or first <= error.line <= first + body.count("\n")


def test_the_line_in_a_helper_is_named(tmp_path: Path) -> None:
    module = written(tmp_path, HEAD + "        self.n = wrong_inside(e.amount)\n")
    with pytest.raises(CompileError, match="sorted") as refused:
        check_definition(module.P.__definition__)
    assert refused.value.line == HEAD.splitlines().index("    return sorted(m)") + 1


def test_the_line_of_a_later_use_is_named(tmp_path: Path) -> None:
    module = written(tmp_path, HEAD + "        a = e.amount\n        self.n = a\n        self.text = a\n")
    with pytest.raises(CompileError, match="text is str") as refused:
        check_definition(module.P.__definition__)
    assert refused.value.line == HEAD.count("\n") + 3


def test_equal_definitions_give_equal_source(tmp_path: Path) -> None:
    body = "        if e.text in ('x', 'y') and e.kind == 'a':\n            self.text = f'{e.text}!'\n"
    first, second = (written(tmp_path, f"{'# a comment' if n else ''}\n" * n + HEAD + body) for n in (0, 3))
    sources = [compile_definition(definition_of(m.P), "p0", TextRegistry()).source for m in (first, second)]
    assert sources[0] == sources[1]
    assert "self.text = f" in sources[0], "the author's lines stand in the generated source"


def test_a_projection_of_one_module_may_be_compiled_beside_another(tmp_path: Path) -> None:
    module = written(tmp_path, HEAD + "        self.text = 'one'\n")
    registry = TextRegistry()
    one = compile_definition(definition_of(module.P), "p0", registry)
    two = compile_definition(definition_of(module.P), "p1", registry)
    assert not {h.handler.name for h in one.handlers} & {h.handler.name for h in two.handlers}
    assert registry.texts == ("", "one")
