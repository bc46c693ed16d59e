"""Every error that the runner raises, in one tree; each carries its data, and its docstring is its message.

::

    RunnerError                       exit code 1
     ├── ConfigError                  2   runner.toml or an option is wrong
     ├── DefinitionError              4   an event or projection class is wrong (file, line, what to write instead)
     │    └── CompileError            4   a handler cannot be compiled
     ├── SourceError                  5   a source cannot be read as it was declared
     │    ├── LineError               5   one line of a file is bad
     │    ├── SourceChanged           5   a file changed behind its mark
     │    └── TenantsStopped          5   some tenants of a source cannot be read; the others were
     ├── LogError                     6   the log cannot be used
     │    ├── LogDamaged              6   bytes differ from their digest
     │    ├── LogLocked               6   another writer holds it
     │    ├── LogFormatError          6   made by another format version
     │    ├── EventTwice              6   an event's version is there already (of a source of files: LineError, 5)
     │    └── FieldValueError         7   a payload value does not fit the event class
     ├── FoldError                    7   a handler failed on events
     ├── ProofError                   3   two computations of the same rows differ
     ├── RowsDiffer                   3   the application's tables hold other rows than the fold
     ├── ReadModelError               8   a read model cannot be written, found or switched
     │    ├── FingerprintChanged      8   the projection is not the one that made the rows
     │    ├── Superseded             11   a followed read model is now that of a changed projection
     │    └── VersionBusy             8   another run writes the same version
     ├── PostgresError                10  a server cannot do its part
     │    ├── PostgresUnavailable     10  it cannot be reached, or the connection broke: try again later
     │    ├── PostgresDenied          10  the role may not log in, or lacks a privilege
     │    ├── PostgresTimeout         10  a statement or a lock took longer than it may
     │    ├── PostgresConflict        10  the transaction lost against another: try again
     │    └── CopyError               10  a value cannot be copied from or to a server
     ├── JobError                     1   a run cannot start, go on or be found
     └── EngineError                  9   workers cannot do their part
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "CompileError",
    "ConfigError",
    "CopyError",
    "DefinitionError",
    "EngineError",
    "EventTwice",
    "FieldValueError",
    "FingerprintChanged",
    "FoldError",
    "FoldFailure",
    "JobError",
    "LineError",
    "LogDamaged",
    "LogError",
    "LogFormatError",
    "LogLocked",
    "PostgresConflict",
    "PostgresDenied",
    "PostgresError",
    "PostgresTimeout",
    "PostgresUnavailable",
    "ProofError",
    "ReadModelError",
    "RowsDiffer",
    "RunnerError",
    "SourceChanged",
    "SourceError",
    "Superseded",
    "TenantsStopped",
    "VersionBusy",
]


class RunnerError(Exception):
    """The runner could not do what was asked."""

    exit_code = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders with all their data, whatever their constructors take.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[RunnerError], args: tuple[object, ...], state: dict[str, object]) -> RunnerError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(RunnerError):
    """The configuration is wrong."""

    exit_code = 2


class DefinitionError(RunnerError):
    """An event or projection class is wrong."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", file: str = "", line: int = 0, handler: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file, self.line, self.handler = file, line, handler

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        where = f"{self.handler}: " if self.handler else ""
        return f"{place}{where}{super().__str__()}"


class CompileError(DefinitionError):
    """A handler cannot be compiled."""


class SourceError(RunnerError):
    """A source cannot be read."""

    exit_code = 5


