"""What every read-model sink must do: a conformance suite, and random histories against a reference in memory.

A sink passes by an adapter with the methods of ``ReadModelPort``: each check takes a fresh one and raises
AssertionError with what was expected. ``check_history`` runs a history of operations on it and on the reference;
``histories`` is the Hypothesis strategy that makes such histories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from runner.errors import FingerprintChanged, ReadModelError
from runner.positions import Position
from runner.sinks.export import canonical
from runner.sinks.shape import HASH, Shape
from runner.testing.read_model_ports import EmbeddedReadModels, Live, MemoryReadModels, ReadModelPort
from runner.testing.read_model_rows import (
    Rows,
    child_shape,
    every_type_shape,
    keyed_shape,
    keys_for,
    merged_shape,
    partitioned,
    rows_for,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "CHECKS",
    "EmbeddedReadModels",
    "MemoryReadModels",
    "Operation",
    "ReadModelPort",
    "check_history",
    "histories",
]


def _rebuild(port: ReadModelPort, shape: Shape, rows: Rows, position: int = 1) -> None:
    port.rebuild(shape, Position(position), partitioned(shape, rows_for(shape, rows)))


def _update(port: ReadModelPort, shape: Shape, rows: Rows, gone: list[tuple[Any, ...]], position: int) -> None:
    deleted = partitioned(shape, keys_for(shape, gone))
    changed = partitioned(shape, rows_for(shape, rows))
    port.update(shape, Position(position), {p: (changed[p], deleted[p]) for p in changed})


def _shows(port: ReadModelPort, shape: Shape, rows: Rows) -> None:
    expected = rows_for(shape, rows).select(shape.columns)
    assert canonical(port.table(shape.name)) == canonical(expected), f"{shape.name}: expected {rows}"


def _raises(kind: type[Exception], action: Any, *arguments: Any) -> None:
    try:
        action(*arguments)
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


# The checks


def check_rebuild(port: ReadModelPort) -> None:
    """Rows come back as they were written, with checkpoint and fingerprint; another rebuild replaces all of them."""
    shape = keyed_shape()
    assert port.live(shape.name) is None
    rows: Rows = {(f"a{i}",): (i, f"n{i}") for i in range(50)}
    _rebuild(port, shape, rows, 7)
    _shows(port, shape, rows)
    assert port.live(shape.name) == Live(1, Position(7), shape.fingerprint)
    other = replace(shape, fingerprint="e" * 64)
    _rebuild(port, other, {("b",): (1, "x")}, 9)
    _shows(port, other, {("b",): (1, "x")})
    assert port.live(shape.name) == Live(2, Position(9), "e" * 64)


def check_empty(port: ReadModelPort) -> None:
    """A read model without rows is there, with its columns; and one whose rows are all deleted."""
    for shape in (keyed_shape(), child_shape(), merged_shape(), every_type_shape()):
        _rebuild(port, shape, {})
        _shows(port, shape, {})
    shape = keyed_shape()
    _update(port, shape, {("a",): (1, "x")}, [], 2)
    _update(port, shape, {}, [("a",)], 3)
    _shows(port, shape, {})


def check_every_type(port: ReadModelPort) -> None:
    """Every column type, its extremes, and null, through rebuild, update and deletion; hostile names."""
    shape = every_type_shape()
    at, day = datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), date(9999, 12, 31)
    took, price = timedelta(days=-1, microseconds=1), Decimal("-92233720368547758.08")
    full = (-(2**63), float("nan"), True, 'q"\x00é', at, day, took, UUID(int=2**127), price, ["x", ""], [1, 2**62])
    nothing = (None,) * len(full)
    _rebuild(port, shape, {("a",): full, ("b",): nothing, ("c",): nothing})
    _shows(port, shape, {("a",): full, ("b",): nothing, ("c",): nothing})
    _update(port, shape, {("b",): full, ("a",): nothing}, [("c",)], 2)
    _shows(port, shape, {("a",): nothing, ("b",): full})


def check_update(port: ReadModelPort) -> None:
    """Changed rows replace, new ones appear, deleted ones go and may come again; the checkpoint moves with them."""
    shape = child_shape()
    rows: Rows = {("s", t, a, sku): (1,) for t in "tu" for a in "abc" for sku in ("x", "y", None)}
    _rebuild(port, shape, rows)
    change: Rows = {("s", "t", "a", None): (5,), ("s", "t", "new", "x"): (6,)}
    _update(port, shape, change, [("s", "t", "b", "x"), ("s", "u", "c", None)], 2)
    rows = {**rows, **change}
    del rows["s", "t", "b", "x"], rows["s", "u", "c", None]
    _shows(port, shape, rows)
    _update(port, shape, {("s", "t", "b", "x"): (7,)}, [("s", "t", "new", "x")], 3)
    rows["s", "t", "b", "x"] = (7,)
    del rows["s", "t", "new", "x"]
    _shows(port, shape, rows)
    _update(port, shape, {}, [], 4)
    _shows(port, shape, rows)
    assert port.live(shape.name) == Live(1, Position(4), shape.fingerprint)
    port.compact(shape.name)
    _shows(port, shape, rows)
    assert port.live(shape.name) == Live(1, Position(4), shape.fingerprint)


def check_saved(port: ReadModelPort) -> None:
    """The saved rows of some aggregates are their newest rows: all child rows, no deleted ones, nobody else's."""
    shape = child_shape()
    rows: Rows = {("s", "t", f"a{i}", sku): (i,) for i in range(40) for sku in ("x", None)}
    _rebuild(port, shape, rows)
    _update(port, shape, {("s", "t", "a3", "x"): (99,), ("s", "t", "a41", "x"): (41,)}, [("s", "t", "a4", None)], 2)
    ids = ["a3", "a4", "a41", "a77", "a8"]
    keys = keys_for(shape, [("s", "t", a, "x") for a in ids])
    hi, lo = keys[HASH[0]].to_numpy(), keys[HASH[1]].to_numpy()
    order = np.lexsort((lo, hi))
    saved = port.saved(shape.name, hi[order], lo[order])
    expected: Rows = {("s", "t", "a3", "x"): (99,), ("s", "t", "a3", None): (3,), ("s", "t", "a4", "x"): (4,)}
    expected |= {("s", "t", "a41", "x"): (41,), ("s", "t", "a8", "x"): (8,), ("s", "t", "a8", None): (8,)}
    assert canonical(saved) == canonical(rows_for(shape, expected))
    assert saved.schema.names == shape.schema.names
    assert port.saved(shape.name, hi[:0], lo[:0]).num_rows == 0


