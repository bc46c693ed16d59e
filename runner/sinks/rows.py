"""Rows into Parquet files and back. A worker needs no more than a ``Target``: plain data with a path.

Files are sorted by (``_hash_hi``, ``_hash_lo``), merged keys by their key, so that a catch-up finds an aggregate's
rows by row-group statistics and binary search. Row groups of 65,536 rows, page checksums. What has a fixed width is
plain and uncompressed, one page a row group, so that a catch-up takes the rows that it needs out of the mapped file
(``mapped.py``); all else is LZ4. For 1 M rows of six fields and the hashes on one core: none 0.14 s and 65 MB, LZ4
0.16 s and 47 MB, Snappy 0.17 s and 47 MB, zstd 0.22 s and 39 MB; reading all back 0.058, 0.055, 0.08, 0.10 s. Only
texts are dictionary-encoded: on numbers it costs more than it gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from runner.errors import ReadModelError
from runner.sinks.durable import digest_of, footer_of, translated, write_whole
from runner.sinks.newest import words
from runner.sinks.shape import DELETED, DELTA, EVERY, HASH, FileInfo, Shape, Version, stored_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PARTIAL",
    "Target",
    "file_schema",
    "is_whole",
    "read_file",
    "read_files",
    "remove_partials",
    "write_partial",
    "write_rows",
    "write_template",
]

ROW_GROUP = 65_536
PARTIAL = "partial"


@dataclass(frozen=True)
class Target:
    """Where a worker writes: one revision of one version. Pickles; needs no claim of its own, the run holds it."""

    directory: str
    projection: str
    revision: int
    """0: base files of a rebuild; above: delta files of an update."""
    key: tuple[str, ...]
    """Identity and key columns."""
    schema: pa.Schema
    compacted: bool = False
    """Base files at a revision above 0."""
    token: str = ""
    """Of the job, in its files' names: what a worker of a dead run still writes replaces no file of another run."""


def write_rows(
    target: Target, partition: int, rows: pa.Table, deleted: pa.Table | None = None, *, delta: bool | None = None
) -> FileInfo | None:
    """Write one partition's rows: sorted, whole, on the disk. None where there is nothing to write.

    rows: columns of the target's schema, any order of rows. deleted: the key columns, and the hashes unless merged, of
    rows that are gone; only for deltas. Writing a partition again replaces its file. Merged keys: any one partition
    number, the same each time. partition EVERY: rows of any partitions; only for deltas.
    """
    delta = (target.revision > 0 and not target.compacted) if delta is None else delta
    gone = 0 if deleted is None else deleted.num_rows
    if rows.num_rows + gone == 0:
        return None
    if gone and not delta:
        raise ReadModelError(f"read model {target.projection!r}: a rebuild has rows, no deletions")
    table = _plain(target, rows)
    if delta and DELETED not in rows.schema.names:
        table = _as_delta(target, table, deleted)
    table = _sorted(table, target.key)
    place = "all" if partition == EVERY else partition
    name = f"delta-{target.revision}-{place}" if delta else f"base-{partition}"
    if target.compacted and not delta:
        name = f"base-{partition}-{target.revision}"
    path = Path(target.directory) / f"{name}{_suffix(target)}.parquet"
    data = _parquet(table)
    write_whole(path, memoryview(data), sync_name=False)  # version-<revision>.json comes after it, and syncs the names
    return FileInfo(
        name=path.name,
        delta=delta,
        partition=partition,
        revision=target.revision,
        rows=table.num_rows,
        deleted=int(pc.sum(table[DELETED]).as_py() or 0) if delta else 0,
        bytes=data.size,
        digest=digest_of(memoryview(data)),
        footer=footer_of(memoryview(data)),
    )


def write_partial(target: Target, partition: int, rows: pa.Table) -> FileInfo | None:
    """Keep one partition's part of merged keys until all are merged, so that a resumed run need not fold it again.

    Read it with ``read_file``. It is no part of the version: publishing removes it.
    """
    if rows.num_rows == 0:
        return None
    path = Path(target.directory) / f"{PARTIAL}-{target.revision}-{partition}{_suffix(target)}.parquet"
    data = _parquet(_sorted(_plain(target, rows), target.key))
    write_whole(path, memoryview(data), sync_name=False)
    digest, footer = digest_of(memoryview(data)), footer_of(memoryview(data))
    return FileInfo(path.name, False, partition, target.revision, rows.num_rows, 0, data.size, digest, footer)


def _suffix(target: Target) -> str:
    """A letter comes first, so that it is no number to who reads names."""
    return f"-j{target.token}" if target.token else ""


def remove_partials(directory: Path) -> None:
    """Remove what ``write_partial`` kept."""
    for path in directory.glob(f"{PARTIAL}-*.parquet"):
        path.unlink(missing_ok=True)


def write_template(directory: Path, shape: Shape) -> None:
    """Write columns.parquet: the version's columns, no rows."""
    write_whole(directory / "columns.parquet", memoryview(_parquet(shape.schema.empty_table())))


