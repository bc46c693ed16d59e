"""The array arguments of a kernel, as data: which column of which stored type each one is, and its Numba type."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as data_field
from functools import cached_property
from typing import TYPE_CHECKING

from runner.values import Kind, PayloadColumn, ValueType

if TYPE_CHECKING:
    from runner.authoring.definition import EventField
    from runner.fold.lower.lowering import ArrayRef

__all__ = ["Argument", "argument_type"]

_CODED = (Kind.STR, Kind.UUID, Kind.ENUM)


@dataclass(frozen=True)
class Argument:
    """One array of the kernel. event_type: the stored type whose column it is; "" for header columns, without field.

    type: of the values, or of one element where the array holds a list's elements.
    """

    ref: ArrayRef
    event_type: str = ""
    field: EventField | None = None
    place: int = data_field(default=-1, compare=False)
    """Arguments of one place are parts of one column: values, validity, dictionary map."""

    @cached_property
    def column(self) -> PayloadColumn:
        """The column of the log that holds the field for the stored type."""
        assert self.field is not None
        return self.field.column(self.event_type)

    @property
    def type(self) -> ValueType:
        """The type of one entry, where it is a payload column."""
        assert self.field is not None
        _, _, inner = self.ref.name.partition(".")
        if self.ref.scope == "event" or self.ref.part == "offsets":
            return self.field.type
        element = self.field.type.element
        assert element is not None
        return next(f.type for f in element.fields if f.name == inner) if inner else element


def argument_type(argument: Argument) -> str:
    """The short name, in generated source, of the Numba type (``SIGNATURE_NAMES``)."""
    ref = argument.ref
    if ref.part == "valid":
        return "U8R"
    if ref.part == "map":
        return "I64R"
    if ref.part == "offsets":
        return "I32R"
    if argument.field is None:
        # Codes are never negative; as uint32 they index without a test for it.
        return "U32R" if ref.name == "aggregate_id" else "I64R"
    kind = argument.type.kind
    if kind in _CODED:
        return "I32R"
    return {Kind.FLOAT: "F64R", Kind.BOOL: "U8R"}.get(kind, "I64R")
