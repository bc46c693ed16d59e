"""Postgres as the runner uses it: connections, their errors, named SQL, COPY. The only part that imports psycopg.

Sources and read models in Postgres take the driver's names that they need from here.
"""

from __future__ import annotations

from psycopg import Connection, Cursor, sql
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal, Placeholder
from psycopg.types.json import Json, Jsonb

from runner.postgres.connection import AnyConnection, connect
from runner.postgres.errors import redacted, translated
from runner.postgres.rights import (
    SchemaRights,
    TableRights,
    grant,
    schema_rights,
    sequence_readable,
    statement,
    table_rights,
)
from runner.postgres.server import Pooling, ServerFacts, pooling, server_facts
from runner.postgres.settings import ConnectionSettings
from runner.postgres.statements import named_sql, qualified

__all__ = [
    "SQL",
    "AnyConnection",
    "Composable",
    "Composed",
    "Connection",
    "ConnectionSettings",
    "Cursor",
    "Identifier",
    "Json",
    "Jsonb",
    "Literal",
    "Placeholder",
    "Pooling",
    "SchemaRights",
    "ServerFacts",
    "TableRights",
    "TransactionStatus",
    "connect",
    "grant",
    "named_sql",
    "pooling",
    "qualified",
    "redacted",
    "schema_rights",
    "sequence_readable",
    "server_facts",
    "sql",
    "statement",
    "table_rights",
    "translated",
]
