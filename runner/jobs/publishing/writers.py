"""Who writes a live table beside the runner, and how a rebuild takes its place without losing what they write.

===================  ===============================================================================================
asynchronous         the runner alone (its updates), or a projector whose checkpoint is handed over
inline               the application, in the transaction that appends the event: caught up under a short lock of the
                     live table, at most ``--max-block`` seconds at a time
store-then-project   the application, after it stored the event: what it has read and not written yet is nowhere to be
                     seen, so the writer must be paused
===================  ===============================================================================================

``[publish.NAME] writer`` says which; a ``[publish.NAME]`` without it takes what applications of the store do (the
preset's), a read model without one is the runner's alone. An update leaves tables alone that the application writes.

Under the lock: all that was committed before it is visible. The store's newest visible place is looked up, the log
synced until it is past that place, folded, applied to the loaded table, and switched in the transaction that holds the
lock. A writer that stored an event and waits for the lock keeps the watermark below it; then the lock is let go of, and
tried again.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import JobError, LogLocked, PostgresError, PostgresTimeout
from runner.log import Log
from runner.stats import Noted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.config import Config
    from runner.jobs.publishing.publishing import Coming, Publishing
    from runner.jobs.records.recording import Recording
    from runner.sinks.postgres.holding import Held

__all__ = ["WriterWish", "Writers", "caught_up_under_lock", "is_handed_over", "is_in_place"]

TRIES = 20
PAUSE = 0.05


def is_in_place(config: Config, name: str) -> bool:
    """Whether this read model's table is the application's own, whose rows are put right in place."""
    publish = config.publish.get(name)
    return publish is not None and publish.publish == "in-place"


def is_handed_over(config: Config, name: str) -> bool:
    """Whether the application goes on writing the table where a rebuild ends."""
    publish = config.publish.get(name)
    return publish is not None and publish.hand_over is not None


@dataclass(frozen=True)
class WriterWish:
    """max_block: seconds for which inline writers may be held up at a time. paused: nobody writes just now, says who
    started the run."""

    max_block: float = 2.0
    paused: bool = False


@dataclass(frozen=True)
class Writers:
    """Who writes which table."""

    config: Config
    wish: WriterWish

    def of(self, name: str) -> str:
        """ "asynchronous", "inline" or "store-then-project"."""
        publish = self.config.publish.get(name)
        if publish is None:
            return "asynchronous"
        if publish.writer:
            return publish.writer
        if publish.hand_over is not None:
            return "asynchronous"
        from runner.config.postgres import PostgresSourceConfig
        from runner.sources.postgres.presets import PRESETS

        found = {
            PRESETS[source.preset].writes
            for source in self.config.sources.values()
            if isinstance(source, PostgresSourceConfig) and source.preset in PRESETS
        }
        return next((kind for kind in ("store-then-project", "inline") if kind in found), "asynchronous")

    def inline(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that the application writes inline."""
        found = (name for name in names if self.of(name) == "inline" and not is_in_place(self.config, name))
        return () if self.wish.paused else tuple(found)

    def ours(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that an update of the runner writes: not those that were handed over to the application."""
        return tuple(
            name for name in names if self.of(name) == "asynchronous" and not is_handed_over(self.config, name)
        )

    def check(self, names: Iterable[str], *, back: bool = False) -> None:
        """Raise JobError where a table cannot be replaced while its writer goes on. back: by a former one."""
        for name in names:
            kind = self.of(name)
            if back and is_handed_over(self.config, name) and not is_in_place(self.config, name):
                raise JobError(
                    f"{name!r} was handed over to the application, which has kept its table current since: the former "
                    "table is of no place that it could go on from",
                    hint=f"`runner rebuild {name}` makes a table and hands it over again",
                )
            if kind == "asynchronous" or self.wish.paused:
                continue
            if is_in_place(self.config, name):
                raise JobError(
                    f"the application writes {name!r} itself ({kind}): put right in place, rows would be set back "
                    "behind what it writes",
                    hint=f"pause it and say --writer-paused; where a projector with a checkpoint writes it, say so by "
                    f'[publish.{name}] writer = "asynchronous"',
                )
            if back:
                raise JobError(
                    f"the application writes {name!r} itself ({kind}): the former table lacks what it wrote since",
                    hint=f"`runner rebuild {name}` makes a table that has it",
                )
            if kind == "store-then-project":
                raise JobError(
                    f"the application writes {name!r} after it has stored an event: what it has yet to write is seen "
                    "nowhere, so its writer must be paused",
                    hint="pause it and say --writer-paused; where it writes in another way, say so by "
                    f"[publish.{name}] writer",
                )


class _Behind(Exception):
    """The log cannot get past what was committed before the lock."""


def caught_up_under_lock(publishing: Publishing, run: Recording, coming: Coming) -> None:
    """Switch tables that the application writes inline. Raises JobError where its writers cannot be caught up with."""
    tables, config, seconds = coming.tables, publishing.config, publishing.wish.max_block
    inline = Writers(config, publishing.wish).inline(coming.names)
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            run.tell(Noted(f"{', '.join(inline)}: the writers go on, the switch is tried again: {reason}"))
            time.sleep(min(PAUSE * 2**attempt, seconds) * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
        _synced(config, run, time.monotonic() + 60)
        coming.follow()
        tables.wait_for_snapshots(coming.loaded)
        try:
            with publishing.holding(coming.names), run.stage("switch"):
                until = time.monotonic() + seconds
                with tables.hold(inline, seconds=seconds) as held:
                    _past_the_newest(config, run, held, until)
                    coming.follow()
                    _check_whole(config, coming, inline)
                    publishing.prepare(coming.built)
                    publishing.made_live(run, coming, held)
                publishing.models.publish_rebuild(coming.built)
                return
        except (_Behind, PostgresTimeout, LogLocked) as error:
            reason = str(error)
    raise JobError(
        f"{', '.join(inline)}: inline writers could not be caught up with in {TRIES} tries of {seconds:g} s: {reason}",
        hint="raise --max-block, run it at a quieter time, or pause the writers and say --writer-paused",
    )


def _check_whole(config: Config, coming: Coming, inline: tuple[str, ...]) -> None:
    """Raise JobError where the new versions lack events that are in the log: rows would be lost."""
    with Log.open(config.log.path) as log:
        last = log.last_position
    for one in coming.built:
        if one.version.name in inline and one.version.position < last:
            raise JobError(
                f"{one.version.name}: its application writes the table with the events, and the new version ends at "
                f"position {one.version.position:,} of {last:,}: what was written since would be gone",
                hint=f"`runner rebuild {one.version.name}` up to the end; or pause the writers and say --writer-paused",
            )


def _synced(config: Config, run: Recording, until: float) -> None:
    """Sync all sources; where another process does it just now, wait for it."""
    from runner.jobs.syncing.sync import sync

    while config.sources:
        try:
            sync(config, listener=run.tell)
        except LogLocked:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE)
        else:
            return


def _past_the_newest(config: Config, run: Recording, held: Held, until: float) -> None:
    """Sync until the log has all that is visible in the stores now. Raises _Behind, at once where it is held back by
    one who waits for this very lock.
    """
    newest = _places(config)
    while True:
        _synced(config, run, until)
        now = _places(config)
        late = [key for key, was in newest.items() if not now[key].reaches(was)]
        if not late:
            return
        holders = ", ".join(sorted({who for key in late for who in now[key].holders})) or "nobody that is seen"
        behind = _Behind(f"{late[0][0]} cannot be read to its newest event in time; it is held back by {holders}")
        try:
            if time.monotonic() >= until or held.keeps_waiting({pid for key in late for pid in now[key].pids}):
                raise behind
        except PostgresError as error:  # the server has ended the lock already
            raise behind from error
        time.sleep(PAUSE / 5)


@dataclass(frozen=True)
class _Reading:
    """How far a store is read. after: where the log is; behind: rows that it lacks; holders: of the watermark."""

    after: Any
    newest: Any
    behind: int | None
    holders: tuple[str, ...]
    pids: tuple[int, ...]

    def reaches(self, before: _Reading) -> bool:
        """Whether the log has all that was visible before. The newest row may be none that the source reads; where no
        index finds it, it is not known, and the log has all only if it lacks nothing.
        """
        if self.behind == 0:
            return True
        return before.newest is not None and self.after is not None and self.after >= before.newest


def _places(config: Config) -> dict[tuple[str, str], _Reading]:
    """By (source, tenant)."""
    from runner.config.postgres import PostgresSourceConfig
    from runner.sources.postgres.watermark import watermarks

    found = {}
    with Log.open(config.log.path) as log:
        marks = {source.name: source.mark for source in log.sources}
    for source in config.sources.values():
        if isinstance(source, PostgresSourceConfig):
            mark = marks.get(source.name) or {}
            for one in watermarks(source, mark.get("reader")):
                holders = tuple(f"process {h.pid} ({h.application})" if h.pid else h.what for h in one.holders)
                pids = tuple(h.pid for h in one.holders if h.pid)
                found[one.source, one.tenant] = _Reading(one.after, one.newest, one.behind, holders, pids)
    return found
