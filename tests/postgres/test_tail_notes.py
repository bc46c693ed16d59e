"""Notes alone, against a small world of writers in which everything is known: nobody's position is settled while he may
still bring it, and nothing waits for anybody but those who were there when it was first seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sources.postgres.tail.notes import KEPT, MOST, Notes, Sight
from runner.sources.postgres.tail.port import Holder

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A sequence and transactions that draw from it. key -> positions drawn; committed; when each began to be seen."""

    last: int = 0
    alive: dict[str, list[int]] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)
    names: int = 0
    prepared: set[str] = field(default_factory=set)

    def begin(self) -> None:
        self.names += 1
        self.alive[f"4/{self.names}"] = []

    def draw(self, key: str) -> None:
        if key in self.prepared:
            return
        self.last += 1
        self.alive[key].append(self.last)

    def end(self, key: str, commits: bool) -> None:
        positions = self.alive.pop(key)
        self.prepared.discard(key)
        if commits:
            self.committed |= set(positions)

    def prepare(self, key: str) -> None:
        """Under a name of its own, as after a restart of the server or on an old one."""
        if key not in self.prepared:
            self.alive[f"-1/{key}"] = self.alive.pop(key)
            self.prepared.add(f"-1/{key}")

    def sights(self) -> dict[str, Sight]:
        holder = Holder(1, "", None, "")
        return {key: Sight(key, holder, heir=key in self.prepared) for key, drawn in self.alive.items() if drawn}

    def open(self) -> set[int]:
        return {p for drawn in self.alive.values() for p in drawn}


ACTIONS = st.lists(st.tuples(st.sampled_from("bdddceprll"), st.integers(0, 5)), max_size=60)


@settings(max_examples=400, deadline=None)
@given(ACTIONS, st.booleans())
def test_nothing_is_settled_that_may_still_come(actions: list[tuple[str, int]], from_json: bool) -> None:
    world, notes, base = World(), Notes(), 0
    for action, which in actions:
        keys = list(world.alive)
        key = keys[which % len(keys)] if keys else None
        if action == "b":
            world.begin()
        elif action == "l":
            # A: the highest that is visible. B: who is there. Nothing happens between here; that is for interleavings.
            newest = max(world.committed, default=0)
            present = world.sights()
            found = notes.settle(present)
            if newest:
                notes.add(newest, NOW, present, {})
                found = max(found or 0, notes.settle(present) or 0)
            base = max(base, found or 0)
            assert not any(p <= base for p in world.open()), "a position is settled, and its writer lives"
            for first in range(base + 1, newest + 1):
                held = notes.held(first, first)
                assert held is not None or first not in world.open()
            if not present:
                assert base == newest, "nobody is there, so everything that is seen is settled"
            if from_json:
                notes = Notes.from_json(notes.to_json())
        elif key is not None:
            match action:
                case "d":
                    world.draw(key)
                case "c" | "e":
                    world.end(key, commits=action == "c")
                case "p":
                    world.prepare(key)


def sight(key: str, *, heir: bool = False) -> dict[str, Sight]:
    return {key: Sight(key, Holder(1, "", None, ""), heir=heir)}


def test_who_came_later_holds_nothing_older() -> None:
    notes = Notes()
    notes.add(10, NOW, sight("4/1"), {})
    notes.add(20, NOW, sight("4/1") | sight("4/2"), {})
    assert notes.settle(sight("4/2")) == 10
    assert notes.held(11, 20) is not None
    assert notes.settle(sight("4/3")) == 20


def test_a_prepared_transaction_of_its_own_name_inherits_once() -> None:
    """It may be the noted session's; another one that comes later is not."""
    notes = Notes()
    notes.add(10, NOW, sight("4/1"), {})
    assert notes.settle(sight("-1/77", heir=True)) is None
    assert notes.settle(sight("-1/78", heir=True)) == 10
    notes.add(20, NOW, {}, {})
    assert notes.settle(sight("-1/78", heir=True)) == 20


def test_a_floor_frees_what_is_above() -> None:
    notes = Notes()
    notes.add(10, NOW, sight("4/1"), {"4/1": 5})
    assert notes.held(4, 4) is not None
    assert notes.held(6, 9) is None
    assert notes.held(3, 9) == (3, notes.oldest())
    assert notes.held(9, 12) == (11, None), "above all notes"
    # Whoever takes over takes the floor over, unless he may be somebody without one.
    notes.settle(sight("-1/7", heir=True))
    assert notes.held(6, 9) is None
    both = Notes()
    both.add(10, NOW, sight("4/1") | sight("4/2"), {"4/1": 5})
    both.settle(sight("-1/7", heir=True))
    assert both.held(6, 9) is not None


def test_many_notes_become_fewer_and_stay_right() -> None:
    notes = Notes()
    for n in range(1, 2 * MOST):
        notes.add(n, NOW, sight("4/0") | sight(f"4/{n}"), {})
    assert len(notes) <= MOST
    assert len(Notes.from_json(notes.to_json())) <= 2 * KEPT + 1
    assert Notes.from_json(notes.to_json()).settle({}) == 2 * MOST - 1
    assert notes.settle(sight("4/0")) is None
    assert notes.held(1, 1) is not None
    assert notes.settle({}) == 2 * MOST - 1
