"""Dates and times: µs and days since 1970 in int64, inside the years 1 to 9999, with Python's calendar."""

from __future__ import annotations

import ast
from datetime import date, datetime, timedelta
from typing import Final

from runner.fold.lower.lowering import Lowering, attribute, calls, method
from runner.fold.lower.names import known_call
from runner.fold.lower.plainly import fails_always, operation
from runner.fold.types import DATE, DATETIME, FLOAT, INT, TIMEDELTA, Value, describe
from runner.kernels import status
from runner.kernels.constants import DATE_MAX, DATE_MIN, DATETIME_MAX, DATETIME_MIN, DAY
from runner.values import Kind

__all__ = ["date_arithmetic"]

HOUR: Final = 3_600_000_000
MINUTE: Final = 60_000_000
SECOND: Final = 1_000_000

_UNITS: Final = {
    "days": DAY,
    "seconds": SECOND,
    "microseconds": 1,
    "milliseconds": 1_000,
    "minutes": MINUTE,
    "hours": HOUR,
    "weeks": 7 * DAY,
}
"""timedelta's parameters in the order of its positional arguments."""


def date_arithmetic(c: Lowering, node: ast.AST, op: ast.operator, left: Value, right: Value) -> Value:
    """left op right, at least one a DATETIME, DATE or TIMEDELTA, the other one of these or an INT."""
    match (left.kind, op, right.kind):
        case (Kind.DATETIME, ast.Sub(), Kind.DATETIME):
            return Value(TIMEDELTA, f"({left.code} - {right.code})")
        case (Kind.DATE, ast.Sub(), Kind.DATE):
            return Value(TIMEDELTA, f"(({left.code} - {right.code}) * {DAY})")
        case (Kind.DATETIME, ast.Add() | ast.Sub(), Kind.TIMEDELTA):
            return _moved(c, op, left, right.code)
        case (Kind.DATE, ast.Add() | ast.Sub(), Kind.TIMEDELTA):
            # A date moves by the whole days of a timedelta; date - delta is date + (-delta.days).
            return _moved(c, op, left, f"({right.code} // {DAY})")
        case (Kind.TIMEDELTA, ast.Add(), Kind.DATETIME | Kind.DATE):
            return date_arithmetic(c, node, op, right, left)
        case (Kind.TIMEDELTA, ast.Add() | ast.Sub(), Kind.TIMEDELTA):
            name = "add" if isinstance(op, ast.Add) else "sub"
            return Value(TIMEDELTA, c.checked(f"{name}({left.code}, {right.code})", status.REFUSED))
        case (Kind.TIMEDELTA, ast.Mult(), Kind.INT):
            return Value(TIMEDELTA, c.checked(f"mul({left.code}, {right.code})", status.REFUSED))
        case (Kind.INT, ast.Mult(), Kind.TIMEDELTA):
            return Value(TIMEDELTA, c.checked(f"mul({left.code}, {right.code})", status.REFUSED))
        case (Kind.TIMEDELTA, ast.FloorDiv(), Kind.TIMEDELTA):
            return Value(INT, c.checked(f"floordiv({left.code}, {right.code})"))
        case (Kind.TIMEDELTA, ast.FloorDiv(), Kind.INT):
            return Value(TIMEDELTA, c.checked(f"floordiv({left.code}, {right.code})"))
        case (Kind.TIMEDELTA, ast.Mod(), Kind.TIMEDELTA):
            return Value(TIMEDELTA, c.checked(f"mod({left.code}, {right.code})"))
        case (Kind.TIMEDELTA, ast.Div(), Kind.TIMEDELTA):
            return Value(FLOAT, c.checked(f"divide_ints({left.code}, {right.code})"))
    hint = ""
    if {left.kind, right.kind} == {Kind.DATETIME, Kind.DATE}:
        hint = "take the .date() of the datetime"
    elif Kind.INT in (left.kind, right.kind):
        hint = "write timedelta(days=n)"
    what = f"{type(op).__name__} of {describe(left.type)} and {describe(right.type)} is not supported"
    raise c.error(node, what, hint, always=fails_always(c, operation(op), left, right))


def _moved(c: Lowering, op: ast.operator, moment: Value, by: str) -> Value:
    name = "add" if isinstance(op, ast.Add) else "sub"
    code = c.checked(f"{name}({moment.code}, {by})", status.RANGE)
    low, high = (DATETIME_MIN, DATETIME_MAX) if moment.kind is Kind.DATETIME else (DATE_MIN, DATE_MAX)
    c.guard(f"{code} < {low} or {code} > {high}", status.RANGE)
    return Value(moment.type, code)


# Parts


def _days(value: Value) -> str:
    return f"({value.code} // {DAY})" if value.kind is Kind.DATETIME else value.code


def _part(value: Value, unit: int, size: int) -> str:
    return f"({value.code} // {unit} % {size})"


@attribute(Kind.DATETIME, "year", "month", "day", "hour", "minute", "second", "microsecond")
@attribute(Kind.DATE, "year", "month", "day")
def _date_part(c: Lowering, node: ast.Attribute, value: Value) -> Value:
    return Value(INT, _named_part(value, node.attr))


def _named_part(value: Value, name: str) -> str:
    match name:
        case "hour":
            return _part(value, HOUR, 24)
        case "minute":
            return _part(value, MINUTE, 60)
        case "second":
            return _part(value, SECOND, 60)
        case "microsecond":
            return _part(value, 1, SECOND)
    return f"{name}_of({_days(value)})"


