"""What would make a fold give other bytes another time is refused: clock, random, environment, I/O, mutable globals."""

from __future__ import annotations

from runner.definition import ProjectionDefinition


def check_purity(definition: ProjectionDefinition) -> None:
    """Raise DefinitionError where a handler, key function, merge or helper is not pure."""