class LineError(SourceError):
    """A line of a source file is bad."""

    def __init__(self, file: str, line: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{file}:{line}: {reason}", hint=hint)
        self.file, self.line, self.reason = file, line, reason


class SourceChanged(SourceError):
    """A source file changed behind its mark."""


class TenantsStopped(SourceError):
    """Some tenants of a source cannot be read; the others were read."""


class LogError(RunnerError):
    """The log cannot be used."""

    exit_code = 6


class LogDamaged(LogError):
    """A part of the log is not what was written."""


class LogLocked(LogError):
    """Another writer holds the log."""


class LogFormatError(LogError):
    """The log has another format version."""


class EventTwice(LogError):
    """An arriving event has a version that its aggregate has already; ``place`` is its source position."""

    def __init__(self, source: str, place: tuple[int, int], reason: str, *, hint: str = "") -> None:
        super().__init__(f"source {source}: event at {place}: {reason}", hint=hint)
        self.source, self.place, self.reason = source, place, reason


class FieldValueError(LogError):
    """A payload value does not fit the field that an event class declares."""

    exit_code = 7

    def __init__(
        self, message: str, *, event_type: str, path: str, position: int, aggregate_id: str, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.event_type, self.path, self.position, self.aggregate_id = event_type, path, position, aggregate_id


@dataclass(frozen=True)
class FoldFailure:
    """One event that a projection's handler could not fold."""

    projection: str
    handler: str
    position: int
    aggregate_id: str
    event_type: str
    reason: str
    partition: int


class FoldError(RunnerError):
    """A handler failed on an event; ``failures`` holds the lowest failing position of each partition, sorted."""

    exit_code = 7

    def __init__(self, failures: tuple[FoldFailure, ...]) -> None:
        self.failures = tuple(sorted(failures, key=lambda f: f.position))
        first = self.failures[0]
        # One event can fail in several projections, and each partition tells its lowest one.
        also = sorted({f.projection for f in self.failures} - {first.projection})
        partitions = len({f.partition for f in self.failures}) - 1
        others = f"; {', '.join(also)} failed too" if also else ""
        if partitions:
            others += f"; {partitions} more partition{'s' if partitions > 1 else ''} failed"
        super().__init__(
            f"{first.projection}.{first.handler} failed at position {first.position} "
            f"(aggregate {first.aggregate_id!r}, {first.event_type}): {first.reason}{others}",
            hint=f"see `runner explain {first.projection} {first.aggregate_id}`; the live read model is untouched",
        )


class ProofError(RunnerError):
    """Two independent computations of the same rows differ."""

    exit_code = 3


class RowsDiffer(RunnerError):
    """The application's tables hold other rows than the fold; ``comparisons`` says where."""

    exit_code = 3

    def __init__(self, message: str = "", *, hint: str = "", comparisons: tuple[object, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.comparisons = comparisons


class ReadModelError(RunnerError):
    """A read model cannot be written, found or switched."""

    exit_code = 8


class FingerprintChanged(ReadModelError):
    """The projection is not the one that made the live read model."""


class Superseded(ReadModelError):
    """A read model that is followed is now that of a changed projection: its follower is done."""

    exit_code = 11


class VersionBusy(ReadModelError):
    """Another run writes the same version of a read model."""


class PostgresError(RunnerError):
    """A Postgres server cannot do its part; ``sqlstate`` is the server's code for it, "" where it said none."""

    exit_code = 10

    def __init__(self, message: str = "", *, hint: str = "", sqlstate: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class PostgresUnavailable(PostgresError):
    """A Postgres server cannot be reached, or the connection to it broke."""


class PostgresDenied(PostgresError):
    """A Postgres role may not log in, or lacks a privilege."""


class PostgresTimeout(PostgresError):
    """A statement, or a wait for a lock, took longer than it may."""


class PostgresConflict(PostgresError):
    """A transaction lost against another one; the same again may succeed."""


class CopyError(PostgresError):
    """A value cannot be copied from or to a server; ``column`` is its column, ``row`` its row, from 1 (0: none)."""

    def __init__(self, where: str, column: str, row: int, reason: str, *, hint: str = "") -> None:
        place = ", ".join([f"column {column}"] * bool(column) + [f"row {row:,}"] * bool(row))
        super().__init__(": ".join(part for part in (where, place, reason) if part), hint=hint)
        self.column, self.row, self.reason = column, row, reason


class JobError(RunnerError):
    """A run cannot start, go on or be found."""


class NotResumable(JobError):
    """The run that did not finish is none that this one could go on with."""


class EngineError(RunnerError):
    """The workers cannot do their part."""

    exit_code = 9
