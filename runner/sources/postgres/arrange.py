"""Rows of a store to arriving events, in bulk: columns that have their type are taken as they are, what lies in JSON
is found by one scan of its text. A row that is not plain to see goes to the twin (``runner.sources.plain``), which says
why it is no event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.config.model import SourceConfig
from runner.kernels.fieldstatus import ABSENT as NO_VALUE
from runner.kernels.fieldstatus import FOUND, LOCAL
from runner.kernels.fieldstatus import NULL as NULL_VALUE
from runner.kernels.hash import text_buffers
from runner.kernels.jsonscan import ABSENT, INTEGER, NULL, OBJECT, TEXT, Spans, path_trie, scan_paths
from runner.kernels.textnumbers import parse_integers
from runner.kernels.textspans import copy_spans, copy_texts, utf8_array
from runner.log.arrival import ARRIVAL_SCHEMA
from runner.payload.coercion import parse_coercion
from runner.payload.scalars import Unfit, parse
from runner.payload.values import written_datetimes
from runner.sources.jsontext import readable
from runner.sources.plain import payload_text, plain_event
from runner.sources.postgres.statement import INFINITE, VERDICT, like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.config.mapping import FieldMapping, Part, TimeMapping
    from runner.sources.postgres.payloads import Decoded, Decoder
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store
    from runner.values import Path

__all__ = ["Arranged", "Arranger"]

Flags = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
_LAST_MICROSECOND = 253_402_300_799_999_999
_FIRST_MICROSECOND = -62_135_596_800_000_000
_JSON = ("json", "jsonb")


@dataclass(frozen=True)
class Arranged:
    """Events, and for each its row; rows that are no events with the reason, in order; rows left out, by what they
    are."""

    events: pa.RecordBatch
    rows: Int64s
    bad: tuple[tuple[int, str], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


class Arranger:
    """Arranges the rows of one store."""

    def __init__(self, store: Store, statement: Statement, decoder: Decoder) -> None:
        self._store, self._decoder = store, decoder
        self._plain = _as_file_source(store)
        self._reasons = statement.reasons
        pairs = (("other streams", "aggregate_id", store.config.streams), ("other types", "type", store.config.types))
        self._filters = [
            (what, name, [like(p) for p in patterns])
            for what, name, patterns in pairs
            if patterns and what not in statement.reasons
        ]

    def arrange(self, rows: pa.RecordBatch) -> Arranged:
        """The events of rows as ``Statement.rows`` gives them."""
        kept, left_out = self._not_left_out(rows)
        whole = len(kept) == rows.num_rows
        reading = _Reading(self._store, self._decoder, rows if whole else rows.take(pa.array(kept)))
        events, sure, bad = reading.events(self._plain)
        at = kept[sure]
        if self._store.memberships:
            events, at, lone = self._members(events, at, reading.column(self._store.memberships).take(pa.array(sure)))
            if lone:
                left_out["without an aggregate"] = lone
        for what, name, patterns in self._filters:
            mask = _matching(events.column(name), patterns)
            if not mask.all():
                events, at = events.filter(pa.array(mask)), at[mask]
                left_out[what] = int(len(mask) - mask.sum())
        return Arranged(events, at, tuple((int(kept[row]), reason) for row, reason in bad), left_out)

    def _not_left_out(self, rows: pa.RecordBatch) -> tuple[Int64s, dict[str, int]]:
        if not self._reasons:
            return np.arange(rows.num_rows), {}
        codes = rows.column(VERDICT).to_numpy(zero_copy_only=False)
        counts = np.bincount(np.maximum(codes, 0), minlength=len(self._reasons) + 1)
        named = {name: int(n) for name, n in zip(self._reasons, counts[1:], strict=True) if n}
        return np.flatnonzero(codes <= 0), named

    def _members(self, events: pa.RecordBatch, at: Int64s, tags: pa.Array) -> tuple[pa.RecordBatch, Int64s, int]:
        """Each event once for every tag that is an aggregate."""
        values, parents = tags.flatten(), pc.list_parent_indices(tags).to_numpy()
        mine = np.zeros(len(values), np.bool_)
        for prefix in self._store.config.aggregates:
            mine |= pc.fill_null(pc.starts_with(values, prefix), False).to_numpy(zero_copy_only=False)
        of, ids = parents[mine], values.filter(pa.array(mine))
        lone = events.num_rows - len(np.unique(of))
        taken = events.take(pa.array(of))
        place = taken.schema.get_field_index("aggregate_id")
        return taken.set_column(place, pa.field("aggregate_id", ids.type), ids), at[of], lone


def _matching(texts: pa.Array, patterns: Sequence[str]) -> Flags:
    mask = np.zeros(len(texts), np.bool_)
    for pattern in patterns:
        mask |= pc.match_like(texts, pattern).to_numpy(zero_copy_only=False)
    return mask


def _as_file_source(store: Store) -> SourceConfig:
    """What the twin takes: a source of records, whose keys are the labels."""
    return SourceConfig(
        name=store.source,
        files=(),
        aggregate_id=store.aggregate_id,
        type=store.type,
        version=store.version,
        recorded_at=store.recorded_at,
        tenant=store.tenant_field,
    )


class _Reading:
    """One batch of rows."""

    def __init__(self, store: Store, decoder: Decoder, rows: pa.RecordBatch) -> None:
        self._store, self._rows, self._n = store, rows, rows.num_rows
        self.doubtful: Flags = np.zeros(self._n, np.bool_)
        self.reasons: dict[int, str] = {}
        self._spans: dict[str, tuple[Any, dict[Path, Spans]]] = {}
        self._texts: dict[str, pa.Array] = {}
        self._decoded(decoder)
        self._scanned()

    def column(self, label: str) -> pa.Array:
        return self._rows.column(label)

    # JSON -------------------------------------------------------------------------------------------------------------

    def _decoded(self, decoder: Decoder) -> None:
        label = self._store.payload[0]
        decoded: Decoded = decoder.decode(self.column(label), self._types)
        self._texts[label] = decoded.texts
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
            texts = self._texts.get(label)
            if texts is None:
                texts = self._texts[label] = readable(self.column(label)).cast(pa.large_utf8())
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
            self._spans[label] = (data, dict(zip(paths, found, strict=True)))

    def _span(self, path: Path) -> tuple[Any, Spans]:
        data, spans = self._spans[path[0]]
        found = spans[path[1:]]
        nulls = found.kinds == NULL
        if nulls.any():
            found = Spans(np.where(nulls, np.uint8(ABSENT), found.kinds), found.starts, found.stops)
        return data, found

    # Fields -----------------------------------------------------------------------------------------------------------

    def events(self, plain: SourceConfig) -> tuple[pa.RecordBatch, Int64s, list[tuple[int, str]]]:
        """(the events, the row of each, rows that are none with the reason)."""
        store = self._store
        payload = self._payload()
        columns: dict[str, Any] = {
            "tenant": self._tenant(),
            "aggregate_id": self._text(store.aggregate_id, store.without_aggregate),
            "version": self._version(),
            "type": self._text(store.type),
            "recorded_at": self._time(),
            "payload": payload,
        }
        if store.memberships:
            columns["aggregate_id"] = pa.array(["-"] * self._n, pa.large_utf8())
        zero = pa.array(np.zeros(self._n, np.int64))
        places = [self.column(label) for label in store.position]
        columns["source_position_0"], columns["source_position_1"] = places if len(places) == 2 else (zero, places[0])
        for place in places:
            if place.null_count:
                self._no_place(place)
        if VERDICT in self._rows.schema.names:
            verdicts = self.column(VERDICT).to_numpy(zero_copy_only=False)
            self.reasons |= dict.fromkeys(np.flatnonzero(verdicts == INFINITE).tolist(), "recorded_at: it is infinite")
        for row in self.reasons:
            self.doubtful[row] = True
        if not self.doubtful.any():
            events = pa.RecordBatch.from_arrays([columns[f.name] for f in ARRIVAL_SCHEMA], names=ARRIVAL_SCHEMA.names)
            return events, np.arange(self._n), []
        return self._with_twin(columns, plain)

    def _no_place(self, place: pa.Array) -> None:
        for row in np.flatnonzero(place.is_null().to_numpy(zero_copy_only=False)).tolist():
            self.reasons[row] = "position: it is NULL"

    def _with_twin(
        self, columns: dict[str, Any], plain: SourceConfig
    ) -> tuple[pa.RecordBatch, Int64s, list[tuple[int, str]]]:
        bad: list[tuple[int, str]] = []
        rows: list[int] = []
        read: list[dict[str, Any]] = []
        for row in np.flatnonzero(self.doubtful).tolist():
            if row in self.reasons:
                bad.append((row, self.reasons[row]))
                continue
            try:
                read.append(self._twin(row, plain, columns))
            except Unfit as error:
                bad.append((row, str(error)))
            else:
                rows.append(row)
        sure = np.flatnonzero(~self.doubtful)
        names = ARRIVAL_SCHEMA.names
        wide = {n: pa.large_utf8() for n in ("tenant", "aggregate_id", "type")}
        schema = pa.schema([f.with_type(wide.get(f.name, f.type)).with_nullable(True) for f in ARRIVAL_SCHEMA])
        whole = pa.RecordBatch.from_arrays([_wide(columns[name]) for name in names], schema=schema)
        kept = whole.take(pa.array(sure))
        if not read:
            return kept, sure, bad
        both = pa.Table.from_batches([kept, pa.RecordBatch.from_pylist(read, schema=schema)]).combine_chunks()
        at = np.concatenate((sure, np.array(rows, np.int64)))
        order = np.argsort(at, kind="stable")
        merged = both.take(pa.array(order)).combine_chunks().to_batches()[0]
        return merged, at[order], bad

    def _twin(self, row: int, plain: SourceConfig, columns: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for label in self._store.cells:
            record[label] = self._cell(label, row)
        if self._store.memberships:
            record[self._store.memberships] = "-"
        if self._store.without_aggregate:
            for part in self._store.aggregate_id.parts:
                for path in part.paths:
                    if record.get(path[0]) is None:
                        record[path[0]] = self._store.without_aggregate
        event = plain_event(record, plain, table=True)
        return {
            "tenant": columns["tenant"][row].as_py(),
            "aggregate_id": event.aggregate_id,
            "version": event.version,
            "type": event.type,
            "recorded_at": event.recorded_at,
            "source_position_0": columns["source_position_0"][row].as_py(),
            "source_position_1": columns["source_position_1"][row].as_py(),
            "payload": self._plain_payload(row),
        }

    def _cell(self, label: str, row: int) -> Any:
        texts = self._texts.get(label)
        if texts is not None and label in self._spans:
            text = texts[row].as_py()
            if not text:
                return None
            try:
                return parse(text)
            except ValueError as error:
                if label == self._store.payload[0]:
                    raise Unfit(f"payload: it is not JSON: {error}") from None
                raise Unfit(f"column {label} is not JSON: {error}") from None
        value = self.column(label)[row : row + 1]
        if pa.types.is_timestamp(value.type):
            number = value.cast(pa.int64())[0].as_py()
            if number is not None and not _FIRST_MICROSECOND <= number <= _LAST_MICROSECOND:
                raise Unfit(f"recorded_at: {label} lies beyond the years 1 to 9999")
        if pa.types.is_nested(value.type) or pa.types.is_large_binary(value.type):
            return None
        return readable(value)[0].as_py()

    def _plain_payload(self, row: int) -> str:
        label, *keys = self._store.payload
        text = self._texts[label][row].as_py()
        if not text:
            return "{}"
        try:
            value: Any = parse(text)
        except ValueError as error:
            raise Unfit(f"payload: it is not JSON: {error}") from None
        if not keys:
            return payload_text(text.strip(" \t\r\n"))
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        data, spans = self._span(self._store.payload)
        if value is None:
            if self._store.config.payload_optional:
                return "{}"
            raise Unfit(f"payload: there is no {'.'.join(keys)} in {label}")
        raw = data[spans.starts[row] : spans.stops[row]].tobytes().decode()
        return payload_text(f'"{raw}"' if isinstance(value, str) else raw)

    # In bulk ----------------------------------------------------------------------------------------------------------

    def _payload(self) -> pa.Array:
        label = self._store.payload[0]
        texts = self._texts[label]
        data, offsets = text_buffers(texts)
        lengths = np.diff(offsets)
        if label not in self._spans:
            # jsonb is JSON already, and written without space in front.
            first = np.zeros(self._n, np.uint8)
            first[lengths > 0] = data[offsets[:-1][lengths > 0]]
            self.doubtful |= (first != ord("{")) & (lengths > 0)
            return texts if (lengths > 0).all() else pc.if_else(pa.array(lengths > 0), texts, "{}")
        if len(self._store.payload) == 1:
            data, spans = self._spans[label][0], self._spans[label][1][()]
            self.doubtful |= (spans.kinds != OBJECT) & (lengths > 0)
            return texts if (lengths > 0).all() else pc.if_else(pa.array(lengths > 0), texts, "{}")
        data, spans = self._span(self._store.payload)
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
            data, spans = self._span(path)
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
        if label in self._texts:
            # A JSON column taken whole as a text.
            return self._texts[label]
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
                empty = pc.fill_null(pc.equal(pc.binary_length(piece), 0), False)
                if part.optional:
                    piece = pc.if_else(empty, nothing, piece) if pc.any(empty).as_py() else piece
                else:
                    doubtful |= (pc.or_(empty, piece.is_null())).to_numpy(zero_copy_only=False)
            if joined is None:
                joined = piece
            else:
                joined = pc.coalesce(pc.binary_join_element_wise(joined, piece, separator), joined, piece, nothing)
        return joined

    def _text(self, mapping: FieldMapping, instead: str = "") -> pa.Array:
        if self._store.memberships and mapping is self._store.aggregate_id:
            return pa.nulls(self._n, pa.large_utf8())
        texts = self._joined(mapping, self.doubtful)
        if texts.null_count:
            texts = pc.fill_null(texts, instead)
        self.doubtful |= pc.equal(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        return texts

    def _tenant(self) -> pa.Array:
        store = self._store
        if store.tenant_field is None:
            return _constant(store.tenant, self._n)
        texts = pc.fill_null(self._joined(store.tenant_field, self.doubtful), "")
        if store.default_tenants:
            none = pc.is_in(texts, pa.array(sorted(store.default_tenants), pa.large_utf8()))
            texts = pc.if_else(none, "", texts).cast(pa.large_utf8())
        if store.tenant:
            within = pc.binary_join_element_wise(pa.scalar(f"{store.tenant}/", pa.large_utf8()), texts, "")
            texts = pc.if_else(pc.equal(pc.binary_length(texts), 0), store.tenant, within).cast(pa.large_utf8())
        separated = pc.match_substring(texts, "\x1f").to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(separated):
            self.reasons[int(row)] = "tenant holds the unit separator (U+001F)"
        return texts

    def _version(self) -> pa.Array:
        mapping = self._store.version
        if mapping is None:
            return pa.nulls(self._n, pa.int64())
        part = mapping.parts[0]
        if len(part.paths) == 1 and len(part.paths[0]) == 1:
            column = self.column(part.paths[0][0])
            if column.type == pa.int64():
                negative = pc.fill_null(pc.less(column, 0), False).to_numpy(zero_copy_only=False)
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
            return self._span(part.paths[0])
        return _spans_of(self._part(part, self.doubtful))

    def _time(self) -> pa.Array:
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
                beyond = pc.or_(pc.greater(numbers, _LAST_MICROSECOND), pc.less(numbers, _FIRST_MICROSECOND))
                self.doubtful |= pc.fill_null(beyond, False).to_numpy(zero_copy_only=False)
                if not part.optional and column.null_count:
                    self.doubtful |= column.is_null().to_numpy(zero_copy_only=False)
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


def _wide(column: pa.Array) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return plain.cast(pa.large_utf8()) if pa.types.is_string(plain.type) else plain


def _holds_nul(texts: pa.Array) -> Flags:
    data, offsets = text_buffers(texts)
    if not len(texts) or not (data[offsets[0] : offsets[-1]] == 0).any():
        return np.zeros(len(texts), np.bool_)
    found: Flags = pc.fill_null(pc.match_substring(texts, "\0"), False).to_numpy(zero_copy_only=False)
    return found
