"""Sync, measured on the beginning of each source: read into a log of its own, which is gone afterwards.

Nothing is taken into the real log, no mark moves, no rejects file is written; a store is read as always, by SELECT in
read-only transactions, and no more than ``MOST_ROWS`` of it each time. A source that cannot be read is skipped, and the
report says why.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from shutil import rmtree
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.jobs.benching.report import SourceSample, spread
from runner.jobs.records.recording import Recording
from runner.jobs.syncing.sync import Taking, fill_columns, room_of
from runner.log import Log, LogWriter
from runner.secrets import cleared
from runner.sources import open_source
from runner.stats import Measured, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config, PostgresSourceConfig, SourceConfig
    from runner.sources import Piece
    from runner.stats import Listener

__all__ = ["MOST_ROWS", "sampled_sources"]

MOST_ROWS = 500_000
"""Of one reading."""
RUNS = 3
"""Each reading asks a store again, so there are few of them."""


@dataclass
class _Reading:
    """One reading of a source's beginning. seconds: of sync, and of the columns."""

    events: int
    octets: int
    sync: float
    columns: float


def sampled_sources(
    config: Config,
    definitions: Sequence[ProjectionDefinition],
    directory: Path,
    *,
    partitions: int,
    seconds: float,
    runs: int,
    tell: Listener,
) -> tuple[SourceSample, ...]:
    """One sample of each configured source. seconds: about how long all of it may take. directory: for the logs."""
    each = seconds / max(1, len(config.sources)) / (min(runs, RUNS) + 1)
    # Rejected lines and the log lie in the directory, so nothing of the real ones is touched.
    aside = replace(config, state=replace(config.state, path=directory / "state"))
    found = []
    for source in config.sources.values():
        measuring = _Measuring(aside, definitions, directory / "log", partitions, source)
        try:
            found.append(measuring.sample(each, min(runs, RUNS), tell))
        except RunnerError as error:
            found.append(SourceSample(source.name, skipped=cleared(str(error))))
        finally:
            rmtree(measuring.log, ignore_errors=True)
    return tuple(found)


@dataclass(frozen=True)
class _Measuring:
    config: Config
    definitions: Sequence[ProjectionDefinition]
    log: Path
    partitions: int
    source: SourceConfig | PostgresSourceConfig

    def sample(self, each: float, runs: int, tell: Listener) -> SourceSample:
        """A reading that is not counted says how much fits into ``each`` seconds; then ``runs`` of that much."""
        first = self._read(MOST_ROWS, each)
        if not first.events:
            return SourceSample(self.source.name, skipped="it has no events")
        readings = []
        for _ in range(runs):
            reading = self._read(first.events)
            tell(Measured(f"sync of {self.source.name}", reading.events, reading.sync + reading.columns))
            readings.append(reading)
        last = readings[-1]
        columns = [r.events / r.columns for r in readings if r.columns]
        return SourceSample(
            self.source.name,
            last.events,
            last.octets,
            spread([r.events / r.sync for r in readings]),
            spread(columns) if columns else None,
        )

    def _read(self, most: int, seconds: float = float("inf")) -> _Reading:
        rmtree(self.log, ignore_errors=True)
        run = Recording("", ignore)
        octets = [0]
        with LogWriter.open(self.log, self.partitions, room=room_of(self.config)) as writer:
            with (
                Log.open(writer.path) as log,
                closing(open_source(self.source, None, log)) as reader,
                closing(Taking(self.config, self.source, writer, run, reader=reader)) as taking,
            ):
                begun = time.perf_counter()
                report = taking.report(_first(reader.pieces(), most, begun + seconds, octets))
                spent = time.perf_counter() - begun
            fill_columns(self.config, writer, run, self.definitions)
        return _Reading(report.events, octets[0], spent, run.seconds.get("columns", 0.0))


def _first(pieces: Iterator[Piece], most: int, until: float, octets: list[int]) -> Iterator[Piece]:
    """Pieces until there are ``most`` events or the time is over; at least one."""
    events = 0
    for piece in pieces:
        events += piece.events.num_rows
        octets[0] = piece.octets_done
        yield piece
        if events >= most or time.perf_counter() >= until:
            return
