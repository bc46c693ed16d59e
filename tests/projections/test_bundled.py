"""The bundled projections by hand: no log, no kernel, just the classes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from projections.generic import AggregateSummary, EventCounts
from projections.ledger import (
    AccountOpened,
    Accounts,
    Balances,
    FeeCharged,
    Flows,
    MoneyDeposited,
    MoneyWithdrawn,
)
from projections.untimed import AggregateEvents, TypeCounts
from runner import Event
from runner.authoring.definition import definition_of
from runner.cli import app

if TYPE_CHECKING:
    import pytest

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2025, 3, 2, 1, tzinfo=UTC)


def test_accounts_keep_their_own_currency_apart() -> None:
    account = Accounts()
    account.opened(AccountOpened(owner="Ada", currency="EUR", recorded_at=NOON))
    account.deposited(MoneyDeposited(amount=Decimal("10.50"), currency="EUR", recorded_at=NOON))
    account.withdrawn(MoneyWithdrawn(amount=Decimal("30.00"), currency="EUR", recorded_at=NOON))
    account.deposited(MoneyDeposited(amount=Decimal("99.99"), currency="USD", recorded_at=NOON))
    account.charged(FeeCharged(amount=Decimal("1.00"), currency="EUR", recorded_at=LATER))
    assert (account.balance, account.lowest) == (Decimal("-20.50"), Decimal("-20.50"))
    assert (account.deposits, account.withdrawals, account.fees, account.foreign) == (2, 1, 1, 1)
    assert (account.opened_at, account.last_at) == (NOON, LATER)


def test_balances_are_child_rows_per_currency() -> None:
    assert [part.name for part in definition_of(Balances).key] == ["aggregate_id", "currency"]
    balance = Balances()
    balance.deposited(MoneyDeposited(amount=Decimal("5.00"), currency="EUR", recorded_at=NOON))
    balance.withdrawn(MoneyWithdrawn(amount=Decimal("7.25"), currency="EUR", recorded_at=LATER))
    assert (balance.balance, balance.movements, balance.largest) == (Decimal("-2.25"), 2, Decimal("7.25"))


def test_flows_merged_are_flows_of_all() -> None:
    deposit = MoneyDeposited(amount=Decimal("5.00"), currency="EUR", recorded_at=NOON)
    fee = FeeCharged(amount=Decimal("0.10"), currency="EUR", recorded_at=NOON)
    one, other, both = Flows(), Flows(), Flows()
    one.deposited(deposit)
    other.charged(fee)
    both.deposited(deposit)
    both.charged(fee)
    one.merge(other)
    assert (one.paid_in, one.paid_out, one.fees, one.movements) == (both.paid_in, both.paid_out, both.fees, 2)
    assert Flows.day(deposit) == date(2025, 3, 1)


def test_generic_summaries_look_at_headers_only() -> None:
    first = Event(type="a", version=1, recorded_at=NOON)
    last = Event(type="b", version=2, recorded_at=LATER)
    summary = AggregateSummary()
    summary.counted(first)
    summary.counted(last)
    assert (summary.events, summary.first_at, summary.last_at) == (2, NOON, LATER)
    assert (summary.first_type, summary.last_type, summary.last_version) == ("a", "b", 2)
    counts, more = EventCounts(), EventCounts()
    counts.counted(first)
    more.counted(last)
    counts.merge(more)
    assert counts.count == 2
    assert EventCounts.day(last) == date(2025, 3, 2)


def test_untimed_summaries_need_no_times() -> None:
    summary, counts, more = AggregateEvents(), TypeCounts(), TypeCounts()
    for event in (Event(type="a", version=4, position=17), Event(type="b", version=5, position=23)):
        summary.counted(event)
        counts.counted(event)
        more.counted(event)
    assert (summary.events, summary.first_position, summary.last_position) == (2, 17, 23)
    assert (summary.first_type, summary.last_type, summary.last_version) == ("a", "b", 5)
    counts.merge(more)
    assert counts.count == 4


def test_untimed_projections_fold_a_log_without_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [{"stream": f"a-{n % 2}", "type": "xyz"[n % 3], "data": {}} for n in range(9)]
    Path("e.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = Path("runner.toml")
    assert app.run(["init", "e.ndjson"]) == 0
    config.write_text(config.read_text().replace('modules = ["events"]', 'modules = ["projections.untimed"]'))
    assert app.run(["sync"]) == 0
    assert app.run(["rebuild", "--all", "--engine", "threads", "--prove", "all"]) == 0
    capsys.readouterr()
    assert app.run(["query", "SELECT type, count FROM type_counts ORDER BY ALL", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [{"type": t, "count": 3} for t in "xyz"]
