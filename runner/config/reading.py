"""runner.toml read into a ``Config``: TOML, then every table checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.config.log_paths import read_log_path
from runner.config.model import (
    Config,
    EngineConfig,
    LogConfig,
    MetricsConfig,
    ProjectConfig,
    ReadModelsConfig,
    StateConfig,
)
from runner.config.overlay import laid_over, named_in_overlay
from runner.config.places import has_connection, refuse_literals
from runner.config.postgres import (
    read_compare,
    read_postgres_read_models,
    read_postgres_source,
    read_publish,
)
from runner.config.schedule import read_schedule, read_scheduler
from runner.config.sources import read_source
from runner.config.table import Table
from runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config.model import SourceConfig
    from runner.config.postgres import PostgresSourceConfig

__all__ = ["load_config"]


def load_config(path: str | Path, env: str = "") -> Config:
    """Read runner.toml with [env.NAME] laid over it. Raises ConfigError naming file and key, and the nearest name of an
    unknown one.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist", hint="runner init writes one; --config names another") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    refuse_literals(file, values)
    joined, places = laid_over(file, values, env)
    try:
        return _checked(file, joined, env)
    except ConfigError as error:
        raise named_in_overlay(error, file, env, places) from None


def _checked(file: Path, values: dict[str, Any], env: str) -> Config:
    # One name of the directory, however it was reached: marks and identities are told by it.
    root = file.absolute().parent.resolve()
    top = Table(file, "", values)
    state = _state(top.table("state"), root)
    config = Config(
        file=file.absolute(),
        root=root,
        log=_log(top.table("log"), root, state.path),
        state=state,
        read_models=_read_models(top.table("read_models"), root),
        project=_project(top.table("project")),
        engine=_engine(top.table("engine")),
        sources={name: _source(name, table, root) for name, table in _each(top.table("sources"))},
        metrics=_metrics(top.table("metrics"), root),
        publish={name: read_publish(name, table) for name, table in _each(top.table("publish"))},
        compare={name: read_compare(name, table, root) for name, table in _each(top.table("compare"))},
        schedule=read_schedule(file, top.take("schedule", [])),
        scheduler=read_scheduler(top.table("scheduler")),
        env=env,
    )
    _check_apart(config)
    top.done()
    return config


def _each(table: Table) -> Iterator[tuple[str, Table]]:
    for name in table.names():
        yield name, table.table(name)


def _source(name: str, table: Table, root: Path) -> SourceConfig | PostgresSourceConfig:
    if table.has("preset") or (has_connection(table) and not table.has("files")):
        return read_postgres_source(name, table, root)
    return read_source(name, table, root)


def _check_apart(config: Config) -> None:
    """Log and read models remove from their directories what they do not know, so nothing else may lie in them."""
    paths = {"log": config.log.directory, "read_models": config.read_models.path, "state": config.state.path}
    real = {name: path.resolve() for name, path in paths.items()}
    for owner in ("log", "read_models"):
        for name, path in real.items():
            if name != owner and path.is_relative_to(real[owner]):
                how = "the same directory as" if path == real[owner] else "inside"
                raise ConfigError(
                    f"{config.file}: {name}.path is {how} {owner}.path ({paths[owner]})",
                    hint="give each a directory of its own, side by side",
                )


def _log(table: Table, root: Path, state: Path) -> LogConfig:
    partitions = table.number("partitions", 64, 1)
    if partitions & (partitions - 1) or partitions > 1 << 15:
        raise table.wrong("partitions", f"is {partitions}", "it takes a power of two from 1 to 32768, 64 say")
    made = LogConfig(
        read_log_path(table, root, state),
        partitions,
        table.number("segment_events", 4_000_000, 1),
        table.number("segment_megabytes", 256, 1),
    )
    table.done()
    return made


def _state(table: Table, root: Path) -> StateConfig:
    made = StateConfig(root / table.text("path", "state"))
    table.done()
    return made


def _read_models(table: Table, root: Path) -> ReadModelsConfig:
    tables = read_postgres_read_models(table.table("postgres"), root) if table.has("postgres") else None
    made = ReadModelsConfig(root / table.text("path", "read_models"), table.number("keep", 2), tables)
    table.done()
    return made


def _project(table: Table) -> ProjectConfig:
    made = ProjectConfig(table.texts("modules"))
    table.done()
    return made


def _engine(table: Table) -> EngineConfig:
    made = EngineConfig(
        table.choice("name", "auto", ("auto", "threads", "ray")), table.number("workers", 0), table.text("address")
    )
    table.done()
    return made


def _metrics(table: Table, root: Path) -> MetricsConfig:
    file = table.text("file")
    made = MetricsConfig(table.number("port", 0), root / file if file else None, table.text("pushgateway"))
    if made.port > 65_535:
        raise table.wrong("port", f"is {made.port}; the highest is 65535")
    table.done()
    return made
