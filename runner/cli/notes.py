"""What a run notes of its partitions, a line for each of them, as a person reads it: one line a projection."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from runner.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.authoring.definition import ProjectionDefinition
    from runner.cli.options import Session

__all__ = ["note_lines"]

_BY_TWIN = re.compile(r"(?P<projection>[^:\s]+): (?P<reason>.*); folded by the twin", re.DOTALL)
_STATUS = re.compile(r"(?P<status>.+) in (?P<handler>\S+) at position (?P<position>\d+)")
_WORDS = {"refused": "a value that only plain Python computes exactly (a very large number, a text beyond ASCII ...)"}


def note_lines(notes: Sequence[str], session: Session) -> list[str]:
    """The notes with those on partitions that plain Python folded put together by projection."""
    lines: list[str] = []
    by_projection: dict[str, list[str]] = defaultdict(list)
    for note in notes:
        match = _BY_TWIN.fullmatch(note)
        if match:
            by_projection[match["projection"]].append(match["reason"])
        else:
            lines.append(note)
    known = _definitions(session) if by_projection else {}
    for name, reasons in by_projection.items():
        partitions = f"{len(reasons)} partition{'' if len(reasons) == 1 else 's'}"
        why = _reason(reasons[0], known.get(name))
        lines.append(f"{name}: {partitions} folded in plain Python, at its speed, with the same result: {why}")
    return lines


def _reason(text: str, definition: ProjectionDefinition | None) -> str:
    match = _STATUS.fullmatch(text)
    if match is None:
        return text
    found = [h for h in definition.handlers if h.name == match["handler"]] if definition is not None else []
    where = f" ({found[0].file}:{found[0].line})" if found else ""
    why = _WORDS.get(match["status"], match["status"])
    return f"{why} in {match['handler']}{where}, first at position {int(match['position']):,}"


def _definitions(session: Session) -> Mapping[str, ProjectionDefinition]:
    from runner.config import load_definitions

    try:
        return {d.name: d for d in load_definitions(session.config)}
    except RunnerError:
        # Notes are read after the run: edited meanwhile, the module may be wrong by now.
        return {}
