"""The rivals: each folds the same ledger into one row per account, from a table of its own in memory, on two threads.

A rival runs in a process of its own (``python rivals.py NAME DIRECTORY SHAPE``), so that its peak memory is its own. It
loads, folds once, says the digest of its result, and then folds once for each line it gets, answering with the seconds.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from workload import Workload

from runner.cli.seeded_ledger import LedgerShape

if TYPE_CHECKING:
    from collections.abc import Callable

    from own import Own

THREADS = 2
SAMPLE = 500_000
"""Events of the plain Python loop."""
OUTPUT = ("balance", "deposits", "withdrawals", "largest", "last_at", "open")


class Rows(NamedTuple):
    """A result: account numbers and the six state fields as int64 arrays of equal length, in any order."""

    account: np.ndarray
    fields: dict[str, np.ndarray]

    def digest(self) -> str:
        order = np.argsort(self.account, kind="stable")
        digest = hashlib.sha256()
        for column in (self.account, *(self.fields[name] for name in OUTPUT)):
            digest.update(np.ascontiguousarray(np.asarray(column)[order].astype(np.int64)).tobytes())
        return digest.hexdigest()


class Rival(NamedTuple):
    """fold: one whole fold, what is timed; rows: its last result; events: how many it folds."""

    fold: Callable[[], object]
    rows: Callable[[object], Rows]
    events: int


SQL = """
SELECT account,
       CAST(sum(CASE type WHEN 0 THEN 0 WHEN 1 THEN amount ELSE -amount END) AS BIGINT) AS balance,
       count(*) FILTER (type = 1) AS deposits,
       count(*) FILTER (type = 2) AS withdrawals,
       max(CASE type WHEN 1 THEN amount ELSE 0 END) AS largest,
       max("at") AS last_at,
       bool_or(type = 0) AS open
FROM events GROUP BY account
"""


def arrow_events(workload: Workload, ids: str) -> Any:
    import pyarrow as pa

    columns = {name: pa.array(workload.column(name)) for name in ("type", "amount", "at")}
    account = workload.column("account")
    if ids == "str":
        texts = pa.array([workload.account_text(i) for i in range(workload.shape.account_count)])
        columns["account"] = texts.take(pa.array(account))
    else:
        columns["account"] = pa.array(account)
    return pa.table(columns)


def arrow_rows(table: Any) -> Rows:
    """From an Arrow table with the columns of SQL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    account = table["account"]
    if not pa.types.is_integer(account.type):
        account = pc.cast(pc.utf8_slice_codeunits(account.cast(pa.string()), 4), pa.int64())
    fields = {name: table[name].cast(pa.int64()).to_numpy() for name in OUTPUT}
    return Rows(account.to_numpy(), fields)


def duckdb_rival(workload: Workload, ids: str) -> Rival:
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS})
    arrived = arrow_events(workload, ids)
    connection.register("arrived", arrived)
    connection.execute('CREATE TABLE events AS SELECT account, type, amount, "at" FROM arrived')
    connection.unregister("arrived")
    connection.execute("SET preserve_insertion_order = false")
    return Rival(lambda: connection.sql(SQL).to_arrow_table(), arrow_rows, workload.shape.events)


def polars_rival(workload: Workload, ids: str) -> Rival:
    import polars as pl

    events = pl.from_arrow(arrow_events(workload, ids)).rechunk()
    kind, amount = pl.col("type"), pl.col("amount")
    signed = pl.when(kind == 0).then(0).when(kind == 1).then(amount).otherwise(-amount)
    query = (
        events.lazy()
        .group_by("account")
        .agg(
            signed.sum().alias("balance"),
            (kind == 1).sum().alias("deposits"),
            (kind == 2).sum().alias("withdrawals"),
            pl.when(kind == 1).then(amount).otherwise(0).max().alias("largest"),
            pl.col("at").max().alias("last_at"),
            (kind == 0).any().alias("open"),
        )
    )
    return Rival(query.collect, lambda frame: arrow_rows(frame.to_arrow()), workload.shape.events)


