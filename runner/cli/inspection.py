"""What a stream of events holds, in one pass and bounded memory: types, aggregates and their skew, times, fields."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.cli.first_projection import fitting
from runner.cli.shapes import ValueShape, leaves

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Inspection"]

SAMPLE_PER_TYPE = 1_000
SAMPLE_PER_BATCH = 100
OCTETS_PER_TYPE = 8 << 20
PERCENTILES = (50, 90, 99, 99.9)
TOP = 10
PARTS_KEPT = 16
"""So many batches' counts are kept before they are added up."""


@dataclass
class _Sample:
    shape: ValueShape = field(default_factory=ValueShape)
    octets: int = 0
    unreadable: int = 0


class Inspection:
    """Add batches with columns tenant, aggregate_id, type, recorded_at and, if there, payload; then ask ``result``."""

    def __init__(self, *, texts_only: bool = False) -> None:
        """texts_only: the source knows no numbers (CSV), so digits are numbers."""
        self._texts_only = texts_only
        self.events = 0
        self.without_time = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._types: dict[str, int] = {}
        self._aggregates: list[pa.Table] = []
        self._samples: dict[str, _Sample] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch into account; its payloads too where the column is there."""
        if not batch.num_rows:
            return
        self.events += batch.num_rows
        types = _texts(batch.column("type"))
        for entry in pc.value_counts(types).to_pylist():
            self._types[entry["values"]] = self._types.get(entry["values"], 0) + entry["counts"]
        self._times(batch.column("recorded_at"))
        table = pa.table({"tenant": _texts(batch.column("tenant")), "aggregate": _texts(batch.column("aggregate_id"))})
        self._aggregates.append(table.group_by(["tenant", "aggregate"]).aggregate([([], "count_all")]))
        if len(self._aggregates) >= PARTS_KEPT:
            self._aggregates = [self._counted()]
        if "payload" in batch.schema.names:
            self.sample(types, batch.column("payload"))

    def sample(self, types: pa.Array, payloads: pa.Array) -> None:
        """Look into some payloads of each type."""
        for entry in pc.unique(types).to_pylist():
            found = self._samples.setdefault(entry, _Sample())
            if found.shape.seen >= SAMPLE_PER_TYPE or found.octets > OCTETS_PER_TYPE:
                continue
            places = np.flatnonzero(pc.equal(types, entry).to_numpy(zero_copy_only=False))
            for place in places[:: max(1, len(places) // SAMPLE_PER_BATCH)][:SAMPLE_PER_BATCH].tolist():
                text = payloads[place].as_py()
                found.octets += len(text)
                try:
                    found.shape.add(json.loads(text))
                except ValueError:
                    found.unreadable += 1

    def _times(self, column: pa.Array) -> None:
        self.without_time += column.null_count
        limits = pc.min_max(column).as_py()
        if limits["min"] is None:
            return
        self._first = min(filter(None, (self._first, limits["min"])))
        self._last = max(filter(None, (self._last, limits["max"])))

    def _counted(self) -> pa.Table:
        if not self._aggregates:
            return pa.table(
                {"tenant": pa.array([], pa.string()), "aggregate": pa.array([], pa.string()), "count_all": []}
            )
        table = pa.concat_tables(self._aggregates)
        summed = table.group_by(["tenant", "aggregate"]).aggregate([("count_all", "sum")])
        return summed.rename_columns({"count_all_sum": "count_all"})

    def result(self) -> dict[str, Any]:
        """Plain data: counts, times, types, aggregates with skew, fields by type."""
        table = self._counted()
        sizes = table["count_all"].to_numpy() if table.num_rows else np.zeros(0, np.int64)
        largest = np.argsort(-sizes, kind="stable")[:TOP]
        return {
            "events": self.events,
            "first_recorded_at": self._first,
            "last_recorded_at": self._last,
            "without_time": self.without_time,
            "types": dict(sorted(self._types.items(), key=lambda item: (-item[1], item[0]))),
            "aggregates": {
                "count": len(sizes),
                "percentiles": {f"p{p:g}": int(np.percentile(sizes, p)) for p in PERCENTILES} if len(sizes) else {},
                "max": int(sizes.max()) if len(sizes) else 0,
                "mean": float(sizes.mean()) if len(sizes) else 0.0,
                "largest": [
                    {
                        "tenant": table["tenant"][i].as_py(),
                        "aggregate_id": table["aggregate"][i].as_py(),
                        "events": int(sizes[i]),
                        "share": float(sizes[i] / self.events),
                    }
                    for i in largest.tolist()
                ],
            },
            "fields": {
                name: _fields(self._samples[name], texts_only=self._texts_only) for name in sorted(self._samples)
            },
        }


def _fields(sample: _Sample, *, texts_only: bool) -> list[dict[str, Any]]:
    found = []
    for path, shape, expected in leaves(sample.shape):
        made = fitting(path, shape, max(expected, sample.shape.seen), texts_only=texts_only)
        found.append(
            {
                "path": ".".join(path),
                "type": made.full or "",
                "note": made.note,
                "present": shape.seen / max(sample.shape.seen, 1),
                "null": shape.kinds["null"],
                "example": shape.example,
            }
        )
    return found


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())
