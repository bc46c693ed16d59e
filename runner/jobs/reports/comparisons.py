"""What a comparison gives back: plain data for text, JSON and HTML."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.authoring.definition import ProjectionDefinition
    from runner.positions import Position
    from runner.sinks.differences.model import Found

__all__ = ["ComparedGroup", "ComparedRow", "ComparedTable", "ComparisonReport", "compared_table"]


@dataclass(frozen=True)
class ComparedRow:
    """One row that differs. key: by column. here: as the runner folds it; there: as the table has it; None: no value.

    explain: the command that shows how the row came to be, as the runner folds it.
    """

    key: Mapping[str, str]
    here: str | None
    there: str | None
    explain: str


@dataclass(frozen=True)
class ComparedGroup:
    """Rows that differ in one column in one way. column "": the row itself. detail: by how much."""

    column: str
    pattern: str
    detail: str
    rows: int
    samples: tuple[ComparedRow, ...]

    @property
    def words(self) -> str:
        return f"{self.pattern} ({self.detail})" if self.detail else self.pattern


@dataclass(frozen=True)
class ComparedTable:
    """One read model beside one table. against: which; place: what the table reflects; position: the same in the log.

    equal: rows without any difference; changed: rows of one key that differ.
    """

    name: str
    against: str
    place: str
    position: Position
    same: bool
    rows_here: int
    rows_there: int
    equal: int
    changed: int
    missing_there: int
    missing_here: int
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    groups: tuple[ComparedGroup, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonReport:
    """A finished comparison. seconds: wall time by stage."""

    job_id: str
    what: str
    same: bool
    tables: tuple[ComparedTable, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


def compared_table(
    definition: ProjectionDefinition,
    found: Found,
    key: Sequence[str],
    *,
    against: str,
    place: str,
    position: Position,
    columns: tuple[str, ...],
    ignored: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> ComparedTable:
    """The report of one table; samples get their commands."""
    groups = tuple(
        ComparedGroup(
            g.column,
            g.pattern,
            g.detail,
            g.rows,
            tuple(
                ComparedRow(
                    {name: _text(value) for name, value in zip(key, s.key, strict=True)},
                    s.here,
                    s.there,
                    _explain(definition, key, s.key, position),
                )
                for s in g.samples
            ),
        )
        for g in found.groups
    )
    return ComparedTable(
        name=definition.name,
        against=against,
        place=place,
        position=position,
        same=found.same,
        rows_here=found.rows_here,
        rows_there=found.rows_there,
        equal=found.equal,
        changed=found.changed,
        missing_there=found.missing_there,
        missing_here=found.missing_here,
        columns=columns,
        ignored=ignored,
        groups=groups,
        notes=notes,
    )


def _explain(definition: ProjectionDefinition, names: Sequence[str], key: Sequence[Any], position: Position) -> str:
    values = dict(zip(names, key, strict=True))
    parts = [_text(values[part.name]) for part in definition.key]
    scope = [f"--{name}={values[name]}" for name in ("source", "tenant") if values.get(name)]
    scope = [] if definition.merged else scope
    # A key may begin with a dash; what stands behind -- is no option.
    words = ["runner", "explain", definition.name, *scope, f"--to={position}"]
    words += ["--", *parts] if any(p.startswith("-") for p in parts) else parts
    return shlex.join(words)


def _text(value: Any) -> str:
    """As ``runner explain`` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value // timedelta(microseconds=1)) if isinstance(value, timedelta) else str(value)
