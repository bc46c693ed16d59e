"""Event and Record: the classes by which an author says what the payloads hold.

A class is turned into an ``EventDefinition`` (plain data) when it is created; mistakes raise DefinitionError there.
Instances are immutable and checked, so that a handler called by hand sees what a handler in a fold sees.
"""

from __future__ import annotations

import inspect
import sys
import typing
from dataclasses import dataclass, replace
from dataclasses import field as data_field
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from runner.authoring.field_types import (
    EnumClasses,
    FieldType,
    RecordClass,
    Scale,
    Unsupported,
    field_type,
    fixed_scale,
)
from runner.authoring.field_values import Check, check_for
from runner.errors import DefinitionError
from runner.values import Kind, Path, PayloadColumn, RecordField, ValueType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import FrameType

__all__ = ["BAD", "HEADER", "Event", "EventDefinition", "EventField", "Record", "class_annotations", "field"]

HEADER: Mapping[str, ValueType] = {
    "aggregate_id": ValueType(Kind.STR),
    "version": ValueType(Kind.INT),
    "position": ValueType(Kind.INT),
    "recorded_at": ValueType(Kind.DATETIME),
    "type": ValueType(Kind.STR),
    "source": ValueType(Kind.STR),
    "tenant": ValueType(Kind.STR),
}
"""What every event has, whatever its class."""

BAD = " bad "
"""Where an event keeps why fields of it have no value; reading such a field raises ValueError. No field has this
name.
"""

_MISSING: Any = type("missing", (), {"__repr__": lambda _: "missing"})()


class FieldSpec:
    """What ``field(...)`` leaves in the class body until the class is complete."""

    def __init__(self, paths: tuple[Path, ...], default: Any, scale: int | None, rounding: str, coerce: str) -> None:
        self.paths, self.default, self.scale, self.rounding, self.coerce = paths, default, scale, rounding, coerce


def field(
    *paths: str | tuple[str, ...],
    default: Any = _MISSING,
    scale: int | None = None,
    rounding: str = "",
    coerce: str = "",
) -> Any:
    """Where a field's value is in the payload, and how it is read.

    paths: alternatives; dots separate the keys of nested objects, a tuple names keys that hold dots: ``field(("a",
    "b.c"))``. Without one the field's own name is the path. default: stands in for an absent field (null is not
    absent). scale, rounding: of a Decimal. coerce: "number" (a number in a string), "iso", "epoch", "epoch_ms" or a
    strptime format.
    """
    return FieldSpec(tuple(_path(p) for p in paths), default, scale, rounding, coerce)


def _path(path: str | tuple[str, ...]) -> Path:
    keys = tuple(path.split(".")) if isinstance(path, str) else tuple(path)
    if not keys or not all(isinstance(k, str) and k for k in keys):
        raise DefinitionError(f"{path!r} is not a path into a payload", hint='write field("outer.inner")')
    return keys


@dataclass(frozen=True)
class EventField:
    """A payload field. default is normalised; enums and record are the Python classes behind the type."""

    name: str
    type: ValueType
    paths: tuple[Path, ...]
    coerce: str = ""
    has_default: bool = False
    default: object = None
    enums: EnumClasses = data_field(default_factory=dict, compare=False)
    record: RecordClass | None = data_field(default=None, compare=False)

    def column(self, event_type: str) -> PayloadColumn:
        """The log's column that holds this field for a stored event type."""
        return PayloadColumn(event_type, self.paths, _stored(self.type), self.coerce)


@dataclass(frozen=True)
class EventDefinition:
    """What an event class says. types: the stored type names that it reads; none for Event itself, which stands for
    all.
    """

    name: str
    types: tuple[str, ...]
    fields: tuple[EventField, ...]
    cls: type[Event] = data_field(compare=False)
    file: str = data_field(default="", compare=False)
    line: int = data_field(default=0, compare=False)

    def field(self, name: str) -> EventField | None:
        """The payload field of that name."""
        return next((f for f in self.fields if f.name == name), None)


def _stored(type_: ValueType) -> ValueType:
    """The type as far as the stored column depends on it: class names and defaults of records do not change it."""
    fields = tuple(replace(f, type=_stored(f.type), has_default=False, default=None) for f in type_.fields)
    element = None if type_.element is None else _stored(type_.element)
    return replace(type_, enum="", element=element, fields=fields)


