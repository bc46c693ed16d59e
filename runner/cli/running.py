"""What commands that do long work share: engine and metrics options, and the listeners of a run."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.cli.output import say
from runner.cli.progress import watching
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from runner.cli.options import Session
    from runner.cli.progress import Watch
    from runner.jobs.publishing.writers import WriterWish
    from runner.jobs.reports.runs import ProjectionReport
    from runner.stats import Fact, Listener

__all__ = [
    "EngineOptions",
    "MetricsOptions",
    "WriterOptions",
    "chosen_names",
    "engine_options",
    "metrics_options",
    "projections_as_rows",
    "proof_lines",
    "running",
    "stage_rows",
    "table_lines",
    "writer_options",
]

NO_PORT = -1
PREPARING_SECONDS = 2.0
_PREPARING = "preparing: kernels that are new are compiled, once; later runs load them from the cache"
Function = TypeVar("Function", bound="Callable[..., Any]")


@dataclass(frozen=True)
class EngineOptions:
    """Where to work: None and 0 mean what runner.toml says."""

    engine: Any
    workers: int
    address: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        return {"engine": self.engine, "workers": self.workers, "address": self.address}


@dataclass(frozen=True)
class WriterOptions:
    """How to get past applications that write tables in Postgres themselves."""

    max_block: float
    paused: bool

    @property
    def wish(self) -> WriterWish:
        from runner.jobs.publishing.writers import WriterWish

        return WriterWish(self.max_block, self.paused)


@dataclass(frozen=True)
class MetricsOptions:
    """Where metrics go: None and "" mean what runner.toml says, NO_PORT none."""

    port: int | None
    file: Path | None
    pushgateway: str


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --engine, --workers and --address as one ``engine`` argument."""
    import functools

    @click.option(
        "--engine", type=click.Choice(["auto", "threads", "ray"]), default=None, help="Else as runner.toml says."
    )
    @click.option("--workers", type=click.IntRange(min=0), default=0, help="0: as runner.toml says, else one a core.")
    @click.option("--address", default=None, metavar="HOST:PORT", help="Of a running Ray cluster.")
    @functools.wraps(function)
    def wrapped(*positional: Any, engine: str | None, workers: int, address: str | None, **rest: Any) -> Any:
        chosen = "ray" if address and engine is None else engine
        return function(*positional, engine=EngineOptions(chosen, workers, address), **rest)

    return wrapped


def writer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --max-block and --writer-paused as one ``writers`` argument."""
    import functools

    @click.option(
        "--max-block", type=click.FloatRange(min=0.01), default=2.0, show_default=True, metavar="SECONDS",
        help="How long an application that writes a table inline may be held up at a time.",
    )  # fmt: skip
    @click.option(
        "--writer-paused", is_flag=True, help="Applications that write the tables themselves do not, just now."
    )
    @functools.wraps(function)
    def wrapped(*positional: Any, max_block: float, writer_paused: bool, **rest: Any) -> Any:
        return function(*positional, writers=WriterOptions(max_block, writer_paused), **rest)

    return wrapped


class _Port(click.ParamType[int]):
    """A port, or "none"."""

    name = "port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return NO_PORT if value in ("none", NO_PORT) else int(click.IntRange(0, 65_535)(value, param, ctx))


def metrics_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --metrics-port, --metrics-file and --pushgateway as one ``metrics`` argument."""
    import functools

    @click.option(
        "--metrics-port", type=_Port(), default=None, metavar="PORT|none", help="Serve /metrics during the run."
    )
    @click.option("--metrics-file", type=click.Path(path_type=Path), default=None, help="Write a textfile at the end.")
    @click.option("--pushgateway", default="", metavar="URL", help="Push at the end.")
    @functools.wraps(function)
    def wrapped(
        *positional: Any, metrics_port: int | None, metrics_file: Path | None, pushgateway: str, **rest: Any
    ) -> Any:
        return function(*positional, metrics=MetricsOptions(metrics_port, metrics_file, pushgateway), **rest)

    return wrapped


