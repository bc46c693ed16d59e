"""The rule "serialised", exact: a writer gets its position only after the writer before it has ended.

A. An append takes, before it draws its position and until its transaction ends, something that only one can have: the
   table in a lock mode that conflicts with itself (the Python ``eventsourcing`` library: EXCLUSIVE), or one row
   (Commanded: the row of stream 0, whose version is the position).
B. So whoever drew a lower position had ended before a higher one was drawn. When the higher one is visible, the lower
   one is visible too or never will be.

Hence everything that is visible is settled: upto is the highest visible position, with no more to ask. It holds as long
as *every* writer goes that way. Where some may not (the library's mode with database functions takes no lock) the rule
"gaps" is the right one; it is exact for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.sources.postgres.tail.facts import newest
from runner.sources.postgres.tail.port import Settled
from runner.sources.postgres.tail.rule import Rule

if TYPE_CHECKING:
    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts

__all__ = ["SerialisedRule"]


class SerialisedRule(Rule):
    """Everything visible is settled."""

    name = "serialised"

    @property
    def words(self) -> str:
        return f"exact: {self._config.reason or 'a writer waits until the one before it has ended'}"

    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        seen = newest(connection, self._relation)
        return Settled(seen, seen, words=self.words)

    def state(self) -> dict[str, Any]:
        return {}

    def forget(self) -> None:
        """There is nothing to forget."""
