"""runner.toml: what it may say (``Config``), read and checked by ``load_config``, and the projections that it names.

Loads nothing but the standard library, so that ``runner --help`` is quick.
"""

from __future__ import annotations

from runner.config.connection import ConnectionSettings
from runner.config.definitions import load_definitions
from runner.config.mapping import FieldMapping, Part, PayloadMapping, TimeMapping, parse_path, path_text
from runner.config.model import (
    Config,
    CsvConfig,
    EngineConfig,
    LogConfig,
    MetricsConfig,
    ProjectConfig,
    ReadModelsConfig,
    SourceConfig,
    StateConfig,
)
from runner.config.object_store import LogPath, ObjectStorePath
from runner.config.postgres import CompareConfig, PostgresReadModelsConfig, PostgresSourceConfig, PublishConfig
from runner.config.reading import load_config
from runner.config.schedule import AsOf, ScheduleConfig, SchedulerConfig

__all__ = [
    "AsOf",
    "CompareConfig",
    "Config",
    "ConnectionSettings",
    "CsvConfig",
    "EngineConfig",
    "FieldMapping",
    "LogConfig",
    "LogPath",
    "MetricsConfig",
    "ObjectStorePath",
    "Part",
    "PayloadMapping",
    "PostgresReadModelsConfig",
    "PostgresSourceConfig",
    "ProjectConfig",
    "PublishConfig",
    "ReadModelsConfig",
    "ScheduleConfig",
    "SchedulerConfig",
    "SourceConfig",
    "StateConfig",
    "TimeMapping",
    "load_config",
    "load_definitions",
    "parse_path",
    "path_text",
]
