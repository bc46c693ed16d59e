"""What a run folds, as data that workers get: the projections, the columns that they read, the kernel's source.

Made once by the coordinator, which also warms the kernel; a worker unpickles it and loads the kernel from the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runner.fold.bulk import bulk
from runner.fold.cache import compile_module, load_module, module_digest
from runner.fold.handlers import PRELUDE, CompiledDefinition, compile_definition
from runner.fold.kernel import Handler, LoopProjection, kernel_source
from runner.fold.lower.lowering import TextRegistry
from runner.fold.plain_events import LogNames
from runner.fold.states import default_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from runner.authoring.definition import EventField, HandlerDefinition, ProjectionDefinition
    from runner.fold.arguments import Argument
    from runner.values import PayloadColumn

__all__ = ["FoldPlan", "plan_fold"]

_TEXT_MAKERS = ("text_concat", "text_slice", "text_index", "text_lower", "text_upper", "text_of_int")
_BATCH_HEADER = frozenset({"position", "version", "recorded_at"})


@dataclass(frozen=True)
class FoldPlan:
    """The plan of a run. Equal definitions over equal stored types give equal plans, and equal ``digest``s.

    columns, header: what the scan must give. compiled: the projections in the kernel, in its order; the others are
    folded by the twin. arguments, users, groups, every, constants: how batches are bound to the kernel (``kernel.py``).
    """

    definitions: tuple[ProjectionDefinition, ...]
    names: LogNames
    columns: tuple[PayloadColumn, ...]
    header: frozenset[str]
    source: str
    compiled: tuple[str, ...]
    arguments: tuple[Argument, ...]
    users: tuple[frozenset[int], ...]
    groups: tuple[str, ...]
    every: bool
    constants: tuple[str, ...]
    defaults: tuple[npt.NDArray[np.void], ...] = field(compare=False)
    words: tuple[int, ...]
    """By compiled projection: words of its key, the aggregate's row apart."""
    makes_texts: bool
    """Handlers make texts, for which the pool needs room while the kernel runs."""

    @cached_property
    def digest(self) -> str:
        """32 hex digits that name the compiled kernel."""
        return module_digest(self.source)

    @property
    def by_twin(self) -> tuple[str, ...]:
        """Projections declared with ``compiled=False``."""
        return tuple(d.name for d in self.definitions if d.name not in self.compiled)

    def definition(self, name: str) -> ProjectionDefinition:
        """The definition of a projection of the plan."""
        return next(d for d in self.definitions if d.name == name)

    def kernel(self) -> ModuleType:
        """The compiled module, loaded; compiled first where it is not in the cache."""
        return load_module(self.source, self.digest)

    def warm(self) -> None:
        """Compile what the fold calls, where that is not done yet, before workers start; each loads what it calls."""
        bulk().compile()
        if self.compiled:
            compile_module(self.source, self.digest)

    def load(self) -> None:
        """Load all that the fold may call into this process."""
        bulk().load()
        if self.compiled:
            self.kernel()

    @cached_property
    def group_of(self) -> npt.NDArray[np.int32]:
        """By type code: the group of the kernel's loops that fold the type, 0 for none."""
        others = len(self.groups) + 1 if self.every else 0
        place = {name: n for n, name in enumerate(self.groups, 1)}
        return np.array([place.get(name, others) for name in self.names.types], np.int32)

    @cached_property
    def handled(self) -> dict[str, npt.NDArray[np.bool_]]:
        """By projection: by type code, whether it has a handler for the type."""
        types = self.names.types
        return {d.name: np.array([bool(d.handlers_of(name)) for name in types], np.bool_) for d in self.definitions}


def plan_fold(
    definitions: Sequence[ProjectionDefinition],
    types: Sequence[str],
    *,
    scopes: Sequence[tuple[str, str]] = (("", ""),),
) -> FoldPlan:
    """Compile the handlers and say what the run needs.

    types: the log's stored type names, by code; scopes: its (source, tenant) pairs, by code.
    Raises CompileError for a handler that cannot be compiled and is not declared ``compiled=False``.
    """
    registry = TextRegistry()
    chosen = [d for d in definitions if d.compiled]
    loops = [_loop(d, compile_definition(d, f"p{n}", registry)) for n, d in enumerate(chosen)]
    defaults = tuple(default_row(d, registry.id) for d in chosen)
    made = kernel_source(loops)
    columns = dict.fromkeys(c for d in definitions for c in d.payload_columns(types))
    header = frozenset(name for d in definitions for name in d.header_columns) & _BATCH_HEADER
    return FoldPlan(
        definitions=tuple(definitions),
        names=LogNames(tuple(types), tuple(scopes), ("source", "tenant") if len(scopes) > 1 else ()),
        columns=tuple(columns),
        # The twin walks in position order, and failures name positions: cheap, as only then they are read.
        header=header | {"position"},
        source=made.text,
        compiled=tuple(d.name for d in chosen),
        arguments=tuple(made.arguments),
        users=tuple(frozenset(u) for u in made.users),
        groups=tuple(made.groups),
        every=made.every,
        constants=registry.texts,
        defaults=defaults,
        words=tuple(p.words for p in loops),
        makes_texts=any(f"{name}(" in p.source for p in loops for name in _TEXT_MAKERS),
    )


def _loop(definition: ProjectionDefinition, compiled: CompiledDefinition) -> LoopProjection:
    parts = definition.key if definition.merged else definition.key[1:]
    return LoopProjection(
        definition,
        compiled.source.removeprefix(PRELUDE),
        tuple(_handler(h, compiled, n) for n, h in enumerate(definition.handlers)),
        sum(2 if part.type.optional else 1 for part in parts),
        compiled.merge,
    )


def _handler(handler: HandlerDefinition, compiled: CompiledDefinition, n: int) -> Handler:
    each: EventField | None = handler.list_field
    made = compiled.handlers[n]
    return Handler(made.handler, made.key, each, handler.event.fields, handler.event.types, handler.every)
