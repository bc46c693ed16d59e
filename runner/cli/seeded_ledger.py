"""The seeded ledger that the demo and the benchmarks share: the same seed and shape give the same events, always.

A bank's accounts: each account's first event opens it, then deposits, withdrawals and, rarely, fees arrive in random
order. Accounts are of equal size ("uniform"), follow Zipf's law with a flattened head ("zipf"), so that the largest has
about 0.8 % of all events, or one has half of them and the others are of equal size ("giant"). One currency in ten
movements is not the account's own. Times rise over the year 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

__all__ = ["CURRENCIES", "TYPES", "LedgerChunk", "LedgerShape", "LedgerTexts", "ledger_chunks"]

TYPES = ("account.opened", "money.deposited", "money.withdrawn", "fee.charged")
OPENED, DEPOSITED, WITHDRAWN, FEE = range(4)
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "JPY", "SEK", "PLN", "CZK")
LARGEST_AMOUNT = 500_000
"""In cents; the smallest is 1."""

_FIRST_DAY_US = 1_735_689_600_000_000
_YEAR_US = 365 * 86_400 * 1_000_000
_ZIPF_OFFSET = 10
_SCATTER = 2_654_435_761
"""An odd prime: account numbers are spread, so that large accounts do not stand side by side."""


@dataclass(frozen=True)
class LedgerShape:
    """What the ledger is made of; ``accounts`` 0 means one for every 20 events."""

    events: int
    accounts: int = 0
    seed: int = 1
    skew: Literal["zipf", "uniform", "giant"] = "zipf"

    @property
    def account_count(self) -> int:
        return self.accounts or max(1, self.events // 20)


@dataclass(frozen=True)
class LedgerChunk:
    """n consecutive events as arrays of length n.

    account: int64, 0 <= account < account_count; type: int8, index into TYPES; amount: int64 cents, 0 for openings;
    currency: int8, index into CURRENCIES; at: int64, µs since 1970 UTC, rising.
    """

    first: int
    account: npt.NDArray[np.int64]
    type: npt.NDArray[np.int8]
    amount: npt.NDArray[np.int64]
    currency: npt.NDArray[np.int8]
    at: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.account)


def ledger_chunks(shape: LedgerShape, chunk: int = 1_000_000) -> Iterator[LedgerChunk]:
    """The ledger's events in order, ``chunk`` at a time. The chunk's length is a part of the seed."""
    count = shape.account_count
    opened = np.zeros(count, np.bool_)
    for number, first in enumerate(range(0, shape.events, chunk)):
        n = min(chunk, shape.events - first)
        draw = np.random.default_rng((shape.seed, number))
        account = _accounts(draw, n, count, shape.skew)
        kind = np.array([DEPOSITED, WITHDRAWN, FEE], np.int8)[np.searchsorted([0.53, 0.98], draw.random(n))]
        seen, first_place = np.unique(account, return_index=True)
        fresh = ~opened[seen]
        kind[first_place[fresh]] = OPENED
        opened[seen] = True
        amount = draw.integers(1, LARGEST_AMOUNT, n, dtype=np.int64)
        amount[kind == FEE] %= 1_000
        amount[kind == OPENED] = 0
        home = account % len(CURRENCIES)
        abroad = (draw.random(n) < 0.1) & (kind != OPENED)
        currency = np.where(abroad, (home + 1) % len(CURRENCIES), home).astype(np.int8)
        at = _FIRST_DAY_US + (np.arange(first, first + n, dtype=np.int64) * (_YEAR_US // max(shape.events, 1)))
        yield LedgerChunk(first, account, kind, amount, currency, at)


def _accounts(draw: np.random.Generator, n: int, count: int, skew: str) -> npt.NDArray[np.int64]:
    if skew == "uniform":
        return draw.integers(0, count, n, dtype=np.int64)
    if skew == "giant":
        return np.where(draw.random(n) < 0.5, 0, draw.integers(0, count, n, dtype=np.int64))
    # The inverse of the continuous distribution: P(rank <= r) = log((r + c) / c) / log((count + c) / c).
    c = _ZIPF_OFFSET
    rank = (c * (np.exp(draw.random(n) * np.log((count + c) / c)) - 1)).astype(np.int64)
    rank = np.minimum(rank, count - 1)
    spread = _SCATTER
    while np.gcd(spread, count) != 1:
        spread += 2
    spread_out: npt.NDArray[np.int64] = rank * spread % count
    return spread_out


class LedgerTexts:
    """Turns chunks into event tables: every text is made once and then taken by its index."""

    def __init__(self, shape: LedgerShape, *, cents: bool = False) -> None:
        """``cents``: payloads hold amounts as whole cents (``1234``) instead of decimals (``12.34``)."""
        import pyarrow as pa

        count = shape.account_count
        width = len(str(count - 1))
        self.accounts = pa.array([f"acc-{i:0{width}d}" for i in range(count)], pa.string())
        self._types = pa.array(TYPES, pa.string())
        self._currencies = pa.array(CURRENCIES, pa.string())
        form = "{0}" if cents else "{1}.{2:02d}"
        amounts = (form.format(a, a // 100, a % 100) for a in range(LARGEST_AMOUNT))
        self._amounts = pa.array([f'{{"amount":{a},"currency":"' for a in amounts], pa.string())

    def account_ids(self, chunk: LedgerChunk) -> pa.Array:
        return self.accounts.take(_indices(chunk.account))

    def payloads(self, chunk: LedgerChunk) -> pa.Array:
        """One JSON object text an event (large_utf8)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        heads = self._amounts.take(_indices(chunk.amount))
        openings = pa.array(chunk.type == OPENED)
        owners = pc.binary_join_element_wise('{"owner":"', "owner of ", self.account_ids(chunk), '","currency":"', "")
        heads = pc.if_else(openings, owners, heads)
        tails = pc.if_else(pa.array(chunk.type == FEE), '","reason":"monthly"}', '"}')
        joined = pc.binary_join_element_wise(heads, self._currencies.take(_indices(chunk.currency)), tails, "")
        return joined.cast(pa.large_string())

    def table(self, chunk: LedgerChunk) -> pa.Table:
        """An event table as stores have it: id, account, type, recorded_at, payload (JSON text)."""
        import pyarrow as pa

        n = len(chunk)
        return pa.table(
            {
                "id": pa.array(np.arange(chunk.first + 1, chunk.first + n + 1, dtype=np.int64)),
                "account": self.account_ids(chunk),
                "type": self._types.take(_indices(chunk.type)),
                "recorded_at": pa.array(chunk.at).cast(pa.timestamp("us", tz="UTC")),
                "payload": self.payloads(chunk),
            }
        )

    def arrivals(self, chunk: LedgerChunk) -> pa.RecordBatch:
        """The chunk as ``LogWriter.append`` takes it (``runner.log.arrival``): no file between."""
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


def _coded(codes: npt.NDArray[np.signedinteger], texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(_indices(codes), texts)


def _indices(values: npt.NDArray[np.signedinteger]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values.astype(np.int32))
