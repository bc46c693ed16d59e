"""The one table of rivals, for the tests that compare their rows and for the benchmarks that time them.

A rival runs in a process of its own (``python -m rivals.comparisons NAME WORKLOAD EVENTS SEED PARTITIONS SAMPLE``), so
that its peak memory is its own. It loads, folds once, says the digest of its rows, and then folds once for each line it
gets, answering with the seconds.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workloads import Made

    from rivals.loaded import Loaded

__all__ = ["COMPARISONS", "Rival", "digest_of", "reference_digest"]


@dataclass(frozen=True)
class Rival:
    """title: in tables. needs: modules that must be there. sample: how many of the first events it folds, where all
    would take minutes; 0: all. threads: how many it may use. slow: fewer rounds are enough.
    """

    name: str
    title: str
    load: Callable[[Made, int], Loaded]
    needs: tuple[str, ...] = ()
    c: bool = False
    sample: int = 0
    threads: int = 2
    slow: bool = False

    @property
    def why_not(self) -> str:
        """Why it cannot run here; "" where it can."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed: `make bench` installs the extra `bench`"
        if self.c:
            from rivals.c_fold import compiler

            return "" if compiler() else "no C compiler (cc or gcc) on this machine"
        return ""


def _lazily(module: str, function: str, choice: str) -> Callable[[Made, int], Loaded]:
    """Loads the rival's module only in the process that runs it."""

    def load(made: Made, most: int) -> Loaded:
        found = __import__(f"rivals.{module}", fromlist=[function])
        loaded: Loaded = getattr(found, function)(made, choice, most)
        return loaded

    return load


COMPARISONS: Mapping[str, Rival] = {
    r.name: r
    for r in (
        Rival("scan", "the limit: reading the same columns", _lazily("ours", "scan_rival", "")),
        Rival("runner", "this runner, string ids, checked arithmetic", _lazily("ours", "runner_rival", "")),
        Rival("duckdb_int", "DuckDB, integer ids", _lazily("columnar", "duckdb_rival", "int"), ("duckdb",)),
        Rival("duckdb_str", "DuckDB, string ids", _lazily("columnar", "duckdb_rival", "str"), ("duckdb",)),
        Rival("polars_int", "Polars, integer ids", _lazily("columnar", "polars_rival", "int"), ("polars",)),
        Rival("polars_str", "Polars, string ids", _lazily("columnar", "polars_rival", "str"), ("polars",)),
        Rival("python", "plain Python loop", _lazily("in_python", "python_rival", ""), sample=500_000, threads=1),
        Rival(
            "bytewax",
            "Bytewax, stateful_map",
            _lazily("in_python", "bytewax_rival", ""),
            ("bytewax",),
            sample=200_000,
            slow=True,
        ),
        Rival(
            "bytewax_final",
            "Bytewax, fold_final",
            _lazily("in_python", "bytewax_final_rival", ""),
            ("bytewax",),
            sample=500_000,
            slow=True,
        ),
        Rival(
            "ray_data",
            "Ray Data, groupby",
            _lazily("ray_data", "ray_data_rival", "str"),
            ("ray", "pandas"),
            sample=2_000_000,
            slow=True,
        ),
        Rival(
            "eventsourcing",
            "eventsourcing, reading its store",
            _lazily("in_python", "eventsourcing_rival", ""),
            ("eventsourcing",),
            sample=50_000,
            threads=1,
            slow=True,
        ),
        Rival("runner_core", "this runner, one thread, fold alone", _lazily("ours", "core_rival", ""), threads=1),
        Rival("c_runs", "C, a loop for each run of a type", _lazily("ours", "c_rival", "runs"), c=True, threads=1),
        Rival("c_switch", "C, a switch for each event", _lazily("ours", "c_rival", "switch"), c=True, threads=1),
        Rival(
            "c_position", "C, the events in position order", _lazily("ours", "c_rival", "position"), c=True, threads=1
        ),
    )
}


def digest_of(loaded: Loaded, made: Made, result: Any) -> str:
    """Of a fold's rows in their common form; "" where a rival makes none."""
    from queries import digest, table_of

    if loaded.rows is None:
        return ""
    found = loaded.rows(result)
    return digest({name: table_of(found[name], query) for name, query in made.workload.rows.items()})


def reference_digest(made: Made, most: int = 0) -> str:
    """What every rival's rows must be, of the first ``most`` events (0: all): by DuckDB, from the events' columns."""
    from rivals.columnar import duckdb_rival

    loaded = duckdb_rival(made, "int", most)
    return digest_of(loaded, made, loaded.fold())


def serve(name: str, made: Made, most: int) -> None:
    loaded = COMPARISONS[name].load(made, most)
    try:
        result = loaded.fold()
        digest = digest_of(loaded, made, result)
        del result
        answer({"digest": digest, "events": loaded.events, "octets": loaded.octets})
        for _ in sys.stdin:
            started = time.perf_counter()
            result = loaded.fold()
            elapsed = time.perf_counter() - started
            del result
            answer({"seconds": elapsed, "peak_rss_mb": peak_rss_mb()})
    finally:
        loaded.close()


def peak_rss_mb() -> float:
    """Of this process alone; getrusage would count what its parent had before the exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def answer(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main() -> None:
    from workloads import prepare

    _, rival, workload, events, seed, partitions, sample = sys.argv
    made = prepare(workload, int(events), int(seed), int(partitions) or None)
    if rival == "reference":
        answer({"digest": reference_digest(made, int(sample))})
    else:
        serve(rival, made, int(sample))


if __name__ == "__main__":
    main()
