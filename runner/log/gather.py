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
from runner.kernels.hash import distinct_texts, hash_texts
from runner.log.arrival import SEPARATOR, Arrival

__all__ = ["Dictionary", "Gathered", "Registries"]

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
    """The distinct aggregates of one arriving batch: ids utf8, hash of the identity, scope code; n entries each."""

    ids: pa.Array
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    scope: npt.NDArray[np.int16]


class Gathered:
    """Room for ``max_events`` events with ``max_bytes`` of payload. Memory is touched as it fills.

    Columns are views of what is filled: codes (int32, of the lots' dictionaries one behind the other), type (int16),
    version, recorded_at, place_0, place_1 (int64), offsets (int64[n + 1]) into payload (uint8).
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._int64s = {n: np.empty(max_events, np.int64) for n in ("version", "recorded_at", "place_0", "place_1")}
        self._codes = np.empty(max_events, np.int32)
        self._types = np.empty(max_events, np.int16)
        self._offsets = np.zeros(max_events + 1, np.int64)
        self._payload = np.empty(0, np.uint8)
        self.clear()

    def clear(self) -> None:
        self.dictionaries: list[Dictionary] = []
        self.events = 0
        self.bytes = 0
        self._entries = 0
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
        n, at = len(arrival), self.events
        to = at + n
        dictionary, codes = _dictionary(arrival, registries, namespace)
        self._types[at:to] = _type_codes(arrival.type, registries)
        np.add(codes, self._entries, out=self._codes[at:to])
        for name, values in self._int64s.items():
            values[at:to] = getattr(arrival, name)
        data, offsets = arrival.payload
        size = int(offsets[-1] - offsets[0])
        if self.bytes + size > len(self._payload):
            # One event that is larger than all room: it gets its own.
            filled = self._payload[: self.bytes]
            self._payload = np.empty(self.bytes + size, np.uint8)
            self._payload[: self.bytes] = filled
        self._payload[self.bytes : self.bytes + size] = data[offsets[0] : offsets[-1]]
        self._offsets[at + 1 : to + 1] = offsets[1:] - offsets[0] + self.bytes
        self.dictionaries.append(dictionary)
        self._entries += len(dictionary.ids)
        self.events, self.bytes = to, self.bytes + size

    def column(self, name: str) -> npt.NDArray[np.int64]:
        """version, recorded_at, place_0 or place_1 of the gathered events."""
        return self._int64s[name][: self.events]

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        return self._codes[: self.events]

    @property
    def types(self) -> npt.NDArray[np.int16]:
        return self._types[: self.events]

    @property
    def payload(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return self._payload, self._offsets[: self.events + 1]


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


def _dictionary(arrival: Arrival, registries: Registries, namespace: str) -> tuple[Dictionary, npt.NDArray[np.int32]]:
    tenant = _only_tenant(arrival.tenant)
    if tenant is None:
        return _dictionary_of_tenants(arrival, registries, namespace)
    scope = registries.scope_code(namespace, tenant)
    ids = arrival.aggregate_id
    if pa.types.is_dictionary(ids.type):
        indices, texts = _indices(ids)
        used = np.zeros(len(texts), np.bool_)
        used[indices] = True
        kept = np.flatnonzero(used)
        places = np.empty(len(texts), np.int32)
        places[kept] = np.arange(len(kept), dtype=np.int32)
        codes, distinct = places[indices], texts.take(pa.array(kept))
    else:
        codes, firsts = distinct_texts(ids)
        distinct = ids.take(pa.array(firsts))
    hi, lo = hash_texts(distinct, f"{namespace}{SEPARATOR}{tenant}{SEPARATOR}".encode())
    return Dictionary(distinct.cast(pa.utf8()), hi, lo, np.full(len(hi), scope, np.int16)), codes


def _dictionary_of_tenants(
    arrival: Arrival, registries: Registries, namespace: str
) -> tuple[Dictionary, npt.NDArray[np.int32]]:
    tenants, ids = (_plain(a).cast(pa.large_utf8()) for a in (arrival.tenant, arrival.aggregate_id))
    joined = pc.binary_join_element_wise(tenants, ids, pa.scalar(SEPARATOR, pa.large_utf8()))
    codes, firsts = distinct_texts(joined)
    rows = pa.array(firsts)
    hi, lo = hash_texts(joined.take(rows), f"{namespace}{SEPARATOR}".encode())
    tenant_codes, names = _indices(tenants.take(rows))
    scopes = np.array([registries.scope_code(namespace, name) for name in names.to_pylist()], np.int16)
    return Dictionary(ids.take(rows).cast(pa.utf8()), hi, lo, scopes[tenant_codes]), codes


def _only_tenant(tenants: pa.Array) -> str | None:
    """The tenant that all events have; None where there are several."""
    if not len(tenants):
        return ""
    names: Any = pc.unique(tenants)
    return names[0].as_py() if len(names) == 1 else None


def _plain(texts: pa.Array) -> pa.Array:
    return texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
