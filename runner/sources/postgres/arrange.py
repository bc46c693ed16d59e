"""Rows of a store to arriving events: their parts in bulk (``fields``); a row that is not plain to see goes to the twin
(``runner.sources.plain``), which says why it is no event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.config.model import SourceConfig
from runner.log.arrival import ARRIVAL_SCHEMA
from runner.payload.scalars import Unfit, parse
from runner.sources.jsontext import readable
from runner.sources.plain import payload_text, plain_event
from runner.sources.postgres.fields import FIRST_MICROSECOND, INFINITE_TIME, LAST_MICROSECOND, Fields
from runner.sources.postgres.statement import ELSEWHERE, INFINITE, VERDICT, like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.sources.postgres.fields import Flags, Int64s
    from runner.sources.postgres.payloads import Decoder
    from runner.sources.postgres.statement import Statement
    from runner.sources.postgres.store import Store

__all__ = ["Arranged", "Arranger", "shown_row"]


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
        fields = Fields(self._store, self._decoder, rows if whole else rows.take(pa.array(kept)))
        events, sure, bad = _Assembly(self._store, fields).events(self._plain)
        at = kept[sure]
        if self._store.memberships:
            events, at, lone = self._members(events, at, fields.column(self._store.memberships).take(pa.array(sure)))
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


def shown_row(batch: pa.RecordBatch, row: int) -> str:
    """A row for people, in the rejects file."""
    values: dict[str, Any] = {name: batch.column(name)[row].as_py() for name in batch.schema.names}
    return ", ".join(f"{name}={str(value)[:200]!r}" for name, value in values.items())


class _Assembly:
    """One batch of fields put together."""

    def __init__(self, store: Store, fields: Fields) -> None:
        self._store, self._fields = store, fields

    def events(self, plain: SourceConfig) -> tuple[pa.RecordBatch, Int64s, list[tuple[int, str]]]:
        """(the events, the row of each, rows that are none with the reason)."""
        store = self._store
        payload = self._fields.payload()
        columns: dict[str, Any] = {
            "tenant": self._fields.tenant(),
            "aggregate_id": self._fields.text(store.aggregate_id, store.without_aggregate),
            "version": self._fields.version(),
            "type": self._fields.text(store.type),
            "recorded_at": self._fields.time(),
            "payload": payload,
        }
        if store.memberships:
            columns["aggregate_id"] = pa.array(["-"] * self._fields.rows.num_rows, pa.large_utf8())
        zero = pa.array(np.zeros(self._fields.rows.num_rows, np.int64))
        places = [self._fields.column(label) for label in store.places]
        columns["source_position_0"], columns["source_position_1"] = places if len(places) == 2 else (zero, places[0])
        for place in places:
            if place.null_count:
                self._no_place(place)
        if VERDICT in self._fields.rows.schema.names:
            verdicts = self._fields.column(VERDICT).to_numpy(zero_copy_only=False)
            self._fields.reasons |= dict.fromkeys(np.flatnonzero(verdicts == INFINITE).tolist(), INFINITE_TIME)
            elsewhere = f"payload: it is in {store.elsewhere}, as bytes that only the application reads"
            self._fields.reasons |= dict.fromkeys(np.flatnonzero(verdicts == ELSEWHERE).tolist(), elsewhere)
        for row in self._fields.reasons:
            self._fields.doubtful[row] = True
        if not self._fields.doubtful.any():
            events = pa.RecordBatch.from_arrays([columns[f.name] for f in ARRIVAL_SCHEMA], names=ARRIVAL_SCHEMA.names)
            return events, np.arange(self._fields.rows.num_rows), []
        return self._with_twin(columns, plain)

    def _no_place(self, place: pa.Array) -> None:
        for row in np.flatnonzero(place.is_null().to_numpy(zero_copy_only=False)).tolist():
            self._fields.reasons[row] = "position: it is NULL"

    def _with_twin(
        self, columns: dict[str, Any], plain: SourceConfig
    ) -> tuple[pa.RecordBatch, Int64s, list[tuple[int, str]]]:
        bad: list[tuple[int, str]] = []
        rows: list[int] = []
        read: list[dict[str, Any]] = []
        for row in np.flatnonzero(self._fields.doubtful).tolist():
            if row in self._fields.reasons:
                bad.append((row, self._fields.reasons[row]))
                continue
            try:
                read.append(self._twin(row, plain, columns))
            except Unfit as error:
                bad.append((row, str(error)))
            else:
                rows.append(row)
        sure = np.flatnonzero(~self._fields.doubtful)
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
        texts = self._fields.texts.get(label)
        if texts is not None and label in self._fields.spans:
            text = texts[row].as_py()
            if not text:
                return None
            try:
                return parse(text)
            except ValueError as error:
                if label == self._store.payload[0]:
                    raise Unfit(f"payload: it is not JSON: {error}") from None
                raise Unfit(f"column {label} is not JSON: {error}") from None
        value = self._fields.column(label)[row : row + 1]
        if pa.types.is_timestamp(value.type):
            number = value.cast(pa.int64())[0].as_py()
            if number is not None and not FIRST_MICROSECOND <= number <= LAST_MICROSECOND:
                raise Unfit(f"recorded_at: {label} lies beyond the years 1 to 9999")
        if pa.types.is_nested(value.type) or pa.types.is_large_binary(value.type):
            return None
        return readable(value)[0].as_py()

    def _plain_payload(self, row: int) -> str:
        label, *keys = self._store.payload
        text = self._fields.texts[label][row].as_py()
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
        data, spans = self._fields.span(self._store.payload)
        if value is None:
            if self._store.config.payload_optional:
                return "{}"
            raise Unfit(f"payload: there is no {'.'.join(keys)} in {label}")
        raw = data[spans.starts[row] : spans.stops[row]].tobytes().decode()
        return payload_text(f'"{raw}"' if isinstance(value, str) else raw)


def _wide(column: pa.Array) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return plain.cast(pa.large_utf8()) if pa.types.is_string(plain.type) else plain
