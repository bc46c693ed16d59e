"""Sync: new events of the sources into the log, each once, and the columns that the projections read.

What is appended is committed together with the mark behind it, a segment at a time. A sync that dies at any point
therefore goes on where the log's last manifest says, and neither loses nor doubles an event.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from runner.config import load_definitions
from runner.config.table import nearest
from runner.errors import ConfigError, EventTwice, SourceError
from runner.jobs.folding.preparing import ledger_of
from runner.jobs.records.ledger import NewJob
from runner.jobs.records.recording import recorded
from runner.jobs.syncing.fraction import check_fraction, with_fraction
from runner.log import Log, LogWriter, Room
from runner.positions import START, Position
from runner.sources import open_source
from runner.sources.rejects import Rejects
from runner.stats import EventsRead, LineRejected, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config, PostgresSourceConfig, SourceConfig
    from runner.jobs.records.recording import Recording
    from runner.jobs.syncing.fraction import Fraction
    from runner.sources import BadLine, Piece, SourceReader, UnfinishedLine
    from runner.stats import Listener

__all__ = ["SourceReport", "SyncReport", "Taking", "chosen_sources", "fill_columns", "room_of", "sync"]


@dataclass(frozen=True)
class SourceReport:
    """One source's part of a sync. rejected: lines set aside by this sync; all of them stand in ``rejects_file``."""

    name: str
    events: int = 0
    rejected: int = 0
    rejected_before: int = 0
    rejects_file: str = ""
    commits: int = 0
    unfinished: tuple[UnfinishedLine, ...] = ()
    """Last lines without a line end, left for the next sync."""
    notes: tuple[str, ...] = ()
    """What people should know of the source."""


@dataclass(frozen=True)
class SyncReport:
    """A finished sync. seconds: wall time of the stages "sync" and "columns". columns: files of columns written."""

    job_id: str
    sources: tuple[SourceReport, ...]
    events: int
    last_position: Position
    previous_position: Position = START
    columns: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def events_per_second(self) -> float:
        """Of the stage "sync"."""
        spent = self.seconds.get("sync", 0.0)
        return self.events / spent if spent else 0.0


def sync(
    config: Config,
    sources: Sequence[str] | None = None,
    listener: Listener = ignore,
    *,
    fraction: Fraction | None = None,
) -> SyncReport:
    """Read what these sources (None: all) have behind their marks into the log, then fill the projections' columns.

    fraction: only of some aggregates, which the log's manifest then states.

    Raises ConfigError, SourceError (LineError, SourceChanged; what stood before the bad place is committed), LogError,
    and, once all events are in, DefinitionError and FieldValueError from the columns.
    """
    chosen = chosen_sources(config, sources)
    with ExitStack() as stack:
        ledger = stack.enter_context(ledger_of(config))
        options = {"sources": [source.name for source in chosen], "aggregates": str(fraction) if fraction else "all"}
        job = NewJob("sync", options=options)
        run = stack.enter_context(recorded(ledger, job, listener))
        room = room_of(config)
        writer = stack.enter_context(LogWriter.open(config.log.path, config.log.partitions, room=room))
        check_fraction(writer.manifest.sources, fraction, str(config.log.path))
        before = writer.last_position
        reports: list[SourceReport] = []
        with run.stage("sync") as timing:
            for source in chosen:
                with closing(Taking(config, source, writer, run, fraction=fraction)) as taking:
                    report = taking.report()
                reports.append(report)
                timing.events += report.events
                run.counts = {
                    "events": timing.events,
                    "rejected": sum(r.rejected for r in reports),
                    "position": int(writer.last_position),
                }
        columns = fill_columns(config, writer, run)
        return SyncReport(
            run.job_id, tuple(reports), timing.events, writer.last_position, before, columns, dict(run.seconds)
        )


def chosen_sources(config: Config, names: Sequence[str] | None) -> list[SourceConfig | PostgresSourceConfig]:
    """The sources of these names, None: all. Raises ConfigError."""
    if not config.sources:
        raise ConfigError(
            f"{config.file} names no sources", hint="add [sources.NAME] with files, aggregate_id and type"
        )
    for name in names or ():
        if name not in config.sources:
            raise ConfigError(f"{config.file}: no source is called {name}", hint=nearest(name, config.sources))
    return [source for source in config.sources.values() if names is None or source.name in names]


def room_of(config: Config) -> Room:
    """How much a commit of this project holds."""
    return Room(events=config.log.segment_events, payload_bytes=config.log.segment_megabytes << 20)


def fill_columns(
    config: Config, writer: LogWriter, run: Recording, definitions: Sequence[ProjectionDefinition] | None = None
) -> int:
    """The sidecars of these projections (None: all configured ones), so that the first rebuild finds them."""
    types = writer.manifest.types
    chosen = load_definitions(config) if definitions is None else definitions
    wanted = [c for definition in chosen for c in definition.payload_columns(types)]
    if not wanted or not writer.manifest.segments:
        return 0
    begun = time.perf_counter()
    written = writer.ensure_columns(tuple(dict.fromkeys(wanted)), run.tell)
    run.seconds["columns"] = time.perf_counter() - begun
    return written


