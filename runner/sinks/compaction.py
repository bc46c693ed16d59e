"""Merging deltas, so that neither queries nor catch-ups read ever more files.

Small updates write one delta of all partitions. While there is such a one, deltas are merged over all partitions, in
the order in which they were written: into the bases once they have as many rows as a third of those and ``LEAST``,
else, more than ``MANY``, into one.

Otherwise the policy is per partition, after an update: deltas with more than a third of the base's rows are merged into
a new base; else more than ``MANY`` deltas are merged into one delta. So a row is rewritten a number of times that grows
with the logarithm of the updates, and a query reads at most ``MANY`` deltas of a partition. ``compact`` merges all of
them. Rows, checkpoint and fingerprint stay what they are; the replaced files stay for the grace period.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sinks.newest import lay_over
from runner.sinks.rows import Target, read_files, write_rows
from runner.sinks.saved import of_partition
from runner.sinks.shape import EVERY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from runner.sinks.shape import FileInfo, Version

__all__ = ["MANY", "compacted", "due"]

MANY = 8
SHARE = 3
LEAST = 20_000


def due(version: Version) -> dict[int, bool]:
    """The partitions to compact, and whether into the base (True) or into one delta (False). EVERY: all together."""
    wanted = {}
    if any(f.partition == EVERY for f in version.deltas):
        if sum(f.rows for f in version.deltas) * SHARE > max(sum(f.rows for f in version.bases), SHARE * LEAST):
            return {EVERY: True}
        return {EVERY: False} if len(version.deltas) > MANY else {}
    for partition in sorted({f.partition for f in version.deltas}):
        deltas = [f for f in version.deltas if f.partition == partition]
        base = sum(f.rows for f in version.bases if f.partition == partition)
        if sum(f.rows for f in deltas) * SHARE > base:
            # One small delta over a small base is left until a second comes.
            if len(deltas) > 1:
                wanted[partition] = True
        elif len(deltas) > MANY:
            wanted[partition] = False
    return wanted


def compacted(version: Version, partitions: dict[int, bool]) -> Version:
    """Write the merged files of these partitions; the version's next revision, to be published."""
    shape = version.shape
    target = Target(
        str(version.directory), shape.name, version.revision + 1, shape.full_key, shape.schema, compacted=True
    )
    if EVERY in partitions:
        return replace(version, revision=target.revision, files=_all_together(version, target, partitions[EVERY]))
    files: list[FileInfo] = [f for f in version.files if f.partition not in partitions]
    for partition, into_base in partitions.items():
        bases = [f for f in version.bases if f.partition == partition]
        deltas = [f for f in version.deltas if f.partition == partition]
        written: FileInfo | None
        if into_base:
            rows = lay_over(read_files(version, bases), _each(version, deltas), shape.full_key)
            written = write_rows(target, partition, rows, delta=False)
        else:
            files += bases
            rows = lay_over(
                read_files(version, deltas[:1]), _each(version, deltas[1:]), shape.full_key, keep_deleted=True
            )
            written = write_rows(target, partition, rows, delta=True)
        files += [written] if written else []
    return replace(version, revision=version.revision + 1, files=tuple(files))


def _all_together(version: Version, target: Target, into_base: bool) -> tuple[FileInfo, ...]:
    """The files in the place of all: bases with the deltas of their partitions, or one delta over the bases."""
    key, deltas = version.shape.full_key, _each(version, version.deltas)
    if not into_base:
        written = write_rows(target, EVERY, lay_over(deltas[0], deltas[1:], key, keep_deleted=True), delta=True)
        return (*version.bases, *([written] if written else []))
    files: list[FileInfo] = []
    for partition in range(version.shape.partitions):
        bases = [f for f in version.bases if f.partition == partition]
        parts = [part for rows in deltas if (part := of_partition(version, rows, partition)).num_rows]
        if parts:
            written = write_rows(target, partition, lay_over(read_files(version, bases), parts, key), delta=False)
            bases = [written] if written else []
        files += bases
    return tuple(files)


def _each(version: Version, files: Sequence[FileInfo]) -> list[pa.Table]:
    return [read_files(version, [f]) for f in files]
