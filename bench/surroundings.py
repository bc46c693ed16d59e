"""What figures were had on: machine, commit, releases, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["commit", "load", "machine", "say", "surroundings", "versions"]

LIBRARIES = (
    "numba", "numpy", "pyarrow", "ray", "duckdb", "polars", "bytewax", "eventsourcing", "psycopg", "pandas",
)  # fmt: skip


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def commit() -> str:
    """With ``-dirty`` where files differ from it, those apart that the suite itself writes."""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    found = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True, check=False)
    if found.returncode:
        return "unknown"
    written = (":(exclude)bench/results", ":(exclude)README.md")
    differs = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", *written], check=False).returncode
    return found.stdout.strip() + ("-dirty" if differs else "")


def machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cpu = models[0] if models else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory / 2**30, 1), "system": platform.platform()}


def versions() -> dict[str, str]:
    """Of Python, the libraries that matter, and the C compiler; a rival that is not installed is missing."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    from rivals.c_fold import compiler

    if (cc := compiler()) is not None:
        said = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False).stdout
        found["cc"] = said.splitlines()[0] if said else cc
    return found


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def surroundings() -> dict[str, Any]:
    """In one level, for scripts that print one result."""
    of = machine()
    return {"commit": commit(), "cpu": of["cpu"], "cores": of["cores"], "python": platform.python_version()}
