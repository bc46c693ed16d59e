"""How fast one workload is folded, by the runner and by any of its rivals.

All rows are compared first; then the rivals take turns for a number of rounds, and medians are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contest import Entry, contest
from limits import add_check, end_checked
from rivals.comparisons import COMPARISONS
from surroundings import surroundings
from workloads import WORKLOADS

QUICK = ("scan", "runner", "duckdb_int", "duckdb_str", "polars_int", "polars_str", "python")
"""Those that a limit is stated for; the others take a minute more."""


def replay(asked: argparse.Namespace) -> dict[str, Any]:
    able = WORKLOADS[asked.workload].rivals
    chosen = tuple(asked.rivals.split(",")) if asked.rivals else tuple(name for name in QUICK if name in able)
    if unable := [name for name in chosen if name not in able]:
        raise SystemExit(f"{', '.join(unable)}: not of {asked.workload}, which has {', '.join(able)}")
    events = asked.events or WORKLOADS[asked.workload].events
    entries = [Entry(name, asked.workload, events, asked.seed, asked.partitions or 0) for name in chosen]
    found = contest(entries, asked.rounds)
    figures = found["figures"]
    speed = {name: of["events_per_second"] for name, of in figures.items()}
    own = speed.get("runner", 0)
    return {
        "workload": asked.workload,
        "events": events,
        "seed": asked.seed,
        "ratios": {name: round(own / value, 3) for name, value in speed.items() if own and name != "runner"},
        **found,
    }


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['events']:,} events, {WORKLOADS[result['workload']].what}")
    for column in ("rival", "M events/s", "lowest to highest", "runner is", "threads", "peak MB"):
        table.add_column(column, justify="left" if column == "rival" else "right")
    for name, of in sorted(result["figures"].items(), key=lambda item: -item[1]["events_per_second"]):
        ratio = f"{result['ratios'][name]:.2f} x" if name in result["ratios"] else ""
        spread = f"{of['lowest'] / 1e6:.2f} - {of['highest'] / 1e6:.2f}"
        speed = f"{of['events_per_second'] / 1e6:.2f}"
        table.add_row(COMPARISONS[name].title, speed, spread, ratio, str(of["threads"]), str(of["peak_rss_mb"]))
    console = Console()
    console.print(table)
    for name, why in result["not_run"].items():
        console.print(f"not run: {name}: {why}")
    machine = f"{result['cpu']}, {result['cores']} cores, Python {result['python']}"
    console.print(f"{machine}, commit {result['commit']}, seed {result['seed']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=list(WORKLOADS), default="uniform")
    parser.add_argument("--rivals", default="", help=f"of {', '.join(COMPARISONS)}; default: {','.join(QUICK)}")
    parser.add_argument("--events", type=int, default=0, help="default: the workload's own number")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=None, help="of the log; default: the runner's own choice")
    parser.add_argument("--json", action="store_true")
    add_check(parser)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    result = replay(asked) | surroundings()
    if asked.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if asked.check:
        end_checked(result, asked.slack)


if __name__ == "__main__":
    main()
