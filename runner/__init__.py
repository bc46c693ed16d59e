"""Rebuild read models from events. The names for authors of projections; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.bounded import buckets, last
    from runner.definition import definition_of
    from runner.errors import CompileError, DefinitionError, RunnerError
    from runner.events import Event, Record, field
    from runner.field_types import Scale
    from runner.projection import Projection, key, on

__all__ = [
    "CompileError",
    "DefinitionError",
    "Event",
    "Projection",
    "Record",
    "RunnerError",
    "Scale",
    "buckets",
    "definition_of",
    "field",
    "key",
    "last",
    "on",
]

_MODULES = {
    "CompileError": "runner.errors",
    "DefinitionError": "runner.errors",
    "Event": "runner.events",
    "Projection": "runner.projection",
    "Record": "runner.events",
    "RunnerError": "runner.errors",
    "Scale": "runner.field_types",
    "buckets": "runner.bounded",
    "definition_of": "runner.definition",
    "field": "runner.events",
    "key": "runner.projection",
    "last": "runner.bounded",
    "on": "runner.projection",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"runner has no public name {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
