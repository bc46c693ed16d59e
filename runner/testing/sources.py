"""What every source must do: a conformance suite, and random schedules of writing and reading against a list in memory.

A source passes by an adapter with the methods of ``SourcePort``: each check takes a fresh, empty one and raises
AssertionError with what was expected. ``check_schedule`` runs a schedule on it; ``schedules`` is the Hypothesis
strategy that makes such schedules.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from runner.log.arrival import ARRIVAL_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from hypothesis.strategies import SearchStrategy

    from runner.sources.port import SourceReader

__all__ = ["CHECKS", "SourceEvent", "SourcePort", "Step", "check_schedule", "schedules"]

_BEGUN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


@dataclass(frozen=True)
class SourceEvent:
    """An event as an application writes it. version: from 1 in its aggregate."""

    aggregate_id: str
    version: int
    type: str = "happened"
    payload: Mapping[str, Any] = field(default_factory=dict)
    recorded_at: datetime = _BEGUN


class SourcePort(Protocol):
    """A source that can be written to, for the suite alone. ids, types and payloads hold any text but NUL."""

    def write(self, events: Sequence[SourceEvent]) -> None:
        """Append events, in this order, as one piece of writing: a file, some lines, a transaction."""

    def open(self, mark: Any) -> SourceReader:
        """A reader that goes on from the mark, or from the beginning where it is None."""


@dataclass
class _Read:
    """What readings gave so far. mark: of the last piece taken, through JSON as in a manifest."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    mark: Any = None

    def on(self, port: SourcePort, pieces: int | None = None) -> _Read:
        """Read on to the end, or leave the reader behind so many pieces: what a crash after their commit leaves."""
        reader = port.open(self.mark)
        iterator = reader.pieces()
        taken = 0
        while pieces is None or taken < pieces:
            piece = next(iterator, None)
            if piece is None:
                break
            assert not piece.rejected, f"rejected without a reason: {piece.rejected}"
            self.rows += _rows(piece.events)
            self.mark = _through_json(reader.mark())
            taken += 1
        else:
            return self
        self.mark = _through_json(reader.mark())
        return self

    def shows(self, events: Sequence[SourceEvent], what: str) -> None:
        """Each of these once; an aggregate's own in the order of their versions."""
        assert len(self.rows) == len(events), f"{what}: {len(events)} events written, {len(self.rows)} read"
        assert _by_aggregate(self.rows) == _by_aggregate([_row(e) for e in events]), f"{what}: other events came out"


def _through_json(mark: Any) -> Any:
    return json.loads(json.dumps(mark))


def _row(event: SourceEvent) -> tuple[Any, ...]:
    return event.aggregate_id, event.version, event.type, dict(event.payload), event.recorded_at


