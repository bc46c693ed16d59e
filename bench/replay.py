"""How fast a ledger is folded: the runner against DuckDB, Polars, a plain Python loop, and the memory's limit.

Each rival is a process of its own on two threads with the events in its memory (the runner: its log, mapped). All
results are compared first; then the rivals take turns for a number of rounds, and medians are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from limits import add_check, end_checked  # noqa: E402 - a script beside its modules
from rivals import RIVALS, THREADS, sample_digest  # noqa: E402
from workload import Workload, prepare  # noqa: E402

from runner.cli.seeded_ledger import LedgerShape  # noqa: E402

UNCHECKED = {"scan"}
"""Makes no rows: its sum says only that it has read everything."""
README_NAMES = {
    "runner": "this runner, string ids, checked arithmetic",
    "duckdb_int": "DuckDB, integer ids",
    "duckdb_str": "DuckDB, string ids",
    "polars_int": "Polars, integer ids",
    "polars_str": "Polars, string ids",
    "python": "plain Python loop",
    "scan": "the limit: reading the same columns",
}
COMPARED = ("duckdb_int", "duckdb_str", "polars_int", "polars_str", "python", "scan")


class Contender:
    """A rival's process."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.name = name
        limits = {"POLARS_MAX_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "rivals.py"),
                name,
                str(workload.directory),
                json.dumps(asdict(workload.shape)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **limits},
        )
        first = self._answer()
        self.digest: str = first["digest"]
        self.events: int = first["events"]
        self.seconds: list[float] = []
        self.peak_rss_mb = 0.0

    def round(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.peak_rss_mb = answer["peak_rss_mb"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"rival {self.name} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def events_per_second(self) -> float:
        return self.events / statistics.median(self.seconds)


def check_equal(contenders: list[Contender], sample: str) -> None:
    """All results are the same, or nothing is timed."""
    reference = next(c for c in contenders if c.name == "duckdb_int").digest
    for contender in contenders:
        if contender.name in UNCHECKED:
            continue
        expected = sample if contender.name == "python" else reference
        if contender.digest != expected:
            raise SystemExit(f"{contender.name} gives other rows than DuckDB: nothing was timed")


def replay(workload: Workload, rounds: int) -> dict[str, Any]:
    contenders: list[Contender] = []
    try:
        for name in RIVALS:
            say(f"loading {name}")
            contenders.append(Contender(name, workload))
        check_equal(contenders, sample_digest(workload))
        say(f"all results equal; {rounds} rounds")
        for number in range(rounds):
            # Another order each round, so that nobody always follows the same neighbour.
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                contender.round()
    finally:
        for contender in contenders:
            contender.close()
    speed = {c.name: c.events_per_second for c in contenders}
    return {
        "events": workload.shape.events,
        "events_per_second": {name: round(value) for name, value in speed.items()},
        "ratios": {name: round(speed["runner"] / speed[name], 3) for name in COMPARED},
        "peak_rss_mb": {c.name: round(c.peak_rss_mb) for c in contenders},
        "spread": {c.name: [round(c.events / max(c.seconds)), round(c.events / min(c.seconds))] for c in contenders},
        "rounds": rounds,
        "threads": THREADS,
        "seed": workload.shape.seed,
        "accounts": workload.shape.account_count,
        "skew": workload.shape.skew,
    }


def surroundings() -> dict[str, Any]:
    """What the figures were had on."""
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0] if models else cpu
    return {"commit": commit or "unknown", "cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version()}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{result['events']:,} events, {result['threads']} threads, medians of {result['rounds']} rounds"
    )
    for column in ("rival", "M events/s", "lowest to highest", "runner is", "peak MB"):
        table.add_column(column, justify="left" if column == "rival" else "right")
    for name, speed in sorted(result["events_per_second"].items(), key=lambda item: -item[1]):
        low, high = result["spread"][name]
        ratio = f"{result['ratios'][name]:.2f} x" if name in result["ratios"] else ""
        table.add_row(
            name, f"{speed / 1e6:.2f}", f"{low / 1e6:.2f} - {high / 1e6:.2f}", ratio, str(result["peak_rss_mb"][name])
        )
    console = Console()
    console.print(table)
    for name in ("help_seconds", "rebuild_10k_command_seconds", "rebuild_10k_seconds"):
        if name in result:
            console.print(f"{name}: {result[name]:.3f}")
    machine = f"{result['cpu']}, {result['cores']} cores, Python {result['python']}"
    console.print(f"{machine}, commit {result['commit']}, seed {result['seed']}")


def readme_table(result: dict[str, Any]) -> str:
    """The README's table, as Markdown with seed, hardware and commit."""
    rows = ["| | M events/s | the runner is | peak MB |", "|---|---|---|---|"]
    for name, speed in sorted(result["events_per_second"].items(), key=lambda item: -item[1]):
        ratio = f"{result['ratios'][name]:.1f} times" if name in result["ratios"] else ""
        rows.append(f"| {README_NAMES[name]} | {speed / 1e6:.1f} | {ratio} | {result['peak_rss_mb'][name]:,} |")
    accounts = f"{result['accounts']:,} accounts ({result['skew']})"
    machine = f"{result['cpu']}, {result['cores']} cores, Python {result['python']}"
    said = (
        f"{result['events']:,} events of {accounts}, {result['threads']} threads each, medians of {result['rounds']} "
        f"rounds; {machine}; commit {result['commit']}, seed {result['seed']}."
    )
    small = (
        f"`runner --help` {result['help_seconds']:.2f} s; a rebuild of 10,000 events with proof "
        f"{result['rebuild_10k_seconds']:.2f} s in a running process, "
        f"{result['rebuild_10k_command_seconds']:.1f} s as a command."
    )
    return "\n".join([*rows, "", said, "", small]) + "\n"


def write_readme(result: dict[str, Any]) -> None:
    path = HERE.parent / "README.md"
    head, begin, rest = path.read_text().partition("<!-- benchmark: generated by bench/replay.py --readme -->\n")
    _, end, tail = rest.partition("<!-- end of benchmark -->")
    path.write_text(head + begin + readme_table(result) + end + tail)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skew", choices=["uniform", "zipf"], default="uniform")
    parser.add_argument("--partitions", type=int, default=None, help="of the log; default: the runner's own choice")
    parser.add_argument("--no-small", action="store_true", help="leave out the help's and the small rebuild's times")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readme", action="store_true", help="write the README's table too")
    add_check(parser)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    started = time.perf_counter()
    workload = prepare(LedgerShape(asked.events, seed=asked.seed, skew=asked.skew), asked.partitions)
    say(f"ledger ready after {time.perf_counter() - started:.1f} s: {workload.directory}")
    result = replay(workload, asked.rounds)
    result.update(surroundings())
    if not asked.no_small:
        from small import small_things

        result.update(small_things())
    if asked.readme:
        write_readme(result)
    if asked.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if asked.check:
        end_checked(result, asked.slack)


if __name__ == "__main__":
    main()
