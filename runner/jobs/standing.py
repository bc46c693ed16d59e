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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runner.errors import ConfigError, JobError
from runner.jobs.sync import sync
from runner.log import Log
from runner.positions import Position
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
    """The source whose positions are meant. Raises ConfigError where it has to be said which."""
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
    order. Raises JobError where it reflects none.
    """
    numbers = log.source_numbers(source)
    numbers = numbers[numbers[:, 0] <= position]
    if not len(numbers):
        raise JobError(f"no event of {source} lies up to position {position}", hint="there is nothing to hand over")
    first, second = numbers[:, 1], numbers[:, 2]
    epochs = np.searchsorted(_epochs(log, source), second, "left")
    last = np.lexsort((second, first, epochs))[-1]
    return (int(first[last]), int(second[last])) if first.any() else (int(second[last]),)


def standing_of_visible(log: Log, source: str, visible: Visible) -> Standing:
    """Where the log holds what a snapshot of the store saw."""
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
    """The highest position of each former life of the store (``sources/postgres/tail/transactions.py``)."""
    known = log.manifest.source(source)
    ends: list[int] = []
    for mark in _marks(known.mark if known is not None else None).values():
        state = (mark.get("tail") or {}).get("state") or {}
        ends += state.get("epochs", []) if isinstance(state, dict) else []
    return np.array(sorted(ends), np.int64)


def _marks(mark: Any) -> dict[str, Any]:
    reader = mark.get("reader") if isinstance(mark, dict) else None
    tenants = reader.get("tenants") if isinstance(reader, dict) else None
    return tenants if isinstance(tenants, dict) else {}


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
        marks = _marks(known.mark)
        if not marks:
            return True  # files: what they hold is in the log
        numbers = log.source_numbers(source)
        if len(numbers) and bool((numbers[:, 2] == place[-1]).any()):
            return True
        ends = _epochs(log, source)
        epoch = int(np.searchsorted(ends, place[-1], "left"))
        afters = [tuple(m["after"]) for m in marks.values() if m.get("after") is not None]
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
