"""Some of the aggregates, each of them whole: for trying projections on a store that takes hours to copy.

An aggregate belongs to the fraction by the hash of its identity, so the same ones come with every sync. The fraction is
stated in the manifest with each source: such a log is never taken for a whole one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import ConfigError
from runner.kernels.hash import hash_texts
from runner.log.arrival import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.log.manifest import Source

__all__ = ["Fraction", "check_fraction", "fraction_line", "held_fractions", "parse_fraction", "stated", "with_fraction"]

KEY = "aggregates"
"""Under which a source's identity in the manifest states it."""


@dataclass(frozen=True)
class Fraction:
    """``part`` of every ``of`` aggregates."""

    part: int
    of: int

    def __str__(self) -> str:
        return f"{self.part}/{self.of}"

    def of_events(self, events: pa.RecordBatch, namespace: str) -> pa.RecordBatch:
        """Those of arriving events whose aggregate belongs to it."""
        if not events.num_rows:
            return events
        tenants, ids = (_plain(events.column(name)) for name in ("tenant", "aggregate_id"))
        kept = np.zeros(events.num_rows, np.bool_)
        names: Any = pc.unique(tenants)
        for tenant in names.to_pylist():
            rows = np.flatnonzero(pc.equal(tenants, tenant).to_numpy(zero_copy_only=False))
            prefix = f"{namespace}{SEPARATOR}{tenant}{SEPARATOR}".encode()
            _, low = hash_texts(ids.take(pa.array(rows)), prefix)
            # The high word chooses the partition; the low one is as good as independent of it.
            kept[rows] = low % np.uint64(self.of) < np.uint64(self.part)
        return events.filter(pa.array(kept))


def _plain(texts: pa.Array) -> pa.Array:
    return texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts


def parse_fraction(text: str) -> Fraction:
    """``1/100``. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None or not 0 < int(found[1]) < int(found[2]):
        raise ConfigError(f"--aggregates {text}: takes a part of all, 1/100 say")
    return Fraction(int(found[1]), int(found[2]))


def stated(identity: Any) -> str:
    """The fraction that a source's identity states, "" for all."""
    return str(identity.get(KEY, "")) if isinstance(identity, dict) else ""


def held_fractions(sources: Iterable[Source]) -> dict[str, str]:
    """The sources of which a log holds a fraction of the aggregates only, and that fraction."""
    return {s.name: stated(s.identity) for s in sources if s.events and stated(s.identity)}


def fraction_line(sources: Iterable[Source]) -> str:
    """A line that says of which sources a log holds a part only; "" where it holds all."""
    held = [f"{fraction} of the aggregates of {name}" for name, fraction in held_fractions(sources).items()]
    return f"a part only: the log holds {', '.join(held)} (sync --aggregates)" if held else ""


def check_fraction(sources: Iterable[Source], wanted: Fraction | None, log: str) -> None:
    """Raises ConfigError where the log's events are another fraction of the aggregates than ``wanted``."""
    for source in sources:
        has = stated(source.identity)
        if source.events and has != (str(wanted) if wanted else ""):
            held = f"holds {has} of the aggregates" if has else "holds all aggregates"
            raise ConfigError(
                f"{log}: the log {held} of source {source.name}, and "
                f"{f'{wanted} of them' if wanted else 'all of them'} are asked for",
                hint=f"give --aggregates {has}, or sync into another log directory"
                if has
                else "sync into another log directory ([log] path), so that the whole one stays whole",
            )


def with_fraction(identity: Any, fraction: Fraction | None) -> Any:
    """A source's identity with the fraction in it."""
    if fraction is None:
        return identity
    whole: Mapping[str, Any] = identity if isinstance(identity, dict) else {"of": identity}
    return {**whole, KEY: str(fraction)}
