"""Waiting for others without making others wait.

A switch takes ACCESS EXCLUSIVE locks, and while it waits for one, every later reader queues behind it. So it looks
first: where a transaction that is older than the lock may be waited for holds one of the tables, it is not asked for at
all, only looked at again. Then all locks together are waited for at most ``SwitchTimeouts.lock`` seconds; where that
is not enough the transaction lets go of everything and tries again after a pause that grows.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import PostgresTimeout
from runner.postgres import named_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.postgres import AnyConnection
    from runner.sinks.postgres.port import SwitchTimeouts

__all__ = ["Deadline", "wait_for_long_holders", "wait_for_snapshots"]

WAITING = named_sql("runner.sinks.postgres", "waiting.sql")
LOOK = 0.02
LONGEST_PAUSE = 2.0
QUIETER = 10


@dataclass
class Deadline:
    """When a switch is given up, and the pauses between its attempts."""

    until: float
    pause: float

    @staticmethod
    def of(timeouts: SwitchTimeouts) -> Deadline:
        return Deadline(time.monotonic() + timeouts.total, timeouts.lock)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def rest(self) -> None:
        """Pause, each time longer, never the same for two runs."""
        pause = self.pause * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        time.sleep(max(0.0, min(pause, self.until - time.monotonic())))
        self.pause = min(self.pause * 1.5, LONGEST_PAUSE)


def wait_for_snapshots(connection: AnyConnection, relids: Sequence[int], deadline: Deadline) -> None:
    """Wait until no transaction is left in whose snapshot what was written last into these tables is not visible.

    Those that begin after the first look see it. A transaction that takes a new snapshot for each statement is let go
    when its snapshot is another one. Raises PostgresTimeout naming the session.
    """
    before: dict[tuple[int, str], str] | None = None
    while True:
        rows = connection.execute(WAITING["snapshots"], {"relids": list(relids)}).fetchall()
        now = {(pid, transaction): xmin for pid, transaction, xmin, _ in rows}
        before = now if before is None else {k: x for k, x in before.items() if now.get(k) == x}
        if not before:
            return
        if deadline.over:
            pid, name = next((pid, name) for pid, transaction, _, name in rows if (pid, transaction) in before)
            raise PostgresTimeout(
                f"a transaction of process {pid} ({name or 'no application_name'}) has a snapshot older than the "
                "loaded rows: after a switch it would see none of them",
                hint="let it end, or raise switch_timeout of [read_models.postgres]; then run it again",
            )
        time.sleep(LOOK)


def wait_for_long_holders(
    connection: AnyConnection, relids: Sequence[int], timeouts: SwitchTimeouts, deadline: Deadline
) -> None:
    """Wait until no transaction holds one of these relations that is older than a lock may be waited for.

    Raises PostgresTimeout naming it.
    """
    first: dict[tuple[int | None, str], float] = {}
    begun = time.monotonic()
    while True:
        rows = connection.execute(WAITING["holders"], {"relids": list(relids)}).fetchall()
        now = time.monotonic()
        first = {(r[0], r[1]): first.get((r[0], r[1]), now) for r in rows}
        # How old it is may not be ours to see; then it is as old as we know it.
        # For a while a quieter moment is looked for, in which the lock would be had at once.
        young = timeouts.lock / QUIETER if now - begun < timeouts.lock * QUIETER else timeouts.lock
        old = [r for r in rows if (r[3] or 0.0) > young or now - first[r[0], r[1]] > young]
        unsure = any(r[3] is None for r in rows) and now - begun <= timeouts.lock
        if not old and not unsure:
            return
        if deadline.over:
            pid, _, name, _, table = (old or rows)[0]
            who = f"process {pid} ({name or 'no application_name'})" if pid else "a prepared transaction"
            raise PostgresTimeout(
                f"{who} holds {table} in a transaction that does not end",
                hint="let it end, or raise switch_timeout of [read_models.postgres]; then run it again",
            )
        time.sleep(LOOK)
