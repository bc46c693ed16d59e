"""Rebuild read models from events. The names for authors of projections; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.authoring.bounded import buckets, last
    from runner.authoring.definition import definition_of
    from runner.authoring.events import Event, Record, field
    from runner.authoring.field_types import Scale
    from runner.authoring.projection import Projection, key, on
    from runner.errors import CompileError, DefinitionError, RunnerError

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
    "Event": "runner.authoring.events",
    "Projection": "runner.authoring.projection",
    "Record": "runner.authoring.events",
    "RunnerError": "runner.errors",
    "Scale": "runner.authoring.field_types",
    "buckets": "runner.authoring.bounded",
    "definition_of": "runner.authoring.definition",
    "field": "runner.authoring.events",
    "key": "runner.authoring.projection",
    "last": "runner.authoring.bounded",
    "on": "runner.authoring.projection",
}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"runner has no public name {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
