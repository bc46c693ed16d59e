"""The fingerprint of a projection: a hash of all that decides its output."""

from __future__ import annotations

import hashlib

from runner.definition import ProjectionDefinition


def fingerprint_of(definition: ProjectionDefinition) -> str:
    """64 hex digits."""
    return hashlib.sha256(repr((definition.name, definition.version, definition.fields)).encode()).hexdigest()
