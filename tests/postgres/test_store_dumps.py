"""The stores that real libraries wrote: restored, synced, folded, and compared with what the libraries say."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from Crypto.Cipher import AES
from stores_of_libraries import Project

from runner.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored

KEY = base64.b64decode("MDEyMzQ1Njc4OWFiY2RlZg==")


def decrypted(type_: str, octets: bytes) -> bytes:
    """nonce, tag, ciphertext, as the library's AESCipher puts them; inflated where it was compressed before."""
    text: bytes = AES.new(KEY, AES.MODE_GCM, nonce=octets[:12]).decrypt_and_verify(octets[28:], octets[12:28])
    return zlib.decompress(text) if text[:1] == b"\x78" else text


def unpacked(type_: str, octets: bytes) -> dict[str, Any]:
    return msgpack.unpackb(octets)  # type: ignore[no-any-return]  # msgpack says no more


def expected(shared: Path, name: str) -> dict[str, Any]:
    return json.loads((shared / "stores/expected" / f"{name}.json").read_text("utf-8"))  # type: ignore[no-any-return]


BANKS = {
    "BankPlain": {"table": "bankplain_events"},
    "BankZlib": {"table": "bankzlib_events"},
    "BankTextIds": {"schema": "textids"},
    "BankAes": {"table": "bankaes_events", "decode": "test_store_dumps:decrypted"},
    "BankZlibAes": {"table": "bankzlibaes_events", "decode": "test_store_dumps:decrypted"},
}
COUNTS = {"BankPlain": 10_002, "BankZlib": 2_002, "BankAes": 2_002, "BankZlibAes": 2_003, "BankTextIds": 2_003}