@attribute(Kind.TIMEDELTA, "days", "seconds", "microseconds")
def _delta_part(c: Lowering, node: ast.Attribute, value: Value) -> Value:
    match node.attr:
        case "days":
            return Value(INT, f"({value.code} // {DAY})")
        case "seconds":
            return Value(INT, f"({value.code} // {SECOND} % 86400)")
    return Value(INT, f"({value.code} % {SECOND})")


def _alone(c: Lowering, node: ast.Call, arguments: list[Value]) -> None:
    if arguments or node.keywords:
        raise c.error(node, f"{ast.unparse(node.func)} takes no arguments")


@method(Kind.DATETIME, "weekday", "isoweekday", "date", "timestamp")
@method(Kind.DATE, "weekday", "isoweekday", "toordinal")
def _whole_day(c: Lowering, node: ast.Call, value: Value, arguments: list[Value]) -> Value:
    _alone(c, node, arguments)
    assert isinstance(node.func, ast.Attribute)
    days = _days(value)
    match node.func.attr:
        case "weekday":
            return Value(INT, f"(({days} + 3) % 7)")
        case "isoweekday":
            return Value(INT, f"(({days} + 3) % 7 + 1)")
        case "toordinal":
            return Value(INT, f"({days} + {1 - DATE_MIN})")
        case "date":
            return Value(DATE, days)
    return Value(FLOAT, c.checked(f"divide_ints({value.code}, {SECOND})"))


@method(Kind.TIMEDELTA, "total_seconds")
def _total_seconds(c: Lowering, node: ast.Call, value: Value, arguments: list[Value]) -> Value:
    _alone(c, node, arguments)
    return Value(FLOAT, c.checked(f"divide_ints({value.code}, {SECOND})"))


@method(Kind.DATETIME, "replace")
@method(Kind.DATE, "replace")
def _replace(c: Lowering, node: ast.Call, value: Value, arguments: list[Value]) -> Value:
    dated = ("year", "month", "day")
    timed = ("hour", "minute", "second", "microsecond") if value.kind is Kind.DATETIME else ()
    given = dict(zip((*dated, *timed), arguments, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in (*dated, *timed):
            raise c.error(node, f"replace(..., {keyword.arg}=...) is not supported", "times stay in UTC")
        given[keyword.arg] = c.expr(keyword.value)
    parts = {name: _int_argument(c, node, part) for name, part in given.items()}
    value = Value(value.type, c.atom(value.code))
    days = _days(value)
    if any(name in parts for name in dated):
        named = ", ".join(parts.get(name, _named_part(value, name)) for name in dated)
        days = c.checked(f"days_of({named})")
    if value.kind is Kind.DATE:
        return Value(DATE, days)
    if not any(name in parts for name in timed):
        return Value(DATETIME, f"({days} * {DAY} + {value.code} % {DAY})")
    total = f"{days} * {DAY}"
    for name, unit, size in (
        ("hour", HOUR, 24),
        ("minute", MINUTE, 60),
        ("second", SECOND, 60),
        ("microsecond", 1, SECOND),
    ):
        code = parts.get(name)
        if code is None:
            code = _named_part(value, name)
        elif not given[name].known or not 0 <= given[name].constant < size:
            code = c.atom(code)
            c.guard(f"{code} < 0 or {code} >= {size}", status.RANGE)
        total += f" + {code} * {unit}"
    return Value(DATETIME, f"({total})")


def _int_argument(c: Lowering, node: ast.AST, value: Value) -> str:
    value = c.required(node, value)
    if value.kind is not Kind.INT:
        raise c.error(node, f"an int is needed, not {describe(value.type)}", "write int(x)")
    return value.code


# Constructors


@calls(timedelta)
def _timedelta(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    known = known_call(c, node, arguments, timedelta)
    if known is not None:
        return known
    given = dict(zip(_UNITS, arguments, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in _UNITS or keyword.arg in given:
            raise c.error(node, f"timedelta takes no {keyword.arg}")
        given[keyword.arg] = c.expr(keyword.value)
    total = ""
    for name, value in given.items():
        code = _int_argument(c, node, value)
        if _UNITS[name] != 1:
            code = c.checked(f"mul({code}, {_UNITS[name]})", status.REFUSED)
        total = code if not total else c.checked(f"add({total}, {code})", status.REFUSED)
    return Value(TIMEDELTA, total)


@calls(date)
def _date(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    known = known_call(c, node, arguments, date)
    if known is not None:
        return known
    given = dict(zip(("year", "month", "day"), arguments, strict=False))
    given.update({k.arg: c.expr(k.value) for k in node.keywords if k.arg is not None})
    if len(arguments) > 3 or set(given) != {"year", "month", "day"}:
        raise c.error(node, "date takes year, month and day")
    named = ", ".join(_int_argument(c, node, given[name]) for name in ("year", "month", "day"))
    return Value(DATE, c.checked(f"days_of({named})"))


@calls(datetime)
def _datetime(c: Lowering, node: ast.Call, arguments: list[Value]) -> Value:
    known = known_call(c, node, arguments, datetime)
    if known is None:
        raise c.error(node, "a datetime of computed parts is not supported", "use e.recorded_at.replace(day=1, ...)")
    return known
