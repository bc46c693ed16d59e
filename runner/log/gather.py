"""Gathering arriving events in bounded memory until they are enough for a segment.

Everything is copied once into flat arrays, so no memory of the source is kept alive. Names become codes here: event
types and scopes by registries that only ever grow, aggregates by a dictionary per arriving batch, unified when the
segment is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import LogError
from runner.kernels.gather import append_texts
from runner.kernels.hash import distinct_texts, hash_texts, order_by_hash
from runner.kernels.order import partition_order
from runner.log.arrival import SEPARATOR, Arrival
from runner.log.heads import partition_bounds

__all__ = ["Dictionary", "Gathered", "Lot", "Registries"]

MAX_CODES = 2**15


@dataclass
class Registries:
    """The names that have codes: types, and scopes (source namespace, tenant)."""

    types: list[str]
    scopes: list[tuple[str, str]]
    _type_codes: dict[str, int] = field(init=False, repr=False)
    _scope_codes: dict[tuple[str, str], int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._type_codes = {name: code for code, name in enumerate(self.types)}
        self._scope_codes = {scope: code for code, scope in enumerate(self.scopes)}

    def type_code(self, name: str) -> int:
        code = self._type_codes.get(name)
        if code is None:
            if len(self.types) == MAX_CODES:
                raise LogError(
                    f"more than {MAX_CODES} event types; the next is {name!r}",
                    hint="look at the mapping of `type`: does it name a column that identifies single events?",
                )
            code = self._type_codes[name] = len(self.types)
            self.types.append(name)
        return code

    def scope_code(self, namespace: str, tenant: str) -> int:
        scope = (namespace, tenant)
        code = self._scope_codes.get(scope)
        if code is None:
            if SEPARATOR in tenant:
                raise LogError(
                    f"tenant {tenant!r} holds the unit separator (U+001F), which separates parts of identities"
                )
            if len(self.scopes) == MAX_CODES:
                raise LogError(f"more than {MAX_CODES} tenants; the next is {tenant!r}")
            code = self._scope_codes[scope] = len(self.scopes)
            self.scopes.append(scope)
        return code


@dataclass(frozen=True)
class Dictionary:
    """Distinct aggregates ascending by hash: ids utf8, hash of the identity, scope code; n entries each.

    bounds: int64[P + 1], entries bounds[p] <= i < bounds[p + 1] belong to partition p. Entries may be unused.
    """

    ids: pa.Array
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    scope: npt.NDArray[np.int16]
    bounds: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lot:
    """The events of one arriving batch, by partition: partition p's are starts[p] <= row < starts[p + 1]."""

    dictionary: Dictionary
    starts: npt.NDArray[np.int64]