def _rows(events: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    missing = [name for name in ARRIVAL_SCHEMA.names if name not in events.schema.names]
    assert not missing, f"arriving events lack {missing}"
    for row in events.to_pylist():
        payload = json.loads(row["payload"])
        assert isinstance(payload, dict), f"a payload is no JSON object: {row['payload']!r}"
        yield row["aggregate_id"], row["version"], row["type"], payload, row["recorded_at"]


def _by_aggregate(rows: Sequence[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for aggregate_id, *rest in rows:
        found[aggregate_id].append(tuple(rest))
    return dict(found)


def _history(first: int, count: int, aggregates: int = 7) -> list[SourceEvent]:
    """count events behind the first ``first`` of one endless history."""
    return [
        SourceEvent(
            f"a{n % aggregates}", n // aggregates + 1, ("opened", "paid", "closed")[n % 3], {"n": n, "text": f"é{n}"},
            _BEGUN + timedelta(milliseconds=n),
        )
        for n in range(first, first + count)
    ]  # fmt: skip


# The checks


def check_everything_once(port: SourcePort) -> None:
    """All events, each once, with every value as it was written."""
    events = _history(0, 500)
    port.write(events)
    read = _Read().on(port)
    read.shows(events, "one reading")
    places = _places(port)
    assert places == sorted(places), "source positions go back in one reading"


def check_nothing_new(port: SourcePort) -> None:
    """Read to its end, a source gives nothing, and the mark stays what it is."""
    events = _history(0, 1)
    port.write(events)
    read = _Read().on(port)
    mark = read.mark
    read.on(port)
    read.shows(events, "reading on with nothing new")
    assert read.mark == mark, "the mark moved though nothing was new"


def check_goes_on(port: SourcePort) -> None:
    """What was written behind a mark, and only that, comes next time."""
    events: list[SourceEvent] = []
    read = _Read()
    for first in range(0, 400, 40):
        new = _history(first, 40)
        port.write(new)
        events += new
        read.on(port)
        read.shows(events, f"after {len(events)} events")


def check_left_in_the_middle(port: SourcePort) -> None:
    """A reader left behind any piece: reading on from its mark neither loses nor doubles."""
    events: list[SourceEvent] = []
    for first in range(0, 300, 100):
        events += (new := _history(first, 100))
        port.write(new)
    pieces = sum(1 for _ in port.open(None).pieces())
    assert pieces, "nothing was read"
    for taken in range(pieces + 1):
        _Read().on(port, taken).on(port).shows(events, f"left after {taken} of {pieces} pieces")


def check_same_again(port: SourcePort) -> None:
    """Reading from the beginning twice gives the same rows in the same order."""
    port.write(_history(0, 300))
    assert _Read().on(port).rows == _Read().on(port).rows, "a second reading gives other rows or another order"


def check_hostile_texts(port: SourcePort) -> None:
    """Ids, types and payloads with whatever JSON, CSV and SQL treat specially come out as they went in."""
    texts = [
        "'",
        '"',
        "\\",
        "a,b;c\td",
        "line\nbreak\r\n",
        "{}[]",
        "%s $1 :x --",
        "😀 e\u0301 \u2028",
        " ",
        "NULL",
        "\\N",
        "é" * 5000,
    ]
    events = [
        SourceEvent(f"id{text}", 1, f"type{text}", {"text": text, text: None, "deep": {"list": [text, 1.5, None]}})
        for text in texts
    ]  # fmt: skip
    port.write(events)
    _Read().on(port).shows(events, "hostile texts")


def check_exact_numbers(port: SourcePort) -> None:
    """Numbers in a payload keep every digit: the whole range of int64."""
    numbers = [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]
    events = [SourceEvent("a", version, payload={"n": n}) for version, n in enumerate(numbers, 1)]
    port.write(events)
    _Read().on(port).shows(events, "large numbers")


def check_times(port: SourcePort) -> None:
    """Recorded times keep their microseconds; they may run backwards."""
    times = [_BEGUN, _BEGUN - timedelta(days=9000, microseconds=1), _BEGUN + timedelta(days=5000)]
    events = [SourceEvent("a", version, recorded_at=at) for version, at in enumerate(times, 1)]
    port.write(events)
    _Read().on(port).shows(events, "recorded times")


def _places(port: SourcePort) -> list[tuple[int, int]]:
    columns = ("source_position_0", "source_position_1")
    return [
        place
        for piece in port.open(None).pieces()
        for place in zip(*(piece.events.column(name).to_pylist() for name in columns), strict=True)
    ]


CHECKS: tuple[Callable[[SourcePort], None], ...] = (
    check_everything_once,
    check_nothing_new,
    check_goes_on,
    check_left_in_the_middle,
    check_same_again,
    check_hostile_texts,
    check_exact_numbers,
    check_times,
)


# Schedules


@dataclass(frozen=True)
class Step:
    """One step of a schedule: write so many events, then read so many pieces (None: to the end)."""

    events: int
    pieces: int | None


def schedules() -> SearchStrategy[list[Step]]:
    """Schedules of up to ten steps for ``check_schedule``."""
    from hypothesis import strategies as st  # only for tests

    step = st.builds(Step, st.integers(0, 60), st.none() | st.integers(0, 3))
    return st.lists(step, min_size=1, max_size=10)


def check_schedule(port: SourcePort, schedule: Sequence[Step]) -> None:
    """Writing and reading in turns, each reading perhaps left in the middle: in the end each event was read once."""
    events: list[SourceEvent] = []
    read = _Read()
    for step in schedule:
        if step.events:
            new = _history(len(events), step.events)
            port.write(new)
            events += new
        if events:
            read.on(port, step.pieces)
            assert len(read.rows) <= len(events), f"{len(events)} events written, {len(read.rows)} read"
    if events:
        read.on(port)
        read.shows(events, f"after {len(schedule)} steps")
