"""The hand-over: the application's projection is told from which event on it goes on, in the transaction that changes
its table; and who would fight it is found before, for a daemon that runs writes rows of its own place over ours.

The statement is the author's, with ``:checkpoint`` where the position goes (``:transaction`` for stores that order by
two columns), both bound as parameters; or a ready one for the tables of Marten, Emmett and eventsourcing.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runner.errors import ConfigError, JobError, PostgresConflict
from runner.postgres import SQL, named_sql, translated
from runner.sinks.application.progress import progress_table, read_progress
from runner.sinks.application.table import STATEMENTS

if TYPE_CHECKING:
    from runner.config.comparison import ProgressConfig
    from runner.config.hand_over import HandOverConfig
    from runner.postgres import AnyConnection, Composed

__all__ = ["HandOver", "bound_names", "check_unmoved", "hand_over_of", "refuse_daemons"]

READY = named_sql("runner.sinks.application", "hand_over.sql")
LOCKS = {"marten": (4444,)}
"""Advisory locks that a library's daemon holds while it runs; its settings may say another, or add one."""
RECENT = 300
"""Seconds after which a processor of Emmett's that says it runs is taken over by another, and so by us."""

_TOKEN = re.compile(
    r"[eE]'(?:[^'\\]|''|\\.)*'"
    r"|'(?:[^']|'')*'"
    r'|"(?:[^"]|"")*"'
    r"|\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$"
    r"|--[^\n]*"
    r"|/\*.*?\*/"
    r"|::"
    r"|:(?P<name>[A-Za-z_]\w*)"
    r"|%",
    re.DOTALL,
)


@dataclass(frozen=True)
class HandOver:
    """A statement with its parameters. shown: for people, with the values in it."""

    where: str
    sql: SQL | Composed
    values: dict[str, int | str]
    shown: str

    def execute(self, connection: AnyConnection) -> None:
        """Run it in the connection's transaction. Raises JobError where it changed no row: then nobody was told."""
        with translated(f"{self.where} hand-over"):
            changed = connection.execute(self.sql, self.values).rowcount
        if changed == 0:
            raise JobError(
                f"{self.where}: the hand-over changed no row, so the application would not know where to go on",
                hint=f"it ran: {self.shown}",
            )


def hand_over_of(connection: AnyConnection, config: HandOverConfig, place: tuple[int, ...], where: str) -> HandOver:
    """The statement for this place of the source. Raises ConfigError where it cannot be made."""
    values: dict[str, int | str] = {"checkpoint": place[-1], "name": config.name}
    if len(place) > 1:
        values["transaction"] = place[0]
    if config.sql:
        text = bound_names(config.sql, where, frozenset(values) - {"name"})
        used = {name: value for name, value in values.items() if f"%({name})s" in text}
        return HandOver(where, SQL(text), used, _shown(config.sql, used))
    name, table = progress_table(connection, where, config.preset, config.schema, config.table)
    statement = READY[name if name in READY else config.preset]
    if config.preset == "emmett" and len(place) < 2:
        raise ConfigError(
            f"{where}: Emmett's progress is a transaction and a position", hint="the source is no Emmett's"
        )
    sql = statement.format(table=table)
    shown = sql.as_string(connection)
    for key, value in values.items():
        shown = shown.replace(
            f"%({key})s", str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
        )
    return HandOver(where, sql, values, " ".join(shown.split()))


def bound_names(sql: str, where: str, known: frozenset[str] = frozenset({"checkpoint", "transaction"})) -> str:
    """The author's statement with ``:name`` as a parameter, outside of texts, names and comments.

    Raises ConfigError for a name that there is not.
    """

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if not name:
            return match[0].replace("%", "%%")
        if name not in known:
            hint = f"there is {', '.join(f':{n}' for n in sorted(known))}"
            raise ConfigError(f"{where}: hand_over_sql has :{name}", hint=hint)
        return f"%({name})s"

    text = _TOKEN.sub(replaced, sql)
    if "%(checkpoint)s" not in text:
        raise ConfigError(
            f"{where}: hand_over_sql has no :checkpoint outside of texts and comments", hint="write it without quotes"
        )
    return text


def _shown(sql: str, values: dict[str, int | str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        return str(values[match["name"]]) if match["name"] in values else match[0]

    return _TOKEN.sub(replaced, sql)


def refuse_daemons(
    connection: AnyConnection, config: HandOverConfig, progress: ProgressConfig | None, where: str
) -> tuple[int, ...] | None:
    """Raise JobError where somebody runs who would write the table meanwhile; the progress that stood still.

    Looks at advisory locks, at sessions by their application_name, at what the store says of itself, and whether the
    row of progress moves for ``watch`` seconds.
    """
    keys = [*config.locks, *LOCKS.get(config.preset, ())]
    with translated(where):
        if keys:
            row = connection.execute(STATEMENTS["advisory"], {"keys": keys}).fetchone()
            if row is not None:
                raise _running(where, f"process {row[0]} ({row[1] or 'no name'}) holds its advisory lock {row[2]}")
        for pid, application in connection.execute(STATEMENTS["sessions"]).fetchall():
            if any(fnmatchcase(application, pattern) for pattern in config.sessions):
                raise _running(where, f"process {pid} is its session {application!r}")
    if config.preset == "emmett":
        _refuse_processor(connection, config, where)
    if progress is None:
        return None
    try:
        before = read_progress(connection, progress, where).place
    except JobError:
        return None  # a projection that has not begun moves nothing
    until = time.monotonic() + config.watch_seconds
    while time.monotonic() < until:
        time.sleep(min(0.2, max(0.0, until - time.monotonic())))
        now = read_progress(connection, progress, where).place
        if now != before:
            raise _running(where, f"its progress moved from {_said(before)} to {_said(now)} while it was watched")
    return before


def check_unmoved(connection: AnyConnection, progress: ProgressConfig, before: tuple[int, ...], where: str) -> None:
    """Raise PostgresConflict where the progress is another than it was when it was watched."""
    now = read_progress(connection, progress, where).place
    if now != before:
        raise PostgresConflict(f"{where}: the application's progress moved from {_said(before)} to {_said(now)}")


def _refuse_processor(connection: AnyConnection, config: HandOverConfig, where: str) -> None:
    name, table = progress_table(connection, where, config.preset, config.schema, config.table)
    if name != "emt_processors":
        return
    with translated(where):
        row = connection.execute(
            READY["running"].format(table=table), {"name": config.name, "recent": RECENT}
        ).fetchone()
    if row is not None:
        raise _running(where, f"Emmett's processor {config.name!r} says that it runs, as {row[0]}, since {row[1]}")


def _said(place: tuple[int, ...]) -> str:
    return ",".join(map(str, place))


def _running(where: str, what: str) -> JobError:
    return JobError(
        f"{where}: the application's daemon runs: {what}; it would write over the hand-over",
        hint="stop it, run this again, and start it behind: it goes on at the checkpoint that it finds",
    )
