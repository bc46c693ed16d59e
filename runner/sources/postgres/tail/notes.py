"""Notes: who could still bring a row at or below a position, written down after that position was seen.

A *note* is (bound, keys). It says: every position up to ``bound`` had been drawn before the note was taken, and of
those who had drawn one and had not ended by then, all are among ``keys``. Once none of the keys lives any more,
everything up to ``bound`` has been committed or never will be.

Keys are virtual transactions ("4/1127"; they come again only after a restart of the server, which voids all notes) or
sessions. A prepared transaction keeps the key of the session that wrote it until the server restarts; then, and on
servers before 14.1, it is "-1/<transaction id>". So where a noted key has gone and such a transaction is there, it
counts as that key's: it may be the same work under another name.

A key may have a *floor*: it was seen to be idle, in one and the same pause, from before the sequence had passed that
position until the note was taken. So it has drawn nothing above the floor that the note is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.sources.postgres.tail.port import Holder

__all__ = ["PREPARED", "Note", "Notes", "Sight"]

MOST = 256
"""Notes at once; beyond, every second one is dropped, and its gaps belong to the note after it."""
KEPT = 16
"""Notes in a mark, about twice as many at most."""
PREPARED = "-1/"
"""How the keys of prepared transactions begin that have a name of their own."""


@dataclass(frozen=True)
class Sight:
    """One who may have drawn positions, as a look saw him. pause: since when he is idle, "" where he is not."""

    key: str
    holder: Holder
    pause: str = ""
    heir: bool = False
    """Whether he may be another whose key has gone: a prepared transaction under a name of its own."""


@dataclass
class Note:
    """keys: to the floor of each, or None. seen: when the note was taken, by the runner's clock."""

    bound: int
    seen: datetime
    keys: dict[str, int | None]


class Notes:
    """Notes by rising bound."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._notes = list(notes)

    def __len__(self) -> int:
        return len(self._notes)

    def settle(self, present: Mapping[str, Sight]) -> int | None:
        """Strike out who is not among ``present``; the highest bound that nobody holds any more, None where none is."""
        heirs = [key for key, sight in present.items() if sight.heir]
        base: int | None = None
        whole = True
        for note in self._notes:
            gone = {key: note.keys.pop(key) for key in [key for key in note.keys if key not in present]}
            # A prepared transaction that has gone has ended: it never takes another name.
            left = [floor for key, floor in gone.items() if not key.startswith(PREPARED)]
            for other in heirs if left else ():
                note.keys[other] = _higher([*left, *([note.keys[other]] if other in note.keys else [])])
            whole = whole and not note.keys
            if whole:
                base = note.bound
        if base is not None:
            self._notes = [note for note in self._notes if note.bound > base]
        return base

    def add(self, bound: int, seen: datetime, present: Mapping[str, Sight], floors: Mapping[str, int]) -> None:
        """Note that ``present`` were there after ``bound`` was seen. A bound that is noted already stays as it was."""
        if self._notes and self._notes[-1].bound >= bound:
            return
        self._notes.append(Note(bound, seen, {key: floors.get(key) for key in present}))
        if len(self._notes) > MOST:
            del self._notes[1:-1:2]

    def held(self, first: int, last: int) -> tuple[int, Note | None] | None:
        """The lowest of the positions first to last that somebody may still bring, with the note that says so (None: it
        is above all notes); None where all of them are settled.
        """
        for note in self._notes:
            if note.bound < first:
                continue
            if any(floor is None or floor >= first for floor in note.keys.values()):
                return first, note
            if note.bound >= last:
                return None
            first = note.bound + 1
        return first, None

    def oldest(self) -> Note | None:
        """The note with the lowest bound."""
        return self._notes[0] if self._notes else None

    def to_json(self) -> list[Any]:
        """The oldest ones and some of the others: gaps of a note that is left out belong to the note after it."""
        step = 1 + len(self._notes) // KEPT
        kept = [note for i, note in enumerate(self._notes) if i < KEPT or i % step == 0 or i == len(self._notes) - 1]
        return [[note.bound, note.seen.isoformat(), note.keys] for note in kept]

    @classmethod
    def from_json(cls, body: list[Any]) -> Notes:
        return cls(Note(bound, datetime.fromisoformat(seen), dict(keys)) for bound, seen, keys in body)


def _higher(floors: list[int | None]) -> int | None:
    """The floor of one who may be any of several."""
    known = [floor for floor in floors if floor is not None]
    return max(known) if len(known) == len(floors) else None