def class_annotations(cls: type, frame: FrameType | None) -> dict[str, Any]:
    """The class's own annotations in order, strings resolved against its module and the frame that defines it."""
    own = inspect.get_annotations(cls)
    module = sys.modules.get(cls.__module__)
    names = dict(vars(module)) if module else {}
    if frame is not None:
        names |= frame.f_globals | frame.f_locals
    holder = type("Holder", (), {"__annotations__": own})
    try:
        return typing.get_type_hints(holder, names, {cls.__name__: cls}, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{cls.__qualname__}: an annotation names {error.name!r}, which is not defined here"
        ) from None


class _Payload:
    """What Event and Record share: fields checked on construction, immutability, equality, repr."""

    __fields__: ClassVar[tuple[EventField, ...]] = ()
    __checks__: ClassVar[dict[str, Check]] = {}
    __defaults__: ClassVar[dict[str, Any]] = {}

    def __init__(self, /, **values: Any) -> None:
        cls = type(self)
        own = self.__dict__
        checks = cls.__checks__
        for name, value in values.items():
            check = checks.get(name)
            if check is None:
                known = ", ".join(f.name for f in cls.__fields__) or "no payload fields"
                raise TypeError(f"{cls.__name__} has no field {name!r} (it has {known})")
            own[name] = check(value)
        for f in cls.__fields__:
            if f.name not in own:
                if f.name not in cls.__defaults__:
                    raise TypeError(f"{cls.__name__} needs {f.name}")
                own[f.name] = cls.__defaults__[f.name]

    def __getattr__(self, name: str) -> Any:
        cls = self.__class__
        if name in self.__dict__.get(BAD, {}):
            raise ValueError(self.__dict__[BAD][name])
        if name in cls.__checks__:
            raise AttributeError(f"{name} of this {cls.__name__} was not read from the log")
        raise AttributeError(f"{cls.__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(self.__dict__.items(), key=lambda item: item[0]))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Record(_Payload):
    """An element of a list in a payload: ``class Line(Record): sku: str; quantity: int``, then ``lines:
    list[Line]``.
    """

    if TYPE_CHECKING:
        __record_type__: ClassVar[FieldType]

    def __init_subclass__(cls, **unknown: Any) -> None:
        super().__init_subclass__()
        frame = sys._getframe(1)  # noqa: SLF001 - annotations may name the frame's locals
        if unknown:
            raise unknown_keyword(cls, unknown, frame, ())
        fields = _collect(cls, frame, lists=False)
        inner = tuple(RecordField(f.name, f.type, f.paths, f.coerce, f.has_default, f.default) for f in fields)
        enums = {name: e for f in fields for name, e in f.enums.items()}
        cls.__record_type__ = FieldType(ValueType(Kind.RECORD, fields=inner), enums, cls)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Event(_Payload):
    """Something that happened. ``class Deposited(Event, type="account.deposited"): amount: int``.

    type: the stored type name or names; the class's name where it is left out. Every event also has
    ``aggregate_id``, ``version``, ``position``, ``recorded_at`` (aware UTC), ``type``, ``source`` and ``tenant``;
    given to the constructor or set by the runner, and an AttributeError otherwise.
    """

    __event__: ClassVar[EventDefinition]
    if TYPE_CHECKING:
        aggregate_id: str = ""
        version: int = 0
        position: int = 0
        recorded_at: datetime = datetime.max  # noqa: DTZ901 - for type checkers only
        type: str = ""
        source: str = ""
        tenant: str = ""

    def __init_subclass__(cls, *, type: str | tuple[str, ...] = (), **unknown: Any) -> None:  # noqa: A002 - the word that authors write
        super().__init_subclass__()
        frame = sys._getframe(1)  # noqa: SLF001 - annotations may name the frame's locals
        if unknown:
            raise unknown_keyword(cls, unknown, frame, ("type",))
        file, line = frame.f_code.co_filename, frame.f_lineno
        types = (type,) if isinstance(type, str) else tuple(type)
        types = types or (cls.__name__,)
        if not all(isinstance(t, str) and t for t in types) or len(set(types)) < len(types):
            raise DefinitionError(
                f"{cls.__qualname__}: type is {types!r}",
                hint='give the stored names: type="a" or type=("a", "b")',
                file=file,
                line=line,
            )
        fields = _collect(cls, frame, lists=True)
        for name, value_type in HEADER.items():
            cls.__checks__[name] = check_for(value_type, name, {})
        if len(types) == 1:
            cls.__defaults__["type"] = types[0]
        cls.__event__ = EventDefinition(cls.__name__, types, fields, cls, file, line)

    def __getattr__(self, name: str) -> Any:
        cls = self.__class__
        if name == "type" and name in cls.__defaults__:
            return cls.__defaults__[name]
        if name in HEADER and name not in self.__dict__.get(BAD, {}):
            raise AttributeError(
                f"this {cls.__name__} was made without {name}; give it: {cls.__name__}(..., {name}=...)"
            )
        return super().__getattr__(name)


Event.__checks__ = {name: check_for(value_type, name, {}) for name, value_type in HEADER.items()}
Event.__event__ = EventDefinition("Event", (), (), Event)


def unknown_keyword(cls: type, unknown: Mapping[str, Any], frame: FrameType, known: tuple[str, ...]) -> DefinitionError:
    """The error of a keyword in a class's head that nobody reads."""
    name = next(iter(unknown))
    return DefinitionError(
        f"class {cls.__qualname__}(..., {name}=...): {name} is no class keyword here",
        hint=f"take one of {', '.join(known)}" if len(known) > 1 else f"there is {known[0]}" if known else "take none",
        file=frame.f_code.co_filename,
        line=frame.f_lineno,
    )


def _collect(cls: type[_Payload], frame: FrameType, *, lists: bool) -> tuple[EventField, ...]:
    """The fields of a class and its bases, and its checks and defaults put in place."""
    file, line = frame.f_code.co_filename, frame.f_lineno
    fields = {f.name: f for base in reversed(cls.__mro__[1:]) for f in base.__dict__.get("__fields__", ())}
    defined = class_annotations(cls, frame)
    for name, value in list(cls.__dict__.items()):
        if not name.startswith("__") and name not in defined:
            what = "a method" if callable(value) or isinstance(value, property) else "no annotation"
            raise DefinitionError(
                f"{cls.__qualname__}.{name} has {what}"
                if what != "a method"
                else f"{cls.__qualname__}.{name} is a method",
                hint=f"write {name}: <type> = {value!r}"
                if what != "a method"
                else "events are data; write a helper function",
                file=file,
                line=line,
            )
    for name, annotation in defined.items():
        if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        value = cls.__dict__.get(name, _MISSING)
        try:
            fields[name] = _event_field(name, annotation, value, lists=lists)
        except (Unsupported, TypeError, ValueError, OverflowError) as error:
            hint = error.hint if isinstance(error, Unsupported) else ""
            raise DefinitionError(f"{cls.__qualname__}.{name}: {error}", hint=hint, file=file, line=line) from None
        if value is not _MISSING:
            delattr_from_class(cls, name)
    cls.__fields__ = tuple(fields.values())
    cls.__checks__ = {f.name: check_for(f.type, f.name, f.enums, f.record) for f in cls.__fields__}
    cls.__defaults__ = {f.name: f.default for f in cls.__fields__ if f.has_default or f.type.optional}
    return cls.__fields__


def delattr_from_class(cls: type, name: str) -> None:
    """Take a default out of the class, where it would hide that an instance lacks the value."""
    type.__delattr__(cls, name)


def _event_field(name: str, annotation: object, value: object, *, lists: bool) -> EventField:
    spec = value if isinstance(value, FieldSpec) else FieldSpec((), value, None, "", "")
    if name in HEADER and lists:
        raise Unsupported(
            "every event has a header field of that name", f'name it otherwise: {name}_ = field("{name}")'
        )
    if name.startswith("_"):
        raise Unsupported(
            "a field's name starts with a letter", f'write {name.strip("_") or "x"}: ... = field("{name}")'
        )
    Scale(spec.scale or 0, spec.rounding)
    found = field_type(annotation, lists=lists, scale=spec.scale, rounding=spec.rounding)
    if (spec.scale is not None or spec.rounding) and found.type.kind is not Kind.DECIMAL:
        raise Unsupported(f"scale and rounding do not apply to {found.type.kind}", "they are for Decimal")
    found = fixed_scale(found, spec.default)
    check = check_for(found.type, name, found.enums, found.record)
    has_default = spec.default is not _MISSING
    default = check(spec.default) if has_default else None
    if spec.coerce and found.type.kind not in _COERCED:
        raise Unsupported(
            f"coerce={spec.coerce!r} does not apply to {found.type.kind}", "it is for numbers, dates and times"
        )
    if found.type.kind is Kind.DECIMAL and spec.rounding:
        found = replace(found, type=replace(found.type, rounding=spec.rounding))
    return EventField(
        name, found.type, spec.paths or ((name,),), spec.coerce, has_default, default, found.enums, found.record
    )


_COERCED = (Kind.INT, Kind.FLOAT, Kind.DECIMAL, Kind.DATETIME, Kind.DATE, Kind.TIMEDELTA)
