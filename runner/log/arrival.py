"""Arriving events: what a source hands to the log, one RecordBatch at a time, and what is looked at before it is taken.

Texts may come dictionary-encoded: then each distinct one is hashed once, which is the fast way for generated events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import LogError
from runner.kernels.hash import text_buffers
from runner.kernels.order import NO_VERSION

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ARRIVAL_SCHEMA", "NO_TIME", "SEPARATOR", "Arrival", "take_in"]

ARRIVAL_SCHEMA = pa.schema(
    [
        pa.field("tenant", pa.utf8(), nullable=False),
        pa.field("aggregate_id", pa.utf8(), nullable=False),
        pa.field("version", pa.int64()),
        pa.field("type", pa.utf8(), nullable=False),
        pa.field("recorded_at", pa.timestamp("us", "UTC")),
        pa.field("source_position_0", pa.int64(), nullable=False),
        pa.field("source_position_1", pa.int64(), nullable=False),
        pa.field("payload", pa.large_utf8(), nullable=False),
    ]
)
"""The columns of arriving events. tenant, aggregate_id and type may be dictionaries of texts, and texts large or
not."""

NO_TIME = -(2**63)
"""The minimum int64: the source gives no recorded time."""

SEPARATOR = "\x1f"
"""Stands between source, tenant and id in an identity; it may occur in ids, but not in the other two."""


@dataclass(frozen=True)
class Arrival:
    """n events, looked at. tenant, aggregate_id, type: texts or dictionaries of them, without nulls.

    version, recorded_at, place_0, place_1: int64[n] with NO_VERSION and NO_TIME where absent.
    payload: texts as (data uint8, offsets int64[n + 1]).
    """

    tenant: pa.Array
    aggregate_id: pa.Array
    type: pa.Array
    version: npt.NDArray[np.int64]
    recorded_at: npt.NDArray[np.int64]
    place_0: npt.NDArray[np.int64]
    place_1: npt.NDArray[np.int64]
    payload: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.version)

    def slice(self, start: int, stop: int) -> Arrival:
        return Arrival(
            self.tenant[start:stop],
            self.aggregate_id[start:stop],
            self.type[start:stop],
            self.version[start:stop],
            self.recorded_at[start:stop],
            self.place_0[start:stop],
            self.place_1[start:stop],
            (self.payload[0], self.payload[1][start : stop + 1]),
        )


def take_in(source: str, events: pa.RecordBatch) -> Arrival:
    """Look at arriving events.

    Raises LogError for a missing column, a wrong type, or a value that may not be missing, naming source and place.
    """
    names = set(events.schema.names)
    if missing := [f.name for f in ARRIVAL_SCHEMA if f.name not in names]:
        raise LogError(f"source {source}: arriving events lack the columns {', '.join(missing)}")
    place_0, place_1 = _ints(source, events, "source_position_0"), _ints(source, events, "source_position_1")
    for name in ("tenant", "aggregate_id", "type", "payload"):
        column = events.column(name)
        # A dictionary may hold the null itself: is_null looks there too.
        if pc.any(column.is_null()).as_py():
            row = int(pc.index(column.is_null(), True).as_py())
            raise LogError(f"source {source}: event at ({place_0[row]}, {place_1[row]}) has no {name}")
    return Arrival(
        tenant=_texts(source, events, "tenant"),
        aggregate_id=_texts(source, events, "aggregate_id"),
        type=_texts(source, events, "type"),
        version=_ints(source, events, "version", NO_VERSION),
        recorded_at=_ints(source, events, "recorded_at", NO_TIME),
        place_0=place_0,
        place_1=place_1,
        payload=text_buffers(_plain(_texts(source, events, "payload"))),
    )


def _texts(source: str, events: pa.RecordBatch, name: str) -> pa.Array:
    column = events.column(name)
    value = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if value not in (pa.utf8(), pa.large_utf8()):
        raise LogError(f"source {source}: column {name} of arriving events has type {column.type}, not text")
    return column


def _plain(texts: pa.Array) -> pa.Array:
    return texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts


def _ints(source: str, events: pa.RecordBatch, name: str, absent: int | None = None) -> npt.NDArray[np.int64]:
    column = events.column(name)
    wanted = ARRIVAL_SCHEMA.field(name).type
    if column.type != wanted:
        raise LogError(f"source {source}: column {name} of arriving events has type {column.type}, not {wanted}")
    values: npt.NDArray[Any] = column.cast(pa.int64()).fill_null(NO_TIME).to_numpy(zero_copy_only=False)
    if column.null_count and absent is None:
        row = int(pc.index(column.is_null(), True).as_py())
        raise LogError(f"source {source}: {name} is missing in row {row} of arriving events")
    return values
