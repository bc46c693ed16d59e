"""Arrow columns as JSON text, in bulk and without losing a digit: the payloads of sources that have columns.

Integers, floats and decimals are JSON numbers (a decimal128 keeps its scale), times are ISO 8601 text (with Z where the
column has a zone), structs and maps with text keys are objects, lists are lists, binary is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from runner.errors import SourceError
from runner.kernels.hash import text_buffers

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["json_objects", "readable"]

_NAMED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def readable(column: pa.Array) -> pa.Array:
    """A column as utf8 or large_utf8 as ids, types, times and numbers are read from: null stays null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return readable(column.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.utf8())
    if pa.types.is_null(kind):
        return column.cast(pa.utf8())
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        return column.cast(pa.utf8())
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_utf8())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return column.cast(pa.utf8() if pa.types.is_binary(kind) else pa.large_utf8())
        except pa.ArrowInvalid:
            raise SourceError(
                "a column of bytes is not text in UTF-8", hint="leave it out of the payload's columns"
            ) from None
    raise SourceError(f"a column of type {kind} is neither text, number nor time")


def _times(column: pa.Array) -> pa.Array:
    # Written as if it had no zone, so that no zone database is needed; behind a time of a column with one stands Z.
    plain = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).cast(pa.timestamp("us"))
    # The cast writes what strftime("%Y-%m-%dT%H:%M:%S") does but for the T, in a fifteenth of its time.
    texts = pc.replace_substring(plain.cast(pa.utf8()), " ", "T", max_replacements=1)
    return pc.binary_join_element_wise(texts, "Z", "") if column.type.tz else texts


def json_objects(columns: Sequence[tuple[str, pa.Array]], where: str) -> pa.Array:
    """Rows as JSON objects, large_utf8[n], without nulls. Raises SourceError for what JSON cannot hold, naming the
    column.
    """
    pieces: list[pa.Array | pa.Scalar] = []
    lead = "{"
    for name, column in columns:
        pieces.append(pa.scalar(f"{lead}{json.dumps(name, ensure_ascii=False)}:", pa.large_utf8()))
        pieces.append(_json(column, f"{where}: column {name}"))
        lead = ","
    if not pieces:
        return pa.array([], pa.large_utf8())
    return pc.binary_join_element_wise(*pieces, pa.scalar("}", pa.large_utf8()), pa.scalar("", pa.large_utf8()))


def _json(column: pa.Array, where: str) -> pa.Array:
    """The JSON text of every entry, large_utf8; null is ``null``."""
    return pc.fill_null(_there(column, where).cast(pa.large_utf8()), "null")


def _there(column: pa.Array, where: str) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _there(column.dictionary_decode(), where)
    if pa.types.is_struct(kind):
        members = [(kind.field(k).name, column.field(k)) for k in range(kind.num_fields)]
        objects = json_objects(members, where) if members else pa.array(["{}"] * len(column), pa.large_utf8())
        return pc.if_else(column.is_valid(), objects, pa.scalar(None, pa.large_utf8()))
    if pa.types.is_map(kind):
        pairs = pc.binary_join_element_wise(
            _quoted(readable(column.keys)), _json(column.items, where), pa.scalar(":", pa.large_utf8())
        )
        return _joined(column.offsets, pairs, column.is_valid(), "{", "}")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _joined(column.offsets, _json(column.values, where), column.is_valid(), "[", "]")
    if pa.types.is_fixed_size_list(kind):
        return _there(column.cast(pa.large_list(kind.value_type)), where)
    if pa.types.is_floating(kind):
        if pc.any(pc.invert(pc.is_finite(column)), skip_nulls=True).as_py():
            raise SourceError(
                f"{where} holds NaN or infinity, which JSON cannot say", hint="leave it out of the payload"
            )
        return _floats(column)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return column.cast(pa.large_utf8())
    if pa.types.is_decimal(kind):
        return column.cast(pa.large_utf8())
    try:
        return _quoted(readable(column))
    except SourceError as error:
        raise SourceError(f"{where}: {error.message}", hint=error.hint) from None


def _floats(column: pa.Array) -> pa.Array:
    # Arrow writes the shortest digits that give the same float64; a narrower float is one exactly.
    return column.cast(pa.float64()).cast(pa.large_utf8())


def _joined(offsets: pa.Array, texts: pa.Array, valid: pa.Array, lead: str, end: str) -> pa.Array:
    lists = pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), texts)
    inner = pc.binary_join(lists, pa.scalar(",", pa.large_utf8()))
    whole = pc.binary_join_element_wise(
        *(pa.scalar(lead, pa.large_utf8()), inner, pa.scalar(end, pa.large_utf8()), pa.scalar("", pa.large_utf8()))
    )
    return pc.if_else(valid, whole, pa.scalar(None, pa.large_utf8()))


def _quoted(texts: pa.Array) -> pa.Array:
    data, offsets = text_buffers(texts)
    used = data[offsets[0] : offsets[-1]] if len(offsets) > 1 else data[:0]
    signs = np.flatnonzero(np.bincount(used, minlength=128)[:128])
    texts = texts.cast(pa.large_utf8())
    # The backslash first, or it would be doubled again.
    for sign in sorted((chr(s) for s in signs if s < 32 or s in (34, 92)), key=lambda s: s != "\\"):
        texts = pc.replace_substring(texts, sign, _NAMED.get(sign, f"\\u{ord(sign):04x}"))
    quote = pa.scalar('"', pa.large_utf8())
    return pc.binary_join_element_wise(quote, texts, quote, pa.scalar("", pa.large_utf8()))
