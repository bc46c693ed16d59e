"""Look at every place that runner.toml names before a run depends on it. Nothing is written, nothing is locked.

Each Postgres place is looked at by itself, and one that cannot be reached hides nothing of the others.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from runner.config import ObjectStorePath, PostgresSourceConfig
from runner.errors import ConfigError, LogError, RunnerError
from runner.files import disk_of
from runner.jobs.doctoring.diagnosis import Diagnosis, Finding
from runner.jobs.doctoring.places import look_at_compared, look_at_store, look_at_tables
from runner.jobs.doctoring.server import look_at_server
from runner.log import Log
from runner.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from runner.config import Config, ConnectionSettings
    from runner.postgres import AnyConnection, ServerFacts

__all__ = ["diagnose"]

LEAST_FREE = 1_000_000_000
"""Bytes free in each directory below which it is said."""


def diagnose(config: Config) -> Diagnosis:
    """Look at everything. Errors of places become findings; only what makes looking senseless is raised (ConfigError of
    the file itself was, by reading it).
    """
    patient = _Patient(config)
    patient.stores()
    patient.tables()
    patient.compared()
    patient.separate()
    findings = [*patient.findings, *_directories(config, patient.coming)]
    return Diagnosis(tuple(findings), patient.facts)


class _Patient:
    """What was found so far. coming: bytes of stores that the log does not have yet, at most."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.findings: list[Finding] = []
        self.facts: dict[str, Mapping[str, object]] = {}
        self.coming = 0
        self._logins: dict[str, tuple[str, ...]] = {}
        self._known = _events_of_log(config)

    def stores(self) -> None:
        for source in self._config.sources.values():
            if not isinstance(source, PostgresSourceConfig):
                continue
            limits = source.store.limits

            self._at(source.connection, limits.connections + 1, partial(self._store, source))

    def _store(self, source: PostgresSourceConfig, connection: AnyConnection, facts: ServerFacts) -> Iterator[Finding]:
        sizes = yield from look_at_store(source, connection, facts)
        known = self._known.get(source.name, 0)
        if sizes.rows > known:
            self.coming += round(sizes.octets * (1 - known / sizes.rows))

    def tables(self) -> None:
        tables = self._config.read_models.postgres
        if tables is None:
            return
        self._at(
            tables.connection,
            tables.connections + 1,
            partial(look_at_tables, self._config, tables),
            writes=True,
        )

    def compared(self) -> None:
        here = self._config.read_models.postgres
        for compared in self._config.compare.values():
            connection = compared.connection or (here.connection if here else None)
            place = f"[compare.{compared.name}]"
            if connection is None:
                said = "names no server, and there is no [read_models.postgres]"
                self.findings.append(Finding(place, "place", "problem", said))
                self.facts.setdefault(place, {})
                continue
            self._at(
                connection,
                1,
                partial(look_at_compared, compared),
                place=place,
            )

    def separate(self) -> None:
        """Sources should not be readable and writable by one role."""
        writing = self._logins.get("[read_models.postgres]")
        for place, login in self._logins.items():
            if place.startswith("[sources.") and login == writing:
                said = f"the read models are written by the same role, {login[-1]}: with one of its own that may only "
                self.findings.append(Finding(place, "roles", "warning", said + "read, no mistake can touch the store"))

    def _at(
        self,
        settings: ConnectionSettings,
        connections: int,
        look: Callable[[AnyConnection, ServerFacts], Iterator[Finding]],
        *,
        writes: bool = False,
        place: str = "",
    ) -> None:
        place = place or settings.where
        self.facts.setdefault(place, {})
        try:
            with connect(settings, "doctor", statement_timeout=30) as connection:
                seen = look_at_server(settings, connection, place, connections, writes=writes)
                self.findings += seen.findings
                self.facts[place] = asdict(seen.facts)
                host = connection.info.host
                self._logins[place] = (host, str(connection.info.port), seen.facts.database, seen.facts.role)
                for finding in look(connection, seen.facts):
                    self.findings.append(finding)  # each counts, also where the next one fails
        except RunnerError as error:
            check = "config" if isinstance(error, ConfigError) else "reading" if self.facts[place] else "reachable"
            said = error.message.removeprefix(f"{settings.where}: ").removeprefix(f"{settings.where} ")
            hint = error.hint if "runner doctor" not in error.hint else ""
            self.findings.append(Finding(place, check, "problem", f"{said} ({hint})" if hint else said))


# Directories ----------------------------------------------------------------------------------------------------------


def _events_of_log(config: Config) -> Mapping[str, int]:
    """How many events of each source the log has."""
    try:
        with Log.open(config.log.path, verify=False) as log:
            return {source.name: source.events for source in log.manifest.sources}
    except LogError:
        return {}


def _object_store(config: Config) -> Iterator[Finding]:
    """Whether the log's object store, where it lies on one, is reached and listed. Writing is not tried."""
    if not isinstance(config.log.path, ObjectStorePath):
        return
    try:
        found = "the log is there" if Log.exists(config.log.path) else "reached; no log is there yet"
    except LogError as error:
        yield Finding("[log]", "object store", "problem", f"{error.message} ({error.hint})")
        return
    yield Finding("[log]", "object store", "ok", f"{config.log.path}: {found}")


def _directories(config: Config, coming: int) -> Iterator[Finding]:
    yield from _object_store(config)
    for place, path, wanted in (
        ("[log]", config.log.directory, coming),
        ("[state]", config.state.path, 0),
        ("[read_models]", config.read_models.path, 0),
    ):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Finding(place, "directory", "problem", f"{there} may not be written to, or is no directory")
            continue
        yield _room(place, path, there, wanted)


def _room(place: str, path: Path, there: Path, wanted: int) -> Finding:
    free = disk_of(there).free
    said = f"{_size(free)} free at {path}"
    if wanted:
        said += f"; what the stores hold and the log does not takes at most {_size(wanted)}"
    if wanted > free:
        return Finding(place, "disk", "problem", said)
    if free - wanted < LEAST_FREE:
        return Finding(place, "disk", "warning", said)
    return Finding(place, "disk", "ok", said)


def _size(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB" if octets >= 100_000_000 else f"{octets / 1e6:.1f} MB"
