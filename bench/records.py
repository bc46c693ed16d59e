"""Seeded events of any shape beside the ledger's: types by weight, integers, texts, and text that nobody reads.

The same seed and shape give the same events, always; a chunk is made without the others. Every event has all fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

__all__ = ["RecordChunk", "RecordShape", "RecordTexts", "record_chunks"]

LARGEST = 1_000_000
_FIRST_DAY_US = 1_735_689_600_000_000


@dataclass(frozen=True)
class RecordShape:
    """types: stored names. rare: the last ``rare`` types have one event in a hundred together, the others the rest; 0:
    all are as frequent. numbers: integer fields, 0 to 999,999. texts: (field, distinct values). padding: octets
    of a text that nobody reads.
    """

    events: int
    types: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[tuple[str, int], ...] = ()
    rare: int = 0
    padding: int = 0
    accounts: int = 0
    seed: int = 1

    @property
    def account_count(self) -> int:
        return self.accounts or max(1, self.events // 20)


@dataclass(frozen=True)
class RecordChunk:
    """n consecutive events. account: int64; type: int8, index into types; at: int64, µs since 1970 UTC, rising.

    numbers: int64[n] by field; texts: int32[n] by field, indices into ``RecordTexts.values``.
    """

    first: int
    account: npt.NDArray[np.int64]
    type: npt.NDArray[np.int8]
    at: npt.NDArray[np.int64]
    numbers: dict[str, npt.NDArray[np.int64]]
    texts: dict[str, npt.NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.account)


def record_chunks(shape: RecordShape, chunk: int = 500_000) -> Iterator[RecordChunk]:
    """The events in order, ``chunk`` at a time. The chunk's length is a part of the seed."""
    for number, first in enumerate(range(0, shape.events, chunk)):
        n = min(chunk, shape.events - first)
        draw = np.random.default_rng((shape.seed, number))
        yield RecordChunk(
            first,
            draw.integers(0, shape.account_count, n, dtype=np.int64),
            _types(draw, n, len(shape.types), shape.rare),
            _FIRST_DAY_US + np.arange(first, first + n, dtype=np.int64) * 1000,
            {name: draw.integers(0, LARGEST, n, dtype=np.int64) for name in shape.numbers},
            {name: draw.integers(0, distinct, n, dtype=np.int32) for name, distinct in shape.texts},
        )


def _types(draw: np.random.Generator, n: int, count: int, rare: int) -> npt.NDArray[np.int8]:
    if not rare:
        return draw.integers(0, count, n, dtype=np.int8)
    common = draw.integers(0, count - rare, n, dtype=np.int8)
    return np.where(draw.random(n) < 0.01, draw.integers(count - rare, count, n, dtype=np.int8), common).astype(np.int8)


class RecordTexts:
    """Turns chunks into what ``LogWriter.append`` takes. values: the distinct texts of each text field."""

    def __init__(self, shape: RecordShape) -> None:
        import pyarrow as pa

        count = shape.account_count
        self.accounts = pa.array([f"acc-{i:0{len(str(count - 1))}d}" for i in range(count)], pa.string())
        self.values = {
            name: pa.array([f"{name} {i}" for i in range(distinct)], pa.string()) for name, distinct in shape.texts
        }
        self._shape = shape
        self._types = pa.array(shape.types, pa.string())

    def payloads(self, chunk: RecordChunk) -> pa.Array:
        """One JSON object text an event (large_utf8)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        pieces: list[Any] = []
        head = "{"
        for name, numbers in chunk.numbers.items():
            pieces += [f'{head}"{name}":', pa.array(numbers).cast(pa.string())]
            head = ","
        for name, codes in chunk.texts.items():
            pieces += [f'{head}"{name}":"', self.values[name].take(pa.array(codes)), '"']
            head = ","
        tail = f'{head}"padding":"{"x" * self._shape.padding}"}}' if self._shape.padding else "}"
        return pc.binary_join_element_wise(*pieces, tail, "").cast(pa.large_string())

    def arrivals(self, chunk: RecordChunk) -> pa.RecordBatch:
        """The chunk as ``LogWriter.append`` takes it (``runner.log.arrival``)."""
        import pyarrow as pa

        n = len(chunk)
        return pa.record_batch(
            {
                "tenant": _coded(np.zeros(n, np.int32), pa.array([""])),
                "aggregate_id": _coded(chunk.account, self.accounts),
                "version": pa.nulls(n, pa.int64()),
                "type": _coded(chunk.type, self._types),
                "recorded_at": pa.array(chunk.at).cast(pa.timestamp("us", tz="UTC")),
                "source_position_0": pa.array(np.zeros(n, np.int64)),
                "source_position_1": pa.array(np.arange(chunk.first + 1, chunk.first + n + 1, dtype=np.int64)),
                "payload": self.payloads(chunk),
            }
        )


def _coded(codes: npt.NDArray[Any], texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)