class Taking:
    """One source's way into the log. Close it, unless it was given the reader, which then is the caller's."""

    def __init__(
        self,
        config: Config,
        source: SourceConfig | PostgresSourceConfig,
        writer: LogWriter,
        run: Recording,
        *,
        fraction: Fraction | None = None,
        reader: SourceReader | None = None,
    ) -> None:
        """reader: one that stands at the log's mark of this source already; None opens one."""
        self._fraction = fraction
        self._namespace = source.namespace if source.namespace is not None else source.name
        self._config, self._source, self._writer, self._run = config, source, writer, run
        self._room = room_of(config)
        known = writer.manifest.source(source.name)
        self._known_events = 0 if known is None else known.events
        # A source without events in the log begins anew, so its mapping may be mended until one fits.
        mark = known.mark or {} if known is not None and known.events else {}
        self._stack = ExitStack()
        if reader is None:
            log = self._stack.enter_context(Log.open(writer.path))
            only = self._of_fraction if fraction is not None else None
            opened = open_source(source, mark.get("reader"), log, only, run.tell)
            reader = self._stack.enter_context(closing(opened))
        self._reader = reader
        self._before = int(mark.get("rejected", 0))
        path = config.state.path / "rejects" / f"{quote(source.name, safe='')}.ndjson"
        self._rejects = Rejects(path, self._before, int(mark.get("rejects_octets", 0)))
        self._first_bad: BadLine | None = None
        self._events = self._commits = 0
        self._waiting_events = self._waiting_octets = 0

    def close(self) -> None:
        """Let go of what was opened here."""
        self._stack.close()

    def report(self, pieces: Iterator[Piece] | None = None) -> SourceReport:
        """Read the source to its end. pieces: of the reader, where it was begun already."""
        pieces = self._reader.pieces() if pieces is None else pieces
        while True:
            try:
                piece = next(pieces, None)
            except SourceError:
                # What was handed out before is good, and the mark stands behind exactly that.
                self._commit()
                raise
            if piece is None:
                break
            self._take(piece)
        self._check_not_all_rejected()
        self._commit()
        for seen in self._reader.watermarks():
            self._run.tell(seen)
        rejected = self._rejects.count - self._before
        return SourceReport(
            self._source.name,
            self._events,
            rejected,
            self._before,
            str(self._rejects.path) if self._rejects.count else "",
            self._commits,
            self._reader.unfinished(),
            self._reader.notes(),
        )

    def _check_not_all_rejected(self) -> None:
        bad = self._first_bad
        if bad is None or self._known_events or self._events or self._waiting_events:
            return
        self._rejects.save()
        raise SourceError(
            f"source {self._source.name}: no record fits its mapping, {self._rejects.count:,} were rejected; "
            f"the first is {bad.file}:{bad.line}: {bad.reason}",
            hint=f"mend [sources.{self._source.name}] in {self._config.file} and sync again: nothing was taken; "
            f"all of them stand in {self._rejects.path}",
        )

    @contextmanager
    def _naming_lines(self) -> Iterator[None]:
        """What the log says of an event's place, said as the source says it."""
        try:
            yield
        except EventTwice as error:
            hint = self._reader.cure(*error.place) or error.hint
            if self._source.on_bad_line == "reject":
                hint += '; on_bad_line = "reject" leaves out no such event'
            raise SourceError(f"{self._reader.place(*error.place)}: {error.reason}", hint=hint) from None

    def _of_fraction(self, events: pa.RecordBatch) -> pa.RecordBatch:
        return events if self._fraction is None else self._fraction.of_events(events, self._namespace)

    def _take(self, piece: Piece) -> None:
        events = piece.events
        events = self._of_fraction(events)
        n = events.num_rows
        octets = int(events.column("payload").nbytes)
        if n:
            with self._naming_lines():
                self._writer.append(self._source.name, events, namespace=self._source.namespace)
        if piece.rejected and self._first_bad is None:
            self._first_bad = piece.rejected[0]
        self._rejects.add(piece.rejected)
        self._waiting_events += n
        self._waiting_octets += octets
        for bad in piece.rejected:
            self._run.tell(LineRejected(self._source.name, bad.file, bad.line, bad.reason))
        self._run.tell(EventsRead(self._source.name, n, 1, piece.octets_done, piece.octets_total))
        # Another piece of this size would not fit into the segment: so each commit is one full segment.
        full = self._waiting_events + n > self._room.events or self._waiting_octets + octets > self._room.payload_bytes
        if full:
            self._commit()

    def _commit(self) -> None:
        self._rejects.save()
        mark = {
            "reader": self._reader.mark(),
            "rejected": self._rejects.count,
            "rejects_octets": self._rejects.octets,
        }
        self._reader.settle()
        with self._naming_lines():
            identity = with_fraction(self._reader.identity(), self._fraction)
            self._writer.commit(self._source.name, mark, identity=identity, namespace=self._source.namespace)
        self._events += self._waiting_events
        self._commits += self._waiting_events > 0
        self._waiting_events = self._waiting_octets = 0
