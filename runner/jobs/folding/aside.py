"""A fold for itself: read models as they are at some position, in a directory of their own, published nowhere.

What a comparison needs: the rows of ``rebuild --to POSITION``, with nothing claimed and nothing switched.
"""

from __future__ import annotations

from contextlib import contextmanager
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
    from collections.abc import Iterator, Mapping

    from runner.config import Config
    from runner.engine import Engine
    from runner.fold.plan import FoldPlan
    from runner.jobs.folding.partition import FoldedPartition
    from runner.jobs.records.recording import Recording
    from runner.log import Log
    from runner.positions import Position
    from runner.sinks.shape import FileInfo

__all__ = ["folded_aside", "scratch"]


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


def folded_aside(
    run: Recording, engine: Engine, log: Log, plan: FoldPlan, to: Position, directory: Path
) -> Mapping[str, Version]:
    """Fold from the first event up to ``to``; a version of each projection, whose files lie in ``directory``.

    Raises FoldError, EngineError.
    """
    targets: dict[str, Target] = {}
    for n, definition in enumerate(plan.definitions):
        place = directory / f"fold-{n}"
        place.mkdir()
        shape = shape_of(log, plan, definition)
        targets[definition.name] = Target(str(place), shape.name, 0, shape.full_key, shape.schema)
    merged = frozenset(d.name for d in plan.definitions if d.merged)
    for name in merged:
        Path(partial_target(targets[name]).directory).mkdir()
    check_nodes(engine, log, [Path(t.directory) for t in targets.values()])
    working = {name: partial_target(t) if name in merged else t for name, t in targets.items()}
    tasks = [FoldTask(log, plan, group, START, to, working) for group in grouped(range(log.partitions), engine.workers)]
    parts: list[FoldedPartition] = []
    with run.stage("fold", to) as timing:
        run_pass(run, engine, tasks, merged, parts.append)
        timing.events = sum(part.record.events for part in parts)
    parts.sort(key=lambda part: part.record.partition)
    versions = {}
    for definition in plan.definitions:
        name, target = definition.name, targets[definition.name]
        files: list[FileInfo] = [info for part in parts for info in part.record.files.get(name, ())]
        if definition.merged:
            with run.stage("merge"):
                table = merge_partials(plan, definition, Path(working[name].directory), files)
                info = write_rows(target, 0, table)
            files = [] if info is None else [info]
        now = datetime.now(UTC).isoformat()
        shape = shape_of(log, plan, definition)
        version = Version(shape, 0, 0, to, Path(target.directory), now, now, run.job_id, tuple(files))
        write_template(version.directory, shape)
        versions[name] = version
    return versions
