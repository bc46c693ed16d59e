"""Whatever changes what a projection computes changes its fingerprint, or is refused: with compiled=True and False.

Otherwise `runner update` would add rows of the new meaning to rows of the old.
"""

# ruff: noqa: E501 - what an author writes stands on one line beside what is said of it

from __future__ import annotations

import pytest

from runner import DefinitionError, definition_of

TIMES = (
    "import functools\ndef times(k):\n    def d(f):\n        @functools.wraps(f)\n        def g(*a):\n"
    "            for _ in range(k): f(*a)\n        return g\n    return d\n"
)
SCALER = "class S:\n    def __init__(self, r): self.r = r\n    def __call__(self, v): return v * self.r\n    def f(self, v): return v\n"
NAMED = "from typing import NamedTuple\nclass T(NamedTuple):\n    a: int\n    b: int = 1\n    def f(self, v): return v * @@\nT1 = T(1)\n"
KIND = "class K(enum.Enum):\n    U = 'u'\n    V = 'v'\n"
TYPED = "class Typed(Event):\n    k: K = K.U\n"
LIMITS = "class L:\n    R = @@\n"
PASSED = "def h(c):\n    return c.R\n"
CLASS_METHOD = "class L:\n    @classmethod\n    def f(cls, v): return v * @@\n"

# What stands before the class, the expression or statements of the handler, the event class. @@ is 1 or 2.
CHANGED = {
    "constant of a module": ("", "other.R", "Paid"),
    "helper of a module": ("", "other.h(e.amount)", "Paid"),
    "class attribute": (LIMITS, "L.R", "Paid"),
    "attribute of an instance": (LIMITS, "L().R", "Paid"),
    "inherited attribute of an instance": (LIMITS + "class M(L):\n    pass\n", "M().R", "Paid"),
    "inherited method": (LIMITS + "class M(L):\n    def f(self): return self.R\nclass N(M):\n    pass\n", "N().f()", "Paid"),
    "classmethod": (CLASS_METHOD, "L.f(e.amount)", "Paid"),
    "attribute behind a classmethod": (LIMITS + "class M(L):\n    @classmethod\n    def f(cls): return cls.R\n", "M.f()", "Paid"),
    "staticmethod": ("class L:\n    @staticmethod\n    def f(v): return v * @@\n", "L.f(e.amount)", "Paid"),
    "method of a NamedTuple": (NAMED, "T1.f(e.amount)", "Paid"),
    "default of a NamedTuple": (NAMED.replace("= 1", "= @@").replace("v * @@", "v"), "T(1).b", "Paid"),
    "default of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    a: int = @@\n    b: list[int] = dataclasses.field(default_factory=list)\n",
        "D().a", "Paid",
    ),
    "default rebound": ("R = @@\ndef h(v, r=R): return v * r\nR = 7\n", "h(e.amount)", "Paid"),
    "keyword default rebound": ("R = @@\ndef h(v, *, r=R): return v * r\nR = 7\n", "h(e.amount)", "Paid"),
    "closure": ("def mk(k):\n    def h(v): return v * k\n    return h\nh = mk(@@)\n", "h(e.amount)", "Paid"),
    "enum value": ("class K(enum.Enum):\n    U = @@\n    V = 9\n", "K.U.value", "Paid"),
    "enum property": (KIND + "    @property\n    def w(self): return @@\n", "K.U.w", "Paid"),
    "enum method through an event": (KIND + "    def w(self): return @@\n" + TYPED, "e.k.w()", "Typed"),
    "helper of an enum method": ("def h(): return @@\n" + KIND + "    def w(self): return h()\n" + TYPED, "e.k.w()", "Typed"),
    "enum attribute by a format text": (KIND + "    @property\n    def w(self): return @@\n" + TYPED, "len('{0.w}'.format(e.k))", "Typed"),
    "enum __str__ through an event": (KIND + "    def __str__(self): return 'a' * @@\n" + TYPED, "len(str(e.k))", "Typed"),
    "comprehension variable": ("R = @@\n", "sum([R for R in (1, 2)]) + R", "Paid"),
    "lambda parameter": ("R = @@\n", "(lambda R: R)(1) + R", "Paid"),
}  # fmt: skip

