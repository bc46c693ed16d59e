"""An application that keeps a table of orders beside Emmett's events, written by a plain loop that knows nothing of the
runner: the table, its row of progress, and faults that a test seeds into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from fixtures_postgres import Database

__all__ = ["SHOP", "Shop"]

SHOP = """
CREATE SCHEMA "Shop";
CREATE TYPE "Shop".mood AS ENUM ('calm', 'busy');
CREATE TABLE "Shop"."Orders" (
    "Id" text PRIMARY KEY,
    "customerName" varchar(200),
    "Status" smallint NOT NULL DEFAULT 0,
    "Data" jsonb NOT NULL,
    "OpenedAt" timestamp NOT NULL,
    touched timestamptz NOT NULL,
    weight numeric,
    done boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL,
    "Notes" text NOT NULL DEFAULT 'written by hand',
    mood "Shop".mood NOT NULL DEFAULT 'calm',
    deleted_at timestamptz
);
CREATE TABLE emt_processors (
    last_processed_transaction_id xid8 NOT NULL,
    version int NOT NULL DEFAULT 1,
    processor_id text NOT NULL,
    partition text NOT NULL DEFAULT 'emt:default',
    status text NOT NULL DEFAULT 'stopped',
    last_processed_checkpoint text NOT NULL,
    processor_instance_id text DEFAULT 'emt:unknown',
    last_updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (processor_id, partition, version)
);
"""
STATUS = ["none", "open", "confirmed", "cancelled", "paid", "shipped"]
ORDERED = """
SELECT stream_id, stream_position, message_type, message_data, created, transaction_id::text::bigint, global_position
FROM emt_messages WHERE NOT is_archived AND message_kind = 'E' ORDER BY transaction_id, global_position
"""


class Shop:
    """The application over a restored store. events: how many of the store's events it has processed (None: all)."""

    def __init__(self, database: Database, events: int | None = None) -> None:
        self.database = database
        with database.connect() as connection:
            connection.execute(SHOP)
            rows = connection.execute(ORDERED).fetchall()
            self.rows = rows if events is None else rows[:events]
            self.orders: dict[str, dict[str, Any]] = {}
            for row in self.rows:
                self._fold(*row[:5])
            with connection.cursor() as cursor:
                cursor.executemany(
                    'INSERT INTO "Shop"."Orders" ("Id", "customerName", "Status", "Data", "OpenedAt", touched, weight, '
                    "done, revision) "
                    "VALUES (%s, %s, %s, %s, %s::timestamptz AT TIME ZONE 'Europe/Berlin', %s, %s, %s, %s)",
                    [
                        (
                            id_, o["customer"], STATUS.index(o["status"]),
                            Jsonb({"total": {"euros": f"{o['total'] / 100:.2f}"}, "paid": o["paid"], "n": o["items"],
                                   "why": o["reason"]}),
                            o["opened"], o["touched"], o["weight"], o["done"], o["revision"],
                        )
                        for id_, o in self.orders.items()
                    ],
                )  # fmt: skip
            self.move_progress(self.rows[-1][5], self.rows[-1][6])

    def move_progress(self, transaction: int, position: int) -> None:
        """As Emmett's processor stores it."""
        with self.database.connect() as connection, connection.transaction():
            connection.execute("DELETE FROM emt_processors")
            connection.execute(
                "INSERT INTO emt_processors (processor_id, last_processed_transaction_id, last_processed_checkpoint) "
                "VALUES ('orders', %s::text::xid8, %s)",
                (str(transaction), f"{position:019}"),
            )

    def change(self, what: str, where: str) -> int:
        """Seed a fault: how many rows it hit."""
        with self.database.connect() as connection:
            found = connection.execute(
                sql.SQL('UPDATE "Shop"."Orders" SET {} WHERE "Id" IN ({})').format(sql.SQL(what), sql.SQL(where))  # type: ignore[arg-type]
            )
            return found.rowcount

    def table(self) -> list[tuple[Any, ...]]:
        return self.database.sql('SELECT * FROM "Shop"."Orders" ORDER BY "Id"')

    def _fold(self, id_: str, version: int, kind: str, data: dict[str, Any], created: Any) -> None:
        empty = {"customer": "", "status": "none", "total": 0, "paid": None, "items": 0, "opened": "1970-01-01T00:00Z",
                 "weight": 0, "reason": "", "done": False}  # fmt: skip
        order = self.orders.setdefault(id_, empty)
        order.update(revision=version, touched=created)
        if kind == "OrderOpened":
            order.update(customer=data["customerId"], status="open", opened=data["openedAt"], total=0, items=0)
        elif kind in ("ItemAdded", "ItemRemoved"):
            quantity = data["quantity"] if kind == "ItemAdded" else -data["quantity"]
            order["total"] += quantity * data["unitPriceCents"]
            order["items"] += quantity
        elif kind == "DiscountApplied":
            order["total"] -= data["cents"]
        elif kind == "OrderConfirmed":
            order["status"] = "confirmed"
        elif kind == "OrderCancelled":
            order.update(status="cancelled", reason=data["reason"], done=True)
        elif kind == "PaymentRecorded":
            order.update(status="paid", paid=data["amountCents"])
        elif kind == "OrderShipped":
            order.update(status="shipped", weight=data["weightKg"], done=True)
