"""The stores of ``postgres.py``: the same events in a table of its own, and as ``eventsourcing`` keeps them.

All is made by the server from numbers, so that two million events take seconds: every account is opened once, then
money comes and goes in turn over all accounts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

__all__ = ["COLUMNS", "Bank", "make_ledger", "make_library_store", "opened_library", "read_library"]

COLUMNS = "position, account, version, type, data, recorded_at"

_LEDGER = """
DROP TABLE IF EXISTS ledger;
CREATE TABLE ledger (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account uuid NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    data jsonb NOT NULL,
    recorded_at timestamptz NOT NULL
);
INSERT INTO ledger (account, version, type, data, recorded_at)
SELECT md5((n %% %(accounts)s)::text)::uuid, n / %(accounts)s,
    CASE WHEN n < %(accounts)s THEN 'account.opened' WHEN n %% 3 = 0 THEN 'money.withdrawn' ELSE 'money.deposited' END,
    CASE WHEN n < %(accounts)s
        THEN jsonb_build_object('currency', 'EUR', 'owner', 'owner of account ' || n, 'branch', n %% 100, 'open', true)
        ELSE jsonb_build_object('amount', n * 7919 %% 100000, 'note', 'payment number ' || n, 'card', n %% 10000) END,
    timestamptz '2024-01-01 00:00+00' + n * interval '1.25 seconds'
FROM generate_series(0, %(events)s::bigint - 1) n ORDER BY n;
VACUUM ANALYZE ledger;
"""
_LIBRARY = """
INSERT INTO bank_events (originator_id, originator_version, topic, state)
SELECT account, version + 1,
    'postgres_stores:Account.' || CASE type
        WHEN 'account.opened' THEN 'Opened' WHEN 'money.withdrawn' THEN 'Withdrawn' ELSE 'Deposited' END,
    convert_to('{"timestamp":{"_type_":"datetime_iso","_data_":"'
        || to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00"},'
        || CASE WHEN type = 'account.opened' THEN '"originator_topic":"postgres_stores:Account","currency":"EUR"}'
           ELSE '"amount":' || (data ->> 'amount') || ',"note":"' || (data ->> 'note') || '"}' END, 'UTF8')
FROM ledger ORDER BY position;
VACUUM ANALYZE bank_events;
"""


class Account(Aggregate):
    @event("Opened")
    def __init__(self, currency: str) -> None:
        self.currency, self.balance = currency, 0

    @event("Deposited")
    def deposit(self, amount: int, note: str) -> None:
        self.balance += amount

    @event("Withdrawn")
    def withdraw(self, amount: int, note: str) -> None:
        self.balance -= amount


class Bank(Application):
    pass


def make_ledger(connection: Connection[Any], events: int, accounts: int) -> None:
    """A table ``ledger`` with so many events of so many accounts."""
    for statement in (_LEDGER % {"events": events, "accounts": accounts}).split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())


def opened_library(connection: Connection[Any]) -> Bank:
    """The library over this database; it makes its tables."""
    info = connection.info
    return Bank(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": info.dbname,
            "POSTGRES_HOST": info.host,
            "POSTGRES_PORT": str(info.port),
            "POSTGRES_USER": info.user,
            "POSTGRES_PASSWORD": info.password or os.environ.get("PGPASSWORD", "-"),
        }
    )


def make_library_store(connection: Connection[Any]) -> None:
    """The ledger's events as the library would have written them."""
    opened_library(connection).close()
    for statement in _LIBRARY.split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())


def read_library(bank: Bank, most: int) -> Iterator[Any]:
    """The first events as the library hands them to those who follow it: its own objects, a page at a time."""
    start, page = 1, 1000
    while start <= most:
        found = bank.recorder.select_notifications(start=start, limit=min(page, most - start + 1))
        if not found:
            return
        for notification in found:
            yield bank.mapper.to_domain_event(notification)
        start = int(found[-1].id) + 1
