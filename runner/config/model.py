"""What runner.toml says, as data. Paths are absolute; a field's default is what counts where the file says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runner.config.mapping import FieldMapping, PayloadMapping, TimeMapping
from runner.config.object_store import LogPath, ObjectStorePath
from runner.config.schedule import SchedulerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.config.file_formats import Format
    from runner.config.postgres import (
        CompareConfig,
        PostgresReadModelsConfig,
        PostgresSourceConfig,
        PublishConfig,
    )
    from runner.config.schedule import ScheduleConfig

__all__ = [
    "Config",
    "CsvConfig",
    "EngineConfig",
    "LogConfig",
    "MetricsConfig",
    "ProjectConfig",
    "ReadModelsConfig",
    "SourceConfig",
    "StateConfig",
]


@dataclass(frozen=True)
class ProjectConfig:
    """[project]. modules: import paths of the modules with projections; the directory of runner.toml is on the import
    path.
    """

    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogConfig:
    """[log]. partitions: of a new log, a power of two. A segment is written when so many events, or so many megabytes
    of payload, are gathered; each is one commit."""

    path: LogPath
    partitions: int = 64
    segment_events: int = 4_000_000
    segment_megabytes: int = 256

    @property
    def directory(self) -> Path:
        """The local directory that it takes room in: the log's own, or of one on an object store the cache."""
        return self.path.cache if isinstance(self.path, ObjectStorePath) else self.path


@dataclass(frozen=True)
class StateConfig:
    """[state]. path: the local directory of the job ledger and of rejected lines."""

    path: Path


@dataclass(frozen=True)
class ReadModelsConfig:
    """[read_models]. keep: how many former versions of each stay for a rollback. postgres: the database that they are
    published to as tables; None is embedded only."""

    path: Path
    keep: int = 2
    postgres: PostgresReadModelsConfig | None = None


@dataclass(frozen=True)
class EngineConfig:
    """[engine]. workers: 0 is one for each core. address: of a running Ray cluster."""

    name: Literal["auto", "threads", "ray"] = "auto"
    workers: int = 0
    address: str = ""


@dataclass(frozen=True)
class MetricsConfig:
    """[metrics]. port: 0 is none. file: a textfile written at the end. pushgateway: its URL, or ""."""

    port: int = 0
    file: Path | None = None
    pushgateway: str = ""


@dataclass(frozen=True)
class CsvConfig:
    """[sources.NAME.csv]. columns: their names where the file has no header line. quote and escape: one character or
    "".
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceConfig:
    """[sources.NAME]: event files and where in their records the parts of an event are.

    files: paths and globs, absolute, in order; what a glob matches is sorted. namespace: stands for the name in
    identities.
    """

    name: str
    files: tuple[str, ...]
    aggregate_id: FieldMapping
    type: FieldMapping
    recorded_at: TimeMapping | None = None
    version: FieldMapping | None = None
    position: FieldMapping | None = None
    """Kept as the second source position in the place of the line number; it orders nothing."""
    position_ascending: bool = False
    """A record whose position is not above all before it is a bad line."""
    tenant: FieldMapping | None = None
    payload: PayloadMapping = field(default_factory=PayloadMapping)
    namespace: str | None = None
    format: Format = "ndjson"
    compression: Literal["auto", "none", "gzip", "zstd"] = "auto"
    encoding: str = "utf-8"
    csv: CsvConfig = field(default_factory=CsvConfig)
    final: bool = False
    """No file grows any more: a last line without a line end is a line."""
    on_bad_line: Literal["stop", "reject"] = "stop"
    gone_files: Literal["stop", "allow"] = "stop"
    copied_files: Literal["stop", "allow"] = "stop"
    """What a new file means that holds the events of one that was read already."""
    verify: Literal["full", "ends"] = "full"
    """How what was read is compared before a grown file is read on: whole, or its first and last 64 KiB."""
    root: Path = Path()
    """Marks name files relative to it: the directory of runner.toml."""


@dataclass(frozen=True)
class Config:
    """runner.toml. root: its directory; relative paths are relative to it. env: the name of the overlay that counts."""

    file: Path
    root: Path
    log: LogConfig
    state: StateConfig
    read_models: ReadModelsConfig
    project: ProjectConfig = field(default_factory=ProjectConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    sources: Mapping[str, SourceConfig | PostgresSourceConfig] = field(default_factory=dict)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    publish: Mapping[str, PublishConfig] = field(default_factory=dict)
    compare: Mapping[str, CompareConfig] = field(default_factory=dict)
    schedule: tuple[ScheduleConfig, ...] = ()
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    env: str = ""
