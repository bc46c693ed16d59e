"""What a process that updates again and again keeps from one update to the next, so that a round is cheap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.sinks.saved import KeptFiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.sinks.shape import Version

__all__ = ["Kept"]


@dataclass
class Kept:
    """For the updates of one config, one after the other. Plans and kernels are kept by the process anyway.

    files: saved rows that were read. Nothing that is kept is trusted blindly: files are known by their digests, and a
    table in Postgres that is not where it was left is an error of the update, after which all is looked at again.
    """

    files: KeptFiles = field(default_factory=KeptFiles)
    _agreed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By read model: version and position at which this process left table and embedded read model alike."""

    def agree(self, versions: Iterable[Version]) -> bool:
        """Whether tables and embedded read models need not be compared."""
        return all(self._agreed.get(v.name) == (v.number, int(v.position)) for v in versions)

    def left(self, versions: Iterable[Version]) -> None:
        """Tables and embedded read models are alike, at these versions."""
        self._agreed |= {v.name: (v.number, int(v.position)) for v in versions}

    def forget(self) -> None:
        """Something failed: compare again."""
        self._agreed.clear()