class _State:
    __slots__ = OUTPUT

    def __init__(self) -> None:
        self.balance = self.deposits = self.withdrawals = self.largest = self.last_at = 0
        self.open = False


def python_rival(workload: Workload, _ids: str) -> Rival:
    events = min(SAMPLE, workload.shape.events)
    names = [workload.account_text(i) for i in range(workload.shape.account_count)]
    columns = [workload.column(name)[:events].tolist() for name in ("account", "type", "amount", "at")]
    columns[0] = [names[i] for i in columns[0]]

    def fold() -> dict[str, _State]:
        states: dict[str, _State] = {}
        for account, kind, amount, at in zip(*columns, strict=True):
            state = states.get(account)
            if state is None:
                state = states[account] = _State()
            if kind == 1:
                state.balance += amount
                state.deposits += 1
                state.largest = max(state.largest, amount)
            elif kind == 2:
                state.balance -= amount
                state.withdrawals += 1
            elif kind == 3:
                state.balance -= amount
            else:
                state.open = True
            state.last_at = at
        return states

    def rows(states: object) -> Rows:
        assert isinstance(states, dict)
        account = np.array([int(name[4:]) for name in states], np.int64)
        fields = {name: np.array([getattr(s, name) for s in states.values()], np.int64) for name in OUTPUT}
        return Rows(account, fields)

    return Rival(fold, rows, events)


def own_log(workload: Workload) -> Own:
    from own import Own

    from runner.log import Log

    return Own(Log.open(workload.log), THREADS)


def runner_rival(workload: Workload) -> Rival:
    own = own_log(workload)

    def rows(outcomes: object) -> Rows:
        import pyarrow as pa

        assert isinstance(outcomes, list)
        table = pa.concat_tables([outcome.projections["account"].rows for outcome in outcomes])
        return arrow_rows(table.rename_columns({"aggregate_id": "account"}))

    return Rival(own.fold, rows, workload.shape.events)


def scan_rival(workload: Workload) -> Rival:
    own = own_log(workload)
    nothing = np.zeros(0, np.int64)
    return Rival(own.scan, lambda _: Rows(nothing, dict.fromkeys(OUTPUT, nothing)), workload.shape.events)


def sample_digest(workload: Workload) -> str:
    """What the Python loop's result must be, computed by DuckDB."""
    import duckdb

    events = arrow_events(workload, "int").slice(0, min(SAMPLE, workload.shape.events))
    connection = duckdb.connect(config={"threads": THREADS})
    connection.register("events", events)
    return arrow_rows(connection.sql(SQL).to_arrow_table()).digest()


RIVALS: dict[str, Callable[[Workload], Rival]] = {
    "duckdb_int": lambda w: duckdb_rival(w, "int"),
    "duckdb_str": lambda w: duckdb_rival(w, "str"),
    "polars_int": lambda w: polars_rival(w, "int"),
    "polars_str": lambda w: polars_rival(w, "str"),
    "python": lambda w: python_rival(w, "str"),
    "runner": runner_rival,
    "scan": scan_rival,
}


def serve(name: str, workload: Workload) -> None:
    """Load, fold, say the digest; then fold and say the seconds, once for every line of stdin."""
    rival = RIVALS[name](workload)
    result = rival.fold()
    rows = rival.rows(result)
    digest = rows.digest()
    del result, rows
    answer({"digest": digest, "events": rival.events})
    for _ in sys.stdin:
        started = time.perf_counter()
        result = rival.fold()
        elapsed = time.perf_counter() - started
        del result
        answer({"seconds": elapsed, "peak_rss_mb": peak_rss_mb()})


def peak_rss_mb() -> float:
    """Of this process alone; getrusage would count what its parent had before the exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def answer(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, rival_name, directory, shape = sys.argv
    serve(rival_name, Workload(Path(directory), LedgerShape(**json.loads(shape))))
