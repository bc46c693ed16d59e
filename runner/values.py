"""The value types that fields may have, as data: what the kernel, the log's columns and the read models agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Kind", "Path", "PayloadColumn", "RecordField", "ValueType"]

Path = tuple[str, ...]
"""A path into a nested payload, one object key an entry. Keys may hold any character, also dots and colons."""


class Kind(StrEnum):
    """What a value is. The kernel holds INT, DATETIME (µs since 1970 UTC), TIMEDELTA (µs), DATE (days since 1970) and
    DECIMAL (scaled by 10**scale) as int64, FLOAT as float64, BOOL as uint8, STR and UUID as ids of the partition's
    string pool (int64, 0 is the empty string), ENUM as the index of its member (int64)."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STR = "str"
    DATETIME = "datetime"
    DATE = "date"
    TIMEDELTA = "timedelta"
    UUID = "uuid"
    DECIMAL = "decimal"
    ENUM = "enum"
    LIST = "list"
    RECORD = "record"
    LAST = "last"
    BUCKETS = "buckets"


@dataclass(frozen=True)
class RecordField:
    """A field of an element record in a list."""

    name: str
    type: ValueType
    paths: tuple[Path, ...]
    coerce: str = ""
    has_default: bool = False
    default: object = None


@dataclass(frozen=True)
class ValueType:
    """A field's type. Equal types are interchangeable everywhere; ``repr`` is stable and goes into fingerprints."""

    kind: Kind
    optional: bool = False
    scale: int = 0
    """DECIMAL: digits behind the point, 0..18."""
    rounding: str = ""
    """DECIMAL: a rounding name of the decimal module ("ROUND_HALF_EVEN"), or "": more digits are an error."""
    members: tuple[str | int, ...] = ()
    """ENUM: the stored values, in the order of definition; all str or all int."""
    enum: str = ""
    """ENUM: ``module:qualname`` of the Enum class, "" for a Literal (whose Python values are the stored ones)."""
    element: ValueType | None = None
    """LIST, LAST: the type of one element. BUCKETS: INT."""
    fields: tuple[RecordField, ...] = ()
    """RECORD: the element's fields."""
    capacity: int = 0
    """LAST: how many are kept."""
    edges: tuple[float, ...] = ()
    """BUCKETS: ascending upper edges; len(edges) + 1 counters, counter i counts v with edges[i-1] < v <= edges[i]."""

    @property
    def required(self) -> ValueType:
        """The same type without None."""
        return replace(self, optional=False)

    def walk(self) -> Iterator[ValueType]:
        """This type and every type inside it."""
        yield self
        if self.element is not None:
            yield from self.element.walk()
        for f in self.fields:
            yield from f.type.walk()


@dataclass(frozen=True)
class PayloadColumn:
    """One field that a fold wants from the payloads of one stored event type; names a sidecar of the log.

    The class default is not part of it: the column tells absent from null, and defaults are filled in at the scan.
    """

    event_type: str
    paths: tuple[Path, ...]
    """Alternatives: the first path that is present (null counts as present) gives the value."""
    type: ValueType
    coerce: str = ""
    """``""`` is strict JSON typing; "number": a number in a string; or a strptime format / "iso" / "epoch" / "epoch_ms"
    for dates and times given otherwise than ISO 8601."""
