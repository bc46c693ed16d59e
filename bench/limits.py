"""The limits that the figures must keep, and which of them a result missed.

Ratios are those of one run on one machine and hold on any; seconds are of the machine they were stated for, so slack is
for slower or busy ones. The limits of the replay are for 20 M events and a compacted log with checked arithmetic.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

__all__ = ["FOLLOW", "REPLAY", "SMALL", "Limit", "add_check", "end_checked", "missed"]


@dataclass(frozen=True)
class Limit:
    """One figure's bound. keys: where it stands in the result; of several, each must keep it.

    least: it may not be lower (a ratio); else it may not be higher (seconds).
    """

    what: str
    keys: tuple[str, ...]
    bound: float
    least: bool

    def missed(self, found: Mapping[str, float], slack: float) -> list[str]:
        bound = self.bound / (1 + slack) if self.least else self.bound * (1 + slack)
        side = "at least" if self.least else "under"
        allowed = f"{side} {self.bound:g}" + (f" ({bound:.3g} with the slack)" if slack else "")
        return [
            f"{self.what}: {key} is {found[key]:.3f}, the limit is {allowed}"
            for key in self.keys
            if (found[key] < bound if self.least else found[key] >= bound)
        ]


REPLAY = (
    Limit("replay, times the better of DuckDB and Polars on integer ids", ("duckdb_int", "polars_int"), 7, least=True),
    Limit("replay, times the better of DuckDB and Polars on string ids", ("duckdb_str", "polars_str"), 11, least=True),
    Limit("replay, times the plain Python loop", ("python",), 200, least=True),
)
SMALL = (
    Limit("runner --help, seconds", ("help_seconds",), 0.4, least=False),
    Limit("rebuild of 10,000 events in process, seconds", ("rebuild_10k_seconds",), 1.5, least=False),
)

FOLLOW = (Limit("lag from commit to visible row, seconds, 99th percentile", ("p99",), 1.0, least=False),)
POSTGRES = (
    Limit("sync, times a bare COPY of the same columns", ("sync_time_over_copy",), 1.6, least=False),
    Limit("load of the rows, times a bare COPY of them", ("load_time_over_copy",), 1.5, least=False),
    Limit("from store to table, times the cursor, dict and executemany", ("job_over_cursor_loop",), 6, least=True),
)


def missed(result: Mapping[str, Any], slack: float = 0.0) -> list[str]:
    """One line for each limit that a result misses; a result has ``ratios``, the small things' seconds, or both.

    slack: by which part a limit is loosened: 0.2 lets 0.4 s be 0.48 s, and 7 times be 5.83 times.
    """
    lines: list[str] = []
    if POSTGRES[0].keys[0] in result.get("ratios", ()):
        lines += [line for limit in POSTGRES for line in limit.missed(result["ratios"], slack)]
    elif "ratios" in result:
        lines += [line for limit in REPLAY for line in limit.missed(result["ratios"], slack)]
    if SMALL[0].keys[0] in result:
        lines += [line for limit in SMALL for line in limit.missed(result, slack)]
    if "lag_seconds" in result:
        lines += [line for limit in FOLLOW for line in limit.missed(result["lag_seconds"], slack)]
    return lines


def add_check(parser: ArgumentParser) -> None:
    """The options ``--check`` and ``--slack``."""
    parser.add_argument("--check", action="store_true", help="exit 1 and name what was missed, if a limit was")
    parser.add_argument(
        "--slack", type=float, default=0.0, help="loosen the limits by this part on a busy machine, e.g. 0.2"
    )


def end_checked(result: Mapping[str, Any], slack: float) -> None:
    """Exit with 1 after a line on stderr for each limit that was missed."""
    lines = missed(result, slack)
    for line in lines:
        print(f"missed: {line}", file=sys.stderr)
    if lines:
        raise SystemExit(1)
