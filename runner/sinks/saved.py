"""The rows that a catch-up continues from: a version's rows are its saved states, there is no other copy of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runner.errors import ReadModelError
from runner.sinks.durable import digest_of, footer_of, translated
from runner.sinks.newest import in_hashes, lay_over, rows_with_keys, words
from runner.sinks.rows import file_schema, read_files
from runner.sinks.shape import EVERY, HASH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.sinks.shape import FileInfo, Version

__all__ = ["KeptFiles", "SavedFiles", "of_partition", "partition_rows"]

UInt64s = npt.NDArray[np.uint64]
KEPT, KEPT_FILE = 256 << 20, 16 << 20
"""Bytes of tables that are kept, and of the largest file that is."""
SMALL = 16 << 20
"""Bytes up to which a file is compared with its digest as a whole (a millisecond) before some of its rows are read."""


class KeptFiles:
    """Tables of files that were read, up to so many bytes; what was used longest ago goes first. Safe for threads."""

    def __init__(self, room: int = KEPT) -> None:
        self._room = room
        self._tables: OrderedDict[tuple[str, str, str], pa.Table] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    def table(self, version: Version, info: FileInfo) -> pa.Table:
        """The rows of a file, compared with its digest when it was read."""
        key = (str(version.directory), info.name, info.digest)
        with self._guard:
            found = self._tables.get(key)
            if found is not None:
                self._tables.move_to_end(key)
                return found
        table = read_files(version, [info])
        with self._guard:
            if key not in self._tables:
                self._tables[key] = table
                self._bytes += table.nbytes
            while self._bytes > self._room and len(self._tables) > 1:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes
        return table


@dataclass(frozen=True)
class SavedFiles:
    """Saved rows of some read models, each at one revision. A ``runner.fold.outcome.SavedRows``; it pickles.

    Looks only into the partitions that the hashes fall into, there only into the row groups whose statistics allow
    them, and compares both words of the hash.
    """

    versions: tuple[Version, ...]
    kept: KeptFiles | None = field(default=None, compare=False)
    """Files that are read again and again, of a process that follows the log."""

    def __reduce__(self) -> tuple[object, ...]:
        return SavedFiles, (self.versions,)

    def __call__(self, projection: str, hi: UInt64s, lo: UInt64s) -> pa.Table:
        """The rows of the aggregates with these hashes, ascending by hash; their plain columns (no dictionaries).

        hi, lo: uint64[n]. ReadModelError for merged keys (use ``by_keys``), an unknown name, a damaged file.
        """
        version = self._version(projection)
        shape = version.shape
        if shape.merged:
            raise ReadModelError(f"read model {projection!r} has merged keys: its rows belong to no aggregate")
        if len(hi) > 1 and not bool(np.all(hi[1:] > hi[:-1])):
            order = np.lexsort((lo, hi))
            hi, lo = hi[order], lo[order]
        partitions = frozenset(_partitions(hi, shape.partitions))
        base = [self._rows_of(version, f, hi, lo) for f in version.bases if f.partition in partitions]
        touching = (f for f in version.deltas if f.partition == EVERY or f.partition in partitions)
        deltas = [self._rows_of(version, f, hi, lo) for f in touching]
        empty = shape.schema.empty_table()
        rows = lay_over(pa.concat_tables([empty, *base]), deltas, shape.full_key)
        order = np.lexsort((words(rows, HASH[1]), words(rows, HASH[0])))
        return rows.take(pa.array(order)).combine_chunks()

    def by_keys(self, projection: str, keys: pa.Table) -> pa.Table:
        """The rows with these keys (a table of the key columns): for merged keys, whose rows no hash finds."""
        version = self._version(projection)
        return rows_with_keys(self.whole(projection), keys, version.shape.full_key)

    def whole(self, projection: str) -> pa.Table:
        """All rows, hashes included; every byte compared with its digest."""
        version = self._version(projection)
        if any(f.partition == EVERY for f in version.deltas):
            deltas = [read_files(version, [f]) for f in version.deltas]
            return lay_over(read_files(version, version.bases), deltas, version.shape.full_key)
        tables = [partition_rows(version, partition) for partition in version.partitions]
        return pa.concat_tables([version.shape.schema.empty_table(), *tables]).combine_chunks()

    def _rows_of(self, version: Version, info: FileInfo, hi: UInt64s, lo: UInt64s) -> pa.Table:
        if self.kept is None or info.bytes > KEPT_FILE:
            return _rows_of(version, info, hi, lo)
        table = self.kept.table(version, info)
        return table.filter(pa.array(in_hashes(words(table, HASH[0]), words(table, HASH[1]), hi, lo)))

    def _version(self, projection: str) -> Version:
        for version in self.versions:
            if version.name == projection:
                return version
        raise ReadModelError(f"there are no saved rows of {projection!r} in this run")


def partition_rows(version: Version, partition: int) -> pa.Table:
    """The rows of a partition at this revision, hashes included; every byte read compared with its digest."""
    base = read_files(version, [f for f in version.bases if f.partition == partition])
    deltas = [
        of_partition(version, read_files(version, [f]), partition) if f.partition == EVERY else read_files(version, [f])
        for f in version.deltas
        if f.partition in (partition, EVERY)
    ]
    return lay_over(base, deltas, version.shape.full_key)


def of_partition(version: Version, rows: pa.Table, partition: int) -> pa.Table:
    """Of rows of several partitions those of one; of merged keys, which have no hashes, all are in the first."""
    bits = version.shape.partitions.bit_length() - 1
    if HASH[0] not in rows.schema.names or bits == 0:
        return rows if partition == 0 else rows.slice(0, 0)
    return rows.filter(pa.array(words(rows, HASH[0]) >> np.uint64(64 - bits) == partition))


def _partitions(hi: UInt64s, count: int) -> list[int]:
    if count == 1:
        return [0] if len(hi) else []
    shift = np.uint64(64 - (count.bit_length() - 1))
    return [int(p) for p in np.unique(hi >> shift)]


def _rows_of(version: Version, info: FileInfo, hi: UInt64s, lo: UInt64s) -> pa.Table:
    """The file's rows of these aggregates (ascending hashes), in the file's order."""
    path = version.directory / info.name
    schema = file_schema(version, info)
    checked = _checked(path, info)
    try:
        with pq.ParquetFile(pa.BufferReader(checked), page_checksum_verification=True) as file:
            groups = _groups(file.metadata, hi)
            if groups:
                hashes = file.read_row_groups(groups, columns=list(HASH), use_threads=False)
                hit = in_hashes(words(hashes, HASH[0]), words(hashes, HASH[1]), hi, lo)
                groups, hit = _narrowed(file.metadata, groups, hit)
            if not groups:
                return schema.empty_table()
            rows = file.read_row_groups(groups, columns=schema.names, use_threads=False)
            rows = rows.select(schema.names).cast(schema)
            return rows if hit.all() else rows.filter(pa.array(hit))
    except (OSError, pa.ArrowException) as error:
        raise ReadModelError(f"{path} is damaged: {error}", hint="roll back, or rebuild the read model") from error


def _checked(path: Path, info: FileInfo) -> pa.Buffer:
    """The file, mapped: of the right size, and whole, or where it is large at least its footer whole."""
    with translated(path, "read"):
        size = path.stat().st_size
        data = pa.memory_map(str(path)).read_buffer() if size else pa.py_buffer(b"")
    view = memoryview(data)
    right = digest_of(view) == info.digest if size <= SMALL else footer_of(view) == info.footer
    if size != info.bytes or not right:
        raise ReadModelError(
            f"{path} is damaged: its bytes differ from their digest",
            hint="`runner rollback` to the version before, or rebuild the read model",
        )
    return data


def _groups(metadata: pq.FileMetaData, hi: UInt64s) -> list[int]:
    """Row groups that can hold one of these hashes, by the statistics of ``_hash_hi``."""
    column = metadata.schema.names.index(HASH[0]) if len(hi) else 0
    found = []
    for group in range(metadata.num_row_groups if len(hi) else 0):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            found.append(group)
            continue
        first, last = np.uint64(statistics.min), np.uint64(statistics.max)
        if np.searchsorted(hi, first, "left") < np.searchsorted(hi, last, "right"):
            found.append(group)
    return found


def _narrowed(
    metadata: pq.FileMetaData, groups: Sequence[int], hit: npt.NDArray[np.bool_]
) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """Only the row groups with a hit, and their hits."""
    kept, hits, start = [], [], 0
    for group in groups:
        stop = start + metadata.row_group(group).num_rows
        part = hit[start:stop]
        if part.any():
            kept.append(group)
            hits.append(part)
        start = stop
    return kept, np.concatenate(hits) if hits else hit[:0]
