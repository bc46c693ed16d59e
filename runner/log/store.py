"""A manifest's files, opened: every reader of a log, and its writer, finds streams through this."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from runner.log.manifest import WHOLE, Segment, SegmentFile
from runner.log.streams import EventRows, read_events

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from runner.log.storage import Container

__all__ = ["Store"]


class _Containers(Protocol):
    """What of a ``Storage``, or of its ``Writing``, is needed here."""

    def container(self, file: SegmentFile, *, verify: bool) -> Container: ...

    def fetch(self, wanted: Iterable[tuple[Container, int]]) -> None: ...


class Store:
    """Opens container files on demand and keeps them. Safe for threads."""

    def __init__(self, containers: _Containers, *, verify: bool) -> None:
        self._containers = containers
        self._verify = verify
        self._open: dict[str, Container] = {}
        self._tails: dict[str, EventRows] = {}
        self._guard = threading.Lock()

    def container(self, file: SegmentFile) -> Container:
        with self._guard:
            found = self._open.get(file.name)
            if found is None:
                found = self._open[file.name] = self._containers.container(file, verify=self._verify)
            return found

    def fetch(self, wanted: Iterable[tuple[Segment, SegmentFile, int]]) -> None:
        """Have the streams at hand that ``stream`` will be asked for."""
        self._containers.fetch((self.container(f), WHOLE if s.tail else partition) for s, f, partition in wanted)

    def stream(self, segment: Segment, file: SegmentFile, partition: int) -> pa.Buffer | None:
        """The stream with the partition's events, in a tail segment the one with all; None where there is none."""
        return self.container(file).stream(WHOLE if segment.tail else partition)

    def rows(self, segment: Segment, partition: int) -> EventRows | None:
        """The header of the partition's events, in a tail segment of all events; None where there is none."""
        if segment.id in self._tails:
            return self._tails[segment.id]
        stream = self.stream(segment, segment.events_file, partition)
        if stream is None:
            return None
        rows = read_events(stream)
        if segment.tail:
            # Every partition asks for it, and it is small: views of a few thousand rows.
            self._tails[segment.id] = rows
        return rows
