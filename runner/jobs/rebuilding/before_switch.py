"""What is looked at between the proof and the switch: ``rebuild --compare`` and ``rebuild --dry-run``.

A comparison folds aside, to exactly the place that the application's table reflects, with the same fingerprint over the
same log as what is about to be published; where that is the cut of the run, the run's own rows are compared.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import RowsDiffer
from runner.jobs.comparing.compare import WAIT, compare_version, taken
from runner.jobs.folding.aside import folded_aside, scratch
from runner.jobs.folding.preparing import plan_over, with_columns
from runner.jobs.publishing.writers import is_in_place
from runner.log import Log
from runner.sinks.rows import write_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.engine import Engine
    from runner.fold.plan import FoldPlan
    from runner.jobs.publishing.publishing import Publishing
    from runner.jobs.records.recording import Recording
    from runner.jobs.reports.comparisons import ComparedTable
    from runner.sinks.shape import Version

__all__ = ["Look", "compared_before", "outlook"]


@dataclass(frozen=True)
class Look:
    """What a dry run found. words: a line each; statements: SQL that would run."""

    words: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()


def compared_before(
    publishing: Publishing,
    run: Recording,
    engine: Engine,
    plan: FoldPlan,
    versions: Mapping[str, Version],
    *,
    stop: bool,
) -> tuple[ComparedTable, ...]:
    """Compare those of the run that have a [compare.NAME] with the application's tables.

    stop: raise RowsDiffer where they differ.
    """
    config = publishing.config
    for version in versions.values():
        if not version.template.exists():
            write_template(version.directory, version.shape)  # part of what makes it readable; publishing writes it too
    definitions = [d for d in plan.definitions if d.name in config.compare]
    found: list[ComparedTable] = []
    for definition in definitions:
        with ExitStack() as stack:
            place = stack.enter_context(scratch(config))
            version = versions[definition.name]
            table = taken(config, definition, version.shape, place / "table.parquet", wait=WAIT, listener=run.tell)
            position = table.standing.position
            if position != version.position:
                log = stack.enter_context(Log.open(config.log.path))
                alone = plan_over(log, [definition])
                log = with_columns(stack, log, alone.columns, run)
                version = folded_aside(run, engine, log, alone, position, place)[definition.name]
            with run.stage("compare"):
                found.append(compare_version(definition, version, table, place))
    different = [table for table in found if not table.same]
    if stop and different:
        names = ", ".join(f"{t.name} ({t.rows_here - t.equal + t.missing_here:,} rows)" for t in different)
        raise RowsDiffer(
            f"the application's tables hold other rows than the fold: {names}; nothing was switched",
            hint="`runner compare` shows them again; without --compare they are replaced",
            comparisons=tuple(found),
        )
    return tuple(found)


def outlook(publishing: Publishing, versions: Sequence[Version], planned: Sequence[str]) -> Look:
    """What a switch would do: the plan's words, the SQL of tables in place, the hand-overs."""
    words, statements = list(planned), list[str]()
    if publishing.tables is None:
        words += [f"{v.name}: version {v.number} would be live in files" for v in versions]
        return Look(tuple(words))
    for version in versions:
        if is_in_place(publishing.config, version.name):
            found = publishing.in_place([version.name]).outlook(version)
            words += found.words
            statements += found.statements
    hand_overs = publishing.handing_over([version.name for version in versions])
    statements += hand_overs.shown({version.name: version.position for version in versions})
    return Look(tuple(words), tuple(statements))