@contextmanager
def running(
    session: Session, metrics: MetricsOptions, what: str, shown: AbstractContextManager[Watch] | None = None
) -> Iterator[tuple[Watch, Listener]]:
    """A run's surroundings: progress on stderr (``shown``, where it is not that of ``watching``); metrics served
    meanwhile, and written or pushed whatever its end.

    Metrics that cannot be given away at the end are a warning: they change neither the run's result nor its exit code.
    Raises ConfigError before the run where the file for them cannot be made.
    """
    configured = session.config.metrics
    port = metrics.port if metrics.port is not None else (configured.port or None)
    if port == NO_PORT:
        port = None
    file = metrics.file or configured.file
    gateway = metrics.pushgateway or configured.pushgateway
    if file is not None:
        _may_write(file)
    with shown if shown is not None else watching() as watch:
        told = _TellsPreparing(watch)
        if port is None and file is None and not gateway:
            with told:
                yield watch, told
            return
        from runner.metrics.prometheus import Metrics

        config = session.config
        counted = Metrics(
            directories={
                "log": config.log.directory,
                "read_models": config.read_models.path,
                "state": config.state.path,
            }
        )

        def both(fact: Fact) -> None:
            counted(fact)
            told(fact)

        server = counted.serve(port) if port is not None else None
        if server is not None:
            watch.say(f"metrics: http://localhost:{server.port}/metrics")
        try:
            with told:
                yield watch, both
        finally:
            if server is not None:
                server.close()
            if file is not None:
                _warned(lambda: counted.write_textfile(file))
            if gateway:
                _warned(lambda: counted.push(gateway, f"runner_{what}"))


class _TellsPreparing:
    """Passes facts on to a watch, and says what goes on where the first of them is long in coming."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._timer = threading.Timer(PREPARING_SECONDS, watch.say, (_PREPARING,))
        self._timer.daemon = True

    def __call__(self, fact: Fact) -> None:
        self._timer.cancel()
        self._watch(fact)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _may_write(file: Path) -> None:
    if file.is_dir():
        raise ConfigError(f"metrics cannot be written to {file}: it is a directory", hint="name a file in it")
    directory = file.absolute().parent
    if not directory.is_dir():
        raise ConfigError(
            f"metrics cannot be written to {file}: there is no directory {directory}", hint="make it first"
        )
    # Written beside and renamed: the directory's mode counts.
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"metrics cannot be written to {file}: {directory} may not be written to")


def _warned(give_away: Callable[[], None]) -> None:
    try:
        give_away()
    except Exception as error:
        # What the run did stands, or its own error is under way: this must hide neither.
        say(f"warning: {error}")


def chosen_names(names: Sequence[str], everything: bool) -> Any:
    """``"all"`` or the names; a usage error where neither or both were given."""
    if everything and names:
        raise click.UsageError("give names or --all, not both", click.get_current_context())
    if not everything and not names:
        raise click.UsageError("give the names of projections, or --all", click.get_current_context())
    return "all" if everything else tuple(names)


def projections_as_rows(projections: Sequence[ProjectionReport]) -> list[tuple[object, ...]]:
    """One line a projection for the closing table."""
    from runner.cli.output import count

    return [
        (
            p.name,
            f"v{p.version}",
            count(p.checkpoint),
            count(p.rows),
            count(p.deleted),
            count(p.folded),
            "compiled"
            if p.compiled and not p.by_twin
            else f"plain in {p.by_twin} partitions"
            if p.compiled
            else "plain",
        )
        for p in projections
    ]


def proof_lines(projections: Sequence[ProjectionReport]) -> list[str]:
    """What was proved, one line for projections of which the same can be said: a column would be too wide."""
    names: dict[str, list[str]] = {}
    for p in projections:
        if p.proof:
            names.setdefault(p.proof, []).append(p.name)
    return [f"proved {', '.join(of)}: {words}" for words, of in names.items()]


def table_lines(projections: Sequence[ProjectionReport]) -> list[str]:
    """Where in Postgres the read models are, one line; none where they are embedded only."""
    found = [f"{p.name} in {p.table}" for p in projections if p.table]
    return [f"in Postgres: {', '.join(found)}"] if found else []


def stage_rows(seconds: Mapping[str, float], events: int, workers: Mapping[str, float]) -> list[tuple[object, ...]]:
    """One line a stage; scan, fold and write of the workers stand under the fold stage that they happen in."""
    from runner.cli.output import count, rate
    from runner.cli.output import seconds as shown

    rows: list[tuple[object, ...]] = []
    for stage, spent in seconds.items():
        through = events if stage in ("columns", "fold") else 0
        rows.append((stage, count(through) if through else "", shown(spent), rate(through, spent) if through else ""))
        if stage == "fold":
            rows += [
                (f"  {name} (workers)", count(events), shown(part), rate(events, part))
                for name, part in workers.items()
            ]
    return rows
