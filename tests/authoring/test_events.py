"""Events and records as an author makes them: checked, normalised, immutable."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import Event, Projection, Record, Scale, field
from runner.authoring.field_values import scaled, unscaled
from runner.values import Kind, ValueType

INT64_MAX = 2**63 - 1


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(Record):
    sku: str
    price: Annotated[Decimal, Scale(2)] = Decimal(0)


class Everything(Event, type=("every.thing", "old.thing")):
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    text: str = ""
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    took: timedelta = timedelta()
    id: UUID = UUID(int=0)
    amount: Decimal = field("case.AMOUNT", ("a", "b.c"), scale=2, coerce="number", default=0)
    rounded: Decimal = field(scale=1, rounding="ROUND_HALF_EVEN", default=0)
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    perhaps: int | None
    lines: list[Line] = []  # noqa: RUF012 - a default of an event, not shared
    tags: list[str] = []  # noqa: RUF012 - a default of an event, not shared


def test_a_definition_holds_names_paths_and_defaults() -> None:
    definition = Everything.__event__
    assert definition.types == ("every.thing", "old.thing")
    amount = definition.field("amount")
    assert amount is not None
    assert amount.paths == (("case", "AMOUNT"), ("a", "b.c"))
    assert (amount.coerce, amount.type.scale, amount.default) == ("number", 2, Decimal("0.00"))
    perhaps = definition.field("perhaps")
    assert perhaps is not None
    assert perhaps.type.optional
    assert not perhaps.has_default


def test_a_column_does_not_depend_on_names_of_classes_or_defaults() -> None:
    colour, lines = Everything.__event__.field("colour"), Everything.__event__.field("lines")
    assert colour is not None
    assert colour.column("every.thing").type == ValueType(Kind.ENUM, members=("red", "blue"))
    assert lines is not None
    element = lines.column("every.thing").type.element
    assert element is not None
    assert [(f.name, f.has_default) for f in element.fields] == [("sku", False), ("price", False)]


def test_values_are_normalised() -> None:
    east = timezone(timedelta(hours=2))
    e = Everything(
        ratio=3,
        amount=5,
        rounded=Decimal("0.25"),
        colour="blue",
        at=datetime(2026, 1, 1, 1, tzinfo=east),
        lines=[Line(sku="a")],
    )
    assert (e.ratio, type(e.ratio)) == (3.0, float)
    assert str(e.amount) == "5.00"
    assert str(e.rounded) == "0.2"
    assert e.colour is Colour.BLUE
    assert (e.at, e.at.tzinfo) == (datetime(2025, 12, 31, 23, tzinfo=UTC), UTC)
    assert e.lines == (Line(sku="a", price=0),)
    assert e.perhaps is None


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"number": 2**63}, OverflowError, "number: 9223372036854775808 does not fit int64"),
        ({"number": True}, TypeError, "number takes an int, not True"),
        ({"number": 1.0}, TypeError, "an int"),
        ({"number": None}, TypeError, "Optional"),
        ({"flag": 1}, TypeError, "a bool"),
        ({"text": "\ud800"}, ValueError, "lone surrogate"),
        ({"text": b"a"}, TypeError, "a str"),
        ({"at": datetime(2026, 1, 1)}, ValueError, "no time zone"),  # noqa: DTZ001 - that is the mistake
        ({"day": datetime(2026, 1, 1, tzinfo=UTC)}, TypeError, "a date"),
        ({"took": timedelta.max}, OverflowError, "int64 microseconds"),
        ({"id": "x"}, TypeError, "a UUID"),
        (
            {"amount": Decimal("0.001")},
            ValueError,
            r'2 digits .*Scale(2, "ROUND_HALF_EVEN"\), field',
        ),
        ({"amount": Decimal(10) ** 17}, OverflowError, "scale 2"),
        ({"amount": Decimal("NaN")}, ValueError, "not a finite"),
        ({"amount": 0.5}, TypeError, "a Decimal"),
        ({"colour": "green"}, ValueError, "no Colour"),
        ({"kind": "c"}, ValueError, "none of 'a', 'b'"),
        ({"lines": [1]}, TypeError, "Line elements"),
        ({"tags": "abc"}, TypeError, "a list"),
        ({"nothing": 1}, TypeError, "no field 'nothing'"),
    ],
)
def test_wrong_values_are_refused(values, error, words) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        Everything(**values)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match="Line needs sku"):
        Line()  # type: ignore[call-arg]  # that is the mistake


def test_header_fields_may_be_given_and_say_so_when_they_are_not() -> None:
    e = Everything(aggregate_id="a", version=3)
    assert (e.aggregate_id, e.version) == ("a", 3)
    with pytest.raises(AttributeError, match="made without position; give it"):
        _ = e.position
    with pytest.raises(AttributeError, match="without type"):  # it has two stored names
        _ = e.type

    class Single(Event, type="single.thing"):
        pass

    assert Single().type == "single.thing"
    assert Event(type="x", position=4).position == 4


def test_events_are_immutable_and_compare_by_value() -> None:
    e = Everything(number=1)
    with pytest.raises(AttributeError, match="immutable"):
        e.number = 2  # type: ignore[misc]  # that is the mistake
    with pytest.raises(AttributeError, match="immutable"):
        del e.number
    assert e == Everything(number=1)
    assert e != Everything(number=2)
    assert hash(e) == hash(Everything(number=1))
    assert "number=1" in repr(e)


def test_event_classes_inherit_fields() -> None:
    class More(Everything):
        extra: int

    assert [f.name for f in More.__event__.fields][-1] == "extra"
    assert More(extra=1, number=2).number == 2
    assert More.__event__.types == ("More",)


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(0, 18))
def test_scaling_is_exact_or_refused(value: Decimal, scale: int) -> None:
    type_ = ValueType(Kind.DECIMAL, scale=scale)
    fits = (
        abs(value) * 10**scale <= 2**63 and value == value.quantize(Decimal(1).scaleb(-scale))
        if _small(value)
        else False
    )
    try:
        number = scaled(value, type_)
    except (ValueError, OverflowError):
        assert not fits or abs(value) * 10**scale >= INT64_MAX
    else:
        assert unscaled(number, scale) == value


def _small(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent >= -18 and value.adjusted() < 9


def test_a_field_may_be_called_self():
    class Note(Event):
        self: int

    class Part(Record):
        self: int

    assert Note(self=3).self == 3
    assert Part(self=4).self == 4


def test_a_state_field_may_be_called_self():
    class Row(Projection):
        self: int = 0

    assert Row(self=3).self == 3
