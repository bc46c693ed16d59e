"""Handlers run both ways on the same events: the generated function, called event by event, and the twin's function."""

from __future__ import annotations

import decimal
import enum
import math
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numba
import numpy as np
import pyarrow as pa
import pytest

from runner import Event, Projection, definition_of
from runner.authoring.bounded import Buckets, LastValues
from runner.authoring.field_values import EPOCH, EXACT, unscaled
from runner.fold.checked import checked_functions
from runner.fold.handlers import CompiledFunction, compile_definition
from runner.fold.lower.lowering import ArrayRef, TextRegistry
from runner.fold.states import default_row, kernel_value, value_dtype
from runner.fold.texts import Texts
from runner.kernels import status
from runner.values import Kind, ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH_DAY = date(1970, 1, 1).toordinal()


class Both:
    """A projection's functions, compiled and plain."""

    def __init__(self, cls: type[Projection]) -> None:
        self.cls, self.definition = cls, definition_of(cls)
        self.registry = TextRegistry()
        self.compiled = compile_definition(self.definition, "t", self.registry)
        self.default = default_row(self.definition, self.registry.id)
        self.module = self._module(self.compiled.source)
        self.plain = checked_functions(self.definition)

    def _module(self, source: str) -> dict[str, Any]:
        module: dict[str, Any] = {}
        exec(compile(source, "<fold>", "exec"), module)
        return module

    def fold(self, *events: Event) -> Folded:
        """The events one after the other, both ways, compared after each; stops at the first that fails."""
        folded = Folded(self)
        for event in events:
            if not folded.take(event):
                break
        return folded

    def apart(self, event: Event) -> dict[str, int]:
        """One event through each of its handlers alone, from the defaults: their statuses by name."""
        found = {}
        for n, handler in enumerate(self.definition.handlers):
            if type(event) is handler.event.cls:
                folded = Folded(self)
                folded.call(n, event, 0, None)
                found[handler.name] = folded.status
        return found

    def status(self, *events: Event) -> int:
        """The status of the last event that was folded."""
        return self.fold(*events).status

    def state(self, *events: Event) -> Projection:
        """The state after events that all can be folded."""
        folded = self.fold(*events)
        assert folded.status == status.OK, status.NAMES[folded.status]
        return folded.state


class Interpreted(Both):
    """The generated functions as Python runs them, on the compiled kernels: there long before they were compiled."""

    def __init__(self, cls: type[Projection]) -> None:
        super().__init__(cls)
        self.default = self.default.view(np.recarray)  # as Numba has it: the fields of a row are attributes

    def _module(self, source: str) -> dict[str, Any]:
        module = super()._module(source.replace("@njit(**KERNEL)\n", ""))
        module.update({name: _callable(made) for name, made in module.items()})  # the functions look there
        return module


_wrapped: dict[Any, Any] = {}


def _callable(made: Any) -> Any:
    """An intrinsic as a function that Python can call, everything else as it is."""
    if type(made).__name__ != "_Intrinsic":
        return made
    if made not in _wrapped:
        names = ", ".join("abcdef"[: made._defn.__code__.co_argcount - 1])
        _wrapped[made] = numba.njit(eval(f"lambda {names}: made({names})", {"made": made}))
    return _wrapped[made]


