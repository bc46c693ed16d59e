"""A simulated application's table beside Emmett's restored store: equal where it is right, and each fault named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from compare_shop import TOTAL, compared, shop_project
from simulated_shop import Shop

from runner.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures_postgres import Database, Restored


def test_a_right_table_is_equal_with_select_alone(database: Database, restored: Restored, tmp_path: Path) -> None:
    shop = Shop(restored(database, "emmett"))
    role = database.role(
        'GRANT USAGE ON SCHEMA "Shop" TO {role}', 'GRANT SELECT ON "Shop"."Orders", emt_processors TO {role}'
    )
    table = compared(shop_project(tmp_path, database, role.env))
    assert table.groups == ()
    assert (table.same, table.rows_here, table.equal) == (True, len(shop.orders), len(shop.orders))


@pytest.mark.parametrize("events", [1, 4_321, 9_999])
def test_the_fold_goes_to_exactly_the_place_of_the_table(
    events: int, database: Database, restored: Restored, tmp_path: Path
) -> None:
    shop = Shop(restored(database, "emmett"), events)
    table = compared(shop_project(tmp_path, database))
    assert (table.groups, table.notes) == ((), ())
    assert (table.position, table.rows_here) == (events, len(shop.orders))


EUROS = "(\"Data\" #>> '{total,euros}')::numeric"
FAULTS = {
    # (column, pattern, detail) and what the application did wrong, each in ten other rows
    ("customer", "null there", ""): '"customerName" = NULL',
    ("customer", "upper and lower case", ""): '"customerName" = upper("customerName")',
    ("customer", "spaces at an end", ""): '"customerName" = "customerName" || \'  \'',
    ("customer", "cut", "at 3 characters"): '"customerName" = left("customerName", 3)',
    ("customer", "one value for several", "nobody there"): "\"customerName\" = 'nobody'",
    ("status", "no known value there", "such as 17"): '"Status" = 17',
    ("total", "off by a constant", "+4.9"): TOTAL.format(f"{EUROS} + 4.9"),
    ("total", "another unit", "times 100"): TOTAL.format(f"{EUROS} * 100"),
    ("total", "sign turned", ""): TOTAL.format(f"-{EUROS}"),
    ("total", "rounded", "to 0 places"): TOTAL.format(f"round({EUROS}, 0)"),
    ("total", "no number there", "such as n/a"): TOTAL.format("'n/a'::text"),
    ("items", "null there", ""): '"Data" = "Data" - \'n\'',
    ("items", "default there", ""): '"Data" = "Data" || \'{"n": 0}\'',
    ("opened_at", "time zone shift", "+01:00"): '"OpenedAt" = "OpenedAt" + interval \'1 hour\'',
    ("opened_at", "time zone shift", "-02:00"): '"OpenedAt" = "OpenedAt" - interval \'2 hours\'',
    ("touched_at", "truncated", "to the second"): "touched = date_trunc('second', touched)",
    ("touched_at", "off by a constant", "+7.0 s"): "touched = touched + interval '7 seconds'",
    ("revision", "off by a constant", "-1"): "revision = revision - 1",
    ("weight", "rounded", "to 1 places"): "weight = round(weight, 1)",
    ("weight", "null there, default here", ""): "weight = NULL",
}
CANDIDATES = f"""
SELECT "Id", weight, weight <> round(weight, 1) FROM "Shop"."Orders"
WHERE ("Data"->>'n')::int > 0 AND "OpenedAt" > '2000-01-01' AND abs({EUROS}) > 100 AND {EUROS} % 1 NOT IN (0, 0.5)
ORDER BY "Id"
"""


def seeded(shop: Shop) -> dict[tuple[str, str, str], set[str]]:
    """The faults in rows of their own, ten each where the value can have them; which rows got which."""
    left = shop.database.sql(CANDIDATES)
    found = {}
    for fault in reversed(FAULTS):
        column, pattern, _ = fault
        rows = [r for r in left if column != "weight" or (r[1] == 0 if "null" in pattern else r[2])][:10]
        left = [r for r in left if r not in rows]
        found[fault] = {row[0] for row in rows}
        assert len(rows) == 10, fault
    for fault, ids in found.items():
        assert shop.change(FAULTS[fault], ", ".join(f"'{id_}'" for id_ in ids)) == 10
    return found


def test_each_fault_is_found_and_named(database: Database, restored: Restored, tmp_path: Path, capsys: Any) -> None:
    shop = Shop(restored(database, "emmett"))
    faults = seeded(shop)
    used = {id_ for ids in faults.values() for id_ in ids}
    others = sorted(set(shop.orders) - used)
    gone, new, rewritten = others[:3], "order-new", others[3]
    with database.connect() as connection:
        connection.execute('DELETE FROM "Shop"."Orders" WHERE "Id" = ANY (%s)', (gone,))
        connection.execute('UPDATE "Shop"."Orders" SET "Id" = upper("Id") WHERE "Id" = %s', (rewritten,))
        connection.execute(
            'INSERT INTO "Shop"."Orders" ("Id", "Data", "OpenedAt", touched, revision) '
            "VALUES (%s, '{}', now(), now(), 1)",
            (new,),
        )
    project = shop_project(tmp_path, database)
    table = compared(project, samples=100)
    found = {(g.column, g.pattern, g.detail): {s.key["aggregate_id"] for s in g.samples} for g in table.groups}
    rows = {
        ("", "missing there", ""): set(gone),
        ("", "missing here", ""): {new},
        ("", "key written otherwise", "spaces or case"): {rewritten},
    }
    assert found == {**faults, **rows}
    assert not table.same
    assert table.equal == len(shop.orders) - len(used) - 4

    # The same as a command: exit 3, JSON, text with commands that work, a page.
    file = str(project.folder / "runner.toml")
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert run(["compare", "orders", "--config", file, "--json", "--html", str(page)]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["same"] is False
    assert {(g["column"], g["pattern"], g["detail"]) for g in report["tables"][0]["groups"]} == found.keys()
    html = page.read_text("utf-8")
    assert html.startswith("<!doctype html>")
    assert "http" not in html.replace("http-equiv", "")
    assert run(["compare", "--config", file]) == 3
    text = capsys.readouterr().out
    assert "total: off by a constant (+4.9): 10 rows" in text
    command = next(line.strip() for line in text.splitlines() if line.strip().startswith("runner explain orders"))
    assert run([*command.split()[1:], "--config", file]) == 0


def test_a_restored_store_that_lives_on(database: Database, restored: Restored, tmp_path: Path) -> None:
    """Its transaction ids are lower than those of the dump, and later: the place is told by the store's own order."""
    shop = Shop(restored(database, "emmett"))
    project = shop_project(tmp_path, database)
    id_ = min(shop.orders)
    version = shop.orders[id_]["revision"]
    add = """
        INSERT INTO emt_messages (stream_position, transaction_id, stream_id, message_schema_version, message_id,
                                  message_type, message_data, message_metadata, created)
        VALUES ({version}, pg_current_xact_id(), '{id}', '1', gen_random_uuid()::text, 'ItemAdded',
                '{{"product": "p", "quantity": 1, "unitPriceCents": 100}}', '{{}}', now())
        RETURNING transaction_id::text::bigint, global_position, created
    """
    places = [database.sql(add.format(version=version + n, id=id_))[0] for n in (1, 2, 3)]
    row = "\"Data\" = jsonb_set(jsonb_set(\"Data\", '{{n}}', '{n}'), '{{total,euros}}', '\"{euros:.2f}\"')"
    order = shop.orders[id_]
    for n, (transaction, position, created) in enumerate(places[:2], 1):
        changed = row.format(n=order["items"] + n, euros=order["total"] / 100 + n)
        shop.change(f"{changed}, revision = revision + 1, touched = '{created.isoformat()}'", f"'{id_}'")
        shop.move_progress(transaction, position)
        table = compared(project)
        assert (table.groups, table.notes, table.position) == ((), (), 10_005 + n)
    # Back in the former life, where the ids are higher.
    shop.move_progress(shop.rows[4_999][5], shop.rows[4_999][6])
    assert compared(project).position == 5_000
