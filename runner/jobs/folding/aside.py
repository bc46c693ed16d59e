"""A fold for itself: read models as they are at some position, in a directory of their own, published nowhere.

What a comparison needs: the rows of ``rebuild --to POSITION``, with nothing claimed and nothing switched.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from runner.errors import JobError
from runner.jobs.folding.merging import merge_partials
from runner.jobs.folding.partition import FoldTask, partial_target
from runner.jobs.folding.passes import run_pass
from runner.jobs.folding.preparing import check_nodes, grouped, shape_of
from runner.positions import START
from runner.sinks.rows import Target, write_rows, write_template
from runner.sinks.shape import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.config import Config
    from runner.engine import Engine
    from runner.fold.plan import FoldPlan
    from runner.jobs.folding.partition import FoldedPartition
    from runner.jobs.records.ledger import PartitionRecord
    from runner.jobs.records.recording import Recording
    from runner.log import Log
    from runner.positions import Position
    from runner.sinks.shape import FileInfo

__all__ = ["Places", "folded_aside", "merged_files", "places_in", "scratch"]


@contextmanager
def scratch(config: Config) -> Iterator[Path]:
    """A directory of the run's own below the state directory, gone afterwards."""
    parent = config.state.path / "comparing"
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Path(mkdtemp(dir=parent))
    except OSError as error:
        raise JobError(f"{parent} cannot be written to: {error.strerror}", hint="[state] path names another") from None
    try:
        yield made
    finally:
        rmtree(made, ignore_errors=True)


@dataclass(frozen=True)
class Places:
    """Where a fold that is not published writes. targets: of the rows, by projection; working: where workers write,
    which of merged keys is another place."""

    targets: Mapping[str, Target]
    working: Mapping[str, Target]
    merged: frozenset[str]


def places_in(directory: Path, log: Log, plan: FoldPlan) -> Places:
    """Make directories below this one for the rows of all projections."""
    targets: dict[str, Target] = {}
    for n, definition in enumerate(plan.definitions):
        place = directory / f"fold-{n}"
        place.mkdir()
        shape = shape_of(log, plan, definition)
        targets[definition.name] = Target(str(place), shape.name, 0, shape.full_key, shape.schema)
    merged = frozenset(d.name for d in plan.definitions if d.merged)
    for name in merged:
        Path(partial_target(targets[name]).directory).mkdir()
    return Places(targets, {name: partial_target(t) if name in merged else t for name, t in targets.items()}, merged)


def merged_files(
    plan: FoldPlan, places: Places, records: Iterable[PartitionRecord]
) -> Mapping[str, tuple[FileInfo, ...]]:
    """The files of each projection's rows, by partition; partial rows of merged keys are merged into one."""
    ordered = sorted(records, key=lambda record: record.partition)
    files: dict[str, tuple[FileInfo, ...]] = {}
    for definition in plan.definitions:
        name = definition.name
        written = tuple(info for record in ordered for info in record.files.get(name, ()))
        if definition.merged:
            table = merge_partials(plan, definition, Path(places.working[name].directory), list(written))
            info = write_rows(places.targets[name], 0, table)
            written = () if info is None else (info,)
        files[name] = written
    return files


def folded_aside(
    run: Recording, engine: Engine, log: Log, plan: FoldPlan, to: Position, directory: Path
) -> Mapping[str, Version]:
    """Fold from the first event up to ``to``; a version of each projection, whose files lie in ``directory``.

    Raises FoldError, EngineError.
    """
    places = places_in(directory, log, plan)
    check_nodes(engine, log, [Path(t.directory) for t in places.targets.values()])
    groups = grouped(range(log.partitions), engine.workers)
    tasks = [FoldTask(log, plan, group, START, to, places.working) for group in groups]
    parts: list[FoldedPartition] = []
    with run.stage("fold", to) as timing:
        run_pass(run, engine, tasks, places.merged, parts.append)
        timing.events = sum(part.record.events for part in parts)
    with run.stage("merge") if places.merged else nullcontext():
        files = merged_files(plan, places, (part.record for part in parts))
    versions = {}
    for definition in plan.definitions:
        name, target = definition.name, places.targets[definition.name]
        now = datetime.now(UTC).isoformat()
        shape = shape_of(log, plan, definition)
        version = Version(shape, 0, 0, to, Path(target.directory), now, now, run.job_id, files[name])
        write_template(version.directory, shape)
        versions[name] = version
    return versions
