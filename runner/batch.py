"""One batch of events as columns: what the log hands out and the fold takes. Arrays are views of the mapped log.

A batch holds events of one partition (or, unpartitioned tail batches, of any), in wavefront order: an aggregate's own
events keep their order, nothing else does. ``plain_rows`` walks it in position order for the twin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from runner.values import PayloadColumn, ValueType

__all__ = ["AggregateDictionary", "Batch", "PayloadArray", "TextDictionary"]

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int16s = npt.NDArray[np.int16]
UInt64s = npt.NDArray[np.uint64]
UInt8s = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TextDictionary:
    """The distinct strings of a column in a batch, ascending by hash (hi, then lo).

    texts: utf8 array, n entries; hi, lo: uint64[n], the two words of SipHash-2-4-128 of the UTF-8 text.
    """

    texts: pa.Array
    hi: UInt64s
    lo: UInt64s

    def __len__(self) -> int:
        return len(self.hi)


@dataclass(frozen=True)
class AggregateDictionary(TextDictionary):
    """The batch's aggregates. ``texts`` are the ids alone; the hash is of the whole identity (scope and id)."""

    scope: Int16s
    """int16[n]: index into the manifest's scopes, (source, tenant) pairs."""


@dataclass(frozen=True)
class PayloadArray:
    """A payload column of one event type, dense: entry j belongs to the j-th event of that type in the batch.

    values: by kind. INT, DATETIME, TIMEDELTA, DATE, DECIMAL: int64[n]; FLOAT: float64[n]; BOOL: uint8[n] (0 or 1);
    STR, UUID, ENUM: int32[n], codes into ``dictionary`` (ENUM and UUID are stored as text; an int enum as its decimal
    text); LIST: int32[n + 1], offsets into the children. Entries that are null or absent hold 0 (an empty list).
    valid: uint8[n], 1 where there is a value; None: everywhere.
    absent: uint8[n], 1 where no path was present (then valid is 0 there); None: nowhere.
    element: LIST of scalars: the flattened elements. fields: LIST of records: one flattened array per field name.
    """

    type: ValueType
    values: npt.NDArray[np.generic]
    valid: UInt8s | None = None
    absent: UInt8s | None = None
    dictionary: TextDictionary | None = None
    element: PayloadArray | None = None
    fields: Mapping[str, PayloadArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values) - (1 if self.type.kind == "list" else 0)


@dataclass(frozen=True)
class Batch:
    """n events of one partition and one segment.

    types: int16[n] type codes; aggregate: int32[n] codes into ``aggregates``. The other header columns are there only
    where the scan was asked for them. recorded_at: int64 µs since 1970 UTC (the minimum int64: the source gives none).
    payload: the columns asked for, where the batch has events of their type.
    """

    segment: str
    partition: int
    first_position: int
    last_position: int
    types: Int16s
    aggregate: Int32s
    aggregates: AggregateDictionary
    position: Int64s | None = None
    version: Int64s | None = None
    recorded_at: Int64s | None = None
    payload: Mapping[PayloadColumn, PayloadArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.types)
