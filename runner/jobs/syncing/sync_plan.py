"""What a sync would do, before it does anything: rows, bytes, time, disk. Nothing is written, nothing read for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.files import disk_of
from runner.jobs.syncing.fraction import check_fraction
from runner.jobs.syncing.sync import chosen_sources
from runner.log import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.config import Config, LogPath, PostgresSourceConfig, SourceConfig
    from runner.jobs.syncing.fraction import Fraction

__all__ = ["SourcePlan", "SyncPlan", "plan_sync"]

UNPACKED = 8
"""Bytes of text that a compressed byte holds, about."""


@dataclass(frozen=True)
class SourcePlan:
    """Of one source, or of one tenant of it. rows: None where nobody knows without reading. octets: to be read.

    disk: in the log. seconds: None where they cannot be told. how: what the figures rest on, in words.
    """

    source: str
    tenant: str
    place: str
    rows: int | None
    octets: int | None
    disk: int | None
    seconds: float | None
    how: str


@dataclass(frozen=True)
class SyncPlan:
    """Of all sources. free: bytes on the disk of the log."""

    sources: tuple[SourcePlan, ...]
    free: int

    @property
    def disk(self) -> int:
        return sum(s.disk or 0 for s in self.sources)


def plan_sync(config: Config, sources: Sequence[str] | None = None, *, fraction: Fraction | None = None) -> SyncPlan:
    """Raises ConfigError, SourceError, LogError, PostgresError."""
    chosen = chosen_sources(config, sources)
    marks = _marks(config.log.path, fraction)
    plans = [plan for source in chosen for plan in _of(source, marks.get(source.name), fraction)]
    return SyncPlan(tuple(plans), disk_of(config.log.directory).free)


def _marks(log: LogPath, fraction: Fraction | None) -> dict[str, Any]:
    """The readers' marks of the log, {} where there is none yet. Raises ConfigError where it holds another fraction."""
    if not Log.exists(log):
        return {}
    with Log.open(log) as opened:
        check_fraction(opened.manifest.sources, fraction, str(log))
        return {s.name: (s.mark or {}).get("reader") for s in opened.manifest.sources if s.events}


def _of(source: SourceConfig | PostgresSourceConfig, mark: Any, fraction: Fraction | None) -> list[SourcePlan]:
    share = 1.0 if fraction is None else fraction.part / fraction.of
    if source.format != "postgres":
        return [_of_files(source, mark, share)]
    from runner.sources.postgres.plan import estimate  # loads psycopg only where it is needed

    plans = []
    for e in estimate(source, mark):
        how = "counted" if e.counted else "the server's statistics"
        how += " and a sample" if e.seconds is not None else "; a sample took too long"
        if not e.indexed:
            how += "; no index serves the order, so the server sorts all of it"
        disk = None if e.disk is None else int(e.disk * share)
        plans.append(SourcePlan(source.name, e.tenant, e.table, e.rows, e.octets, disk, e.seconds, how))
    return plans


def _of_files(source: SourceConfig, mark: Any, share: float) -> SourcePlan:
    from runner.sources.marks import listed_files, read_mark

    known = read_mark(source, mark)
    done = {source.root / f.path: f.stat for f in known.files}
    octets, packed = 0, False
    for path in listed_files(source, known):
        if path.is_file():
            before = done.get(path)
            octets += max(0, path.stat().st_size - (before[0] if before is not None else 0))
            packed = packed or path.suffix in (".gz", ".zst", ".zstd")
    disk = int(octets * (UNPACKED if packed else 1) * share)
    place = source.files[0] if len(source.files) == 1 else f"{len(source.files)} patterns"
    return SourcePlan(source.name, "", place, None, octets, disk, None, "the files' sizes; rows are not known before")