def check_rollback(port: ReadModelPort) -> None:
    """Rows, checkpoint, fingerprint and saved states go back together; an update goes on from there."""
    first, second = keyed_shape(), replace(keyed_shape(), fingerprint="e" * 64)
    _rebuild(port, first, {("a",): (1, "one")}, 5)
    _update(port, first, {("b",): (2, "two")}, [], 6)
    _raises(ReadModelError, port.rollback, first.name)
    _rebuild(port, second, {("a",): (10, "ten")}, 7)
    port.rollback(first.name)
    _shows(port, first, {("a",): (1, "one"), ("b",): (2, "two")})
    assert port.live(first.name) == Live(1, Position(6), first.fingerprint)
    _raises(ReadModelError, port.rollback, first.name)
    _update(port, first, {("b",): (3, "three")}, [("a",)], 8)
    _shows(port, first, {("b",): (3, "three")})
    _raises(FingerprintChanged, _update, port, second, {}, [], 9)
    _rebuild(port, second, {}, 9)
    assert port.live(first.name) == Live(3, Position(9), second.fingerprint)


def check_unknown(port: ReadModelPort) -> None:
    """Names that are not there."""
    shape = keyed_shape("nobody")
    assert port.live("nobody") is None
    _raises(ReadModelError, port.table, "nobody")
    _raises(ReadModelError, port.rollback, "nobody")
    _raises(ReadModelError, _update, port, shape, {}, [], 1)


