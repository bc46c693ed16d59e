"""Following: sync and update in a loop, in one process, so that read models stay current while events are written.

::

    look at each source         told by NOTIFY, or after a pause that grows while nothing comes
    its new events -> log       one commit and the columns, only where a look found something
    the read models             one update, from the log; also where somebody else has synced

A round takes all that there is by then, so rounds become larger under load and never fall behind one another. Readers,
plans, kernels and the engine are kept between rounds; the log's small tail batches are joined in pauses.

What is lost and comes again (a server that restarts, a connection that is killed, a failover, a log or a version that
another run holds) is waited for with a growing pause, each source and the read models by themselves. Nothing is lost
over it: a source is read on from the log's mark, a read model from its own checkpoint. Whether the server that answers
is the one that was read decides the source's identity (``runner.sources.postgres.tail.identity``).

A follower ends when it is asked to, when something needs a person, or with Superseded: a followed read model was
switched to a changed projection, which is for a follower with that code to go on with.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import FingerprintChanged, LogLocked, ReadModelError, RunnerError, Superseded
from runner.jobs.folding.preparing import chosen_definitions, ledger_of, read_models_of
from runner.jobs.following.joining import FEW, MANY, join_tails
from runner.jobs.following.live import LiveSource, live_source
from runner.jobs.following.stop import Stop
from runner.jobs.following.troubles import READ_MODELS, Troubles
from runner.jobs.publishing.publishing import table_states
from runner.jobs.records.ledger import NewJob
from runner.jobs.records.recording import Recording, recorded, rounds_of
from runner.jobs.syncing.fraction import check_fraction
from runner.jobs.syncing.sync import chosen_sources, fill_columns, room_of
from runner.jobs.updating.kept import Kept
from runner.jobs.updating.update import update
from runner.log import Log, LogWriter, Storage, storage_of
from runner.positions import START, Position
from runner.postgres.notify import wait_for_any
from runner.stats import Followed, Noted, StageFinished, ignore

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.authoring.definition import ProjectionDefinition
    from runner.config import Config
    from runner.engine import EngineName
    from runner.jobs.records.ledger import Ledger
    from runner.postgres.notify import HasFile
    from runner.stats import Fact, Listener

__all__ = ["FollowReport", "Stop", "follow"]

AT_ONCE = 0.02
"""Between two rounds at least, so that several commits become one."""
LEDGER_EVERY = 1.0
LOOKED_OVER = 30.0
"""After so many quiet seconds tables in Postgres are compared with the embedded read models: a server may have lost
them, or stand where a backup stood.
"""


@dataclass(frozen=True)
class FollowReport:
    """What a follower did until it was asked to end. lag: of the last rounds, at most, in seconds: 50th and 99th
    percentile. failures: rounds that failed and were tried again.
    """

    job_id: str
    projections: tuple[str, ...]
    rounds: int
    events: int
    position: Position
    failures: int
    seconds: Mapping[str, float]
    lag: Mapping[str, float]
    ended: str = ""


def follow(
    config: Config,
    names: Sequence[str] | Literal["all"] = "all",
    *,
    stop: Stop,
    engine: EngineName | None = None,
    workers: int = 0,
    address: str | None = None,
    listener: Listener = ignore,
) -> FollowReport:
    """Keep these read models current until ``stop`` is set. They have to be live.

    Raises Superseded where one was switched to a changed projection; what ``sync`` and ``update`` raise, in the first
    round at once, later where trying again does not help.
    """
    definitions = chosen_definitions(config, names)
    with Log.open(config.log.path) as log:
        check_fraction(log.sources, None, str(config.log.path))
    with ExitStack() as stack:
        ledger = stack.enter_context(ledger_of(config))
        sources = [stack.enter_context(closing(live_source(config, s, listener))) for s in chosen_sources(config, None)]
        projections = tuple(d.name for d in definitions)
        job = NewJob(
            "follow",
            projections=projections,
            fingerprints={d.name: d.fingerprint for d in definitions},
            options={"sources": [s.name for s in sources]},
        )
        run = stack.enter_context(recorded(ledger, job, listener))
        work = _Follower(
            *(config, storage_of(config.log.path), definitions, sources, ledger, run, listener, stop),
            *((engine, workers, address), Troubles(listener)),
        )
        return work.report()


@dataclass
class _Follower:
    """One following under way."""

    config: Config
    log: Storage
    definitions: Sequence[ProjectionDefinition]
    sources: Sequence[LiveSource]
    ledger: Ledger
    run: Recording
    listener: Listener
    stop: Stop
    engine: tuple[Any, int, str | None]
    troubles: Troubles
    rounds: int = 0
    events: int = 0
    commits: int = FEW
    """Since small segments were last joined; earlier runs may have left some."""
    position: Position = START
    owed: bool = True
    """The read models may be behind the log."""
    since: float = field(default_factory=time.monotonic)
    """All that is not visible yet was committed after this."""
    due: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)
    lags: list[tuple[float, int]] = field(default_factory=list)
    stages: dict[str, tuple[float, int]] = field(default_factory=dict)
    told_at: float = 0.0
    looked_over: float = field(default_factory=time.monotonic)
    others: set[str] = field(default_factory=set)  # live read models that are not followed
    seen: tuple[Any, ...] = ()
    """How log and read models looked when they were last found current."""

    def report(self) -> FollowReport:
        """Follow until asked to end."""
        try:
            # What cannot be reached now is said now; later it is waited for.
            self._check_live(first=True)
            table_states(self.config)
            self.troubles.reached(READ_MODELS)
            self.listener(Noted(f"following {', '.join(d.name for d in self.definitions)}"))
            while not self.stop.is_set():
                self._round()
                if not self.stop.is_set():
                    self._wait()
        finally:
            self._tell_ledger(last=True)
        return FollowReport(
            self.run.job_id,
            tuple(d.name for d in self.definitions),
            self.rounds,
            self.events,
            self.position,
            self.troubles.failures,
            dict(self.run.seconds),
            self._percentiles(),
            self.stop.why,
        )

    # A round ----------------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        begun = time.monotonic()
        free = self._may("log", begun)  # what is found while another writes the log could not be taken
        found = [source for source in self.sources if free and self._may(source.name, begun) and self._look(source)]
        taken = self._take(found) if found else 0
        current = self._current()
        if self.config.read_models.postgres is not None and begun - self.looked_over > LOOKED_OVER:
            self.kept.forget()
            self.owed = True
        if (taken or self.owed or current != self.seen) and self._may(READ_MODELS, time.monotonic()):
            self._check_live()
            self._update(taken, begun)
        elif not self.owed:
            self.since = begun
            self.listener(Followed(0, 0.0, int(self.position), 0.0))
        self._join(FEW if not taken else MANY)
        self._tell_ledger()

    def _look(self, source: LiveSource) -> bool:
        try:
            found = source.look()
        except RunnerError as error:
            self.troubles.failed(source.name, error)
            source.close()
            return False
        self.troubles.well(source.name)
        self._tell_stopped(source)
        self.due[source.name] = time.monotonic() + (AT_ONCE if found else source.pause())
        return found

    def _take(self, found: Sequence[LiveSource]) -> int:
        events = 0
        try:
            room = room_of(self.config)
            with LogWriter.open(self.config.log.path, self.config.log.partitions, room=room) as writer:
                round_ = Recording(self.run.job_id, self._heard)
                with round_.stage("sync") as timing:
                    for source in found:
                        timing.events += self._taken(source, writer, round_)
                events = timing.events
                fill_columns(self.config, writer, round_, self.definitions)
                self.position = writer.last_position
            self.commits += events > 0
        except LogLocked as error:
            # Another sync or a compaction: what it takes is followed from the log.
            for source in found:
                source.close()
            self.troubles.failed("log", error)
            return events
        self.troubles.well("log")
        self.owed = self.owed or events > 0
        if events:
            self.since = min(self.since, *(source.since for source in found))
        return events

    def _taken(self, source: LiveSource, writer: LogWriter, run: Recording) -> int:
        before = writer.last_position
        try:
            source.take(writer, run)
        except RunnerError as error:
            source.close()
            if isinstance(error, LogLocked):
                raise
            writer.drop()
            self.troubles.failed(source.name, error)
        return writer.last_position - before

    def _tell_stopped(self, source: LiveSource) -> None:
        """Tenants that cannot be read, while the others go on."""
        if source.stopped != self.stopped.get(source.name, ""):
            self.stopped[source.name] = source.stopped
            self.listener(Noted(source.stopped or f"{source.name}: all tenants are read again"))

    def _update(self, taken: int, begun: float) -> None:
        self.owed = True
        engine, workers, address = self.engine
        names = [d.name for d in self.definitions]
        seen = self._current()
        try:
            with rounds_of(self.run, "update"):
                wish = {"engine": engine, "workers": workers, "address": address}
                report = update(self.config, names, **wish, kept=self.kept, listener=self._heard)
        except RunnerError as error:
            if isinstance(error, ReadModelError):
                self._check_live()
            self.troubles.failed(READ_MODELS, error)
            return
        self.troubles.well(READ_MODELS)
        now = self.looked_over = time.monotonic()
        self.owed = False
        self.position = report.cut.position
        for note in report.notes:
            self.listener(Noted(note))
        self.seen = self._current() if seen[0] == self._current()[0] else seen
        if report.events:
            self.rounds += 1
            self.events += report.events
            self.lags.append((now - self.since, report.events))
            del self.lags[:-2000]
        lag = now - self.since if report.events else 0.0
        self.listener(Followed(report.events, lag, int(self.position), now - begun))
        self.since = begun

    def _join(self, least: int) -> None:
        """Join the log's small segments, where enough came since the last time."""
        if self.commits < least:
            return
        with suppress(LogLocked):
            join_tails(self.config, self._heard, least=FEW)
            self.commits = 0

    # What stands ------------------------------------------------------------------------------------------------------

    def _current(self) -> tuple[Any, ...]:
        """What changes when somebody publishes a log's manifest or a read model."""
        live = _stat(self.config.read_models.path / "current.json")
        return self.log.stamp(), (live.st_ino, live.st_mtime_ns, live.st_size) if live else None

    def _check_live(self, *, first: bool = False) -> None:
        """Raise Superseded where a read model is that of a changed projection; FingerprintChanged, where it was so from
        the first.
        """
        models = read_models_of(self.config)
        others = set(models.names()) - {d.name for d in self.definitions} - self.others
        for name in () if first else sorted(others):
            self.listener(Noted(f"{name} is live since; start the follower anew to follow it"))
        self.others |= others
        for definition in self.definitions:
            try:
                live = models.live(definition.name)
            except ReadModelError:
                continue  # damaged: the update says what is to be done
            if live is None or live.fingerprint == definition.fingerprint:
                continue
            name, prints = definition.name, f"{live.fingerprint[:12]}, followed {definition.fingerprint[:12]}"
            if first:
                raise FingerprintChanged(
                    f"projection {name!r} is not the one that made the live read model (fingerprint {prints})",
                    hint=f"`runner rebuild {name}`",
                )
            raise Superseded(
                f"read model {name!r} is now version {live.number}, made by a changed projection (fingerprint "
                f"{prints}): this follower is done",
                hint="start one with the code of that version: it goes on from its checkpoint",
            )

    def _may(self, place: str, now: float) -> bool:
        again = self.troubles.again(place)
        return now >= (self.due.get(place, 0.0) if again is None else again)

    # Waiting ----------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until something is to be looked at."""
        now = time.monotonic()
        places = [*(s.name for s in self.sources), *([READ_MODELS] if self.owed else [])]
        times = {p: self.due.get(p, now) if (again := self.troubles.again(p)) is None else again for p in places}
        log = self.troubles.again("log") or now
        pause = min([*(t if p == READ_MODELS else max(t, log) for p, t in times.items()), now + 1.0]) - now
        listening = [s for s in self.sources if s.notifications is not None]
        files: list[HasFile] = [self.stop, *(s.notifications for s in listening if s.notifications is not None)]
        if pause > 0:
            wait_for_any(files, pause)
        for source in listening:
            try:
                if source.heard():
                    self.due[source.name] = min(self.due.get(source.name, now), time.monotonic())
            except RunnerError as error:
                self.troubles.failed(source.name, error)

    # Telling ----------------------------------------------------------------------------------------------------------

    def _heard(self, fact: Fact) -> None:
        if isinstance(fact, StageFinished):
            seconds, events = self.stages.get(fact.stage, (0.0, 0))
            self.stages[fact.stage] = (seconds + fact.seconds, events + fact.events)
            self.run.seconds[fact.stage] = self.run.seconds.get(fact.stage, 0.0) + fact.seconds
        self.listener(fact)

    def _tell_ledger(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self.told_at < LEDGER_EVERY:
            return
        self.told_at = now
        self.run.counts.update(
            events=self.events, rounds=self.rounds, failures=self.troubles.failures, position=int(self.position)
        )
        if self.lags:
            self.run.counts["lag_seconds"] = self._percentiles()
        if last:
            self.run.counts["ended"] = self.stop.why
        for stage, (seconds, events) in self.stages.items():
            self.ledger.stage_done(self.run.job_id, stage, seconds, events)
        self.stages.clear()
        self.ledger.progress(self.run.job_id, self.run.counts)

    def _percentiles(self) -> dict[str, float]:
        """Of the events of the last rounds."""
        total = sum(events for _, events in self.lags)
        found = {}
        for part in (50, 99):
            passed = 0
            for lag, events in sorted(self.lags):
                passed += events
                if passed >= total * part / 100:
                    found[f"p{part}"] = round(lag, 4)
                    break
        return found


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
