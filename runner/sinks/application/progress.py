"""How far the application's projection has come: a row in the store's own table of progress, or what a query says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import ConfigError, JobError
from runner.postgres import SQL, Identifier, qualified, translated
from runner.postgres import Literal as Value
from runner.sinks.application.table import STATEMENTS

if TYPE_CHECKING:
    from runner.config.comparison import ProgressConfig
    from runner.postgres import AnyConnection, Composed

__all__ = ["TABLES", "Progress", "progress_table", "read_progress"]

TABLES = {
    "marten": ("mt_event_progression",),
    "emmett": ("emt_processors", "emt_subscriptions"),
    "eventsourcing": ("notification_tracking",),
}
"""Where the libraries keep it; of several the first that is there."""


@dataclass(frozen=True)
class Progress:
    """place: the source position, one number or two. words: where it was read."""

    place: tuple[int, ...]
    words: str


def progress_table(
    connection: AnyConnection, where: str, preset: str, schema: str, table: str
) -> tuple[str, Identifier]:
    """(name, identifier) of a store's table of progress. Raises ConfigError where there is none."""
    names = (table,) if table else TABLES[preset]
    for name in names:
        identifier = qualified(schema, name)
        with translated(where):
            row = connection.execute(STATEMENTS["there_is"], {"name": identifier.as_string(connection)}).fetchone()
        if row is not None and row[0]:
            return name, identifier
    raise ConfigError(
        f"{where}: there is no table {' or '.join(names)} here",
        hint="schema and table name another; or write sql in the place of preset",
    )


def read_progress(connection: AnyConnection, config: ProgressConfig, where: str) -> Progress:
    """Read it in the connection's transaction. Raises JobError where there is no such row, or several."""
    query, words = _query(connection, config, where)
    with translated(where):
        cursor = connection.execute(query)
        rows = cursor.fetchmany(2) if cursor.description else []
    if not rows:
        raise JobError(
            f"{where}: there is no progress to read: {words}", hint="has the projection begun, and is that its name?"
        )
    if len(rows) > 1:
        raise JobError(f"{where}: several rows of progress: {words}", hint="it has to be one")
    numbers = tuple(_number(value, where, words) for value in rows[0])
    if len(numbers) not in (1, 2):
        raise ConfigError(f"{where}: {words} gives {len(numbers)} columns", hint="a position is one or two")
    return Progress(numbers, words)


def _query(connection: AnyConnection, config: ProgressConfig, where: str) -> tuple[SQL | Composed, str]:
    if config.sql:
        return SQL(config.sql), "the statement of progress.sql"  # the author's own text
    if config.preset:
        name, table = progress_table(connection, where, config.preset, config.schema, config.table)
        query = _OLD_EMMETT if name == "emt_subscriptions" else _PRESET_SQL[config.preset]
        return SQL(query).format(table, Value(config.name)), f"{name}, row {config.name!r}"
    table = qualified(config.schema, config.table)
    made = SQL("SELECT {} FROM {}").format(SQL(", ").join(map(Identifier, config.columns)), table)
    if config.where:
        pairs = [SQL("{} = {}").format(Identifier(column), Value(value)) for column, value in config.where.items()]
        made = SQL("{} WHERE {}").format(made, SQL(" AND ").join(pairs))
    row = ", ".join(f"{name} = {value!r}" for name, value in config.where.items())
    return made, f"{config.table}, {f'row {row}' if row else 'its only row'}"


_PRESET_SQL = {
    "marten": "SELECT last_seq_id FROM {} WHERE name = {}",
    "emmett": "SELECT last_processed_transaction_id::text::bigint, last_processed_checkpoint::bigint FROM {} "
    "WHERE processor_id = {}",
    "eventsourcing": "SELECT max(notification_id) FROM {} WHERE application_name = {}",
}
_OLD_EMMETT = (
    "SELECT last_processed_transaction_id::text::bigint, last_processed_position FROM {} WHERE subscription_id = {}"
)


def _number(value: object, where: str, words: str) -> int:
    if value is None:
        raise JobError(f"{where}: {words} holds no position", hint="has the projection begun?")
    try:
        return int(str(value))
    except ValueError:
        raise ConfigError(f"{where}: {words} holds {value!r}, which is no position", hint="select integers") from None
