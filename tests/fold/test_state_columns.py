"""Kernel arrays and Arrow columns: there and back without loss for every type, equal to what the twin's way makes."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.fold.columns import arrow_column, kernel_column
from runner.fold.rows import to_array, to_values
from runner.fold.states import kernel_value, value_dtype
from runner.fold.texts import Texts
from runner.values import Kind, ValueType

INT64 = st.integers(-(2**63), 2**63 - 1)


class Colour(enum.Enum):
    """An enum with text values, one of them not ASCII."""

    RED = "red"
    GREEN = "grün"


CASES: dict[str, tuple[ValueType, st.SearchStrategy[Any]]] = {
    "int": (ValueType(Kind.INT), INT64),
    "float": (ValueType(Kind.FLOAT), st.floats(allow_nan=False)),
    "bool": (ValueType(Kind.BOOL), st.booleans()),
    "str": (ValueType(Kind.STR), st.text(max_size=6)),
    "uuid": (ValueType(Kind.UUID), st.uuids(allow_nil=True)),
    "datetime": (ValueType(Kind.DATETIME), st.datetimes().map(lambda d: d.replace(tzinfo=UTC))),
    "date": (ValueType(Kind.DATE), st.dates()),
    "timedelta": (ValueType(Kind.TIMEDELTA), st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))),
    "decimal": (ValueType(Kind.DECIMAL, scale=3), INT64.map(lambda n: Decimal(n).scaleb(-3))),
    "enum": (ValueType(Kind.ENUM, members=("red", "grün"), enum="m:Colour"), st.sampled_from(Colour)),
    "literal": (ValueType(Kind.ENUM, members=(7, -1)), st.sampled_from([7, -1])),
}


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_columns_go_there_and_back(case: str, optional: bool, data: st.DataObject) -> None:
    type_, one = CASES[case]
    if optional:
        type_, one = ValueType(**(type_.__dict__ | {"optional": True})), st.none() | one
    values = data.draw(st.lists(one, max_size=20))
    texts = Texts([""])
    column = to_array(values, type_)
    held, valid = kernel_column(column, type_, texts)

    # One by one, as defaults get in.
    def id_of(text: str) -> int:
        return int(texts.intern(pa.array([text], pa.utf8()))[0])

    plain = [0 if v is None else kernel_value(v, type_, id_of) for v in values]
    assert held.tolist() == np.array(plain, value_dtype(type_)).tolist()
    assert (valid is None) == (not optional)
    if valid is not None:
        assert valid.tolist() == [int(v is not None) for v in values]
    back = arrow_column(held, valid, type_, texts)
    assert back.equals(column)
    assert to_values(back, type_, {"m:Colour": Colour}) == values


def test_sliced_columns_are_read_from_their_offset() -> None:
    texts = Texts([""])
    for case, values in {
        "decimal": [Decimal("1.000"), Decimal("-2.500"), Decimal("3.125")],
        "uuid": [UUID(int=n) for n in (1, 2**127, 3)],
        "str": ["a", "bb", ""],
        "date": [date(2020, 1, 1), date(1, 1, 1), date(9999, 12, 31)],
        "datetime": [datetime(2020, 1, n, tzinfo=UTC) for n in (1, 2, 3)],
    }.items():
        type_ = CASES[case][0]
        held, valid = kernel_column(to_array(values, type_).slice(1), type_, texts)
        assert to_values(arrow_column(held, valid, type_, texts), type_, {}) == values[1:]
