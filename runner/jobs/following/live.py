"""Sources as a follower has them: looked at again and again, read only where something is new, waited for in between.

A store in Postgres stays open: its connections, what is known of its tables, and the notes of its tail rule. It is
opened anew after an error, when the log went on without it (another sync), and from time to time, which is when new
tenants are seen. What an opened reader has handed out and the log did not take is forgotten with it, never skipped.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from runner.errors import PostgresError, SourceError, TenantsStopped
from runner.jobs.syncing.sync import Taking
from runner.log import Log
from runner.sources import open_source
from runner.stats import ignore

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from runner.config import Config, LogPath, PostgresSourceConfig, SourceConfig
    from runner.jobs.records.recording import Recording
    from runner.log import LogWriter
    from runner.postgres.notify import Notifications
    from runner.sources import Piece, SourceReader
    from runner.stats import Listener

__all__ = ["LivePostgres", "LiveSource", "live_source"]

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Between looks at a store that does not notify, in seconds: doubled while nothing comes."""
NOTIFIED_PAUSE = 5.0
"""The same where it notifies, and its notifications were seen to come."""
FILES_PAUSE = 0.25
RENEWED = 60.0
"""After so many seconds a store is opened anew, so that tenants that came since are seen."""


class LiveSource:
    """One source. Files; of stores in Postgres see ``LivePostgres``."""

    def __init__(self, config: Config, source: SourceConfig | PostgresSourceConfig, tell: Listener = ignore) -> None:
        self._config, self._source, self._tell = config, source, tell
        self.name = source.name
        self._reader: SourceReader | None = None
        self._base: Any = None
        """The log's mark that the reader goes on from."""
        self._kept: Any = None
        """The mark of a reader that is opened anew: where it stands in the log, and what it has noted since."""
        self._begun: Generator[Piece, None, None] | None = None
        self._pieces: Iterator[Piece] | None = None
        self.stopped = ""
        """Which tenants cannot be read, in words."""
        self._looked: deque[float] = deque(maxlen=64)
        self.since = time.monotonic()
        """What the last look found was committed after this time, by ``time.monotonic``."""

    def look(self) -> bool:
        """Whether there is something for the log. Raises SourceError, ConfigError, PostgresError; close it then."""
        now = time.monotonic()
        reader = self._opened()
        self._begun = pieces = cast("Generator[Piece, None, None]", reader.pieces())
        first = None
        try:
            first = next(pieces, None)
            self.stopped = ""
        except TenantsStopped as error:
            self.stopped = str(error)
        self._note(now)
        if first is None:
            self._nothing()
            return False
        self._pieces = chain([first], pieces)
        return True

    def take(self, writer: LogWriter, run: Recording) -> None:
        """What ``look`` found, and all behind it, into the log. Raises what ``sync`` does; close it then."""
        if self._reader is None or self._pieces is None or _mark(writer.manifest.source(self.name)) != self._base:
            # Another sync took it meanwhile.
            self.close()
            self._opened()
            self._pieces = None
        assert self._reader is not None
        taking = Taking(self._config, self._source, writer, run, reader=self._reader)
        try:
            taking.report(self._pieces)
        except TenantsStopped as error:
            # What the others had is committed.
            self.stopped = str(error)
        self._pieces = None
        self._base = _mark(writer.manifest.source(self.name))

    def pause(self) -> float:
        """Seconds until the next look, where nothing is heard before."""
        return FILES_PAUSE

    def heard(self) -> bool:
        """Whether something was notified since the last time."""
        return False

    @property
    def notifications(self) -> Notifications | None:
        """What to wait for."""
        return None

    def close(self) -> None:
        """Let go of the reader; the next look opens one at the log's mark."""
        reader, self._reader, self._pieces = self._reader, None, None
        begun, self._begun = self._begun, None
        with suppress(PostgresError, SourceError):
            if begun is not None:
                begun.close()
        if reader is not None:
            with suppress(PostgresError, SourceError):
                reader.close()

    def _opened(self) -> SourceReader:
        if self._reader is None:
            former, self._base = self._base, _logged_mark(self._config.log.path, self.name)
            mark, self._kept = self._kept, None
            if mark is None or former != self._base:
                mark = self._base
            log = cast("Log", _Latest(self._config.log.path))  # as much of a log as readers ask for
            self._reader = open_source(self._source, mark, log, tell=self._tell)
        return self._reader

    def _note(self, begun: float) -> None:
        self.since = self._looked[-1] if self._looked else begun
        self._looked.append(begun)

    def _nothing(self) -> None:
        # What was seen of files (sizes, a line without its end) is kept, and their list is made anew.
        assert self._reader is not None
        self._reader = open_source(self._source, self._reader.mark())


