"""What is compared and what is found, as data. "Here" are the rows that the runner folded, "there" the table's."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Compared", "Domain", "Found", "Group", "Sample"]


class Domain(StrEnum):
    """In what values of a column are compared."""

    INTEGER = "integer"
    NUMBER = "number"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIME = "time"
    DATE = "date"
    UUID = "uuid"
    LIST = "list"


@dataclass(frozen=True)
class Compared:
    """A column on both sides.

    here, there: SQL of DuckDB over the two relations, of the domain's type; there is NULL for what is no value of it.
    there_text: the value there as it stands there, NULL only where there is none; "" where nothing but values of the
    domain can stand there. default: the field's, as text (JSON
    of a list); None where it has none. scale: numbers are equal when rounded to so many places; tolerance: when they
    differ by no more, near: by no more than 1e-9 of the larger one; precision: times that differ by less, in
    microseconds. exact: -0.0 is not 0.0.
    """

    name: str
    domain: Domain
    here: str
    there: str
    there_text: str
    element: str = ""
    """LIST: the element's type in DuckDB."""
    default: str | None = None
    scale: int | None = None
    tolerance: str = ""
    precision: int = 0
    trim: bool = False
    near: bool = False
    exact: bool = False
    mapped: bool = False
    """The values there are others, one for one; what has no partner is NULL."""


@dataclass(frozen=True)
class Sample:
    """One row that differs: its key, in the order of the key columns; the two values as text, None for none."""

    key: tuple[Any, ...]
    here: str | None
    there: str | None


@dataclass(frozen=True)
class Group:
    """Rows that differ in the same column in the same way. column "": the row itself is missing, or there twice.

    pattern: which way, the same words for the same thing; detail: by how much.
    """

    column: str
    pattern: str
    detail: str
    rows: int
    samples: tuple[Sample, ...] = ()

    @property
    def words(self) -> str:
        """Pattern and detail."""
        return f"{self.pattern} ({self.detail})" if self.detail else self.pattern


@dataclass(frozen=True)
class Found:
    """The whole of a comparison. equal: rows of one key on both sides without any difference."""

    rows_here: int
    rows_there: int
    equal: int
    changed: int
    """Rows on both sides that differ in some column."""
    missing_there: int
    missing_here: int
    groups: tuple[Group, ...] = field(default=())

    @property
    def same(self) -> bool:
        return not self.groups
