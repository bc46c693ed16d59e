"""What must be reached, a row each: from which part of the suite, and what stands in the way of what is not reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ROWS", "Row", "judged"]

Figures = dict[str, Any]
Judged = tuple[dict[str, float], bool]


@dataclass(frozen=True)
class Row:
    """judge: of the part's result: what was measured, by name, and whether that is enough. It raises KeyError where a
    rival that it needs did not run. why_not: what stands in the way where it is not reached; found by measuring.
    """

    name: str
    expected: str
    part: str
    judge: Callable[[Figures], Judged]
    why_not: str = ""


def _speed(part: Figures, name: str) -> float:
    return float(part["figures"][name]["events_per_second"])


def _seconds(part: Figures, name: str) -> float:
    return float(part["figures"][name]["seconds"])


def _columnar(part: Figures) -> Judged:
    own = _speed(part, "runner")
    measured = {
        f"{kind} ids": own / max(_speed(part, f"duckdb_{ids}"), _speed(part, f"polars_{ids}"))
        for kind, ids in (("integer", "int"), ("string", "str"))
    }
    return measured, measured["integer ids"] >= 10 and measured["string ids"] >= 18


def _core(part: Figures) -> Judged:
    own = _speed(part, "runner_core")
    measured = {
        "same batches": own / max(_speed(part, "c_runs"), _speed(part, "c_switch")),
        "position order": own / _speed(part, "c_position"),
    }
    return measured, measured["same batches"] >= 0.75 and measured["position order"] >= 1.3


def _in_python(part: Figures) -> Judged:
    own = _speed(part, "runner")
    measured = {
        "Bytewax": own / max(_speed(part, "bytewax"), _speed(part, "bytewax_final")),
        "Ray Data": own / _speed(part, "ray_data"),
    }
    return measured, min(measured.values()) >= 300


def _ten(part: Figures) -> Judged:
    ratio = _seconds(part, "runner/ten") / _seconds(part, "runner/uniform")
    return {"time": ratio}, ratio <= 4.5


def _two_workers(part: Figures) -> Judged:
    measured = {
        kind: _seconds(part, f"{name}_1") / _seconds(part, f"{name}_2")
        for kind, name in (("threads", "threads"), ("Ray", "ray"))
    }
    return measured, min(measured.values()) >= 1.85


def _skew(part: Figures) -> Judged:
    measured = {
        kind: _speed(part, f"runner/{name}") / _speed(part, "runner/uniform")
        for kind, name in (("giant", "giant"), ("Zipf", "zipf"))
    }
    return measured, min(measured.values()) >= 0.7


def _ten_times(part: Figures) -> Judged:
    first, second, third = part["sizes"]
    base = _seconds(part, str(first))
    measured = {f"{of / first:g} times the events": _seconds(part, str(of)) / base for of in (second, third)}
    tenfold, largest = measured.values()
    return measured, tenfold <= 1.05 * second / first and largest <= 1.05 * third / first


def _update(part: Figures) -> Judged:
    ratio = _seconds(part, "update") / _seconds(part, "rebuild")
    return {"time": ratio}, ratio <= 0.05


def _warm(part: Figures) -> Judged:
    ratio = _seconds(part, "ray_2") / _seconds(part, "threads_2")
    return {"time": ratio}, ratio <= 1.15


def _memory(part: Figures) -> Judged:
    measured: dict[str, float] = {}
    reached = True
    for events in part["sizes"]:
        of = part["figures"][str(events)]
        most = max(of["worker_mb"])
        measured[f"MB beyond the states, {events:,} events"] = most - of["states_mb"]
        measured[f"MB in all, {events:,} events"] = most
        # Of two workers that are threads of one process neither has more than the process.
        reached = reached and most <= of["states_mb"] + 256
        reached = reached and of["threads_process_mb"] <= 2 * (of["states_mb"] + 256)
    return measured, reached


ROWS = (
    Row(
        "scan and fold against the better of DuckDB and Polars",
        "at least 10 times with integer ids, 18 times with string ids",
        "columnar",
        _columnar,
    ),
    Row(
        "checked fold against unchecked C, one thread",
        "at least 0.75 on the same batches, 1.3 on the same events in position order",
        "core",
        _core,
    ),
    Row("against Bytewax and Ray Data", "at least 300 times", "in_python", _in_python),
    Row(
        "ten projections in one pass against one",
        "at most 4.5 times the time",
        "ten",
        _ten,
        "each projection has a loop of its own over each piece of a run, about half of the time, and rows of its own, "
        "about a third; one loop for all projections of a type takes a fifth off the kernel (README, what was found)",
    ),
    Row("two workers against one", "at least 1.85 times, threads and Ray", "engines", _two_workers),
    Row("giant aggregate and Zipf against uniform", "at least 0.7 of its events/s", "skew", _skew),
    Row(
        "ten times the events, and thirty times",
        "at most 10.5 times the time, and 31.5 times",
        "ten_times",
        _ten_times,
    ),
    Row(
        "update of 1 % new events that touch 1 % of the rows, against a rebuild",
        "at most 0.05 of its time",
        "update",
        _update,
        "the processor time is 0.054 of a rebuild's; the wall time has the waits of 64 small delta files for the disk, "
        "and the catalog and manifests that are written anew (README, what was found)",
    ),
    Row("rebuild on a warm Ray cluster against threads", "at most 1.15 times the time", "engines", _warm),
    Row(
        "anonymous memory of a worker",
        "states of its partitions and 256 MB, whatever the log's size",
        "memory",
        _memory,
    ),
)


def judged(parts: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """A line for each row. parts: by name, the figures of those that have run."""
    return [_judged(row, parts) for row in ROWS]


def _judged(row: Row, parts: Mapping[str, Figures]) -> dict[str, Any]:
    line = {"name": row.name, "expected": row.expected, "measured": None, "reached": False, "part": row.part}
    if row.part not in parts:
        return {**line, "why_not": f"not measured: `bench/suite.py --only {row.part}`"}
    try:
        measured, reached = row.judge(parts[row.part])
    except KeyError as missing:
        not_run = parts[row.part].get("not_run", {})
        return {**line, "why_not": f"not measured: {missing.args[0]}: {not_run.get(missing.args[0], 'did not run')}"}
    figures = {name: float(f"{value:.3g}") if value < 100 else round(value) for name, value in measured.items()}
    why_not = "" if reached else row.why_not or "not looked into yet"
    return {**line, "measured": figures, "reached": reached, "why_not": why_not}
