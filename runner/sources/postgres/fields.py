"""The parts of events in a batch of rows, in bulk: a column that has its type is taken as it is, what lies in JSON is
found by one scan of its text. Rows that are not plain to see are marked for the twin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.kernels.fieldstatus import ABSENT as NO_VALUE
from runner.kernels.fieldstatus import FOUND, LOCAL
from runner.kernels.fieldstatus import NULL as NULL_VALUE
from runner.kernels.hash import text_buffers
from runner.kernels.jsonscan import ABSENT, INTEGER, NULL, OBJECT, TEXT, Spans, path_trie, scan_paths
from runner.kernels.textnumbers import parse_integers
from runner.kernels.textspans import copy_spans, copy_texts, utf8_array
from runner.payload.coercion import parse_coercion
from runner.payload.values import written_datetimes
from runner.sources.jsontext import readable

if TYPE_CHECKING:
    from runner.config.mapping import FieldMapping, Part, TimeMapping
    from runner.sources.postgres.payloads import Decoded, Decoder
    from runner.sources.postgres.store import Store
    from runner.values import Path

__all__ = ["FIRST_MICROSECOND", "INFINITE_TIME", "LAST_MICROSECOND", "Fields", "Flags", "Int64s"]

Flags = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
LAST_MICROSECOND = 253_402_300_799_999_999
FIRST_MICROSECOND = -62_135_596_800_000_000
"""The first and the last microsecond that Python's calendar has."""
INFINITE_TIME = "recorded_at: it is infinite"
# Given as numbers, pyarrow would look for a module that is not installed at each call, for half a millisecond.
_ZERO = pa.scalar(0, pa.int64())
_FIRST, _LAST = pa.scalar(FIRST_MICROSECOND, pa.int64()), pa.scalar(LAST_MICROSECOND, pa.int64())


