"""The parts of the suite that run whole jobs, rebuilds and updates of a log on the disk, each in a process of its own.

What is timed is the job in a process that has loaded the product, with its plan, proof, rows on the disk and switch.
The compiled kernel and the log's pages are in their caches, unless a figure says cold.
"""

from __future__ import annotations

import os
import shutil
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from own import plan_for
from projects import cleared, cluster, evict, project, run, same_rows
from rivals.loaded import ACCOUNT
from surroundings import say
from workloads import OUT, prepare_log

from runner.cli.seeded_ledger import LedgerChunk, LedgerShape, LedgerTexts
from runner.log import Log, LogWriter

if TYPE_CHECKING:
    from forms import Form
    from workloads import Made

__all__ = ["engines", "memory", "ten_times", "update"]


def _seconds(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spread of one kind of run."""
    every = [one["seconds"] for one in found]
    stages = {name: [one["stages"].get(name, 0.0) for one in found] for name in found[0]["stages"]}
    return {
        "seconds": round(statistics.median(every), 4),
        "lowest": round(min(every), 4),
        "highest": round(max(every), 4),
        "rounds": len(every),
        "events": found[0]["events"],
        "rows": found[0]["rows"],
        "stages": {name: round(statistics.median(values), 4) for name, values in stages.items()},
        "worker_seconds": found[len(found) // 2]["workers"],
    }


def _equal(directory: Path, rows: dict[str, tuple[int, int]], name: str) -> None:
    """The rows are those of every run before, or nothing counts."""
    rows[name] = same_rows(directory)
    if len(set(rows.values())) != 1:
        raise SystemExit(f"{name} made other rows than the runs before: nothing counts ({rows})")


def engines(form: Form) -> dict[str, Any]:
    """A rebuild by one and by two workers, as threads and on a Ray cluster of two that runs already."""
    made = prepare_log("uniform", form.jobs)
    found: dict[str, list[dict[str, Any]]] = {}
    rows: dict[str, tuple[int, int]] = {}
    with cluster(2) as ray:
        kinds: list[tuple[str, dict[str, Any]]] = [
            (f"{name}_{workers}", {"workers": workers, "ray": at})
            for name, at in (("threads", None), ("ray", ray))
            for workers in (1, 2)
        ]
        directory = project(made, "engines")
        for name, options in kinds if form.warm else ():
            say(f"once before: {name}")
            run(cleared(directory), **options)
            _equal(directory, rows, name)
        for number in range(form.job_rounds):
            say(f"round {number + 1} of {form.job_rounds}: {made.shape.events:,} events by each of {len(kinds)}")
            for name, options in kinds[number % 4 :] + kinds[: number % 4]:
                found.setdefault(name, []).append(run(cleared(directory), **options))
                _equal(directory, rows, name)
    shutil.rmtree(directory)
    return {"events": made.shape.events, "figures": {name: _seconds(of) for name, of in found.items()}}


def ten_times(form: Form) -> dict[str, Any]:
    """A rebuild of logs of several sizes, two threads; the largest once more with its pages read from the disk."""
    found: dict[int, list[dict[str, Any]]] = {}
    logs = {events: prepare_log("uniform", events) for events in form.ten_times}
    largest = form.ten_times[-1]
    with ExitStack() as stack:
        directories = {events: project(made, "ten-times") for events, made in logs.items()}
        for directory in directories.values():
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        for number in range(form.job_rounds):
            turn = number % len(form.ten_times)
            for events in form.ten_times[turn:] + form.ten_times[:turn]:
                if events != largest or number < form.large_rounds:
                    say(f"round {number + 1} of {form.job_rounds}: {events:,} events")
                    if number == 0 and form.warm:
                        run(cleared(directories[events]))
                    found.setdefault(events, []).append(run(cleared(directories[events])))
        evict(logs[largest].log)
        say(f"{largest:,} events, cold")
        cold = run(cleared(directories[largest]))
    figures = {str(events): _seconds(found[events]) for events in form.ten_times}
    return {"sizes": list(form.ten_times), "figures": figures, "cold_seconds": round(cold["seconds"], 4)}


def memory(form: Form) -> dict[str, Any]:
    """The most anonymous memory of each of two workers on Ray, by the log's size; and of one process with two threads.

    states_mb: of all rows that a worker made, as they are in memory; task_mb: of one task's partitions.
    """
    figures: dict[str, Any] = {}
    sizes = form.ten_times if form.name != "smoke" else form.ten_times[:1]
    for events in sizes:
        made = prepare_log("uniform", events)
        directory = project(made, "memory")
        # A cluster of its own: a worker keeps what it has had from the system.
        with cluster(2) as ray:
            say(f"{events:,} events on Ray, watched")
            on_ray = run(directory, ray=ray, watched=True)
        states = _states_mb(directory)
        threads = run(cleared(directory), watched=True)
        figures[str(events)] = {
            "worker_mb": on_ray["anonymous_mb"][:2],
            "threads_process_mb": threads["anonymous_mb"][0],
            "states_mb": round(states / 2, 1),
            "task_mb": round(states / 16, 1),
            "rows": on_ray["rows"],
        }
        shutil.rmtree(directory)
    return {"sizes": list(sizes), "figures": figures}


def _states_mb(directory: Path) -> float:
    """All rows of the live read model as Arrow columns."""
    import duckdb

    with duckdb.connect(str(directory / "read_models" / "catalog.duckdb"), read_only=True) as catalog:
        reader = catalog.sql("SELECT * FROM account").to_arrow_reader(1_000_000)
        return sum(batch.nbytes for batch in reader) / 1e6


def update(form: Form) -> dict[str, Any]:
    """``update`` of 1 % new events that touch 1 % of the rows, against a rebuild of all."""
    made = prepare_log("uniform", form.jobs)
    directory = project(made, "update", OUT / "projects" / f"{made.directory.name}-update" / "log")
    try:
        _grown_log(made, directory / "log")
        say("the read model before")
        run(directory, limit={"to": made.shape.events})
        before = directory.with_name(directory.name + "-before")
        shutil.rmtree(before, ignore_errors=True)
        _copied(directory, before)
        found: dict[str, list[dict[str, Any]]] = {"update": [], "rebuild": []}
        rows: dict[str, tuple[int, int]] = {}
        for number in range(form.job_rounds):
            say(f"round {number + 1} of {form.job_rounds}: update, rebuild")
            _restored(before, directory)
            found["update"].append(run(directory, "update"))
            _equal(directory, rows, "update")
            found["rebuild"].append(run(directory))
            _equal(directory, rows, "rebuild")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(directory.with_name(directory.name + "-before"), ignore_errors=True)
    return {
        "events": made.shape.events,
        "new_events": found["update"][0]["events"],
        "touched_rows": found["update"][0]["rows"],
        "figures": {name: _seconds(of) for name, of in found.items()},
    }


def _grown_log(made: Made, path: Path) -> None:
    """The workload's log (its segments shared) and one commit more: 1 % new events of every hundredth account."""
    shutil.copytree(made.log, path, copy_function=_linked)
    shape = made.shape
    assert isinstance(shape, LedgerShape)
    n, draw = shape.events // 100, np.random.default_rng((shape.seed, 1))
    account = draw.integers(0, max(1, shape.account_count // 100), n, dtype=np.int64) * 100
    kind = draw.integers(1, 4, n).astype(np.int8)
    amount = draw.integers(1, 500_000, n, dtype=np.int64)
    at = np.full(n, 1_800_000_000_000_000, np.int64) + np.arange(n)
    chunk = LedgerChunk(shape.events, account, kind, amount, (account % 8).astype(np.int8), at)
    with LogWriter.open(path, create=False) as writer:
        writer.append("ledger", LedgerTexts(shape, cents=True).arrivals(chunk))
        writer.commit("ledger", {"events": shape.events + n})
        with Log.open(path) as log:
            columns = plan_for(log, [ACCOUNT]).columns
        writer.ensure_columns(columns)  # as a sync does with the columns that the log has


def _linked(source: str, target: str) -> None:
    """Segments and rows are never changed; all else is copied."""
    if Path(source).parent.name == "segments" or source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _copied(directory: Path, to: Path) -> None:
    for name in ("read_models", "state"):
        shutil.copytree(directory / name, to / name, copy_function=_linked)


def _restored(before: Path, directory: Path) -> None:
    for name in ("read_models", "state"):
        shutil.rmtree(directory / name)
        shutil.copytree(before / name, directory / name, copy_function=_linked)
