"""A batch bound to the kernel's arguments: dictionaries mapped to pool ids, defaults filled in, what is missing found.

Done in bulk once per batch. A value that the event class does not allow (null, absent, no such UUID) unbinds the
projections that read its column: the twin then walks the partition in position order and names the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from runner.fold.arguments import Argument, argument_type
from runner.fold.states import kernel_value
from runner.values import Kind, RecordField, ValueType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.authoring.definition import EventField
    from runner.batch import Batch, PayloadArray, TextDictionary
    from runner.fold.texts import Texts

__all__ = ["Binder", "Bound", "Unbound"]

Array = npt.NDArray[Any]

_EMPTY: dict[str, Array] = {
    name: np.zeros(0, dtype)
    for name, dtype in (
        ("U8R", np.uint8),
        ("I32R", np.int32),
        ("U32R", np.uint32),
        ("I64R", np.int64),
        ("F64R", np.float64),
    )
}
_NO_LISTS = np.zeros(1, np.int32)
_CANONICAL_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


class Unbound(Exception):
    """A column holds what its field does not allow; says what in words for a report."""


@dataclass(frozen=True)
class Bound:
    """arrays: one for each argument, in order. refused: why, by index of the argument whose column cannot be bound."""

    arrays: list[Array]
    refused: dict[int, str]


class Binder:
    """Binds the batches of one partition. scopes: the log's (source, tenant) pairs, by the batches' scope codes."""

    def __init__(self, arguments: Sequence[Argument], texts: Texts, scopes: Sequence[tuple[str, str]]) -> None:
        self._arguments, self._texts, self._scopes = arguments, texts, scopes
        self._columns: dict[int, dict[str, Array] | Unbound] = {}

    def bind(self, batch: Batch) -> Bound:
        """The batch's arrays; those that cannot be bound are empty and must not be read."""
        self._columns.clear()
        arrays: list[Array] = []
        refused: dict[int, str] = {}
        for n, argument in enumerate(self._arguments):
            try:
                arrays.append(
                    self._header(argument, batch) if argument.field is None else self._payload(argument, batch)
                )
            except Unbound as reason:
                refused[n] = str(reason)
                arrays.append(_EMPTY[argument_type(argument)])
        return Bound(arrays, refused)

    def _header(self, argument: Argument, batch: Batch) -> Array:
        name, part = argument.ref.name, argument.ref.part
        if part == "map":
            if name == "aggregate_id":
                return _mapped(self._texts.intern(batch.aggregates.texts))
            column = 0 if name == "source" else 1
            return self._texts.intern(pa.array([s[column] for s in self._scopes], pa.utf8()))[batch.aggregates.scope]
        if name == "aggregate_id":
            return batch.aggregate.view(np.uint32)
        values = {"position": batch.position, "version": batch.version, "recorded_at": batch.recorded_at}[name]
        assert values is not None, f"the scan was not asked for {name}"
        return values

    def _payload(self, argument: Argument, batch: Batch) -> Array:
        ref = argument.ref
        array = batch.payload.get(argument.column)
        if array is None:
            return _NO_LISTS if ref.part == "offsets" else _EMPTY[argument_type(argument)]
        found = self._columns.get(argument.place)
        if found is None:
            try:
                found = self._prepared(argument, array)
            except Unbound as reason:
                found = reason
            self._columns[argument.place] = found
        if isinstance(found, Unbound):
            raise found
        return found[ref.part]

    def _prepared(self, argument: Argument, array: PayloadArray) -> dict[str, Array]:
        """A column's arrays, by part."""
        field = argument.field
        assert field is not None
        name = f"{argument.event_type}.{argument.ref.name}"
        if field.type.kind is Kind.LIST:
            _check_list(array, field, name)
        if argument.ref.part == "offsets":
            return {"offsets": array.values}
        if argument.ref.scope == "event":
            return self._scalars(array, field.type, field, name)
        _, _, inner = argument.ref.name.partition(".")
        if inner:
            record = field.type.element
            assert record is not None
            one = next(f for f in record.fields if f.name == inner)
            return self._scalars(array.fields[inner], one.type, one, name)
        assert array.element is not None
        return self._scalars(array.element, argument.type, None, name)

    def _scalars(
        self, array: PayloadArray, type_: ValueType, field: EventField | RecordField | None, place: str
    ) -> dict[str, Array]:
        values, valid, table = array.values, array.valid, None
        if array.dictionary is not None:
            table = self._table(array.dictionary, type_, place)
        if array.absent is not None and array.absent.any():
            if field is not None and field.has_default and field.default is not None:
                values, valid, table = self._filled(array, type_, field.default, table)
            elif not type_.optional:
                raise Unbound(f"{place} is absent in some events and has no default")
        if not type_.optional:
            if valid is not None and not valid.all():
                raise Unbound(f"{place} is null in some events and not Optional")
        elif valid is None:
            valid = np.ones(len(values), np.uint8)
        prepared: dict[str, Array] = {"values": values}
        if valid is not None:
            prepared["valid"] = valid
        if table is not None:
            prepared["map"] = _mapped(table)
        return prepared

    def _filled(
        self, array: PayloadArray, type_: ValueType, default: Any, table: Array | None
    ) -> tuple[Array, Array | None, Array | None]:
        """(values, valid, map) with the class default where nothing was."""
        assert array.absent is not None
        gaps = array.absent != 0
        values = array.values.copy()
        stands_for = kernel_value(default, type_, self._id)
        if table is None:
            values[gaps] = stands_for
        else:
            values[gaps] = len(table)
            table = np.append(table, np.int64(stands_for))
        valid = array.valid
        if valid is not None:
            valid = valid.copy()
            valid[gaps] = 1
        return values, valid, table

    def _id(self, text: str) -> int:
        return int(self._texts.intern(pa.array([text], pa.utf8()))[0])

    def _table(self, dictionary: TextDictionary, type_: ValueType, place: str) -> Array:
        """What each entry is in the kernel: a pool id, or the index of an enum's member (-1: none of them)."""
        if type_.kind is Kind.STR:
            return self._texts.intern_dictionary(dictionary)
        if type_.kind is Kind.ENUM:
            members = pa.array([str(m) for m in type_.members], dictionary.texts.type)
            found: Array = pc.index_in(dictionary.texts, members).fill_null(-1).to_numpy(zero_copy_only=False)
            return found.astype(np.int64)
        canonical = pc.match_substring_regex(dictionary.texts, _CANONICAL_UUID)
        if pc.all(canonical).as_py() is not False:
            return self._texts.intern_dictionary(dictionary)
        try:
            return self._texts.intern(pa.array([str(UUID(text)) for text in dictionary.texts.to_pylist()], pa.utf8()))
        except ValueError as error:
            raise Unbound(f"{place} is no UUID in some events") from error


def _mapped(table: Array) -> Array:
    # Where every entry is null the codes still say 0.
    return table if len(table) else np.zeros(1, np.int64)


def _check_list(array: PayloadArray, field: EventField, place: str) -> None:
    if array.valid is None or array.valid.all():
        return
    missing = array.valid == 0
    if array.absent is not None and field.has_default and field.default is not None:
        if field.default:
            raise Unbound(f"{place} has a default that is not empty, which the kernel does not fill in")
        missing &= array.absent == 0
    if missing.any():
        raise Unbound(f"{place} is null or absent in some events")
