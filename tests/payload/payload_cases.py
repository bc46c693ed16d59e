"""Payloads and columns for the tests of decoding: written by hand where it matters, by Hypothesis otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from runner.payload import BadValue, decode, decode_plain
from runner.values import Kind, PayloadColumn, RecordField, ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.batch import PayloadArray

T = ValueType


def column(kind: Kind, path: str = "v", coerce: str = "", **type_: Any) -> PayloadColumn:
    """A column of one key."""
    return PayloadColumn("t", ((path,),), T(kind, **type_), coerce)


def texts(*payloads: str) -> pa.Array:
    return pa.array(payloads, pa.large_utf8())


def plain(array: PayloadArray) -> list[Any]:
    """What an array says, entry by entry: "absent", None, or the stored value (lists of them, lists of dicts)."""
    valid = np.ones(len(array), np.uint8) if array.valid is None else array.valid
    absent = np.zeros(len(array), np.uint8) if array.absent is None else array.absent
    out: list[Any] = []
    inner = [] if array.element is None else plain(array.element)
    fields = {name: plain(a) for name, a in array.fields.items()}
    for i in range(len(array)):
        if absent[i]:
            assert not valid[i]
            out.append("absent")
        elif not valid[i]:
            out.append(None)
        elif array.type.kind is Kind.LIST:
            span = range(int(array.values[i]), int(array.values[i + 1]))
            out.append([{n: f[k] for n, f in fields.items()} for k in span] if fields else [inner[k] for k in span])
        elif array.dictionary is not None:
            out.append(array.dictionary.texts[int(array.values[i])].as_py())
        else:
            out.append(array.values[i].item())
    if array.dictionary is not None:
        hashes = list(zip(array.dictionary.hi.tolist(), array.dictionary.lo.tolist(), strict=True))
        assert hashes == sorted(hashes)
    return out


def outcome(function: Any, payloads: pa.Array, columns: Sequence[PayloadColumn]) -> Any:
    """Values by column, or (row, column, reason)."""
    try:
        found: Mapping[PayloadColumn, PayloadArray] = function(payloads, columns)
    except BadValue as bad:
        return bad.row, bad.column, bad.reason
    return {c: (a.values.dtype, repr(plain(a))) for c, a in found.items()}


def assert_same(payloads: Sequence[str], columns: Sequence[PayloadColumn]) -> Any:
    """The fast path says what the twin says, also of what is bad; returns it."""
    array = texts(*payloads)
    expected = outcome(decode_plain, array, columns)
    assert outcome(decode, array, columns) == expected
    return expected


numbers = st.one_of(
    st.integers(-(2**66), 2**66).map(str),
    st.integers(-100, 100).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["-0", "-0.0", "0e5", "1e400", "1e-400", "9223372036854775807", "-9223372036854775808", "0.1e1"]),
)
times = st.one_of(
    st.datetimes().map(lambda d: d.isoformat() + "Z"),
    st.datetimes().map(lambda d: d.isoformat(sep=" ") + "+02:00"),
    st.from_regex(
        r"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,9})?)?"
        r"( ?(Z|UTC|[+-][0-2][0-9](:?[0-5][0-9])?))?",
        fullmatch=True,
    ),
    st.sampled_from(
        ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999-00:01", "2026-02-29T00:00:00Z", "2026-01-01"]
    ),
)
strings = st.one_of(
    st.text(max_size=12).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t)),
    numbers,
    times,
    st.dates().map(str),
    st.dates().map(lambda d: d.strftime("%y%m%d")),
    st.uuids().map(str),
    st.uuids().map(lambda u: u.hex.upper()),
    st.sampled_from(["", " 5 ", "+7", "5.", ".5", "nan", "inf", "P1DT2H", "PT0.5S", "-P1W", "P", "PT", "PT1.0000001S"]),
)


@st.composite
def json_strings(draw: st.DrawFn) -> str:
    """A string as JSON writes it: as it is, escaped, or with escapes that nobody needs."""
    text = draw(strings)
    style = draw(st.integers(0, 2))
    if style < 2:
        return json.dumps(text, ensure_ascii=bool(style))
    return '"' + "".join(f"\\u{ord(c):04X}" if ord(c) < 0x10000 else json.dumps(c)[1:-1] for c in text) + '"'


scalars = st.one_of(
    numbers,
    json_strings(),
    st.sampled_from(["null", "true", "false", '"\\ud800"', '"\\ude00\\ud83d"', '"a\\u0000b"', '"\\/"']),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: f"[ {' , '.join(v)}]"),
        st.lists(st.tuples(st.sampled_from(["q", "p", "r.s", 'u"']), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(k)} :{v}" for k, v in pairs) + " }"
        ),
    ),
    max_leaves=6,
)

SCALAR_TYPES = (
    (T(Kind.INT), ""),
    (T(Kind.INT), "number"),
    (T(Kind.FLOAT), ""),
    (T(Kind.FLOAT), "number"),
    (T(Kind.BOOL), ""),
    (T(Kind.STR), ""),
    (T(Kind.UUID), ""),
    (T(Kind.ENUM, members=("a", "b")), ""),
    (T(Kind.ENUM, members=(1, 2)), ""),
    (T(Kind.DECIMAL, scale=2), ""),
    (T(Kind.DECIMAL, scale=0), "number"),
    (T(Kind.DECIMAL, scale=3, rounding="ROUND_HALF_EVEN"), "number"),
    (T(Kind.DECIMAL, scale=1, rounding="ROUND_FLOOR"), ""),
    (T(Kind.DECIMAL, scale=1, rounding="ROUND_UP"), ""),
    (T(Kind.DECIMAL, scale=1, rounding="ROUND_HALF_DOWN"), ""),
    (T(Kind.DECIMAL, scale=18), ""),
    (T(Kind.DATETIME), ""),
    (T(Kind.DATETIME), "iso@Europe/Amsterdam"),
    (T(Kind.DATETIME), "epoch"),
    (T(Kind.DATETIME), "epoch_ms"),
    (T(Kind.DATETIME), "epoch_ns"),
    (T(Kind.DATETIME), "%y%m%d@UTC"),
    (T(Kind.DATE), ""),
    (T(Kind.DATE), "iso"),
    (T(Kind.DATE), "%y%m%d"),
    (T(Kind.DATE), "epoch"),
    (T(Kind.TIMEDELTA), ""),
    (T(Kind.TIMEDELTA), "number"),
    (T(Kind.TIMEDELTA), "epoch_ms"),
)
LINE = T(
    Kind.RECORD,
    fields=(
        RecordField("q", T(Kind.INT), (("q",),)),
        RecordField("p", T(Kind.DECIMAL, scale=2), (("p",), ("r.s",)), "number"),
        RecordField("u", T(Kind.STR, optional=True), (('u"',),)),
    ),
)