class Fields:
    """One batch of rows, and what is found in it. doubtful: rows for the twin; reasons: of rows that are no events."""

    def __init__(self, store: Store, decoder: Decoder, rows: pa.RecordBatch) -> None:
        self._store, self.rows, self._n = store, rows, rows.num_rows
        self.doubtful: Flags = np.zeros(self._n, np.bool_)
        self.reasons: dict[int, str] = {}
        self.spans: dict[str, tuple[Any, dict[Path, Spans]]] = {}
        self.texts: dict[str, pa.Array] = {}
        self._decoded(decoder)
        self._scanned()

    def column(self, label: str) -> pa.Array:
        """The cells of a label as they came."""
        return self.rows.column(label)

    # JSON -------------------------------------------------------------------------------------------------------------

    def _decoded(self, decoder: Decoder) -> None:
        label = self._store.payload[0]
        decoded: Decoded = decoder.decode(self.column(label), self._types)
        self.texts[label] = decoded.texts
        self.reasons |= decoded.reasons

    def _types(self) -> pa.Array:
        """For a hook. A type that lies in the payload itself is not known before it is decoded."""
        store = self._store
        paths = [path for part in store.type.parts for path in part.paths]
        if any(path[0] == store.payload[0] for path in paths):
            return pa.array([""] * self._n)
        return self._joined(store.type, np.zeros(self._n, np.bool_))

    def _json_paths(self) -> dict[str, list[Path]]:
        """Per label what is looked for inside of its JSON."""
        store = self._store
        mapped = [m for m in (store.aggregate_id, store.type, store.version, store.tenant_field) if m is not None]
        if store.recorded_at is not None:
            mapped.append(store.recorded_at.field)
        found: dict[str, list[Path]] = {}
        for path in [*(p for m in mapped for part in m.parts for p in part.paths), store.payload]:
            if len(path) > 1:
                found.setdefault(path[0], []).append(path[1:])
        return found

    def _scanned(self) -> None:
        payload = self._store.payload[0]
        wanted = self._json_paths()
        plain = self._store.cells[payload].type == "jsonb" and payload not in wanted
        for label in dict.fromkeys([*wanted, *(() if plain else (payload,))]):
            texts = self.texts.get(label)
            if texts is None:
                texts = self.texts[label] = readable(self.column(label)).cast(pa.large_utf8())
            data, offsets = text_buffers(texts)
            paths: list[Path] = list(dict.fromkeys([(), *wanted.get(label, ())]))
            found, good = scan_paths(data, offsets[:-1], offsets[1:], path_trie(paths))
            absent = ~good
            if texts.null_count or (offsets[1:] == offsets[:-1]).any():
                # Nothing there is not bad JSON.
                absent |= offsets[1:] == offsets[:-1]
                good |= offsets[1:] == offsets[:-1]
            self.doubtful |= ~good
            for spans in found:
                spans.kinds[absent] = ABSENT
            self.spans[label] = (data, dict(zip(paths, found, strict=True)))

    def span(self, path: Path) -> tuple[Any, Spans]:
        data, spans = self.spans[path[0]]
        found = spans[path[1:]]
        nulls = found.kinds == NULL
        if nulls.any():
            found = Spans(np.where(nulls, np.uint8(ABSENT), found.kinds), found.starts, found.stops)
        return data, found

    # In bulk ----------------------------------------------------------------------------------------------------------

    def payload(self) -> pa.Array:
        label = self._store.payload[0]
        texts = self.texts[label]
        data, offsets = text_buffers(texts)
        lengths = np.diff(offsets)
        if label not in self.spans:
            # jsonb is JSON already, and written without space in front.
            first = np.zeros(self._n, np.uint8)
            first[lengths > 0] = data[offsets[:-1][lengths > 0]]
            self.doubtful |= (first != ord("{")) & (lengths > 0)
            return texts if (lengths > 0).all() else pc.if_else(pa.array(lengths > 0), texts, "{}")
        if len(self._store.payload) == 1:
            data, spans = self.spans[label][0], self.spans[label][1][()]
            self.doubtful |= (spans.kinds != OBJECT) & (lengths > 0)
            return texts if (lengths > 0).all() else pc.if_else(pa.array(lengths > 0), texts, "{}")
        data, spans = self.span(self._store.payload)
        objects = spans.kinds == OBJECT
        self.doubtful |= ~objects
        starts, stops = np.where(objects, spans.starts, 0), np.where(objects, spans.stops, 0)
        return utf8_array(*copy_spans(data, starts, stops), large=True)

    def _part(self, part: Part, doubtful: Flags) -> pa.Array:
        """A part's text, large_utf8, null where there is none."""
        found: list[pa.Array] = []
        for path in part.paths:
            if len(path) == 1:
                found.append(self._readable(path[0]))
                continue
            data, spans = self.span(path)
            as_text = np.where(spans.kinds == INTEGER, TEXT, spans.kinds).astype(np.uint8)
            texts, statuses = copy_texts(data, Spans(as_text, spans.starts, spans.stops))
            doubtful |= (statuses != FOUND) & (statuses != NO_VALUE)
            texts = texts.cast(pa.large_utf8())
            doubtful |= _holds_nul(texts)
            found.append(texts)
        return found[0] if len(found) == 1 else pc.coalesce(*found)

    def _readable(self, label: str) -> pa.Array:
        column = self.column(label)
        if pa.types.is_nested(column.type):
            return pa.nulls(len(column), pa.large_utf8())
        if label in self.texts:
            # A JSON column taken whole as a text.
            return self.texts[label]
        return readable(column).cast(pa.large_utf8())

    def _joined(self, mapping: FieldMapping, doubtful: Flags) -> pa.Array:
        joined = None
        nothing = pa.scalar(None, pa.large_utf8())
        separator = pa.scalar(mapping.separator, pa.large_utf8())
        for part in mapping.parts:
            if part.constant is not None:
                piece = pa.array([part.constant] * self._n, pa.large_utf8())
            else:
                piece = self._part(part, doubtful)
                empty = pc.fill_null(pc.equal(pc.binary_length(piece), _ZERO), False)
                if part.optional:
                    piece = pc.if_else(empty, nothing, piece) if pc.any(empty).as_py() else piece
                else:
                    doubtful |= (pc.or_(empty, piece.is_null())).to_numpy(zero_copy_only=False)
            if joined is None:
                joined = piece
            else:
                joined = pc.coalesce(pc.binary_join_element_wise(joined, piece, separator), joined, piece, nothing)
        return joined

    def text(self, mapping: FieldMapping, instead: str = "") -> pa.Array:
        if self._store.memberships and mapping is self._store.aggregate_id:
            return pa.nulls(self._n, pa.large_utf8())
        texts = self._joined(mapping, self.doubtful)
        if texts.null_count:
            texts = pc.fill_null(texts, instead)
        self.doubtful |= pc.equal(pc.binary_length(texts), _ZERO).to_numpy(zero_copy_only=False)
        return texts

    def tenant(self) -> pa.Array:
        store = self._store
        if store.tenant_field is None:
            return _constant(store.tenant, self._n)
        texts = pc.fill_null(self._joined(store.tenant_field, self.doubtful), "")
        if store.default_tenants:
            none = pc.is_in(texts, pa.array(sorted(store.default_tenants), pa.large_utf8()))
            texts = pc.if_else(none, "", texts).cast(pa.large_utf8())
        if store.tenant:
            within = pc.binary_join_element_wise(
                pa.scalar(store.tenant, pa.large_utf8()), texts, pa.scalar("/", pa.large_utf8())
            )
            texts = pc.if_else(pc.equal(pc.binary_length(texts), _ZERO), store.tenant, within).cast(pa.large_utf8())
        separated = pc.match_substring(texts, "\x1f").to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(separated):
            self.reasons[int(row)] = "tenant holds the unit separator (U+001F)"
        return texts

    def version(self) -> pa.Array:
        mapping = self._store.version
        if mapping is None:
            return pa.nulls(self._n, pa.int64())
        part = mapping.parts[0]
        if len(part.paths) == 1 and len(part.paths[0]) == 1:
            column = self.column(part.paths[0][0])
            if column.type == pa.int64():
                negative = pc.fill_null(pc.less(column, _ZERO), False).to_numpy(zero_copy_only=False)
                self.doubtful |= negative
                if not part.optional and column.null_count:
                    self.doubtful |= column.is_null().to_numpy(zero_copy_only=False)
                return column
        data, spans = self._values(part)
        values, statuses = parse_integers(data, spans, in_text=True)
        missing = (statuses == NO_VALUE) | (statuses == NULL_VALUE)
        self.doubtful |= ~missing & ((statuses != FOUND) | (values < 0))
        if not part.optional:
            self.doubtful |= missing
        return pa.array(values, mask=missing)

    def _values(self, part: Part) -> tuple[Any, Spans]:
        """The spans of a part that is one path, or of its texts."""
        if len(part.paths) == 1 and len(part.paths[0]) > 1:
            return self.span(part.paths[0])
        return _spans_of(self._part(part, self.doubtful))

    def _absent_times(self, label: str, column: pa.Array, *, needed: bool) -> None:
        absent = column.is_null().to_numpy(zero_copy_only=False)
        if self._store.cells[label].required:
            self.reasons |= dict.fromkeys(np.flatnonzero(absent).tolist(), INFINITE_TIME)
        elif needed:
            self.doubtful |= absent

    def time(self) -> pa.Array:
        utc = pa.timestamp("us", "UTC")
        time: TimeMapping | None = self._store.recorded_at
        if time is None:
            return pa.nulls(self._n, utc)
        part = time.field.parts[0]
        single = len(time.field.parts) == 1 and part.constant is None
        if single and len(part.paths) == 1 and len(part.paths[0]) == 1:
            column = self.column(part.paths[0][0])
            if pa.types.is_timestamp(column.type):
                numbers = column.cast(pa.int64())
                beyond = pc.or_(pc.greater(numbers, _LAST), pc.less(numbers, _FIRST))
                self.doubtful |= pc.fill_null(beyond, False).to_numpy(zero_copy_only=False)
                if column.null_count:
                    self._absent_times(part.paths[0][0], column, needed=not part.optional)
                return column.cast(utc)
        data, spans = self._values(part) if single else _spans_of(self._joined(time.field, self.doubtful))
        values, statuses = written_datetimes(data, spans, parse_coercion(time.coerce))
        missing = (statuses == NO_VALUE) | (statuses == NULL_VALUE)
        self.doubtful |= statuses >= LOCAL
        if any(not p.optional for p in time.field.parts):
            self.doubtful |= missing
        return pa.array(values, mask=missing if missing.any() else None).cast(utc)


def _spans_of(texts: pa.Array) -> tuple[Any, Spans]:
    data, offsets = text_buffers(texts)
    kinds = np.where(texts.is_valid().to_numpy(zero_copy_only=False), TEXT, ABSENT).astype(np.uint8)
    starts = offsets[:-1]
    kinds[offsets[1:] == starts] = ABSENT
    return data, Spans(kinds, starts, offsets[1:])


def _constant(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text], pa.utf8()))


def _holds_nul(texts: pa.Array) -> Flags:
    data, offsets = text_buffers(texts)
    if not len(texts) or not (data[offsets[0] : offsets[-1]] == 0).any():
        return np.zeros(len(texts), np.bool_)
    found: Flags = pc.fill_null(pc.match_substring(texts, "\0"), False).to_numpy(zero_copy_only=False)
    return found