def check_several(port: ReadModelPort) -> None:
    """Read models do not touch each other."""
    one, two = keyed_shape("one"), merged_shape("two")
    _rebuild(port, one, {("a",): (1, "")}, 1)
    _rebuild(port, two, {(None, date(2024, 2, 29)): (3,), ("t", None): (4,)}, 2)
    _update(port, two, {("t", None): (5,)}, [], 3)
    _shows(port, one, {("a",): (1, "")})
    _shows(port, two, {(None, date(2024, 2, 29)): (3,), ("t", None): (5,)})


CHECKS = (
    check_rebuild,
    check_empty,
    check_every_type,
    check_update,
    check_saved,
    check_rollback,
    check_unknown,
    check_several,
)


# Random histories


@dataclass(frozen=True)
class Operation:
    """One step of a history: "rebuild" and "update" with rows (None: deleted), "rollback", "compact"."""

    what: str
    rows: tuple[tuple[tuple[Any, ...], int | None], ...] = ()


def histories(shape: Shape) -> SearchStrategy[tuple[Operation, ...]]:
    """Histories that begin with a rebuild, over few keys so that they meet again. Needs Hypothesis."""
    from hypothesis import strategies as st  # an optional dependency of authors

    parts = {
        "source": st.just("s"),
        "tenant": st.sampled_from(["t", "u"]),
        "aggregate_id": st.sampled_from([f"a{i}" for i in range(6)]),
        "sku": st.sampled_from(["x", None]),
        "type": st.sampled_from(["t", None]),
        "day": st.sampled_from([date(2024, 1, 1), None]),
    }
    key = st.tuples(*(parts[n] for n in shape.full_key))
    live = st.dictionaries(key, st.integers(-9, 9), max_size=8).map(lambda d: tuple(d.items()))
    value = st.integers(-9, 9) if shape.merged else st.one_of(st.integers(-9, 9), st.none())
    changed = st.dictionaries(key, value, max_size=5).map(lambda d: tuple(d.items()))
    rebuild = st.builds(Operation, st.just("rebuild"), live)
    update = st.builds(Operation, st.just("update"), changed)
    other = st.sampled_from([Operation("rollback"), Operation("compact")])
    rest = st.lists(st.one_of(update, update, rebuild, other), max_size=8)
    return st.builds(lambda first, more: (first, *more), rebuild, rest)


def check_history(port: ReadModelPort, shape: Shape, history: tuple[Operation, ...]) -> None:
    """After each operation the port shows what the reference in memory shows."""
    reference = MemoryReadModels()
    more = (None,) * (len(shape.fields) - 1)
    for position, step in enumerate(history, start=1):
        rows: Rows = {key: (value, *more) for key, value in step.rows if value is not None}
        gone = [key for key, value in step.rows if value is None]
        raised = []
        for one in (port, reference):
            try:
                if step.what == "rebuild":
                    _rebuild(one, shape, rows, position)
                elif step.what == "update":
                    _update(one, shape, rows, gone, position)
                else:
                    getattr(one, step.what)(shape.name)
            except ReadModelError as error:
                raised.append(type(error))
        assert len(raised) in (0, 2), f"{step.what}: one of the two failed: {raised}"
        assert port.live(shape.name) == reference.live(shape.name), f"after {step}"
        table = reference.table(shape.name)
        assert canonical(port.table(shape.name), shape.full_key) == canonical(table, shape.full_key), f"after {step}"
        if not shape.merged and step.rows:
            keys = keys_for(shape, [key for key, _ in step.rows])
            hi, lo = keys[HASH[0]].to_numpy(), keys[HASH[1]].to_numpy()
            order = np.lexsort((lo, hi))
            ours, theirs = (p.saved(shape.name, hi[order], lo[order]) for p in (port, reference))
            assert canonical(ours) == canonical(theirs), f"saved rows after {step}"
