"""Merging deltas, so that neither queries nor catch-ups read ever more files.

The policy, per partition, after an update: deltas with more than a third of the base's rows are merged into a new base;
else more than ``MANY`` deltas are merged into one delta. So a row is rewritten a number of times that grows with the
logarithm of the updates, and a query reads at most ``MANY`` deltas of a partition. ``compact`` merges all of them.
Rows, checkpoint and fingerprint stay what they are; the replaced files stay for the grace period.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runner.sinks.newest import lay_over
from runner.sinks.rows import Target, read_files, write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from runner.sinks.shape import FileInfo, Version

__all__ = ["MANY", "compacted", "due"]

MANY = 8
SHARE = 3


def due(version: Version) -> dict[int, bool]:
    """The partitions to compact, and whether into the base (True) or into one delta (False)."""
    wanted = {}
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


def _each(version: Version, files: Sequence[FileInfo]) -> list[pa.Table]:
    return [read_files(version, [f]) for f in files]
