"""State fields of a projection class: their types, defaults and checks, and the mistakes that authors make with
them.
"""

from __future__ import annotations

import typing
from types import FrameType, FunctionType
from typing import Any

from runner.authoring.bounded import Buckets, BucketsField, LastField, LastValues
from runner.authoring.definition import StateField
from runner.authoring.events import class_annotations
from runner.authoring.field_types import Unsupported, field_type, fixed_scale
from runner.authoring.field_values import Check, check_for
from runner.authoring.source_code import line_of_name
from runner.errors import DefinitionError
from runner.values import Kind, ValueType

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["check_of", "collect_state", "maker_of"]

_RESERVED = ("source", "tenant")
_CLASS_ITEMS = (
    "__module__",
    "__qualname__",
    "__doc__",
    "__annotations__",
    "__firstlineno__",
    "__static_attributes__",
    "__type_params__",
    "__orig_bases__",
    "__parameters__",
    "__classcell__",
    "__annotate__",
    "__slotnames__",
)


def collect_state(cls: type, frame: FrameType, inherited: Mapping[str, StateField]) -> tuple[StateField, ...]:
    """The state fields of a class in order, bases first; their defaults are taken out of the class."""
    file, near = frame.f_code.co_filename, frame.f_lineno
    fields = dict(inherited)
    annotations = class_annotations(cls, frame)
    for name, value in list(cls.__dict__.items()):
        try:
            _check_item(name, value, annotations)
        except Unsupported as error:
            raise _at(cls, name, error, file, near) from None
    for name, annotation in annotations.items():
        if typing.get_origin(annotation) is typing.ClassVar or annotation is typing.ClassVar:
            raise _at(
                cls, name, Unsupported("ClassVar is not for projections", "put constants into the module"), file, near
            )
        try:
            fields[name] = _state_field(name, annotation, cls.__dict__.get(name, _MISSING))
        except (Unsupported, TypeError, ValueError, OverflowError) as error:
            raise _at(cls, name, error, file, near) from None
        if name in cls.__dict__:
            type.__delattr__(cls, name)
    return tuple(fields.values())


_MISSING: Any = object()


def _at(cls: type, name: str, error: Exception, file: str, near: int) -> DefinitionError:
    hint = error.hint if isinstance(error, Unsupported) else ""
    return DefinitionError(
        f"{cls.__qualname__}.{name}: {error}", hint=hint, file=file, line=line_of_name(file, cls.__name__, near, name)
    )


def _check_item(name: str, value: Any, annotations: Mapping[str, Any]) -> None:
    if name in annotations:
        if isinstance(value, (FunctionType, staticmethod, classmethod, property)):
            raise Unsupported("is a field and a method of the same name", "rename one of them")
        return
    if name.startswith("__") and name.endswith("__"):
        if name not in _CLASS_ITEMS:
            raise Unsupported(
                "projections have no special methods", "a row starts from the fields' defaults; write a helper function"
            )
        return
    if isinstance(value, (FunctionType, staticmethod)):
        if name == "delete":
            raise Unsupported("would hide self.delete(), which removes the row", "rename it")
        return
    if isinstance(value, (classmethod, property)):
        raise Unsupported(f"is a {type(value).__name__}", "write a method, or a helper function of the module")
    raise Unsupported(
        "has no annotation",
        f"write {name}: {type(value).__name__} = {value!r} for a state field; constants go to the module",
    )


def _state_field(name: str, annotation: Any, default: Any) -> StateField:
    if name.startswith("_"):
        raise Unsupported("a column's name starts with a letter")
    if name in ("delete", "merge"):
        raise Unsupported(f"hides the method {name}", "rename the field")
    if name in _RESERVED:
        raise Unsupported(f"rows have a column {name} where a log has several sources or tenants", "rename the field")
    if isinstance(default, (LastField, BucketsField)):
        return _bounded(name, annotation, default)
    found = field_type(annotation)
    if default is _MISSING:
        shown = {Kind.STR: '""', Kind.INT: "0", Kind.FLOAT: "0.0", Kind.BOOL: "False"}.get(found.type.kind, "<value>")
        shown = "None" if found.type.optional else shown
        raise Unsupported(
            "a state field needs a default, the value before the first event", f"write {name}: ... = {shown}"
        )
    found = fixed_scale(found, default)
    return StateField(name, found.type, check_for(found.type, name, found.enums)(default), found.enums)


def _bounded(name: str, annotation: Any, default: LastField | BucketsField) -> StateField:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is not list or len(arguments) != 1:
        raise Unsupported("last(n) and buckets(...) fill a list", f"write {name}: list[int] = ...")
    if isinstance(default, LastField):
        capacity = default.capacity
        if type(capacity) is not int or not 1 <= capacity <= 1000:
            raise Unsupported(f"last({capacity!r})", "it keeps 1 to 1000 values")
        element = fixed_scale(field_type(arguments[0]), None)
        return StateField(name, ValueType(Kind.LAST, element=element.type, capacity=capacity), (), element.enums)
    if arguments[0] is not int:
        raise Unsupported("buckets are counters", f"write {name}: list[int] = buckets(...)")
    edges = default.edges
    if (
        not edges
        or not all(type(v) in (int, float) and abs(v) <= 2**53 for v in edges)
        or list(edges) != sorted(set(edges))
    ):
        raise Unsupported(f"buckets{edges!r}", "give ascending numbers up to 2**53, at least one: buckets(0, 10, 100)")
    floats = tuple(float(v) + 0.0 for v in edges)
    return StateField(
        name, ValueType(Kind.BUCKETS, element=ValueType(Kind.INT), edges=floats), (0,) * (len(floats) + 1)
    )


def check_of(f: StateField) -> Check:
    """The check of an assignment to the field."""
    if f.type.kind not in (Kind.LAST, Kind.BUCKETS):
        return check_for(f.type, f.name, f.enums)
    how = f"self.{f.name}.append(v)" if f.type.kind is Kind.LAST else f"self.{f.name}.add(v)"

    def refuse(value: object) -> None:
        raise TypeError(f"{f.name} cannot be assigned to; write {how}")

    return refuse


def maker_of(f: StateField) -> Callable[[], Any]:
    """What gives the field's value before the first event."""
    default, type_ = f.default, f.type
    if type_.kind is Kind.LAST:
        assert type_.element is not None
        element = check_for(type_.element, f"a value of {f.name}", f.enums)
        return lambda: LastValues(type_.capacity, element)
    if type_.kind is Kind.BUCKETS:
        return lambda: Buckets(type_.edges)
    return lambda: default
