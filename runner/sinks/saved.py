"""The rows that a catch-up continues from: a version's rows are its saved states, there is no other copy of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runner.errors import ReadModelError
from runner.sinks.durable import digest_of, footer_of, translated
from runner.sinks.mapped import MappedColumn, mapped_column
from runner.sinks.newest import in_hashes, lay_over, rows_of_hashes, rows_with_keys, words
from runner.sinks.rows import file_schema, read_files
from runner.sinks.shape import DELETED, DELTA, EVERY, HASH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from runner.sinks.shape import FileInfo, Version

__all__ = ["KeptFiles", "SavedFiles", "of_partition", "partition_rows"]

UInt64s = npt.NDArray[np.uint64]
KEPT, KEPT_FILE = 256 << 20, 16 << 20
"""Bytes of tables that are kept, and of the largest file that is."""
FILES = 1024
"""Files that stay mapped."""
SMALL = 16 << 20
"""Bytes up to which a file is compared with its digest as a whole (a millisecond) before some of its rows are read."""


class KeptFiles:
    """Files that were looked at, and tables of those that were read, up to so many bytes; what was used longest ago
    goes first. Safe for threads.
    """

    def __init__(self, room: int = KEPT) -> None:
        self._room = room
        self._files: OrderedDict[tuple[str, str, str], _File] = OrderedDict()
        self._tables: OrderedDict[tuple[str, str, str], pa.Table] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    def file(self, version: Version, info: FileInfo) -> _File:
        """A file, compared with its digest when it was first looked at."""
        key = (str(version.directory), info.name, info.digest)
        with self._guard:
            found = self._files.get(key)
            if found is not None:
                self._files.move_to_end(key)
                return found
        found = _File(version, info)
        with self._guard:
            self._files[key] = found
            while len(self._files) > FILES:
                self._files.popitem(last=False)
        return found

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

    def __call__(self, projection: str, hi: UInt64s, lo: UInt64s, columns: Collection[str] | None = None) -> pa.Table:
        """The rows of the aggregates with these hashes, ascending by hash; their plain columns (no dictionaries).

        hi, lo: uint64[n]. columns: those that are wanted beside the hashes, None for all; of the key the aggregate may
        be left out, for which the hashes stand, the rest may not. ReadModelError for merged keys (use ``by_keys``), an
        unknown name, a damaged file.
        """
        version = self._version(projection)
        shape = version.shape
        if shape.merged:
            raise ReadModelError(f"read model {projection!r} has merged keys: its rows belong to no aggregate")
        if len(hi) > 1 and not bool(np.all(hi[1:] > hi[:-1])):
            order = np.lexsort((lo, hi))
            hi, lo = hi[order], lo[order]
        names = [n for n in shape.schema.names if columns is None or n in columns or n in HASH]
        key = shape.full_key if columns is None else (*HASH, *(n for n in shape.full_key if n in columns))
        partitions = frozenset(_partitions(hi, shape.partitions))
        base = [self._rows_of(version, f, hi, lo, names) for f in version.bases if f.partition in partitions]
        touching = (f for f in version.deltas if f.partition == EVERY or f.partition in partitions)
        deltas = [self._rows_of(version, f, hi, lo, [*names, DELETED, DELTA]) for f in touching]
        empty = shape.schema.empty_table().select(names)
        rows = lay_over(pa.concat_tables([empty, *base]), deltas, key)
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

    def _rows_of(self, version: Version, info: FileInfo, hi: UInt64s, lo: UInt64s, names: Sequence[str]) -> pa.Table:
        if self.kept is None or info.bytes > KEPT_FILE:
            return _File(version, info).rows(hi, lo, names)
        file = self.kept.file(version, info)
        if file.maps(names):
            return file.rows(hi, lo, names)
        table = self.kept.table(version, info).select(names)
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


class _File:
    """A file that was looked at: its bytes, mapped, and where in them which columns lie as they lie in memory."""

    def __init__(self, version: Version, info: FileInfo) -> None:
        self.path = version.directory / info.name
        self._schema = file_schema(version, info)
        self._data = _checked(self.path, info)
        with self._translated(), pq.ParquetFile(pa.BufferReader(self._data)) as file:
            self._metadata = file.metadata
        # Of a larger file only the footer was compared with its digest; Arrow compares each page that it reads.
        whole = np.frombuffer(self._data, np.uint8) if info.bytes <= SMALL else None
        self._mapped = [] if whole is None else [self._columns(whole, g) for g in range(self._metadata.num_row_groups)]

    def _columns(self, whole: npt.NDArray[np.uint8], group: int) -> dict[str, MappedColumn]:
        found = {}
        of_group = self._metadata.row_group(group)
        for place in range(of_group.num_columns):
            name = of_group.column(place).path_in_schema
            if name in self._schema.names:
                column = mapped_column(whole, of_group, place, self._schema.field(name).type)
                if column is not None:
                    found[name] = column
        return found

    def maps(self, names: Sequence[str]) -> bool:
        """Whether Arrow has to read none of these columns."""
        return bool(self._mapped) and all(name in columns for columns in self._mapped for name in names)

    def rows(self, hi: UInt64s, lo: UInt64s, names: Sequence[str]) -> pa.Table:
        """The rows of these aggregates (ascending hashes), in the file's order; these columns of them."""
        schema = pa.schema([f for f in self._schema if f.name in names])
        parts = [self._group(group, schema, hi, lo) for group in _groups(self._metadata, hi)]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _group(self, group: int, schema: pa.Schema, hi: UInt64s, lo: UInt64s) -> pa.Table:
        mapped = self._mapped[group] if self._mapped else {}
        if all(name in mapped for name in HASH):
            hit = rows_of_hashes(mapped[HASH[0]].values, mapped[HASH[1]].values, hi, lo)
        else:
            hashes = self._read(group, list(HASH))
            hit = np.flatnonzero(in_hashes(words(hashes, HASH[0]), words(hashes, HASH[1]), hi, lo))
        if not len(hit):
            return schema.empty_table()
        found = {f.name: mapped[f.name].take(hit) for f in schema if f.name in mapped}
        rest = [f.name for f in schema if f.name not in found]
        if rest:
            read = self._read(group, rest).take(pa.array(hit))
            found |= {name: read[name] for name in rest}
        return pa.table([found[f.name] for f in schema], names=schema.names).cast(schema)

    def _read(self, group: int, names: list[str]) -> pa.Table:
        with (
            self._translated(),
            pq.ParquetFile(
                pa.BufferReader(self._data), metadata=self._metadata, page_checksum_verification=True
            ) as file,
        ):
            return file.read_row_groups([group], columns=names, use_threads=False)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            hint = "roll back, or rebuild the read model"
            raise ReadModelError(f"{self.path} is damaged: {error}", hint=hint) from error


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
