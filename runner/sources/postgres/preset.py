"""What is known of an event store in Postgres, as data: its tables, how a row becomes an event, what is no event.

A preset names columns by *labels*. A label is a column of the main table, unless ``labels`` places it in a joined one.
Mappings are those of ``runner.config.mapping``; a path's first key is a label, the others lead into its JSON. Nothing
here is SQL: ``statement`` composes it, with every name quoted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.config.mapping import FieldMapping, Part, TimeMapping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Condition", "Join", "LeftOut", "Preset", "TableShape", "labelled", "time_of"]


@dataclass(frozen=True)
class TableShape:
    """A table as it is recognised. name: exact, or with ``*`` where each application has its own. columns: must be
    there.

    without: columns that tell another table of the same store, as snapshots lack a position.
    """

    name: str
    columns: tuple[str, ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Join:
    """A table joined to the main one ("m"): inner, on equal columns. on: ((its column, label or column of m), ...).

    first_by: of several joined rows only the one lowest in this column counts; where there is none, its labels are
    null.
    """

    table: str
    alias: str
    on: tuple[tuple[str, str], ...]
    first_by: str = ""


@dataclass(frozen=True)
class Condition:
    """A label compared with values: one of them, with ``*`` as any text where ``pattern``. values (): is null."""

    label: str
    values: tuple[str | int | bool, ...] = ()
    pattern: bool = False


@dataclass(frozen=True)
class LeftOut:
    """Rows that are no events for the log, counted under a name. setting: a setting of the source takes them in."""

    name: str
    when: Condition
    setting: str = ""


@dataclass(frozen=True)
class Preset:
    """An event store. position: the labels that order it, one or two. payload: the label that holds it.

    optional: labels that older versions of the store lack; what needs one of them falls away.
    """

    name: str
    title: str
    main: TableShape
    position: tuple[str, ...]
    aggregate_id: FieldMapping
    type: FieldMapping
    payload: str
    version: str = ""
    first_version: int = 0
    """Of an aggregate's first event."""
    recorded_at: TimeMapping | None = None
    tenant: str = ""
    without_aggregate: str = ""
    """The aggregate of rows that name none; "" where such a row is no event."""
    elsewhere: str = ""
    """An optional label: a row where it is not null has its payload there, as bytes that only the application reads."""
    memberships: str = ""
    """A label of text[]: each tag that the mapping takes is an aggregate, and the event appears once for each."""
    others: tuple[TableShape, ...] = ()
    joins: tuple[Join, ...] = ()
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """label -> (alias, column), of joined tables and where a label is not the column's name."""
    only: tuple[Condition, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    optional: frozenset[str] = frozenset()
    tail: str = "gaps"
    """The tail rule: "xid", "gaps", "serialised" or "time"; see ``tail``."""
    large_objects: frozenset[str] = frozenset()
    """Labels that hold the number of a large object where their type is oid."""
    default_tenants: frozenset[str] = frozenset()
    """Tenants that mean none."""
    channels: tuple[str, ...] = ()
    """On which channels the store says that something was appended (NOTIFY); {schema} is the main table's, {name}
    the table's name with its dots as underscores. () where it says nothing.
    """
    writes: str = "asynchronous"
    """How applications of this store keep their own read models, where nothing else is said: for hand-over."""
    sensitive: str = ""
    """What is odd about the store, in words for ``init`` and ``status``."""


def labelled(*labels: str, separator: str = "/", optional: bool = False) -> FieldMapping:
    """A field made of whole columns."""
    return FieldMapping(tuple(Part(((label,),), None, optional) for label in labels), separator)


def time_of(*path: str, coerce: str = "") -> TimeMapping:
    """A time at a path; coerce as ``runner.payload.coercion`` has it, "" for what the column's type says (or ISO)."""
    return TimeMapping(FieldMapping((Part((path,), None, True),)), coerce)
