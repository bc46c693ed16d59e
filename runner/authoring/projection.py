"""Projection, ``@on`` and ``@key``: the class by which an author says how events are folded into rows.

The class is turned into a ``ProjectionDefinition`` when it is created, and mistakes raise DefinitionError there.
The methods stay plain functions: called by hand they do what the fold does, with the same checks on every
assignment.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from runner.authoring.definition import HandlerDefinition, MergeDefinition, ProjectionDefinition
from runner.authoring.events import Event, unknown_keyword
from runner.authoring.key_parts import handler_key, key_column
from runner.authoring.projection_rules import check_definition, check_keywords
from runner.authoring.purity import check_purity
from runner.authoring.state_fields import check_of, collect_state, maker_of
from runner.errors import DefinitionError

if TYPE_CHECKING:
    from runner.authoring.field_values import Check

__all__ = ["KeyFunction", "Projection", "key", "on"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class _On:
    """What ``@on(...)`` notes on a method until the class is complete."""

    event: type[Event]
    each: str
    key: Mapping[str, str]


class KeyFunction(staticmethod):  # type: ignore[type-arg]  # its signature is any
    """A function marked with ``@key``: computes a part of the key from the event."""


def key(function: Callable[..., Any]) -> Any:
    """Mark a function of a projection class that computes the key part of its name: ``def day(e) -> date`` (no self).

    In a projection with ``each`` handlers it may take the element too: ``def part(e, line) -> str``.
    """
    if not isinstance(function, FunctionType):
        raise DefinitionError("@key marks a function", hint="write @key, then def day(e) -> date")
    return KeyFunction(function)


def on(
    event: type[Event], *more: type[Event], each: str = "", key: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Mark a method as the handler of an event class; ``on(Event)`` handles every event, with the header fields only.

    each: a list field; the method is called once per element, as its third argument. key: for this handler only,
    key part to field: ``{"sku": "product_code"}``.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - mistakes are reported at the author's line
    file, line = frame.f_code.co_filename, frame.f_lineno
    if not (isinstance(event, type) and issubclass(event, Event)):
        shown = getattr(event, "__name__", repr(event))
        raise DefinitionError(
            f"@on({shown}): {shown} is not an event class",
            hint="write @on(Deposited) with class Deposited(Event)",
            file=file,
            line=line,
        )
    if more:
        shown = ", ".join(getattr(e, "__name__", repr(e)) for e in (event, *more))
        raise DefinitionError(
            f"@on({shown}): a handler is for one event class",
            hint="write one handler for each, sharing a helper function; or one class with "
            'several stored names: class Moved(Event, type=("a", "b"))',
            file=file,
            line=line,
        )
    if not isinstance(each, str):
        raise DefinitionError(
            f"@on(..., each={each!r}): each is the name of a list field",
            hint='write each="lines"',
            file=file,
            line=line,
        )

    def mark(function: F) -> F:
        if not isinstance(function, FunctionType):
            raise DefinitionError("@on marks a method written with def", hint="put @on nearest to the def", file=file)
        line = function.__code__.co_firstlineno
        if hasattr(function, "__runner_on__"):
            raise DefinitionError(
                f"{function.__name__} has two @on",
                hint="write one handler for each event class, sharing a helper function",
                file=file,
                line=line,
            )
        if function.__name__ in sys._getframe(1).f_locals:  # noqa: SLF001 - the class body so far
            raise DefinitionError(
                f"there are two methods called {function.__name__}",
                hint="the second would hide the first; rename one",
                file=file,
                line=line,
            )
        function.__runner_on__ = _On(event, each, dict(key or {}))  # type: ignore[attr-defined]  # a note, read below
        return function

    return mark


class Projection:
    """A read model as a class: state fields with defaults, and a handler per event class.

    Class keywords: key (columns; ("aggregate_id",)), name (of the read model; the class's in snake_case), indexes
    (tuples of columns), version (1), compiled (True; False folds in plain Python), merge_floats (False).
    """

    __definition__: ClassVar[ProjectionDefinition]
    __checks__: ClassVar[dict[str, Check]] = {}
    __state__: ClassVar[tuple[tuple[str, Callable[[], Any]], ...]] = ()
    __notes__: ClassVar[dict[str, Any]] = {}

    def __init__(self, /, **state: Any) -> None:
        own = self.__dict__
        for name, make in type(self).__state__:
            own[name] = make()
        for name, value in state.items():
            setattr(self, name, value)

    def __init_subclass__(
        cls,
        *,
        key: tuple[str, ...] | str = ("aggregate_id",),
        name: str = "",
        indexes: tuple[tuple[str, ...] | str, ...] = (),
        version: int = 1,
        compiled: bool = True,
        merge_floats: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init_subclass__()
        frame = sys._getframe(1)  # noqa: SLF001 - annotations may name the frame's locals
        if unknown:
            raise unknown_keyword(
                cls, unknown, frame, ("key", "name", "indexes", "version", "compiled", "merge_floats")
            )
        name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
        try:
            key = (key,) if isinstance(key, str) else tuple(key)
            check_keywords(name, key, version, {"compiled": compiled, "merge_floats": merge_floats})
            cls.__definition__ = _define(
                cls,
                frame,
                key=key,
                name=name,
                indexes=tuple((i,) if isinstance(i, str) else tuple(i) for i in indexes),
                version=version,
                compiled=compiled,
                merge_floats=merge_floats,
            )
        except DefinitionError as error:
            if not error.file:
                error.file, error.line = frame.f_code.co_filename, frame.f_lineno
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        check = self.__checks__.get(name)
        if check is None:
            raise AttributeError(
                f"{type(self).__name__} has no state field {name!r}; declare it: {name}: <type> = <default>"
            )
        self.__dict__[name] = check(value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} cannot be deleted; assign None or a default, or call self.delete() for the row")

    def delete(self) -> None:
        """Remove the row, when the handler returns. A later event of the key starts from the defaults."""
        self.__dict__["_deleted"] = True

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(self.__dict__[n] == other.__dict__[n] for n, _ in type(self).__state__)

    __hash__ = None  # type: ignore[assignment]  # a state changes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={self.__dict__[n]!r}' for n, _ in type(self).__state__)})"


def _define(cls: type[Projection], frame: FrameType, *, key: tuple[str, ...], **keywords: Any) -> ProjectionDefinition:
    inherited = {
        f.name: f
        for base in reversed(cls.__mro__[1:])
        if issubclass(base, Projection) and "__definition__" in base.__dict__
        for f in base.__definition__.fields
    }
    fields = collect_state(cls, frame, inherited)
    cls.__checks__ = {f.name: check_of(f) for f in fields}
    cls.__state__ = tuple((f.name, maker_of(f)) for f in fields)
    marked = _marked(cls)
    functions = {n: v.__func__ for n, v in _members(cls).items() if isinstance(v, KeyFunction)}
    keys = {n: handler_key(key, n, m, note, functions) for n, (m, note) in marked.items()}
    notes = [note for _, note in marked.values()]
    handlers = tuple(
        HandlerDefinition(
            n, m, note.event.__event__, note.each, keys[n], m.__code__.co_filename, m.__code__.co_firstlineno
        )
        for n, (m, note) in marked.items()
    )
    merge = _members(cls).get("merge")
    if merge is not None and not isinstance(merge, FunctionType):
        raise DefinitionError(f"{cls.__qualname__}.merge is no method", hint="write def merge(self, other)")
    definition = ProjectionDefinition(
        cls=cls,
        key=tuple(key_column(part, [k[i] for k in keys.values()], notes, functions) for i, part in enumerate(key)),
        fields=fields,
        handlers=handlers,
        merge=None
        if merge is None
        else MergeDefinition(merge, merge.__code__.co_filename, merge.__code__.co_firstlineno),
        module=cls.__module__,
        qualname=cls.__qualname__,
        file=frame.f_code.co_filename,
        line=frame.f_lineno,
        **keywords,
    )
    check_definition(definition, functions)
    check_purity(definition, complete=False)
    for name, (method, _) in marked.items():
        setattr(cls, name, _called_by_hand(method))
    return definition


def _members(cls: type) -> dict[str, Any]:
    """What the class and its bases define, bases first, a later definition in the place of the earlier."""
    return {
        n: v for base in reversed(cls.__mro__) if base not in (Projection, object) for n, v in base.__dict__.items()
    }


def _marked(cls: type) -> dict[str, tuple[FunctionType, _On]]:
    """The handlers with their notes, in order of definition, unwrapped."""
    found = {n: v for n, v in _members(cls).items() if isinstance(v, FunctionType)}
    unwrapped = {n: inspect.unwrap(v) for n, v in found.items()}
    return {n: (v, v.__runner_on__) for n, v in unwrapped.items() if hasattr(v, "__runner_on__")}


def _called_by_hand(method: FunctionType) -> Callable[..., None]:
    """The handler as a method: deletes take effect when it returns. A fold calls the function itself."""

    @functools.wraps(method)
    def handler(self: Projection, *arguments: Any, **keywords: Any) -> None:
        self.__dict__.pop("_deleted", None)
        method(self, *arguments, **keywords)
        if self.__dict__.get("_deleted"):
            for name, make in type(self).__state__:
                self.__dict__[name] = make()

    return handler