class LivePostgres(LiveSource):
    """A store in Postgres: stays open, notifies where it can."""

    def __init__(self, config: Config, source: PostgresSourceConfig, tell: Listener = ignore) -> None:
        super().__init__(config, source, tell)
        self._store = source
        self._notifications: Notifications | None = None
        self._opened_at = 0.0
        self._idle = 0
        self._told = self._trusted = False
        self._newest: deque[tuple[float, Any]] = deque(maxlen=256)
        self._after: Any = None

    def look(self) -> bool:
        if self._reader is not None and time.monotonic() - self._opened_at > RENEWED:
            self._renew(self._reader)
        fresh = self._reader is None
        told, self._told = self._told, False
        self._after = self._place()
        found = super().look()
        if fresh:
            self._listen()
        elif found and not told:
            # It came without a word: a pooler may be in between, or a writer that does not notify.
            self._trusted = False
        self._idle = 0 if found else self._idle + 1
        return found

    def pause(self) -> float:
        if self._trusted and self._notifications is not None and not self._held():
            return NOTIFIED_PAUSE
        return min(FIRST_PAUSE * 1.5 ** min(self._idle, 20), LONGEST_PAUSE)

    def heard(self) -> bool:
        if self._notifications is None:
            return False
        try:
            told = self._notifications.heard() > 0
        except PostgresError:
            self._silence()
            self.close()
            raise
        if told:
            self._told = self._trusted = True
            self._idle = 0
        return told

    @property
    def notifications(self) -> Notifications | None:
        return self._notifications

    def close(self) -> None:
        super().close()
        self._silence()

    def _opened(self) -> SourceReader:
        if self._reader is None:
            self._opened_at = time.monotonic()
            reader: Any = super()._opened()
            # The next look comes soon enough.
            reader.patient = False
        return super()._opened()

    def _renew(self, reader: SourceReader) -> None:
        """Open it anew, but keep what the tail rule has noted: a gap is as old as it is."""
        mark = None
        if self._pieces is None:
            # Notes may outlive their connection once they are about rows that are durable.
            reader.settle()
            mark = reader.mark()
        self.close()
        self._kept = mark

    def _nothing(self) -> None:
        """It stays open."""

    def _listen(self) -> None:
        from runner.postgres.notify import Notifications

        reader: Any = self._reader
        channels = reader.channels()
        if not channels:
            return
        self._silence()
        try:
            self._notifications = Notifications(self._store.connection, f"listen {self.name}", channels)
        except PostgresError:
            # A standby, or no connection is left for it: polling does.
            self._notifications = None

    def _silence(self) -> None:
        if self._notifications is not None:
            self._notifications.close()
        self._notifications = None
        self._trusted = False

    def _held(self) -> bool:
        """Whether rows are visible that somebody still holds back: no notification tells of his end."""
        reader: Any = self._reader
        return reader is not None and any(
            r.settled is not None and (r.settled.holders or r.settled.wait) for r in reader.readings
        )

    def _note(self, begun: float) -> None:
        """What is handed out was not committed when a look saw nothing above the place behind which it lies."""
        super()._note(begun)
        reader: Any = self._reader
        if len(reader.readings) != 1:
            return
        (reading,) = reader.readings
        newest = reading.settled.newest if reading.settled is not None else None
        after = self._after
        for at, place in reversed(self._newest):
            if place is None or after is None or place <= after:
                self.since = at
                break
        self._newest.append((begun, newest))

    def _place(self) -> Any:
        """Behind which the next rows lie; None where the source is several stores, or not open."""
        reader: Any = self._reader
        return reader.readings[0].mark.after if reader is not None and len(reader.readings) == 1 else None


def live_source(config: Config, source: SourceConfig | PostgresSourceConfig, tell: Listener = ignore) -> LiveSource:
    """A source for a follower; nothing is opened yet. tell: is told when reading waits."""
    if source.format == "postgres":
        return LivePostgres(config, source, tell)
    return LiveSource(config, source, tell)


class _Latest:
    """What readers ask a log, of the log as it is when they ask: a reader that stays open outlives many manifests."""

    def __init__(self, path: LogPath) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        """An attribute's value, or a method that opens the log for each call."""

        def called(*positional: Any, **named: Any) -> Any:
            with Log.open(self._path) as log:
                return getattr(log, name)(*positional, **named)

        if callable(getattr(Log, name)):
            return called
        with Log.open(self._path) as log:
            return getattr(log, name)


def _mark(known: Any) -> Any:
    """The reader's mark of a source in a manifest; None where nothing of it is in the log."""
    return known.mark.get("reader") if known is not None and known.events and known.mark else None


def _logged_mark(path: LogPath, name: str) -> Any:
    if not Log.exists(path):
        return None
    with Log.open(path) as log:
        return _mark(log.manifest.source(name))
