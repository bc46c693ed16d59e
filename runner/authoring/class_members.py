"""What an author's class brings into a fold: its constants and methods, own and inherited; and which classes a value
brings, as an Enum member or a NamedTuple brings its class.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runner.authoring.constants import constant_text
from runner.authoring.events import Event, Record
from runner.authoring.source_code import authored_module, is_authored

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["class_file", "classes_in", "functions_of", "holds_set", "is_special", "members", "members_text", "unsteady"]

_BOOKKEEPING = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__firstlineno__",
        "__static_attributes__",
        "__abstractmethods__",
        "_abc_impl",
        "__orig_bases__",
        "__parameters__",
        "__dataclass_params__",
        "__members__",
        "__new_member__",
        "__slots__",
        "__match_args__",
        "__getnewargs__",
        "__getstate__",
        "__setstate__",
        "__reduce__",
        "__reduce_ex__",
        "__repr_enum__",
    }
)


def class_file(cls: type) -> str:
    """The file of a class's module; "" where it has none."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or ""


def classes_in(value: Any, near: Callable[..., Any] | None) -> Iterator[type]:
    """The author's classes that a constant, class or method brings; not projections, events and records."""
    if isinstance(value, (tuple, frozenset)):
        for part in value:
            yield from classes_in(part, near)
    elif isinstance(value, Mapping):
        for part in (*value, *value.values()):
            yield from classes_in(part, near)
    if isinstance(value, types.MethodType) and isinstance(value.__self__, type):
        value = value.__self__
    cls = value if isinstance(value, type) else type(value)
    if hasattr(cls, "__definition__") or issubclass(cls, (Event, Record)):
        return
    if any(_is_authored_class(base, near) for base in cls.__mro__):
        yield cls


def _is_authored_class(cls: type, near: Callable[..., Any] | None) -> bool:
    return authored_module(cls.__module__, class_file(cls) or "<no file>", near)


def members(cls: type) -> dict[str, Any]:
    """What instances and class have by name, the author's bases first, as it stands in the class bodies."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        if _is_authored_class(base, None) or base is cls
        for name, value in base.__dict__.items()
        if name not in _BOOKKEEPING and not _is_of_enum(cls, name, value)
    }


def _is_of_enum(cls: type, name: str, value: Any) -> bool:
    """Members, which are listed with the values, and what Enum keeps of them."""
    if not issubclass(cls, enum.Enum):
        return False
    kept = name.startswith("_") and name.endswith("_") and not name.startswith("__") and not functions_of(name, value)
    return name in cls.__members__ or kept


def is_special(name: str) -> bool:
    """Whether Python calls the method by itself."""
    return name.startswith("_") and name.endswith("_")


def functions_of(name: str, value: Any, near: Callable[..., Any] | None = None) -> list[Callable[..., Any]]:
    """The author's functions behind a member: of a method, staticmethod, classmethod, property or field factory."""
    if name == "__dataclass_fields__":
        found: list[Any] = [f.default_factory for f in value.values()]
    elif isinstance(value, (staticmethod, classmethod)):
        found = [value.__func__]
    elif isinstance(value, (property, types.DynamicClassAttribute)):
        found = [value.fget, value.fset, value.fdel]
    else:
        found = [value]
    return [f for f in found if not isinstance(f, type) and is_authored(f, near)]


def holds_set(value: Any) -> bool:
    """Whether a constant is a set or has one inside, which would be gone through out of sight."""
    if isinstance(value, Mapping):
        return any(holds_set(v) for v in value.values())
    return isinstance(value, (set, frozenset)) or (isinstance(value, tuple) and any(map(holds_set, value)))


def unsteady(name: str, value: Any) -> str:
    """The kind of a member that could change while events are folded, or whose order could; "" for others."""
    if name in ("__dataclass_fields__", "_field_defaults") or isinstance(value, type):
        return ""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if holds_set(value):
        return "set"
    if isinstance(value, types.FunctionType):
        return "decorated function" if hasattr(value, "__wrapped__") and is_authored(value) else ""
    if constant_text(value) is not None:
        return ""
    if inspect.isroutine(value) or inspect.isdatadescriptor(value):
        return _kind(value) if hasattr(value, "__wrapped__") else ""
    return _kind(value)


def _kind(value: object) -> str:
    return type(value).__name__


def members_text(cls: type, near: Callable[..., Any] | None, number: Callable[[Any], str], used: frozenset[str]) -> str:
    """All of a class that decides what it does. number: the text of a function or class. used: the names of
    attributes that the fold reads; other methods are left out.
    """
    lines = [f"bases {[b.__qualname__ for b in cls.__mro__ if not _is_authored_class(b, near)]}"]
    if issubclass(cls, enum.Enum):
        lines.append(f"{[(n, constant_text(m.value) or repr(m.value)) for n, m in cls.__members__.items()]}")
    for name, value in sorted(members(cls).items()):
        text = _member_text(name, value, near, number)
        kept = name in used or is_special(name) or name == "_field_defaults" or constant_text(value) is not None
        if text is not None and kept:
            lines.append(f"{name}={type(value).__name__}:{text}")
    return " ".join(lines)


def _member_text(name: str, value: Any, near: Callable[..., Any] | None, number: Callable[[Any], str]) -> str | None:
    if name == "__dataclass_fields__":
        return str([_field_text(f, number) for f in value.values()])
    if name == "_field_defaults":
        return constant_text(types.MappingProxyType(value))
    constant = constant_text(value)
    if constant is not None:
        return constant
    if functions := functions_of(name, value, near):
        return str([number(f) for f in functions])
    if isinstance(value, type):
        return number(value)
    shown: str | None = getattr(value, "__qualname__", None)
    return shown.rpartition(".")[2] if shown and isinstance(value, types.FunctionType) else shown


def _field_text(field: dataclasses.Field[Any], number: Callable[[Any], str]) -> str:
    factory = field.default_factory
    made = "" if factory is dataclasses.MISSING else number(factory)
    return f"{field.name} {constant_text(field.default)} {made} {field.init} {field.kw_only} {field.compare}"
