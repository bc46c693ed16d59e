"""Hypothesis strategies for values, events and histories, drawn from what event classes and projections say.

Values go to the edges: the ends of int64, texts beyond ASCII, the year 1, empty lists.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from runner.authoring.authored_code import authored_code, default_values, is_method
from runner.authoring.definition import Event, EventField, ProjectionDefinition, Record, definition_of
from runner.authoring.field_values import unscaled
from runner.authoring.projection import Projection
from runner.authoring.source_code import body_nodes, uses
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from runner.authoring.field_types import EnumClasses, RecordClass

__all__ = ["events", "histories", "values"]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

NAIVE_BOUNDS = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 - Hypothesis adds the zone

INTS = st.one_of(
    st.integers(-100, 100),
    st.integers(INT64_MIN, INT64_MAX),
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**53 + 1, INT64_MAX, INT64_MIN]),
)


Known = Mapping[Kind, Sequence[Any]]
"""Values to be drawn too, by kind."""


def values(
    type_: ValueType, enums: EnumClasses, record: RecordClass | None = None, known: Known | None = None
) -> st.SearchStrategy[Any]:
    """Values of a type. enums: Enum classes by ``ValueType.enum``; record: the class of a list of records; known:
    values to be drawn too.
    """
    known = known or {}
    if type_.optional:
        return st.none() | values(type_.required, enums, record, known)
    if type_.kind is Kind.LIST:
        assert type_.element is not None
        one = _records(record, known) if record is not None else values(type_.element, enums, known=known)
        return st.lists(one, max_size=4)
    if type_.kind is Kind.ENUM:
        cls = enums.get(type_.enum)
        return st.sampled_from(list(type_.members) if cls is None else [cls(m) for m in type_.members])
    if type_.kind is Kind.DECIMAL:
        return INTS.map(lambda v: unscaled(v, type_.scale))
    simple = _SIMPLE[type_.kind]
    return simple | st.sampled_from(known[type_.kind]) if known.get(type_.kind) else simple


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
    return _events(cls, {}, fields)


def _events(cls: type[Event], known: Known, fields: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    own = {f.name: _field(f, known) for f in cls.__event__.fields}
    types = cls.__event__.types
    own["type"] = st.sampled_from(types) if types else st.sampled_from(["thing.made", "thing.sold"])
    return st.builds(cls, **{**own, **fields})


def _field(f: EventField, known: Known) -> st.SearchStrategy[Any]:
    return values(f.type, f.enums, f.record, known)


def _records(cls: type[Record], known: Known) -> st.SearchStrategy[Any]:
    enums = cls.__record_type__.enums
    return st.builds(cls, **{f.name: values(f.type, enums, known=known) for f in cls.__record_type__.type.fields})


def histories(
    *classes: type[Event] | type[Projection],
    aggregates: Sequence[str] = ("a-1", "a-2", "b-ä"),
    max_size: int = 20,
    **fields: st.SearchStrategy[Any],
) -> st.SearchStrategy[list[Any]]:
    """Lists of events in the order of their positions, over a few aggregates.

    classes: event classes; a projection stands for those that it handles, and numbers and texts in its source are
    drawn too. fields: as in ``events``, for every class
    that has the field.
    """
    chosen: dict[type[Event], None] = {}
    known: dict[Kind, list[Any]] = {}
    for cls in classes:
        if issubclass(cls, Projection):
            for kind, found in _constants_of(_definition(cls)).items():
                known.setdefault(kind, []).extend(found)
            chosen.update(dict.fromkeys(h.event.cls for h in _definition(cls).handlers))
        else:
            chosen[cls] = None
    times = st.integers(0, 3_000_000).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
    header = {"aggregate_id": st.sampled_from(list(aggregates)), "recorded_at": times}
    kinds = [_events(cls, known, {**header, **_known(cls, fields)}) for cls in chosen]
    return st.lists(st.one_of(kinds), max_size=max_size)


def _constants_of(definition: ProjectionDefinition) -> Known:
    """The numbers and texts that a projection's functions name, and the numbers beside them: where rows turn."""
    found: set[Any] = set()
    for _, source in authored_code(definition).functions:
        owner = definition.cls if is_method(definition, source) else None
        written = [n.value for n in body_nodes(source.node) if isinstance(n, ast.Constant)]
        for value in (*written, *default_values(source.function), *(u.value for u in uses(source, owner))):
            found.update(v for v in (value if isinstance(value, (tuple, frozenset)) else (value,)) if _is_drawn(v))
    numbers = {n for n in found if isinstance(n, int) and INT64_MIN < n <= INT64_MAX}
    beside = {n + d for n in numbers for d in (-1, 1)} | {-n for n in numbers}
    # The numbers themselves as often as all those beside them.
    ints = sorted(numbers) * max(1, len(beside) // max(1, len(numbers)))
    ints += sorted(n for n in beside if INT64_MIN <= n <= INT64_MAX)
    return {Kind.INT: ints, Kind.STR: sorted(v for v in found if isinstance(v, str))}


def _is_drawn(value: object) -> bool:
    return type(value) in (int, str)


def _known(cls: type[Event], fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: s for name, s in fields.items() if name in cls.__checks__}


def _definition(cls: type[Projection]) -> ProjectionDefinition:
    return definition_of(cls)
