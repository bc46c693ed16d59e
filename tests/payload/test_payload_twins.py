"""decode and decode_plain agree on everything: values, masks, and which value is bad and why."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from payload_cases import LINE, SCALAR_TYPES, T, assert_same, json_strings, numbers, scalars, times, values

from runner.kernels.texttimes import compile_format
from runner.values import Kind, PayloadColumn

local = datetime.fromisoformat
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Prague",
    "Europe/Dublin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
)


@pytest.mark.parametrize(("type_", "coerce"), SCALAR_TYPES, ids=lambda v: repr(v)[:60])
@given(found=st.lists(scalars, max_size=6))
@settings(max_examples=25, deadline=None)
def test_scalars(type_, coerce, found):
    # One bad value hides all behind it, so each is also read alone.
    column = PayloadColumn("t", (("v",),), type_, coerce)
    assert_same([f'{{"v":{text}}}' for text in found], [column])
    for text in found:
        assert_same([f'{{"w":0, "v" : {text} }}\n'], [column])


@given(found=st.lists(numbers, min_size=1, max_size=8))
@settings(max_examples=120, deadline=None)
def test_numbers(found):
    rounded = [PayloadColumn("t", (("v",),), T(Kind.DECIMAL, scale=4, rounding="ROUND_HALF_UP"))]
    columns = [PayloadColumn("t", (("v",),), T(Kind.FLOAT)), PayloadColumn("t", (("v",),), T(Kind.INT))]
    for column in [*rounded, *columns]:
        assert_same([f'{{"v":{text}}}' for text in found], [column])


@given(found=times, shape=st.sampled_from(["", "iso@UTC", "iso@America/New_York"]))
@settings(max_examples=150, deadline=None)
def test_times(found, shape):
    assert_same([f'{{"v":{json.dumps(found)}}}'], [PayloadColumn("t", (("v",),), T(Kind.DATETIME), shape)])


@given(moment=st.datetimes(local("1850-01-01"), local("2150-01-01")), zone=st.sampled_from(ZONES))
@settings(max_examples=60, deadline=None)
@example(moment=local("2040-07-01"), zone="America/New_York")
def test_local_times_of_zones(moment, zone):
    assert_same([f'{{"v":"{moment.isoformat()}"}}'], [PayloadColumn("t", (("v",),), T(Kind.DATETIME), f"iso@{zone}")])


FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y%m%d%H%M%S",
    "%y%m%d",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%d/%b/%Y:%H:%M:%S %z",
    "%m/%d/%y %I:%M %p",
    "%H%M",
)


@given(
    moment=st.datetimes(),
    shape=st.sampled_from(FORMATS),
    change=st.one_of(st.none(), st.tuples(st.integers(0, 25), st.sampled_from("0159 -:+Z/x"))),
)
@settings(max_examples=150, deadline=None)
def test_formats(moment, shape, change):
    text = moment.strftime(shape.replace("%z", "+0130"))
    if change is not None:
        text = text[: change[0]] + change[1] + text[change[0] + 1 :]
    for kind in (Kind.DATETIME, Kind.DATE):
        assert_same([f'{{"v":{json.dumps(text)}}}'], [PayloadColumn("t", (("v",),), T(kind), f"{shape}@UTC")])


def test_the_kernel_knows_the_usual_formats():
    known = [compile_format(f) is not None for f in FORMATS]
    assert known == [True, True, True, True, True, False, False, True]


@given(rows=st.lists(st.tuples(values, values, st.booleans()), max_size=5))
@settings(max_examples=120, deadline=None)
def test_lists_records_paths_and_alternatives(rows):
    columns = [
        PayloadColumn("t", (("a",),), T(Kind.LIST, element=LINE)),
        PayloadColumn("t", (("a",),), T(Kind.LIST, element=T(Kind.INT, optional=True))),
        PayloadColumn("t", (("a", "q"), ("b",)), T(Kind.STR)),
        PayloadColumn("t", (("a", 'u"'), ("b", "r.s"), ("a",)), T(Kind.INT)),
    ]
    payloads = [f'{{"b":{b},"a":{a}{f", {chr(34)}b{chr(34)}:1" if twice else ""}}}' for a, b, twice in rows]
    assert_same(payloads, columns)
    for column in columns:
        for payload in payloads:
            assert_same([payload], [column])


@given(
    text=st.one_of(values, json_strings()),
    place=st.integers(0, 40),
    sign=st.sampled_from(list('{}[],:"\\ \t\n0-+.eENntfu/\x00\x1f\x7fé')),
    cut=st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_damaged_json_is_refused_by_both(text, place, sign, cut):
    whole = f'{{"v":{text}}}'
    damaged = whole[:place] + sign + whole[place + cut :]
    assert_same([damaged], [PayloadColumn("t", ((),), T(Kind.STR)), PayloadColumn("t", (("v",),), T(Kind.STR))])
