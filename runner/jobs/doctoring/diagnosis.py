"""What ``runner doctor`` finds, as data: findings by place, each with the statements that would mend it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Diagnosis", "Finding", "Level"]

Level = Literal["ok", "note", "warning", "problem"]
"""problem: a run would stop at it. warning: it would go on, with less than it could have. note: good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. place: ``[sources.bank]``, ``[log]``. check: in a word or two. statements: SQL for
    somebody with the right to run it.
    """

    place: str
    check: str
    level: Level
    said: str
    statements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order of the places. facts: what each server said of itself."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.level == "problem")

    @property
    def statements(self) -> Mapping[str, tuple[str, ...]]:
        """The SQL that is wanted, place by place, each statement once."""
        found: dict[str, dict[str, None]] = {}
        for finding in self.findings:
            found.setdefault(finding.place, {}).update(dict.fromkeys(finding.statements))
        return {place: tuple(each) for place, each in found.items() if each}

    @property
    def exit_code(self) -> int:
        """0 without problems, 10 where a Postgres place has one, 1 where only a directory has."""
        if not self.problems:
            return 0
        return 10 if any(f.place in self.facts for f in self.problems) else 1
