"""What a projection class says, as data: fields, key, handlers, and what they read. Nothing is compiled by importing
it.

``definition_of(cls)`` gives a class's definition. The class machinery that makes it is ``runner.authoring.projection``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from runner.authoring.events import HEADER, Event, EventDefinition, EventField, Record
from runner.errors import DefinitionError

if TYPE_CHECKING:
    from runner.authoring.field_types import EnumClasses
    from runner.authoring.source_code import FunctionSource
    from runner.values import PayloadColumn, ValueType

__all__ = [
    "HEADER",
    "Event",
    "EventDefinition",
    "EventField",
    "HandlerDefinition",
    "KeyPart",
    "KeySource",
    "MergeDefinition",
    "ProjectionDefinition",
    "Record",
    "StateField",
    "definition_of",
]

Function = Callable[..., Any]
Scope = Literal["aggregate_id", "header", "event", "element", "function"]


@dataclass(frozen=True)
class StateField:
    """A column of the state. default: the normalised Python value; () for LAST and the zeroed counters for BUCKETS.

    enums: the Enum classes inside the type, by ``ValueType.enum``.
    """

    name: str
    type: ValueType
    default: object
    enums: EnumClasses = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class KeyPart:
    """A column of the key. type: the type that every handler gives it."""

    name: str
    type: ValueType
    enums: EnumClasses = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class KeySource:
    """Where one handler takes one key part from.

    scope "aggregate_id"; "header", "event", "element": the field ``name`` of header, event or element;
    "function": the @key function ``name``, called with the event (and the element, where the handler has ``each``).
    """

    scope: Scope
    name: str
    function: Function | None = field(default=None, compare=False)
    takes_element: bool = False
    """function: its second parameter is the element of an each-handler."""


@dataclass(frozen=True)
class HandlerDefinition:
    """One ``@on`` method. key: one source per key part of the projection, in order. file and line: of its ``def``."""

    name: str
    function: Function = field(compare=False)
    event: EventDefinition
    each: str
    """The list field whose elements it is called with, or ""."""
    key: tuple[KeySource, ...]
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def every(self) -> bool:
        """It handles all types, also those without a class; its event has the header fields only."""
        return self.event.cls is Event

    @property
    def list_field(self) -> EventField | None:
        """The field that ``each`` names."""
        return self.event.field(self.each) if self.each else None

    def handles(self, event_type: str) -> bool:
        """Whether events of a stored type go to this handler."""
        return self.every or event_type in self.event.types

    @property
    def source(self) -> FunctionSource:
        """The function's text and syntax tree, with the lines of its file."""
        from runner.authoring.source_code import function_source  # definitions are made without reading files

        return function_source(self.function)


@dataclass(frozen=True)
class MergeDefinition:
    """The ``merge(self, other)`` of a projection."""

    function: Function = field(compare=False)
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def source(self) -> FunctionSource:
        """The function's text and syntax tree, with the lines of its file."""
        from runner.authoring.source_code import function_source  # definitions are made without reading files

        return function_source(self.function)


@dataclass(frozen=True)
class ProjectionDefinition:
    """What a projection class says. name: of the read model. key: its columns; merged keys need not begin with
    aggregate_id.

    Pickles as a reference to its class.
    """

    name: str
    cls: type[Any] = field(compare=False)
    version: int
    key: tuple[KeyPart, ...]
    fields: tuple[StateField, ...]
    handlers: tuple[HandlerDefinition, ...]
    merge: MergeDefinition | None = None
    merge_floats: bool = False
    indexes: tuple[tuple[str, ...], ...] = ()
    compiled: bool = True
    module: str = ""
    qualname: str = ""
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        # Where a run knows the fingerprint, whoever gets the definition has the same one or refuses.
        return _arrived, (self.cls, vars(self).get("fingerprint", ""))

    @property
    def merged(self) -> bool:
        """The key does not begin with aggregate_id: rows of different partitions are merged, and have no hashes."""
        return self.key[0].name != "aggregate_id"

    @property
    def by_aggregate(self) -> bool:
        """The key is the aggregate alone: one row for each aggregate."""
        return not self.merged and len(self.key) == 1

    def field(self, name: str) -> StateField | None:
        """The state field of that name."""
        return next((f for f in self.fields if f.name == name), None)

    def handlers_of(self, event_type: str) -> tuple[HandlerDefinition, ...]:
        """The handlers of a stored type, in order of definition."""
        return tuple(h for h in self.handlers if h.handles(event_type))

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits over all that decides the output."""
        from runner.authoring.fingerprint import fingerprint_of  # reads the author's files; only a run needs it

        return fingerprint_of(self)

    @cached_property
    def reads(self) -> Mapping[str, frozenset[str]]:
        """By handler name: the fields of the event (header and payload) that it, its key and its helpers read."""
        from runner.authoring.field_reads import fields_read  # reads the author's files; only a run needs it

        return {h.name: fields_read(h, self.cls) for h in self.handlers}

    @property
    def header_columns(self) -> frozenset[str]:
        """The header fields that some handler or key part reads."""
        return frozenset(name for names in self.reads.values() for name in names if name in HEADER)

    def payload_fields(self, event_type: str) -> tuple[tuple[EventField, PayloadColumn], ...]:
        """The payload fields that the handlers of a stored type read, each with its column in the log."""
        found = {
            (f, f.column(event_type)): None
            for h in self.handlers_of(event_type)
            for f in h.event.fields
            if f.name in self.reads[h.name]
        }
        return tuple(found)

    def payload_columns(self, types: Iterable[str]) -> tuple[PayloadColumn, ...]:
        """The columns of the log that the projection needs, for these stored types."""
        return tuple(dict.fromkeys(column for t in types for _, column in self.payload_fields(t)))


def definition_of(cls: type[Any]) -> ProjectionDefinition:
    """The definition of a Projection class, checked whole: helpers and constants are there and pure.

    Raises DefinitionError: not a projection, no handlers, or an impure handler.
    """
    found = cls.__dict__.get("__definition__")
    if not isinstance(found, ProjectionDefinition):
        raise DefinitionError(f"{cls!r} is no projection", hint="declare it as class X(Projection)")
    if not found.handlers:
        raise DefinitionError(
            f"{found.qualname} has no handlers",
            hint="write a method with @on(SomeEvent)",
            file=found.file,
            line=found.line,
        )
    if "__pure__" not in cls.__dict__:
        from runner.authoring.purity import check_purity  # reads the author's files; only a run needs it

        check_purity(found)
        cls.__pure__ = True
    return found


def _arrived(cls: type, fingerprint: str) -> ProjectionDefinition:
    definition = definition_of(cls)
    if fingerprint and definition.fingerprint != fingerprint:
        raise DefinitionError(
            f"projection {definition.name} has another fingerprint at a worker: code or a constant differs there",
            hint="a file changed while the run began, or a constant was set from outside its module; run it again",
            file=definition.file,
            line=definition.line,
        )
    return definition
