"""Batches out of stored rows: as they are, or filtered to one partition and a span of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from runner.batch import AggregateDictionary, Batch, PayloadArray
from runner.log.columns import take_column
from runner.log.identity import partitions_of
from runner.log.streams import Aggregates, EventRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.log.manifest import Segment
    from runner.values import PayloadColumn

__all__ = ["kept_rows", "make_batch"]

Keep = npt.NDArray[np.bool_]


def kept_rows(
    segment: Segment, rows: EventRows, partition: int | None, partitions: int, since: int, to: int
) -> Keep | None:
    """Which rows are of the partition (None: any) and in since < position <= to: a mask, or None for all of them."""
    keep: Keep | None = None
    if segment.tail and partition is not None:
        keep = (partitions_of(rows.aggregates.hi, partitions) == partition)[rows.codes]
    if since >= segment.first or to < segment.last:
        position = rows.header["position"]
        inside = (position > since) & (position <= to)
        keep = inside if keep is None else keep & inside
    return None if keep is None or keep.all() else keep


def make_batch(
    segment: Segment,
    partition: int,
    rows: EventRows,
    payload: Mapping[PayloadColumn, tuple[int, PayloadArray]],
    header: frozenset[str],
    keep: Keep | None,
) -> Batch:
    """The batch of the rows that ``keep`` says; payload: per column its type code and array. Only a filter copies."""
    columns: dict[str, Any] = {
        name: rows.header[name] for name in ("position", "version", "recorded_at") if name in header
    }
    types, codes, aggregates = rows.header["type"], rows.codes, rows.aggregates
    arrays = {column: array for column, (_, array) in payload.items()}
    if keep is not None:
        kept = np.flatnonzero(keep)
        columns = {name: values[kept] for name, values in columns.items()}
        # Payload columns are dense per type: their rows are those of the mask where the type is theirs.
        arrays = {c: take_column(a, np.flatnonzero(keep[types == code])) for c, (code, a) in payload.items()}
        types = types[kept]
        codes, aggregates = _used(codes[kept], aggregates)
        present = set(np.flatnonzero(np.bincount(types, minlength=1)).tolist())
        arrays = {c: a for c, a in arrays.items() if payload[c][0] in present}
    return Batch(
        segment=segment.id,
        partition=partition,
        first_position=segment.first,
        last_position=segment.last,
        types=types,
        aggregate=codes,
        aggregates=AggregateDictionary(aggregates.ids, aggregates.hi, aggregates.lo, aggregates.scope),
        payload=arrays,
        **columns,
    )


def _used(codes: npt.NDArray[np.int32], aggregates: Aggregates) -> tuple[npt.NDArray[np.int32], Aggregates]:
    # A dictionary entry without an event would make a row of an aggregate that is not in the batch.
    used = np.zeros(len(aggregates), np.bool_)
    used[codes] = True
    kept = np.flatnonzero(used)
    places = np.zeros(len(used), np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    a = aggregates
    return places[codes], Aggregates(
        a.ids.take(pa.array(kept)), a.hi[kept], a.lo[kept], a.scope[kept], a.last_version[kept]
    )
