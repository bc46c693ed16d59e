"""Payload texts to typed columns in bulk: one strict scan notes where the wanted values lie, then each column is read.

No Python runs per row on the ordinary path; what the kernels leave undecided (numbers of more than 18 digits, escaped
dates, unusual formats, bad values) goes to the plain twin, row by row. Values are read from the text as it is written,
so numbers lose nothing. Of an object's equal keys the last one counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runner.batch import PayloadArray
from runner.kernels.fieldstatus import ABSENT, FOUND
from runner.kernels.hash import encode_texts, text_buffers
from runner.kernels.jsonelements import scan_elements
from runner.kernels.jsonscan import ARRAY, NULL, OBJECT, Bytes, Spans, path_trie, scan_paths
from runner.payload.coercion import check_coercions, parse_coercion
from runner.payload.plain import BadValue
from runner.payload.scalars import parse
from runner.payload.values import UnfitAt, presence, read_numbers, read_texts
from runner.values import Kind, Path, PayloadColumn, ValueType

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["decode", "first_present"]

_TEXTS = (Kind.STR, Kind.UUID, Kind.ENUM)


def decode(texts: pa.Array, columns: Sequence[PayloadColumn]) -> dict[PayloadColumn, PayloadArray]:
    """Every column of n payloads (utf8 or large_utf8, no nulls, JSON), each a PayloadArray of n.

    ENUM columns hold whatever text (or integer) stands there, also what is no member: only the fold knows if it is
    read. Raises BadValue: of the values that do not fit, the one with the lowest row.
    """
    if not columns:
        return {}
    check_coercions(columns)
    data, offsets = text_buffers(texts)
    paths = list(dict.fromkeys(path for column in columns for path in column.paths))
    found, good = scan_paths(data, offsets[:-1], offsets[1:], path_trie(paths))
    if not good.all():
        row = int(np.argmin(good))
        raise BadValue(
            row, columns[0], f"the payload is not JSON: {_syntax(data[offsets[row] : offsets[row + 1]].tobytes())}"
        )
    spans = dict(zip(paths, found, strict=True))
    arrays: dict[PayloadColumn, PayloadArray] = {}
    problems: list[BadValue] = []
    for column in columns:
        try:
            arrays[column] = _array(data, first_present([spans[p] for p in column.paths]), column.type, column.coerce)
        except UnfitAt as at:
            problems.append(BadValue(at.row, column, at.reason))
    if problems:
        raise min(problems, key=lambda p: p.row)
    return arrays


def first_present(spans: Sequence[Spans]) -> Spans:
    """Of alternative paths the first that is present, row by row; null counts as present."""
    first = spans[0]
    for other in spans[1:]:
        missing = first.kinds == 0
        if not missing.any():
            break
        first = Spans(
            np.where(missing, other.kinds, first.kinds),
            np.where(missing, other.starts, first.starts),
            np.where(missing, other.stops, first.stops),
        )
    return first


def _syntax(text: bytes) -> str:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    raise AssertionError("the scanner refuses what json reads")


def _array(data: Bytes, spans: Spans, type_: ValueType, coerce: str) -> PayloadArray:
    if type_.kind is Kind.LIST:
        return _list(data, spans, type_)
    coercion = parse_coercion(coerce)
    if type_.kind in _TEXTS:
        texts, statuses = read_texts(data, spans, type_, coercion)
        codes, dictionary = encode_texts(texts)
        return PayloadArray(type_, codes, *_masks(statuses), dictionary)
    values, statuses = read_numbers(data, spans, type_, coercion)
    return PayloadArray(type_, values, *_masks(statuses))


def _masks(statuses: Any) -> tuple[Any, Any]:
    valid, absent = statuses == FOUND, statuses == ABSENT
    return None if valid.all() else valid.view(np.uint8), absent.view(np.uint8) if absent.any() else None


def _list(data: Bytes, spans: Spans, type_: ValueType) -> PayloadArray:
    assert type_.element is not None
    elements = scan_elements(data, spans)
    offsets = elements.offsets
    wrong = np.flatnonzero((spans.kinds > NULL) & (spans.kinds != ARRAY))
    first_wrong = int(wrong[0]) if len(wrong) else len(spans)
    try:
        inner, fields = _elements(data, elements.spans, type_.element)
    except UnfitAt as at:
        row = int(np.searchsorted(offsets, at.row, side="right")) - 1
        if row < first_wrong:
            raise UnfitAt(row, f"element {at.row - int(offsets[row])}: {at.reason}") from None
    if len(wrong):
        raise UnfitAt(first_wrong, "the value is not a list")
    if offsets[-1] >= 2**31:
        raise UnfitAt(len(spans) - 1, "the lists of one batch have more than 2,147,483,647 elements")
    return PayloadArray(type_, offsets.astype(np.int32), *_masks(presence(spans)), element=inner, fields=fields)


def _elements(data: Bytes, spans: Spans, type_: ValueType) -> tuple[PayloadArray | None, dict[str, PayloadArray]]:
    if type_.kind is not Kind.RECORD:
        return _array(data, spans, type_, ""), {}
    paths: list[Path] = list(dict.fromkeys(path for f in type_.fields for path in f.paths))
    problems: list[UnfitAt] = []
    wrong = np.flatnonzero(spans.kinds != OBJECT)
    if len(wrong):
        problems.append(UnfitAt(int(wrong[0]), "it is not an object"))
    objects = np.flatnonzero(spans.kinds == OBJECT) if len(wrong) else None
    inside = spans if objects is None else spans.take(objects)
    found, _ = scan_paths(data, inside.starts, inside.stops, path_trie(paths))
    by_path = dict(zip(paths, found, strict=True))
    arrays: dict[str, PayloadArray] = {}
    for field in type_.fields:
        try:
            arrays[field.name] = _array(
                data, first_present([by_path[p] for p in field.paths]), field.type, field.coerce
            )
        except UnfitAt as at:
            row = at.row if objects is None else int(objects[at.row])
            problems.append(UnfitAt(row, f"{field.name}: {at.reason}"))
    if problems:
        raise min(problems, key=lambda p: p.row)
    return None, arrays
