"""The parts of the suite that fold in memory: the runner against its rivals, and against itself on other workloads.

Each takes a form and gives figures; ``expected.py`` says what they must reach, ``suite.py`` runs them. The parts that
run whole jobs are in ``job_parts.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contest import Entry, contest, environment
from surroundings import say
from workloads import WORKLOADS

if TYPE_CHECKING:
    from forms import Form

__all__ = ["columnar", "core", "follow", "in_python", "others", "postgres", "skew", "small", "ten"]

HERE = Path(__file__).parent


def _entries(form: Form, rivals: tuple[str, ...], *workloads: str) -> list[Entry]:
    return [Entry(rival, name, _events(form, name), sample=form.sample) for name in workloads for rival in rivals]


def _events(form: Form, workload: str) -> int:
    own = WORKLOADS[workload].events
    return form.ledger if own == WORKLOADS["uniform"].events else int(own * form.share)


def columnar(form: Form) -> dict[str, Any]:
    """The uniform ledger: the runner, the scan, DuckDB and Polars, on two threads each."""
    rivals = ("runner", "scan", "duckdb_int", "duckdb_str", "polars_int", "polars_str")
    return contest(_entries(form, rivals, "uniform"), form.rounds)


def in_python(form: Form) -> dict[str, Any]:
    """The uniform ledger: the runner, and rivals that call Python for every event, or shuffle it through an engine."""
    rivals = ("runner", "python", "bytewax", "bytewax_final", "ray_data", "eventsourcing")
    return contest(_entries(form, rivals, "uniform"), form.rounds)


def core(form: Form) -> dict[str, Any]:
    """One core: the runner's checked fold of batches that were made before, and C folds of the same batches."""
    rivals = ("runner_core", "c_runs", "c_switch", "c_position")
    return contest(_entries(form, rivals, "uniform"), form.rounds)


def ten(form: Form) -> dict[str, Any]:
    """One projection and ten, in one pass over the same log."""
    return contest(_entries(form, ("runner",), "uniform", "ten"), form.rounds)


def skew(form: Form) -> dict[str, Any]:
    """The ledger with accounts of equal size, by Zipf's law, and with a giant one."""
    return contest(_entries(form, ("runner",), "uniform", "zipf", "giant"), form.rounds)


def others(form: Form) -> dict[str, Any]:
    """Each further workload against DuckDB and Polars."""
    found: dict[str, Any] = {"figures": {}, "not_run": {}}
    rivals = ("runner", "duckdb_str", "polars_str")
    for name in WORKLOADS:
        # The smoke is of the suite; the tests compare the rows of every pair.
        if name == "wide" or (name != "uniform" and form.name != "smoke"):
            one = contest(_entries(form, rivals, name), min(5, form.rounds))
            found["figures"] |= {f"{rival}/{name}": of for rival, of in one["figures"].items()}
            found["not_run"] |= one["not_run"]
    return found


def small(form: Form) -> dict[str, Any]:
    """The help, and a rebuild of 10,000 events."""
    return _script("small.py", str(form.small_times))


def postgres(form: Form) -> dict[str, Any]:
    """Events out of Postgres and rows into it."""
    return _script("postgres.py", "--json", *form.postgres)


def follow(form: Form) -> dict[str, Any]:
    """The lag from a commit to the row that users see, polled and notified."""
    return {
        name: _script("follow.py", "--json", *form.follow, *options)
        for name, options in {"polled": (), "notified": ("--notify",)}.items()
    }


def _script(name: str, *options: str) -> dict[str, Any]:
    say(f"running {name} {' '.join(options)}")
    done = subprocess.run(
        [sys.executable, str(HERE / name), *options], stdout=subprocess.PIPE, text=True, env=environment(2), check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return {key: value for key, value in found.items() if key not in ("cpu", "cores", "commit", "python")}
