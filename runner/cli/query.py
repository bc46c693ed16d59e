"""``runner query``: SQL over the live read models and the log, by DuckDB."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import session_command
from runner.cli.output import emit_json, numeric_columns, print_table, say
from runner.errors import ConfigError, LogDamaged, LogError, ReadModelError

if TYPE_CHECKING:
    import duckdb

    from runner.cli.options import Session

__all__ = ["command"]

SHOWN = 200


@session_command("query", exits=(8,))
@click.argument("sql")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=SHOWN,
    show_default=True,
    help="Rows that are shown; with --json all are given.",
)
def command(session: Session, sql: str, limit: int) -> None:
    """Run SQL (DuckDB's) over read models and log; "-" reads the statement from stdin.

    \b
    Each live read model is a table of its name. Beside them:
      runner.checkpoints   which position and version each read model is at
      log.events           position, source, tenant, aggregate_id, version, type, recorded_at, payload (JSON text)
      log.headers          the same without payload, and quicker for it

    One statement that reads, or COPY (SELECT ...) TO 'file'. One query sees one consistent state, whatever is published
    meanwhile; nothing that it makes would stay, so CREATE, INSERT and the like are refused.
    """
    import duckdb

    text = sys.stdin.read() if sql == "-" else sql
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(closing(_connected(session)))
        except ReadModelError:
            _check_files(session)
            raise
        _attach_log(connection, session, stack)
        try:
            _check_statement(connection, text)
            _check_target(session, text)
            result = connection.execute(text)
            columns = _told_apart([c[0] for c in result.description or ()])
            # One more row than is shown tells whether there are more; JSON gets all.
            rows = result.fetchall() if session.as_json else result.fetchmany(limit + 1)
            connection.abort()  # lets go of rows that were not fetched, and with them of the log
        except duckdb.Error as error:
            _check_files(session)
            raise ConfigError(_first_lines(error), hint=_tables(connection)) from error
    if session.as_json:
        emit_json({"columns": columns, "rows": [dict(zip(columns, row, strict=True)) for row in rows]})
        return
    print_table("", columns, rows[:limit], numeric=numeric_columns(columns, rows))
    if len(rows) > limit:
        say(f"more rows than {limit}: --limit shows more")


def _connected(session: Session) -> duckdb.DuckDBPyConnection:
    from runner.sinks.read_models import ReadModels

    models = ReadModels(session.config.read_models.path)
    with suppress(ReadModelError, OSError):
        models.repair()  # for who opens catalog.duckdb; this query reads current.json, and does without where it fails
    return models.connect()


def _check_statement(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises ConfigError where it is none, several, or one that changes something."""
    from duckdb import StatementType as Kind

    found = connection.extract_statements(text)
    if not found:
        raise ConfigError("the SQL has no statement", hint=_tables(connection))
    if len(found) > 1:
        raise ConfigError(f"the SQL has {len(found)} statements, and one is taken", hint="run `runner query` for each")
    kind = found[0].type
    # A PIVOT is several statements to DuckDB (MULTI).
    if kind not in (Kind.SELECT, Kind.EXPLAIN, Kind.COPY, Kind.PRAGMA, Kind.CALL, Kind.MULTI):
        raise ConfigError(
            f"{kind.name} is not taken: queries read, and what they would make is gone at their end",
            hint="SELECT, EXPLAIN, DESCRIBE, or COPY (SELECT ...) TO 'file'",
        )


_TARGET = re.compile(r"\bTO\s+(?:'((?:[^']|'')*)'|\"((?:[^\"]|\"\")*)\")", re.IGNORECASE)


def _check_target(session: Session, text: str) -> None:
    """Raises ConfigError for a COPY into the runner's own directories."""
    if not text.lstrip().upper().startswith("COPY"):
        return
    config = session.config
    for single, double in _TARGET.findall(text):
        target = Path(single.replace("''", "'") or double.replace('""', '"')).resolve()
        for own in (config.log.directory, config.read_models.path, config.state.path):
            if target.is_relative_to(own.resolve()):
                raise ConfigError(
                    f"COPY to {target}: that is inside {own}, where only the runner writes", hint="choose another place"
                )


def _told_apart(names: list[str]) -> list[str]:
    """Columns of one name get numbers, as in a table that DuckDB makes of them: a, a_1."""
    found: list[str] = []
    for name in names:
        own, number = name, 0
        while own in found or (number and own in names):
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return found


def _check_files(session: Session) -> None:
    """Raises ReadModelError, with the read model's name, where a file of a live one is not there."""
    from runner.sinks.read_models import ReadModels

    models = ReadModels(session.config.read_models.path)
    for live in filter(None, map(models.live, models.names())):
        for info in live.files:
            path = live.directory / info.name
            if not path.exists():
                raise ReadModelError(f"read model {live.name!r}: {path} is gone", hint=f"`runner rebuild {live.name}`")


def _attach_log(connection: duckdb.DuckDBPyConnection, session: Session, stack: ExitStack) -> None:
    from runner.log import Log

    connection.execute("CREATE SCHEMA log")
    try:
        log = stack.enter_context(Log.open(session.config.log.path))
    except LogDamaged as error:
        say(f"log.events is not there: {error}")
        return
    except LogError:
        # Read models can be asked where the log is not at hand; a query of log.events then says that it is not there.
        return
    from runner.cli.log_events import LogEvents

    for name, payloads in (("events", True), ("headers", False)):
        connection.register(f"log_{name}", LogEvents(log, payloads=payloads))
        stack.callback(connection.unregister, f"log_{name}")
        connection.execute(f"CREATE VIEW log.{name} AS FROM log_{name}")


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"SQL: {' '.join(lines[:2])}"


def _tables(connection: duckdb.DuckDBPyConnection) -> str:
    rows: list[Any] = connection.execute(
        "SELECT CASE schema_name WHEN 'main' THEN view_name ELSE schema_name || '.' || view_name END "
        "FROM duckdb_views() WHERE NOT internal AND view_name NOT LIKE 'log\\_%' ESCAPE '\\' ORDER BY 1"
    ).fetchall()
    return f"there are {', '.join(r[0] for r in rows)}" if rows else ""