# What stands before the class, decorators above and below @on, the expression, words of the refusal.
REFUSED = {
    "partial": ("import functools\ndef f(a, b): return a * b\ng = functools.partial(f, @@)\n", "", "", "g(e.amount)", ["g is a partial", "write def"]),
    "callable instance": (SCALER + "g = S(@@)\n", "", "", "g(e.amount)", ["g is a S", "write def"]),
    "bound method": (SCALER + "g = S(@@).f\n", "", "", "g(e.amount)", ["g is a method", "write def"]),
    "method of a list": ("g = [1, @@].count\n", "", "", "g(e.amount)", ["method of a list", "write def"]),
    "cached": ("import functools\n@functools.cache\ndef g(v): return [v]\n", "", "", "len(g(e.amount))", ["_lru_cache_wrapper"]),
    "attribute of a function": ("def h(): return 1\nh.R = @@\n", "", "", "h.R", ["kept at a function"]),
    "module in a local": ("", "", "", "(m := other).R", ["other is a module", "module.NAME"]),
    "module passed to a helper": (PASSED, "", "", "h(other)", ["other is a module"]),
    "class in a local": (LIMITS, "", "", "(c := L).R", ["L is a class", "L.NAME"]),
    "class passed to a helper": (LIMITS + PASSED, "", "", "h(L)", ["L is a class"]),
    "getattr": ("", "", "", "getattr(other, 'R')", ["getattr", "cannot be looked into"]),
    "setattr": (LIMITS, "", "", "setattr(L, 'R', @@)", ["setattr"]),
    "__dict__": ("", "", "", "other.__dict__['R']", ["__dict__"]),
    "attribute of a call's result": (LIMITS + "def kept(e):\n    type(e).R = 1\n", "", "", "kept(e)", ["outlives the fold"]),
    "mutable default": ("def h(v, seen=[]):\n    seen.append(v)\n    return len(seen)\n", "", "", "h(e.amount)", ["h has the default []", "outlives the call"]),
    "mutable keyword default": ("def h(v, *, seen={}):\n    seen[v] = 1\n    return len(seen)\n", "", "", "h(e.amount)", ["outlives the call"]),
    "set as a default": ("C = frozenset({1, 2})\ndef h(v, c=C):\n    for x in c: v = v * 2 + x\n    return v\n", "", "", "h(e.amount)", ["a frozenset"]),
    "list of a class": ("class L:\n    seen = []\n    def f(self):\n        self.seen.append(1)\n        return len(self.seen)\n", "", "", "L().f()", ["L.seen is a list"]),
    "list of an enum method": ("TABLE = [1]\n" + KIND + "    def w(self): return TABLE[0]\n", "", "", "K.U.w()", ["TABLE is a list"]),
    "set in a local": ("", "", "", "(s := {'a', e.currency}) and len(''.join(s))", ["whose order differs", "sorted(...)"]),
    "set made of a list": ("", "", "", "list(set(e.currency))", ["whose order differs"]),
    "set of the module": ("C = frozenset({1, 2})\n", "", "", "sum(c for c in C)", ["C is a set"]),
    "union of sets": ("C = frozenset({1, 2})\n", "", "", "max(C | {e.amount})", ["whose order differs"]),
    "sorted set with a key": ("", "", "", "sorted({'a', 'b'}, key=len)", ["whose order differs"]),
    "decorated handler": (TIMES, "    @times(@@)\n", "", "e.amount", ["X.a", "decorator", "leave out"]),
    "decorated below @on": (TIMES, "", "    @times(@@)\n", "e.amount", ["X.a", "decorator"]),
    "decorator that hides": ("def hide(f):\n    def g(self, e): pass\n    return g\n", "    @hide\n", "", "e.amount", ["X.a", "decorator"]),
    "decorated helper": (TIMES + "@times(@@)\ndef h(v): return v\n", "", "", "h(e.amount)", ["h is changed by a decorator"]),
    "helper that a decorator marks": ("def same(f): return f\n@same\ndef h(v): return v\n", "", "", "h(e.amount)", ["@same", "leave out"]),
}  # fmt: skip


def _text(head: str, above: str, below: str, body: str, event: str, number: str, *, compiled: bool) -> str:
    helper = "def h(v):\n    return v + @@\n"
    return (
        "import types\nother = types.ModuleType('other')\nother.R = @@\n"
        + (helper + "other.h = h\n" if "other.h" in body else "")
        + head
        + f"class X(Projection, compiled={compiled}):\n    n: int = 0\n{above}    @on({event})\n{below}"
        f"    def a(self, e):\n        self.n += {body}\n"
    ).replace("@@", number)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("case", CHANGED)
def test_a_change_of_meaning_is_a_change_of_the_fingerprint(case, compiled, author) -> None:
    head, body, event = CHANGED[case]
    one, again, two = (
        definition_of(author(_text(head, "", "", body, event, number, compiled=compiled)).X).fingerprint
        for number in ("1", "1", "2")
    )
    assert one == again
    assert one != two


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_what_could_change_unseen_is_refused(case, compiled, author) -> None:
    head, above, below, body, words = REFUSED[case]
    with pytest.raises(DefinitionError) as caught:
        definition_of(author(_text(head, above, below, body, "Paid", "1", compiled=compiled)).X)
    assert caught.value.file.endswith(".py")
    assert caught.value.line > 0
    for word in words:
        assert word in str(caught.value)


def test_what_an_enum_has_for_others_is_no_matter_of_the_fold(author) -> None:
    """A label that no handler reads may use what it likes, and may change."""
    text = "LABELS = {'u': 'Up@@'}\n" + KIND + "    @property\n    def label(self): return LABELS[self.value]\n" + TYPED
    one, two = (
        definition_of(author(_text(text, "", "", "1 if e.k is K.U else 2", "Typed", n, compiled=True)).X).fingerprint
        for n in "12"
    )
    assert one == two


def test_classes_sets_and_defaults_that_stay_in_sight_are_allowed(author) -> None:
    module = author("""
        import dataclasses
        from typing import NamedTuple

        CODES = frozenset({"a", "b"})

        class Wrong(Exception):
            pass

        class Point(NamedTuple):
            x: int
            y: int = 2

        @dataclasses.dataclass
        class Sum:
            total: int = 0

            def add(self, v):
                self.total += v

        def helper(v, kind=None, *, by=Decimal("1.5"), names=("a", "b")):
            return v

        class X(Projection, compiled=False):
            n: int = 0

            @on(Paid)
            def a(self, e):
                if e.amount < 0:
                    raise Wrong
                if e.currency in CODES or e.currency not in {"c", "d"} | CODES or CODES.isdisjoint(e.currency):
                    self.n += len(set(e.currency)) + sum(sorted({1, e.amount}))
                s = Sum()
                s.add(helper(Point(e.amount).y))
                self.n += s.total if isinstance(s, Sum) else 0
        """)
    assert definition_of(module.X).fingerprint
