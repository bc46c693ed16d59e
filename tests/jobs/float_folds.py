"""A merged projection of floats, whose last digits depend on the order of their sums."""

from __future__ import annotations

from bank_of_jobs import Moved

from runner import Projection, on


class Shares(Projection, key=("type",), merge_floats=True):
    total: float = 0.0
    moves: int = 0

    @on(Moved)
    def moved(self, e: Moved) -> None:
        self.total += e.amount * 0.1
        self.moves += 1

    def merge(self, other: Shares) -> None:
        self.total += other.total
        self.moves += other.moves
