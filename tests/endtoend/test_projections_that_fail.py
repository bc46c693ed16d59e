"""Handlers that fail on an event, cannot be compiled, or leave what a kernel computes exactly, as a user sees them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from shop import NAMES, Shop, event, expected, history, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """
from __future__ import annotations
from decimal import Decimal
from runner import Event, Projection, field, key, last, on

class Added(Event, type="lines.added"):
    price: Decimal = field(scale=2)
    note: str = ""
"""
FAILING = {
    "overflow": (
        """
class Sums(Projection):
    total: int = 4_611_686_018_427_387_904

    @on(Added)
    def added(self, e: Added) -> None:
        self.total += len(e.note) // 9 * 4_611_686_018_427_387_904
""",
        "OverflowError",
    ),
    "decimal overflow": (
        """
class Sums(Projection):
    total: Decimal = Decimal("46116860184273879.04")

    @on(Added)
    def added(self, e: Added) -> None:
        self.total += len(e.note) // 9 * Decimal("46116860184273879.04")
""",
        "OverflowError",
    ),
    "division by zero": (
        """
class Sums(Projection):
    total: int = 0

    @on(Added)
    def added(self, e: Added) -> None:
        self.total += 10 // (len(e.note) - 8)
""",
        "ZeroDivisionError",
    ),
    "assertion": (
        """
class Sums(Projection):
    total: int = 0

    @on(Added)
    def added(self, e: Added) -> None:
        assert e.note != "long note", "notes are short"
        self.total += 1
""",
        "notes are short",
    ),
    "plain": (
        """
class Sums(Projection, compiled=False):
    total: int = 0

    @on(Added)
    def added(self, e: Added) -> None:
        self.total += int(f"{10 // (len(e.note) - 8):>4}")
""",
        "ZeroDivisionError",
    ),
}
"""Each fails on a note of eight or nine letters, and on no other."""
BAD_NOTES = {"overflow": 9, "decimal overflow": 9, "division by zero": 8, "assertion": 9, "plain": 8}
NOTES = {8: "eight..!", 9: "long note"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with a second module, which every test writes anew."""
    made = Shop(tmp_path / "shop")
    made.config.write_text(made.config.read_text().replace('["shop_projections"]', '["shop_projections", "failing"]'))
    made.events = [e for e in history(200) if len(str(e["data"].get("note", ""))) < 8]
    made.file.write_text(text(made.events))
    yield made
    sys.modules.pop("failing", None)


@pytest.mark.parametrize("name", FAILING)
def test_an_event_that_cannot_be_folded(shop: Shop, name: str) -> None:
    """Named with aggregate and position; nothing of the run is published, also of projections that did not fail."""
    source, reason = FAILING[name]
    (shop.root / "failing.py").write_text(HEAD + source)
    bad = event(7, 10_000, "lines.added", 10**6, lines=[], price=1, note=NOTES[BAD_NOTES[name]])
    after = event(8, 10_000, "lines.added", 10**6, lines=[], price=1)
    # Before the bad one all is well, and what was built then stays live.
    shop.good("sync")
    shop.good("rebuild", *NAMES)
    shop.good("rebuild", "sums", "days", "--prove", "all")
    before = shop.rows()
    sums = shop.table("sums")
    assert before == expected(shop.events)
    shop.append([bad, after])
    shop.good("sync")
    position = len(shop.events) + 1
    for command in (["update", "sums", "days"], ["rebuild", "sums", "days"]):
        ended = shop.run(*command)
        assert ended.code == 7, ended.err
        assert ended.error.startswith(f"sums.added failed at position {position} (aggregate 'basket-7', lines.added): ")
        assert reason in ended.error
        assert (shop.rows(), shop.table("sums")) == (before, sums)
    # It stops at the place in explain too, with the state before it.
    steps = shop.good("explain", "sums", "basket-7", "--json").json["steps"]
    assert (steps[-1]["position"], reason in steps[-1]["failure"]) == (position, True)
    # The others go on without it.
    shop.good("update", *NAMES)
    assert shop.rows() == expected([*shop.events, bad, after])
    assert shop.table("sums") == sums
    failed = shop.good("jobs", "--json").json["jobs"]
    assert [(j["what"], j["state"]) for j in failed[:3]] == [
        ("update", "succeeded"), ("rebuild", "failed"), ("update", "failed"),
    ]  # fmt: skip


def test_what_cannot_be_compiled_is_refused_before_the_run(shop: Shop) -> None:
    module = shop.root / "failing.py"
    source = """
class Sums(Projection):
    shown: str = ""

    @on(Added)
    def added(self, e: Added) -> None:
        self.shown = f"{len(e.note):>5}"
"""
    module.write_text(HEAD + source)
    shop.good("sync")
    ended = shop.run("rebuild", "--all")
    assert ended.code == 4
    line = (HEAD + source).splitlines().index('        self.shown = f"{len(e.note):>5}"') + 1
    assert ended.error.startswith(f"{module}:{line}: ")
    assert "class Sums(Projection, compiled=False)" in ended.err
    assert shop.good("status", "--json").json["read_models"][0]["version"] is None
    # The way out that it names.
    module.write_text((HEAD + source).replace("(Projection)", "(Projection, compiled=False)"))
    sys.modules.pop("failing")
    told = shop.good("rebuild", "--all", "--json").json
    compiled = {p["name"]: p["compiled"] for p in told["projections"]}
    assert compiled == {"baskets": True, "items": True, "days": True, "plain": False, "sums": False}
    last = {e["id"]: len(e["data"].get("note", "")) for e in shop.events if e["kind"] == "lines.added"}
    assert shop.table("sums") == sorted((basket, f"{letters:>5}") for basket, letters in last.items())


def test_what_the_kernel_leaves_to_plain_python(shop: Shop) -> None:
    """Upper case of letters beyond ASCII is Python's; the partitions that have such are folded by it, and named."""
    (shop.root / "failing.py").write_text(
        HEAD
        + """
class Shouts(Projection):
    loud: str = ""
    exact: float = 0.0

    @on(Added)
    def added(self, e: Added) -> None:
        self.loud = e.note.upper()
        self.exact = (9_007_199_254_740_993 + len(e.note)) / 3
"""
    )
    shop.good("sync")
    told = shop.good("rebuild", "shouts", "days", "--json", "--prove", "all").json
    assert {p["name"]: p["by_twin"] for p in told["projections"]} == {"shouts": 4, "days": 0}
    shop.good("rebuild", *NAMES)
    last = {e["id"]: e["data"].get("note", "") for e in shop.events if e["kind"] == "lines.added"}
    expected_rows = [(b, note.upper(), (9_007_199_254_740_993 + len(note)) / 3) for b, note in last.items()]
    assert shop.table("shouts") == sorted(expected_rows)
    assert shop.rows() == expected(shop.events)