def read_file(directory: Path, info: FileInfo) -> pa.Table:
    """All rows of a file, its bytes compared with size and digest; ReadModelError where they differ."""
    path = directory / info.name
    try:
        with translated(path, "read"):
            data = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else b""
        if len(data) != info.bytes or digest_of(memoryview(data)) != info.digest:
            raise ReadModelError(
                f"{path} is not what was written: its bytes differ from their digest",
                hint="`runner rollback` to the version before, or rebuild the read model",
            )
        return pq.read_table(pa.BufferReader(data), use_threads=False)
    except pa.ArrowException as error:
        raise ReadModelError(f"{path} cannot be read: {error}", hint="rebuild the read model") from error


def file_schema(version: Version, info: FileInfo) -> pa.Schema:
    """The columns of a file: the version's, and a delta's own."""
    schema = version.shape.schema
    if info.delta:
        schema = schema.append(pa.field(DELETED, pa.bool_())).append(pa.field(DELTA, pa.int32()))
    return schema


def read_files(version: Version, files: Sequence[FileInfo]) -> pa.Table:
    """The rows of several files of one kind, one after another; the version's columns where there is none."""
    if not files:
        return version.shape.schema.empty_table()
    schema = file_schema(version, files[0])
    return pa.concat_tables([read_file(version.directory, f).select(schema.names).cast(schema) for f in files])


def is_whole(directory: Path, info: FileInfo) -> bool:
    """Whether the file is there with the bytes that were recorded: a resumed run keeps it."""
    try:
        data = (directory / info.name).read_bytes()
    except OSError:
        return False
    return len(data) == info.bytes and digest_of(data) == info.digest


def _plain(target: Target, rows: pa.Table) -> pa.Table:
    """The target's columns in their order and plain types; a delta's own columns stay."""
    extra = [n for n in (DELETED, DELTA) if n in rows.schema.names]
    names = [*target.schema.names, *extra]
    wanted = stored_schema(target.schema)
    for name in extra:
        wanted = wanted.append(rows.schema.field(name).with_nullable(True))
    if set(rows.schema.names) != set(names):
        raise ReadModelError(
            f"read model {target.projection!r}: the rows have the columns {rows.schema.names}, expected were {names}"
        )
    try:
        return rows.select(names).replace_schema_metadata(None).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ReadModelError(f"read model {target.projection!r}: the rows do not fit its columns: {error}") from error


def _as_delta(target: Target, rows: pa.Table, deleted: pa.Table | None) -> pa.Table:
    count, gone = rows.num_rows, 0 if deleted is None else deleted.num_rows
    if deleted is not None and gone:
        have = set(deleted.schema.names)
        needed = [*target.key, *(n for n in HASH if n in target.schema.names)]
        if missing := [n for n in needed if n not in have]:
            raise ReadModelError(f"read model {target.projection!r}: deleted rows lack the columns {missing}")
        columns = [deleted[f.name].cast(f.type) if f.name in needed else pa.nulls(gone, f.type) for f in rows.schema]
        rows = pa.concat_tables([rows, pa.table(columns, schema=rows.schema)])
    flags = np.arange(count + gone) >= count
    return rows.append_column(DELETED, pa.array(flags)).append_column(
        DELTA, pa.array(np.full(count + gone, target.revision, dtype=np.int32))
    )


def _sorted(table: pa.Table, key: Sequence[str]) -> pa.Table:
    if table.num_rows < 2:
        return table
    if HASH[0] not in table.schema.names:
        return table.take(pc.sort_indices(_sortable(table, key), [(n, "ascending") for n in key])) if key else table
    hi, lo = words(table, HASH[0]), words(table, HASH[1])
    if bool(np.all(hi[1:] > hi[:-1])):
        return table  # a fold gives aggregates in this order already
    order = np.argsort(hi, kind="stable")
    sorted_hi, sorted_lo = hi[order], lo[order]
    if bool(np.any((sorted_hi[1:] == sorted_hi[:-1]) & (sorted_lo[1:] < sorted_lo[:-1]))):
        order = np.lexsort((lo, hi))
    return table.take(pa.array(order))


def _sortable(table: pa.Table, key: Sequence[str]) -> pa.Table:
    """Key columns in types that Arrow sorts."""
    columns = []
    for name in key:
        column = table[name]
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
        columns.append(column.cast(pa.int64()) if pa.types.is_duration(column.type) else column)
    return pa.table(columns, names=list(key))


def _parquet(table: pa.Table) -> pa.Buffer:
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    # Not named here: not compressed.
    packed = [
        f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name
        for f in table.schema
        if not pa.types.is_primitive(f.type)
    ]
    out = pa.BufferOutputStream()
    pq.write_table(
        table,
        out,
        compression=dict.fromkeys(packed, "lz4"),
        use_dictionary=texts,
        row_group_size=ROW_GROUP,
        write_page_checksum=True,
        data_page_size=64 * ROW_GROUP,
        max_rows_per_page=ROW_GROUP,
    )
    return out.getvalue()
