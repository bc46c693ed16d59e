"""Notes of many partitions on the screen: one line a projection, with reason and place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.notes import note_lines
from runner.cli.options import Session
from runner.cli.running import proof_lines
from runner.jobs.reports.runs import ProjectionReport
from runner.positions import Position

if TYPE_CHECKING:
    from order_project import Project


def test_a_line_a_projection_with_count_reason_and_place(project: Project) -> None:
    project.run("init", "orders.ndjson")
    session = Session(project.root / "runner.toml", as_json=False, debug=False)
    notes = [f"summary: refused in counted at position {n}; folded by the twin" for n in range(1_500, 1_561)]
    notes += ["other: out of range in seen at position 3; folded by the twin", "the deltas were not compacted"]
    free, summary, other = note_lines(notes, session)
    assert free == "the deltas were not compacted"
    assert summary.startswith("summary: 61 partitions folded in plain Python, at its speed, with the same result: ")
    assert "a value that only plain Python computes exactly" in summary
    assert summary.endswith("first at position 1,500")
    place = summary.rpartition("(")[2].partition(")")[0]
    file, _, line = place.rpartition(":")
    assert "def counted" in "".join(Path(file).read_text().splitlines()[int(line) - 1 : int(line) + 1])
    assert other.startswith("other: 1 partition folded")
    assert other.endswith("out of range in seen, first at position 3")


def test_reasons_without_a_place_are_told_as_they_are(project: Project) -> None:
    session = Session(project.root / "none.toml", as_json=False, debug=False)
    (line,) = note_lines(["a: the list is too long; folded by the twin"] * 2, session)
    assert line.startswith("a: 2 partitions folded in plain Python")
    assert line.endswith(": the list is too long")


def test_what_was_proved_is_a_line_for_projections_of_which_the_same_can_be_said() -> None:
    said = {"a": "all rows: equal", "b": "", "c": "all rows: equal", "d": "partial rows: equal"}
    reports = [ProjectionReport(n, 1, "", True, Position(1), proof=words) for n, words in said.items()]
    assert proof_lines(reports) == ["proved a, c: all rows: equal", "proved d: partial rows: equal"]