class Gathered:
    """Room for ``max_events`` events with ``max_bytes`` of payload. Memory is touched as it fills.

    Each lot is put in the order of partitions as it comes, while it is in the cache; so a segment build reads runs.

    Columns are views of what is filled: arrival (int32, rank in the order of arrival), codes (int32, into the lot's
    dictionary), type (int16), version, recorded_at, place_0, place_1 (int64), offsets (int64[n + 1]) into payload
    (uint8).
    """

    def __init__(self, max_events: int, max_bytes: int, partitions: int) -> None:
        self._max_events, self._max_bytes, self._partitions = max_events, max_bytes, partitions
        self._int64s = {n: np.empty(max_events, np.int64) for n in ("version", "recorded_at", "place_0", "place_1")}
        self._small: dict[str, npt.NDArray[Any]] = {
            "arrival": np.empty(max_events, np.int32),
            "codes": np.empty(max_events, np.int32),
            "type": np.empty(max_events, np.int16),
        }
        self._offsets = np.zeros(max_events + 1, np.int64)
        self._payload = np.empty(0, np.uint8)
        self._shared: _Shared | None = None
        self.clear()

    def clear(self) -> None:
        self.lots: list[Lot] = []
        self.events = 0
        self.bytes = 0
        if len(self._payload) != self._max_bytes:
            self._payload = np.empty(self._max_bytes, np.uint8)

    def room_for(self, arrival: Arrival, start: int) -> int:
        """How many events from ``start`` on there is room for; at least one where nothing is gathered yet."""
        offsets = arrival.payload[1]
        rows = min(len(arrival) - start, self._max_events - self.events)
        fit = int(np.searchsorted(offsets, offsets[start] + self._max_bytes - self.bytes, side="right")) - 1 - start
        return max(min(rows, fit), 1 if self.events == 0 else 0)

    def add(self, arrival: Arrival, registries: Registries, namespace: str) -> None:
        """Take all events of ``arrival``; the caller has looked for room. Raises LogError."""
        at, to = self.events, self.events + len(arrival)
        dictionary, codes = self._encode(arrival, registries, namespace)
        types = _type_codes(arrival.type, registries)
        order, starts = partition_order(codes, dictionary.bounds)
        self._small["arrival"][at:to] = order + np.int32(at)
        self._small["codes"][at:to] = codes[order]
        self._small["type"][at:to] = types[order]
        for name, values in self._int64s.items():
            values[at:to] = getattr(arrival, name)[order]
        data, offsets = arrival.payload
        size = int(offsets[-1] - offsets[0])
        if self.bytes + size > len(self._payload):
            # One event that is larger than all room: it gets its own.
            filled = self._payload[: self.bytes]
            self._payload = np.empty(self.bytes + size, np.uint8)
            self._payload[: self.bytes] = filled
        append_texts(data, offsets, order, self._payload, self._offsets[at : to + 1])
        self.lots.append(Lot(dictionary, starts + at))
        self.events, self.bytes = to, self.bytes + size

    def column(self, name: str) -> npt.NDArray[Any]:
        """arrival, codes, type, version, recorded_at, place_0 or place_1 of the gathered events."""
        return {**self._int64s, **self._small}[name][: self.events]

    @property
    def payload(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return self._payload, self._offsets[: self.events + 1]

    def _encode(
        self, arrival: Arrival, registries: Registries, namespace: str
    ) -> tuple[Dictionary, npt.NDArray[np.int32]]:
        tenant = _only_tenant(arrival.tenant)
        if tenant is None:
            entries, codes = _entries_of_tenants(arrival, registries, namespace)
            dictionary, places = _sorted(*entries, self._partitions)
            return dictionary, places[codes]
        scope = registries.scope_code(namespace, tenant)
        ids = arrival.aggregate_id
        prefix = f"{namespace}{SEPARATOR}{tenant}{SEPARATOR}".encode()
        if not pa.types.is_dictionary(ids.type):
            codes, firsts = distinct_texts(ids)
            dictionary, places = _hashed(ids.take(pa.array(firsts)), prefix, scope, self._partitions)
            return dictionary, places[codes]
        indices, texts = _indices(ids)
        if len(texts) > 16 * len(indices) or texts.null_count:
            kept, codes = _used(indices, len(texts))
            dictionary, places = _hashed(texts.take(pa.array(kept)), prefix, scope, self._partitions)
            return dictionary, places[codes]
        # Generated events come with one dictionary for all batches: it is hashed once.
        if self._shared is None or not self._shared.fits(texts, prefix):
            dictionary, places = _hashed(texts, prefix, scope, self._partitions)
            self._shared = _Shared(texts, prefix, dictionary, places)
        return self._shared.dictionary, self._shared.places[indices]


@dataclass(frozen=True)
class _Shared:
    """The dictionary that the last batch came with, sorted; places: where its entries went, int32."""

    texts: pa.Array
    prefix: bytes
    dictionary: Dictionary
    places: npt.NDArray[np.int32]

    def fits(self, texts: pa.Array, prefix: bytes) -> bool:
        return prefix == self.prefix and _memory(texts) == _memory(self.texts)


def _memory(array: pa.Array) -> tuple[int, ...]:
    # Arrow data never changes, so equal addresses of living buffers are equal texts.
    return (len(array), array.offset, *(b.address if b is not None else 0 for b in array.buffers()))


def _indices(texts: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """(codes, texts) of a dictionary array; entries may be unused."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), encoded.dictionary


def _type_codes(types: pa.Array, registries: Registries) -> npt.NDArray[np.int16]:
    indices, names = _indices(types)
    used = np.zeros(len(names), np.bool_)
    used[indices] = True
    entries: npt.NDArray[np.integer[Any]] = np.flatnonzero(used)
    # New names get their codes in the order of arrival, however the column came encoded.
    if len(entries) <= 64:
        entries = entries[np.argsort([int(np.argmax(indices == e)) for e in entries], kind="stable")]
    else:
        _, firsts = np.unique(indices, return_index=True)
        entries = indices[np.sort(firsts)]
    table = np.zeros(len(names), np.int16)
    for e in entries:
        table[e] = registries.type_code(names[int(e)].as_py())
    return table[indices]


def _used(indices: npt.NDArray[np.int32], entries: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """(the entries that occur, codes into them)."""
    used = np.zeros(entries, np.bool_)
    used[indices] = True
    kept = np.flatnonzero(used)
    places = np.empty(entries, np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    return kept, places[indices]


def _hashed(ids: pa.Array, prefix: bytes, scope: int, partitions: int) -> tuple[Dictionary, npt.NDArray[np.int32]]:
    hi, lo = hash_texts(ids, prefix)
    return _sorted(ids, hi, lo, np.full(len(hi), scope, np.int16), partitions)


def _sorted(
    ids: pa.Array,
    hi: npt.NDArray[np.uint64],
    lo: npt.NDArray[np.uint64],
    scope: npt.NDArray[np.int16],
    partitions: int,
) -> tuple[Dictionary, npt.NDArray[np.int32]]:
    """(the dictionary ascending by hash, where each entry went)."""
    order = order_by_hash(hi, lo)
    hi, lo = hi[order], lo[order]
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    ids = ids.cast(pa.utf8()).take(pa.array(order))
    return Dictionary(ids, hi, lo, scope[order], partition_bounds(hi, partitions)), places


def _entries_of_tenants(
    arrival: Arrival, registries: Registries, namespace: str
) -> tuple[tuple[pa.Array, Any, Any, Any], npt.NDArray[np.int32]]:
    """((ids, hi, lo, scope) of the distinct aggregates, codes) where events are of several tenants."""
    tenants, ids = (_plain(a).cast(pa.large_utf8()) for a in (arrival.tenant, arrival.aggregate_id))
    joined = pc.binary_join_element_wise(tenants, ids, pa.scalar(SEPARATOR, pa.large_utf8()))
    codes, firsts = distinct_texts(joined)
    rows = pa.array(firsts)
    hi, lo = hash_texts(joined.take(rows), f"{namespace}{SEPARATOR}".encode())
    tenant_codes, names = _indices(tenants.take(rows))
    scopes = np.array([registries.scope_code(namespace, name) for name in names.to_pylist()], np.int16)
    return (ids.take(rows), hi, lo, scopes[tenant_codes]), codes


def _only_tenant(tenants: pa.Array) -> str | None:
    """The tenant that all events have; None where there are several."""
    if not len(tenants):
        return ""
    names: Any = pc.unique(tenants)
    return names[0].as_py() if len(names) == 1 else None


def _plain(texts: pa.Array) -> pa.Array:
    return texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
