"""Records to arriving events, in bulk. What is not plain to see goes to the twin, which also says what is wrong with a
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.kernels.fieldstatus import ABSENT, FOUND, LOCAL
from runner.kernels.hash import text_buffers
from runner.kernels.jsonscan import INTEGER, TEXT, Bytes, Int64s, Spans
from runner.kernels.textnumbers import parse_integers
from runner.kernels.textspans import copy_texts
from runner.log.arrival import ARRIVAL_SCHEMA
from runner.payload.coercion import parse_coercion
from runner.payload.scalars import Unfit
from runner.payload.values import written_datetimes

if TYPE_CHECKING:
    from runner.config.mapping import FieldMapping
    from runner.config.model import SourceConfig
    from runner.sources.records import Flags, Records

__all__ = ["Arranged", "arrange"]


@dataclass(frozen=True)
class Arranged:
    """Events of one file in order. rows: int64[n], the record of each. bad: (record, reason), in order."""

    events: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    bad: tuple[tuple[int, str], ...]


def arrange(records: Records, source: SourceConfig, file: int) -> Arranged:
    """The events that records say. file: the first source position of all of them.

    The second is the line, or the position that the source gives.
    """
    n = len(records)
    if n == 0:
        # Perhaps not even the columns are known yet.
        return Arranged(pa.RecordBatch.from_pylist([], schema=ARRIVAL_SCHEMA), np.arange(0), ())
    payload, doubtful = records.payload()
    doubtful = doubtful | records.doubtful
    tenant = _constant("", n) if source.tenant is None else _texts(records, source.tenant, doubtful, empty=True)
    columns: dict[str, Any] = {
        "tenant": tenant,
        "aggregate_id": _texts(records, source.aggregate_id, doubtful),
        "version": _numbers(records, source.version, doubtful, least=0),
        "type": _texts(records, source.type, doubtful),
        "recorded_at": _times(records, source, doubtful),
        "source_position_0": pa.array(np.full(n, file, np.int64)),
        "source_position_1": pa.array(records.lines),
        "payload": payload,
    }
    if source.position is not None:
        columns["source_position_1"] = _numbers(records, source.position, doubtful, least=-(2**62))
    if source.tenant is not None:
        doubtful |= _holds(columns["tenant"], "\x1f")
    events = pa.RecordBatch.from_arrays([columns[f.name] for f in ARRIVAL_SCHEMA], names=ARRIVAL_SCHEMA.names)
    rows = np.arange(n)
    if not doubtful.any():
        return Arranged(events, rows, ())
    return _with_twin(records, events, np.flatnonzero(doubtful), rows[~doubtful], file)


def _with_twin(records: Records, events: pa.RecordBatch, asked: Any, sure: Any, file: int) -> Arranged:
    bad: list[tuple[int, str]] = []
    read: list[dict[str, Any]] = []
    rows: list[int] = []
    for row in map(int, asked):
        try:
            event, payload = records.plain(row)
        except Unfit as error:
            bad.append((row, str(error)))
            continue
        rows.append(row)
        read.append(
            {
                "tenant": event.tenant,
                "aggregate_id": event.aggregate_id,
                "version": event.version,
                "type": event.type,
                "recorded_at": event.recorded_at,
                "source_position_0": file,
                "source_position_1": int(records.lines[row]) if event.position is None else event.position,
                "payload": events.column("payload")[row].as_py() if payload is None else payload,
            }
        )
    kept = events.take(pa.array(sure))
    if not read:
        return Arranged(kept, sure, tuple(bad))
    # Columns of the fast path may be large_utf8 where that was handier.
    twin = pa.RecordBatch.from_pylist(read, schema=events.schema)
    both = pa.Table.from_batches([kept, twin]).combine_chunks()
    order = np.argsort(np.concatenate((sure, np.array(rows, np.int64))), kind="stable")
    merged = both.take(pa.array(order)).combine_chunks().to_batches()[0]
    return Arranged(merged, np.sort(np.concatenate((sure, np.array(rows, np.int64)))), tuple(bad))


def _constant(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text], pa.utf8()))


def _as_text(spans: Spans) -> Spans:
    """Integers count as the text that they are written as."""
    return Spans(np.where(spans.kinds == INTEGER, TEXT, spans.kinds).astype(np.uint8), spans.starts, spans.stops)


def _holds(texts: pa.Array, sign: str) -> Flags:
    inner = texts.dictionary if pa.types.is_dictionary(texts.type) else texts
    data, offsets = text_buffers(inner)
    if not len(inner) or not (data[offsets[0] : offsets[-1]] == ord(sign)).any():
        return np.zeros(len(texts), np.bool_)
    plain = texts.dictionary_decode() if inner is not texts else texts
    found: Flags = pc.fill_null(pc.match_substring(plain, sign), False).to_numpy(zero_copy_only=False)
    return found


def _parts(records: Records, mapping: FieldMapping, doubtful: Flags) -> pa.Array:
    """The joined parts; records with a part that is missing, empty or no text become doubtful."""
    pieces: list[Any] = []
    for part in mapping.parts:
        if part.constant is not None:
            pieces.append(pa.scalar(part.constant, pa.utf8()))
            continue
        data, spans = records.field(part.paths)
        texts, statuses = copy_texts(data, _as_text(spans))
        doubtful |= (statuses != FOUND) & (statuses != ABSENT)
        empty = (spans.stops == spans.starts) & (statuses == FOUND)
        if part.optional:
            if empty.any():
                texts = pc.if_else(pa.array(empty), pa.scalar(None, texts.type), texts)
        else:
            doubtful |= empty | (statuses == ABSENT)
        pieces.append(texts)
    wide = any(p.type == pa.large_utf8() for p in pieces)
    pieces = [p.cast(pa.large_utf8()) for p in pieces] if wide else pieces
    separator, nothing = pa.scalar(mapping.separator, pieces[0].type), pa.scalar(None, pieces[0].type)
    joined = pieces[0]
    for piece in pieces[1:]:
        # Two at a time: Arrow's null_handling="skip" forgets rows in which everything is null.
        both = pc.binary_join_element_wise(joined, piece, separator)
        joined = pc.coalesce(both, joined, piece, nothing)
    return joined


def _texts(records: Records, mapping: FieldMapping, doubtful: Flags, *, empty: bool = False) -> pa.Array:
    if mapping.constant is not None:
        if "\0" in mapping.constant or (not empty and not mapping.constant):
            doubtful |= True
        return _constant(mapping.constant, len(records))
    texts = _parts(records, mapping, doubtful)
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    if not empty:
        doubtful |= pc.equal(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    doubtful |= _holds(texts, "\0")
    return texts


def _numbers(records: Records, mapping: FieldMapping | None, doubtful: Flags, *, least: int) -> pa.Array:
    if mapping is None:
        return pa.nulls(len(records), pa.int64())
    part = mapping.parts[0]
    data, spans = records.field(part.paths)
    values, statuses = parse_integers(data, spans, in_text=True)
    missing = statuses == ABSENT
    doubtful |= ~missing & ((statuses != FOUND) | (values < least))
    if not missing.any():
        return pa.array(values)
    if not part.optional:
        doubtful |= missing
    return pa.array(values, mask=missing)


def _times(records: Records, source: SourceConfig, doubtful: Flags) -> pa.Array:
    utc = pa.timestamp("us", "UTC")
    if source.recorded_at is None:
        return pa.nulls(len(records), utc)
    mapping = source.recorded_at.field
    if len(mapping.parts) == 1 and mapping.parts[0].constant is None:
        data, spans = records.field(mapping.parts[0].paths)
    else:
        data, spans = _spans_of(_parts(records, mapping, doubtful), len(records))
    values, statuses = written_datetimes(data, spans, parse_coercion(source.recorded_at.coerce))
    missing = statuses == ABSENT
    doubtful |= statuses >= LOCAL
    if any(not part.optional for part in mapping.parts):
        doubtful |= missing
    return pa.array(values, mask=missing if missing.any() else None).cast(utc)


def _spans_of(texts: pa.Array, n: int) -> tuple[Bytes, Spans]:
    if isinstance(texts, pa.Scalar):
        texts = pa.array([texts.as_py()] * n, texts.type)
    data, offsets = text_buffers(texts)
    kinds = np.where(texts.is_valid().to_numpy(zero_copy_only=False), TEXT, 0).astype(np.uint8)
    starts: Int64s = offsets[:-1]
    # Parts that are all left out leave an empty text, which is no time.
    kinds[offsets[1:] == starts] = 0
    return data, Spans(kinds, starts, offsets[1:])
