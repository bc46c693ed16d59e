"""The bank's accounts (PKDD'99): two CSV files in one namespace, exact money, a torn last line."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from real_log import BANK, RealLog, one, same

from runner.jobs.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

RAW = """
CREATE TEMP TABLE account AS
SELECT account_id, district_id::BIGINT AS district, frequency, strptime(date, '%y%m%d')::DATE AS opened_on,
FROM read_csv('{berka}/account.asc.gz', delim = ';', header = true, all_varchar = true);
CREATE TEMP TABLE trans AS
SELECT *, timezone('Europe/Prague', strptime(date, '%y%m%d')) AS moment,
    CASE type WHEN 'PRIJEM' THEN amount ELSE -amount END AS signed
FROM (
    SELECT row_number() OVER () AS row, account_id, type, coalesce(operation, '') AS operation, k_symbol, date, bank,
        amount::DECIMAL(19, 2) AS amount, balance::DECIMAL(19, 2) AS balance
    FROM read_csv('{berka}/trans.asc.gz', delim = ';', header = true, all_varchar = true, null_padding = true,
        strict_mode = false, parallel = false)
    WHERE balance IS NOT NULL
)
"""
ACCOUNTS = """
SELECT account_id AS aggregate_id, any_value(a.district) AS district, coalesce(any_value(a.frequency), '') AS frequency,
    any_value(a.opened_on) AS opened_on, coalesce(sum(amount) FILTER (type = 'PRIJEM'), 0)::DECIMAL(19, 2) AS came_in,
    coalesce(sum(amount) FILTER (type <> 'PRIJEM'), 0)::DECIMAL(19, 2) AS went_out,
    coalesce(sum(signed), 0)::DECIMAL(19, 2) AS net, greatest(coalesce(max(amount), 0), 0)::DECIMAL(19, 2) AS largest,
    greatest(coalesce(max(balance), 0), 0)::DECIMAL(19, 2) AS highest_balance,
    round_even(coalesce(sum(amount) FILTER (type = 'PRIJEM'), 0), 0)::DECIMAL(19, 0) AS came_in_rounded,
    (sum(amount) FILTER (k_symbol = 'UROK'))::DECIMAL(19, 2) AS interest, count(row) AS movements,
    arg_max(moment, row) AS last_at, coalesce(arg_max(operation, row), '') AS last_operation,
    coalesce(arg_max(bank, row) FILTER (bank <> '' AND type <> 'PRIJEM'), '') AS last_bank
