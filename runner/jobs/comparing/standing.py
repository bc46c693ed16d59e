"""The position of the log at which it holds exactly what an application's table reflects.

The application says a place of the store: a position, or a transaction and a position. In the log the store's order is
the order of arrival, but for a few events: those that came late, and those whose versions were put right. So the cut is
the position before the first event that lies behind the place, as for ``--to``, and what belongs to the place and
stands behind the cut is counted and told.

The log holds all of the place once its mark has passed it: after the table was read, the source is synced up to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runner.errors import ConfigError, JobError
from runner.jobs.syncing.sync import sync
from runner.log import Log
from runner.positions import Position
from runner.sources.postgres.marks import StoreMark, read_marks
from runner.sources.postgres.unread import epochs_of, unread_upto
from runner.stats import Noted

if TYPE_CHECKING:
    from runner.config import Config
    from runner.sources.postgres.visible import Visible
    from runner.stats import Listener

__all__ = ["Standing", "place_of", "source_of", "standing_at", "standing_of_visible", "synced_up_to"]

Int64s = npt.NDArray[np.int64]
PAUSE = 0.25


@dataclass(frozen=True)
class Standing:
    """position: the cut. late: events of the place behind the cut, which the table reflects and the fold does not."""

    position: Position
    late: int
    words: str


def source_of(config: Config, wanted: str, where: str) -> str:
    """The source whose positions are meant. Raises ConfigError where it has to be said which, JobError where it has
    tenants with positions of their own.
    """
    source = _named(config, wanted, where)
    if Log.exists(config.log.path):
        with Log.open(config.log.path) as log:
            _single(log, source)
    return source


def _named(config: Config, wanted: str, where: str) -> str:
    if wanted:
        if wanted not in config.sources:
            raise ConfigError(f"{where}: there is no source {wanted!r}", hint=f"there is {', '.join(config.sources)}")
        return wanted
    if len(config.sources) != 1:
        raise ConfigError(
            f"{where}: there are {len(config.sources)} sources",
            hint='progress = { ..., source = "NAME" } says whose place it is',
        )
    return next(iter(config.sources))


def standing_at(log: Log, source: str, place: tuple[int, ...]) -> Standing:
    """Where the log has reached this place of the source. Raises JobError for a place before the first event."""
    numbers = log.source_numbers(source)
    position, first, second = numbers[:, 0], numbers[:, 1], numbers[:, 2]
    ends = _epochs(log, source)
    if len(place) == 1 and first.any():
        place = (_transaction_of(numbers, place[0], source), place[0])
    epochs = np.searchsorted(ends, second, "left")
    epoch = int(np.searchsorted(ends, place[-1], "left"))
    if len(place) == 1:
        behind = second > place[0]
    else:
        later = (first > place[0]) | ((first == place[0]) & (second > place[1]))
        behind = (epochs > epoch) | ((epochs == epoch) & later)
    words = f"{source}:{','.join(str(number) for number in place)}"
    return _cut(log, position, behind, words)


def place_of(log: Log, source: str, position: Position) -> tuple[int, ...]:
    """The place of the source that a read model at this position of the log reflects: of its last event in the store's
    order. Raises JobError where it reflects none, and where events at or below the place are not in it: who goes on
    behind the place would never read them.
    """
    marks = _single(log, source)
    ends = _epochs(log, source)
    highest: tuple[int, ...] = ()
    lowest: tuple[int, ...] = ()
    two = False
    for part in log.source_number_parts(source):
        epochs = np.searchsorted(ends, part[:, 2], "left")
        rows = np.stack([epochs.astype(np.int64), part[:, 1], part[:, 2]], axis=1)
        reflected = part[:, 0] <= position
        two = two or bool(part[:, 1].any())
        if reflected.any():
            highest = max(highest, _furthest(rows[reflected]))
        if not reflected.all():
            behind = tuple(-n for n in _furthest(-rows[~reflected]))
            lowest = min(lowest, behind) if lowest else behind
    if not highest:
        raise JobError(f"no event of {source} lies up to position {position}", hint="there is nothing to hand over")
    place = highest[1:] if two else highest[2:]
    shown = ",".join(map(str, place))
    unread = "; ".join(filter(None, (unread_upto(mark, place) for mark in marks.values())))
    if unread:
        raise JobError(
            f"the application cannot go on behind {source}:{shown}: up to there may still come {unread}",
            hint="`runner status` says what is open; when that has ended, `runner sync`, and run it again",
        )
    if lowest and lowest <= highest:
        late = ",".join(map(str, lowest[1:] if two else lowest[2:]))
        raise JobError(
            f"the application cannot go on behind {source}:{shown}: the event at {late} came late into the log, behind "
            f"position {position}, up to which the read model goes",
            hint="run it again, up to the log's end",
        )
    return place


def _furthest(rows: Int64s) -> tuple[int, ...]:
    """The last of some rows in their order; there is one."""
    found = []
    for column in range(rows.shape[1]):
        most = rows[:, column].max()
        rows = rows[rows[:, column] == most]
        found.append(int(most))
    return tuple(found)


def standing_of_visible(log: Log, source: str, visible: Visible) -> Standing:
    """Where the log holds what a snapshot of the store saw."""
    _single(log, source)
    numbers = log.source_numbers(source)
    second = numbers[:, 2]
    behind = (second > visible.above) & ~np.isin(second, visible.positions)
    newest = int(visible.positions[-1]) if len(visible.positions) else visible.above
    return _cut(log, numbers[:, 0], behind, f"{source}, all that was committed up to {newest}")


def _cut(log: Log, position: Int64s, behind: npt.NDArray[np.bool_], words: str) -> Standing:
    cut = int(position[behind].min()) - 1 if behind.any() else int(log.last_position)
    late = int((position[~behind] > cut).sum())
    if cut < 1:
        raise JobError(f"nothing of the log lies up to {words}", hint="the application's projection has not begun")
    return Standing(Position(cut), late, words)


def _transaction_of(numbers: Int64s, position: int, source: str) -> int:
    """The first column of the event with this position: the store orders by two, and one was said."""
    found = numbers[numbers[:, 2] == position]
    if not len(found):
        raise JobError(
            f"the log has no event of {source} with the position {position}, and the store orders by two columns",
            hint="let progress give both: the transaction id and the position",
        )
    return int(found[0, 1])


def _epochs(log: Log, source: str) -> Int64s:
    """The highest position of each former life of the store."""
    return np.array([end for mark in _single(log, source).values() for end in epochs_of(mark)], np.int64)


def _marks(log: Log, source: str) -> dict[str, StoreMark]:
    """Of a store in Postgres, by tenant; of others none."""
    known = log.manifest.source(source)
    mark = known.mark if known is not None else None
    reader = mark.get("reader") if isinstance(mark, dict) else None
    if not isinstance(reader, dict) or not isinstance(reader.get("tenants"), dict):
        return {}
    return read_marks(f"[sources.{source}]", reader)


def _single(log: Log, source: str) -> dict[str, StoreMark]:
    """The mark of a source whose events stand in one order, by "" or its only tenant; of files none.

    Raises JobError for several tenants, each with an order of its own.
    """
    marks = _marks(log, source)
    if len(marks) > 1:
        raise JobError(
            f"the source {source} has {len(marks)} tenants with positions of their own ({', '.join(sorted(marks)[:3])}"
            f"{', ...' if len(marks) > 3 else ''}): a place of one is no place of the others",
            hint="make a source of the one tenant whose place it is; a comparison may be with the log's end, "
            'progress = "log-end"',
        )
    return marks


def synced_up_to(config: Config, source: str, place: tuple[int, ...], *, wait: float, listener: Listener) -> None:
    """Sync until the log's mark has passed the place, at most ``wait`` seconds long.

    A place at which no event stands (a position that was rolled back) counts as passed when a sync that began after it
    was read brings nothing more. Raises JobError where the store does not let go of it, SourceError.
    """
    until, quiet = time.monotonic() + wait, 0
    while not _passed(config, source, place):
        report = sync(config, [source], listener)
        quiet = 0 if report.events else quiet + 1
        if _passed(config, source, place) or (quiet > 1 and _nothing_between(config, source, place)):
            return
        if time.monotonic() >= until:
            shown = ",".join(map(str, place))
            raise JobError(
                f"the log has not reached {source}:{shown}, which the application's table reflects",
                hint="`runner status` says who holds the watermark; --wait allows more time",
            )
        listener(Noted(f"waiting for {source} to be settled up to {','.join(map(str, place))}"))
        time.sleep(PAUSE)


def _passed(config: Config, source: str, place: tuple[int, ...]) -> bool:
    with Log.open(config.log.path) as log:
        known = log.manifest.source(source)
        if known is None:
            return False
        marks = _single(log, source)
        if not marks:
            return True  # files: what they hold is in the log
        numbers = log.source_numbers(source)
        if len(numbers) and bool((numbers[:, 2] == place[-1]).any()):
            return True
        ends = _epochs(log, source)
        epoch = int(np.searchsorted(ends, place[-1], "left"))
        afters = [m.after for m in marks.values() if m.after is not None]
        return any(
            int(np.searchsorted(ends, after[-1], "left")) == epoch and after[-len(place) :] >= place for after in afters
        ) or epoch < len(ends)


def _nothing_between(config: Config, source: str, place: tuple[int, ...]) -> bool:
    """Whether the store has no row from behind the log's end up to the place."""
    from runner.sources.postgres.visible import visible_positions

    settings = config.sources[source]
    if settings.format != "postgres":
        return True
    with Log.open(config.log.path) as log:
        numbers = log.source_numbers(source)
    above = int(numbers[:, 2].max()) if len(numbers) else 0
    from runner.postgres import connect

    with connect(settings.connection, f"compare {source}") as connection:
        positions = visible_positions(connection, settings, above).positions
    return not bool((positions <= place[-1]).any())
