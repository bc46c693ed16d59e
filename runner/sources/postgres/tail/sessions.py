"""The rule "sessions", exact: positions from an ascending sequence whose CACHE is over 1.

Such a sequence gives each session a block of positions, in ascending order of blocks; the session uses them up when it
likes, in any number of transactions, and what is left over when it ends is never used. So no lock tells who may still
fill a gap. But only a session that was alive when the block was handed out can.

A. Read the highest visible position v. Its block was handed out before, and by their order so was every block with a
   position below v.
B. After that list all sessions S of the database, whatever they do, and prepared transactions that drew: whoever has
   a block with a position below v is in S, or had ended before B was over.
C. When none of S lives any more, what is missing below v, seen from a snapshot taken from now on, is missing for ever.

The steps, the notes, the walk over visible rows and what is said of idle sessions are those of ``fence``: a session
that has been idle, in one and the same pause, since before the sequence's last value f was read has no block above f.

Sessions of a pool may live for days, and hold a gap that long. `ALTER SEQUENCE ... CACHE 1` makes every session drop
its block when it draws next, and so ends this; the rule "gaps" refuses such a sequence with that advice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sources.postgres.tail.facts import STATEMENTS
from runner.sources.postgres.tail.fence import FenceRule, sight
from runner.sources.postgres.tail.notes import PREPARED

if TYPE_CHECKING:
    from runner.postgres import AnyConnection
    from runner.sources.postgres.tail.facts import Sequence
    from runner.sources.postgres.tail.notes import Sight

__all__ = ["SessionsRule"]


class SessionsRule(FenceRule):
    """As ``FenceRule``, with sessions in the place of transactions."""

    name = "sessions"
    words = (
        "exact: a gap is settled when every session that lived when it was first seen has ended (sequence with a cache)"
    )

    def _present(self, connection: AnyConnection, sequence: Sequence) -> dict[str, Sight]:
        sessions = connection.execute(STATEMENTS["sessions"]).fetchall()
        writers = super()._present(connection, sequence)
        # A session may have ended after it prepared one, so any of them may be a noted session's work.
        prepared = {
            f"{PREPARED}{key}": replace(found, heir=True) for key, found in writers.items() if found.holder.pid is None
        }
        return {row[0]: sight(*row) for row in sessions} | prepared

    def _check_cache(self, sequence: Sequence) -> None:
        """Any cache will do."""
