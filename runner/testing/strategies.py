"""Hypothesis strategies for values, events and histories, drawn from what event classes and projections say.

Values go to the edges: the ends of int64, texts beyond ASCII, the year 1, empty lists.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from runner.definition import Event, EventField, ProjectionDefinition, Record, definition_of
from runner.field_values import unscaled
from runner.projection import Projection
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.field_types import EnumClasses, RecordClass

__all__ = ["events", "histories", "values"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

NAIVE_BOUNDS = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 - Hypothesis adds the zone

INTS = st.one_of(
    st.integers(-100, 100),
    st.integers(INT64_MIN, INT64_MAX),
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**53 + 1, INT64_MAX, INT64_MIN]),
)


def values(type_: ValueType, enums: EnumClasses, record: RecordClass | None = None) -> st.SearchStrategy[Any]:
    """Values of a type. enums: Enum classes by ``ValueType.enum``; record: the class of a list of records."""
    if type_.optional:
        return st.none() | values(type_.required, enums, record)
    if type_.kind is Kind.LIST:
        assert type_.element is not None
        one = _records(record) if record is not None else values(type_.element, enums)
        return st.lists(one, max_size=4)
    if type_.kind is Kind.ENUM:
        cls = enums.get(type_.enum)
        return st.sampled_from(list(type_.members) if cls is None else [cls(m) for m in type_.members])
    if type_.kind is Kind.DECIMAL:
        return INTS.map(lambda v: unscaled(v, type_.scale))
    return _SIMPLE[type_.kind]


_SIMPLE: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INT: INTS,
    Kind.FLOAT: st.floats() | st.sampled_from([0.0, -0.0, 1e300, 2.0**53]),
    Kind.BOOL: st.booleans(),
    Kind.STR: st.sampled_from(["", "a", "b", "EUR", "ä"]) | TEXTS,
    Kind.DATETIME: st.datetimes(*NAIVE_BOUNDS, timezones=st.just(UTC)),
    Kind.DATE: st.dates() | st.sampled_from([date(1970, 1, 1), date(2024, 2, 29), date.min, date.max]),
    Kind.TIMEDELTA: st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)),
    Kind.UUID: st.uuids(),
}


def events(cls: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Events of a class. fields: other strategies for single fields, also of the header: ``events(Paid,
    amount=st.integers(1, 9))``.
    """
    own = {f.name: _field(f) for f in cls.__event__.fields}
    types = cls.__event__.types
    own["type"] = st.sampled_from(types) if types else st.sampled_from(["thing.made", "thing.sold"])
    return st.builds(cls, **{**own, **fields})


def _field(f: EventField) -> st.SearchStrategy[Any]:
    return values(f.type, f.enums, f.record)


def _records(cls: type[Record]) -> st.SearchStrategy[Any]:
    enums = cls.__record_type__.enums
    return st.builds(cls, **{f.name: values(f.type, enums) for f in cls.__record_type__.type.fields})


def histories(
    *classes: type[Event] | type[Projection],
    aggregates: Sequence[str] = ("a-1", "a-2", "b-ä"),
    max_size: int = 20,
    **fields: st.SearchStrategy[Any],
) -> st.SearchStrategy[list[Any]]:
    """Lists of events in the order of their positions, over a few aggregates.

    classes: event classes; a projection stands for those that it handles. fields: as in ``events``, for every class
    that has the field.
    """
    chosen: dict[type[Event], None] = {}
    for cls in classes:
        if issubclass(cls, Projection):
            chosen.update(dict.fromkeys(h.event.cls for h in _definition(cls).handlers))
        else:
            chosen[cls] = None
    times = st.integers(0, 3_000_000).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
    header = {"aggregate_id": st.sampled_from(list(aggregates)), "recorded_at": times}
    kinds = [events(cls, **{**header, **_known(cls, fields)}) for cls in chosen]
    return st.lists(st.one_of(kinds), max_size=max_size)


def _known(cls: type[Event], fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: s for name, s in fields.items() if name in cls.__checks__}


def _definition(cls: type[Projection]) -> ProjectionDefinition:
    return definition_of(cls)