FROM account a FULL JOIN trans USING (account_id) GROUP BY account_id
"""
MOVEMENTS = """
SELECT account_id AS aggregate_id, operation, count(*) AS count, sum(signed)::DECIMAL(19, 2) AS total
FROM trans GROUP BY ALL
"""
TURNOVER = """
SELECT date_trunc('month', moment)::DATE AS month, operation, count(*) AS count, sum(signed)::DECIMAL(19, 2) AS total
FROM trans GROUP BY ALL
"""


@pytest.fixture(scope="module")
def sql(bank: RealLog, data: Path) -> duckdb.DuckDBPyConnection:
    connection = bank.sql()
    connection.execute(RAW.format(berka=data / "berka-bank"))
    return connection


def test_accounts(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM accounts", ACCOUNTS) == 4_500


def test_movements(sql: duckdb.DuckDBPyConnection) -> None:
    assert same(sql, "FROM movements", MOVEMENTS) > 4_000


def test_turnover(sql: duckdb.DuckDBPyConnection) -> None:
    """Midnight in Prague lies in the month before, in UTC."""
    assert same(sql, "FROM turnover", TURNOVER) > 70
    assert one(sql, "SELECT min(month) FROM turnover") == (datetime(1992, 12, 1, tzinfo=UTC).date(),)


def test_the_banks_own_balances(bank: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    """At the end of an account's last whole day some row of it shows what all amounts add up to.

    The bank rounds each to 0.10 and has lost up to 0.70 in its own column over 15 months.
    """
    (rows,) = one(sql, "SELECT max(row) FROM trans WHERE moment < (SELECT max(moment) FROM trans)")
    bank.rebuild(to=4_500 + rows)
    try:
        with bank.sql() as then:
            sql.register("nets", then.sql("SELECT aggregate_id, net, last_at FROM accounts").to_arrow_table())
    finally:
        bank.update()
    off = one(
        sql,
        """
        SELECT count(*), count(*) FILTER (nearest = 0) > 600, max(nearest) FROM (
            SELECT min(abs(t.balance - n.net)) AS nearest
            FROM nets n JOIN trans t ON t.account_id = n.aggregate_id AND t.moment = n.last_at GROUP BY n.aggregate_id
        )
        """,
    )
    sql.unregister("nets")
    assert off == (1_229, True, Decimal("0.70"))


def test_the_torn_last_line_waits(bank: RealLog, data: Path, place: Callable[[str], Path]) -> None:
    """What is whole is read first; the line comes when it is whole, and then only it."""
    text = gzip.decompress((data / "berka-bank/trans.asc.gz").read_bytes())
    assert text.endswith(b'3526882;11021;940331;"PRIJE')
    whole = text + b'M";"VKLAD";100.00;200.00;"";;\r\n'
    folder = place("torn")
    cut = len(text) // 2 + 5
    (folder / "trans.asc.gz").write_bytes(gzip.compress(text[:cut], 1))
    sources = BANK.format(accounts=data / "berka-bank/account.asc.gz", transactions="trans.asc.gz")
    log = RealLog(folder, "real_bank", sources, partitions=4)
    first = log.sync()
    assert first.sources[1].unfinished
    log.rebuild()
    # A compressed file is replaced by a longer one.
    (folder / "trans.asc.gz").write_bytes(gzip.compress(text, 1))
    second = log.sync()
    assert [s.events for s in second.sources] == [0, 49_102 - first.sources[1].events]
    (torn,) = second.sources[1].unfinished
    assert (torn.line, torn.octets) == (49_104, len(b'3526882;11021;940331;"PRIJE'))
    log.update()
    assert log.bytes() == bank.bytes()
    (folder / "trans.asc.gz").write_bytes(gzip.compress(whole, 1))
    third = log.sync()
    assert [s.events for s in third.sources] == [0, 1]
    report = log.update()
    accounts = next(p for p in report.projections if p.name == "accounts")
    assert (report.events, accounts.rows) == (1, 1)
    with log.sql() as now, bank.sql() as before:
        wanted = "SELECT came_in, movements FROM accounts WHERE aggregate_id = '11021'"
        came_in, movements = one(before, wanted)
        assert one(now, wanted) == (came_in + 100, movements + 1)


def test_explain_goes_through_both_files(bank: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    steps = list(explain(bank.config, "accounts", ["2378"], source="berka"))
    count = one(sql, "SELECT count(*) FROM trans WHERE account_id = '2378'")
    assert [s.handler for s in steps[:2]] == ["opened", "credited"]
    assert len(steps) == count[0] + 1
    assert steps[1].changed == (
        "came_in", "net", "largest", "highest_balance", "came_in_rounded", "movements", "last_at", "last_operation",
    )  # fmt: skip
    assert (steps[1].after or {})["net"] == Decimal("700.00")
    child = [s for s in explain(bank.config, "movements", ["2378", "VKLAD"]) if s.handler]
    assert [(s.after or {})["count"] for s in child] == list(range(1, len(child) + 1))
    paid_in = "SELECT count(*), sum(signed) FROM trans WHERE account_id = '2378' AND operation = 'VKLAD'"
    assert one(sql, paid_in) == tuple((child[-1].after or {}).values())


def test_explain_walks_a_merged_row(bank: RealLog, sql: duckdb.DuckDBPyConnection) -> None:
    explanation = explain(bank.config, "turnover", ["1993-03-01", "VYBER"], to=20_000)
    assert explanation.scans == 20_000
    *_, last = explanation
    expected = one(
        sql,
        """
        SELECT count(*), sum(signed) FROM trans
        WHERE date_trunc('month', moment) = '1993-03-01' AND operation = 'VYBER' AND row <= 20000 - 4500
        """,
    )
    assert expected == tuple((last.after or {}).values())
