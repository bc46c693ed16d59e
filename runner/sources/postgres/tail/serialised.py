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

from typing import TYPE_CHECKING, Any, Literal

from runner.sources.postgres.tail.facts import newest
from runner.sources.postgres.tail.port import Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Facts
    from runner.sources.postgres.tail.port import Relation, TailConfig

__all__ = ["SerialisedRule"]


class SerialisedRule:
    """Everything visible is settled."""

    kind: Literal["exact", "by time"] = "exact"

    def __init__(
        self, relation: Relation, config: TailConfig, state: Mapping[str, Any], clock: Callable[[], datetime]
    ) -> None:
        self._relation = relation
        self.words = f"exact: {config.reason or 'a writer waits until the one before it has ended'}"

    def look(self, connection: AnyConnection, facts: Facts) -> Settled:
        seen = newest(connection, self._relation)
        return Settled(seen, seen, words=self.words)

    def state(self) -> dict[str, Any]:
        return {}

    def forget(self) -> None:
        """There is nothing to forget."""