class Folded:
    """A state that events are folded into, both ways."""

    def __init__(self, both: Both) -> None:
        self.both = both
        self.texts = Texts(both.registry.texts)
        self.rows = both.default.copy()
        self.state = both.cls()
        self.status = status.OK

    def take(self, event: Event) -> bool:
        """Fold one event; False where it fails."""
        for n, handler in enumerate(self.both.definition.handlers):
            if not handler.handles(event.type) and type(event) is not handler.event.cls:
                continue
            elements = enumerate(getattr(event, handler.each)) if handler.each else [(0, None)]
            for k, element in elements:
                if not self.call(n, event, k, element):
                    return False
        return True

    def call(self, n: int, event: Event, k: int, element: Any) -> bool:
        """Call one handler both ways and compare; False where it fails."""
        handler = self.both.definition.handlers[n]
        self.status = self._kernel(self.both.compiled.handlers[n].handler, event, k)
        self.state.__dict__.pop("_deleted", None)
        try:
            with decimal.localcontext(EXACT):
                function = self.both.plain.handlers[handler.name]
                function(self.state, event, *([element] if handler.each else []))
        except Exception as error:
            if self.status <= status.DELETED:
                raise AssertionError(f"plain failed with {error!r}, compiled gave {self.row()}") from error
            return False
        if self.status == status.REFUSED:
            return False
        assert self.status in (status.OK, status.DELETED), f"{status.NAMES[self.status]}, plain gave {self.state}"
        assert self.row() == {f.name: shown(self.state.__dict__[f.name]) for f in self.both.definition.fields}
        assert bool(self.state.__dict__.get("_deleted")) == (self.status == status.DELETED)
        return True

    def _kernel(self, function: CompiledFunction, event: Event, k: int) -> int:
        type_id = self.text_id(event.type)
        arrays = [self._array(ref, event) for ref in function.arrays]
        before = self.rows.copy()
        while True:
            made = self.both.module[function.name](self.rows[0], self.texts.pool, 0, 0, k, type_id, *arrays)
            if made != status.GROW:
                return int(made)
            self.texts.reserve(len(self.texts), max(4096, 2 * self.texts.size))
            self.rows[:] = before

    def call_key(self, function: CompiledFunction, event: Event, k: int = 0) -> tuple[int, ...]:
        """(status, words...) of a handler's key."""
        arrays = [self._array(ref, event) for ref in function.arrays]
        type_id = self.text_id(event.type)
        found = self.both.module[function.name](self.texts.pool, 0, 0, k, type_id, *arrays)
        return tuple(int(w) for w in found)

    def set(self, **values: Any) -> None:
        """Put values into both states; buckets as their counters."""
        for f in self.both.definition.fields:
            value = values[f.name]
            if f.type.kind is Kind.BUCKETS:
                self.rows[0][f"f_{f.name}"] = value
                self.state.__dict__[f.name] = Buckets(f.type.edges, value)
                continue
            setattr(self.state, f.name, value)
            self.rows[0][f"f_{f.name}"] = 0 if value is None else kernel_value(value, f.type, self.text_id)
            if f.type.optional:
                self.rows[0][f"v_{f.name}"] = value is not None

    def moved(self, to: Folded) -> Folded:
        """The same state, its texts in the other's pool."""
        moved = Folded(self.both)
        moved.texts = to.texts
        moved.set(
            **{
                f.name: list(v) if isinstance(v := self.state.__dict__[f.name], Buckets) else v
                for f in self.both.definition.fields
            }
        )
        return moved

    def text_id(self, text: str) -> int:
        """The pool id of a text."""
        return int(self.texts.intern(pa.array([text], pa.utf8()))[0])

    def _array(self, ref: ArrayRef, event: Event) -> Any:
        if ref.scope == "header":
            return self._header(ref, event)
        name, _, inner = ref.name.partition(".")
        field = event.__event__.field(name)
        assert field is not None
        values = [getattr(event, name)]
        type_ = field.type
        if ref.part == "offsets":
            return np.array([0, len(values[0])], np.int32)
        if ref.scope != "event":
            assert type_.element is not None
            values, type_ = values[0], type_.element
            if inner:
                values = [getattr(v, inner) for v in values]
                type_ = next(f.type for f in type_.fields if f.name == inner)
        return self._column(ref.part, values, type_)

    def _header(self, ref: ArrayRef, event: Event) -> Any:
        value = getattr(event, "aggregate_id" if ref.part == "values" and ref.name == "aggregate_id" else ref.name)
        if ref.part == "map":
            return np.array([self.text_id(value)], np.int64)
        if ref.name == "aggregate_id":
            return np.zeros(1, np.uint32)
        type_ = ValueType(Kind.DATETIME if ref.name == "recorded_at" else Kind.INT)
        return np.array([kernel_value(value, type_, self.text_id)], np.int64)

    def _column(self, part: str, values: Any, type_: ValueType) -> Any:
        if part == "valid":
            return np.array([v is not None for v in values], np.uint8)
        held = [0 if v is None else kernel_value(v, type_, self.text_id) for v in values]
        if type_.kind not in (Kind.STR, Kind.UUID, Kind.ENUM):
            return np.array(held, value_dtype(type_))
        distinct = sorted({h for h, v in zip(held, values, strict=True) if v is not None}, reverse=True)
        if part == "map":
            # Entries that no value has, too: a code is no id, and no number.
            return np.array([*distinct, 2**40], np.int64)
        return np.array([0 if v is None else distinct.index(h) for h, v in zip(held, values, strict=True)], np.uint32)

    def row(self) -> dict[str, Any]:
        """The compiled state in Python."""
        row = self.rows[0]
        return {f.name: self._field(row, f.name, f.type) for f in self.both.definition.fields}

    def _field(self, row: Any, name: str, type_: ValueType) -> Any:
        held = row[f"f_{name}"]
        if type_.kind is Kind.BUCKETS:
            return held.tolist()
        if type_.kind is Kind.LAST:
            assert type_.element is not None
            count = int(row[f"n_{name}"])
            valid = row[f"v_{name}"] if type_.element.optional else np.ones(type_.capacity)
            return [
                self._value(h, type_.element) if v else None for h, v in zip(held[:count], valid[:count], strict=True)
            ]
        if type_.optional and not row[f"v_{name}"]:
            assert not held, "a row without a value holds a zero"
            return None
        return self._value(held, type_)

    def _value(self, held: Any, type_: ValueType) -> Any:
        match type_.kind:
            case Kind.BOOL:
                assert held in (0, 1)
                return bool(held)
            case Kind.FLOAT:
                return shown(float(held))
            case Kind.STR | Kind.UUID:
                return self.texts.take(np.array([held], np.int64))[0].as_py()
            case Kind.DATETIME:
                return EPOCH + timedelta(microseconds=int(held))
            case Kind.DATE:
                return date.fromordinal(int(held) + EPOCH_DAY)
            case Kind.TIMEDELTA:
                return timedelta(microseconds=int(held))
            case Kind.DECIMAL:
                return shown(unscaled(int(held), type_.scale))
            case Kind.ENUM:
                return type_.members[int(held)]
        return int(held)


def shown(value: Any) -> Any:
    """A state's value so that equal means same: floats by their bits, enums by their values."""
    if isinstance(value, (LastValues, Buckets)):
        return [shown(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return str(value) if value else str(abs(value))
    return value


@pytest.fixture(scope="session")
def both() -> Callable[[type[Projection]], Both]:
    """Both ways of a projection class, compiled once in the session."""
    made: dict[type[Projection], Both] = {}

    def of(cls: type[Projection]) -> Both:
        if cls not in made:
            made[cls] = Both(cls)
        return made[cls]

    return of


@pytest.fixture(scope="session")
def interpreted() -> type[Interpreted]:
    """Both ways of a projection class, its generated functions run by Python: for many classes."""
    return Interpreted
