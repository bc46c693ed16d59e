"""What jobs and tables in Postgres tell each other: plain data, no connection in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.config.postgres import PostgresReadModelsConfig
    from runner.positions import Position
    from runner.sinks.shape import Version

__all__ = ["LoadedTable", "SwitchPlan", "SwitchTimeouts", "TablePlace", "TableState"]


@dataclass(frozen=True, order=True)
class TablePlace:
    """A table that users see. tenant: whose rows it holds; "" is everybody's."""

    schema: str
    table: str
    tenant: str = ""

    @property
    def words(self) -> str:
        """For messages."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class TableState:
    """What users see of a read model, as ``projection_runner.read_models`` says it: the truth.

    places: one, or one for each tenant; they all are at the same version, revision and position.
    """

    name: str
    places: tuple[TablePlace, ...]
    version: int
    revision: int
    position: Position
    fingerprint: str
    log_id: str
    job_id: str

    @property
    def schema(self) -> str:
        return self.places[0].schema

    @property
    def table(self) -> str:
        return self.places[0].table


@dataclass(frozen=True)
class LoadedTable:
    """A version in a new table (or one for each tenant): complete, indexed, analysed, not live yet.

    places: where it will be live.
    """

    version: Version
    places: tuple[TablePlace, ...]

    @property
    def schema(self) -> str:
        return self.places[0].schema

    @property
    def table(self) -> str:
        return self.places[0].table


@dataclass(frozen=True)
class SwitchPlan:
    """What a run will do to which tables. words: a line each, for ``--dry-run`` and the plan."""

    places: tuple[tuple[str, TablePlace], ...]
    """(read model, place)"""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class SwitchTimeouts:
    """Seconds. No reader waits longer than ``lock + work`` for one attempt of a switch.

    lock: how long all locks together may be waited for, while readers queue behind. work: how long the switch may take
    once it has them. total: how long older snapshots and long readers are waited for before the switch is given up.
    """

    lock: float = 0.2
    work: float = 2.0
    total: float = 60.0

    @staticmethod
    def of(config: PostgresReadModelsConfig) -> SwitchTimeouts:
        return SwitchTimeouts(lock=config.lock_seconds, total=config.switch_seconds)