@pytest.mark.parametrize("bank", BANKS)
def test_bank(bank: str, database: Database, restored: Restored, shared: Path, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    project = Project(
        tmp_path, "store_projections", store={"preset": "eventsourcing", "url_env": database.env, **BANKS[bank]}
    )
    assert project.sync().events == COUNTS[bank]
    assert project.sync().events == 0
    project.rebuild()
    rows = project.rows("accounts")
    wanted = expected(shared, f"eventsourcing_py.{bank}")
    assert rows.keys() == wanted.keys()
    for aggregate, state in wanted.items():
        row, address = rows[aggregate], state["address"]
        for name in ("version", "owner", "currency", "closed"):
            assert row[name] == state[name], (aggregate, name)
        assert (row["balance"], row["overdraft"]) == (Decimal(state["balance"]), Decimal(state["overdraft"]))
        if address:
            geo = address["geo"]
            found = (row["street"], row["no"], row["latitude"], row["longitude"], row["tags"])
            assert found == (address["street"], address["no"], geo["lat"], geo["lon"], len(address["tags"]))
        else:
            assert row["street"] == ""
    assert all(e["recorded_at"] is not None and e["recorded_at"].year == 2026 for e in project.events())


@pytest.mark.parametrize("bank", ["BankAes", "BankZlibAes"])
def test_encrypted_payloads_need_a_hook(bank: str, database: Database, restored: Restored, tmp_path: Path) -> None:
    restored(database, "eventsourcing")
    keys = {"preset": "eventsourcing", "url_env": database.env, "table": BANKS[bank]["table"]}
    with pytest.raises(SourceError, match=r"at position \d+: payload: .*neither JSON nor zlib.*decode = "):
        Project(tmp_path, store=keys).sync()


def test_courses(database: Database, restored: Restored, shared: Path, tmp_path: Path) -> None:
    """One event is an event of several aggregates, each by a tag; its payload is MessagePack."""
    restored(database, "eventsourcing_dcb")
    keys = {"preset": "eventsourcing-dcb", "url_env": database.env, "aggregates": ["student-", "course-"]}
    project = Project(tmp_path, store={**keys, "decode": "test_store_dumps:unpacked"})
    report = project.sync()
    with database.connect() as connection:
        memberships = connection.execute("SELECT sum(cardinality(tags)) FROM dcbapplication_events_tt_main").fetchone()
    assert memberships == (report.events,)
    joined: Counter[str] = Counter()
    for e in project.events():
        step = {"StudentJoinedCourse": 1, "StudentLeftCourse": -1}.get(e["type"].partition(":")[2], 0)
        joined[e["aggregate_id"]] += step
        assert e["aggregate_id"] in (e["payload"].get("student_id"), e["payload"].get("course_id"))
    assert dict(joined) == expected(shared, "eventsourcing_dcb")


def test_some_tags_are_aggregates(database: Database, restored: Restored, tmp_path: Path) -> None:
    restored(database, "eventsourcing_dcb")
    keys = {"preset": "eventsourcing-dcb", "url_env": database.env, "aggregates": "course-"}
    project = Project(tmp_path, store={**keys, "decode": "test_store_dumps:unpacked"})
    project.sync()
    assert {e["aggregate_id"].partition("-")[0] for e in project.events()} == {"course"}
    students = sum(e["type"].endswith(":StudentRegistered") for e in project.events())
    assert students == 0
    (mark,) = project.mark()["tenants"].values()
    assert mark["left_out"]["without an aggregate"] > 0


def orders_of(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Emmett's orders, as their own ``evolve`` folds them."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for e in events:
        order, data = found[e["aggregate_id"]], e["payload"]
        order["version"] = str(e["version"])
        match e["type"]:
            case "OrderOpened":
                order.update(customer=data["customerId"], status="open", items={}, total=0)
            case "ItemAdded" | "ItemRemoved" as kind:
                quantity = data["quantity"] if kind == "ItemAdded" else -data["quantity"]
                items, product = order["items"], data["product"]
                items[product] = items.get(product, 0) + quantity
                order["total"] += quantity * data["unitPriceCents"]
                if items[product] <= 0:
                    del items[product]
            case "DiscountApplied":
                order["total"] -= data["cents"]
            case "OrderConfirmed":
                order["status"] = "confirmed"
            case "OrderCancelled":
                order.update(status="cancelled", reason=data["reason"])
            case "PaymentRecorded":
                order.update(status="paid", paid=data["amountCents"])
            case "OrderShipped":
                order.update(status="shipped", parcel=data["parcel"])
    return dict(found)


def test_orders(each_database: Database, restored: Restored, shared: Path, tmp_path: Path) -> None:
    """Positions go back 169 times in the order of transactions, and all transactions are from another life."""
    restored(each_database, "emmett")
    project = Project(tmp_path, store={"preset": "emmett", "url_env": each_database.env})
    assert project.sync().events == 10_005
    assert orders_of(project.events()) == expected(shared, "emmett")
    assert project.sync().events == 0

    # The restored store lives on: its transaction ids are lower than those of the dump.
    new = """
        INSERT INTO emt_messages (stream_position, transaction_id, stream_id, message_schema_version, message_id,
                                  message_type, message_data, message_metadata, is_archived, message_kind)
        SELECT n, pg_current_xact_id(), 'order-new', '1', gen_random_uuid()::text, {kind},
               jsonb_build_object('customerId', 'c-1', 'n', n), '{{}}', {archived}, {message}
        FROM generate_series({first}, {last}) n
    """
    event = {"kind": "'OrderOpened'", "archived": "false", "message": "'E'"}
    with each_database.connect() as connection:
        for first in (1, 4):
            connection.execute(new.format(first=first, last=first + 2, **event))
            assert project.sync().events == 3
        connection.execute(new.format(first=7, last=7, **{**event, "message": "'C'"}))
        connection.execute(new.format(first=8, last=9, **{**event, "archived": "true"}))
        connection.execute(new.format(first=10, last=10, **event))
        assert project.sync().events == 1
    mine = [e["version"] for e in project.events() if e["aggregate_id"] == "order-new"]
    assert mine == [1, 2, 3, 4, 5, 6, 10]
    (mark,) = project.mark()["tenants"].values()
    assert mark["left_out"] == {"commands": 1, "archived": 2}


def test_messages(database: Database, restored: Restored, shared: Path, tmp_path: Path) -> None:
    """Versions from 0, gaps, NULL metadata, times without a zone that go back, ids with a plus sign."""
    restored(database, "message_db")
    project = Project(tmp_path, store={"preset": "message-db", "url_env": database.env})
    assert project.sync().events == 10_005
    streams: dict[str, dict[str, Any]] = {}
    for e in project.events():
        stream = streams.setdefault(e["aggregate_id"], {"version": -1, "cents": 0, "types": Counter()})
        assert e["version"] == stream["version"] + 1
        stream["version"] = e["version"]
        stream["types"][e["type"]] += 1
        if e["aggregate_id"].startswith("account-"):
            sign = {"Deposited": 1, "Withdrawn": -1}.get(e["type"], 0)
            stream["cents"] += sign * e["payload"].get("amountCents", 0)
    assert streams == expected(shared, "message_db")
    first = project.events()[0]
    assert first["recorded_at"].isoformat() == "2026-11-23T02:38:21.218082+00:00"


@pytest.mark.parametrize("streams", [["account:command-*"], ["account-*", "accountTransfer-0*"]])
def test_streams_by_pattern(
    streams: list[str], database: Database, restored: Restored, shared: Path, tmp_path: Path
) -> None:
    restored(database, "message_db")
    project = Project(tmp_path, store={"preset": "message-db", "url_env": database.env, "streams": streams})
    report = project.sync()
    beginnings = tuple(s.rstrip("*") for s in streams)
    wanted = {k: v for k, v in expected(shared, "message_db").items() if k.startswith(beginnings)}
    found = Counter(e["aggregate_id"] for e in project.events())
    assert found == {k: v["version"] + 1 for k, v in wanted.items()}
    (mark,) = project.mark()["tenants"].values()
    assert mark["left_out"] == {"other streams": 10_005 - report.events}
    assert project.sync().events == 0
