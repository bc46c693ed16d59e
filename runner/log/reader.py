"""Reading the log: mapped batches for folds, raw payloads for people, places for cuts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from runner.errors import LogError
from runner.log.arrival import NO_TIME
from runner.log.columns import column_digest, read_column
from runner.log.cut import cut_at, left_out
from runner.log.identity import identity_hash, partition_of
from runner.log.places import number_parts, numbers_of, places_of, positions_between
from runner.log.storage import storage_of
from runner.log.store import Store
from runner.log.streams import EventRows, raw_texts
from runner.log.views import kept_rows, make_batch
from runner.positions import START, Cut, PartitionId, Position, SourcePosition

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import pyarrow as pa

    from runner.batch import Batch, PayloadArray
    from runner.config.object_store import LogPath, ObjectStorePath
    from runner.log.manifest import Manifest, Segment, SegmentFile, Source
    from runner.log.storage import Hold, Storage
    from runner.values import PayloadColumn

__all__ = ["HEADER", "Log", "RawEvent", "moment"]

AHEAD = 8
"""Of how many segments a scan has its streams at hand at once, where they have to be fetched."""

HEADER = frozenset({"position", "version", "recorded_at"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RawEvent(NamedTuple):
    """One event as it was synced; ``payload`` is the JSON text, recorded_at None where the source gives none."""

    position: int
    aggregate_id: str
    type: str
    version: int
    recorded_at: datetime | None
    payload: str


def moment(microseconds: int) -> datetime | None:
    """The time that a stored recorded_at means; None where there is none."""
    return None if microseconds == NO_TIME else _EPOCH + timedelta(microseconds=microseconds)


class Log:
    """The log as one manifest says it is: later commits are not seen, compaction does not take its files away.

    Open with ``Log.open``; close it, or use it as a context manager, so that a writer may remove what is not needed any
    more (arrays already handed out stay valid). Safe for threads. A pickled log opens the same manifest elsewhere.
    """

    def __init__(self, storage: Storage, manifest: Manifest, hold: Hold, *, verify: bool) -> None:
        self.storage = storage
        self.manifest = manifest
        self._hold = hold
        self._verify = verify
        self._store = self.store()
        self._type_codes = {name: code for code, name in enumerate(manifest.types)}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | ObjectStorePath, *, verify: bool = True, number: int | None = None
    ) -> Log:
        """Open the log, as the current manifest or the one numbered ``number`` has it.

        verify: check each stream's digest when it is first mapped. Raises LogError where there is no log,
        LogDamaged where the manifest is not what was written, LogFormatError for another format.
        """
        storage = storage_of(path)
        manifest, hold = storage.hold(number)
        return cls(storage, manifest, hold, verify=verify)

    @staticmethod
    def exists(path: str | os.PathLike[str] | ObjectStorePath) -> bool:
        """Whether a log was begun there. Raises LogError where that cannot be seen."""
        return storage_of(path).exists()

    @property
    def path(self) -> LogPath:
        """By which it is opened again."""
        return self.storage.path

    def store(self) -> Store:
        """The manifest's files, opened anew: for scans of their own, which leave nothing open behind them."""
        return Store(self.storage, verify=self._verify)

    # What there is ----------------------------------------------------------------------------------------------------

    @property
    def partitions(self) -> int:
        """P, a power of two."""
        return self.manifest.partitions

    @property
    def events(self) -> int:
        return sum(s.events for s in self.manifest.segments)

    @property
    def last_position(self) -> Position:
        return Position(self.manifest.last_position)

    @property
    def types(self) -> tuple[str, ...]:
        """Stored type names by type code."""
        return self.manifest.types

    @property
    def scopes(self) -> tuple[tuple[str, str], ...]:
        """(source namespace, tenant) by scope code."""
        return self.manifest.scopes

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.manifest.sources

    @property
    def counts(self) -> dict[str, int]:
        """Events per stored type name."""
        total = dict.fromkeys(self.manifest.types, 0)
        for segment in self.manifest.segments:
            for code, n in segment.types.items():
                total[self.manifest.types[code]] += n
        return total

    @property
    def digest(self) -> str:
        """32 hex digits; equal for equal events at equal positions, however they are cut into segments."""
        return f"{sum(int(s.digest, 16) for s in self.manifest.segments) % 2**128:032x}"

    def missing_columns(self, columns: Sequence[PayloadColumn]) -> tuple[PayloadColumn, ...]:
        """Those whose sidecars ``LogWriter.ensure_columns`` has yet to write."""
        return tuple(c for c in columns if any(self._lacks(s, c) for s in self.manifest.segments))

    def find(self, aggregate_id: str) -> tuple[tuple[int, int, int], ...]:
        """(scope code, hi, lo) of every aggregate with this id, there may be one in each scope.

        The partition is ``partition_of(hi)``.
        """
        found = []
        for code, (namespace, tenant) in enumerate(self.scopes):
            hi, lo = identity_hash(namespace, tenant, aggregate_id)
            if any(self._knows(s, hi, lo) for s in self.manifest.segments):
                found.append((code, hi, lo))
        return tuple(found)

    def partition_of(self, hi: int) -> PartitionId:
        return partition_of(hi, self.partitions)

    # Scans ------------------------------------------------------------------------------------------------------------

    def batches(
        self,
        partition: int,
        columns: Sequence[PayloadColumn] = (),
        header: frozenset[str] = HEADER,
        since: int = START,
        to: int | None = None,
    ) -> Iterator[Batch]:
        """The partition's batches with events in since < position <= to, in the order of segments.

        Arrays are views of the mapped files, but where since, to or an unpartitioned tail batch cut a batch.
        Raises LogDamaged; LogError where a column's sidecar is missing.
        """
        for segment in self._ahead(self._between(since, to), partition, columns):
            rows = self._rows(segment, partition)
            if rows is None:
                continue
            last = segment.last if to is None else to
            keep = kept_rows(segment, rows, partition, self.partitions, since, last)
            if keep is not None and not keep.any():
                continue
            yield make_batch(segment, partition, rows, self._payload(segment, partition, columns), header, keep)

    def all_batches(
        self,
        columns: Sequence[PayloadColumn] = (),
        header: frozenset[str] = HEADER,
        since: int = START,
        to: int | None = None,
    ) -> Iterator[Batch]:
        """The same of all partitions, for few events: a tail batch that holds several partitions is given as it is."""
        for segment in self._between(since, to):
            last = segment.last if to is None else to
            for partition in self._partitions(segment, columns):
                rows = self._rows(segment, partition)
                if rows is None:
                    continue
                keep = kept_rows(segment, rows, None, self.partitions, since, last)
                if keep is None or keep.any():
                    yield make_batch(segment, partition, rows, self._payload(segment, partition, columns), header, keep)

    def raw(
        self, partition: int, since: int = START, to: int | None = None, aggregate: tuple[int, int] | None = None
    ) -> Iterator[RawEvent]:
        """The partition's events in since < position <= to with their payloads, in the order of positions.

        aggregate: only those of the aggregate with this (hi, lo). Raises LogDamaged.
        """
        for segment in self._between(since, to):
            rows = self._rows(segment, partition)
            if rows is None or (aggregate is not None and not self._knows(segment, *aggregate)):
                continue
            keep = kept_rows(segment, rows, partition, self.partitions, since, segment.last if to is None else to)
            mask = np.ones(len(rows.codes), np.bool_) if keep is None else keep
            if aggregate is not None:
                a = rows.aggregates
                mask = mask & ((a.hi == np.uint64(aggregate[0])) & (a.lo == np.uint64(aggregate[1])))[rows.codes]
            chosen = np.flatnonzero(mask)
            if len(chosen):
                chosen = chosen[np.argsort(rows.header["position"][chosen], kind="stable")]
                yield from self._raw_events(segment, partition, rows, chosen)

    def cut_at(self, place: int | datetime | str | tuple[str, SourcePosition]) -> Cut:
        """The cut that ``--to`` means: a position, a time, a (source, source position), or a text for any of them.

        Texts: ``"1200"``, ``"2026-01-01T00:00:00Z"``, ``"orders:17"`` or ``"orders:2,17"``. All events from the
        first one (by position) behind the place on are left out. Raises ConfigError for what is none of these, and
        for a place before the first event of a log that has some.
        """
        return cut_at(self.manifest, self._all_rows, place)

    def left_out(self, cut: Cut) -> int:
        """How many events a cut by time leaves out that were recorded up to it: they came behind a later one."""
        return left_out(self.manifest, self._all_rows, cut)

    def places(self, source: str, since: int = START) -> pa.Table:
        """Where a source's events behind ``since`` stood in it (``places.PLACES_SCHEMA``), ascending by position."""
        rows = (each for segment in self._between(since, None) for each in self._all_rows(segment))
        return places_of(self.manifest, rows, source, since)

    def source_positions(self, source: str, tenant: str, first: int, last: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which of a tenant's source positions (the second) from first to last the log has, int64, ascending."""
        rows = (each for segment in self.manifest.segments for each in self._all_rows(segment))
        return positions_between(self.manifest, rows, source, tenant, first, last)

    def source_numbers(self, source: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """int64[n, 3]: position and the two source positions of all events of a source; in no order."""
        return numbers_of(
            self.manifest, (each for segment in self.manifest.segments for each in self._all_rows(segment)), source
        )

    def source_number_parts(self, source: str) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
        """The same, part by part, for what need not have all of them in memory."""
        rows = (each for segment in self.manifest.segments for each in self._all_rows(segment))
        return number_parts(self.manifest, rows, source)

    def _raw_events(
        self, segment: Segment, partition: int, rows: EventRows, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]
    ) -> Iterator[RawEvent]:
        stream = self._store.stream(segment, segment.raw_file, partition)
        assert stream is not None
        texts = raw_texts(stream)
        header, ids, names = rows.header, rows.aggregates.ids, self.manifest.types
        # A few thousand Python events at a time, whatever the partition holds.
        for at in range(0, len(chosen), 4096):
            part = chosen[at : at + 4096]
            yield from (
                RawEvent(position, aggregate, names[code], version, moment(recorded), payload)
                for position, aggregate, code, version, recorded, payload in zip(
                    header["position"][part].tolist(),
                    ids.take(rows.codes[part]).to_pylist(),
                    header["type"][part].tolist(),
                    header["version"][part].tolist(),
                    header["recorded_at"][part].tolist(),
                    texts.take(part).to_pylist(),
                    strict=True,
                )
            )

    def _between(self, since: int, to: int | None) -> Iterator[Segment]:
        for segment in self.manifest.segments:
            if segment.last > since and (to is None or segment.first <= to):
                yield segment

    def _ahead(
        self, segments: Iterator[Segment], partition: int, columns: Sequence[PayloadColumn]
    ) -> Iterator[Segment]:
        """The segments, some at a time, with what is wanted of them at hand."""
        digests = [column_digest(column) for column in columns]
        while some := list(islice(segments, AHEAD)):
            self._store.fetch((s, file, partition) for s in some for file in _files(s, digests))
            yield from some

    def _rows(self, segment: Segment, partition: int) -> EventRows | None:
        return self._store.rows(segment, partition)

    def _all_rows(self, segment: Segment) -> Iterator[EventRows]:
        for partition in self._partitions(segment, ()):
            rows = self._rows(segment, partition)
            if rows is not None:
                yield rows

    def _partitions(self, segment: Segment, columns: Sequence[PayloadColumn]) -> tuple[int, ...]:
        """Those that the segment has events of, with what is wanted of them at hand."""
        partitions = self._store.container(segment.events_file).partitions
        files = _files(segment, [column_digest(column) for column in columns])
        self._store.fetch((segment, file, partition) for file in files for partition in partitions)
        return partitions

    def _knows(self, segment: Segment, hi: int, lo: int) -> bool:
        rows = self._rows(segment, self.partition_of(hi))
        if rows is None:
            return False
        at = int(np.searchsorted(rows.aggregates.hi, np.uint64(hi)))
        while at < len(rows.aggregates) and int(rows.aggregates.hi[at]) == hi:
            if int(rows.aggregates.lo[at]) == lo:
                return True
            at += 1
        return False

    def _lacks(self, segment: Segment, column: PayloadColumn) -> bool:
        code = self._type_codes.get(column.event_type, -1)
        return code in segment.types and column_digest(column) not in segment.columns

    def _payload(
        self, segment: Segment, partition: int, columns: Sequence[PayloadColumn]
    ) -> dict[PayloadColumn, tuple[int, PayloadArray]]:
        found = {}
        for column in columns:
            stored = segment.columns.get(column_digest(column))
            if stored is None:
                if self._lacks(segment, column):
                    raise LogError(
                        f"the log has no column for {column.event_type} {column.paths} in segment {segment.id}",
                        hint="`runner rebuild` makes missing columns; LogWriter.ensure_columns does in code",
                    )
                continue
            stream = self._store.stream(segment, stored.file, partition)
            if stream is not None:
                found[column] = (self._type_codes[column.event_type], read_column(stream, column.type))
        return found

    # Life -------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the manifest; scans that go on may find their files gone."""
        self._hold.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path.resolve(), self._verify, self.manifest.number)


def _files(segment: Segment, columns: Sequence[str]) -> list[SegmentFile]:
    """The header's file and those of columns, named by digest, that the segment has."""
    return [segment.events_file, *(segment.columns[d].file for d in columns if d in segment.columns)]


def _reopen(path: LogPath, verify: bool, number: int) -> Log:
    return Log.open(path, verify=verify, number=number)
